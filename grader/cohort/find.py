"""From what an LMS exported to one `Entry` a student: which file counts, when it came, and what is odd about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from grader.cohort import archives, layouts
from grader.cohort.layouts import Attempt, File, Handed
from grader.cohort.records import Entry, Found
from grader.cohort.roster import Key, Known, Roster, in_order, pseudonyms, read_key, read_roster, write_key
from grader.cohort.sheets import plain
from grader.cohort.sources import Sources
from grader.course import Lab
from grader.digests import source_digest
from grader.errors import SubmissionError, UsageError
from grader.results import Problem
from grader.submission import parse

MAX_CANDIDATES = 50  # Python files of one student that are looked into when none has the lab's name


@dataclass(slots=True)
class _Pick:
    """What counts of what one student handed in."""

    handed: Handed
    attempt: Attempt
    due: datetime | None
    late: bool
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
) -> Found:
    """Find every submission of `lab` in a folder or a zip file, and write the key file that says who is who.

    The files that count are kept in `sources`.

    Nothing a student hands in stops the rest: what cannot be read is an entry with a problem. Several attempts: the
    last one before the deadline counts, else the last one. UsageError: `path`, the roster or the key cannot be read.
    """
    if deadline is not None and deadline.tzinfo is None:
        raise UsageError("the deadline has no time zone; write 2026-11-22T23:59+01:00.")
    enrolled = read_roster(roster) if roster is not None else None
    known = read_key(key_path)
    with archives.opened(path) as members:
        sorted_ = layouts.sort(members, path, layout, lab.id, deadline.tzinfo if deadline else None)
        remembered = {line.identity for line in known.students.values()}
        handed, rows = _matched(sorted_.handed, enrolled, remembered)
        picks = [_picked(one, lab, _due(one, rows, enrolled, deadline), sources) for one in handed]
    present = set().union(*rows.values())
    missing = [row for number, row in enumerate(enrolled.rows if enrolled else []) if number not in present]
    identities = [one.identity for one in handed] + [row.identity for row in missing]
    named = pseudonyms(known, identities, [pick.source or source_digest(b"") for pick in picks])
    _note_twins(picks, named)
    entries = _entries(picks, named, lab)
    lines = dict(known.students)
    for row in missing:
        lines[named[row.identity]] = Known(identity=row.identity, people=[row.person])
    for pick in picks:
        whole = (pick.file.whole if pick.file else "") or pick.attempt.whole
        lines[named[pick.handed.identity]] = Known(
            identity=pick.handed.identity, submission=whole, people=pick.handed.people
        )
    write_key(key_path, Key(students=dict(sorted(lines.items()))))
    return Found(
        layout=sorted_.layout,
        entries=sorted(entries, key=lambda entry: in_order(entry.student)),
        unmatched=sorted((named[row.identity] for row in missing), key=in_order),
        ignored=sorted_.ignored,
    )


def _matched(
    handed: Sequence[Handed], roster: Roster | None, remembered: set[str]
) -> tuple[list[Handed], dict[str, set[int]]]:
    """Join what the roster says is one student's; return also which rows of the roster each one has."""
    result: dict[str, Handed] = {}
    rows: dict[str, set[int]] = {}
    owners: dict[int, str] = {}
    for one in handed:
        matches = [roster.find(person, one.label) for person in one.people] if roster else []
        found = {number for number in matches if number is not None}
        team = roster.team([one.label, *(person.name for person in one.people)], sorted(found)) if roster else []
        if roster is not None and team:
            found = set(team)
            one.people = [roster.rows[number].person for number in team]
            one.identity = f"team:{plain(roster.rows[team[0]].team)}"
        elif roster is not None:
            handed_name = one.people[0].name
            one.people = [
                person if number is None else person.joined(roster.rows[number].person)
                for person, number in zip(one.people, matches, strict=True)
            ]
            if not found:
                for attempt in one.attempts:
                    attempt.notes.append("Nobody on the roster fits it.")
            elif len(one.people) == 1:
                number = next(iter(found))
                if _another(handed_name, roster.rows[number].person.name):
                    one.attempts[-1].notes.append("Its number is on the roster, with another name: look whose it is.")
                if one.identity not in remembered and not _is_pseudonym(one.identity):
                    one.identity = roster.rows[number].identity
        owner = next((owners[number] for number in found if number in owners), one.identity)
        if owner in result and (len(one.people) == 1 or team):
            result[owner].attempts += one.attempts
            result[owner].earlier += one.earlier
        else:
            result[one.identity] = one
            owner = one.identity
        rows.setdefault(owner, set()).update(found)
        owners |= dict.fromkeys(found, owner)
    return list(result.values()), rows


def _another(name: str, listed: str) -> bool:
    """Tell whether two names have no word in common; Canvas writes smithbob for Smith, Bob."""
    return bool(name and listed) and not any(plain(word) in plain(name) for word in re.split(r"[\s,]+", listed) if word)


