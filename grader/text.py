"""How text that somebody else chose is made harmless to show: the one place where that is decided.

Standard library only: names of files are shown before anything else is imported.
"""

from __future__ import annotations

import json
import re

# What acts on a terminal or a page, or is not seen: C0 and C1 controls but newline and tab, lone surrogates, line
# separators, bidirectional marks, and what Unicode calls Default_Ignorable (zero-width and soft characters, fillers,
# variation selectors, tags), the blank Braille pattern and interlinear marks.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def clean(text: str) -> str:
    """Return `text` with every character that acts, or cannot be seen, shown as an escape such as `\\u200b`."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def clean_line(text: str) -> str:
    """Return `clean(text)` on one line."""
    return " ".join(clean(text).split())


def clean_name(name: str) -> str:
    """Return `clean(name)` for the name of a file or a folder: line feeds and tabs are escapes too."""
    return clean(name).replace("\n", "\\n").replace("\t", "\\t")


def printable(text: str, limit: int) -> str:
    """Return `clean(text)`, of which no more than `limit` characters are shown."""
    safe = clean(text[:limit])[:limit]  # an escape is longer than what it shows
    return safe if len(text) <= limit else safe + f" … ({len(text) - limit} more characters)"


def taken(text: str) -> int:
    """Return how many bytes a text takes in a record."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) - 2


def fitting(text: str, most: int) -> str:
    """Return as much of a text as takes `most` bytes in a record, and how much of it is missing."""
    if len(text) <= most and taken(text) <= most:
        return text
    low, high = 0, min(len(text), most)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if taken(text[:middle]) <= most else (low, middle - 1)
    return f"{text[:low]} … ({len(text) - low} more characters)" if most else ""
