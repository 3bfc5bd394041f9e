import sys
import unicodedata

import pytest

from grader.cohort.archives import Member
from grader.reports.terminal import render
from grader.sandbox.decode import reply
from grader.text import clean, clean_line, clean_name, printable
from tests.reports import samples

# Marks of Arabic, Syriac and Kaithi numbers: of the category Cf, and seen.
SEEN = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
# Default_Ignorable without being Cf: fillers, joiners, variation selectors.
IGNORED = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180d\u180f\u3164\ufe00\ufe0f\uffa0\ufff0\U000e0100\u2800"


def test_whatever_acts_or_is_not_seen_is_shown_as_an_escape():
    for number in range(sys.maxunicode + 1):
        char = chr(number)
        unseen = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and number not in SEEN
        if (unseen and char not in "\n\t") or char in IGNORED:
            assert clean(char) == char.encode("unicode_escape").decode(), hex(number)


def test_what_is_seen_stays():
    for text in ("ᾱ\n\tε", "naïve 中文 🙂", "a\xa0b", "\\u200b"):
        assert clean(text) == text
    assert clean("a\r\nb\rc") == "a\nb\\rc"
    assert clean("a\x1b[2J\u202e\x9b\ud800b") == "a\\x1b[2J\\u202e\\x9b\\ud800b"
    assert clean_line(" a\n\tb\x00 ") == "a b\\x00"
    assert clean_name("a  b\nc\td") == "a  b\\nc\\td"


def test_what_is_cut_says_so_and_is_no_longer_than_asked():
    assert printable("x" * 30, 10) == "x" * 10 + " … (20 more characters)"
    assert printable("\x00" * 10, 10) == "\\x00\\x00\\x"


UNSEEN = "a\u200b\u2060\xad\U000e0041b"
SHOWN = "a\\u200b\\u2060\\xad\\U000e0041b"


@pytest.mark.parametrize("where", ["answer", "archive", "terminal"])
def test_there_is_one_way_for_all(where):
    if where == "answer":
        raised = reply(b'{"error": {"type": "E", "message": "a\\u200b\\u2060\\u00ad\\udb40\\udc41b"}}', b"").raised
        assert raised is not None and raised.message == SHOWN
    elif where == "archive":
        assert Member((UNSEEN,), lambda: None).name == SHOWN
    else:
        result = samples.result([], [], filename=UNSEEN)
        assert SHOWN in render(result, color=False, ascii=False, width=100, verbose=0)
