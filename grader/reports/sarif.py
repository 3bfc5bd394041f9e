"""SARIF 2.1.0: one result a task that is not right, at the student's own line. Read by editors and code scanning."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from grader import __version__
from grader.reports import told
from grader.reports.inert import inert
from grader.reports.told import Finding, Graded

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(all_graded: Sequence[Graded]) -> dict[str, Any]:
    """Return the whole file as plain data."""
    found = told.findings(all_graded)
    rules = list(dict.fromkeys(one.id for one in found))
    titles = {one.id: one.task.title if one.task else one.graded.result.title for one in found}
    described = [{"id": inert(rule), "shortDescription": {"text": inert(titles[rule])}} for rule in rules]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "alphabar", "version": __version__, "rules": described}},
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, rules.index(one.id)) for one in found],
            }
        ],
    }


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    where = quote(finding.graded.path)
    result: dict[str, Any] = {
        "ruleId": inert(finding.id),
        "ruleIndex": rule,
        "level": level(finding),
        "message": {"text": inert(f"{finding.title}. {finding.says}", 1_000)},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": where}, "region": {"startLine": finding.line or 1}}}
        ],
        # One alert a task and file, however often it is pushed.
        "partialFingerprints": {"alphabar/v1": hashlib.sha256(f"{where} {finding.id}".encode()).hexdigest()},
    }
    if finding.task is not None:
        likes = finding.task.diagnosis.misconceptions if finding.task.diagnosis else []
        result["properties"] = {
            "earned": finding.task.earned,
            "possible": finding.task.possible,
            "tags": [inert(id) for ids in likes for id in ids],
        }
    return result


def level(finding: Finding) -> str:
    """Return `note` for what is our fault, `warning` for what is partly right, else `error`."""
    if finding.ours:
        return "note"
    return "warning" if finding.task is not None and finding.task.state == "partly" else "error"
