"""Hostile submissions for real labs, each beside its honest twin: what the same code earns without its trick.

A file of tests/attacks/boundary is both. `# trick` to `# end of trick` is left out for the twin, in which the lines
that begin with `# twin: ` in there stand in its place. So the two cannot drift apart. Its first line says

    # attacks LAB TASK[, TASK] | what it tries

and further comments on top, where they hold: `# unwitnessed: what nobody sees, so that it earns more than its twin`,
`# reported: what a process says of itself, for a tenth of its task at most`, `# openly: what plain code does to the
same effect` (in the third edition the lines `# openly: ` stand in the trick's place, and the trick may earn what that
code earns), `# undone: why the twin lacks nothing`, `# isolated: what holds it back` (it is not tried without
isolation), `# full: why it is tried nowhere else`,
`# a user too`, `# seeds: two` (what a student is shown must be the same whatever the hidden inputs are), `# on the
desk` (the trick lies in the folder that is handed in, see DESKS), `# quiet: why it cannot say so` (else the trick
prints `in place` once it is).

    python -m tests.sandbox.boundary            grades all pairs in every mode, and prints the table
    python -m tests.sandbox.boundary --write    writes it into docs/security.md
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from grader.checking.session import Bench
from grader.course import Lab, load
from grader.grading import Job, assess, open_bench
from grader.results import for_student
from grader.sandbox.launcher import Sandbox
from grader.submission import parse

from .users import python_for_everyone, user_who_is_nobody

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "attacks" / "boundary"
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- attacks: made by `python -m tests.sandbox.boundary --write` -->", "<!-- end of attacks -->"
MODES = ("full", "no bwrap", "none")
USER = " as a user"
FLAGS = (
    "unwitnessed",
    "reported",
    "openly",
    "undone",
    "isolated",
    "full",
    "a user too",
    "seeds",
    "on the desk",
    "quiet",
)
PLACED = "in place"
MOST_REPORTED = 0.1  # of a task's points: docs/authors.md


@dataclass(frozen=True)
class Pair:
    """One file, read."""

    name: str
    lab: str
    tasks: tuple[str, ...]
    tries: str
    flags: dict[str, str]
    text: str

    @property
    def modes(self) -> tuple[str, ...]:
        """Return where it is tried."""
        return MODES[:1] if "full" in self.flags else MODES[:2] if "isolated" in self.flags else MODES

    @cached_property
    def twin(self) -> str:
        """Return the source without its trick."""
        return _edition(self.text, "twin")

    @cached_property
    def plain(self) -> str | None:
        """Return plain code that has the same effect, where there is any."""
        return _edition(self.text, "openly") if "openly" in self.flags else None


def _edition(text: str, word: str) -> str:
    """Return a source with the lines `# WORD: ` of each trick in the trick's place."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.strip() == "# trick":
            inside = True
        elif line.strip() == "# end of trick":
            inside = False
        elif not inside:
            kept.append(line)
        elif line.strip().startswith(f"# {word}: "):
            kept.append(line.replace(f"# {word}: ", "", 1))
    assert not inside, "a trick does not end"
    return "\n".join(kept) + "\n"


def read(path: Path) -> Pair:
    """Read one file; ValueError for a head that is not understood."""
    text = path.read_text(encoding="utf-8")
    head = re.match(r"# attacks (lab\d+) ([\w, ]+) \| (.+)\n((?:# .+\n)*)", text)
    if head is None:
        raise ValueError(f"{path.name} does not begin with `# attacks LAB TASK | what it tries`")
    flags = {}
    for line in head[4].splitlines():
        key, _, why = line.removeprefix("# ").partition(": ")
        if key not in FLAGS:
            raise ValueError(f"{path.name}: no flag is called {key!r}")
        flags[key] = why
    return Pair(path.stem, head[1], tuple(head[2].split(", ")), head[3], flags, text)


def pairs() -> list[Pair]:
    """Return all of them, by name."""
    return [read(path) for path in sorted(FOLDER.glob("*.py"))]


@dataclass(frozen=True)
class Earned:
    """What one edition earned."""

    points: dict[str, float]  # by task
    possible: dict[str, float]
    passed: frozenset[str]  # checks
    reported: frozenset[str]
    placed: bool = False  # it has said that its trick is in place
    shown: str = ""  # what a student is shown, where that is asked for

    @property
    def total(self) -> float:
        """Return the points of all tasks."""
        return round(sum(self.points.values()), 2)


