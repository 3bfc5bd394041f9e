"""Joins sections of one class: rows, pages, who is who, and what is kept of their results."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from grader import outputs
from grader.cli.instructor import STORE_FILE
from grader.cohort.archives import KEY_FILE
from grader.cohort.gradebooks import csv_bytes, grades_head, grades_lines, items_table
from grader.cohort.overrides import nothing_from
from grader.cohort.publish import PAGES, Publication, cannot_write, held
from grader.cohort.records import CohortResult, Found, Row
from grader.cohort.roster import Key, Known, in_order, write_key
from grader.cohort.statistics import Gathering
from grader.course import Course
from grader.errors import UsageError
from grader.reports.cohort import cohort_page, line
from grader.store import Store

Section = tuple[Path, CohortResult, Key]


def merge(sections: Sequence[Section], target: Path, course: Course) -> CohortResult:
    """Write all sections into `target`, which is new; UsageError where they are not of one lab, or share people."""
    first = sections[0][1]
    if any(cohort.lab != first.lab for _, cohort, _ in sections):
        raise UsageError(f"these are not sections of one lab: {', '.join(cohort.lab for _, cohort, _ in sections)}.")
    folders = [folder.resolve() for folder, _, _ in sections]
    if len(set(folders)) < len(folders):
        raise UsageError("one folder is named twice; name each section once.")
    elsewhere = _refuse_shared(sections)
    if (target / KEY_FILE).exists():
        raise UsageError(f"{target} holds grades already; give a new folder: -o OUT.")
    lab = course.lab(first.lab)
    try:
        outputs.folder(target)
        with held(target), Publication(target) as publication:
            rows: list[Row] = []
            students: dict[str, Known] = {}
            unmatched: list[str] = []
            for folder, cohort, key in sections:
                # One list for the whole class makes everybody of the other sections missing here.
                twice = {one for one in cohort.found.unmatched if not elsewhere.isdisjoint(_names(key, one))}
                missing = [one for one in cohort.found.unmatched if one not in twice]
                for student in missing:
                    elsewhere |= _names(key, student)
                own = {student: known for student, known in key.students.items() if student not in twice}
                new = _renamed(Key(students=own), set(students))
                students |= {new[student]: known for student, known in own.items()}
                unmatched += [new.get(student, student) for student in missing]
                for row in cohort.rows:
                    notes = [_in_words(note, new) for note in row.notes]
                    changed = {"student": new[row.student], "notes": notes}
                    if row.submission == nothing_from(row.student):
                        changed["submission"] = nothing_from(new[row.student])
                    rows.append(row.model_copy(update=changed))
                    page = folder / PAGES / f"{row.student}.html"
                    text = page.read_text(encoding="utf-8")
                    # Only the two places that say whose page it is; what the student wrote stays.
                    text = text.replace(f" · {row.student} · ", f" · {new[row.student]} · ", 1)
                    text = text.replace(f"</b> / {row.student} / ", f"</b> / {new[row.student]} / ", 1)
                    outputs.write(publication.folder / PAGES / f"{new[row.student]}.html", text)
            rows.sort(key=lambda row: in_order(row.student))
            gathering = Gathering(lab)
            for row in rows:
                gathering.add(row)
            unmatched.sort(key=in_order)
            ignored = [name for _, cohort, _ in sections for name in cohort.found.ignored]
            found = Found(layout=first.found.layout, entries=[], unmatched=unmatched, ignored=ignored)
            told = {"submissions": len(rows), "unmatched": unmatched, "ignored": ignored}
            result = first.model_copy(
                update={
                    "found": first.found.model_copy(update=told),
                    "rows": rows,
                    "statistics": gathering.finish(found),
                    "environment": None,
                }
            )
            tasks = [task.id for task in lab.tasks]
            names = ("cohort.json", "grades.csv", "items.csv")
            outputs.write(publication.folder / names[0], result.model_dump_json())
            table = [grades_head(tasks), *(cells for row in rows for cells in grades_lines(row, tasks))]
            items = items_table((row.student, row) for row in rows)
            for name, content in ((names[1], csv_bytes(table)), (names[2], csv_bytes(items))):
                with outputs.whole(publication.folder / name) as file:
                    file.write(content)
            page_text = "".join(cohort_page(result, lab.tasks, [line(row) for row in rows], course.templates, names))
            outputs.write(publication.folder / "cohort.html", page_text)
            _join_stores([folder for folder, _, _ in sections], target)
            write_key(target / KEY_FILE, Key(lab=first.lab, students=dict(sorted(students.items()))))
            publication.finish()
    except OSError as error:
        raise cannot_write(target, error) from None
    return result


def _refuse_shared(sections: Sequence[Section]) -> set[str]:
    """Return what everybody is recognised by who handed in; UsageError where somebody did in two sections."""
    seen: dict[str, Path] = {}
    for folder, cohort, key in sections:
        own: set[str] = set()
        for row in cohort.rows:
            for name in _names(key, row.student):
                if name in seen:
                    raise UsageError(
                        f"{row.student} of {folder} is in {seen[name]} too; nobody may be in two sections."
                    )
                own.add(name)
        seen |= dict.fromkeys(own, folder)
    return set(seen)


def _names(key: Key, student: str) -> set[str]:
    """Return what somebody is recognised by in another section; a name alone is nobody's."""
    known = key.students.get(student)
    names = {known.identity, *known.also} if known is not None else set()
    return {name for name in names if not name.startswith("name:")}


def _renamed(key: Key, taken: set[str]) -> dict[str, str]:
    """Return a free pseudonym for each: their own where nobody has it yet."""
    result: dict[str, str] = {}
    used = taken | key.students.keys()
    number = 0
    for student in key.students:
        if student not in taken:
            result[student] = student
            continue
        while (name := f"s{(number := number + 1):03}") in used:
            pass
        used.add(name)
        result[student] = name
    return result


def _in_words(text: str, new: dict[str, str]) -> str:
    return re.sub(r"\bs\d{3,}\b", lambda found: new.get(found[0], found[0]), text)


def _join_stores(folders: Sequence[Path], target: Path) -> None:
    """Keep the sections' results, so that the next run in `target` grades nothing again."""
    files = [folder / STORE_FILE for folder in folders if (folder / STORE_FILE).exists()]
    if not files:
        return
    with Store(target / STORE_FILE):
        pass
    with contextlib.closing(sqlite3.connect(target / STORE_FILE)) as joined:
        for file in files:
            joined.execute("attach ? as section", (str(file),))
            for table in ("results", "pictures"):
                joined.execute(f"insert or ignore into {table} select * from section.{table}")
            joined.commit()
            joined.execute("detach section")
