"""The student's page: one HTML file, no script, nothing fetched, the same bytes for the same record."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from grader.reports import official, words
from grader.reports.chart import BOTTOM, GAP, HEIGHT, RIGHT, TOP, WIDTH, Layout, layout
from grader.reports.pages import environment, stylesheet
from grader.results import CheckResult, Frame, LabResult, Picture, TaskResult, for_student
from grader.text import clean, clean_line

STATE_CLASS = {
    "passed": "pass",
    "partly": "part",
    "not_yet": "fail",
    "crashed": "crash",
    "not_started": "none",
    "ungraded": "ours",
}
OUTCOME_CLASS = {
    "passed": "pass",
    "failed": "fail",
    "crashed": "crash",
    "timed_out": "time",
    "skipped": "none",
    "grader_error": "ours",
}

MAX_FRAMES = 8
MAX_TEXT = 2_000
MAX_LINE = 240
OUTPUT_ROOM = 40_000  # bytes of HTML that the outputs of all checks may take together
TEXT_ROOM = 60_000  # the same for messages, evidence and tracebacks
PICTURE_ROOM = 150_000
BAR_WIDTH = 480


def prepare(templates_dir: Path) -> None:
    """Compile what every page needs; called where there is something else to wait for."""
    stylesheet(templates_dir, "tokens.css", "student.css")
    environment(templates_dir).get_template("student.html")


def student_page(
    result: LabResult,
    *,
    page_url: str | None,
    hints: dict[str, list[str]],
    templates_dir: Path,
    headings: Mapping[str, str] = MappingProxyType({}),
    notes: Sequence[str] = (),
    who: str = "",
) -> str:
    """Return the page of one result. `page_url` is the lab's page, to which explanations link.

    `headings` are what the links are called, by the ids of the page's sections; the id where there is none.

    `notes` are sentences to be read first: what changed the score after grading (the page shows the score as graded),
    what is missing from the page. `who` is a student of a class, by pseudonym.
    """
    result = for_student(result)
    css, css_hash = stylesheet(templates_dir, "tokens.css", "student.css")
    template = environment(templates_dir).get_template("student.html")
    told = [words.shorten(clean_line(says), MAX_TEXT) for says in notes]
    view = _view(result, page_url, headings, hints)
    return template.render(css=css, css_hash=css_hash, notes=told, who=clean_line(who), **view) + "\n"


def failed_page(title: str, says: str, notes: Sequence[str]) -> str:
    """Return what stands in the place of a page that could not be made; nothing but text, so that this one can."""
    told = "".join(f"<p>{html.escape(clean_line(note))}</p>\n" for note in (says, *notes))
    return f"<!doctype html>\n<meta charset=utf-8>\n<title>{html.escape(clean_line(title))}</title>\n{told}"


def _view(
    result: LabResult, page_url: str | None, headings: Mapping[str, str], hints: dict[str, list[str]]
) -> dict[str, Any]:
    rooms = {"output": OUTPUT_ROOM, "text": TEXT_ROOM, "pictures": PICTURE_ROOM}
    filename = words.shorten(clean_line(result.filename), 80)
    tasks = [
        _task(n, task, result, page_url, headings, hints.get(task.id, []), rooms)
        for n, task in enumerate(result.tasks, 1)
    ]
    first = words.next_task(result) if result.problem is None else None
    first_checks = words.checks_of(result, first) if first else []
    return {
        "lab": clean_line(result.lab),
        "lab_title": clean_line(result.title),
        "filename": filename,
        "submission": clean_line(result.submission),
        "course": clean_line(result.course),
        "source": clean_line(result.source),
        "local": official.LOCAL if result.edition else "",
        "earned": words.points(result.score.earned),
        "possible": words.points(result.score.possible),
        "full_marks": words.full_marks(result),
        "drawn": _drawn(tasks) if words.full_marks(result) else None,
        "ungraded": [task["title"] for task in tasks if task["state"] == "ours"],
        "tasks": tasks,
        "quote": clean_line((first_checks or result.checks)[0].id) if result.checks else None,
        "passed": sum(task["state"] == "pass" for task in tasks),
        "first": next((task for task in tasks if first is not None and task["id"] == first.id), None),
        "bar": {"width": BAR_WIDTH, "blocks": _bar(result.tasks)},
        "problem": _problem(result),
        "stopped": _stopped(result),
        "page_url": page_url,
        "isolation": words.isolation(result.environment),
        "environment": _environment(result),
        "frame": {
            "width": WIDTH,
            "height": HEIGHT,
            "gap": GAP,
            "top": TOP,
            "right": WIDTH - RIGHT,
            "bottom": HEIGHT - BOTTOM,
        },
    }


def _drawn(tasks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first task with a picture that the student's code made: with nothing left to mend, that is opened."""
    for task in tasks:
        for picture in task["pictures"]:
            if picture["fits"] and any("yours" in label.split(", ") for label, _ in picture["rows"]):
                return task
    return None


