"""The record as JSON text, and its schema."""

from __future__ import annotations

import json

from grader.results import LabResult


def dumps(result: LabResult) -> str:
    """Return the record as `--json` prints it."""
    return result.model_dump_json(indent=1) + "\n"


def schema() -> str:
    """Return the record's JSON Schema as `grade schema` prints it."""
    return json.dumps(LabResult.model_json_schema(), indent=1, ensure_ascii=False) + "\n"
