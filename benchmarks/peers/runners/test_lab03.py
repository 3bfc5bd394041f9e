"""One submission under plain pytest."""

import lab03
import pytest
from lab03_checks import CHECKS


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=[name for name, _ in CHECKS])
def test(name, check):
    check(lab03)
