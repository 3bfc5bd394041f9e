import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from grader.results import LabResult, canonical
from tests import toy
from tests.toy import ROOT, grade

SUBMISSIONS = ROOT / "fixtures" / "submissions"
linux = pytest.mark.skipif(sys.platform != "linux", reason="fork and bwrap are Linux's")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The toy course, read-only, for every test that needs no other."""
    return toy.make(tmp_path_factory.mktemp("course") / "toy").root


def write(folder: Path, source: str | bytes) -> Path:
    file = folder / "lab01.py"
    file.write_bytes(source if isinstance(source, bytes) else source.encode())
    return file


def record(done) -> LabResult:
    return LabResult.model_validate_json(done.stdout)


# 0 and 1: graded


def test_the_reference_earns_full_marks_and_exit_code_0(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", course=course)
    assert done.returncode == 0
    assert "7 of 7 points" in done.stdout and "Every check passes." in done.stdout
    # stdout is the result, stderr the notes
    assert done.stderr == "report: .grade/lab01/report.html\n" and "report:" not in done.stdout


def test_the_starter_earns_nothing_and_runs_nothing(tmp_path, course):
    assert grade(tmp_path, "start", "lab01", course=course).returncode == 0
    done = grade(tmp_path, "lab01", "--json", "-", course=course)
    result = record(done)
    assert done.returncode == 1 and result.score.earned == 0 and result.score.possible == 7
    assert [check.outcome for check in result.checks] == ["skipped"] * 3
    assert result.environment is not None and result.environment.libraries == {}  # no worker ever ran


def test_what_is_wrong_is_named_and_the_code_is_1(tmp_path, course):
    write(tmp_path, toy.REFERENCE.replace("x * factor", "x + factor"))
    done = grade(tmp_path, "lab01", course=course)
    assert done.returncode == 1
    assert "3 of 7 points" in done.stdout and "behaves like adds" in done.stdout
    assert "grade hint lab01 scale" in done.stdout


def test_json_on_stdout_is_exactly_the_record(tmp_path, course):
    write(tmp_path, toy.REFERENCE.replace("return x * factor", "print('hello')\n    return x"))
    done = grade(tmp_path, "lab01", "--json", "-", course=course)
    result = record(done)
    assert done.stdout == result.model_dump_json(indent=1) + "\n" and done.stderr == ""
    assert result.submission and result.lab == "lab01"
    shown = {check.id: check for check in result.checks}
    assert shown["lab01/scale.plain"].output == "hello\n" and shown["lab01/scale.plain"].evidence is not None
    assert shown["lab01/scale.secret"].output == "" and shown["lab01/scale.secret"].evidence is None


def test_json_and_html_go_where_they_are_asked_to(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", "--json", "out.json", "--html", "out.html", "-q", course=course)
    assert done.returncode == 0 and done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
    result = LabResult.model_validate_json((tmp_path / "out.json").read_bytes())
    assert result.score.earned == 7
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")
    done = grade(tmp_path, "lab01", "--json", "no/such/folder.json", course=course)
    assert done.returncode == 2 and "no/such/folder.json cannot be written" in done.stderr
    done = grade(tmp_path, "lab01", "--html", "no/such/folder.html", course=course)
    assert done.returncode == 2 and "no/such/folder.html cannot be written" in done.stderr


def test_one_task_alone(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    result = record(grade(tmp_path, "lab01", "--task", "jitter", "--json", "-", course=course))
    assert [task.id for task in result.tasks] == ["jitter"] and result.score.possible == 3
    assert [check.task for check in result.checks] == ["jitter"]
    done = grade(tmp_path, "lab01", "--task", "jiter", course=course)
    assert done.returncode == 2 and "no task 'jiter'" in done.stderr and "jitter" in done.stderr


# 2: usage


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lab1"], "there is no lab 'lab1'. Did you mean lab01?"),
        (["lab07"], "there is no lab 'lab07'. Did you mean lab01?"),
        (["run", "/etc"], "there is no lab '/etc'. `grade list` shows the labs."),
        (["run", "lab0*"], "there is no lab 'lab0*'. Did you mean lab01?"),
        (["lisst"], "there is no command or lab 'lisst'. Did you mean list?"),
        (["--nonsense"], "--nonsense"),
        (["lab01", "--start-method", "thread"], "'thread' is not one of"),
        (["hint", "lab01"], "which task? lab01 has: scale, jitter."),
        (["report", "lab01"], "there is no result of lab01 here yet. Run: grade lab01"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(tmp_path, course, words, says):
    done = grade(tmp_path, *words, course=course)
    assert done.returncode == 2 and done.stdout == ""
    assert says in done.stderr and "Traceback" not in done.stderr


# 3: unusable


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("syntax_error", "def scale(:\n"),
        ("empty", ""),
        ("not_text", b"x = '\xff'\n"),
        ("not_text", b"x = '\x00'\n"),
        ("too_large", b"#" * (50 << 20)),
        ("too_nested", "x = " + "-" * 200_000 + "1\n"),
        ("missing", None),
    ],
    ids=["syntax", "empty", "latin-1", "NUL", "50 MB", "nested", "missing"],
)
def test_an_unusable_file_is_exit_code_3_and_a_record(tmp_path, course, kind, source):
    if source is not None:
        write(tmp_path, source)
    done = grade(tmp_path, "lab01", "--json", "-", course=course)
    result = record(done)
    assert done.returncode == 3
    assert result.problem is not None and result.problem.kind == kind
    assert (result.score.earned, result.score.possible, result.checks) == (0, 7, [])


def test_what_lies_there_instead_of_a_file(tmp_path, course):
    (tmp_path / "lab01.py").mkdir()
    done = grade(tmp_path, "lab01", course=course)
    assert done.returncode == 3 and "lab01.py is a folder; a Python file was expected." in done.stdout
    (tmp_path / "lab01.py").rmdir()
    (tmp_path / "lab01.py").symlink_to("/etc/hostname")
    done = grade(tmp_path, "lab01", course=course)
    assert done.returncode == 3 and "symbolic link" in done.stdout
    (tmp_path / "lab01.py").unlink()
    os.mkfifo(tmp_path / "lab01.py")
    done = grade(tmp_path, "lab01", course=course)
    assert done.returncode == 3 and "not a plain file" in done.stdout


def test_several_candidates_are_listed(tmp_path, course):
    for name in ("lab01_a.py", "lab01_b.py"):
        (tmp_path / name).write_text(toy.REFERENCE)
    done = grade(tmp_path, "lab01", course=course)
    assert done.returncode == 3 and "lab01_a.py, lab01_b.py" in " ".join(done.stdout.split())
    assert grade(tmp_path, "lab01", "lab01_b.py", course=course).returncode == 0


@pytest.mark.parametrize(
    ("source", "kind", "line", "says"),
    [
        ("import torch\n\ntable = [1]\nprint(table[3])\n", "import_error", 4, "IndexError: list index out of range"),
        ("import nosuchmodule\n", "import_error", 1, "No module named 'nosuchmodule'"),
        ("x = 1\nimport os\nos._exit(0)\n", "import_crashed", None, "ended the Python process (exit code 0)"),
    ],
    ids=["raises", "imports what is not there", "ends the process"],
)
def test_a_crash_at_import_is_exit_code_3_with_the_line(tmp_path, course, source, kind, line, says):
    write(tmp_path, source + toy.REFERENCE)
    done = grade(tmp_path, "lab01", "--json", "-", course=course)
    problem = record(done).problem
    assert done.returncode == 3 and problem is not None
    assert (problem.kind, problem.line) == (kind, line) and says in problem.message


def test_a_file_that_leaves_at_its_top_is_graded_and_told_where_it_ended(tmp_path, course):
    write(tmp_path, "x = 1\nexit(0)\n" + toy.REFERENCE)
    done = grade(tmp_path, "lab01", "--json", "-", course=course)
    result = record(done)
    assert done.returncode == 1 and result.problem is None and result.score.earned == 0
    says = "lab01.py defines no scale: the file ends at line 2, before it. What fails: Every entry is multiplied."
    assert result.tasks[0].diagnosis.says == says


def test_a_file_that_never_ends_loading_is_exit_code_3(tmp_path, course):
    write(tmp_path, toy.REFERENCE + "\nwhile True:\n    pass\n")
    done = grade(tmp_path, "lab01", course=course)
    assert done.returncode == 3
    assert "The file takes too long to import, so nothing was graded." in done.stdout
    assert "0 of 7 points" in done.stdout and "Repair the file" in done.stdout


# 4, 5 and 70: not the student's


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("exercises/course.toml", 'format_version = 3\ntitle = "t"\nversion = "1"\nseed = 1\nlabs = ["lab01_toy"]\n',
         "exercises/course.toml: format_version"),
        ("exercises/course.toml", "labs = [", "exercises/course.toml is not valid TOML"),
        ("exercises/lab01_toy/lab.toml", toy.LAB.replace("points = 4", "points = 0"),
         "lab01_toy/lab.toml: task.0.points: Input should be greater than or equal to 1 (found 0)"),
        ("exercises/lab01_toy/checks.py", "import nosuchthing\n", "lab01_toy/checks.py cannot be collected"),
        ("exercises/lab01_toy/checks.py", "def test_x(compare):\n    '''Says so.'''\n", "test_x has no @check(task)"),
    ],
    ids=["version", "TOML", "points", "import", "unmarked"],
)  # fmt: skip
def test_an_invalid_course_is_exit_code_4(tmp_path, name, text, says):
    root = toy.make(tmp_path / "toy").root
    (root / name).write_text(text)
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", course=root)
    assert done.returncode == 4 and done.stdout == ""
    assert says in done.stderr and "Traceback" not in done.stderr


def test_no_course_at_all(tmp_path):
    done = grade(tmp_path, "list", course=tmp_path)
    assert done.returncode == 4 and "is not a course: it has no exercises/course.toml" in done.stderr


def test_a_layer_that_is_required_and_missing_is_exit_code_5(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", "--require-sandbox", "--sandbox", "none", course=course)
    assert done.returncode == 5 and done.stdout == ""
    assert "switched off with --sandbox none" in done.stderr


def test_a_bug_in_a_check_is_exit_code_70_and_costs_nothing(tmp_path):
    checks = toy.CHECKS.replace("compare.scale(draw.normal(5), -0.5)", "compare.scale(undefined_name, -0.5)")
    root = toy.make(tmp_path / "toy", checks=checks).root
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", "-v", course=root)
    assert done.returncode == 70 and "5 of 5 points" in done.stdout  # half of scale's four are out of the score
    assert "Our fault, not yours" in done.stdout and "Nothing for you to fix" in done.stdout
    assert "undefined_name" not in done.stdout + done.stderr  # a hidden check's source


FIGURES = """
from grader.kit import Chart, figure, ones