@dataclass(frozen=True)
class Tried:
    """A pair in one mode: twin and attack, plain code of the same effect, and an honest file afterwards."""

    pair: Pair
    mode: str
    twin: Earned
    attack: Earned
    honest: Earned
    plain: Earned | None = None

    def faults(self, lab: Lab) -> Iterator[str]:
        """Yield what does not hold, as sentences."""
        worth = {task: lab.task(task).points for task in self.pair.tasks}
        for name in ("twin", "attack", "honest"):
            found: Earned = getattr(self, name)
            if found.possible != worth:
                yield f"of {worth} points, {found.possible} were to be had by the {name}"
        if self.honest.points != worth:
            yield f"the honest file afterwards earns {self.honest.points}"
        if ("undone" in self.pair.flags) == (self.twin.points != worth):
            yield f"its twin earns {self.twin.points}: is there anything to gain?"
        if "quiet" not in self.pair.flags and not self.attack.placed:
            yield "its trick never was in place"
        flags, won = self.pair.flags, self.attack.passed - self.twin.passed
        more = {task: self.attack.points[task] - self.twin.points[task] for task in worth}
        more = {task: points for task, points in more.items() if points > 1e-9}
        if not more and flags.keys() & {"unwitnessed", "reported", "openly"}:
            yield "it is said to earn more than its twin, and does not: take that line out and write the table anew"
        if more and "reported" in flags:
            if not won <= self.attack.reported:
                yield f"what a process reports of itself is not all that it earns by: {sorted(won)}"
            if any(points > MOST_REPORTED * worth[task] for task, points in more.items()):
                yield "it earns more than a tenth of its task by what its process reports"
        elif more and self.plain is not None:
            if any(self.attack.points[task] > self.plain.points[task] + 1e-9 for task in worth):
                yield f"it earns {self.attack.points}, plain code of the same effect {self.plain.points}"
        elif more and "unwitnessed" not in flags:
            yield f"it earns {self.attack.points}, its twin {self.twin.points}: by {', '.join(sorted(won))}"
        if self.twin.shown != self.attack.shown:
            yield "what a student is shown hangs on the hidden inputs"


# Grading


@contextlib.contextmanager
def machine(mode: str) -> Iterator[None]:
    """Be a machine without bwrap, where that is the mode."""
    path = os.environ["PATH"]
    if mode == "no bwrap":
        os.environ["PATH"] = "/nonexistent"
    try:
        yield
    finally:
        os.environ["PATH"] = path


