"""The page of a class: what needs attention, tasks as test items, shared mistakes, and a matrix of everybody.

One HTML file that fetches nothing; its script only sorts, finds and highlights. Pseudonyms only.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.cohort.records import CohortResult, Rate, Row
from grader.cohort.statistics import ENOUGH, LOW_DISCRIMINATION, counts, is_low
from grader.manifest import Task
from grader.reports import words
from grader.reports.chart import linear_ticks
from grader.reports.html import anchor
from grader.reports.pages import environment, script, stylesheet
from grader.text import clean, clean_line

BINS = 20
LEFT, BOTTOM, TOP = 44, 40, 20
HISTOGRAM, SCATTER = (520, 240), (420, 300)  # width and height
ATTENTION = 30  # lines; a page that shows five hundred notes shows none
NAMES = 12  # pseudonyms in one line
MISTAKES = 10  # the others are folded away
SLOW = 5  # tasks
ICONS = {
    "grader_error": "ours",
    "whose": "part",
    "isolation": "part",
    "timed_out": "time",
    "unmatched": "none",
    "unstable": "part",
    "cluster": "fail",
    "discrimination": "part",
    "slow": "time",
    "late": "time",
    "pictures": "ours",
    "note": "none",
}


@dataclass(frozen=True)
class Line:
    """One student's line of the matrix."""

    student: str
    final: float | None  # None: nobody has judged it
    cells: list[tuple[str, str]]  # class, text
    state: str
    isolation: str | None


def line(row: Row) -> Line:
    """Return what the matrix shows of a row."""
    # A row that nobody could judge is no row of noughts.
    unusable = row.undecided
    cells = [("hu", "×") if unusable else _cell(task.state, task.earned, task.possible) for task in row.tasks]
    kind = row.problem.kind if row.problem else None
    state = words.PROBLEMS.get(kind, words.STOPPED.get(kind, kind)) if kind else ""
    note = words.isolation(row.environment)
    return Line(row.student, None if unusable else row.final, cells, state, note[0] if note else None)


@functools.lru_cache(1 << 10)  # a class has few different cells, and each is kept once
def _cell(state: str, earned: float, possible: float) -> tuple[str, str]:
    share = earned / possible if possible else 0.0
    heat = "h4" if share >= 1 else "h3" if share >= 0.8 else "h2" if share >= 0.5 else "h1" if share > 0 else "h0"
    heat = {"crashed": "hx", "not_started": "hn", "ungraded": "hn"}.get(state, heat)
    return heat, "–" if state in ("not_started", "ungraded") else words.points(earned)


def cohort_page(
    cohort: CohortResult, tasks: Sequence[Task], lines: Sequence[Line], templates_dir: Path, beside: Sequence[str]
) -> Iterator[str]:
    """Yield the page, piece by piece. `cohort` needs no rows: `lines` stand for them. `beside` lie next to it."""
    css, css_hash = stylesheet(templates_dir, "tokens.css", "cohort.css")
    js, js_hash = script(templates_dir, "cohort.js")
    template = environment(templates_dir).get_template("cohort.html")
    view = _view(cohort, tasks, lines)
    yield from template.generate(css=css, css_hash=css_hash, js=js, js_hash=js_hash, beside=list(beside), **view)
    yield "\n"


