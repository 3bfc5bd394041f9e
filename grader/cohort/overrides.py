"""Scores and deadlines that a person changed, read from a reviewed file, and always shown as such.

A decision is tied to a person or to a file, never to a pseudonym: s006 is somebody else in another folder.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from grader.cohort import late
from grader.cohort.late import LatePolicy
from grader.cohort.records import Adjustment, Entry, Found, Row
from grader.cohort.roster import Key, Person, in_order, own_pseudonym
from grader.cohort.sheets import plain
from grader.errors import UsageError
from grader.manifest import Manifest, Sentence, read
from grader.results import Problem


class Override(Manifest):
    """One decision: about whom, what instead, and who answers for it."""

    student: str = Field(default="", description="An identifier of the roster or the LMS, or a folder's own name.")
    file: str = Field(default="", description="Or the file: the beginning of its sha256, 8 digits or more.")
    item: str | None = Field(default=None, description="A check's id or a task's; left out: the whole score.")
    points: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    extension: AwareDatetime | None = Field(default=None, description="A deadline of their own.")
    late: Literal["waived"] | None = Field(default=None, description="The late policy does not apply.")
    why: Sentence
    by: str = Field(min_length=1)
    date: date

    @model_validator(mode="after")
    def _is_one_decision(self) -> Self:
        if bool(self.student) == bool(self.file):
            raise ValueError("give either student or file")
        if self.file and (len(self.file) < 8 or not set(self.file) <= set("0123456789abcdef")):
            raise ValueError("file is the beginning of a sha256, 8 hexadecimal digits or more")
        if self.points is None and self.extension is None and self.late is None:
            raise ValueError("nothing is decided: give points, extension, or late")
        if self.extension is not None and not 1990 < self.extension.year < 2200:
            raise ValueError("extension lies outside the calendar of a course")
        if self.item is not None and self.points is None:
            raise ValueError("an item needs points")
        return self

    @property
    def whose(self) -> str:
        """How the file names who is meant."""
        return self.student or f"the file {self.file}"

    @property
    def signed(self) -> str:
        """The reason, and who gave it when."""
        return f"{self.why} ({self.by}, {self.date.isoformat()})"


class Adjustments(Manifest):
    """The reviewed file: a late policy, and decisions about single students."""

    late: LatePolicy | None = None
    override: list[Override] = Field(default=[], description="In the order in which they were decided.")


def read_adjustments(path: Path) -> Adjustments:
    """Read the reviewed TOML file; CourseError names the key that is wrong, UsageError the file that is not there."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}, which --adjust names.")
    return read(path, Adjustments)


def is_about(wanted: str, identities: Sequence[str], people: Sequence[Person]) -> bool:
    """Tell whether an identifier is one of these people's; a name alone is nobody's."""
    wanted = wanted.strip().casefold()
    known = set()
    for identity in identities:
        kind, _, value = identity.partition(":")
        known |= {identity.casefold(), *([value.casefold()] if kind != "name" else []), own_pseudonym(identity) or ""}
    for person in people:
        known |= {person.lms.casefold(), person.lms.rpartition(":")[2].casefold(), person.sid.casefold()}
        known |= {person.login.casefold(), person.email.casefold()}
    return wanted in known - {""}


def resolved(
    adjustments: Adjustments, key: Key, found: Found, others: Collection[str] = ()
) -> dict[str, list[Override]]:
    """Return everybody's decisions, by pseudonym; UsageError where one fits nobody, or two. Nothing is graded yet.

    `others` are in the class too, in a section that was graded before.
    """
    present = list(dict.fromkeys([*(entry.student for entry in found.entries), *found.unmatched, *others]))
    result: dict[str, list[Override]] = {}
    for override in adjustments.override:
        if override.file:
            fits = [one.student for one in found.entries if one.source and one.source.startswith(override.file)]
        else:
            known = {student: key.students[student] for student in present if student in key.students}
            fits = [
                student
                for student, line in known.items()
                if is_about(override.student, [line.identity, *line.also], line.people)
            ]
        if len(fits) > 1:
            both = " and ".join(fits[:3])
            raise UsageError(f"an override names {override.whose}, which fits {both}; name one of them only.")
        if not fits:
            raise UsageError(f"an override names {override.whose!r}; {_nobody(override, present, key)}")
        result.setdefault(fits[0], []).append(override)
    return result


