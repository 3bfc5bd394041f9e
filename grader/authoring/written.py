"""What can be seen of a lab without running anything: signatures, hints, headings, files."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator

from grader.course import Lab, definition_span
from grader.manifest import Edit, Task
from grader.reports.page import headings

FILES = (
    *("lab.toml", "page.md", "starter.py", "checks.py", "misconceptions.toml", "equivalents.toml", "waivers.toml"),
    *("scenarios.py", "hints.toml", "figures.py"),
)


def written_faults(lab: Lab) -> Iterator[str]:
    """Yield what can be seen without running: signatures, hints, headings, files that nobody reads."""
    on_page = set(headings(lab.page))
    known = {task.id for task in lab.tasks}
    edits: list[Edit] = [*lab.misconceptions, *lab.equivalents]
    for edit in edits:
        if edit.task not in known:
            yield f"{edit.task}/{edit.id}: lab.toml lists no task {edit.task}"
    for mistake in lab.misconceptions:
        if mistake.see and mistake.see not in on_page:
            yield f"{mistake.task}/{mistake.id}: page.md has no heading for #{mistake.see}"
    for task in lab.tasks:
        yield from _task_faults(lab, task, on_page)
    for path in sorted(lab.folder.iterdir()):
        if path.name not in FILES and path.name != "__pycache__":
            near = difflib.get_close_matches(path.name, FILES, 1)
            yield f"nobody reads {path.name}" + (f"; did you mean {near[0]}?" if near else "")


def _task_faults(lab: Lab, task: Task, on_page: set[str]) -> Iterator[str]:
    if task.see and task.see not in on_page:
        yield f"{task.id}: page.md has no heading for #{task.see}"
    if not lab.hints.get(task.id):
        yield f"{task.id}: hints.toml has no hints for it"
    if not any(m.task == task.id for m in lab.misconceptions):
        yield f"{task.id}: misconceptions.toml knows no mistake for it"
    if not any(e.task == task.id for e in lab.equivalents):
        yield f"{task.id}: equivalents.toml holds no other right form, so nothing justifies its tolerance"
    for name in task.functions:
        starter, reference = (
            _signature(source, name, where)
            for source, where in ((lab.starter, "starter.py"), (lab.reference, lab.manifest.reference))
        )
        if starter != reference:
            yield f"{name}: starter.py has {starter}, the reference {reference}"


def _signature(source: str, name: str, where: str) -> str:
    """Return a function's parameters, or a class's public methods with theirs, as text."""
    start, end = definition_span(source, name, where)
    node = ast.parse(source[start:end]).body[0]
    if isinstance(node, ast.FunctionDef):
        return f"{name}({ast.unparse(node.args)})"
    methods = [m for m in ast.walk(node) if isinstance(m, ast.FunctionDef) and not re.match(r"_(?!_init__)", m.name)]
    return f"{name}: " + ", ".join(f"{m.name}({ast.unparse(m.args)})" for m in methods)
