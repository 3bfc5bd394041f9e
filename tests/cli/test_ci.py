"""`grade ci` and `grade comment`: what is graded, what is left behind, which exit code; on repositories made here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from grader.reports import ci
from grader.reports.ci import GradedFile, Run
from tests import toy
from tests.reports.samples import XSS, half_right
from tests.reports.test_formats import ANNOTATION, is_plain_markdown, poisoned
from tests.toy import ROOT, grade

WRONG = toy.REFERENCE.replace("x * factor", "x + factor")  # 3 of 7 points, and the mistake has a name
JOB = {"GITHUB_ACTIONS": "", "GITHUB_STEP_SUMMARY": ""}  # these tests may run in a job themselves


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """The toy course with a second lab, the same by another name."""
    root = toy.make(tmp_path_factory.mktemp("course") / "toy").root
    second = root / "exercises" / "lab02_toy"
    second.mkdir()
    for path in (root / "exercises" / "lab01_toy").iterdir():
        text = path.read_text(encoding="utf-8").replace('id = "lab01"', 'id = "lab02"')
        (second / path.name).write_text(text, encoding="utf-8")
    (root / "exercises" / "course.toml").write_text(
        toy.COURSE.replace('["lab01_toy"]', '["lab01_toy", "lab02_toy"]'), encoding="utf-8"
    )
    return root


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(["git", *who, *words], cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def work(tmp_path) -> Path:
    """A repository with one commit, in which two labs lie."""
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    put(folder, {"jane/lab01.py": WRONG, "jane/lab02.py": toy.STARTER, "README": "x"})
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    return folder


def run(folder: Path, *words: str, course: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return grade(folder.parent, "ci", folder.name, *words, course=course, **JOB | more)


# What is graded, and what comes of it.


def test_a_pull_request_is_told_in_the_log_the_summary_junit_json_and_a_page(tmp_path, work, course):
    put(work, {"jane/lab01.py": "# more\n" + WRONG})
    git(work, "commit", "-q", "-a", "-m", "more")
    summary = tmp_path / "summary.md"
    summary.write_text("# An earlier step\n")
    done = run(work, "--base", "HEAD~1", "-o", "out", course=course,
               GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))  # fmt: skip
    assert done.returncode == 1, done.stderr
    first, *told = done.stdout.splitlines()
    assert first == "lab01  jane/lab01.py  3 of 7 points, below what is needed  (1 passed, 1 not yet)"
    (found,) = [ANNOTATION.fullmatch(line) for line in told]
    assert found and found[2] == "jane/lab01.py" and found[4] == "lab01/scale 0/4 behaves like adds"
    line = int(found[3])
    assert (work / "jane" / "lab01.py").read_text().splitlines()[line - 1] == "def scale(x, factor):"
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"ci.json", "junit.xml", "summary.md", "lab01.html"}
    assert (out / "lab01.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert ElementTree.parse(out / "junit.xml").getroot().attrib["failures"] == "2"
    left = ci.read(out)
    assert [(one.path, one.result.score.earned) for one in left.files] == [("jane/lab01.py", 3)] and not left.holds
    assert left.files[0].result.seed is None, "the record is what a student may see"
    said = summary.read_text(encoding="utf-8")
    assert said.startswith("# An earlier step\n") and said.endswith((out / "summary.md").read_text() + "\n")
    assert "| adds |" in said and "3 of 7 points" in said


@pytest.mark.parametrize(("least", "code"), [("3", 0), ("42%", 0), ("43%", 1), ("3.01", 1), ("100", 1), ("0", 0)])
def test_the_threshold_is_what_each_file_needs(least, code):
    from grader.cli.ci import Minimum
    from grader.results import Score

    result = half_right().model_copy(update={"score": Score(earned=3, possible=7)})
    assert Minimum.of(least).holds(result) == (code == 0)


def test_with_a_threshold_that_holds_the_code_is_0(tmp_path, work, course):
    done = run(work, "--lab", "lab01", "--min-points", "3", "-o", "out", course=course)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "lab01  jane/lab01.py  3 of 7 points  (1 passed, 1 not yet)\n"  # and no annotation


def test_no_lab_touched_is_0_with_a_note(tmp_path, work, course):
    put(work, {"README": "y"})
    (work / "jane" / "lab02.py").unlink()
    git(work, "commit", "-q", "-a", "-m", "more")
    done = run(work, "--base", "HEAD~1", "-o", "out", course=course)
    assert done.returncode == 0 and done.stdout == ""
    assert "note: no lab is touched, so nothing was graded." in done.stderr
    assert "no lab is touched" in (tmp_path / "out" / "summary.md").read_text()
    assert ElementTree.parse(tmp_path / "out" / "junit.xml").getroot().attrib["tests"] == "0"


def test_all_that_is_there_or_one_lab(tmp_path, work, course):
    put(work, {"ann/lab02.py": toy.REFERENCE, ".hidden/lab02.py": toy.REFERENCE})
    (work / "linked").symlink_to(work / "jane")
    done = run(work, "--lab", "lab02", "-o", "out", course=course)
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["ann/lab02.py", "jane/lab02.py"]
    assert {path.name for path in (tmp_path / "out").glob("*.html")} == {"lab02.html", "lab02-2.html"}
    names = [case.attrib["classname"] for case in ElementTree.parse(tmp_path / "out" / "junit.xml").iter("testcase")]
    assert {name.split(".")[0] for name in names} == {"lab02", "lab02 (2)"}


def test_a_file_that_cannot_be_graded_is_3_and_the_others_are(tmp_path, work, course):
    put(work, {"jane/lab01.py": "def scale(:\n", "jane/lab02.py": toy.REFERENCE})
    done = run(work, "-o", "out", course=course, GITHUB_ACTIONS="true")
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert lines[0].endswith("0 of 7 points, below what is needed  (The file is not valid Python)")
    assert lines[1] == "lab02  jane/lab02.py  7 of 7 points  (2 passed)"
    assert lines[2].startswith("::error file=jane/lab01.py,line=1,title=lab01%3A not graded::The file is not valid")
    assert "syntax_error" in (tmp_path / "out" / "junit.xml").read_text()


def test_a_lab_that_was_asked_for_and_is_not_there_is_3(tmp_path, course):
    (tmp_path / "work").mkdir()
    done = run(tmp_path / "work", "--lab", "lab01", "-o", "out", course=course)
    assert done.returncode == 3 and "(The file is missing)" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--base", "nosuch"], 2, "--base nosuch: HEAD and this have no commit in common here. Is the clone too"),
        (["--min-points", "most"], 2, "--min-points most: points such as 30, or percent such as 75%, were expected."),
        (["--min-points", "101%"], 2, "--min-points 101%"),
        (["--lab", "lab3"], 2, "there is no lab 'lab3'"),
        (["--write", "junt=x"], 2, "Did you mean junit?"),
        (["--course", "work"], 4, "is not a course"),
    ],
)  # fmt: skip
def test_wrong_words_grade_nothing(work, course, words, code, says):
    done = run(work, *words, course=course)
    assert done.returncode == code and done.stdout == "" and says in " ".join(done.stderr.split())


def test_a_folder_is_expected(tmp_path, course):
    done = run(tmp_path / "nowhere", course=course)
    assert done.returncode == 2 and "nowhere is no folder" in done.stderr


def test_without_git_there_is_no_base(tmp_path, course):
    (tmp_path / "work").mkdir()
    done = run(tmp_path / "work", "--base", "main", course=course)
    assert done.returncode == 2 and "work is in no git repository" in done.stderr


def test_a_layer_that_is_required_and_missing_is_5(tmp_path, work, course):
    bare = {"PATH": "/nowhere"}  # without bwrap, and no git is needed
    done = run(work, "--lab", "lab01", "--require-sandbox", "-o", "out", course=course, **bare)
    assert done.returncode == 5 and "bwrap" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_examples_seed_is_warned_of(tmp_path):
    root = toy.make(tmp_path / "course", course=toy.COURSE.replace("seed = 7", "seed = 1234")).root
    put(tmp_path, {"work/lab01.py": toy.STARTER})
    done = run(tmp_path / "work", "-o", "out", course=root)
    assert done.returncode == 1
    assert "the course's seed is the example" in done.stderr
    assert "> the course's seed is the example" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")


# The course is never taken from what is graded.


def test_a_course_within_what_is_graded_is_refused(tmp_path, course):
    work = tmp_path / "work"
    toy.make(work)
    git(work, "init", "-q")
    put(work, {"submissions/lab01.py": toy.REFERENCE})
    for folder, named in ((work, "."), (work / "submissions", "..")):
        done = grade(folder, "ci", course=work, **JOB)
        assert done.returncode == 2 and "the course lies in work, which is what is graded" in done.stderr, named
    done = grade(ROOT, "ci", "fixtures/submissions/right", course=course, **JOB)
    assert done.returncode == 2 and "`grade` itself lies in" in done.stderr


def test_links_lead_nowhere(tmp_path, work, course):
    (tmp_path / "secret.py").write_text(toy.REFERENCE)
    (work / "jane" / "lab01.py").unlink()
    (work / "jane" / "lab01.py").symlink_to(tmp_path / "secret.py")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "link")
    done = run(work, "--base", "HEAD~1", "-o", "out", course=course)
    assert done.returncode == 3 and "(The file is a link)" in done.stdout


def test_names_of_files_are_no_commands(tmp_path, work, course):
    odd = work / "::error::x\n::add-mask::y"
    odd.mkdir()
    (odd / "lab01.py").write_text("def scale(:\n")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "odd")
    done = run(work, "--base", "HEAD~1", "-o", "out", course=course, GITHUB_ACTIONS="true")
    assert done.returncode == 3
    lines = (done.stdout + done.stderr).splitlines()
    assert sum("::" in line for line in lines) == 1 and all(
        ANNOTATION.fullmatch(line) for line in lines if "::" in line
    )
    is_plain_markdown((tmp_path / "out" / "summary.md").read_text(encoding="utf-8").replace("> ", ""))


# The comment, written by a job that takes what it reads for a stranger's.


def left(folder: Path, *results, notes=()) -> Path:
    folder.mkdir(exist_ok=True)
    files = [GradedFile(path=f"jane/{result.lab}.py", result=result) for result in results]
    made = Run(minimum="100%", holds=False, notes=list(notes), files=files)
    (folder / ci.NAME).write_text(made.model_dump_json(), encoding="utf-8")
    return folder


def test_the_comment_has_no_points_unless_it_is_asked_for(tmp_path):
    run = ci.read(left(tmp_path / "out", half_right()))
    bare, whole = ci.comment(run, with_points=False), ci.comment(run, with_points=True)
    assert bare.startswith(ci.MARK + "\n") and "points" not in bare and "alpha\\_not\\_alpha\\_bar" in bare
    assert "8 of 19 points" in whole


@pytest.mark.parametrize("text", XSS, ids=range(len(XSS)))
def test_a_record_that_a_stranger_wrote_becomes_no_markup(tmp_path, text):
    odd = poisoned(text)
    tasks = [task.model_copy(update={"title": text, "id": text, "function": text}) for task in odd.tasks]
    odd = odd.model_copy(update={"tasks": tasks, "title": text, "lab": text, "course": text})
    run = Run(minimum=text, holds=True, notes=[text], files=[GradedFile(path=text, result=odd)])
    body = ci.comment(run, with_points=True)
    assert body.startswith(ci.MARK)
    is_plain_markdown(body.removeprefix(ci.MARK).replace("> ", "", 1))


def test_a_comment_fits_into_one(tmp_path):
    body = ci.comment(Run(minimum="", holds=True, files=[GradedFile(path="x", result=half_right())] * 200),
                      with_points=False)  # fmt: skip
    assert len(body) < 65_536 and "Not shown here:" in body


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{}", "is not what `grade ci` of this version writes"),
        (b"[1]", "is not what `grade ci` of this version writes"),
        (b'{"x": ' * 200_000, "is not what `grade ci` of this version writes"),
        (b" " * (ci.MOST_BYTES + 1), "is larger than 8 MiB"),
        (None, "cannot be read"),
    ],
    ids=["empty", "list", "nested", "huge", "missing"],
)
def test_what_grade_ci_did_not_write_is_refused(tmp_path, content, says):
    (tmp_path / "out").mkdir()
    if content is not None:
        (tmp_path / "out" / ci.NAME).write_bytes(content)
    done = grade(tmp_path, "comment", "out")
    assert done.returncode == 2 and says in done.stderr and done.stdout == ""


def test_the_command_writes_the_comment(tmp_path):
    left(tmp_path / "out", half_right())
    done = grade(tmp_path, "comment", "out", "-o", "body.md")
    assert done.returncode == 0 and done.stdout == ""
    assert (tmp_path / "body.md").read_text(encoding="utf-8").startswith(ci.MARK)
    assert json.loads((tmp_path / "out" / ci.NAME).read_text())["format_version"] == 2