def _is_pseudonym(identity: str) -> bool:
    return identity.startswith("folder:s") and identity[8:].isdecimal() and len(identity) >= 11


def _due(one: Handed, rows: dict[str, set[int]], roster: Roster | None, deadline: datetime | None) -> datetime | None:
    """This student's deadline; a group has the latest of its members'."""
    given = [roster.rows[number].due for number in rows.get(one.identity, ())] if roster else []
    extensions = [due for due in given if due is not None]
    dues = [*extensions, *([deadline.astimezone(UTC)] if deadline else [])]
    return max(dues, default=None)


def _picked(one: Handed, lab: Lab, due: datetime | None, sources: Sources) -> _Pick:
    """Choose the attempt and the file that count; say so where there was a choice."""

    def is_late(attempt: Attempt) -> bool:
        return attempt.late or bool(due and attempt.submitted_at and attempt.submitted_at > due)

    ordered = sorted(one.attempts, key=lambda a: (a.submitted_at or datetime.min.replace(tzinfo=UTC), a.order, a.whole))
    in_time = [attempt for attempt in ordered if not is_late(attempt)]
    attempt = (in_time or ordered)[-1]
    pick = _Pick(one, attempt, due, is_late(attempt), attempts=len(ordered) + one.earlier)
    pick.notes += attempt.notes
    if len(ordered) > 1:
        known = all(a.submitted_at is not None or any(a.order) for a in ordered)
        last = "the last before the deadline" if in_time and len(in_time) < len(ordered) else "the last"
        says = (
            f"counts: {shown_name(attempt)}"
            if known
            else f"by name counts, for no time is known: {shown_name(attempt)}"
        )
        pick.notes.append(f"{len(ordered)} attempts; {last} {says}.")
    elif one.earlier:
        pick.notes.append(f"Attempt {pick.attempts}; earlier ones are not in the export.")
    try:
        pick.file, others = _chosen(attempt.files, lab)
        source = pick.file.member.source()
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
    except SubmissionError as error:
        pick.problem = Problem(kind=error.kind, message=str(error), line=error.line)
    return pick


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
    ways: Sequence[Callable[[], list[File]]] = (
        lambda: [file for file in python if file.filename.lower() == wanted],
        lambda: named,
        lambda: _defining(python, lab) or (python if len(python) == 1 else []),
    )
    for way in ways:
        candidates = way()
        readable = [file for file in candidates if file.member.refused is None]
        if len(readable) == 1 or (readable and _alike(readable)):
            rivals = [file for file in named if file not in candidates and not _alike([file, readable[0]])]
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
    notebook = any(name.lower().endswith(".ipynb") for name in names)
    advice = f"Save the notebook as a Python file, {wanted}" if notebook else f"Hand in {wanted} itself"
    raise SubmissionError("missing", f"no {wanted} was handed in, but {listed}. {advice}.")


def _opened(files: Sequence[File]) -> tuple[list[File], list[SubmissionError]]:
    """Look into archives, one level deep."""
    found: list[File] = []
    trouble: list[SubmissionError] = []
    for file in files:
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
            if member.is_archive:
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
    try:
        return len({file.member.source() for file in files[:MAX_CANDIDATES]}) == 1 and len(files) <= MAX_CANDIDATES
    except SubmissionError:
        return False


def _newest(files: Sequence[File], lab: Lab) -> tuple[File, list[File]]:
    """Return the one that the LMS calls newest, else the only one that lies outermost, and the others."""
    for rank in (lambda file: file.order, lambda file: (-len(file.member.parts),)):
        best = max(rank(file) for file in files)
        top = [file for file in files if rank(file) == best]
        if len(top) == 1:
            return top[0], [file for file in files if file is not top[0]]
    names = ", ".join("/".join(archives.shown(part) for part in file.member.parts) for file in files[:5])
    raise SubmissionError("several", f"several files could be the submission: {names}. Keep one, named {lab.id}.py.")


def _note_twins(picks: Sequence[_Pick], named: dict[str, str]) -> None:
    """Say whose file is the same, byte for byte; everybody's unchanged starter is not a twin."""
    same: dict[str, list[_Pick]] = {}
    for pick in picks:
        if pick.source is not None and not pick.is_starter:
            same.setdefault(pick.source, []).append(pick)
    for group in same.values():
        for pick in group:
            others = sorted((named[other.handed.identity] for other in group if other is not pick), key=in_order)
            if others:
                pick.notes.append(f"The same file, byte for byte, as {', '.join(others)}.")


def _entries(picks: Sequence[_Pick], named: dict[str, str], lab: Lab) -> list[Entry]:
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
                student=named[pick.handed.identity],
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
            " ".join(([entry.problem.message] if entry.problem else []) + entry.notes),
        )
        for entry in found.entries
    ]
    return table + [
        (student, "-", "-", "-", "On the roster, but nothing was handed in.") for student in found.unmatched
    ]
