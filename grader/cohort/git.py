"""Questions to a git repository that others have filled: read only, no hooks, nothing fetched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from grader.errors import UsageError


def ask(git: Path, *words: str) -> bytes:
    """Ask a clone, by the path of its `.git`; b"" when it cannot answer.

    Only commands that run no hooks are asked. An object that is missing is not fetched: that would run what the clone's
    configuration names.
    """
    command = ["git", f"--git-dir={git}", "-c", "protocol.allow=never", *words]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    clean |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    clean |= {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1"}
    try:
        done = subprocess.run(command, env=clean, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UsageError("git is not installed; it is needed to read clones of repositories.") from None
    except subprocess.TimeoutExpired:
        return b""
    return done.stdout if done.returncode == 0 else b""


def repository(folder: Path) -> Path | None:
    """Return the root of the work tree that `folder` lies in, or None."""
    whole = folder.resolve()
    return next((here for here in (whole, *whole.parents) if os.path.lexists(here / ".git")), None)
