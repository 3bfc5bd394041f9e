"""The audit as a page: for every task a matrix of wrong code against checks, survivors first, the diff on a click."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grader.authoring.audit import LabAudit, TaskAudit
from grader.authoring.trials import Trial
from grader.reports.pages import environment, stylesheet

ROWS = ("mutant", "hollow", "misconception")
# outcome -> (class, sign, word): a cell tells without its colour
SIGNS = {
    "passed": ("none", "·", "passed"),
    "failed": ("fail", "×", "failed"),
    "crashed": ("crash", "!", "raised or crashed"),
    "timed_out": ("time", "…", "took too long"),
    "skipped": ("none", "-", "not run"),
}


def matrix_page(audits: Sequence[LabAudit], templates_dir: Path) -> str:
    """Return the page for one or more labs: no script, nothing fetched."""
    css, css_hash = stylesheet(templates_dir, "tokens.css", "audit.css")
    template = environment(templates_dir).get_template("audit.html")
    labs = [_lab(one) for one in audits]
    return template.render(css=css, css_hash=css_hash, labs=labs, signs=list(SIGNS.values())) + "\n"


def _lab(one: LabAudit) -> dict[str, Any]:
    found = {tuple(t.ids): t for t in one.survivors}
    return {
        "id": one.lab,
        "title": one.title,
        "quick": one.quick,
        "faults": one.faults,
        "notes": one.notes,
        "pairs": one.pairs.model_dump() if one.pairs else None,
        "tasks": [_task(one, task, found) for task in one.tasks],
    }


def _task(one: LabAudit, task: TaskAudit, survivors: dict[tuple[str, ...], Trial]) -> dict[str, Any]:
    reference = next(t for t in one.trials if t.kind == "reference")
    checks = [check for check in reference.outcomes if check.startswith(f"{one.lab}/{task.task}.")]
    trials = [t for t in one.trials if t.kind in ROWS and t.task == task.task and t.applies]
    # What every check passes stands first, then what few reject.
    trials.sort(key=lambda t: (len(t.rejected_by), ROWS.index(t.kind)))
    return {
        "id": task.task,
        "anchor": f"{one.lab}-{task.task}",
        "counts": task,
        "noise": [(kind, _number(value)) for kind, value in task.noise.items()],
        "nearest_equivalent": _number(task.nearest_equivalent),
        "nearest_mistake": _number(task.nearest_mistake),
        "checks": [(check.split(".", 1)[1].replace("_", " "), reference.seconds.get(check, 0.0)) for check in checks],
        "rows": [_row(trial, checks, survivors.get(tuple(trial.ids))) for trial in trials],
    }


def _row(trial: Trial, checks: Sequence[str], survivor: Trial | None) -> dict[str, Any]:
    says = None
    if survivor is not None:
        says = survivor.separates or f"{survivor.searched} other calls were answered alike."
    return {
        "id": " + ".join(trial.ids),
        "kind": trial.kind,
        "line": trial.line,
        "diff": trial.diff,
        "state": "part" if not trial.rejected_by else "",
        "word": "waived" if not trial.rejected_by and survivor is None else "survives" if not trial.rejected_by else "",
        "separates": says,
        "cells": [SIGNS[trial.outcomes[check]] for check in checks],
        # A check that asserts something of its own rejects without any distance.
        "distance": _number(trial.distance) if (trial.distance or 0.0) > 1 else "–" if trial.rejected_by else "",
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}" if value < 1000 or value >= 1e6 else f"{value:.0f}"