class Graders:
    """One sandbox for each kind of lab and mode, one bench for each lab and mode."""

    def __init__(self) -> None:
        """Read the course."""
        self.course = load(ROOT)
        self._opened = contextlib.ExitStack()
        self._sandboxes: dict[tuple[Any, ...], Sandbox] = {}
        self._benches: dict[tuple[str, str], Bench] = {}

    def __enter__(self) -> Graders:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close all."""
        self._opened.close()

    def try_pair(self, pair: Pair, mode: str) -> Tried:
        """Grade twin and attack in one mode, and the reference as an honest file after them."""
        lab = self.course.lab(pair.lab)
        if "on the desk" in pair.flags:
            twin, attack = (self._on_a_desk(pair, mode, name) for name in ("", pair.name))
            return Tried(pair, mode, twin, attack, self._grade(lab, mode, pair.tasks, lab.reference))
        twin, attack = (self._grade(lab, mode, pair.tasks, text) for text in (pair.twin, pair.text))
        if "seeds" in pair.flags:
            other = self._grade(lab, mode, pair.tasks, pair.text, seed="5eed")
            one = self._grade(lab, mode, pair.tasks, pair.text)
            twin, attack = (Earned(**{**vars(e), "shown": s.shown}) for e, s in ((twin, other), (attack, one)))
        plain = None if pair.plain is None else self._grade(lab, mode, pair.tasks, pair.plain)
        return Tried(pair, mode, twin, attack, self._grade(lab, mode, pair.tasks, lab.reference), plain)

    def _grade(self, lab: Lab, mode: str, tasks: Sequence[str], source: str, seed: str = "") -> Earned:
        with machine(mode):
            bench = self._bench(lab, mode)
            if seed:
                bench.course_seed = seed
            try:
                result, seen = assess(
                    Job(lab, parse(source.encode(), f"{lab.id}.py"), tasks), bench, diagnose=bool(seed)
                )
            finally:
                bench.course_seed = self.course.seed
        said = seen.load_output + "".join(one.verdict.output for one in seen.checks)
        shown = for_student(result).model_dump(mode="json", exclude={"submission", "seed", "environment"})
        for task in shown["tasks"]:
            task.pop("diagnosis", None)
        return Earned(
            {task.id: task.earned for task in result.tasks},
            {task.id: task.possible for task in result.tasks},
            frozenset(check.id for check in result.checks if check.outcome == "passed"),
            frozenset(one.id for one in seen.checks if one.mark.reported),
            PLACED in said,
            json.dumps(shown) if "# seeds: two\n" in source else "",
        )

    def _bench(self, lab: Lab, mode: str) -> Bench:
        if (lab.id, mode) not in self._benches:
            manifest = lab.manifest
            kind = manifest.libraries, manifest.uses_meta_device, mode
            if kind not in self._sandboxes:
                sandbox = Sandbox(
                    manifest.libraries,
                    isolation="none" if mode == "none" else "auto",
                    meta_device=manifest.uses_meta_device,
                )
                self._sandboxes[kind] = self._opened.enter_context(sandbox)
                sandbox.ready()
                wanted = {"full": "full", "no bwrap": "partial", "none": "none"}[mode]
                assert sandbox.isolation == wanted, f"{mode}: {sandbox.layers}"
            bench = open_bench(lab, self.course.seed, self._sandboxes[kind])
            self._benches[lab.id, mode] = self._opened.enter_context(bench)
        return self._benches[lab.id, mode]

    def _on_a_desk(self, pair: Pair, mode: str, trick: str) -> Earned:
        with tempfile.TemporaryDirectory() as folder:
            desk = Path(folder) / "ann"
            desk.mkdir()
            (desk / f"{pair.lab}.py").write_text(pair.text, encoding="utf-8")
            if trick:
                DESKS[trick](desk)
            words = [f"--task={task}" for task in pair.tasks] + ["--json", "out.json"]
            words += ["--sandbox", "none"] if mode == "none" else []
            environment = {name: value for name, value in os.environ.items() if name not in ("GRADE_COURSE", "CI")}
            environment |= {"PATH": "/nonexistent"} if mode == "no bwrap" else {}
            command = [str(Path(sys.executable).with_name("grade")), pair.lab, *words]
            done = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True)
            assert "Traceback" not in done.stderr, done.stderr
            out = desk / "out.json"
            if not out.is_file():
                return Earned(dict.fromkeys(pair.tasks, 0.0), self._worth(pair), frozenset(), frozenset())
            result = json.loads(out.read_text(encoding="utf-8"))
        return Earned(
            {task["id"]: task["earned"] for task in result["tasks"] if task["id"] in pair.tasks},
            {task["id"]: task["possible"] for task in result["tasks"] if task["id"] in pair.tasks},
            frozenset(check["id"] for check in result["checks"] if check["outcome"] == "passed"),
            frozenset(),
        )

    def _worth(self, pair: Pair) -> dict[str, float]:
        return {task: self.course.lab(pair.lab).task(task).points for task in pair.tasks}


# What a folder that is handed in may hold beside the file


def _brings_a_course(desk: Path) -> None:
    folder = desk / "exercises"
    folder.mkdir()
    (folder / "course.toml").write_text(
        'format_version = 2\ntitle = "Mine"\nversion = "1"\nseed = 7\nlabs = ["lab01_easy"]\n', encoding="utf-8"
    )
    lab = folder / "lab01_easy"
    lab.mkdir()
    own = load(ROOT).lab("lab01")
    for name in ("lab.toml", "starter.py", "page.md", "hints.toml", "equivalents.toml", "scenarios.py"):
        (lab / name).write_bytes((own.folder / name).read_bytes())
    (lab / "misconceptions.toml").write_text("", encoding="utf-8")
    (lab / "checks.py").write_text(
        "from grader.kit import check\n\n\n"
        '@check("add_noise", visible=True)\ndef test_mine(compare):\n    """It holds."""\n',
        encoding="utf-8",
    )
    (desk / "reference").mkdir()
    (desk / "reference" / own.manifest.reference).write_text(own.reference, encoding="utf-8")


def _leaves_a_result(desk: Path) -> None:
    kept = desk / ".grade" / "lab01"
    kept.mkdir(parents=True)
    full = {"lab": "lab01", "score": {"earned": 5, "possible": 5}, "tasks": [], "checks": []}
    (kept / "result.json").write_text(json.dumps(full), encoding="utf-8")
    kept.chmod(0o500)


def _links_its_desk(desk: Path) -> None:
    outside = desk.parent / "outside"
    (outside / "lab01").mkdir(parents=True)
    (desk / ".grade").symlink_to(outside)
    (desk / "out.json").symlink_to(outside / "lab01" / "result.json")


def _links_to_the_reference(desk: Path) -> None:
    file = desk / "lab01.py"
    file.unlink()
    file.symlink_to(ROOT / "reference" / load(ROOT).lab("lab01").manifest.reference)


DESKS: dict[str, Callable[[Path], None]] = {
    "brings_a_course": _brings_a_course,
    "leaves_a_result": _leaves_a_result,
    "links_its_desk": _links_its_desk,
    "links_to_the_reference": _links_to_the_reference,
}


# As an ordinary user


def as_a_user(chosen: Sequence[Pair], modes: Sequence[str]) -> list[dict[str, Any]]:
    """Grade pairs in a process of an ordinary user; root steps down, anybody else is one."""
    # No virtual environment there: the libraries are found along a plain sys.path.
    path = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    names = [pair.name for pair in chosen]
    command = [*user_who_is_nobody(), python_for_everyone(), "-P", "-B", "-m", "tests.sandbox.boundary"]
    done = subprocess.run(
        [*command, "--json", *(f"--mode={mode}" for mode in modes), *names],
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def rows(chosen: Sequence[Pair], modes: Sequence[str], progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Grade pairs; return plain rows: name, mode, points of twin and attack, what does not hold."""
    found = []
    with Graders() as graders:
        for mode in modes:
            for pair in chosen:
                if mode not in pair.modes:
                    continue
                tried = graders.try_pair(pair, mode)
                faults = list(tried.faults(graders.course.lab(pair.lab)))
                row = {"name": pair.name, "mode": mode, "twin": tried.twin.total, "attack": tried.attack.total}
                progress(f"{pair.name}, {mode}: {tried.twin.total:g} {tried.attack.total:g}" + "; ".join(["", *faults]))
                found.append({**row, "faults": faults})
    return found


