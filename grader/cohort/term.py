"""A term: the same people over several labs, joined by what the key files say of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from grader.cohort.records import CohortResult, Row
from grader.cohort.roster import Key, Known, Person, called, certainly_two
from grader.errors import UsageError

HOW_TO_TELL = (
    "How to tell: give the rosters of both labs a number or an address that is the same in both, run `grade cohort`"
    " again (nothing is graded again), then `grade term`. Who shares it becomes one line; two student numbers are two"
    " people."
)


@dataclass
class Student:
    """One person's term. A lab's place is None where nothing was handed in, or where they are not on its list."""

    identities: set[str]
    people: list[Person]
    rows: list[Row | None]
    missing: set[int] = field(default_factory=set)  # places of labs on whose roster they are, without a submission


@dataclass(frozen=True)
class Lab:
    """One lab of the term."""

    id: str
    title: str
    possible: float


@dataclass(frozen=True)
class Term:
    """Everybody, every lab, and which known mistakes came again."""

    labs: list[Lab]
    students: list[Student]
    mistakes: list[tuple[str, int]]  # a mistake's id, how many students made it
    doubts: list[tuple[Student, Student, str]]  # lines that may be one person's, and why


def _marks(known: Known, person: Person) -> set[str]:
    """Return what one person of a row is recognised by in another lab; a name alone is nobody's."""
    strong = {f"{kind}:{value.casefold()}" for kind in ("sid", "login", "email") if (value := getattr(person, kind))}
    if ":" in person.lms:
        strong.add(person.lms.casefold())
    if len(known.people) < 2:
        own = (known.identity, *known.also)
        # submission_123 and a name may be another's in the next lab.
        kinds = ("name:", "folder:submission_")
        strong |= {name.casefold() for name in own if not name.startswith(kinds)}
    return strong


def gathered(graded: Sequence[tuple[CohortResult, Key]]) -> Term:
    """Join the labs; UsageError where one comes twice. A member of a team has the team's row."""
    ids = [cohort.lab for cohort, _ in graded]
    for lab, count in Counter(ids).items():
        if count > 1:
            raise UsageError(f"{lab} is given twice; join the sections of one lab with `grade merge` first.")
    students: list[Student] = []
    by_mark: dict[str, Student] = {}
    doubts: list[tuple[Student, Student, str]] = []
    labs = []
    for place, (cohort, key) in enumerate(graded):
        possible = max((row.score.possible for row in cohort.rows), default=0.0)
        labs.append(Lab(cohort.lab, cohort.title, possible))
        rows: list[tuple[str, Row | None]] = [(row.student, row) for row in cohort.rows]
        rows += [(student, None) for student in cohort.found.unmatched]
        for student, row in rows:
            known = key.students.get(student) or Known(identity=f"{cohort.lab}:{student}")
            for person in known.people or [Person()]:
                marks = _marks(known, person) or {f"{cohort.lab}:{known.identity}"}
                found = {id(by_mark[mark]): by_mark[mark] for mark in marks if mark in by_mark}
                free = [one for one in found.values() if one.rows[place] is None and place not in one.missing]
                if len(found) == 1 and free:  # else nobody or two: a row of its own, and a person decides
                    one = free[0]
                else:
                    one = Student(set(), [], [None] * len(graded))
                    students.append(one)
                    doubts += [(other, one, "an identifier of one is the other's too") for other in found.values()]
                one.identities |= marks
                one.people.append(person)
                one.rows[place] = row
                if row is None:
                    one.missing.add(place)
                for mark in marks:
                    by_mark.setdefault(mark, one)
    made: Counter[str] = Counter()
    for one in students:
        made.update(
            {
                f"{row.lab}/{task.id}: {' or '.join(' + '.join(ids) for ids in task.diagnosis.misconceptions)}"
                for row in one.rows
                if row is not None
                for task in row.tasks
                if task.diagnosis is not None and task.diagnosis.misconceptions
            }
        )
    said = [{id(one), id(other)} for one, other, _ in doubts]
    for one, other in _namesakes(students):
        if {id(one), id(other)} not in said:
            doubts.append((one, other, "one name, and no identifier in common"))
    return Term(labs, students, sorted(made.items(), key=lambda item: (-item[1], item[0])), doubts)


def _namesakes(students: Sequence[Student]) -> list[tuple[Student, Student]]:
    """Return the pairs that nothing but a name joins, and nothing tells apart: no lab has both, no number differs."""
    by_name: dict[str, list[Student]] = {}
    for one in students:
        for name in {name for person in one.people for name in called(person)}:
            by_name.setdefault(name, []).append(one)
    pairs: dict[tuple[int, int], tuple[Student, Student]] = {}
    for group in by_name.values():
        for one, other in itertools.combinations(group, 2):
            if not _labs(one) & _labs(other) and not certainly_two(told(one), told(other)):
                pairs[id(one), id(other)] = one, other
    return list(pairs.values())


def _labs(student: Student) -> set[int]:
    return student.missing | {place for place, row in enumerate(student.rows) if row is not None}


def shown(student: Student, labs: Sequence[Lab]) -> str:
    """Name a line of the table, so that a person can tell it from another of the same name."""
    person = told(student)
    number = person.sid or person.email or person.login or person.lms
    facts = [fact for fact in (number, "+".join(labs[place].id for place in sorted(_labs(student)))) if fact]
    return f"{person.name or _folder(student) or 'somebody'} ({', '.join(facts)})"


def _folder(student: Student) -> str:
    """Return the name of the folder that somebody handed in, where nothing else is known of them."""
    return next((name.partition(":")[2] for name in sorted(student.identities) if name.startswith("folder:")), "")


def _other(pair: tuple[Student, Student], one: Student) -> list[Student]:
    return [pair[1]] if pair[0] is one else [pair[0]] if pair[1] is one else []


def points(student: Student) -> list[float | None]:
    """Return what counts in each lab; None where nobody has judged anything."""
    return [None if row is None or row.undecided else row.final for row in student.rows]


def told(student: Student) -> Person:
    """Return all that is known of a person."""
    result = Person()
    for person in student.people:
        result = result.joined(person)
    return result


def table(term: Term) -> list[list[str | float]]:
    """Return the gradebook: one line a student, a column a lab, what is missing, the sum."""
    head: list[str | float] = ["name", "email", "id", *(lab.id for lab in term.labs)]
    head += ["sum", "missing", "not judged", "may be one person with"]
    lines = []
    for one in term.students:
        person, own = told(one), points(one)
        missing = [lab.id for place, lab in enumerate(term.labs) if place in one.missing]
        undecided = [row.lab for row in one.rows if row is not None and row.undecided]
        lines.append(
            [
                person.name or _folder(one),
                person.email,
                person.sid or person.login or person.lms.rpartition(":")[2],
                *("" if value is None else value for value in own),
                round(sum(value for value in own if value is not None), 2),
                " ".join(missing),
                " ".join(undecided),
                "; ".join(shown(other, term.labs) for pair in term.doubts for other in _other(pair[:2], one)),
            ]
        )
    return [head, *sorted(lines, key=lambda line: [str(cell).casefold() for cell in line[:3]])]
