"""What handing in late costs: a pure function of the deadline, the moment, and the course's policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field

from grader.cohort.records import Adjustment, Row
from grader.manifest import Manifest


class LatePolicy(Manifest):
    """The table [late] of a reviewed adjustments file."""

    grace_minutes: int = Field(default=0, ge=0, description="This much later is not late.")
    per_day: float = Field(ge=0, le=1, description="Share of the points that every started day costs.")
    max_days: int | None = Field(default=None, ge=0, description="Later than this earns nothing.")


@dataclass(frozen=True)
class Lateness:
    """How late, what share of the points that costs, and the sentence about it."""

    days: int
    penalty: float
    says: str


def lateness(policy: LatePolicy, due: datetime | None, submitted_at: datetime | None) -> Lateness:
    """Return what `policy` takes from work due at `due`, extension included, and handed in at `submitted_at`.

    Unknown times cost nothing. Past the grace time, days count from the deadline itself.
    """
    if due is None or submitted_at is None or submitted_at <= due:
        return Lateness(0, 0.0, "in time")
    by = submitted_at - due
    if by <= timedelta(minutes=policy.grace_minutes):
        return Lateness(0, 0.0, f"{_spoken(by)} late, inside the grace time")
    days = math.ceil(by / timedelta(days=1))
    if policy.max_days is not None and days > policy.max_days:
        return Lateness(days, 1.0, f"{_spoken(by)} late, more than the {policy.max_days} days that were open")
    penalty = min(1.0, round(days * policy.per_day, 6))
    return Lateness(days, penalty, f"{_spoken(by)} late: {days} started day{'s' * (days > 1)}, {penalty:.0%} off")


def apply(row: Row, policy: LatePolicy) -> Row:
    """Return `row` with the policy's adjustment; the graded score stays what it is."""
    if row.late and (row.due is None or row.submitted_at is None):
        says = "The LMS marks it late but not by how much; the late policy was not applied."
        return row.model_copy(update={"notes": [*row.notes, says]})
    found = lateness(policy, row.due, row.submitted_at)
    if found.days == 0:
        late = f"It was {found.says}."
        return row.model_copy(update={"notes": [*row.notes, late]}) if row.late else row
    after = round(row.final * (1 - found.penalty), 2)
    made = Adjustment(by="late policy", before=row.final, after=after, why=f"{found.says}.")
    return row.model_copy(update={"final": after, "adjustments": [*row.adjustments, made]})


def _spoken(by: timedelta) -> str:
    minutes = math.ceil(by / timedelta(minutes=1))
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"
