"""How text becomes harmless in other people's formats: in a job's log, a summary, an XML file, a spreadsheet.

Whoever reads those files may take a text for more than a text. So what could be a command, a link, a tag or a mention
is broken apart here, in every format alike, before the format escapes it in its own way. Text of the course passes
through as well: a result that is read back may have been written by anybody.
"""

from __future__ import annotations

import re

from grader.reports.words import shorten
from grader.text import clean_line

MOST = 600  # characters of one text

# A workflow command (`::error::`, `##[error]`), a markdown link, a tag or a comment, an address that is made a link by
# itself, a mention. What is broken stays readable.
_BROKEN = (
    (re.compile(r":(?=:)"), ": "),
    (re.compile(r"#(?=#|\[)"), "# "),
    (re.compile(r"\](?=\()"), "] "),
    (re.compile(r"<(?=[A-Za-z/!?])"), "‹"),
    (re.compile(r":(?=//)|(?<=javascript):(?=\S)|(?<=data):(?=\S)", re.IGNORECASE), ": "),
    (re.compile(r"\bwww\.", re.IGNORECASE), "www ."),
    (re.compile(r"@(?=\w)"), "@ "),
)
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|&~$!]")
_NO_CHARACTERS = re.compile("[\ufffe\uffff]")  # with what `clean` shows as an escape, all that XML 1.0 does not take


def inert(text: str, most: int = MOST) -> str:
    """Return a text on one line in which nothing acts, wherever it is shown."""
    text = _NO_CHARACTERS.sub("\ufffd", shorten(clean_line(text), most))
    for pattern, put in _BROKEN:
        text = pattern.sub(put, text)
    return text


def prose(text: str, most: int = MOST) -> str:
    """Return a text as markdown that shows it as it is, also in a cell of a table."""
    return _MARKDOWN.sub(r"\\\g<0>", inert(text.replace("`", ""), most))


def span(text: str, most: int = MOST) -> str:
    """Return a text as code within markdown: what a student wrote, which no reader shall take for ours."""
    return f"`{inert(text, most).replace('`', chr(39)) or '?'}`"
