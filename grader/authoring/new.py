"""`grade new`: a lab that audits clean from the start, small but whole, for its author to replace piece by piece."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from grader.course import Course, load
from grader.errors import CourseError, UsageError

LAB = """\
format_version = 2
id = "{id}"
title = "{title}"
reference = "{name}.py"
libraries = "torch"            # or "diffusers": what the worker can import
# figure_libraries = "diffusers"   # what the scenarios of figures.py import, if that is more
# uses_meta_device = true      # where checks put tensors on the meta device

[limits]
cpu_s = 10                     # per task
memory_mib = 1024

[[task]]
id = "scale_to_unit"           # the name of the function or class that a student defines
title = "Bring an image to unit range"
points = 3
see = "the-formula"            # a heading of page.md
# functions = ["f", "g"]       # for a task of more than one function

# [task.tolerance]             # where it differs from the defaults in docs/authors.md
# float32 = [1e-6, 1e-5]       # atol, rtol
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


@check("scale_to_unit")
def test_gradients(compare, draw):
    """Gradients reach the image, two over the width of its range for each pixel."""
    compare.play("gradient", x=draw.normal(3, 4), low=-1.0, high=3.0)
'''

SCENARIOS = '''\
"""Public harness of {id}: what is more than one call. Runs in the worker, with torch; returns values, no verdicts."""

from torch import autograd, ones_like

grad = autograd.grad


def gradient(student, *, x, low, high):
    """Return the result, and how fast its sum grows with each entry of x."""
    x = x.clone().requires_grad_()
    y = student.scale_to_unit(x, low, high)
    return {"y": y.detach(), "d_x": grad(y, x, grad_outputs=ones_like(y))[0]}
'''

FIGURES = '''\
"""Pictures of {id}, drawn in the judge from calls that student and reference answer. numpy only."""

from fixtures.sprites import sprite
from grader.kit import ImageGrid, array, beside, figure


@figure("scale_to_unit")
def a_sprite_in_unit_range(play) -> ImageGrid:
    """A sprite whose pixels run from 0 to 255, brought to the range in which pictures are shown here."""
    pixels = array((sprite("ring", "purple")[None] + 1) * 127.5)
    yours, reference = play.call("scale_to_unit", pixels, 0.0, 255.0)
    return ImageGrid(
        title="A sprite, brought to unit range",
        caption="Right, it is a purple ring. What runs from 0 to 1 looks washed out.",
        alt="A purple ring by the reference and by your function.",
        columns=["y"],
        rows=beside(yours, reference),
    )
'''

RECIPE = '''\
"""What is recorded in fixtures/golden/{id}.safetensors: numpy.interp, the line through two points by another hand."""

import numpy as np
import torch

# case -> shape, low, high
CASES = {"bytes": ((2, 3, 4), 0.0, 255.0), "odd": ((5, 7), -3.0, 0.5)}


def make() -> dict[str, torch.Tensor]:
    """Return the tensors of the file: a case's x, its ends, and y."""
    tensors = {}
    for number, (case, (shape, low, high)) in enumerate(CASES.items()):
        x = low + (high - low) * torch.rand(shape, generator=torch.Generator().manual_seed(number))
        y = np.interp(x.double().numpy(), [low, high], [-1.0, 1.0])
        ends = torch.tensor([low, high])
        tensors |= {f"{case}/x": x, f"{case}/ends": ends, f"{case}/y": torch.from_numpy(y).float()}
    return tensors
'''

ORACLE = '''\
"""The reference of {id} against its witnesses: the lab written twice, recordings, a calculation by hand."""

import numpy as np
import pytest
import torch

from tests.labs import witness
from tests.labs.witness import normal

scale_to_unit = witness.reference("{id}").scale_to_unit


