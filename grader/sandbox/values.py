"""What an answer holds besides plain Python values, and how a worker's text is made safe to show. Runs in the judge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# C0 and C1 controls but newline and tab, zero-width and bidirectional marks, line separators, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as it came back: values in row-major order (None on the meta device) and what else is known of it."""

    array: np.ndarray | None
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: str
    requires_grad: bool


@dataclass(frozen=True)
class Refused:
    """Something that cannot travel; `says` goes into a sentence: "your code returned {says}"."""

    kind: str
    says: str


@dataclass(frozen=True)
class Dtype:
    """A torch dtype, by name."""

    name: str


def printable(text: str, limit: int) -> str:
    """Return at most `limit` characters with control, bidirectional and invisible ones shown as escapes."""
    cut = text[:limit]
    safe = _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), cut)
    return safe if len(text) <= limit else safe + f" … ({len(text) - limit} more characters)"
