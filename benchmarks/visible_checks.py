"""How far a student's own machine tells: of the known mistakes, how many the visible checks alone reject and name.

    grade release -o edition
    python benchmarks/visible_checks.py edition [LAB...]

Each known mistake, in its first spelling, is graded by the student edition as a student's file would be: visible
checks, recorded answers. The whole course rejects and names all of them, which `grade audit` proves.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

from grader.course import Lab, apply_edits, load
from grader.grading import Job, assess, open_bench
from grader.root import find_root
from grader.sandbox.launcher import Sandbox
from grader.submission import parse

REJECTED, NAMED = 0.90, 0.80  # what is wanted, over all labs
CPU_S = 60.0


@dataclass
class Count:
    """What became of one lab's known mistakes."""

    lab: str
    known: int = 0
    rejected: int = 0
    named: int = 0
    alone: int = 0  # of those, with no other explanation beside it
    passed: list[str] = field(default_factory=list)


def count(whole: Lab, public: Lab, sandbox: Sandbox, every: int = 1) -> Count:
    """Grade every so-manieth known mistake of `whole` with the student edition's lab."""
    found = Count(whole.id)
    with open_bench(public, "0", sandbox, trusted_cpu_s=CPU_S) as bench:
        for mistake in whole.misconceptions[::every]:
            source = apply_edits(whole.reference, [mistake])
            assert source is not None
            submission = parse(source.encode(), f"{whole.id}.py")
            result, _ = assess(Job(public, submission, [mistake.task]), bench)
            (task,) = result.tasks
            explanations = task.diagnosis.misconceptions if task.diagnosis else []
            found.known += 1
            found.rejected += task.earned < task.possible
            found.named += [mistake.id] in explanations
            found.alone += explanations == [[mistake.id]]
            if task.earned == task.possible:
                found.passed.append(mistake.key)
    return found


def main() -> None:
    """Print a table, one line a lab, and which mistakes pass all visible checks."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("edition", type=Path, help="the folder that `grade release -o` wrote")
    asked.add_argument("labs", nargs="*", help="labs; default: all")
    asked.add_argument("--every", type=int, default=1, metavar="N", help="each N-th mistake only")
    given = asked.parse_args()
    course, edition = load(find_root()), load(given.edition)
    counts = []
    print("| lab | known mistakes | rejected | named | named alone |\n| --- | --- | --- | --- | --- |")
    with Sandbox("torch") as plain, Sandbox("diffusers") as other:
        for lab in course.labs:
            if given.labs and lab.id not in given.labs:
                continue
            sandbox = other if lab.manifest.libraries == "diffusers" else plain
            one = count(lab, edition.lab(lab.id), sandbox, given.every)
            counts.append(one)
            print(f"| {lab.id} | {one.known} | {one.rejected} | {one.named} | {one.alone} |", flush=True)
    known, rejected, named = (sum(getattr(one, name) for one in counts) for name in ("known", "rejected", "named"))
    print(f"| all | {known} | {rejected / known:.1%} | {named / known:.1%} | |")
    for one in counts:
        if one.passed:
            print(f"{one.lab} passes: {', '.join(one.passed)}", file=sys.stderr)
    sys.exit(rejected < REJECTED * known or named < NAMED * known)


if __name__ == "__main__":
    main()
