"""`--write FORMAT=FILE`, on the real command."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import pytest

from tests import toy
from tests.toy import grade


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course") / "toy").root


def test_one_result_in_several_formats(tmp_path, course):
    (tmp_path / "lab01.py").write_text(toy.REFERENCE.replace("x * factor", "x + factor"))
    words = ("--write", "junit=out.xml", "--write", "csv=-", "--json", "out.json")
    done = grade(tmp_path, "lab01", *words, course=course)
    assert done.returncode == 1, done.stderr
    assert [line["outcome"] for line in csv.DictReader(io.StringIO(done.stdout))] == ["failed", "failed", "passed"]
    top = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (top.attrib["tests"], top.attrib["failures"]) == ("3", "2")
    assert {case.attrib["file"] for case in top.iter("testcase")} == {"lab01.py"}
    assert (tmp_path / "out.json").exists()


def test_what_cannot_be_graded_is_written_too(tmp_path, course):
    done = grade(tmp_path, "lab01", "--write", "github-annotations=-", course=course)
    assert done.returncode == 3
    assert done.stdout.startswith("::error file=lab01.py,title=lab01%3A not graded::The file is missing: there is no ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["junitt=x"], "there is no format 'junitt'. Did you mean junit?"),
        (["junit"], "--write junit: a file is missing; --write junit=FILE was expected."),
        (["junit=-", "--json", "-"], "only one thing can be written to the terminal."),
        (["junit=no/such/folder.xml"], "no/such/folder.xml cannot be written"),
        (["classroom50=result.json"], "CLASSROOM is not set here"),
    ],
)
def test_wrong_words_are_a_sentence_and_exit_code_2(tmp_path, course, words, says):
    done = grade(tmp_path, "lab01", "--write", *words, course=course)
    assert done.returncode == 2 and says in " ".join(done.stderr.split()), done.stderr
