"""Write an nbgrader course: nbgrader_write.py REFERENCE SUBMISSIONS COURSE IDS..."""

import sys
from pathlib import Path

import nbformat
from lab03_checks import CHECKS

CONFIG = """c = get_config()
c.CourseDirectory.course_id = "peers"
c.ExecutePreprocessor.timeout = 5
c.ExecutePreprocessor.interrupt_on_timeout = True
"""


def notebook(source):
    """Return a notebook: the student's cell, then one graded cell a check."""
    book = nbformat.v4.new_notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}

    def add(text, name, **role):
        cell = nbformat.v4.new_code_cell(text)
        cell.id = name
        plain = {"schema_version": 3, "grade_id": name, "grade": False, "solution": False, "locked": False}
        cell.metadata["nbgrader"] = {**plain, "task": False, **role}
        book.cells.append(cell)

    add(source, "solution", solution=True)
    for name, _ in CHECKS:
        call = f"import types, lab03_checks\nlab03_checks.{name}(types.SimpleNamespace(**globals()))"
        add(call, name, grade=True, locked=True, points=1)
    return book


reference, submissions, course = map(Path, sys.argv[1:4])
(course / "source" / "lab03").mkdir(parents=True)
solution = f"### BEGIN SOLUTION\n{reference.read_text()}\n### END SOLUTION\n"
nbformat.write(notebook(solution), course / "source" / "lab03" / "lab03.ipynb")
for student in sys.argv[4:]:
    folder = course / "submitted" / student / "lab03"
    folder.mkdir(parents=True)
    nbformat.write(notebook((submissions / student / "lab03.py").read_text()), folder / "lab03.ipynb")
(course / "nbgrader_config.py").write_text(CONFIG)
