"""One virtual environment a peer, each with the torch of the interpreter that runs the benchmark.

torch and what it needs are hard-linked from there: seconds instead of a download, one copy in the page cache, and no
peer can get another version. The peer itself comes from the package index that pip is set up with.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PEERS = {
    "bare": [],
    "pytest": ["pytest", "pytest-timeout"],
    "otter": ["otter-grader", "ipykernel"],  # it does not ask for ipykernel, and runs nothing without it
    "nbgrader": ["nbgrader", "ipykernel"],
    "check50": ["check50"],
    "gradescope": ["gradescope-utils"],
}


def build(folder: Path, name: str) -> None:
    """Build the environment `name` unless it stands already."""
    target = folder / name
    if (target / "complete").exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
    python = target / "bin" / "python"
    site = Path(_say(python, "import sysconfig; print(sysconfig.get_paths()['purelib'])"))
    linked = list(_needed("torch", set()))
    for distribution in linked:
        _link(distribution, site)
    pins = target / "constraints.txt"
    pins.write_text("".join(f"{one.name}=={one.version}\n" for one in linked), encoding="utf-8")
    if PEERS[name]:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", pins, *PEERS[name]], check=True)
    _say(python, "import torch")
    (target / "complete").touch()


def versions(folder: Path, name: str) -> str:
    """Return what is installed of a peer, as one line."""
    wanted = [re.split(r"[<>=]", package)[0] for package in PEERS[name] if package != "ipykernel"] or ["torch"]
    code = f"import importlib.metadata as m; print(', '.join(f'{{n}} {{m.version(n)}}' for n in {wanted!r}))"
    return _say(folder / name / "bin" / "python", code)


def _say(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _needed(name: str, seen: set[str]) -> Iterator[importlib.metadata.Distribution]:
    """Yield a distribution and all that it needs here; what is not installed is left out."""
    plain = re.sub(r"[-_.]+", "-", name).lower()
    if plain in seen:
        return
    seen.add(plain)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        distribution = importlib.metadata.distribution(name)
        yield distribution
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement:
                yield from _needed(re.split(r"[^\w.-]", requirement, maxsplit=1)[0], seen)
        if plain == "torch":
            yield from _needed("numpy", seen)


def _link(distribution: importlib.metadata.Distribution, site: Path) -> None:
    for file in distribution.files or []:
        source = Path(str(distribution.locate_file(file)))
        if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
