"""What changed between two gradings of one class: who moves, and by which check. For reading before publishing."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field

from grader.cohort.records import CohortResult, Row
from grader.cohort.roster import Key


@dataclass(frozen=True)
class Move:
    """One student whose score or verdict is not what it was; `checks` are sentences."""

    student: str
    submission: str
    before: float
    after: float
    checks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Differences:
    """Who moved, and who is in one of the two only (submissions)."""

    moves: list[Move]
    gone: list[str]
    new: list[str]
    same: int


def differences(old: CohortResult, new: CohortResult, keys: tuple[Key, Key] | None = None) -> Differences:
    """Compare two gradings, person by person; the largest losses come first.

    `keys` say who is who in each. Without them a submission's name has to do: of Canvas's the user's number in it, for
    what is handed in again gets another name.
    """
    before = {row.submission: row for row in old.rows}
    pairs = _pairs(old, new, keys)
    moves = []
    for row in new.rows:
        if row.submission in pairs:
            was = before[pairs[row.submission]]
            if (sentences := _sentences(was, row)) is not None:
                moves.append(Move(row.student, row.submission, was.final, row.final, sentences))
    moves.sort(key=lambda move: (move.after - move.before, move.submission))
    met = set(pairs.values())
    return Differences(
        moves,
        gone=[name for name in before if name not in met],
        new=[row.submission for row in new.rows if row.submission not in pairs],
        same=len(pairs) - len(moves),
    )


def _pairs(old: CohortResult, new: CohortResult, keys: tuple[Key, Key] | None) -> dict[str, str]:
    """Return NEW's submissions with OLD's of the same person."""
    sides = [_names(cohort, keys[side] if keys else None) for side, cohort in enumerate((old, new))]
    pairs: dict[str, str] = {}
    for submission, names in sides[1].items():
        found = [was for was, theirs in sides[0].items() if not theirs.isdisjoint(names) and was not in pairs.values()]
        if len(found) == 1:
            pairs[submission] = found[0]
    return pairs


def _names(cohort: CohortResult, key: Key | None) -> dict[str, set[str]]:
    """Return what each submission's author is recognised by."""
    names = {}
    for row in cohort.rows:
        known = key.students.get(row.student) if key else None
        if known is not None:
            names[row.submission] = {known.identity, *known.also}
        elif cohort.found.layout == "canvas":
            names[row.submission] = {row.submission.split("_", 1)[0]}
        else:
            names[row.submission] = {row.submission}
    return names


def _sentences(old: Row, new: Row) -> list[str] | None:
    """Return what differs in words, or None where nothing does."""
    said = []
    kinds = [row.problem.kind if row.problem else None for row in (old, new)]
    if kinds[0] != kinds[1]:
        said.append(f"problem: {kinds[0] or 'none'} -> {kinds[1] or 'none'}")
    if old.digest != new.digest:
        said.append("another file was handed in")
    before = {check.id: check for check in old.checks}
    after = {check.id: check for check in new.checks}
    if bool(before) != bool(after):  # one of the two files could not be run
        ran = collections.Counter(check.outcome for check in (before or after).values())
        counts = ", ".join(f"{many} {outcome}" for outcome, many in ran.items())
        said.append(f"no check ran any more; before: {counts}" if before else f"no check had run before; now: {counts}")
        before = after = {}
    for id in [*after, *(id for id in before if id not in after)]:
        was, now = before.get(id), after.get(id)
        if was is None or now is None:
            said.append(f"{id}: {'new' if was is None else 'gone'} ({(now or was).outcome})")  # type: ignore[union-attr]
        elif (was.outcome, was.earned, was.possible) != (now.outcome, now.earned, now.possible):
            said.append(
                f"{id}: {was.outcome} {was.earned:g}/{was.possible:g} -> {now.outcome} {now.earned:g}/{now.possible:g}"
            )
    if old.adjustments != new.adjustments:
        said.append("adjusted by staff or by the late policy")
    return said if said or old.final != new.final else None
