"""The student edition as a git repository to start from: bare, one commit, the same for the same files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from grader.errors import MachineError

WHO = "alphabar"
BRANCH = "main"


def write(files: Path, repository: Path, message: str, at: datetime) -> Path:
    """Make the bare `repository` with one commit of all `files`, and return its path."""
    files, repository = files.resolve(), repository.resolve()
    when = at.isoformat()
    known = {
        # Nothing of whoever releases: no name, no hook, no filter.
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(repository.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _who(when).items()},
    }
    _git(known, repository, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", "--template=", str(repository))
    for words in (
        ["add", "--all"],
        ["commit", "--quiet", "--message", message],
        ["repack", "-a", "-d", "--quiet"],
        ["prune-packed", "--quiet"],
    ):
        _git({**known, "GIT_DIR": str(repository), "GIT_WORK_TREE": str(files)}, files, *words)
    for name in ("index", "COMMIT_EDITMSG"):
        (repository / name).unlink(missing_ok=True)
    return repository


def _who(when: str) -> dict[str, str]:
    return {"NAME": WHO, "EMAIL": f"{WHO}@example.invalid", "DATE": when}


def _git(environment: Mapping[str, str], at: Path, *words: str) -> None:
    where = at if at.is_dir() else at.parent
    try:
        done = subprocess.run(["git", *words], env=dict(environment), cwd=where, capture_output=True, text=True)
    except FileNotFoundError:
        raise MachineError("git is not installed here, and writes the repository to start from.") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise MachineError(f"git {words[0]} failed: {said[0]}")
