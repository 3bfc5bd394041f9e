"""Hollow answers and right answers with other rounding, as submissions: the reference with something around it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from grader.course import Lab

HOLLOW = {
    "zeros": "zeros of the right shape",
    "mean": "its mean everywhere",
    "other_seed": "random numbers of another seed",
    "the_input": "an input handed back",
    "rounded": "the right answer, rounded",
    "transposed": "the right answer with its last axes exchanged",
    "last_answer": "the answer to the call before",
}
HARD_CODED = "hard_coded"  # right for the visible checks' inputs, zeros for all others
NOISE = {
    "order": "sums from the other end",
    "float64": "each operation in float64",
    "contiguity": "inputs laid out otherwise in memory",
    "threads": "two threads",
}


def hollow(lab: Lab, task: str, kind: str) -> str:
    """Return the source of a submission whose answers for `task` are hollow."""
    return _around(lab, task, f"hollow({{}}, {kind!r})")


def digests(lab: Lab, task: str) -> str:
    """Return the source of a submission that prints the digest of every call's inputs."""
    return _around(lab, task, "hard_coded({}, None)")


def hard_coded(lab: Lab, task: str, known: set[str]) -> str:
    """Return the source of a submission that knows the answers to the calls with these digests, and no others."""
    return _around(lab, task, f"hard_coded({{}}, frozenset({sorted(known)!r}))")


def noisy(lab: Lab, task: str, kind: str) -> str:
    """Return the source of a submission whose answers are right and rounded otherwise."""
    return _around(lab, task, f"noisy({{}}, {kind!r})")


def read_digests(output: str) -> set[str]:
    """Return the digests that a submission of `digests` printed."""
    mark = "hollow: digest "
    return {line.removeprefix(mark).strip() for line in output.splitlines() if line.startswith(mark)}


def changed_anything(output: str) -> bool:
    """Tell whether a hollow submission gave any answer that is not the right one."""
    return "hollow: another answer" in output


@cache
def _stand_ins() -> str:
    return Path(__file__).with_name("stand_ins.py").read_text(encoding="utf-8")


def _around(lab: Lab, task: str, call: str) -> str:
    # A module of its own, so that no name of it meets a name of the reference.
    wrapped = "".join(f"{name} = _stand_ins.{call.format(name)}\n" for name in lab.task(task).functions)
    return (
        f"{lab.reference}\n\n_stand_ins = __import__('types').ModuleType('stand_ins')\n"
        f"exec({_stand_ins()!r}, _stand_ins.__dict__)\n{wrapped}"
    )