def _view(cohort: CohortResult, tasks: Sequence[Task], lines: Sequence[Line]) -> dict[str, Any]:
    shown = cohort.statistics
    possible = sum(task.points for task in tasks)
    finals = [one.final for one in lines if one.final is not None]
    numbers: dict[str, list[int]] = {}
    for number, named in enumerate(shown.named):
        for student in named.students:
            numbers.setdefault(student, []).append(number)
    titles = {task.id: clean_line(task.title) for task in tasks}
    shared = [one for one in shown.clusters if len(one.students) > 1]
    lacking = next((one.isolation for one in lines if one.isolation), None)
    return {
        "lab": clean_line(cohort.lab),
        "title": clean_line(cohort.title),
        "course": clean_line(cohort.course),
        "seed": cohort.seed,
        "submissions": shown.students,
        "roster": len(lines) + len(cohort.found.unmatched),
        "possible": words.points(possible),
        "median": words.points(statistics.median(finals)) if finals else "–",
        "full": sum(final >= possible for final in finals),
        "alpha": _coefficient(shown.alpha),
        "enough": shown.enough,
        "needed": ENOUGH,
        "low": f"{LOW_DISCRIMINATION:.2f}",
        "environment": _environment(cohort),
        "isolation": lacking,
        "attention": [_attention(one.kind, one.says, one.students) for one in shown.attention[:ATTENTION]],
        "attention_more": max(0, len(shown.attention) - ATTENTION),
        "ignored": _who([clean_line(name) for name in cohort.found.ignored], pages=False),
        "histogram": _histogram(finals, possible),
        "tasks": [
            _task(rate, n, task, cohort) for n, (rate, task) in enumerate(zip(shown.tasks, tasks, strict=True), 1)
        ],
        "scatter": _scatter(shown.tasks) if shown.enough else None,
        "checks": [_rate(rate) for rate in shown.checks],
        "slow": _slow(shown.tasks, titles),
        "named": [
            {
                "number": number,
                "ids": " or ".join(clean_line(id) for id in named.misconceptions),
                "task": titles.get(named.task, named.task),
                "says": words.shorten(clean(named.says), 300),
                "count": len(named.students),
                "share": round(100 * len(named.students) / max(1, shown.students), 1),
                "who": _who(named.students),
            }
            for number, named in enumerate(shown.named)
        ],
        "clusters": [
            {
                "task": titles.get(one.task, one.task),
                "says": words.shorten(clean_line(one.says), 300),
                "signature": one.signature,
                "count": len(one.students),
                "who": _who(one.students),
            }
            for one in shared[:ATTENTION]
        ],
        "clusters_more": max(0, len(shared) - ATTENTION),
        "clusters_alone": words.count(len(shown.clusters) - len(shared), "failure")
        if len(shown.clusters) > len(shared)
        else "",
        "lines": (
            {
                "student": one.student,
                "final": "–" if one.final is None else words.points(one.final),
                "cells": one.cells,
                "mistakes": " ".join(map(str, numbers.get(one.student, []))),
                "state": one.state,
            }
            for one in lines
        ),
        "anchors": [anchor(task.id) for task in tasks],
        "shown_mistakes": MISTAKES,
    }


def _environment(cohort: CohortResult) -> dict[str, Any] | None:
    env = cohort.environment
    if env is None:
        return None
    minutes, seconds = divmod(round(env.seconds), 60)
    return {
        "when": words.when(env.graded_at.isoformat(timespec="seconds")),
        "took": f"{minutes} min {seconds} s" if minutes else f"{env.seconds:.1f} s",
        "graded": env.graded,
        "kept": env.kept,
        "jobs": words.count(env.jobs, "judge"),
        "executor": env.executor,
        "grader": env.grader,
    }


def _coefficient(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}".replace("-", "−")


def _who(students: Sequence[str], *, pages: bool = True) -> dict[str, Any]:
    """Return who is named, and whether each has a page; who handed in nothing has none."""
    return {"shown": list(students[:NAMES]), "more": max(0, len(students) - NAMES), "pages": pages}


def _attention(kind: str, says: str, students: Sequence[str]) -> dict[str, Any]:
    heading = words.PROBLEMS.get(kind)
    text = clean_line(says)
    return {
        "icon": ICONS.get(kind, "crash"),
        "text": f"{heading}: {text}" if heading and text else heading or text,
        "who": _who(students, pages=kind != "unmatched"),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "id": clean_line(rate.id),
        "difficulty": _coefficient(rate.difficulty),
        "discrimination": _coefficient(rate.discrimination),
        "low": is_low(rate),
        "passed": rate.passed,
        "graded": rate.graded,
        "unstable": rate.unstable,
    }


