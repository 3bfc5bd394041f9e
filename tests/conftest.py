"""Who runs which test where two processes share them."""

from __future__ import annotations

from typing import Any

import pytest

# Files that share what takes minutes to make, and go to one process together. They are begun first, so that nobody
# sits idle at the end.
TOGETHER = {
    "tests/journeys/test_student_edition.py": "wheel",
    "tests/journeys/test_wheel.py": "wheel",
    "tests/test_instructors.py": "instructors",
}


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: _file(item) not in TOGETHER)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file's tests to one process, which makes what they share once.

    The mark `xdist_group` would say the same, but pytest-xdist 3.8 does not see it with pytest 9.2 (its issue 1386).
    """
    from xdist.scheduler.loadfile import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return TOGETHER.get(file, file)

    return Files(config, log)
