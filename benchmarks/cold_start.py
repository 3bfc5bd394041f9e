"""Cold start: `grade lab01` against `import torch`, `grade lab06` against importing the same diffusers classes.

Runs are interleaved, so that whatever else the machine does hits all alike. Prints medians of wall seconds, of `grade`
until the verdict is out and until its page with the pictures is written, and their ratios; nothing is asserted.
Run: python benchmarks/cold_start.py [RUNS]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLASSES = (
    "UNet2DConditionModel, DiTTransformer2DModel, AutoencoderKL, "
    "DDIMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler"
)
ENVIRONMENT = {**os.environ, "GRADE_COURSE": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the wall seconds of a command until it first says something, and until its end."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.read(1)  # nothing, at the end of a command that says nothing
    first = time.perf_counter() - start
    _, errors = process.communicate()
    if process.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)} failed: {errors}")
    return first, time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    folder = Path(tempfile.mkdtemp(prefix="alphabar-bench-"))
    grade = str(Path(sys.executable).parent / "grade")
    for lab, reference in (("lab01", "lab01_forward_noise.py"), ("lab06", "lab06_pipeline.py")):
        shutil.copyfile(ROOT / "reference" / reference, folder / f"{lab}.py")
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "grade lab01": [grade, "lab01"],
        "import diffusers classes": [sys.executable, "-c", f"from diffusers import {CLASSES}"],
        "grade lab06": [grade, "lab06"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, command in commands.items():
            times[name].append(measure(command, folder))
    shutil.rmtree(folder)
    medians = {
        name: tuple(statistics.median(column) for column in zip(*rows[1:], strict=True)) for name, rows in times.items()
    }
    print(f"{runs} interleaved runs after one to warm up, medians of wall seconds")
    for name, (first, whole) in medians.items():
        print(f"  {name:<26} {whole:6.2f}" + (f"   verdict {first:.2f}" if name.startswith("grade") else ""))
    for ours, theirs in (("grade lab01", "import torch"), ("grade lab06", "import diffusers classes")):
        first, whole = (value / medians[theirs][1] for value in medians[ours])
        print(f"  {ours} / {theirs}: verdict {first:.2f}, with the page {whole:.2f}")


if __name__ == "__main__":
    main()
