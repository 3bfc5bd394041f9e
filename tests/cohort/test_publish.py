"""What one run publishes: old or new and never mixed, by one run at a time, and nothing where it was refused."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

from grader import outputs
from grader.cli.instructor import read_cohort
from grader.cohort import publish
from grader.cohort.publish import FILES, Publication, held
from grader.cohort.run import canonical_cohort
from grader.errors import MachineError
from tests import toy
from tests.cohort.inside import Quick, cohort, command, forked, waited
from tests.cohort.made import result

PAGES = ("s001", "s002")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course"))


def write(out, mark, pages=PAGES):
    with Publication(out) as publication:
        for name in FILES:
            outputs.write(publication.folder / name, mark)
        for name in pages:
            outputs.write(publication.folder / "students" / f"{name}.html", mark)
        gone = publication.set_aside(pages)
        publication.finish()
    return gone


def marks(out):
    """What is seen in OUT: the mark in every file that is there."""
    files = [out / name for name in FILES] + sorted((out / "students").glob("*.html"))
    return {path.read_text() for path in files if path.exists()}


def whole(out):
    return all((out / name).exists() for name in FILES) and len(list((out / "students").glob("*.html"))) == 2


def test_what_is_published_is_seen_and_what_was_before_is_gone(tmp_path):
    write(tmp_path, "old")
    write(tmp_path, "new")
    assert marks(tmp_path) == {"new"} and whole(tmp_path) and len(list((tmp_path / ".published").iterdir())) == 1


def test_what_is_not_finished_leaves_nothing(tmp_path):
    write(tmp_path, "old")
    with pytest.raises(ZeroDivisionError), Publication(tmp_path) as publication:
        outputs.write(publication.folder / FILES[0], "new")
        1 / 0  # noqa: B018
    assert marks(tmp_path) == {"old"} and len(list((tmp_path / ".published").iterdir())) == 1


def test_a_page_of_somebody_who_left_is_moved_aside_and_stays_there(tmp_path):
    write(tmp_path, "old")
    assert write(tmp_path, "new", ["s001"]) == ["s002"]
    assert (tmp_path / "left" / "s002.html").read_text() == "old" and not (tmp_path / "students" / "s002.html").exists()
    assert write(tmp_path, "newer", ["s001"]) == []
    assert (tmp_path / "left" / "s002.html").read_text() == "old"
    assert write(tmp_path, "newest") == [] and not os.path.lexists(tmp_path / "left")


def test_files_of_an_earlier_version_are_taken_over(tmp_path):
    (tmp_path / "students").mkdir()
    for path in [*(tmp_path / name for name in FILES), *(tmp_path / "students" / f"{name}.html" for name in PAGES)]:
        path.write_text("old")
    assert write(tmp_path, "new", ["s001"]) == ["s002"]
    assert marks(tmp_path) == {"new"} and (tmp_path / "left" / "s002.html").read_text() == "old"


def test_links_that_somebody_laid_there_lead_nowhere(tmp_path):
    outside, out = tmp_path / "outside", tmp_path / "out"
    (outside / "students").mkdir(parents=True)
    (outside / "students" / "s009.html").write_text("private")
    out.mkdir()
    for name in ("students", ".current", "left"):
        (out / name).symlink_to(outside / "students" if name != ".current" else outside)
    assert write(out, "new") == []
    assert marks(out) == {"new"} and whole(out)
    assert [path.read_text() for path in outside.rglob("*.html")] == ["private"]
    assert not any(path.name == "s009.html" for path in (out / ".published").rglob("*"))


# Killed, or out of room, at every step

STEPS = ("open", "replace", "rename", "symlink", "unlink", "rmdir", "mkdir", "write")


def stopping_at(number, how):
    """Make every change of the disk count, and the one of that number be the last."""
    left = number

    def around(inner):
        def outer(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                how()
            return inner(*args, **kwargs)

        return outer

    for name in STEPS:
        setattr(os, name, around(getattr(os, name)))
    return lambda: left <= 0


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("first", [True, False], ids=["nothing there yet", "something there"])
@pytest.mark.parametrize("how", ["killed", "full"])
def test_at_no_moment_is_there_some_of_both(tmp_path, first, how):
    seen = set()
    for number in range(1, 200):
        out = tmp_path / f"{number}"
        out.mkdir()
        if not first:
            write(out, "old")

        def work(out=out, number=number):
            reached = stopping_at(number, full if how == "full" else lambda: os._exit(7))
            with contextlib.suppress(OSError):
                write(out, "new")
            return 7 if reached() else 0

        code = waited(forked(work))
        assert len(marks(out)) <= 1, number
        if not first:
            assert whole(out), number
        seen |= marks(out)
        write(out, "later")  # and the next run is not in the way of what was left
        assert marks(out) == {"later"} and whole(out)
        if code == 0:
            break
    else:
        pytest.fail("it has no end")
    assert number > 20 and seen == ({"new"} if first else {"old", "new"})


# One OUT, one run


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.sweep)])
def test_two_runs_at_once_in_one_folder(tmp_path, course, times):
    subs = tmp_path / "in"
    for number in range(6):
        (subs / f"u{number}").mkdir(parents=True)
        (subs / f"u{number}" / "lab01.py").write_text(f"x = {'1' * (number + 1)}\n")
    out = tmp_path / "out"
    told = None
    for _ in range(times):
        gate = os.pipe()

        def work(gate=gate):
            os.close(gate[1])
            os.read(gate[0], 1)  # both at once
            return cohort(course, subs, "-o", out, "--regrade", executor=Quick(wait=0.2))[0]

        children = [forked(work), forked(work)]
        os.close(gate[0])
        os.close(gate[1])
        assert sorted(map(waited, children)) == [0, 5]
        seen = canonical_cohort(read_cohort(out))
        assert seen == (told or seen)
        told = seen


def test_who_is_refused_is_told_by_whom(tmp_path):
    with held(tmp_path):
        pass

    def work():
        try:
            with held(tmp_path):
                return 0
        except MachineError as error:
            return 5 if f"is in use by process {parent} on " in str(error) and " since 20" in str(error) else 1

    parent = os.getpid()
    with held(tmp_path):
        assert waited(forked(work)) == 5
    assert waited(forked(work)) == 0


# Names


def test_no_file_but_the_key_holds_a_name_of_canvas_or_the_roster(tmp_path, course):
    names = [
        "LATE_anon_xY9z8_9002_lab01.py",
        "doejane_LATE_340935_208490285_lab01.py",
        "lastfirst_201_text.html",
        "foxcy_LATE_202_link.html",
        "group_3_7_LATE_340934_208490284_lab01.py",
    ]
    (tmp_path / "in").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "in" / name).write_text(f"x = {number}\n")
    people = ["Ann Leeds,xY9z8", "Jane Doe,340935", "First Last,201", "Cy Fox,202", "group 3 7,340934", "Zed Zorn,9"]
    (tmp_path / "class.csv").write_text("Name,ID\n" + "\n".join(people) + "\n")
    code, out, err = cohort(course, tmp_path / "in", "-o", tmp_path / "out", "--roster", tmp_path / "class.csv")
    assert code == 0
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    key = written.pop("students.key.json")
    told = [out.encode(), err.encode(), *written.values()]
    for name in (b"Leeds", b"Jane", b"First", b"Cy Fox", b"Zorn"):
        assert name in key and not any(name in text for text in told)
    for name in (b"doejane", b"lastfirst", b"foxcy", b"group_3"):
        assert not any(name in text for text in told)


# What a run that was refused has changed


@pytest.fixture
def graded(tmp_path, course):
    subs = tmp_path / "in"
    for name in ("u1", "u2", "u3"):
        (subs / name).mkdir(parents=True)
        (subs / name / "lab01.py").write_text(f"x = '{name}'\n")
    assert cohort(course, subs, "-o", tmp_path / "out")[0] == 0
    return tmp_path / "out"


def state(out):
    names = [*FILES, "students.key.json", *(f"students/{page.name}" for page in (out / "students").glob("*.html"))]
    return {name: (out / name).read_bytes() for name in names}


OVERRIDE = '[[override]]\nstudent = "{}"\n{}\npoints = {}\nwhy = "It was so."\nby = "mk"\ndate = 2026-11-24\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (OVERRIDE.format("u1", 'item = "lab01/scale.plian"', 1), "did you mean 'lab01/scale.plain'"),
        (OVERRIDE.format("u1", 'item = "scael"', 1), "did you mean 'scale'"),
        (OVERRIDE.format("u1", "", 100), "worth 7"),
        (OVERRIDE.format("u9", "", 1), "names 'u9'"),
        (OVERRIDE.format("s001", "", 1), "that is a pseudonym"),
        (OVERRIDE.format("u1", "", 1) * 2, "two overrides decide the same points"),
    ],
)
def test_a_run_that_ends_with_a_wrong_word_has_changed_nothing(tmp_path, course, graded, text, says):
    before = state(graded)
    (tmp_path / "in" / "u4").mkdir()
    (tmp_path / "in" / "u4" / "lab01.py").write_text("x = 'new'\n")
    (tmp_path / "a.toml").write_text(text)
    code, out, err = cohort(course, tmp_path / "in", "-o", graded, "--adjust", tmp_path / "a.toml")
    assert code == 2 and says in err and out == ""
    assert state(graded) == before


def test_the_same_decisions_never_land_on_somebody_else(tmp_path, course, graded):
    (tmp_path / "a.toml").write_text(OVERRIDE.format("u1", "", 1))
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "in", tmp_path / "more")
    for name in ("t1", "t2"):
        (tmp_path / "more" / name).mkdir()
        (tmp_path / "more" / name / "lab01.py").write_text(f"y = '{name}'\n")
    assert cohort(course, tmp_path / "more", "-o", other, "--adjust", tmp_path / "a.toml")[0] == 0
    assert cohort(course, tmp_path / "in", "-o", graded, "--adjust", tmp_path / "a.toml")[0] == 0
    for out in (graded, other):
        assert [row.submission for row in read_cohort(out).rows if row.final == 1] == ["u1"]


def test_a_folder_of_another_lab_is_refused(tmp_path, course, graded):
    key = graded / "students.key.json"
    key.write_text(key.read_text().replace('"lab": "lab01"', '"lab": "lab02"'))
    before = state(graded)
    code, _, err = cohort(course, tmp_path / "in", "-o", graded)
    assert code == 2 and "holds the grades of lab02" in err and state(graded) == before


def test_a_full_disk_is_a_sentence_and_changes_nothing(tmp_path, course, graded, monkeypatch):
    before = state(graded)
    inner = outputs.write

    def write(path, text):
        if path.parent.name == "students":
            full()
        inner(path, text)

    monkeypatch.setattr(outputs, "write", write)
    code, _, err = cohort(course, tmp_path / "in", "-o", graded)
    assert code == 5 and "No space left on device" in err and "stays as it was" in err and state(graded) == before


def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path, course, monkeypatch):
    def folder(path):
        raise OSError(errno.EROFS, "Read-only file system")

    (tmp_path / "in" / "u1").mkdir(parents=True)
    monkeypatch.setattr(outputs, "folder", folder)
    code, _, err = cohort(course, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 5 and "Read-only file system" in err


# A page or a row that fails costs itself


def test_a_page_that_fails_costs_itself(tmp_path, course, graded, monkeypatch):
    from grader.cli import publishing

    inner = publishing.student_page

    def page(row, **more):
        if row.digest == victim.digest:
            raise OverflowError("too large")
        return inner(row, **more)

    victim = read_cohort(graded).rows[1]
    monkeypatch.setattr(publishing, "student_page", page)
    code, _, err = cohort(course, tmp_path / "in", "-o", graded)
    assert code == 70 and "The page could not be made, which is a bug of ours (OverflowError)" in err
    assert "The page could not be made" in (graded / "students" / f"{victim.student}.html").read_text()
    assert [row.final for row in read_cohort(graded).rows][1] == victim.final


def test_the_class_page_that_fails_costs_itself(tmp_path, course, graded, monkeypatch):
    from grader.cli import publishing

    def page(*_):
        raise OverflowError("too large")

    monkeypatch.setattr(publishing, "cohort_page", page)
    code, _, _ = cohort(course, tmp_path / "in", "-o", graded)
    assert code == 70 and len(read_cohort(graded).rows) == 3
    assert "could not be made" in (graded / "cohort.html").read_text()


def test_a_kept_result_that_cannot_be_read_is_made_again(tmp_path, course, graded):
    import sqlite3

    with sqlite3.connect(graded / "results.sqlite") as database:
        source = database.execute("select source from results limit 1").fetchone()[0]
        database.execute("update results set result = x'00' where source = ?", (source,))
    database.close()
    before = canonical_cohort(read_cohort(graded))
    executor = Quick()
    assert cohort(course, tmp_path / "in", "-o", graded, executor=executor)[0] == 0
    assert [work.id for work in executor.asked] == [source] and canonical_cohort(read_cohort(graded)) == before


def test_a_decision_for_who_handed_in_nothing_is_a_row_with_its_reason(tmp_path, course, graded):
    (tmp_path / "class.csv").write_text("login,email\nu1,a@x\nu2,b@x\nu3,c@x\nzed,z@x\n")
    (tmp_path / "a.toml").write_text(OVERRIDE.format("z@x", "", 5))
    words = ("--roster", tmp_path / "class.csv", "--adjust", tmp_path / "a.toml")
    code, _, _ = cohort(course, tmp_path / "in", "-o", graded, *words)
    assert code == 0
    [row] = [row for row in read_cohort(graded).rows if row.problem]
    assert row.final == 5 and not row.undecided and "It was so. (mk, 2026-11-24)" in row.adjustments[0].why
    assert f"{row.student},nothing from {row.student},5.0,0.0,7.0" in (graded / "grades.csv").read_text()


def test_a_decision_for_who_handed_in_nothing_moves_nobody_elses_row(tmp_path, course):
    (tmp_path / "in" / "s002").mkdir(parents=True)
    (tmp_path / "in" / "s002" / "lab01.py").write_text("x = 1\n")
    (tmp_path / "class.csv").write_text("login,email\ns002,a@x\nzed,z@x\n")
    (tmp_path / "a.toml").write_text(OVERRIDE.format("z@x", "", 5))
    words = (tmp_path / "in", "-o", tmp_path / "out", "--roster", tmp_path / "class.csv")
    assert cohort(course, *words, "--adjust", tmp_path / "a.toml")[0] == 0
    first, second = read_cohort(tmp_path / "out").rows  # the one who handed in nothing comes first
    assert (first.student, first.final, len(first.adjustments)) == ("s001", 5, 1)
    assert (second.student, second.submission, second.adjustments) == ("s002", "s002", [])


def test_a_run_without_the_decisions_that_stood_says_whose_they_were(tmp_path, course, graded):
    (tmp_path / "a.toml").write_text(OVERRIDE.format("u1", "", 1))
    assert cohort(course, tmp_path / "in", "-o", graded, "--adjust", tmp_path / "a.toml")[0] == 0
    [u1] = [row.student for row in read_cohort(graded).rows if row.adjustments]
    said = "! what staff decided counted here before and is not in this run; --adjust keeps it: "
    assert said not in cohort(course, tmp_path / "in", "-o", graded, "--adjust", tmp_path / "a.toml")[2]
    assert said not in cohort(course, tmp_path / "in", "-o", graded, "--only", "u2")[2]  # u1's row stays as it is
    _, _, err = cohort(course, tmp_path / "in", "-o", graded)
    assert f"{said}{u1}\n" in err and not any(row.adjustments for row in read_cohort(graded).rows)


def test_an_extension_by_decision_moves_the_deadline_and_stands(tmp_path, course):
    folder = tmp_path / "in" / "1-6 - Ann Lee - Nov 23, 2026 800 AM"
    folder.mkdir(parents=True)
    (folder / "lab01.py").write_text("x = 11\n")
    text = OVERRIDE.format("brightspace:1", "extension = 2026-11-24T00:00:00+00:00", 1).replace("points = 1\n", "")
    (tmp_path / "a.toml").write_text("[late]\nper_day = 0.5\n" + text)
    words = (tmp_path / "in", "-o", tmp_path / "out", "--deadline", "2026-11-22T23:59+00:00")
    executor = Quick(answer=lambda id, source: result(digest=id[:16]))
    assert cohort(course, *words, "--adjust", tmp_path / "a.toml", executor=executor)[0] == 0
    [row] = read_cohort(tmp_path / "out").rows
    assert row.final == 7 and not row.late and row.due.day == 24 and "An extension until" in row.notes[-1]


def test_a_link_in_the_way_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), held(tmp_path):
        pass
    assert not Path(tmp_path / "elsewhere").exists() and publish.FILES


@pytest.mark.parametrize("when", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"])
def test_a_deadline_at_the_calendars_end_is_a_sentence(tmp_path, course, graded, when):
    code, _, err = cohort(course, tmp_path / "in", "-o", graded, "--deadline", when)
    assert code == 2 and "lies outside the calendar" in err


# A course that is broken


@pytest.mark.parametrize("name", ["exercises/lab01_toy/checks.py", "reference/lab01_toy.py"])
@pytest.mark.parametrize(
    "words",
    [
        ["lab01", "lab01.py"],
        ["cohort", "lab01", "in", "-o", "out"],
        ["cohort", "lab01", "in", "-o", "out", "--dry-run"],
        ["start", "lab01"],
        ["audit", "lab01"],
        ["audit"],
        ["release", "-o", "edition"],
        ["list"],
        ["read"],
        ["read", "lab01"],
        ["hint", "lab01", "scale"],
        ["new", "lab02"],
    ],
    ids=" ".join,
)
def test_a_syntax_error_of_the_courses_own_is_exit_code_4_with_file_and_line(tmp_path, monkeypatch, name, words):
    broken = toy.make(tmp_path / "course")
    path = broken.root / name
    path.write_text(path.read_text() + "\ndef broken(:\n")
    line = path.read_text().count("\n")
    (tmp_path / "in" / "u1").mkdir(parents=True)
    (tmp_path / "in" / "u1" / "lab01.py").write_text("x = 1\n")
    (tmp_path / "lab01.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    code, _, err = command(broken, *words)
    assert code == 4 and f"{path.parent.name}/{path.name}, line {line}: " in err


@pytest.mark.parametrize("words", [[], ["doctor"]], ids=["grade alone", "doctor"])
def test_what_needs_no_lab_says_it_too(tmp_path, monkeypatch, words):
    broken = toy.make(tmp_path / "course")
    path = broken.root / "exercises" / "lab01_toy" / "checks.py"
    path.write_text("def broken(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADE_COURSE", str(broken.root))
    code, out, err = command(None, *words)
    assert code == 4 and "lab01_toy/checks.py, line 1: " in out + err
