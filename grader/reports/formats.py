"""The one table of other people's formats: what `--write NAME=FILE` takes, and what the documents say of each."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grader.cohort.gradebooks import csv_bytes, items_table
from grader.errors import UsageError
from grader.reports import classroom50, github, gradescope, junit, sarif
from grader.reports.inert import inert
from grader.reports.told import Graded


@dataclass(frozen=True)
class Format:
    """One format. `render` gets the results and the environment variables."""

    name: str
    file: str  # what such a file is usually called
    readers: str
    carries: str
    left_out: str
    render: Callable[[Sequence[Graded], Mapping[str, str]], str]
    of_one: bool = False  # one submission's: two files of a lab would be counted twice

    def written(self, all_graded: Sequence[Graded], environ: Mapping[str, str]) -> str:
        """Return the file's text."""
        labs = [graded.result.lab for graded in all_graded]
        if self.of_one and (twice := next((lab for lab in labs if labs.count(lab) > 1), None)):
            raise UsageError(f"{self.name} is for one submission, and several files of {twice} were graded.")
        return self.render(all_graded, environ)


def in_json(data: dict[str, Any]) -> str:
    """Return JSON that is safe within HTML, too."""
    text = json.dumps(data, ensure_ascii=False, indent=1)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") + "\n"


def _csv(all_graded: Sequence[Graded]) -> str:
    named = ((inert(graded.path), graded.result) for graded in all_graded)
    return csv_bytes(items_table(named, "file")).decode()


FORMATS = {
    one.name: one
    for one in (
        Format(
            "gradescope",
            "results.json",
            "Gradescope",
            "the score; a test a check: title, points, whether it passed; the visible ones' sentences; each task's"
            " named mistake in `extra_data`",
            "calls, evidence, output, pictures; an outcome finer than passed and failed",
            lambda graded, environ: in_json(gradescope.results(graded)),
            of_one=True,
        ),
        Format(
            "classroom50",
            "result.json",
            "Classroom 50",
            "a row a task: whole points, rounded down, the exact ones beside; named mistake and sentence",
            "the single checks; evidence, output, pictures",
            lambda graded, environ: in_json(classroom50.result(graded, environ)),
            of_one=True,
        ),
        Format(
            "classroom50-release",
            "release-body.md",
            "Classroom 50, as the release's text",
            "what `github-summary` has, and how the points come to be whole",
            "the single checks; evidence, output, pictures",
            lambda graded, environ: classroom50.release_body(graded),
            of_one=True,
        ),
        Format(
            "junit",
            "junit.xml",
            "GitLab, Forgejo, Jenkins",
            "a suite a task, a case a check: outcome (failure: the student's, error: ours), points as properties, the"
            " visible ones' sentences, the named mistake, the line",
            "calls, evidence, output, pictures, times",
            lambda graded, environ: junit.render(graded),
        ),
        Format(
            "sarif",
            "alphabar.sarif",
            "GitHub code scanning, editors",
            "a result a task that was tried and is not right, at the student's line: sentence, points, named mistake",
            "what passes, what was not started; the single checks",
            lambda graded, environ: in_json(sarif.render(graded)),
        ),
        Format(
            "github-annotations",
            "-",
            "GitHub and Forgejo, in a job's log",
            "a line a task that was tried and is not right, at the student's line; ten of a kind at most",
            "what passes, what was not started; the single checks",
            lambda graded, environ: github.annotate(graded),
        ),
        Format(
            "github-summary",
            "summary.md",
            "GitHub, as a job's summary; people",
            "a table of the tasks: points, state, named mistake; a sentence for what is not right; what to do next",
            "the single checks; evidence, output, pictures",
            lambda graded, environ: github.summary(graded),
        ),
        Format(
            "csv",
            "checks.csv",
            "spreadsheets",
            "a line a check, as in a class's `items.csv`: outcome, points, whether visible or unstable",
            "all sentences, the named mistake",
            lambda graded, environ: _csv(graded),
        ),
    )
}


def find(name: str) -> Format:
    """Return one format; UsageError with a suggestion when there is none of that name."""
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name, FORMATS, 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"there is no format {name!r}.{meant} There are: {', '.join(FORMATS)}.")


def table() -> str:
    """Return the documents' table, as markdown."""
    lines = ["| `--write` | file | read by | carries | left out |", "| --- | --- | --- | --- | --- |"]
    for one in FORMATS.values():
        file = "the terminal: `-`" if one.file == "-" else f"`{one.file}`"
        lines.append(f"| `{one.name}` | {file} | {one.readers} | {one.carries} | {one.left_out} |")
    return "\n".join(lines) + "\n"
