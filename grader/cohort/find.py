"""From what an LMS exported to one `Entry` a student: which file counts, when it came, and what is odd about it."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from grader.cohort import archives, layouts
from grader.cohort.layouts import Attempt, File, Handed
from grader.cohort.limits import TooSlow, at_most
from grader.cohort.matching import matched
from grader.cohort.overrides import Override, is_about
from grader.cohort.records import Entry, Found
from grader.cohort.roster import Enrolled, Known, Roster, in_order, pseudonyms, read_key, read_roster, write_key
from grader.cohort.sources import Sources
from grader.course import Lab
from grader.digests import source_digest
from grader.errors import SubmissionError, UsageError
from grader.results import Problem
from grader.submission import parse
from grader.text import clean_name

MAX_CANDIDATES = 50  # Python files of one student that are looked into when none has the lab's name
MAX_SECONDS = 10.0  # of CPU for one student's files, before anything of them is run


@dataclass(slots=True)
class _Pick:
    """What counts of what one student handed in."""

    handed: Handed
    attempt: Attempt
    due: datetime | None
    late: bool
    student: str = ""  # the pseudonym
    file: File | None = None
    source: str | None = None  # its digest
    is_starter: bool = False
    problem: Problem | None = None
    notes: list[str] = field(default_factory=list)
    attempts: int = 1


def find(
    path: Path,
    lab: Lab,
    *,
    layout: str = "auto",
    roster: Path | None = None,
    deadline: datetime | None = None,
    key_path: Path,
    sources: Sources,
    trust_tags: bool = False,
    overrides: Sequence[Override] = (),
    slow: dict[str, str] | None = None,
) -> Found:
    """Find every submission of `lab` in a folder or a zip file, and write the key file that says who is who.

    The files that count are kept in `sources`. Of `overrides` the extensions move a deadline. What took too
    long to look through is put into `slow`, and what stands there already is not looked through again.

    Nothing a student hands in stops the rest: what cannot be read is an entry with a problem. Several attempts: the
    last one before the deadline counts, else the last one. UsageError: `path`, the roster or the key cannot be read.
    """
    if deadline is not None and deadline.tzinfo is None:
        raise UsageError("the deadline has no time zone; write 2026-11-22T23:59+01:00.")
    enrolled = read_roster(roster) if roster is not None else None
    known = read_key(key_path)
    with contextlib.ExitStack() as stack:
        members = stack.enter_context(archives.opened(path))
        zone = deadline.tzinfo if deadline else None
        sorted_ = layouts.sort(members, path, layout, lab.id, zone, stack, trust_tags)
        handed = matched(sorted_.handed, enrolled)
        picks = [
            _picked(one, lab, _due(one, enrolled, deadline, overrides), sources, slow if slow is not None else {})
            for one in handed
        ]
    for pick in picks:
        for override in overrides:
            if override.extension is not None and override.file and (pick.source or "").startswith(override.file):
                pick.due = override.extension.astimezone(UTC)
                pick.late = bool(pick.attempt.submitted_at and pick.attempt.submitted_at > pick.due)
    if not picks:
        what = f" ({', '.join(sorted_.ignored[:5])} left out)" if sorted_.ignored else ""
        raise UsageError(f"nobody handed in anything: {path} holds no submission{what}.")
    present = {number for one in handed for number in one.rows}
    missing = [row for number, row in enumerate(enrolled.rows if enrolled else []) if number not in present]
    people = [*(one.known_as for one in handed), *([row.identity] for row in missing)]
    named = pseudonyms(known, people, [pick.source or source_digest(b"") for pick in picks])
    for pick, student in zip(picks, named, strict=False):
        pick.student = student
    _note_twins(picks)
    lines = {student: [line.identity, *line.also] for student, line in known.students.items()}
    students = dict(known.students)
    owners: list[_Pick | Enrolled] = [*picks, *missing]
    for student, identities, who in zip(named, people, owners, strict=True):
        mine = set(itertools.chain(*people)) - set(identities)  # what is another's now is no longer this one's
        also = [name for name in dict.fromkeys([*identities[1:], *lines.get(student, [])]) if name not in mine]
        also = [name for name in also if name != identities[0]]
        if isinstance(who, _Pick):
            whole = (who.file.whole if who.file else "") or who.attempt.whole
            parts = dict.fromkeys(attempt.whole for attempt in who.handed.attempts) if who.handed.parts > 1 else {}
            others = [name for name in parts if name != who.attempt.whole]
            students[student] = Known(
                identity=identities[0], also=also, submission=whole, others=others, people=who.handed.people
            )
        else:
            students[student] = Known(identity=identities[0], also=also, people=[who.person])
    write_key(key_path, known.model_copy(update={"students": dict(sorted(students.items()))}))
    return Found(
        layout=sorted_.layout,
        entries=sorted(_entries(picks, lab), key=lambda entry: in_order(entry.student)),
        unmatched=sorted(named[len(picks) :], key=in_order),
        ignored=sorted_.ignored,
        notes=sorted_.notes,
    )


def _due(
    one: Handed, roster: Roster | None, deadline: datetime | None, overrides: Sequence[Override]
) -> datetime | None:
    """This student's deadline; a group has the latest of its members'. A decision about one student stands."""
    for override in reversed(overrides):
        if override.extension is not None and is_about(override.student, one.known_as, one.people):
            return override.extension.astimezone(UTC)
    given = [roster.rows[number].due for number in one.rows] if roster else []
    extensions = [due for due in given if due is not None]
    dues = [*extensions, *([deadline.astimezone(UTC)] if deadline else [])]
    return max(dues, default=None)


def _picked(one: Handed, lab: Lab, due: datetime | None, sources: Sources, slow: dict[str, str]) -> _Pick:
    """Choose the attempt and the file that count; say so where there was a choice."""

    def is_late(attempt: Attempt) -> bool:
        return attempt.late or bool(due and attempt.submitted_at and attempt.submitted_at > due)

    ordered = sorted(one.attempts, key=lambda a: (a.submitted_at or datetime.min.replace(tzinfo=UTC), a.order, a.whole))
    in_time = [attempt for attempt in ordered if not is_late(attempt)]
    attempt = (in_time or ordered)[-1]
    known = all(a.submitted_at is not None or any(a.order) for a in ordered)
    pick = _Pick(one, attempt, due, is_late(attempt), attempts=len(ordered) + one.earlier)
    pick.notes += attempt.notes
    if len(ordered) > 1:
        last = "the last before the deadline" if in_time and len(in_time) < len(ordered) else "the last"
        says = (
            f"counts: {shown_name(attempt)}"
            if known
            else f"by name counts, for no time is known: {shown_name(attempt)}"
        )
        pick.notes.append(f"{len(ordered)} attempts; {last} {says}.")
    elif one.earlier:
        pick.notes.append(f"Attempt {pick.attempts}; earlier ones are not in the export.")
    seen = _seen(ordered if one.parts > 1 else [attempt], lab)
    try:
        if seen in slow:
            raise SubmissionError("unreadable", slow[seen])
        with at_most(MAX_SECONDS, f"{lab.id}.py"):
            if one.parts > 1 and not known:
                _refuse_two(ordered, lab)
            pick.file, others = _chosen(attempt.files, lab)
            source = pick.file.member.source()
            if _looks_like_a_notebook(source):
                raise SubmissionError("notebook", _is_notebook(pick.file.filename, f"{lab.id}.py"))
            parse(source, pick.file.filename)
        if pick.file.filename != f"{lab.id}.py":
            pick.notes.append(f"{pick.file.filename} was taken as {lab.id}.py.")
        if others:
            names = ", ".join(sorted({other.filename for other in others}))
            there = "There is another file" if len(others) == 1 else f"There are {len(others)} other files"
            pick.notes.append(f"{there} that could be meant ({names}); {pick.file.filename} counts.")
        pick.source = sources.keep(source)
        if source.replace(b"\r\n", b"\n") == lab.starter.encode():
            pick.is_starter = True
            pick.notes.append("It is the lab's starter, unchanged.")
    except TooSlow as error:
        slow[seen] = str(error)
        pick.problem = Problem(kind=error.kind, message=str(error))
    except SubmissionError as error:
        pick.problem = Problem(kind=error.kind, message=str(error), line=error.line)
    return pick


def _seen(attempts: Sequence[Attempt], lab: Lab) -> str:
    """Return a digest of what is there to look through, without reading it."""
    files = [[*file.member.parts, *map(str, file.member.stamp)] for attempt in attempts for file in attempt.files]
    return source_digest(json.dumps([lab.id, *files]).encode("utf-8", "surrogatepass"))


def _refuse_two(attempts: Sequence[Attempt], lab: Lab) -> None:
    """Raise SubmissionError where members of a team handed in different files, and nobody says which is the newest."""
    found = [_chosen(attempt.files, lab)[0].member.source() for attempt in attempts if attempt.files]
    if len(set(found)) > 1:
        names = ", ".join(sorted(attempt.shown for attempt in attempts))
        says = f"members of one team handed in different files, and no time is known: {names}. Keep one of them."
        raise SubmissionError("several", says)


def shown_name(attempt: Attempt) -> str:
    """Name an attempt by its time, or by its folder where no time is known."""
    return attempt.submitted_at.isoformat(timespec="minutes") if attempt.submitted_at else attempt.shown


def _chosen(files: Sequence[File], lab: Lab) -> tuple[File, list[File]]:
    """Return the file to grade and the others that could have been meant; SubmissionError where none is.

    By name first, then by what it defines: a file called homework.py is still somebody's work.
    """
    files, trouble = _opened(files)
    wanted = f"{lab.id}.py"
    python = [file for file in files if re.search(r"\.py(\.txt)?\Z", file.filename, re.IGNORECASE)]
    named = [file for file in python if lab.id in file.filename.lower()]
    notebooks = [file for file in files if file.filename.lower().endswith(".ipynb")]
    if notebooks and not named and not _defining(python, lab):
        raise SubmissionError("notebook", _is_notebook(notebooks[0].filename, wanted))
    ways: Sequence[Callable[[], list[File]]] = (
        lambda: [file for file in python if file.filename.lower() == wanted],
        lambda: named,
        lambda: _defining(python, lab) or (python if len(python) == 1 else []),
    )
    for way in ways:
        candidates = way()
        readable = [file for file in candidates if file.member.refused is None]
        if len(readable) == 1 or (readable and _alike(readable)):
            rivals = [file for file in named[:MAX_CANDIDATES] if file not in candidates]
            rivals = [file for file in rivals if not _alike([file, readable[0]])]
            return readable[0], rivals
        if readable:
            return _newest(readable, lab)
        trouble += [file.member.refused for file in candidates if file.member.refused is not None]
    trouble += [file.member.refused for file in files if file.member.refused is not None]
    if trouble:
        raise trouble[0]
    names = sorted({file.filename for file in files})
    if not names:
        raise SubmissionError("missing", f"no {wanted} was handed in.")
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise SubmissionError("missing", f"no {wanted} was handed in, but {listed}. Hand in {wanted} itself.")


def _is_notebook(name: str, wanted: str) -> str:
    return f"{name} is a notebook, which is not graded. Save it as a Python file, {wanted}."


def _looks_like_a_notebook(source: bytes) -> bool:
    """Tell whether a file is a notebook, whatever it is called: JSON with cells."""
    head = source.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if head != b"{" or b'"cells"' not in source:
        return False
    try:
        found = json.loads(source)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("cells"), list)


def _opened(files: Sequence[File]) -> tuple[list[File], list[SubmissionError]]:
    """Look into archives, one level deep."""
    found: list[File] = []
    trouble: list[SubmissionError] = []
    for file in files:
        if file.member.is_other_archive:
            says = f"{file.filename} is an archive of a kind that is not read; hand in the Python file itself."
            trouble.append(SubmissionError("bad_archive", says))
            continue
        if not file.member.is_archive:
            found.append(file)
            continue
        try:
            inside = archives.inner(file.member)
        except SubmissionError as error:
            trouble.append(error)
            continue
        for member in inside:
            if member.is_junk or member.is_folder:
                continue
            if member.is_archive or member.is_other_archive:
                says = f"{member.name} is an archive within an archive; hand in the Python file itself."
                trouble.append(SubmissionError("bad_archive", says))
            else:
                found.append(File(member, member.name, file.order, file.whole, file.shown))
    return sorted(found, key=lambda file: file.member.parts), trouble


def _defining(python: Sequence[File], lab: Lab) -> list[File]:
    tasks = {task.id for task in lab.tasks}
    found = []
    for file in python[:MAX_CANDIDATES]:
        try:
            definitions = parse(file.member.source(), file.filename).definitions
        except SubmissionError:
            continue
        if tasks & definitions.keys():
            found.append(file)
    return found


def _alike(files: Sequence[File]) -> bool:
    if len(files) > MAX_CANDIDATES:
        return False
    found = set()
    for file in files:
        try:
            found.add(file.member.source())
        except SubmissionError:
            return False
    return len(found) == 1


def _newest(files: Sequence[File], lab: Lab) -> tuple[File, list[File]]:
    """Return the one that the LMS calls newest, else the only one that lies outermost, and the others."""
    for rank in (lambda file: file.order, lambda file: (-len(file.member.parts),)):
        best = max(rank(file) for file in files)
        top = [file for file in files if rank(file) == best]
        if len(top) == 1:
            return top[0], [file for file in files if file is not top[0]]
    names = ", ".join("/".join(clean_name(part) for part in file.member.parts) for file in files[:5])
    raise SubmissionError("several", f"several files could be the submission: {names}. Keep one, named {lab.id}.py.")


def _note_twins(picks: Sequence[_Pick]) -> None:
    """Say whose file is the same, byte for byte; everybody's unchanged starter is not a twin."""
    same: dict[str, list[_Pick]] = {}
    for pick in picks:
        if pick.source is not None and not pick.is_starter:
            same.setdefault(pick.source, []).append(pick)
    for group in same.values():
        for pick in group:
            others = sorted((other.student for other in group if other is not pick), key=in_order)
            if others:
                pick.notes.append(f"The same file, byte for byte, as {', '.join(others)}.")


