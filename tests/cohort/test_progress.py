"""What a person sees while a class is graded."""

import io
import sys

import pytest

from grader.cli.progress import shown
from grader.cohort.run import Progress


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def told(monkeypatch, stream, **environment):
    """What stands on `stream` after one of two files is done."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream)
    with shown("grading", 2, 3) as tell:
        tell(Progress(1, 2, ["[red]s001", "s002"], "7/7 0.2 s"))
    return stream.getvalue()


def test_a_terminal_shows_a_bar_and_names_are_no_markup(monkeypatch):
    seen = told(monkeypatch, Screen(), TERM="xterm-256color", COLUMNS="110", NO_COLOR="1")
    assert "grading ━" in seen and "1/2 3 judges" in seen and "[red]s001 s002 7/7 0.2 s" in seen


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO, "xterm-256color"), (Screen, "dumb")])
def test_elsewhere_every_file_has_a_line(monkeypatch, stream, term):
    assert told(monkeypatch, stream(), TERM=term) == "[1/2] [red]s001 s002 7/7 0.2 s\n"
