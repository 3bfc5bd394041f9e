"""All submissions in one run of pytest, for xdist: several students share one process."""

import functools
import importlib.util
import os
from pathlib import Path

import pytest
from lab03_checks import CHECKS


@functools.cache
def load(student):
    spec = importlib.util.spec_from_file_location(student, Path(os.environ["SUBMISSIONS"]) / student / "lab03.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=[name for name, _ in CHECKS])
@pytest.mark.parametrize("student", os.environ["STUDENTS"].split())
def test(student, name, check):
    check(load(student))
