"""What a person should look at, told so that five hundred notes do not hide the one that matters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from grader.cohort.records import Attention
from grader.cohort.roster import in_order

FEW = 3  # sentences of one kind that are told one by one
_TWINS = re.compile(r"The same file, byte for byte, as (?P<others>.+)\.")
# The least pressing at the end: sentences that name a file or a number, and the one that stands for many of them.
# Every other note is a sentence that is the same for all, and comes before these.
_ALIKE = [
    (re.compile(r"There (is|are) .+ that could be meant .+"), "Another file could be meant; grades.csv says which"),
    (re.compile(r"The tag .+ left out\."), "A submit tag does not fit its commit, or holds no date; it was left out"),
    (re.compile(r"It was .+ late, inside the grace time\."), "Late, inside the grace time"),
    (re.compile(r".+ was taken as \w+\.py\."), "A file of another name was taken; grades.csv says which"),
    (
        re.compile(r"(\d+ attempts|Attempt \d+); .+"),
        "Several attempts: the last before the deadline counts, else the last",
    ),
]


def problems(found: Sequence[Attention]) -> list[Attention]:
    """Return one line for each way in which files could not be graded; few sentences are told one by one."""
    result = []
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        result += own if len(own) <= FEW else [_together(own, "each page says why")]
    return result


def notes(found: Sequence[Attention]) -> list[Attention]:
    """Return equal files first, a line for each group, then what is the same for all, then file names and attempts."""
    twins: dict[tuple[str, ...], Attention] = {}
    alike: list[list[Attention]] = [[] for _ in _ALIKE]
    others = []
    for one in found:
        place = next((i for i, (pattern, _) in enumerate(_ALIKE) if pattern.fullmatch(one.says)), None)
        if same := _TWINS.fullmatch(one.says):
            group = tuple(sorted({*one.students, *same["others"].split(", ")}, key=in_order))
            twins[group] = Attention(kind="note", says="The same file, byte for byte", students=list(group))
        elif place is not None:
            alike[place].append(one)
        else:
            others.append(one)
    result = [twins[group] for group in sorted(twins, key=lambda group: (-len(group), group))] + others
    for own, (_, says) in zip(alike, _ALIKE, strict=True):
        result += own if len(own) <= FEW else [_together(own, says)]
    return result


def _together(some: Sequence[Attention], says: str) -> Attention:
    students = {student for one in some for student in one.students}
    return Attention(kind=some[0].kind, says=says, students=sorted(students, key=in_order))
