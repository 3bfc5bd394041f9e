"""Grades a lab on Classroom 50. Standard library only, for it runs on the runner's own Python.

Beside this file, in CLASSROOM/autograders/ASSIGNMENT/, belong isolation.sh, constraints.txt (the libraries that the
course was tried with), and the wheel of the *student edition* (`grade release`): whoever finds the bundle's address can
read it. The score is what the visible checks give; marks that count come from `grade cohort` on clones.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

LAB = ""  # lab01; empty: what the assignment's name begins with
TORCH_WHEELS = ""  # the page of PyTorch's CPU wheels: its address and /torch/; empty: where pip looks by itself

GRADED = (0, 1, 3)  # exit codes of `grade` with which there is a result: full marks, fewer, an unusable file
HERE = Path(__file__).resolve().parent


def main() -> int:
    """Write ./result.json and ./release-body.md; anything but 0 is a fault of this machine or this file."""
    lab = LAB or (found[0] if (found := re.match(r"lab[0-9]+", os.environ["ASSIGNMENT"])) else "")
    if not lab:
        print("The assignment's name does not begin with a lab's id, and LAB is empty.", file=sys.stderr)
        return 2
    checkout = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="alphabar-") as folder:
        grade = install(Path(folder))
        writes = ["--write", "classroom50=result.json", "--write", "classroom50-release=release-body.md"]
        environment = os.environ | {"SUBMITTED_AT": submitted_at()}
        done = subprocess.run([str(grade), "run", lab, str(checkout), *writes], env=environment)
    return 0 if done.returncode in GRADED else done.returncode


def install(folder: Path) -> Path:
    """Install the edition that lies beside this file, away from what was handed in; return its command."""
    wheels = sorted(HERE.glob("alphabar-*.whl"))
    if len(wheels) != 1:
        sys.exit(f"one wheel of alphabar was expected beside {Path(__file__).name}, and {len(wheels)} are there.")
    if (HERE / "isolation.sh").is_file() and subprocess.run(["sh", str(HERE / "isolation.sh")], cwd=folder).returncode:
        print("Some isolation layers are missing; the result says which.", file=sys.stderr)
    # -I and `cwd`: Python and pip are looked for in no folder that somebody has handed in.
    subprocess.run([sys.executable, "-I", "-m", "venv", str(folder / "venv")], cwd=folder, check=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-I", "-m", "pip", "install", "--quiet"]
    if (HERE / "constraints.txt").is_file():
        pip += ["--constraint", str(HERE / "constraints.txt")]
    links = ["--find-links", TORCH_WHEELS] if TORCH_WHEELS else []
    subprocess.run([*pip, *links, "torch"], cwd=folder, check=True)
    subprocess.run([*pip, *map(str, sorted(HERE.glob("*.whl")))], cwd=folder, check=True)
    return folder / "venv" / "bin" / "grade"


def submitted_at() -> str:
    """Return when the graded commit was made, which stays the same however often it is graded; or nothing."""
    command = ["git", "show", "--no-patch", "--no-notes", "--format=%ct", "HEAD", "--"]
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = done.stdout.strip()
    if done.returncode or not seconds.isdigit():
        return ""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    sys.exit(main())
