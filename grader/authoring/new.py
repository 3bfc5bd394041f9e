"""`grade new`: a lab that audits clean from the start, small but whole, for its author to replace piece by piece."""

from __future__ import annotations

import re
from pathlib import Path

from grader.course import Course, load
from grader.errors import CourseError, UsageError

LAB = """\
format_version = 2
id = "{id}"
title = "{title}"
reference = "{name}.py"
libraries = "torch"            # or "diffusers": what the worker can import

[limits]
cpu_s = 10                     # per task
memory_mib = 1024

[[task]]
id = "scale_to_unit"           # the name of the function or class that a student defines
title = "Bring an image to unit range"
points = 3
see = "the-formula"            # a heading of page.md
"""

REFERENCE = '''\
"""{title}: the right answers, written like the paper."""

import torch


def scale_to_unit(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Map [low, high] to [-1, 1]: y = 2·(x − low)/(high − low) − 1, in the dtype of `x`."""
    return 2 * (x - low) / (high - low) - 1
'''

STARTER = '''\
"""{title}. Read page.md first, fill in each function and run `grade {id}`."""

import torch


def scale_to_unit(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return `x` with [low, high] mapped to [-1, 1].

    Args:
        x: any shape, floating point. It stays the caller's: do not change it.
        low, high: the ends of its range, low < high.

    Returns:
        A tensor like `x`.
    """
    raise NotImplementedError
'''

CHECKS = '''\
"""Checks of {id}. The docstring of a check is the sentence that a student reads."""

from grader.kit import check

# A check describes its inputs as recipes; student and reference make them, and all that comes back is compared.
# Visible checks are shown with all numbers; hidden ones have other seeds, shapes and edges, and show a sentence only.


@check("scale_to_unit", visible=True)
def test_bytes(compare, draw):
    """Pixels from 0 to 255 become numbers from -1 to 1."""
    compare.scale_to_unit(draw.uniform(2, 3, 4, 4) * 255.0, 0.0, 255.0)


@check("scale_to_unit")
def test_any_range(compare, draw):
    """The ends may lie anywhere, and values outside of them are mapped by the same line."""
    compare.scale_to_unit(draw.normal(5, 7), -3.0, 0.5)


@check("scale_to_unit")
def test_one_call_after_another(compare, draw):
    """A second call with another range and dtype is as right as the first: nothing is kept from it."""
    compare.scale_to_unit(draw.uniform(3, 5).to("float16"), 0.25, 1.5)
    compare.scale_to_unit(draw.normal(4), -1.5, 2.0)
'''

MISCONCEPTIONS = """\
# A mistake that students make: a small edit of the reference, and the sentence that they read when they make it.

[scale_to_unit.unit_interval]
find = "2 * (x - low) / (high - low) - 1"      # must occur exactly once in the task's function
put = "(x - low) / (high - low)"
says = "Your result runs from 0 to 1. The range asked for is twice as wide, and its middle is 0."
see = "the-formula"

[scale_to_unit.forgets_low]
find = "x - low"
put = "x"
says = "You divided by the width without taking the lower end away first."
see = "the-formula"

[scale_to_unit.in_place]
find = "2 * (x - low) / (high - low) - 1"
put = "x.sub_(low).mul_(2 / (high - low)).sub_(1)"
says = "Your result is right, but x was overwritten on the way. The caller still needs it."
see = "what-to-notice"

[scale_to_unit.divides_by_high]
find = "(high - low)"
put = "high"
says = "You divided by the upper end. That is the width only where the lower end is 0."
see = "the-formula"
"""

EQUIVALENTS = """\
# Right code in another form: it must pass, and with half of the tolerance to spare.

[scale_to_unit.from_the_middle]
why = "The distance from the middle, in units of half the width."
find = "2 * (x - low) / (high - low) - 1"
put = "(x - (low + high) / 2) / ((high - low) / 2)"

[scale_to_unit.float64_inside]
why = "Everything in float64, rounded once."
code = '''
def scale_to_unit(x, low, high):
    wide = x.double()
    return ((wide - low) / (high - low) * 2 - 1).to(x.dtype)
'''
"""

HINTS = """\
[scale_to_unit]
hints = [
  "Where do `low`, `high` and the middle between them have to go?",
  "Two points fix a line: low goes to -1, high to 1.",
  "Take `low` away, divide by the width, double it, take 1 away.",
]
"""

PAGE = """\
# {title}

What this lab is for, in two sentences.

## The formula

`y = 2·(x − low)/(high − low) − 1` maps `low` to −1 and `high` to 1.

## What to notice

The input stays the caller's: work on a copy.
"""


def new(course: Course, lab_id: str, title: str | None) -> list[Path]:
    """Write a lab's files and its line in course.toml; return what was written. Nothing is ever overwritten."""
    if not re.fullmatch(r"lab[0-9]{2}", lab_id):
        raise UsageError(f"a lab's id is `lab` and two digits, such as lab11, not {lab_id!r}.")
    if any(lab.id == lab_id for lab in course.labs):
        raise UsageError(f"there is a {lab_id} already: {course.lab(lab_id).folder.name}.")
    title = (title or "A new lab").strip()
    topic = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or "new"
    name = f"{lab_id}_{topic}"
    folder = course.root / "exercises" / name
    words = {"id": lab_id, "title": title.replace("\\", "").replace('"', "'"), "name": name}
    texts = {
        course.root / "reference" / f"{name}.py": REFERENCE,
        folder / "lab.toml": LAB,
        folder / "starter.py": STARTER,
        folder / "checks.py": CHECKS,
        folder / "misconceptions.toml": MISCONCEPTIONS,
        folder / "equivalents.toml": EQUIVALENTS,
        folder / "hints.toml": HINTS,
        folder / "page.md": PAGE,
    }
    there = [path for path in [folder, *texts] if path.exists()]
    if there:
        raise UsageError(f"{there[0].relative_to(course.root)} is there already; nothing was written.")
    manifest = course.root / "exercises" / "course.toml"
    entry = _with_lab(manifest.read_text(encoding="utf-8"), name)
    folder.mkdir(parents=True)
    (course.root / "reference").mkdir(exist_ok=True)
    for path, text in texts.items():
        for key, word in words.items():
            text = text.replace("{" + key + "}", word)
        path.write_text(text, encoding="utf-8")
    # Last, so that a course that is cut short is still a course.
    manifest.write_text(entry, encoding="utf-8")
    load(course.root)
    return [*texts, manifest]


def _with_lab(text: str, name: str) -> str:
    """Return course.toml with one more lab at the end of `labs`; all else stays as it is written, comments too."""
    found = re.search(r"^labs\s*=\s*\[([^\]]*)\]", text, re.MULTILINE)
    if found is None:
        raise CourseError("course.toml has no list `labs` that could take a new lab.")
    inside = found[1].rstrip()
    comma = "" if not inside or inside.endswith(",") else ","
    line = f'\n  "{name}",\n' if "\n" in found[1] else f' "{name}"'
    return text[: found.start(1)] + inside + comma + line.lstrip(" " if not inside else "") + text[found.end(1) :]
