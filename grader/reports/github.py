"""What GitHub, and Forgejo as well, reads of a job: annotations in its log, and a summary in markdown."""

from __future__ import annotations

from collections.abc import Sequence

from grader.reports import told, words
from grader.reports.inert import inert, prose, span
from grader.reports.sarif import level
from grader.reports.told import Finding, Graded

# What GitHub shows of one step; more would be dropped without a word.
MOST_OF_A_KIND = 10
MOST_BYTES = 1_000_000  # a step's summary may take 1 MiB; a larger one is not shown at all

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def annotate(all_graded: Sequence[Graded]) -> str:
    """Return one line a task that is not right, at the student's own line; what costs most first."""
    lines: list[str] = []
    shown = dict.fromkeys(_COMMANDS, 0)
    for finding in told.findings(all_graded):
        kind = level(finding)
        shown[kind] += 1
        if shown[kind] <= MOST_OF_A_KIND:
            lines.append(_annotation(_COMMANDS[kind], finding))
    return "".join(f"{line}\n" for line in lines)


def _annotation(command: str, finding: Finding) -> str:
    at = f"file={_property(finding.graded.path)}," + (f"line={finding.line}," if finding.line else "")
    return f"::{command} {at}title={_property(finding.title)}::{_data(inert(finding.says))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(inert(text)).replace(":", "%3A").replace(",", "%2C")


def summary(
    all_graded: Sequence[Graded], notes: Sequence[str] = (), *, with_points: bool = True, most: int = MOST_BYTES
) -> str:
    """Return what a person reads of the job, in markdown: a table a file, and a sentence a task that is not right.

    Without points it may stand where others read it. What a student wrote stands in it as code. Files for which
    `most` bytes do not suffice are left out, and said.
    """
    parts = [f"> {prose(note)}\n" for note in notes]
    size = sum(len(part.encode()) for part in parts)
    for number, graded in enumerate(all_graded):
        part = _file(graded, with_points)
        size += len(part.encode())
        if size > most:
            parts.append(f"Not shown here: {words.count(len(all_graded) - number, 'more file')}.\n")
            break
        parts.append(part)
    return "\n".join(parts)


def _file(graded: Graded, with_points: bool) -> str:
    result = graded.result
    score = f"{words.points(result.score.earned)} of {words.points(result.score.possible)} points"
    head = f"## {prose(result.lab)} {prose(result.title)}" + (f": {score}" if with_points else "")
    lines = [head, "", f"{span(graded.path)}, judged by {prose(result.course or 'a course without a name')}", ""]
    if result.tasks:
        columns = ["task", *(["points"] if with_points else []), "state", "behaves like"]
        lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
        for task in result.tasks:
            points = [f"{words.points(task.earned)}/{words.points(task.possible)}"] if with_points else []
            names = told.named(task)
            cells = [prose(f"{task.title} ({task.id})"), *points, words.STATES[task.state], prose(names)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    found = told.findings([graded])
    for finding in found:
        lines.append(f"- {prose(finding.task.id) if finding.task else 'The file'}{_said(finding)}")
    first = words.next_task(result) if result.problem is None else None
    if first is not None:
        gain = f" (+{words.points(first.possible - first.earned)})" if with_points else ""
        lines.append(f"\nNext: {prose(first.title)}{gain}. Hints: {span(f'grade hint {result.lab} {first.id}')}")
    elif not found:
        lines.append("Every check passes.")
    return "\n".join(lines) + "\n"


def _said(finding: Finding) -> str:
    if finding.is_named:
        return (f", line {finding.line}" if finding.line else "") + f": {prose(finding.says)}"
    return f": {prose(finding.says) if finding.ours else span(finding.says)}"