def _entries(picks: Sequence[_Pick], lab: Lab) -> list[Entry]:
    entries, taken = [], set()
    for pick in picks:
        name = base = (pick.file.shown if pick.file else "") or pick.attempt.shown
        number = 1
        while name in taken:
            number += 1
            name = f"{base} ({number})"
        taken.add(name)
        entries.append(
            Entry(
                submission=name,
                student=pick.student,
                filename=pick.file.filename if pick.file else f"{lab.id}.py",
                source=pick.source,
                problem=pick.problem,
                submitted_at=pick.attempt.submitted_at,
                due=pick.due,
                late=pick.late,
                attempts=pick.attempts,
                notes=pick.notes,
            )
        )
    return entries


def mapping(found: Found) -> list[tuple[str, str, str, str, str]]:
    """Return the table of `--dry-run`: student, submission, file, when, and everything a person should know of it."""
    table = [
        (
            entry.student,
            entry.submission,
            entry.filename if entry.source is not None else "-",
            (entry.submitted_at.isoformat(timespec="minutes") if entry.submitted_at else "-")
            + (" late" if entry.late else ""),
            # Of a syntax error the place below the first line is for the student.
            " ".join((entry.problem.message.splitlines()[:1] if entry.problem else []) + entry.notes),
        )
        for entry in found.entries
    ]
    return table + [
        (student, "-", "-", "-", "On the roster, but nothing was handed in.") for student in found.unmatched
    ]
