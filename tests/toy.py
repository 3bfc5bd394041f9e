"""A course of one lab and two tasks, small enough to read, and the real command on it."""

import os
import subprocess
import sys
from pathlib import Path

from grader.course import Course, load

ROOT = Path(__file__).parents[1]
GRADE = Path(sys.executable).with_name("grade")

COURSE = """
format_version = 2
title = "A toy course"
version = "1"
seed = 7
labs = ["lab01_toy"]
"""

LAB = """
format_version = 2
id = "lab01"
title = "Toys"
reference = "lab01_toy.py"

[limits]
cpu_s = 10
memory_mib = 512

[[task]]
id = "scale"
title = "Scale a tensor"
points = 4

[[task]]
id = "jitter"
title = "Add noise"
points = 3
"""

REFERENCE = """
import torch


def scale(x, factor):
    return x * factor


def jitter(x, generator):
    return x + torch.rand(x.shape, generator=generator)
"""

CHECKS = '''
from grader.kit import check, randn, tensor


@check("scale", visible=True)
def test_plain(compare, draw):
    """Every entry is multiplied."""
    compare.scale(draw.normal(2, 3), 2.0)


@check("scale")
def test_secret(compare, draw):
    """Other factors work."""
    compare.scale(draw.normal(5), -0.5)


@check("jitter", visible=True)
def test_draws(compare, draw):
    """The noise comes from the generator."""
    compare.jitter(draw.normal(4), draw.generator())
'''

STARTER = """
def scale(x, factor):
    raise NotImplementedError


def jitter(x, generator):
    raise NotImplementedError
"""

MISCONCEPTIONS = """
[scale.adds]
find = "x * factor"
put = "x + factor"
says = "You added the factor instead of multiplying by it."
"""

HINTS = """
[scale]
hints = ["Think of multiplication.", "It is the star."]
"""

PAGE = "# Toys\n\nScale, then jitter.\n"


def make(
    root: Path,
    *,
    course: str = COURSE,
    lab: str = LAB,
    reference: str = REFERENCE,
    checks: str = CHECKS,
    misconceptions: str = MISCONCEPTIONS,
    scenarios: str | None = None,
    starter: str = STARTER,
) -> Course:
    """Write a toy course below `root` and read it."""
    folder = root / "exercises" / "lab01_toy"
    folder.mkdir(parents=True)
    (root / "reference").mkdir()
    (root / "templates").symlink_to(ROOT / "templates")
    texts = {
        root / "exercises" / "course.toml": course,
        root / "reference" / "lab01_toy.py": reference,
        folder / "lab.toml": lab,
        folder / "checks.py": checks,
        folder / "starter.py": starter,
        folder / "misconceptions.toml": misconceptions,
        folder / "equivalents.toml": "",
        folder / "hints.toml": HINTS,
        folder / "page.md": PAGE,
    }
    if scenarios is not None:
        texts[folder / "scenarios.py"] = scenarios
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return load(root)


def grade(cwd: Path, *words: str, course: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command `grade` in `cwd`."""
    return subprocess.run(
        [str(GRADE), *words],
        cwd=cwd,
        env={**os.environ, "GRADE_COURSE": str(course), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
