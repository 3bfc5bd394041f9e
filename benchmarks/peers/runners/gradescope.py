"""What a Gradescope run_autograder does: gradescope.py RESULTS. It has no limit of its own; ours is an alarm."""

import signal
import sys
import unittest
from pathlib import Path

from gradescope_utils.autograder_utils.decorators import number, weight
from gradescope_utils.autograder_utils.json_test_runner import JSONTestRunner
from lab03_checks import CHECKS

LIMIT_S = 5


def too_long(*_):
    raise TimeoutError


def case(place, title, check):
    @weight(1)
    @number(str(place))
    def test(self):
        import lab03

        signal.alarm(LIMIT_S)
        try:
            check(lab03)
        finally:
            signal.alarm(0)

    test.__doc__ = title
    return test


signal.signal(signal.SIGALRM, too_long)
methods = {f"test_{title}": case(place, title, check) for place, (title, check) in enumerate(CHECKS)}
suite = unittest.defaultTestLoader.loadTestsFromTestCase(type("Lab03", (unittest.TestCase,), methods))
with Path(sys.argv[1]).open("w") as file:
    JSONTestRunner(visibility="visible", stream=file).run(suite)