@figure("scale")
def lines(play):
    yours, reference = play.call("scale", ones(3), 2.0)
    points = [(0.0, float(reference.array[0])), (1.0, float(yours.array[0]))]
    return Chart(title="Lines", caption="c", alt="a", x_label="x", y_label="y", series=[("l", "yours", points)])


@figure("scale")
def broken(play):
    open("no such file")
"""


def test_a_picture_that_we_fail_to_draw_costs_only_itself(tmp_path):
    root = toy.make(tmp_path / "toy").root
    (root / "exercises" / "lab01_toy" / "figures.py").write_text(FIGURES)
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", "--html", "page.html", course=root)
    assert done.returncode == 0 and "7 of 7 points" in done.stdout
    [note] = [line for line in done.stderr.splitlines() if line.startswith("note:")]
    assert "the picture broken of lab01 could not be drawn" in note and "verdict does not depend" in note
    page = (tmp_path / "page.html").read_text()
    assert "Lines" in page and "broken" not in page
    (root / "exercises" / "lab01_toy" / "figures.py").write_text("import nothing_that_exists\n")
    done = grade(tmp_path, "lab01", course=root)
    assert done.returncode == 0 and "note: lab01_toy/figures.py does not load" in done.stderr


NO_FIGURE_SANDBOX = """
import sys
from grader.cli import main
from grader.errors import MachineError
from grader.sandbox.launcher import Sandbox

