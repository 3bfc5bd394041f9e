"""The 20 checks as an otter test file: the names that otter reads, and one test case a check."""

import types

from lab03_checks import CHECKS
from otter.test_files import test_case

OK_FORMAT = False
name = "q1"
points = None


def case(title, check):
    def test(env):
        check(types.SimpleNamespace(**env))

    test.__name__ = title
    return test_case(name=title, points=1)(test)


globals().update({title: case(title, check) for title, check in CHECKS})