# The table

NOTES: dict[str, Callable[[str], str]] = {
    "unwitnessed": lambda says: f"Not witnessed: {says}",
    "reported": lambda says: f"Reported, for a tenth of the task at most: {says}",
    "openly": lambda says: f"{says[0].upper()}{says[1:]} earns as much",
}


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of docs/security.md."""
    columns = [*MODES, *(mode + USER for mode in MODES)]
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for row in found:
        by_name.setdefault(row["name"], {})[row["mode"]] = row
    course = load(ROOT)
    lines = ["| attack | on | it tries | worth | twin | " + " | ".join(columns) + " |", "| --- " * 11 + "|"]
    notes: dict[str, None] = {}
    for pair in pairs():
        rows_ = by_name[pair.name]
        twins = sorted({row["twin"] for row in rows_.values()})
        worth = sum(course.lab(pair.lab).task(task).points for task in pair.tasks)
        why = next((says(pair.flags[flag]) for flag, says in NOTES.items() if flag in pair.flags), None)
        if why:
            notes.setdefault(why)
        cells = []
        for column in columns:
            row = rows_.get(column)
            mark = f" ({list(notes).index(why) + 1})" if row and why and row["attack"] > row["twin"] else ""
            cells.append(f"{row['attack']:g}{mark}" if row else "–")
        where = f"{pair.lab} {', '.join(pair.tasks)}"
        shown = " or ".join(f"{points:g}" for points in twins)
        lines.append(f"| {pair.name} | {where} | {pair.tries} | {worth:g} | {shown} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {why}." for number, why in enumerate(notes, 1))]
    return "\n".join(lines)


def written() -> list[str]:
    """Return the names in the table as it stands."""
    body = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    return re.findall(r"^\| (\w+) \| lab", body, re.MULTILINE)


def write(text: str) -> None:
    """Put the table into its place."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    assert after, f"{PAGE.name} has no place for the table"
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main(words: Sequence[str]) -> int:
    """Grade what is named, or everything."""
    modes = [word.removeprefix("--mode=") for word in words if word.startswith("--mode=")] or list(MODES)
    names = [word for word in words if not word.startswith("--")]
    chosen = [pair for pair in pairs() if not names or pair.name in names]
    if "--json" in words:
        print(json.dumps(rows(chosen, modes, lambda says: None)))
        return 0
    found = rows(chosen, modes, lambda says: print(says, flush=True))
    users = [pair for pair in chosen if "a user too" in pair.flags]
    if users and "--as-i-am" not in words:
        found += [{**row, "mode": row["mode"] + USER} for row in as_a_user(users, modes)]
    faults = [f"{row['name']}, {row['mode']}: {fault}" for row in found for fault in row["faults"]]
    print("\n".join(faults))
    if "--write" in words and not faults:
        write(table(found))
    elif not names:
        print(table(found))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
