"""How tests run something as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def user_who_is_nobody() -> list[str]:
    """How to run as an ordinary user: root steps down, anybody else is one."""
    if os.getuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    assert setpriv is not None, "root needs setpriv (util-linux) for the tests of an ordinary user"
    return [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]


def python_for_everyone() -> str:
    """An interpreter of this version that an ordinary user can execute, whatever lies above it."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [getattr(sys, "_base_executable", sys.executable), f"/usr/bin/{version}", f"/usr/local/bin/{version}"]
    for candidate in candidates:
        # What counts is whether it can be executed once more, from there.
        check = "import os, sys; sys.exit(not os.access(sys._base_executable, os.X_OK))"
        tried = subprocess.run([*user_who_is_nobody(), candidate, "-c", check], capture_output=True)
        if tried.returncode == 0:
            return candidate
    raise AssertionError(f"an ordinary user can execute none of {candidates}")