def _bar(tasks: list[TaskResult]) -> list[dict[str, Any]]:
    """Place one block a task in the bar of the score; its width is its points."""
    gap = 4.0
    total = sum(task.possible for task in tasks)
    if not total:
        return []
    unit = (BAR_WIDTH - 2 - gap * (sum(task.possible > 0 for task in tasks) - 1)) / total
    blocks, x = [], 1.0
    for n, task in enumerate(tasks, 1):
        if not task.possible:
            continue
        width = task.possible * unit
        share = min(max(task.earned / task.possible, 0.0), 1.0)
        blocks.append(
            {
                "n": n,
                "state": STATE_CLASS[task.state],
                "x": round(x, 1),
                "width": round(width, 1),
                "filled": round(width * share, 1),
                "middle": round(x + width / 2, 1),
                "says": f"task {n} {words.points(task.earned)} of {words.points(task.possible)}",
            }
        )
        x += width + gap
    return blocks


def _problem(result: LabResult) -> dict[str, Any] | None:
    """Split the problem's message: its first line is the sentence, the rest is shown as code."""
    if result.problem is None or not words.unusable(result):
        return None
    sentence, _, code = words.shorten(clean(result.problem.message).strip("\n"), MAX_TEXT).partition("\n")
    kind = result.problem.kind
    return {
        "heading": words.PROBLEMS.get(kind, clean_line(kind).replace("_", " ").capitalize()),
        "sentence": sentence,
        "code": code.rstrip(),
        "line": result.problem.line,
    }


def _stopped(result: LabResult) -> dict[str, str] | None:
    """Say why grading ended early, where the file is not to blame."""
    if result.problem is None or words.unusable(result):
        return None
    return {"heading": words.STOPPED[result.problem.kind], "sentence": clean(result.problem.message)}


def _environment(result: LabResult) -> dict[str, Any] | None:
    env = result.environment
    if env is None:
        return None
    libraries = [f"{name} {version}" for name, version in sorted(env.libraries.items()) if name != "python"]
    on = [clean_line(layer) for layer, state in sorted(env.sandbox.items()) if state is True]
    return {
        "graded_at": clean_line(env.graded_at),
        "when": words.when(clean_line(env.graded_at)),
        "versions": ", ".join([f"alphabar {env.grader}", f"Python {env.python}", *libraries, env.platform]),
        "isolation": env.isolation,
        "layers": words.joined(on),
        "start_method": env.start_method,
        "seconds": f"{env.durations['total']:.1f}" if "total" in env.durations else None,
    }


def anchor(id: str) -> str:
    """Return a check's or task's id as an HTML id: `lab01/add_noise.dtype` becomes `task-add_noise.dtype`."""
    return "task-" + re.sub(r"[^\w.-]", "-", id.rpartition("/")[2])


def _cost(text: str) -> int:
    """Return how many bytes the escaped text takes: an escaped character up to five."""
    return len(text.encode()) + 4 * sum(text.count(c) for c in "<>&\"'")


def _fitting(text: str, most: int, rooms: dict[str, int]) -> str:
    """Clean and shorten a text; when the page is nearly full, to little."""
    shown = words.shorten(clean(text).strip("\n"), most)
    if _cost(shown) > rooms["text"]:
        shown = words.shorten(clean(text).strip("\n"), 100)
    rooms["text"] -= _cost(shown)
    return shown


def _task(
    n: int,
    task: TaskResult,
    result: LabResult,
    page_url: str | None,
    headings: Mapping[str, str],
    hints: list[str],
    rooms: dict[str, int],
) -> dict[str, Any]:
    checks = words.checks_of(result, task)
    state = STATE_CLASS[task.state]
    seen: dict[Any, str] = {}
    shown = [_check(check, clean_line(result.filename), seen, rooms) for check in checks]
    return {
        "n": n,
        "id": task.id,
        "anchor": anchor(task.id),
        "title": clean_line(task.title),
        "function": clean_line(task.function),
        "line": task.line,
        "earned": words.points(task.earned),
        "possible": words.points(task.possible),
        "gain": words.points(task.possible - task.earned),
        "gain_word": "point" if words.points(task.possible - task.earned) == "1" else "points",
        "state": state,
        "word": "Not run" if result.problem and state == "none" else words.STATES[task.state],
        "why": words.shorten(words.why_not_started(result, task), MAX_TEXT) if task.line is None else "",
        "diagnosis": _diagnosis(task, page_url, headings),
        "checks": shown,
        "hidden": sum(not check.visible for check in checks),
        "hidden_only": official.HIDDEN_ONLY if official.fails_hidden_only(checks) else "",
        "pictures": _pictures(task, result.pictures, rooms) if state != "none" else [],
        "hints": [clean(hint) for hint in hints] if state not in ("pass", "ours") else [],
    }