def refused(self, libraries):
    raise MachineError("The sandbox cannot start.")

def killed(self, libraries, sibling=Sandbox.sibling):
    other = sibling(self, libraries)
    other._zygote._process.kill()
    return other

Sandbox.sibling = {"refused": refused, "killed": killed}[sys.argv.pop(1)]
main()
"""


@linux
@pytest.mark.parametrize(("how", "says"), [("refused", "cannot start"), ("killed", "zygote has ended")])
def test_without_a_sandbox_for_pictures_everything_else_is_there(tmp_path, how, says):
    root = toy.make(
        tmp_path / "toy", lab=toy.LAB.replace("\n[limits]", '\nfigure_libraries = "diffusers"\n[limits]')
    ).root
    (root / "exercises" / "lab01_toy" / "figures.py").write_text(
        FIGURES.replace('open("no such file")', "return lines(play)")
    )
    write(tmp_path, toy.REFERENCE)
    done = subprocess.run(
        # Without bwrap: its child may outlive it when it is killed this early.
        [sys.executable, "-c", NO_FIGURE_SANDBOX, how, "lab01", "--sandbox", "none"],
        cwd=tmp_path,
        env={**os.environ, "GRADE_COURSE": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "7 of 7 points" in done.stdout
    [note] = [line for line in done.stderr.splitlines() if line.startswith("note:")]
    assert "there are no pictures" in note and says in note and "verdict does not depend" in note
    assert (tmp_path / ".grade" / "lab01" / "report.html").exists()


# 130: interrupted


@linux
def test_ctrl_c_keeps_what_was_graded(tmp_path):
    root = toy.make(tmp_path / "toy", lab=toy.LAB.replace("cpu_s = 10", "cpu_s = 60")).root
    fifo = tmp_path / "here"
    os.mkfifo(fifo)
    loop = f"    if factor < 0:\n        open({str(fifo)!r}, 'w').write('x')\n        while True:\n            pass\n"
    write(tmp_path, toy.REFERENCE.replace("    return x * factor", loop + "    return x * factor"))
    # A session of its own: Ctrl-C reaches the whole process group, as from a keyboard. Without isolation the student's
    # code can say when it is running.
    process = subprocess.Popen(
        [str(toy.GRADE), "lab01", "--json", "-", "--sandbox", "none"],
        cwd=tmp_path,
        env={**os.environ, "GRADE_COURSE": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C, and whatever they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    ready, _, _ = select.select([reader, process.stderr], [], [])
    os.close(reader)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()
    assert ready == [reader], err
    result = LabResult.model_validate_json(out)
    assert process.returncode == 130 and "Traceback" not in err
    assert result.problem is not None and result.problem.kind == "interrupted"
    outcomes = {check.id.split("/")[1]: check.outcome for check in result.checks}
    assert outcomes == {"scale.plain": "passed", "jitter.draws": "passed", "scale.secret": "skipped"}
    # The points of what was not reached are not given to what was.
    assert (result.score.earned, result.score.possible) == (5, 7)
    kept = LabResult.model_validate_json((tmp_path / ".grade" / "lab01" / "result.json").read_bytes())
    assert canonical(kept) == canonical(result)
    page = (tmp_path / ".grade" / "lab01" / "report.html").read_text()
    assert "Interrupted before the end" in page and "<title>5/7 " in page


SLOW_FIGURE = """
from grader.kit import Chart, figure, ones


