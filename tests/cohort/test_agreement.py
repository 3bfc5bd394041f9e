"""Three hundred made submissions with everything that a class brings: every figure agrees, wherever it is told."""

import csv
import html
import io
import json
import random
import re
import statistics
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from grader.cli.instructor import read_cohort
from grader.cohort.roster import read_key
from tests import toy
from tests.cohort.inside import Quick, cohort, command
from tests.cohort.made import result

DEADLINE = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)
OUTCOMES = ["passed", "passed", "failed", "crashed", "timed_out"]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course"))


def answer(id, source):
    """What a judge finds, which hangs on the file alone."""
    dice = random.Random(source)
    return result({name: dice.choice(OUTCOMES) for name in ("plain", "secret", "draws")}, digest=id[:16])


class Made:
    """A class as Brightspace exports it, and what is true of it."""

    def __init__(self, seed, folder, count):
        dice = random.Random(seed)
        self.people = [f"{n:04}" for n in range(1, count + 1)]
        self.handed, teams, lines, decisions = {}, {}, [], []
        self.decided = {}  # who -> which points a person decided, and how many
        for place, who in enumerate(self.people):
            name = f"{dice.choice('ABCDE')}nn {dice.choice('KLMNO')}ee{place if dice.random() < 0.7 else ''}"
            team = f"team{place // 2}" if place < count // 5 else ""
            extended = DEADLINE + timedelta(days=2) if dice.random() < 0.1 else None
            lines.append([name, f"brightspace:{who}", f"{who}@uni.edu", team, extended.isoformat() if extended else ""])
            if dice.random() < 0.1:
                lines.append([name, f"brightspace:{who}", "", team, ""])  # in two sections
            kind = dice.choice(["file"] * 8 + ["nothing", "notes", "broken", "zip"])
            if kind == "nothing":
                if not team and dice.random() < 0.5:  # a person decides about somebody who handed in nothing
                    self.decided[who] = (None, 2.5)
                    decisions.append(f'student = "brightspace:{who}"\npoints = 2.5')
                continue
            for _ in range(dice.choice([1, 1, 1, 2])):
                at = DEADLINE + timedelta(hours=dice.randint(-90, 60))
                when = at.strftime("%b %d, %Y %I%M %p").replace(" 0", " ", 1) if dice.random() < 2 else ""
                here = folder / f"{who}-6 - {name} - {when}"
                here.mkdir(parents=True, exist_ok=True)
                text = f"x = {dice.randint(1, 10**6)}\n".encode()
                if kind == "notes":
                    (here / "notes.txt").write_bytes(b"sorry")
                elif kind == "broken":
                    (here / "lab01.py").write_bytes(b"def scale(:\n")
                elif kind == "zip":
                    with zipfile.ZipFile(here / "work.zip", "w") as archive:
                        archive.writestr("lab01.py", text)
                else:
                    (here / "lab01.py").write_bytes(text)
            self.handed[who] = kind
            teams.setdefault(team, []).append(who)
            if not team and dice.random() < 0.15:
                what = dice.choice(["points", 'late = "waived"', "extension = 2026-12-01T00:00:00+00:00"])
                if what == "points":
                    item, points = dice.choice([("jitter", 1), ("lab01/scale.plain", 2), (None, 3.5)])
                    self.decided[who] = (item, points)
                    what = (f'item = "{item}"\n' if item else "") + f"points = {points}"
                decisions.append(f'student = "brightspace:{who}"\n{what}')
        self.roster = io.StringIO()
        csv.writer(self.roster).writerows(
            [["Name", "ID", "Email", "Team", "Extension"], *dice.sample(lines, len(lines))]
        )
        signed = 'why = "It was so."\nby = "mk"\ndate = 2026-11-24\n'
        self.adjust = "[late]\ngrace_minutes = 15\nper_day = 0.25\nmax_days = 2\n"
        self.adjust += "".join(f"[[override]]\n{text}\n{signed}" for text in decisions)


