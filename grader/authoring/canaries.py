"""What a student must never see: lines of the reference, of hidden checks and of edits, hidden inputs, expected values.

Every trial of the audit is a student's run, so every trial is searched: the record as a student gets it, the terminal,
the page.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grader.checking.session import Examination
from grader.course import Course, Lab
from grader.recipes import Recipe
from grader.reports import terminal
from grader.reports.html import student_page
from grader.results import CheckResult, LabResult, for_student
from grader.sandbox.values import Tensor

SHORTEST_LINE = 16  # `return x` stands in every file
SHORTEST_NUMBER = 4  # digits of a value that cannot be there by chance
ORDINARY = {"0", "1", "2", "0.0", "1.0", "2.0"}  # numbers of any sentence


class Canary:
    """Knows what is secret in a lab, and searches what a student is shown for it."""

    def __init__(self, course: Course, lab: Lab) -> None:
        """Collect the secrets."""
        self._course = course
        self._lab = lab
        checks = _checks(lab)
        self._public = _public(lab, checks)
        # The first and the last word may be glued to others.
        self._secrets = [(line, line.split(" ")[1:-1], origin) for line, origin in _secret_lines(lab, checks)]

    def leaks(self, source: str, result: LabResult) -> list[str]:
        """Return, as sentences, what `result` would show to the student who handed in `source` and must not."""
        shown = for_student(result)
        texts = {
            "the record": json.dumps(shown.model_dump(mode="json"), ensure_ascii=False),
            "the terminal": terminal.render(shown, color=False, ascii=False, width=400, verbose=2),
            "the page": html.unescape(
                student_page(shown, page_url=None, hints=self._lab.hints, templates_dir=self._course.templates)
            ),
        }
        flat = {where: _flat(text.replace('\\"', '"')) for where, text in texts.items()}
        known = _flat(source) + self._public
        words = {word for text in flat.values() for word in text.split(" ")}
        found = []
        for line, inner, origin in self._secrets:
            if not words.issuperset(inner):  # a line stands nowhere if one of its words does not: quick to tell
                continue
            where = [name for name, text in flat.items() if line in text]
            if where and line not in known:
                found += [f"{name} shows a line of {origin}: {line}" for name in where]
        for check, redacted in zip(result.checks, shown.checks, strict=True):
            if not check.visible and check.evidence is not None:
                found += _values_shown(check, redacted, source)
                call = _flat(check.evidence.call or "")
                found += [f"{n} shows the inputs of {check.id}" for n, text in flat.items() if call and call in text]
        return found


def _values_shown(check: CheckResult, redacted: CheckResult, source: str) -> list[str]:
    """Return what a hidden check's record still tells of the values that it measured."""
    assert check.evidence is not None
    words = " ".join([redacted.message or "", redacted.output, *(frame.code for frame in redacted.frames)])
    return [
        f"the record of {check.id} shows a value: {value}"
        for value in (check.evidence.expected, check.evidence.yours)
        if value and len(re.sub(r"\D", "", value)) >= SHORTEST_NUMBER and value in words and value not in source
    ]


def telling_sentences(lab: Lab, result: LabResult, seen: Examination) -> list[str]:
    """Return the hidden checks whose sentence holds a number that is one of their inputs or expected values."""
    found = []
    for check in result.checks:
        if check.visible:
            continue
        numbers = set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\d)", check.title)) - ORDINARY
        if not numbers:
            continue
        used: set[str] = set()
        for one in seen.scripts.get(check.task, []):
            if one.check == check.id:
                used |= set(_numbers(one.call.request))
                used |= set(_numbers(one.expected.value)) if one.expected is not None else set()
        found += [
            f"the sentence of {check.id} tells an input or a value: {number}" for number in sorted(numbers & used)
        ]
    return found


def _numbers(value: Any) -> Iterator[str]:
    if isinstance(value, Recipe):
        value = [*value.args, *value.kwargs.values()]
    if isinstance(value, Tensor):
        small = value.array is not None and value.array.size <= 64
        value = np.asarray(value.array, dtype=np.float64).ravel().tolist() if small else []
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield f"{value:g}"
        yield str(value)


def _flat(text: str) -> str:
    """Return a text with each run of white space as one space: a page wraps lines as it likes."""
    return " ".join(text.split())


def _public(lab: Lab, checks: Sequence[_Check]) -> str:
    """Return everything that a student may read anyway."""
    texts = [lab.starter, lab.page, lab.scenarios or "", *(hint for hints in lab.hints.values() for hint in hints)]
    texts += [mistake.says for mistake in lab.misconceptions]
    texts += [check.text for check in checks if check.visible]
    return _flat("\n".join(texts))


def _secret_lines(lab: Lab, checks: Sequence[_Check]) -> list[tuple[str, str]]:
    sources = [(lab.reference, "the reference")]
    sources += [(check.text, "a hidden check") for check in checks if not check.visible]
    for mistake in lab.misconceptions:
        for piece in mistake.replacements:
            sources += [(piece.find, "an edit"), (piece.put, "an edit")]
    titles = {_flat(line) for check in checks for line in check.sentence.splitlines()}
    lines: dict[str, str] = {}
    for text, origin in sources:
        for raw in text.splitlines():
            line = _flat(raw)
            if len(line) >= SHORTEST_LINE and line.strip('"') not in titles:
                lines.setdefault(line, origin)
    return list(lines.items())


@dataclass(frozen=True)
class _Check:
    text: str  # its source without the decorators
    visible: bool
    sentence: str


def _checks(lab: Lab) -> list[_Check]:
    """Return the lab's checks."""
    source = lab.checks_path.read_text(encoding="utf-8")
    lines = source.split("\n")
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            # Not ast.get_source_segment: it splits the whole file anew for each check, seconds in all.
            text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            visible = any("visible=True" in ast.unparse(mark) for mark in node.decorator_list)
            found.append(_Check(text, visible, ast.get_docstring(node) or ""))
    return found