def _slow(rates: Sequence[Rate], titles: dict[str, str]) -> list[dict[str, Any]]:
    """Return the tasks that changed their verdict on a second run, and those that took longest."""
    timed = [rate for rate in rates if rate.unstable or rate.slowest is not None]
    timed.sort(key=lambda rate: (-rate.unstable, -(rate.slowest or 0)))
    return [
        {
            "title": titles[rate.id],
            "seconds": [f"{value:.2f} s" if value is not None else "–" for value in (rate.seconds, rate.slowest)],
            "unstable": rate.unstable,
        }
        for rate in timed[: max(SLOW, sum(rate.unstable > 0 for rate in timed))]
    ]


def _task(rate: Rate, number: int, task: Task, cohort: CohortResult) -> dict[str, Any]:
    mistakes = [one for one in cohort.statistics.named if one.task == rate.id]
    return {
        **_rate(rate),
        "number": number,
        "title": clean_line(task.title),
        "possible": words.points(task.points),
        "top": clean_line(" or ".join(mistakes[0].misconceptions)) if mistakes else "",
        "top_count": len(mistakes[0].students) if mistakes else 0,
    }


def _frame(width: int, height: int) -> dict[str, int]:
    return {"width": width, "height": height, "left": LEFT, "right": width - 16, "top": TOP, "bottom": height - BOTTOM}


def _histogram(finals: Sequence[float], possible: float) -> dict[str, Any]:
    """Place one bar per equal part of the points, and the median."""
    frame = _frame(*HISTOGRAM)
    found = counts(finals, possible, BINS)
    highest = max(found, default=0) or 1
    room = frame["bottom"] - TOP

    def at_x(points: float) -> float:
        return round(LEFT + points / possible * (frame["right"] - LEFT), 1)

    def at_y(count: float) -> float:
        return round(frame["bottom"] - room * count / highest, 1)

    bars = []
    for i, count in enumerate(found):
        low, high = possible * i / BINS, possible * (i + 1) / BINS
        upper = "" if i == BINS - 1 else " (not included)"
        bars.append(
            {
                "x": at_x(low) + 1,
                "width": round(at_x(high) - at_x(low) - 2, 1),
                "y": at_y(count),
                "height": round(frame["bottom"] - at_y(count), 1),
                "count": count,
                "says": f"{words.count(count, 'student')} with {words.points(low)} to {words.points(high)}{upper}",
            }
        )
    middle = statistics.median(finals) if finals else None
    return {
        "frame": frame,
        "bars": bars,
        "x_ticks": [(at_x(value), words.points(value)) for value in linear_ticks(0, possible, 9)],
        "y_ticks": [(at_y(value), f"{value:g}") for value in linear_ticks(0, highest, 5) if value == int(value)],
        "median": None if middle is None else (at_x(middle), words.points(middle), middle > possible / 2),
        "mean": f"{statistics.fmean(finals):.1f}" if finals else "–",
        "deviation": f"{statistics.stdev(finals):.1f}" if len(finals) > 1 else "–",
    }


def _scatter(rates: Sequence[Rate]) -> dict[str, Any]:
    """Place each task by difficulty (x, 0 to 1) and discrimination (y, -0.2 to 1)."""
    frame = _frame(*SCATTER)

    def at_x(value: float) -> float:
        return round(LEFT + value * (frame["right"] - LEFT), 1)

    def at_y(value: float) -> float:
        return round(frame["bottom"] - (max(-0.2, value) + 0.2) / 1.2 * (frame["bottom"] - TOP), 1)

    dots = [
        {
            "x": at_x(rate.difficulty),
            "y": at_y(rate.discrimination),
            "number": number,
            "low": is_low(rate),
            "says": f"task {number}: p {rate.difficulty:.2f}, r {rate.discrimination:.2f}",
        }
        for number, rate in enumerate(rates, 1)
        if rate.difficulty is not None and rate.discrimination is not None
    ]
    return {
        "frame": frame,
        "dots": dots,
        "x_ticks": [(at_x(value), f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0)],
        "y_ticks": [(at_y(value), f"{value:g}") for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)],
        "zone": at_y(LOW_DISCRIMINATION),
    }