def _nobody(override: Override, present: Collection[str], key: Key) -> str:
    if override.student in present:
        return (
            "that is a pseudonym, and somebody else's in another folder. `grade who` says whose it is here; write the"
            ' number or the address that the LMS knows them by (student = "canvas:340934"), or file = "...".'
        )
    lines = [key.students[student] for student in present if student in key.students]
    names = {plain(person.name) for line in lines for person in line.people} - {""}
    if plain(override.student) in names:
        return "that is a name, which others may have; write a number or an address that is theirs alone."
    known = {name.rpartition(":")[2] for line in lines for name in (line.identity, *line.also) if name[:5] != "name:"}
    known |= {value for line in lines for person in line.people for value in (person.sid, person.login, person.email)}
    return _meant(override.student, known - {""})


def check_items(given: Mapping[str, Sequence[Override]], lab_id: str, tasks: Collection[str]) -> None:
    """Raise UsageError where a decision names no task of the lab; to be asked before anything is graded."""
    for overrides in given.values():
        for one in overrides:
            if one.item is not None and one.item not in tasks:
                task = one.item.removeprefix(f"{lab_id}/").split(".")[0]
                if not one.item.startswith(f"{lab_id}/") or task not in tasks:
                    raise UsageError(f"an override of {one.whose} names {one.item!r}; {_meant(one.item, tasks)}")


def nothing_from(student: str) -> str:
    """Return what the submission of somebody is called who handed in nothing, and has points by decision."""
    return f"nothing from {student}"


def with_decided(found: Found, given: Mapping[str, Sequence[Override]], filename: str) -> Found:
    """Give a row to who handed in nothing, and has points by decision all the same."""
    decided = [one for one in found.unmatched if any(o.points is not None for o in given.get(one, ()))]
    entries = [
        Entry(
            submission=nothing_from(student),
            student=student,
            filename=filename,
            source=None,
            problem=Problem(kind="missing", message="nothing was handed in."),
            submitted_at=None,
            late=False,
            attempts=0,
            notes=[],
        )
        for student in decided
    ]
    left = [student for student in found.unmatched if student not in decided]
    everybody = sorted([*found.entries, *entries], key=lambda entry: in_order(entry.student))
    return found.model_copy(update={"entries": everybody, "unmatched": left})


def adjust(row: Row, overrides: Sequence[Override], policy: LatePolicy | None = None) -> Row:
    """Return `row` with what people decided about it, then with the late policy on what is left to it.

    `score` stays as graded. What a person decided about the whole score, or about being late, the policy does not
    change. UsageError where a decision names no check or task, or where two decide the same points.
    """
    for override in overrides:
        if override.points is not None:
            row = _overridden(row, override, override.points)
        if override.extension is not None:
            until = override.extension.isoformat(timespec="minutes")
            row = _noted(row, f"An extension until {until}: {override.signed}")
        if override.late is not None:
            row = _noted(row, f"Not counted as late: {override.signed}")
    stands = any(one.late is not None or (one.points is not None and one.item is None) for one in overrides)
    return row if policy is None or stands else late.apply(row, policy)


def _noted(row: Row, says: str) -> Row:
    return row.model_copy(update={"notes": [*row.notes, says]})


def _overridden(row: Row, override: Override, points: float) -> Row:
    checks = {check.id: check for check in row.checks}
    tasks = {task.id: task for task in row.tasks}
    item = override.item
    for done in row.adjustments:
        one, other = (checks[i].task if i in checks else i for i in (item, done.item))
        same_task = one == other and (item == done.item or item in tasks or done.item in tasks)
        if item is None or done.item is None or same_task:
            both = " and ".join(name or "the whole score" for name in (done.item, item))
            raise UsageError(f"two overrides decide the same points of {row.student}: {both}.")
    if item is None:
        before, possible = row.final, row.score.possible
    elif item in checks:
        before, possible = checks[item].earned, checks[item].possible
    elif item in tasks:
        before, possible = tasks[item].earned, tasks[item].possible
    else:
        raise UsageError(f"an override of {row.student} names {item!r}; {_meant(item, [*checks, *tasks])}")
    if points > possible and possible > 0:
        raise UsageError(
            f"an override gives {row.student} {points:g} points for {item or 'the lab'}, worth {possible:g}."
        )
    made = Adjustment(by="staff", item=item, before=before, after=points, why=override.signed)
    final = round(row.final + points - before, 2)
    return row.model_copy(update={"final": final, "adjustments": [*row.adjustments, made]})


def _meant(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), 1)
    return f"did you mean {near[0]!r}?" if near else "there is nothing of that name."
