"""Where the trained weights lie that pictures are drawn with, where a course comes without: in their own wheel.

With them lie the reference's answers to those pictures, and to others whose answers are large. No score depends on
them. A picture that needs them and has them not says so in its place.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

WHEEL = "alphabar-weights"
PACKAGE = "alphabar_weights"
ANSWERS = "answers"  # its folder of what the reference answers to the pictures

ABSENT = f"Not drawn, for want of the wheel {WHEEL}: pip install the one that came with this edition."
OF_ANOTHER = f"Not drawn, for the wheel {WHEEL} is of another edition: pip install the one that came with this one."


class MissingWeightsError(Exception):
    """A picture cannot be drawn here; its sentence stands in the picture's place."""


def folder() -> Path | None:
    """Return where the wheel's files lie; None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def file(name: str, sha256: str) -> Path:
    """Return one of the wheel's files; MissingWeightsError where it is not there, or is not the one that is meant."""
    found = folder()
    path = found / name if found else None
    if path is None or not path.is_file():
        raise MissingWeightsError(ABSENT)
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise MissingWeightsError(OF_ANOTHER)
    return path