@figure("scale")
def lines(play):
    yours, reference = play.call("scale", ones(3), 3.0)
    return Chart(title="Lines", caption="c", alt="a", x_label="x", y_label="y", series=[("l", "yours", [(0.0, 1.0)])])
"""


@linux
@pytest.mark.parametrize("libraries", [None, "diffusers"], ids=["while one is drawn", "while their sandbox imports"])
def test_ctrl_c_while_pictures_are_drawn_loses_nothing(tmp_path, libraries):
    chosen = "" if libraries is None else f'figure_libraries = "{libraries}"\n'
    lab = toy.LAB.replace("\n[limits]", f"{chosen}\n[limits]").replace("cpu_s = 10", "cpu_s = 600")
    root = toy.make(tmp_path / "toy", lab=lab).root
    (root / "exercises" / "lab01_toy" / "figures.py").write_text(SLOW_FIGURE)
    for name in ("desk", "fifos", "private"):
        (tmp_path / name).mkdir()
    fifo = tmp_path / "fifos" / "here"
    os.mkfifo(fifo)
    loop = f"    if factor == 3:\n        open({str(fifo)!r}, 'w').close()\n        while True:\n            pass\n"
    write(tmp_path / "desk", toy.REFERENCE.replace("    return x * factor", loop + "    return x + factor"))
    terminal = Terminal(
        [str(toy.GRADE), "lab01", "--sandbox", "none", "--html", "page.html"],
        cwd=tmp_path / "desk",
        env={**os.environ, "GRADE_COURSE": str(root), "TMPDIR": str(tmp_path / "private")},
    )
    terminal.read_until("drawing pictures (Ctrl-C is safe)")
    folder = tmp_path / "desk" / ".grade" / "lab01"
    kept = {path: path.read_bytes() for path in (folder / "result.json", folder / "report.html")}
    if libraries is None:
        fifo.read_bytes()  # until the student's code runs
    terminal.write("\x03\x03")
    shown, code = terminal.end()
    assert code == 1 and "3 of 7 points" in shown  # the verdict's
    assert "note: you stopped the pictures. The verdict does not depend on it." in shown
    assert shown.endswith("report: .grade/lab01/report.html\r\n")
    assert "interrupted" not in shown.lower() and "Traceback" not in shown
    assert {path: path.read_bytes() for path in kept} == kept
    assert LabResult.model_validate_json(kept[folder / "result.json"]).score.earned == 3
    assert "<title>3/7 " in (tmp_path / "desk" / "page.html").read_text()
    # Whoever was drawing has ended, and has left nothing behind.
    assert list((tmp_path / "private").iterdir()) == []
    here = str(tmp_path / "private").encode()
    assert not [process for process in Path("/proc").glob("[0-9]*/environ") if here in _bytes(process)]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class Terminal:
    """A command on a terminal of its own: what is written here is typed there, Ctrl-C included."""

    def __init__(self, words: list[str], **options: Any) -> None:
        self._ours, theirs = pty.openpty()
        self._shown = b""

        def take_over() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            # A shell that starts the tests in the background has them ignore Ctrl-C, and whatever they start.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self._process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_over, **options
        )
        os.close(theirs)

    def read_until(self, text: str) -> None:
        while text.encode() not in self._shown:
            assert self._read(), self._shown.decode()

    def write(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> tuple[str, int]:
        while self._read():
            pass
        os.close(self._ours)
        return self._shown.decode(), self._process.wait()

    def _read(self) -> bool:
        try:
            part = os.read(self._ours, 1 << 16)
        except OSError:  # nobody is at the other end any more
            return False
        self._shown += part
        return bool(part)


# The same verdict whichever way it runs


@linux
def test_every_way_of_running_gives_the_same_canonical_result(tmp_path, course):
    # One right task, one wrong: verdicts, messages, evidence and diagnosis are all in it.
    file = write(tmp_path, toy.REFERENCE.replace("x * factor", "x + factor"))
    no_bwrap = tmp_path / "bin"
    no_bwrap.mkdir()
    (no_bwrap / "bwrap").write_text("#!/bin/sh\necho 'no user namespaces here' >&2\nexit 1\n")
    (no_bwrap / "bwrap").chmod(0o755)
    path = f"{no_bwrap}:{os.environ['PATH']}"
    results = {
        "fork": grade(tmp_path, "lab01", "--json", "-", course=course),
        "again": grade(tmp_path, "lab01", ".", "--json", "-", course=course),
        "file": grade(tmp_path, "lab01", str(file), "--json", "-", course=course),
        "spawn": grade(tmp_path, "lab01", "--start-method", "spawn", "--json", "-", course=course),
        "none": grade(tmp_path, "lab01", "--sandbox", "none", "--json", "-", course=course),
        "without bwrap": grade(tmp_path, "lab01", "--json", "-", course=course, PATH=path),
    }
    assert {name: done.returncode for name, done in results.items()} == dict.fromkeys(results, 1)
    records = {name: record(done) for name, done in results.items()}
    assert len({canonical(one) for one in records.values()}) == 1
    isolation = {name: one.environment.isolation for name, one in records.items() if one.environment}
    assert isolation["spawn"] == isolation["none"] == "none"
    without = records["without bwrap"].environment
    assert without is not None and isolation["without bwrap"] == "partial"
    assert without.sandbox["bwrap"] == "bwrap does not work here: no user namespaces here"
    assert without.sandbox["landlock"] is True and without.sandbox["seccomp"] is True


@pytest.mark.parametrize("words", [["--start-method", "spawn"], ["--sandbox", "none"]], ids=" ".join)
def test_every_output_says_that_nothing_was_isolated(tmp_path, course, words):
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", *words, "--json", "out.json", "--html", "out.html", course=course)
    assert done.returncode == 0 and "No isolation." in done.stdout
    assert "No isolation" in (tmp_path / "out.html").read_text()
    assert json.loads((tmp_path / "out.json").read_text())["environment"]["isolation"] == "none"
    quiet = grade(tmp_path, "lab01", *words, "-q", course=course)
    assert "no isolation" in quiet.stdout and len(quiet.stdout.splitlines()) == 2


@linux
def test_partial_isolation_is_said_with_the_reason(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    empty = tmp_path / "bin"
    empty.mkdir()
    (empty / "bwrap").write_text("#!/bin/sh\necho 'not allowed' >&2\nexit 1\n")
    (empty / "bwrap").chmod(0o755)
    done = grade(tmp_path, "lab01", course=course, PATH=f"{empty}:{os.environ['PATH']}")
    assert done.returncode == 0
    assert "Partly isolated. Off: bwrap (bwrap does not work here: not allowed)." in " ".join(done.stdout.split())


# The other commands


def test_start_never_overwrites(tmp_path, course):
    done = grade(tmp_path, "start", "lab01", "new/folder", course=course)
    assert done.returncode == 0 and "scale, jitter" in done.stdout
    file = tmp_path / "new" / "folder" / "lab01.py"
    assert file.read_text() == toy.STARTER
    file.write_text("mine")
    done = grade(tmp_path, "start", "lab01", "new/folder", course=course)
    assert done.returncode == 2 and file.read_text() == "mine"
    assert "is already there and stays as it is" in done.stderr
    # Not through a dangling link either.
    (tmp_path / "lab01.py").symlink_to(tmp_path / "elsewhere.py")
    assert grade(tmp_path, "start", "lab01", course=course).returncode == 2
    assert not (tmp_path / "elsewhere.py").exists()


def test_hints_rise_and_stay_at_the_last(tmp_path, course):
    said = [grade(tmp_path, "hint", "lab01", "scale", course=course).stdout for _ in range(3)]
    assert said[0].startswith("Hint 1 of 2 for scale: Think of multiplication.")
    assert said[1] == said[2] == "Hint 2 of 2 for scale: It is the star.\n"
    assert "There are no hints for jitter" in grade(tmp_path, "hint", "lab01", "jitter", course=course).stdout


def test_report_writes_the_page_of_the_last_result_again(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    assert grade(tmp_path, "lab01", "-q", course=course).returncode == 0
    page = tmp_path / ".grade" / "lab01" / "report.html"
    before = page.read_text()
    page.unlink()
    (tmp_path / "lab01.py").unlink()  # telling never runs anything
    done = grade(tmp_path, "report", "lab01", course=course)
    assert done.returncode == 0 and done.stdout == ".grade/lab01/report.html\n"
    assert page.read_text() == before


def test_read_and_list_and_status(tmp_path, course):
    assert "Scale, then jitter." in grade(tmp_path, "read", "lab01", course=course).stdout
    listed = grade(tmp_path, "list", course=course).stdout
    assert "lab01  Toys" in listed and "-/7 points" in listed and "scale " in listed
    assert "not started" in grade(tmp_path, course=course).stdout
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind
    write(tmp_path, toy.REFERENCE.replace("x * factor", "x + factor"))
    grade(tmp_path, "lab01", course=course)
    assert "3/7 points" in grade(tmp_path, "list", course=course).stdout
    status = grade(tmp_path, course=course).stdout
    assert "3 of 7 points" in status and "1 task to do" in status and "Next: grade lab01" in status


def test_the_last_whole_result_stays_when_a_task_is_graded_alone(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", "--task", "scale", course=course)
    assert done.returncode == 0 and done.stderr == ""
    assert "not started" in grade(tmp_path, course=course).stdout
    write(tmp_path, toy.REFERENCE.replace("x * factor", "x + factor"))
    assert grade(tmp_path, "lab01", course=course).returncode == 1
    assert grade(tmp_path, "lab01", "--task", "jitter", course=course).returncode == 0
    status = grade(tmp_path, course=course).stdout
    assert "3 of 7 points" in status and "1 task to do" in status


def test_a_file_that_does_not_load_leaves_the_last_result(tmp_path, course):
    write(tmp_path, toy.REFERENCE.replace("x * factor", "x + factor"))
    assert grade(tmp_path, "lab01", course=course).returncode == 1
    kept = (tmp_path / ".grade" / "lab01" / "result.json").read_bytes()
    for beginning in ("def scale(:\n", "import nosuchmodule\n", "import os\nos._exit(0)\n"):
        write(tmp_path, beginning + toy.REFERENCE)
        done = grade(tmp_path, "lab01", "--html", "page.html", course=course)
        assert done.returncode == 3 and done.stderr == ""
        assert (tmp_path / ".grade" / "lab01" / "result.json").read_bytes() == kept
        assert "<title>0/7 " in (tmp_path / "page.html").read_text()  # where it is asked for it tells of this file
        assert "3/7 points" in grade(tmp_path, "list", course=course).stdout


def test_no_picture_is_drawn_that_nobody_will_see(tmp_path):
    root = toy.make(tmp_path / "toy").root
    (root / "exercises" / "lab01_toy" / "figures.py").write_text(FIGURES)
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "lab01", "--task", "scale", course=root)
    assert done.returncode == 0 and done.stderr == ""
    done = grade(tmp_path, "lab01", "--task", "scale", "--html", "page.html", course=root)
    assert done.returncode == 0 and "the picture broken of lab01 could not be drawn" in done.stderr
    assert "Lines" in (tmp_path / "page.html").read_text()


def test_repro_writes_a_script_that_runs_and_prints(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "repro", "lab01", "plain", course=course)
    assert done.returncode == 0 and "repro_lab01_plain.py" in done.stdout
    script = tmp_path / "repro_lab01_plain.py"
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout.startswith("tensor([[") and ran.stdout.count(",") >= 5
    # The inputs are those of the check: another answer of the student's shows.
    write(tmp_path, toy.REFERENCE.replace("x * factor", "print('factor', factor)"))
    again = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert again.stdout == "factor 2.0\nNone\n"


def test_repro_gives_no_hidden_check_away(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    done = grade(tmp_path, "repro", "lab01", "secret", course=course)
    assert done.returncode == 2 and "its inputs are not given away. Visible ones of its task: plain" in done.stderr
    done = grade(tmp_path, "repro", "lab01", "nonsense", course=course)
    assert done.returncode == 2 and "has no check 'nonsense'" in done.stderr
    assert not list(tmp_path.glob("repro*"))


def test_doctor_names_versions_and_layers(tmp_path, course):
    done = grade(tmp_path, "doctor", course=course)
    assert done.returncode == 0
    for name in ("torch", "diffusers", "pytest", "bwrap", "landlock", "seccomp"):
        assert f" {name}" in done.stdout
    if sys.platform == "linux":
        hidden = grade(tmp_path, "doctor", course=course, PATH=str(tmp_path))
        assert "--  bwrap: bwrap is not installed (package bubblewrap)" in hidden.stdout


def test_schema_describes_the_record(tmp_path, course):
    schema = json.loads(grade(tmp_path, "schema", course=course).stdout)
    write(tmp_path, toy.REFERENCE)
    data = json.loads(grade(tmp_path, "lab01", "--json", "-", course=course).stdout)
    assert set(data) == set(schema["properties"])


def test_a_desk_that_cannot_be_written_is_a_note(tmp_path, course):
    write(tmp_path, toy.REFERENCE)
    (tmp_path / ".grade").write_text("a file, not a folder")
    done = grade(tmp_path, "lab01", course=course)
    assert done.returncode == 0 and "7 of 7 points" in done.stdout
    assert "note: the result could not be kept in .grade/" in done.stderr
    done = grade(tmp_path, "hint", "lab01", "scale", course=course)
    assert done.returncode == 0 and "Hint 1 of 2" in done.stdout
