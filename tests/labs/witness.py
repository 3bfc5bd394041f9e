"""What every lab's oracle test begins with: the course's files, the recording, and random numbers."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def reference(lab: str) -> ModuleType:
    """Return the lab's right code as a module."""
    (path,) = (ROOT / "reference").glob(f"{lab}_*.py")
    return _module(path)


@cache
def scenarios(lab: str) -> ModuleType:
    """Return the lab's public harness as a module."""
    (path,) = (ROOT / "exercises").glob(f"{lab}_*/scenarios.py")
    return _module(path)


@cache
def recipe(lab: str) -> ModuleType:
    """Return the module that makes the lab's recording."""
    return _module(ROOT / "fixtures" / "recipes" / f"golden_{lab}.py")


@cache
def golden(lab: str) -> dict[str, torch.Tensor]:
    """Return the lab's recording: `case/key` -> tensor."""
    return load_file(ROOT / "fixtures" / "golden" / f"{lab}.safetensors")


def case(lab: str, name: str) -> dict[str, torch.Tensor]:
    """Return one case of the recording: key -> tensor."""
    return {key.split("/", 1)[1]: value for key, value in golden(lab).items() if key.startswith(f"{name}/")}


def normal(seed: int, *shape: int) -> torch.Tensor:
    """Return standard normal float32 numbers."""
    return torch.randn(shape, generator=seeded(seed))


def seeded(seed: int) -> torch.Generator:
    """Return a generator with this seed."""
    return torch.Generator().manual_seed(seed)
