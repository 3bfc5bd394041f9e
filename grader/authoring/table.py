"""An audit as text, for a terminal: a table of the tasks, the survivors with their diffs, the faults."""

from __future__ import annotations

from grader.authoring.audit import LabAudit, TaskAudit
from grader.reports.words import count

COLUMNS = ("task", "checks", "named", "forms", "mutants", "waived", "hollow", "memory", "noise", "right", "wrong", "ms")


def table(one: LabAudit) -> str:
    """Return the audit of one lab as lines of text."""
    lines = [f"{one.lab}  {one.title}" + ("  (quick)" if one.quick else ""), ""]
    cells = [list(COLUMNS)] + [_cells(task) for task in one.tasks]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  " + row[0].ljust(len(first)) + "  " + "  ".join(rest))
    lines += [
        "",
        "  named: misconceptions named alone; forms: equivalents that pass; hollow: the most that hollow answers earn",
        "  memory: what answers earn that are right for the visible checks' inputs and no others",
        "  noise, right, wrong: in tolerances, how far other rounding and right code go at most, wrong code at least",
    ]
    if one.pairs is not None:
        p = one.pairs
        total = p.exact + p.one_of + p.subset + p.unnamed + p.wrong + p.passed
        lines.append(
            f"  pairs of misconceptions: {total}: {p.exact} named exactly, {p.one_of} as one of several, "
            f"{p.subset} as one of the two, {p.unnamed} unnamed, {p.wrong} otherwise, {p.passed} passed"
        )
    lines.append(f"  course seeds: {one.seeds}; trials: {len(one.trials)}, of which {one.ran} ran now")
    for survivor in one.survivors:
        lines += ["", f"  survivor, line {survivor.line} of the reference: {survivor.task}/{survivor.ids[0]}"]
        lines += [f"    {line}" for line in survivor.diff.splitlines()]
        if survivor.separates:
            lines.append(f"    told apart by {survivor.separates}")
        else:
            lines.append(f"    {survivor.searched} other calls were answered alike")
    lines.append("")
    lines += [f"  note: {note}" for note in one.notes]
    lines += [f"  fault: {fault}" for fault in one.faults]
    lines.append("  clean" if not one.faults else f"  {count(len(one.faults), 'fault')}")
    return "\n".join(lines) + "\n\n"


def _cells(task: TaskAudit) -> list[str]:
    noise = max((value for value in task.noise.values() if value is not None), default=None)
    return [
        task.task,
        str(task.checks),
        f"{task.named}/{task.misconceptions}",
        f"{task.passed}/{task.equivalents}",
        f"{task.killed}/{task.mutants}",
        str(task.waived),
        f"{task.hollow_share:.0%}",
        f"{task.memorised_share:.0%}",
        _number(noise),
        _number(task.nearest_equivalent),
        _number(task.nearest_mistake),
        f"{task.seconds * 1000:.0f}",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}" if value < 1000 or value >= 1e6 else f"{value:.0f}"
