from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def templates() -> Path:
    return Path(__file__).parents[2] / "templates"
