"""What changed between two gradings of one class: who moves, and by which check. For reading before publishing."""

from __future__ import annotations

from dataclasses import dataclass, field

from grader.cohort.records import CohortResult, Row


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


def differences(old: CohortResult, new: CohortResult) -> Differences:
    """Compare two gradings, submission by submission; the largest losses come first."""
    before = {row.submission: row for row in old.rows}
    after = {row.submission: row for row in new.rows}
    moves = []
    for name in after:
        if name in before and (sentences := _sentences(before[name], after[name])) is not None:
            moves.append(Move(after[name].student, name, before[name].final, after[name].final, sentences))
    moves.sort(key=lambda move: (move.after - move.before, move.submission))
    both = [name for name in after if name in before]
    return Differences(
        moves,
        gone=[name for name in before if name not in after],
        new=[name for name in after if name not in before],
        same=len(both) - len(moves),
    )


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
