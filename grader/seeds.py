"""The course's seed: the secret that the inputs of hidden checks come from. Standard library only."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from grader.errors import CourseError

EXAMPLE = "1234"  # of this repository: everybody knows it, so no mark should hang on it
VARIABLE = "GRADE_SEED_FILE"
WARNING = (
    "the course's seed is the example that stands in the public repository, so the inputs of hidden checks can be "
    f"computed by anybody. For marks, write a secret of your own into a file and name it in {VARIABLE}."
)


def canonical(text: str | int) -> str:
    """Return a seed, a whole number or a hexadecimal word of any length, in one spelling; else ValueError."""
    if isinstance(text, bool) or not isinstance(text, (int, str)):
        raise ValueError("a whole number, or hexadecimal digits in quotes, is expected")
    word = str(text).strip().lower().removeprefix("0x")
    if not word or word.strip("0123456789abcdef"):
        raise ValueError("a whole number, or hexadecimal digits in quotes, is expected")
    return word


def overriding() -> str | None:
    """Return the seed of the file that the environment names, or None; CourseError where that holds no seed."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    try:
        return canonical(Path(named).expanduser().read_text(encoding="ascii"))
    except OSError as error:
        raise CourseError(f"{VARIABLE} names {named}, which cannot be read: {error.strerror}.") from None
    except ValueError:
        raise CourseError(f"{VARIABLE} names {named}, which holds no seed: hexadecimal digits are expected.") from None


def of_check(secret: str, check_id: str) -> int:
    """Return the seed of a hidden check, 64 bits: a hash that is keyed with the course's seed."""
    key = hashlib.sha256(secret.encode()).digest()
    return int.from_bytes(hashlib.blake2b(check_id.encode(), key=key, digest_size=8).digest(), "big")


def of_visible(check_id: str) -> int:
    """Return the seed of a visible check, 64 bits, the same in every course."""
    return int.from_bytes(hashlib.blake2b(check_id.encode(), digest_size=8).digest(), "big")


def fingerprint(secret: str) -> str:
    """Return what a record may say of a seed: two results of one seed can be told, the seed itself cannot."""
    return hashlib.sha256(f"alphabar seed {secret}".encode()).hexdigest()[:12]
