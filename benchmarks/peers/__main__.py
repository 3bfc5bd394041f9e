"""The peers and alphabar on the same 20 checks and the same 40 submissions, in one run.

    python benchmarks/peers [--each N] [--slow N] [--peers NAMES] [--environments DIR]

Prints two tables in Markdown: what a submission costs, and whether the scores are those that `submissions.py` expects;
and where alphabar's own time goes. The exit code is 1 where a score of ours is another.

Graders are interleaved: whatever else the machine does hits all alike. Those that take one submission a process get
the same submissions in turn; those that take all at once are run three times, in between. Each process tree has one
core. A submission that loops is graded at the end, by everybody, and is in no median.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import environments
import where
from graders import COHORT, COLD, PEERS, Grader, Place, timed
from measure import Cost, adopt_orphans
from submissions import CHECKS, LOOPS, ROOT, Submission, write

TIMES = 3  # that whoever takes all at once is run
MARGINAL = "**grade cohort**, each further submission"


@dataclass
class Row:
    """What one grader took, a submission, and what it said."""

    costs: list[Cost] = field(default_factory=list)
    per: int = 1  # submissions a cost
    scores: dict[str, int] = field(default_factory=dict)
    looped: str = ""

    def cpu_s(self) -> float:
        """The median."""
        return statistics.median(one.cpu_s / self.per for one in self.costs)

    def walls_s(self) -> list[float]:
        """All of them, the shortest first."""
        return sorted(one.wall_s / self.per for one in self.costs)


def main() -> None:
    """Build what is missing, measure, print."""
    parser = argparse.ArgumentParser(description="See the head of benchmarks/peers/__main__.py.")
    parser.add_argument("--each", type=int, default=40, help="submissions for those that take one a process")
    parser.add_argument("--slow", type=int, default=12, help="submissions for otter and nbgrader")
    parser.add_argument("--peers", default=",".join(PEERS), help="which, with commas; ours are always there")
    parser.add_argument("--environments", type=Path, default=ROOT / ".grade" / "peers", help="where theirs are kept")
    asked = parser.parse_args()
    names = [name for name in asked.peers.split(",") if name]
    if unknown := set(names) - set(PEERS):
        parser.error(f"no peer is called {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}.")
    if asked.each < 1 or asked.slow < 1:
        parser.error("--each and --slow need at least 1: somebody has to be graded.")
    adopt_orphans()
    for name in names:
        environments.build(asked.environments.resolve(), name)
    told = [f"Python {platform.python_version()}", f"alphabar {version('alphabar')}", f"torch {version('torch')}"]
    told += [environments.versions(asked.environments.resolve(), name) for name in names if name != "bare"]
    print(f"{time.strftime('%d %B %Y')}, one core of {os.cpu_count()}; {', '.join(told)}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="alphabar-bench-") as folder:
        place = Place(Path(folder), asked.environments.resolve(), min(os.sched_getaffinity(0)))
        handed_in = write(place.folder)
        graders = [grader for name in names for grader in PEERS[name]] + [COLD, COHORT]
        rows, start = run(place, graders, handed_in, asked.each, asked.slow)
        ids = [one.id for one in handed_in if one.name != LOOPS]
        expected = {one.id: one.passes for one in handed_in}
        print(table(rows, start, expected), flush=True)
        cost, notes = timed(place, ids)
        print(where.table(notes, cost.cpu_s, len(ids)))
    own = [rows[COLD.name].scores, rows[COHORT.name].scores]
    sys.exit(any(scores[one] != expected[one] for scores in own for one in scores))


def run(
    place: Place, graders: Sequence[Grader], handed_in: Sequence[Submission], each: int, slow: int
) -> tuple[dict[str, Row], Row]:
    """Grade everything; return a row a grader, and what `grade cohort` takes for one submission."""
    (looping,) = (one.id for one in handed_in if one.name == LOOPS)
    ids = [one.id for one in handed_in if one.id != looping]
    chosen = ids[:each]
    rows, start = {grader.name: Row() for grader in graders}, Row()
    for grader in graders:
        grader.prepare(place, [*ids[:slow], looping])
        grader.grade(place, ids[:1])  # the first run finds cold files
    turns = [round(turn * (len(chosen) - 1) / (TIMES - 1)) for turn in range(TIMES)]
    for number, one in enumerate(chosen):
        for grader in (grader for grader in graders if not grader.at_once and (number < slow or not grader.slow)):
            grade(rows[grader.name], grader, place, [one])
        for grader in (grader for grader in graders if grader.at_once for turn in turns if turn == number):
            grade(rows[grader.name], grader, place, ids)
            if grader is COHORT:
                grade(start, grader, place, ids[:1])
        print(f"{number + 1} of {len(chosen)}", file=sys.stderr, flush=True)
    for grader in graders:
        cost, scores = grader.grade(place, [looping])
        rows[grader.name].scores |= scores or {looping: 0}
        how = f"killed after {cost.wall_s:.0f} s" if cost.killed else f"in {cost.wall_s:.0f} s"
        rows[grader.name].looped = f"{scores.get(looping, 0)}/{CHECKS}, {how}"
    return rows, start


def grade(row: Row, grader: Grader, place: Place, ids: Sequence[str]) -> None:
    """Let a grader do its work once more."""
    cost, scores = grader.grade(place, ids)
    row.costs.append(cost)
    row.per = len(ids)
    row.scores |= {one: scores.get(one, 0) for one in ids}


def table(rows: dict[str, Row], start: Row, expected: dict[str, int]) -> str:
    """Return what a submission costs, with everybody's relation to pytest and otter."""
    bases = [rows[name].cpu_s() if name in rows else None for name in ("pytest", "otter run")]
    lines = [
        "| grader | runs | CPU s a submission | wall s: median; least | CPU / pytest | CPU / otter "
        "| largest process MiB | scores as expected | the looping submission |",
        "|" + "---|" * 9,
    ]

    def ratios(cpu_s: float) -> str:
        return " | ".join("-" if base is None else _ratio(cpu_s / base) for base in bases)

    for name, row in rows.items():
        walls = row.walls_s()
        right = sum(row.scores[one] == expected[one] for one in row.scores)
        lines.append(
            f"| {name} | {len(row.costs)} | {row.cpu_s():.3f} | {statistics.median(walls):.3f}; {walls[0]:.3f} "
            f"| {ratios(row.cpu_s())} | {max(one.peak_mib for one in row.costs):.0f} "
            f"| {right}/{len(row.scores)} | {row.looped} |"
        )
    lines.append(marginal(rows[COHORT.name], start, ratios))
    return "\n".join(lines) + "\n"


def marginal(whole: Row, start: Row, ratios: Callable[[float], str]) -> str:
    """Return the row of what `grade cohort` takes for each submission after the first: the rest is its start."""
    more = whole.per - 1
    cpu_s = (whole.cpu_s() * whole.per - start.cpu_s()) / more
    wall_s = (statistics.median(whole.walls_s()) * whole.per - statistics.median(start.walls_s())) / more
    return f"| {MARGINAL} | {len(start.costs)} | {cpu_s:.3f} | {wall_s:.3f}; - | {ratios(cpu_s)} | - | - | - |"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio > 0.5 else f"1/{1 / ratio:.1f}"


if __name__ == "__main__":
    main()
