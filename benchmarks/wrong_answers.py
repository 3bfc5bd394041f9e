"""A fixed list of 100 wrong answers that no list of mistakes names, and what the diagnosis says of them.

Each is the reference's answer, spoilt: scaled, permuted, noisy, shifted, cut. All must lose points and be described; a
mistake's name is right for none of them, and at most two may get one. `python benchmarks/wrong_answers.py` grades all
of them and prints what came of each; tests/checking/test_diagnosis.py grades a fixed part.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grader.course import Lab, load
from grader.grading import Job, grade, open_bench
from grader.results import LabResult
from grader.submission import parse

ROOT = Path(__file__).resolve().parents[1]

# What is done to the tensor x that the reference returns; N is noise that no check can expect.
SPOILT = [
    "x * 1.1", "x * 2", "x * 0.9", "x * 0.5", "-x", "x * 1.01", "x + 0.1", "x - 1", "x + 0.1 * N", "x + N",
    "x + 0.02 * N", "x.flip(-1)", "x.roll(1, -1)", "x.transpose(-1, -2).reshape(x.shape)", "x.tanh()", "x.abs()",
    "x.round()", "x.flatten()", "x.unsqueeze(0)", "x - x.mean()", "torch.zeros_like(x)", "torch.ones_like(x)", "N",
    "x.clamp(-0.5, 0.5)", "(x + x.roll(1, -1)) / 2", "x * x", "x.sin()", "x.to(torch.float64) * 1.05", "x / x.std()",
    "torch.cat([x[..., :1], x[..., :-1]], -1)", "x.flip(-2)", "x.roll(2, -1)", "x.sign()", "x.exp()", "x * N",
]  # fmt: skip

NOISE = "torch.randn(x.shape, generator=torch.Generator().manual_seed(99)).to(x.dtype).to(x.device)"

FUNCTION = """

_right = {task}


def {task}(*args, **kwargs):
    x = _right(*args, **kwargs)
    N = {noise}
    return {answer}
"""

METHOD = """

import torch

_right = {task}


class {task}(_right):
    def step(self, *args, **kwargs):
        x = super().step(*args, **kwargs)
        N = {noise}
        return {answer}
"""

# lab, task, how it is wrapped, and how many of the list: the dear ones get fewer
SPREAD = [
    ("lab01", "add_noise", FUNCTION, 35),
    ("lab02", "ddpm_step", FUNCTION, 25),
    ("lab03", "DPMpp2M", METHOD, 16),
    ("lab10", "query_chunked_attention", FUNCTION, 20),
    ("lab06", "denoise_loop", FUNCTION, 4),
]


@dataclass(frozen=True)
class Wrong:
    """One wrong answer."""

    lab: str
    task: str
    answer: str
    suffix: str

    def source(self, lab: Lab) -> bytes:
        """Return the submission: the reference, and below it the same name bound to the spoilt version."""
        return (lab.reference + self.suffix).encode()


def wrong_answers() -> list[Wrong]:
    """Return all 100, lab by lab."""
    return [
        Wrong(lab, task, answer, wrapper.format(task=task, noise=NOISE, answer=answer))
        for lab, task, wrapper, count in SPREAD
        for answer in SPOILT[:count]
    ]


def grade_all(wrong: list[Wrong]) -> Iterator[tuple[Wrong, LabResult]]:
    """Grade each for its task, on one bench a lab."""
    course = load(ROOT)
    for lab_id in dict.fromkeys(one.lab for one in wrong):
        lab = course.lab(lab_id)
        with open_bench(lab, course.seed) as bench:
            for one in (w for w in wrong if w.lab == lab_id):
                yield one, grade(Job(lab, parse(one.source(lab), f"{lab_id}.py"), [one.task]), bench)


def main() -> None:
    """Grade all and say what came of them."""
    unspoilt, undescribed, named = [], [], []
    for one, result in grade_all(wrong_answers()):
        (task,) = result.tasks
        says = task.diagnosis.says if task.diagnosis else "nothing"
        name = f"{one.lab} {one.task}: {one.answer}"
        print(f"{name:<60} {task.earned:>5g}/{task.possible:g}  {says}", flush=True)
        unspoilt += [name] if task.earned == task.possible else []
        undescribed += [name] if task.diagnosis is None else []
        named += [name] if task.diagnosis and task.diagnosis.misconceptions else []
    print(f"\n{len(wrong_answers())} wrong answers; full marks: {len(unspoilt)} {unspoilt}")
    print(f"without a description: {len(undescribed)} {undescribed}; with a mistake's name: {len(named)} {named}")
    sys.exit(1 if unspoilt or undescribed or len(named) > 2 else 0)


if __name__ == "__main__":
    main()