def _diagnosis(task: TaskResult, page_url: str | None, headings: Mapping[str, str]) -> dict[str, Any] | None:
    if task.diagnosis is None:
        return None
    return {
        "says": words.shorten(clean(task.diagnosis.says), MAX_TEXT),
        "facts": words.shorten(clean_line(" ".join(task.diagnosis.facts)), MAX_TEXT),
        "explanations": [[clean_line(id) for id in ids] for ids in task.diagnosis.misconceptions],
        "links": [(f"{page_url}#{quote(id)}", headings.get(id, id)) for id in map(clean_line, task.diagnosis.see)]
        if page_url
        else [],
    }


def _check(check: CheckResult, filename: str, seen: dict[Any, str], rooms: dict[str, int]) -> dict[str, Any]:
    """Return one check for the page. A traceback that an earlier check of the task showed is only referred to."""
    message = clean(check.message or "").strip()
    title = clean_line(check.title)
    same_as = None
    frames: list[dict[str, Any]] = []
    if check.outcome != "passed" and check.frames:
        key = (check.outcome, message, tuple((f.line, f.code) for f in check.frames))
        same_as = seen.get(key)
        seen.setdefault(key, title.removesuffix("."))
    if same_as is None and check.outcome != "passed":
        frames = _frames(check.frames, filename, rooms)
    return {
        "id": clean_line(check.id),
        "anchor": anchor(check.id),
        "title": title,
        "state": OUTCOME_CLASS[check.outcome],
        "word": words.OUTCOMES[check.outcome],
        "earned": words.points(check.earned),
        "possible": words.points(check.possible),
        "visible": check.visible,
        "message": None if same_as else _fitting(message, MAX_TEXT, rooms),
        "same_as": same_as,
        "is_error": bool(check.frames) or check.outcome == "crashed",
        "evidence": _evidence(check, rooms),
        "frames": frames,
        "output": _output(check.output, seen, rooms),
        "unstable": check.unstable,
    }


def _frames(frames: list[Frame], filename: str, rooms: dict[str, int]) -> list[dict[str, Any]]:
    """Return the student's lines, outermost first; of a deep recursion only both ends."""
    kept: list[Frame | None] = list(frames)
    half = MAX_FRAMES // 2 if rooms["text"] > TEXT_ROOM // 4 else 1
    if len(frames) > 2 * half:
        kept = [*frames[:half], None, *frames[-half:]]
    return [
        {"more": words.count(len(frames) - 2 * half, "call")}
        if frame is None
        else {
            "more": None,
            "where": _fitting(f"{filename}, line {frame.line}, in {clean_line(frame.function)}", 200, rooms),
            "line": frame.line,
            "code": _fitting(frame.code, MAX_LINE, rooms),
        }
        for frame in kept
    ]


def _evidence(check: CheckResult, rooms: dict[str, int]) -> dict[str, Any] | None:
    evidence = check.evidence
    if evidence is None or not check.visible or check.outcome == "passed":
        return None
    error = None
    if evidence.max_error is not None:
        error = words.number(evidence.max_error)
    times = None
    if evidence.in_tolerances is not None:
        times = words.number(evidence.in_tolerances)
    texts = {
        name: _fitting(value, MAX_TEXT, rooms) if value is not None else None
        for name, value in (
            ("call", evidence.call),
            ("where", words.where(check)),
            ("yours", evidence.yours),
            ("expected", evidence.expected),
        )
    }
    if error is None and times is None and not any(texts.values()):
        return None
    return {"error": error, "times": times, **texts}


def _output(output: str, seen: dict[Any, str], rooms: dict[str, int]) -> dict[str, str] | None:
    """Return what the code printed, once for equal outputs, as long as the page has room."""
    text = clean(output).rstrip()
    if not text or ("output", text) in seen:
        return None
    seen["output", text] = text
    lines = text.count("\n") + 1
    room = min(8_000, rooms["output"])
    shown = words.cap(text, most_bytes=room) if room > 500 else "… left out: this page shows 40 kB of output at most"
    rooms["output"] -= _cost(shown)
    return {"text": shown, "lines": words.count(lines, "line")}


def _pictures(task: TaskResult, pictures: list[Picture], rooms: dict[str, int]) -> list[dict[str, Any]]:
    shown = []
    for i, picture in enumerate(p for p in pictures if p.task == task.id):
        size = sum(len(png) for _, pngs in picture.rows for png in pngs)
        fits = size <= rooms["pictures"]
        rooms["pictures"] -= size if fits else 0
        shown.append(
            {
                "anchor": f"{anchor(task.id)}-picture-{i + 1}",
                "title": picture.title,
                "caption": picture.caption,
                "alt": picture.alt,
                "missing": clean_line(picture.missing),
                "columns": picture.columns,
                "rows": picture.rows,
                "fits": fits,
                "chart": _chart(picture),
                "x_label": picture.x_label,
                "y_label": picture.y_label + (" (log scale)" if picture.log_y else ""),
            }
        )
    return shown


def _chart(picture: Picture) -> Layout | None:
    """Place a chart; None where that cannot be done: a picture that fails costs itself, and no page."""
    try:
        return layout(picture) if picture.series else None
    except (ArithmeticError, ValueError):
        return None
