"""`grade release`: the student edition, a folder that pip installs, two wheels, and a git repository to start from.

It holds the engine, starters, pages, visible checks, and what reference and edits *answer* to them. It holds no line of
the reference, of a hidden check or of an edit, nor the course's seed.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import gzip
import hashlib
import math
import os
import platform
import shutil
import symtable
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grader import outputs, weights
from grader.authoring import template
from grader.authoring.edition import SEED, build_wheels, quoted, sign, write_course
from grader.authoring.leaks import Leaks
from grader.checking import drawing, record
from grader.checking.calls import Call
from grader.checking.compare import TOLERANCES
from grader.checking.oracle import LiveOracle
from grader.checking.session import ROOM, Bench, CheckContext, Examination, examine
from grader.checking.sketch import Viewed, is_plain, sketched
from grader.course import Course, Lab
from grader.digests import drawing_digest, engine, libraries
from grader.errors import CourseError, UsageError
from grader.grading import open_bench
from grader.reports.asked import checks_of
from grader.sandbox.client import Answer, Budget, Worker
from grader.sandbox.launcher import Profile, Sandbox
from grader.sandbox.values import Tensor
from grader.submission import parse

COPIED = ("lab.toml", "page.md", "starter.py", "scenarios.py", "hints.toml", "figures.py")
EDIT_SECONDS = 30.0
MOST_DRAWN = 4_000  # bytes, packed, of one answer to a picture in the edition itself
ANSWERS, DRAWN = "answers.bin", "drawn.bin"  # a lab's recording; what needs the trained weights lies apart

# Tells how far a release is: labs done, labs in all, what is done now.
Progress = Callable[[int, int, str], None]
Answers = dict[record.Key, Answer]


@dataclass(frozen=True)
class Released:
    """What `release` wrote."""

    labs: Sequence[str]
    folder: Path
    wheels: Sequence[Path]  # the edition's, and that of the trained weights where the course has some
    repository: Path | None


def release(
    course: Course,
    target: Path,
    progress: Progress,
    *,
    wheels: Path | None = None,
    repository: Path | None = None,
    updates: str = "",
    kept: Path | None = None,
) -> Released:
    """Write the student edition into the new folder `target`, its wheels into `wheels`, and a git `repository`.

    `updates` is where its successors are going to lie. In the folder `kept` lies what was recorded before: a lab that
    is as it was is not recorded again.
    """
    for new in filter(None, (target, repository)):
        if os.path.lexists(new):
            raise UsageError(f"{new} is already there; a release is written into a new folder.")
    if any(lab.is_student_edition for lab in course.labs):
        raise CourseError("this is a student edition already: it holds no reference to record answers from.")
    folders = [folder for folder in (target.parent, wheels, repository and repository.parent) if folder]
    with _made(folders), tempfile.TemporaryDirectory(prefix=".release-", dir=target.parent) as unfinished:
        part = Path(unfinished) / target.name
        for lab in course.labs:
            _write_lab(lab, part / "exercises" / lab.folder.name)
        write_course(course, part)
        leaks = Leaks(course, part)
        leaks.refuse_folder(part)  # before anything is recorded: that takes a minute
        pictures = _record(course, part, progress, kept)
        edition = sign(course, part, updates)
        leaks.refuse_folder(part)
        built = build_wheels(course, part, edition, pictures, Path(unfinished)) if wheels else []
        for path in built:
            leaks.refuse_wheel(path)
        if repository:
            says = f"{course.manifest.title} {course.manifest.version}, student edition {edition.digest}"
            _moved(template.write(part, Path(unfinished) / "git", says, edition.released), repository)
        moved = [_moved(path, wheels / path.name) for path in built] if wheels else []
        part.rename(target)
    return Released([lab.id for lab in course.labs], target, moved, repository)


@contextlib.contextmanager
def _made(folders: Sequence[Path]) -> Iterator[None]:
    """Make the folders that are missing; where nothing comes of it, take them away again."""
    missing = [folder for folder in folders if not folder.exists()]
    try:
        for folder in missing:
            outputs.folder(folder)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # something lies in it, or it was not made
                folder.rmdir()
        raise


def _moved(path: Path, target: Path) -> Path:
    shutil.move(path, target)  # which may be on another disk
    return target


def _write_lab(lab: Lab, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in COPIED:
        if (lab.folder / name).is_file():
            shutil.copyfile(lab.folder / name, folder / name)
    checks = visible_checks(lab.checks_path.read_text(encoding="utf-8"))
    (folder / "checks.py").write_text(f'"""The visible checks of {lab.id}."""\n\n{checks}', encoding="utf-8")
    known = "\n".join(_named_only(lab)).encode()
    (folder / "misconceptions.toml.gz").write_bytes(gzip.compress(known, mtime=0))


# Recording


def _record(course: Course, part: Path, progress: Progress, kept: Path | None) -> dict[str, bytes]:
    """Write every lab's answers; return those to the pictures that need the trained weights, as files of their wheel.

    One process that has imported torch serves all labs, and one that has diffusers too: they know nothing of any.
    """
    pictures = {}
    keeps = {lab.id: kept / f"{lab.id}-{_recorded_from(lab)}" if kept else None for lab in course.labs}
    uses_meta_device = any(lab.manifest.uses_meta_device for lab in course.labs)
    waiting = [lab for lab in course.labs if not _is_kept(keeps[lab.id])]
    wanted = {of for lab in waiting for of in (lab.manifest.libraries, _drawn_with(lab))}
    with contextlib.ExitStack() as opened:
        # All import at the same time.
        sandboxes = {of: opened.enter_context(Sandbox(of, meta_device=uses_meta_device)) for of in sorted(wanted)}
        for done, lab in enumerate(course.labs):
            public = dataclasses.replace(lab, folder=part / "exercises" / lab.folder.name)
            say = _Say(progress, done, len(course.labs), lab.id)
            folder = keeps[lab.id]
            if folder is None or not _is_kept(folder):
                recording = _Recording(lab, public, part, sandboxes, say)
                folder = folder or part.parent / lab.id
                _keep(recording, lab, folder)
            shutil.copyfile(folder / ANSWERS, public.answers_path)
            if (folder / DRAWN).is_file():
                pictures[f"{weights.ANSWERS}/{lab.id}.bin"] = (folder / DRAWN).read_bytes()
    progress(len(course.labs), len(course.labs), "")
    return pictures


def _recorded_from(lab: Lab) -> str:
    """Return the digest of everything that a lab's recording hangs on."""
    parts = [engine("authoring"), *libraries(lab), platform.machine(), lab.source, drawing_digest(lab)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _is_kept(folder: Path | None) -> bool:
    return folder is not None and (folder / ANSWERS).is_file()


def _keep(recording: _Recording, lab: Lab, folder: Path) -> None:
    outputs.folder(folder)
    if recording.drawn:
        record.write(folder / DRAWN, recording.drawn, lab.source)
    record.write(folder / f"{ANSWERS}.part", recording.answers, lab.source)
    (folder / f"{ANSWERS}.part").replace(folder / ANSWERS)  # last, and whole: it says that the recording is there


def _drawn_with(lab: Lab) -> Profile:
    return lab.manifest.figure_libraries or lab.manifest.libraries


@dataclass(frozen=True)
class _Say:
    progress: Progress
    done: int
    total: int
    lab: str

    def __call__(self, text: str) -> None:
        self.progress(self.done, self.total, f"{self.lab}: {text}")


class _Recording:
    """What the reference and each single edit of one lab answer: to the visible checks, to the figures.

    `public` is the lab with the edition's own files: what is recorded is what they ask for, and no hidden check runs.
    """

    def __init__(
        self, lab: Lab, public: Lab, part: Path, sandboxes: Mapping[Profile, Sandbox], say: Callable[[str], None]
    ) -> None:
        self.answers: Answers = {}
        self.drawn: Answers = {}  # to pictures that need the trained weights, or whose answers are large
        self._lab, self._public, self._say = lab, public, say
        say("the visible checks")
        with open_bench(public, SEED, sandboxes[lab.manifest.libraries]) as bench:
            oracle = bench.oracle
            assert isinstance(oracle, LiveOracle)
            seen = self._examined(bench, oracle)
            self.answers = dict(oracle.answers)
            self._record_edits(seen, oracle)
        with open_bench(public, SEED, sandboxes[_drawn_with(lab)]) as bench:
            self._record_figures(bench, part)

    def _examined(self, bench: Bench, oracle: LiveOracle) -> Examination:
        reference = parse(self._lab.reference.encode(), f"{self._lab.id}.py")
        seen = examine(bench, reference)
        _refuse_lost_checks(self._lab, bench, seen)
        before = _asked(seen, oracle)
        after = _asked(examine(_ShakenBench(bench), reference), oracle)
        if moved := sorted({after[key] for key in after.keys() - before.keys()}):
            raise CourseError(
                f"{', '.join(moved)} of {self._lab.id} makes a call from the student's own answer. Only calls that are "
                "the same for everyone can be recorded: build the input from the reference, or make the check a "
                "hidden one."
            )
        return seen

    def _record_edits(self, seen: Examination, oracle: LiveOracle) -> None:
        spellings = [spelling for mistake in self._lab.misconceptions for spelling in mistake.spellings]
        calls = {task: _by_key(one.call for one in script) for task, script in seen.scripts.items()}
        total, done = sum(len(calls.get(edit.task, {})) for edit in spellings), 0
        for edit in spellings:
            budget = Budget(EDIT_SECONDS)  # one for all its calls: what a worker has used so far is asked once a budget
            for key, asked in calls.get(edit.task, {}).items():
                answer = oracle.edited([edit], asked[0], budget)
                if answer is not None and ((edit.key,), key) in oracle.answers:
                    self.answers[((edit.key,), key)] = _kept(answer, asked)
                done += 1
                if done % 20 == 0:
                    self._say(f"known mistakes, {done} of {total} answers")

    def _record_figures(self, bench: Bench, part: Path) -> None:
        """Draw with the edition's fixtures, which hold no trained weights, then with the course's own.

        What the first gives lies in the edition, unless it is large: then it lies with the weights, too.
        """
        self._say("the pictures")
        oracle = bench.oracle
        assert isinstance(oracle, LiveOracle)
        tasks = [task.id for task in self._lab.tasks]
        drawing.draw(bench, tasks, root=part, play=_RecordedPlay)
        small = {
            key: one for key, one in _without_inputs(oracle.answers).items() if record.packed_size(one) <= MOST_DRAWN
        }
        self.answers = small | self.answers
        drawing.draw(bench, tasks, play=_RecordedPlay)
        self.drawn = {key: one for key, one in _without_inputs(oracle.answers).items() if key not in self.answers}


def _without_inputs(answers: Answers) -> Answers:
    """Return answers without what is known of the inputs: nobody looks what a picture's code does to those."""
    return {key: dataclasses.replace(answer, made=None) for key, answer in answers.items()}


class _RecordedPlay(drawing.Play):
    """Gives the reference's answer for both sides: what a figure asks is recorded, and only once."""

    def __init__(self, bench: Bench, with_student: bool, budget: Budget) -> None:
        """Take the bench; nobody sits at it."""
        super().__init__(bench, False, budget)
        self._both_sides = with_student

    def _both(self, call: Call) -> tuple[Any, Any]:
        _, expected = super()._both(call)
        return (expected if self._both_sides else None), expected


def _by_key(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """Return calls by key: the same request may be looked at in several ways."""
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(call.key, []).append(call)
    return found


def _kept(answer: Answer, asked: Sequence[Call]) -> Answer:
    """Return what is kept of an edit's answer: sketches of its tensors, where each check can compare with those.

    Of the value and the calls of models only what is looked at is kept.
    """
    looked_at = dataclasses.replace(
        answer,
        value=None if all(call.of_calls for call in asked) else answer.value,
        calls=answer.calls if any(call.of_calls for call in asked) else {},
        made=None,
    )
    changed = sketched(looked_at.changed)
    small = dataclasses.replace(looked_at, value=sketched(looked_at.value), changed=changed)
    small = dataclasses.replace(small, calls=sketched(looked_at.calls))
    if _agree(asked, answer, small):
        return small
    (call, *others) = asked
    if call.view is not None and not others and not answer.error:
        # The view reads numbers: what it has made of them is kept in their place.
        seen = call.view(answer.calls if call.of_calls else answer.value)
        small = dataclasses.replace(looked_at, value=Viewed(sketched(seen)), calls={}, changed=changed)
        if is_plain(seen) and _agree(asked, answer, small):
            return small
    return looked_at


def _agree(asked: Sequence[Call], answer: Answer, kept: Answer) -> bool:
    """Tell whether every check that asks sees in what is kept the answer itself."""
    try:
        return all(call.compare(answer, kept).difference is None for call in asked)
    except Exception:  # the view of a check may read any number of what it is shown
        return False


def _refuse_lost_checks(lab: Lab, bench: Bench, seen: Examination) -> None:
    """Raise CourseError unless the edition has every visible check, and the reference passes them."""
    lost = {one.id for one in checks_of(lab, bench.sandbox) if one.mark.visible} ^ {one.id for one in seen.checks}
    if lost:
        raise CourseError(
            f"{lab.folder.name}/checks.py: {', '.join(sorted(lost))} cannot be told from its text to be a visible "
            "check. Write it as a function at the top level, with @check(task, visible=True)."
        )
    for one in seen.checks:
        if one.verdict.outcome != "passed":
            why = one.verdict.evidence.yours if one.verdict.evidence else one.verdict.message
            raise CourseError(f"the reference does not pass {one.id} of the student edition: {why}")


class _ShakenBench(Bench):
    """Another bench's sandbox, oracle and checks; for a student's answers stand the reference's, off by the last digit.

    They still pass. But a call that is made from one of them is not the call that was recorded.
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.lab, bench.sandbox, bench.course_seed)
        self.oracle, self.checks = bench.oracle, bench.checks
        self._call: Call | None = None

    def ask_student(
        self, call: Call, budget: Budget, memory_mib: int | None = None, *, watched: bool = False
    ) -> Worker:
        self._call = call
        return self.student_worker(budget)  # which is asked nothing

    def student_answer(self, worker: Worker, context: CheckContext, room: Callable[[], int] = lambda: ROOM) -> Answer:
        assert self._call is not None
        answer = self.oracle.answer(self._call)
        return dataclasses.replace(answer, value=_shaken(answer.value))

    def with_inputs(self, answer: Answer, worker: Worker, expected: Answer) -> Answer:
        return answer


def _shaken(value: Any) -> Any:
    if isinstance(value, Tensor) and value.array is not None and value.dtype in TOLERANCES:
        return dataclasses.replace(value, array=np.nextafter(value.array, value.array.dtype.type(math.inf)))
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    if isinstance(value, dict):
        return {key: _shaken(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_shaken(item) for item in value)
    return value


def _asked(seen: Examination, oracle: LiveOracle) -> dict[str, str]:
    """Return each call's key, with the check that made it; calls to the reference alone are in no script."""
    asked = {key: "a visible check" for _, key in oracle.answers}
    return asked | {one.call.key: one.check for script in seen.scripts.values() for one in script}


# What of checks.py is shown


def visible_checks(source: str) -> str:
    """Return the text of checks.py with its visible checks and what they use, and nothing of the hidden ones."""
    shown: dict[int, ast.stmt] = {}
    others: dict[int, ast.stmt] = {}
    used = {"annotations"}  # of __future__
    for position, node in enumerate(ast.parse(source).body):
        visible = _is_visible(node)
        if visible:
            shown[position] = node
            used |= _names(node)[1]
        elif visible is None:
            others[position] = node
    while needed := {position: node for position, node in others.items() if _names(node)[0] & used}:
        for position, node in needed.items():
            del others[position]
            shown[position] = node
            used |= _names(node)[1]
    in_order = [node for _, node in sorted(shown.items())]
    pieces = ["\n".join(_imports(in_order, used))]
    pieces += [_text(source, node) for node in in_order if not _is_import(node)]
    return "\n\n\n".join(piece for piece in pieces if piece) + "\n"


def _is_visible(node: ast.stmt) -> bool | None:
    """Return whether a function is a visible check; None where it is no check at all."""
    for decorator in getattr(node, "decorator_list", []):
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] == "check":
            return any(k.arg == "visible" and ast.unparse(k.value) == "True" for k in decorator.keywords)
    return None


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _names(node: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the module's names that a statement binds, and those that it reads."""
    binds: set[str] = set()
    reads: set[str] = set()
    top = symtable.symtable(ast.unparse(node), "checks.py", "exec")
    tables = [top]
    for table in tables:
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table is top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                binds.add(symbol.get_name())
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                reads.add(symbol.get_name())
    return binds, reads


def _imports(nodes: Iterable[ast.stmt], used: set[str]) -> Iterator[str]:
    """Yield the import statements among `nodes`, each with the names that are used."""
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
            yield ast.unparse(
                ast.Import(names) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, names, node.level)
            )


def _text(source: str, node: ast.stmt) -> str:
    """Return a statement as its author wrote it."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return "\n".join(source.split("\n")[first - 1 : node.end_lineno])


# The other files


def _named_only(lab: Lab) -> Iterator[str]:
    """Yield misconceptions.toml without the edits: id, sentence, anchor, number of spellings."""
    for edit in lab.misconceptions:
        yield f"[{edit.task}.{edit.id}]"
        yield f"says = {quoted(edit.says)}\nsee = {quoted(edit.see)}\nrecorded = {len(edit.spellings)}\n"