def test_the_whole_lab_written_twice():
    x = normal(0, 4, 5).clamp(-2, 2)
    ours = scale_to_unit(x, -2.0, 2.0)
    theirs = np.interp(x.double().numpy(), [-2.0, 2.0], [-1.0, 1.0])
    torch.testing.assert_close(ours.double(), torch.from_numpy(theirs), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", witness.recipe("{id}").CASES)
def test_gives_the_recorded_tensors(name):
    case = witness.case("{id}", name)
    low, high = case["ends"].tolist()
    torch.testing.assert_close(scale_to_unit(case["x"], low, high), case["y"], atol=1e-6, rtol=1e-5)


def test_by_hand():
    assert scale_to_unit(torch.tensor([1.0, 2.0, 3.0, 5.0]), 1.0, 3.0).tolist() == [-1.0, 0.0, 1.0, 3.0]
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
    """Write a lab's files, its witness, its line in course.toml and its row in README.md; return what was written.

    Nothing is ever overwritten. The recording of the witness is made by running its recipe.
    """
    if not re.fullmatch(r"lab[0-9]{2}", lab_id):
        raise UsageError(f"a lab's id is `lab` and two digits, such as lab11, not {lab_id!r}.")
    if any(lab.id == lab_id for lab in course.labs):
        raise UsageError(f"there is a {lab_id} already: {course.lab(lab_id).folder.name}.")
    title = (title or "A new lab").strip()
    topic = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or "new"
    name = f"{lab_id}_{topic}"
    root, folder = course.root, course.root / "exercises" / name
    words = {"id": lab_id, "title": title.replace("\\", "").replace('"', "'"), "name": name}
    texts = {
        root / "reference" / f"{name}.py": REFERENCE,
        folder / "lab.toml": LAB,
        folder / "starter.py": STARTER,
        folder / "checks.py": CHECKS,
        folder / "scenarios.py": SCENARIOS,
        folder / "misconceptions.toml": MISCONCEPTIONS,
        folder / "equivalents.toml": EQUIVALENTS,
        folder / "hints.toml": HINTS,
        folder / "page.md": PAGE,
        folder / "figures.py": FIGURES,
    }
    has_witnesses = (root / "fixtures/recipes/golden.py").is_file() and (root / "tests/labs/witness.py").is_file()
    if has_witnesses:
        texts[root / "fixtures" / "recipes" / f"golden_{lab_id}.py"] = RECIPE
        texts[root / "tests" / "labs" / f"test_{lab_id}_oracle.py"] = ORACLE
    there = [path for path in [folder, *texts] if path.exists()]
    if there:
        raise UsageError(f"{there[0].relative_to(root)} is there already; nothing was written.")
    changed = {root / "exercises" / "course.toml": _with_lab(_read(root / "exercises" / "course.toml"), name)}
    if (root / "README.md").is_file() and (entry := _with_row(_read(root / "README.md"), words["title"], lab_id)):
        changed[root / "README.md"] = entry
    folder.mkdir(parents=True)
    (root / "reference").mkdir(exist_ok=True)
    for path, text in texts.items():
        for key, word in words.items():
            text = text.replace("{" + key + "}", word)
        path.write_text(text, encoding="utf-8")
    # Last, so that a course that is cut short is still a course.
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")
    load(root)
    recorded = [_record(root, lab_id)] if has_witnesses else []
    return [*texts, *recorded, *changed]


def _record(root: Path, lab_id: str) -> Path:
    """Ask the lab's witness: it imports what the judge does not, so it runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "fixtures.recipes.golden", lab_id], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CourseError(f"fixtures/recipes/golden_{lab_id}.py could not be recorded: {last}")
    return root / "fixtures" / "golden" / f"{lab_id}.safetensors"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _with_lab(text: str, name: str) -> str:
    """Return course.toml with one more lab at the end of `labs`; all else stays as it is written, comments too."""
    found = re.search(r"^labs\s*=\s*\[([^\]]*)\]", text, re.MULTILINE)
    if found is None:
        raise CourseError("course.toml has no list `labs` that could take a new lab.")
    inside = found[1].rstrip()
    comma = "" if not inside or inside.endswith(",") else ","
    line = f'\n  "{name}",\n' if "\n" in found[1] else f' "{name}"'
    return text[: found.start(1)] + inside + comma + line.lstrip(" " if not inside else "") + text[found.end(1) :]


def _with_row(text: str, title: str, lab_id: str) -> str | None:
    """Return README.md with the lab's row in its table of labs, and one lab and task more in its sum; None without."""
    rows = list(re.finditer(r"^\| lab[0-9]{2} \|.*\|\n", text, re.MULTILINE))
    if not rows:
        return None
    text = f"{text[: rows[-1].end()]}| {lab_id} | {title} | 1 | 3 |\n{text[rows[-1].end() :]}"
    return re.sub(
        r"([0-9]+) labs with ([0-9]+) tasks", lambda m: f"{int(m[1]) + 1} labs with {int(m[2]) + 1} tasks", text
    )
