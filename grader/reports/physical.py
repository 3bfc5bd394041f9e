"""`grade lab10 --device cuda`: the physical peak on a GPU of the calls that the kernel holds to little memory here.

It explains, and no verdict rests on it. A GPU cannot be reached from within the isolation, so the student's file is run
without any, in a process of its own, as `python lab10.py` would run it; what that process says is only printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from grader.reports.asked import Asked
from grader.reports.repro import loaded, spelled
from grader.text import clean_line

WALL_S = 120.0  # for all calls together, the start of CUDA and the first use of every kernel among them
MOST_TOLD = 64 << 10  # bytes that are read of what the process tells
MIB = 1 << 20

# What a call brings that stays (kernels, workspaces) is there after the first time, and the second is measured.
_MEASURING = '''
import json
import traceback


def on_gpu(value):
    """Return a value with all its tensors on the GPU."""
    if isinstance(value, torch.Tensor):
        return value.to("cuda")
    if isinstance(value, dict):
        return {name: on_gpu(item) for name, item in value.items()}
    return type(value)(map(on_gpu, value)) if isinstance(value, (list, tuple)) else value


def peak(function, given, named):
    """Return the most bytes that torch's allocator has handed out at once, beside the inputs."""
    given, named = on_gpu(given), on_gpu(named)
    for _ in range(2):
        torch.manual_seed(1234)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function(*given, **named)
        torch.cuda.synchronize()
        most = torch.cuda.max_memory_allocated() - before
    return most


def say(**found):
    """Tell the grader."""
    with open(sys.argv[1], "a", encoding="utf-8") as told:
        told.write(json.dumps(found) + "\\n")


def measure(name, function, given, named):
    """Tell the peak of one call, or what it raised, and in which line of the student's file."""
    try:
        say(check=name, bytes=peak(function, given, named))
    except Exception as error:
        own = [one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == student.__file__]
        say(check=name, raised=f"{type(error).__name__}: {error}", line=own[-1] if own else 0)


'''
_NO_GPU = """import sys

import torch

if not torch.cuda.is_available():
    kind = "finds none here" if torch.version.cuda or torch.version.hip else "is built for the CPU alone"
    with open(sys.argv[1], "w", encoding="utf-8") as told:
        told.write(f'{{"none": "torch {torch.__version__} {kind}"}}\\n')
    sys.exit()

"""


def script(held: Mapping[str, Sequence[Asked]], submission: Path, scenarios: Path) -> str:
    """Return a script that measures each call, and writes what it found into the file that is its argument."""
    calls = [(check, one.call) for check, asked in held.items() for one in asked]
    parts = [_NO_GPU, *loaded([call for _, call in calls], submission, scenarios), _MEASURING]
    parts.append("say(device=torch.cuda.get_device_name())\n")
    for check, call in calls:
        target, given, keywords = spelled(call)
        named = "".join(f"{name!r}: {value}, " for name, value in keywords.items())
        parts.append(f"measure({check!r}, {target}, [{', '.join(given)}], {{{named}}})\n")
    return "".join(parts)


def physical_peaks(asked: Mapping[str, Sequence[Asked]], submission: Path, scenarios: Path) -> list[str]:
    """Return what to print: a line for each call that is held to little memory, or the one that says why none is."""
    held = {check: [one for one in calls if one.memory_mib is not None] for check, calls in asked.items()}
    held = {check: calls for check, calls in held.items() if calls}
    if not held:
        return ["No physical peak: no visible check that ran holds this code to little memory."]
    with tempfile.TemporaryDirectory(prefix="alphabar-gpu-") as folder:
        told = Path(folder) / "told.jsonl"
        source = Path(folder) / "measure.py"
        source.write_text(script(held, submission, scenarios), encoding="utf-8")
        ended = _run([sys.executable, str(source), str(told)], submission.parent, Path(folder) / "errors")
        lines = _read(told)
    limits = {check: calls[0].memory_mib or 0 for check, calls in held.items()}
    return _said(lines, limits, ended, submission.name)


def _read(told: Path) -> list[str]:
    if not told.is_file():
        return []
    with told.open("rb") as file:
        return file.read(MOST_TOLD).decode("utf-8", "replace").splitlines()


def _run(command: Sequence[str], folder: Path, errors: Path) -> str:
    """Run the measuring process; return how it ended, where that was before its end."""
    with errors.open("wb") as stderr:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                timeout=WALL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"it was stopped after {WALL_S:g} s"
    if done.returncode == 0:
        return ""
    said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"it ended with {done.returncode}" + "".join(f": {clean_line(line)[:300]}" for line in said[-1:])


def _said(lines: Sequence[str], limits: Mapping[str, int], ended: str, filename: str) -> list[str]:
    """Word what the process has told, none of which can be relied on: the student's code ran in it."""
    device, rows, heard = "", [], set()
    for line in lines:
        match _found(line):
            case {"none": str(why)}:
                return [f"No physical peak: {clean_line(why)}."]
            case {"device": str(name)}:
                device = clean_line(name)
            case {"check": str(check), "bytes": int(most)} if check in limits and most < 1 << 60:
                heard.add(check)
                limit = f"on the CPU all that it takes must fit into {limits[check]} MiB"
                rows.append(f"  {check}: {most / MIB:.2f} MiB ({limit})")
            case {"check": str(check), "raised": str(error), "line": int(number)} if check in limits:
                heard.add(check)
                where = f" (line {number} of {clean_line(filename)})" if 0 < number < 1 << 30 else ""
                rows.append(f"  {check}: raised {clean_line(error)[:300]}{where}")
    missing = [f"  {check}: not measured" for check in limits if check not in heard]
    if not device:
        return [f"No physical peak: the process that measures told nothing; {clean_line(ended) or 'it just ended'}."]
    if missing and ended:
        missing.append(f"  The process that measures did not come to its end: {clean_line(ended)}.")
    return [f"Physical peak on {device}, the most that is allocated at once beside the inputs:", *rows, *missing]


def _found(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