@pytest.mark.parametrize(("seed", "count"), [(1, 300), (2, 60), (3, 60), (4, 60)])
def test_every_figure_agrees_everywhere(tmp_path, course, seed, count):
    made = Made(seed, tmp_path / "in", count)
    (tmp_path / "class.csv").write_text(made.roster.getvalue())
    (tmp_path / "a.toml").write_text(made.adjust)
    words = (tmp_path / "in", "-o", tmp_path / "out", "--roster", tmp_path / "class.csv")
    words += ("--adjust", tmp_path / "a.toml", "--deadline", DEADLINE.isoformat())
    code, _, err = cohort(course, *words, executor=Quick(answer=answer))
    assert code == 0, err
    out = tmp_path / "out"
    rows = {row.student: row for row in read_cohort(out).rows}
    found = read_cohort(out).found
    key = read_key(out / "students.key.json").students

    # Nobody is lost and nobody is there twice.
    people = [person.lms for student in [*rows, *found.unmatched] for person in key[student].people]
    assert sorted(people) == sorted(f"brightspace:{who}" for who in made.people)

    # Each row's own figures, from the checks up.
    for row in rows.values():
        assert row.score.earned == sum(check.earned for check in row.checks)
        points = row.score.earned
        for change in row.adjustments:
            points = change.after if change.by == "late policy" else round(points + change.after - change.before, 2)
        assert row.final == points
        staff = [change for change in row.adjustments if change.by == "staff" and change.item is None]
        assert not staff or row.final == staff[-1].after  # the policy does not cut what a person decided

    # What a person decided stands at whom it was decided about, and at nobody else.
    told = {
        person.lms.removeprefix("brightspace:"): [(c.item, c.after) for c in row.adjustments if c.by == "staff"]
        for row in rows.values()
        for person in key[row.student].people
    }
    assert {who: one for who, one in told.items() if one} == {who: [one] for who, one in made.decided.items()}

    # grades.csv, items.csv
    with (out / "grades.csv").open(newline="", encoding="utf-8") as file:
        table = {line["student"]: line for line in csv.DictReader(file)}
    assert table.keys() == rows.keys()
    for student, line in table.items():
        row = rows[student]
        assert line["points"] == ("" if row.undecided else str(row.final)) and float(line["graded"]) == row.score.earned
        assert (line["late"] == "late", line["submission"]) == (row.late, row.submission)
        assert {task.id: float(line[task.id]) for task in row.tasks} == {task.id: task.earned for task in row.tasks}
    with (out / "items.csv").open(newline="", encoding="utf-8") as file:
        earned = {}
        for line in csv.DictReader(file):
            earned[line["student"]] = earned.get(line["student"], 0.0) + float(line["earned"])
    assert earned == {student: row.score.earned for student, row in rows.items() if row.checks}

    # cohort.html and the pages
    page = (out / "cohort.html").read_text(encoding="utf-8")
    page = page[page.index('id="mt"') :]
    for student, row in rows.items():
        line = re.search(rf"<tr[^>]*>(?:(?!</tr>).)*{student}\.html(?:(?!</tr>).)*</tr>", page, re.DOTALL)[0]
        total = re.search(r'class="tot" data-v="([^"]+)">([^<]*)<', line)
        if row.undecided:
            assert total[2] == "–"
        else:
            assert float(total[1]) == pytest.approx(row.final) and float(total[2]) == pytest.approx(row.final, abs=0.06)
        own = html.unescape((out / "students" / f"{student}.html").read_text(encoding="utf-8"))
        assert f"<title>{row.score.earned:g}/{row.score.possible:g} · lab01 Toys · {student} · " in own
        assert ("After this your score is" in own) == bool(row.adjustments)
        if row.adjustments:
            assert f"After this your score is {row.final:g} of {row.score.possible:g} points" in own
    assert len(list((out / "students").glob("*.html"))) == len(rows)

    # The last line
    scores = [row.final for row in rows.values() if not row.undecided]
    last = err.strip().splitlines()[-1]
    told = f"graded {len(scores)} · median {statistics.median(scores):g} · unusable {len(rows) - len(scores)}"
    assert last.startswith(f"{told} · missing {len(found.unmatched)} · ")

    # Exports
    expected = {person.lms: row for row in rows.values() for person in key[row.student].people}
    code, _, err = command(None, "export", out, "--to", "names", "-o", tmp_path / "named.csv")
    with (tmp_path / "named.csv").open(newline="", encoding="utf-8") as file:
        named = {f"brightspace:{line['email'].split('@')[0]}": line for line in csv.DictReader(file)}
    assert code == 0 and named.keys() == expected.keys()
    assert all(named[who]["points"] == ("" if row.undecided else str(row.final)) for who, row in expected.items())

    book = [["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade", "Changed"]]
    book += [[f"Participant {who}", "x", f"{who}@uni.edu", "Submitted", "", "7.00", "Yes"] for who in made.people]
    with (tmp_path / "moodle.csv").open("w", newline="") as file:
        csv.writer(file).writerows(book)
    words = ("export", out, "--to", "moodle", "--gradebook", tmp_path / "moodle.csv", "-o", tmp_path / "up.csv")
    assert command(None, *words)[0] == 0
    with (tmp_path / "up.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            row = expected.get(f"brightspace:{line['Email address'].split('@')[0]}")
            assert line["Grade"] == ("" if row is None or row.undecided else f"{row.final:.10g}")

    assert command(None, "export", out, "--to", "gradescope", "-o", tmp_path / "results")[0] == 0
    for row in rows.values():
        path = tmp_path / "results" / row.submission / "results.json"
        assert path.exists() == (not row.undecided)
        assert row.undecided or json.loads(path.read_text())["score"] == row.final

    assert command(None, "export", out, "--to", "feedback", "-o", tmp_path / "f.zip")[0] == 0
    with zipfile.ZipFile(tmp_path / "f.zip") as archive:
        names = archive.namelist()
        assert len(names) == len(set(names)) >= len(rows)
        for row in rows.values():
            mine = (out / "students" / f"{row.student}.html").read_bytes()
            name = key[row.student].submission or row.student
            assert archive.read(f"{name}/report.html") == mine

    # And the same line again changes nothing.
    before = (out / "grades.csv").read_bytes()
    again = Quick(answer=answer)
    words = (tmp_path / "in", "-o", tmp_path / "out", "--roster", tmp_path / "class.csv")
    words += ("--adjust", tmp_path / "a.toml", "--deadline", DEADLINE.isoformat())
    assert cohort(course, *words, executor=again)[0] == 0
    assert again.asked == [] and (out / "grades.csv").read_bytes() == before
