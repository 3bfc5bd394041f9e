"""The same results with other versions: sample submissions and scheduler fingerprints over Python, torch, diffusers.

    make compat
    python benchmarks/compat.py [--python 3.12] [--torch 2.6.0] [--diffusers 0.36.0] ...

Each corner gets an environment below `.compat/`, kept for the next time; where only diffusers differs from what is
installed here, a folder with it alone. In each the sample submissions of fixtures/submissions, and the right code of
labs 01 and 06, are graded, and `canonical` of the results is compared with what this environment says. A corner that
cannot be installed is a row that says so. Prints a table in markdown; exits with 1 where a result differs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".compat"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TORCHES = ("2.6.0", "newest")
DIFFUSERS = ("0.36.0", "newest")
# torch takes gigabytes on some platforms; an installation that takes longer than this is given up.
INSTALL_S = 1800

PROBE = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from grader.course import load
from grader.errors import SubmissionError
from grader.grading import Job, grade, open_bench
from grader.results import canonical
from grader.sandbox.launcher import Sandbox
from grader.submission import load as read
import torch
root = Path(sys.argv[1])
course = load(root)
asked = [("lab01", path) for path in sorted((root / "fixtures/submissions").glob("*/lab01.py"))]
asked += [(lab.id, lab.reference_path) for lab in course.labs if lab.id in ("lab01", "lab06")]
results = {}
with Sandbox("torch", meta_device=True) as plain, Sandbox("diffusers") as other:
    for lab_id, path in asked:
        name = path.parent.name if path.name == "lab01.py" else path.stem
        lab = course.lab(lab_id)
        try:
            submission = read(path)
        except SubmissionError as error:
            text = f"{error.kind} in line {error.line}"  # in Python's own words, which change
        else:
            with open_bench(lab, course.seed, other if lab.manifest.libraries == "diffusers" else plain) as bench:
                result = grade(Job(lab, submission), bench)
            text = canonical(result)
            if any(check.outcome == "timed_out" for check in result.checks):  # at which line is chance
                text = str([(check.id, check.outcome, check.earned) for check in result.checks])
        results[name] = hashlib.sha256(text.encode()).hexdigest()[:12]
from fixtures.recipes import golden_schedulers
from safetensors.torch import load_file
kept = load_file(root / "fixtures/golden/schedulers.safetensors")
moved = []
for name in golden_schedulers.names():
    try:
        for what, value in golden_schedulers.fingerprint(name).items():
            if not torch.allclose(value, kept[f"{name}/{what}"], rtol=2e-5, atol=2e-5):
                moved.append(f"{name}/{what}")
    except Exception as error:
        moved.append(f"{name} ({type(error).__name__})")
print(json.dumps({"results": results, "moved": moved, "torch": torch.__version__}))
"""


@dataclass(frozen=True)
class Corner:
    """What is to be tried together."""

    python: str
    torch: str
    diffusers: str

    @property
    def folder(self) -> Path:
        """Where its environment lies."""
        return FOLDER / f"python{self.python}-torch{self.torch}-diffusers{self.diffusers}"


def here() -> Corner:
    """Return this environment's corner."""
    version = ".".join(platform.python_version_tuple()[:2])
    return Corner(version, metadata.version("torch").partition("+")[0], metadata.version("diffusers"))


def installed(corner: Corner) -> tuple[list[str], dict[str, str]] | str:
    """Return how to run the corner's Python, and its environment variables; or why it cannot be installed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    now = here()
    if (corner.python, corner.torch) == (now.python, now.torch):
        if corner.diffusers != now.diffusers:
            said = _pip(
                [sys.executable], ["--no-deps", "--target", str(corner.folder)], [f"diffusers=={corner.diffusers}"]
            )
            if said:
                return said
            environment["PYTHONPATH"] = f"{corner.folder}{os.pathsep}{ROOT}"
        return [sys.executable], environment
    interpreter = shutil.which(f"python{corner.python}")
    if interpreter is None:
        return f"there is no python{corner.python} here"
    python = [str(corner.folder / "bin" / "python")]
    if not corner.folder.is_dir():
        made = subprocess.run([interpreter, "-m", "venv", str(corner.folder)], capture_output=True, text=True)
        if made.returncode:
            return f"python{corner.python} makes no environment: {_last(made)}"
    needs = [need for need in metadata.requires("alphabar") or [] if "extra ==" not in need]
    needs = [need for need in needs if not need.startswith(("torch", "diffusers"))]
    torch = "torch" if corner.torch == "newest" else f"torch=={corner.torch}"
    diffusers = "diffusers" if corner.diffusers == "newest" else f"diffusers=={corner.diffusers}"
    said = _pip(python, [], [torch, diffusers, *needs])
    return said or (python, environment)


def _pip(python: list[str], options: list[str], what: list[str]) -> str:
    """Install; return why that failed, or nothing."""
    if options and (Path(options[-1]) / "diffusers").is_dir():
        return ""
    words = [*python, "-m", "pip", "install", "--quiet", *options, *what]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        return f"not installed within {INSTALL_S // 60} minutes"
    return f"pip: {_last(done)}" if done.returncode else ""


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("ERROR")] or ["no reason given"]
    return lines[-1].removeprefix("ERROR: ")[:120]


def tried(corner: Corner) -> dict[str, object] | str:
    """Return what the corner answers, or why it could not be tried."""
    found = installed(corner)
    if isinstance(found, str):
        return found
    python, environment = found
    done = subprocess.run([*python, "-c", PROBE, str(ROOT)], env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return f"does not run: {(done.stderr.strip().splitlines() or ['no reason given'])[-1][:120]}"
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Try all corners and print the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    now = here()
    for name, usual in (("python", PYTHONS), ("torch", TORCHES), ("diffusers", DIFFUSERS)):
        asked.add_argument(
            f"--{name}", action="append", help=f"may be given again; default: {', '.join(usual)}, today's"
        )
    given = asked.parse_args()
    pythons = given.python or [now.python, *(one for one in PYTHONS if one != now.python)]
    torches = given.torch or [now.torch, *TORCHES]
    releases = given.diffusers or [now.diffusers, *DIFFUSERS]
    base = tried(now)
    if isinstance(base, str):
        sys.exit(f"this environment itself: {base}")
    print("| Python | torch | diffusers | sample results | fingerprints |\n| --- | --- | --- | --- | --- |")
    differs = False
    for corner in dict.fromkeys(Corner(p, t, d) for p in pythons for t in torches for d in releases):
        found = base if corner == now else tried(corner)
        row = f"| {corner.python} | {corner.torch} | {corner.diffusers} |"
        if isinstance(found, str):
            print(f"{row} not tried: {found} | |", flush=True)
            continue
        mine, theirs = base["results"], found["results"]
        other = [name for name in mine if mine[name] != theirs.get(name)]  # type: ignore[union-attr,index,attr-defined]
        differs = differs or bool(other)
        same = "all the same" if not other else f"other: {', '.join(other)}"
        moved = found["moved"]
        print(f"{row} {same} | {', '.join(moved) if moved else 'all 75'} |", flush=True)  # type: ignore[arg-type]
    sys.exit(differs)


if __name__ == "__main__":
    main()
