"""A term: the same people over several labs, joined by what the key files say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from grader.cohort.records import CohortResult, Row
from grader.cohort.roster import Key, Known, Person
from grader.errors import UsageError


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
    return Term(labs, students, sorted(made.items(), key=lambda item: (-item[1], item[0])))


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
    head: list[str | float] = ["name", "email", "id", *(lab.id for lab in term.labs), "sum", "missing", "not judged"]
    lines = []
    for one in term.students:
        person, own = told(one), points(one)
        missing = [lab.id for place, lab in enumerate(term.labs) if place in one.missing]
        undecided = [row.lab for row in one.rows if row is not None and row.undecided]
        lines.append(
            [
                person.name,
                person.email,
                person.sid or person.login or person.lms.rpartition(":")[2],
                *("" if value is None else value for value in own),
                round(sum(value for value in own if value is not None), 2),
                " ".join(missing),
                " ".join(undecided),
            ]
        )
    return [head, *sorted(lines, key=lambda line: [str(cell).casefold() for cell in line[:3]])]
