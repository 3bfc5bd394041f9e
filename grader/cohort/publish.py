"""The folder of results: held by one run at a time, and published whole or not at all.

What people read (pages, cohort.json, grades.csv, items.csv) is written into a folder of its own below `.published/`.
Then one rename makes the link `.current` name it, and every name in OUT is a link into `.current`: whoever looks, and
whenever the process is killed, sees the old files or the new ones, never some of both.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from grader import outputs
from grader.errors import GraderError, MachineError, UsageError

FILES = ("cohort.html", "cohort.json", "grades.csv", "items.csv")
PAGES = "students"
LEFT = "left"  # pages of people who are not in the class any more
_CURRENT = ".current"
PUBLISHED = ".published"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


def cannot_write(out: Path, error: OSError) -> GraderError:
    """Return the error for a folder that cannot be written: a full disk is the machine's, a wrong path the user's."""
    says = f"{out} cannot be made or written: {error.strerror}"
    if error.errno in _FULL:
        return MachineError(f"{says}. What was there before stays as it was; make room and run the same line again.")
    return UsageError(f"{says}.")


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep every other run out of the folder `out`; MachineError says who is in it."""
    if os.name != "posix":  # where there is no such lock
        yield
        return
    import fcntl

    descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise MachineError(f"{out} is in use by {_holder(descriptor)}. Wait for it, or give another -o.") from None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        about = json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, about.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        about = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError, OSError):  # it is about to say who it is
        return "another run"


class Publication:
    """What one run will publish; a context manager that leaves nothing behind unless `finish` was called."""

    def __init__(self, out: Path) -> None:
        """Make an empty folder beside what is published now."""
        self._out = out
        outputs.folder(out / PUBLISHED)
        self.folder = outputs.folder(out / PUBLISHED / secrets.token_hex(6))
        outputs.folder(self.folder / PAGES)
        self._finished = False

    def before(self) -> Path | None:
        """Return the folder that is published now, or None. A link that is not ours leads nowhere."""
        target = self._target(_CURRENT) or ""
        if re.fullmatch(rf"{re.escape(PUBLISHED)}/\w+", target) and (self._out / target).is_dir():
            return self._out / target
        links = any((self._out / name).is_symlink() for name in (FILES[1], PAGES))
        return self._out if (self._out / FILES[1]).is_file() and not links else None

    def _target(self, name: str) -> str | None:
        there = self._out / name
        return str(there.readlink()) if there.is_symlink() else None

    def set_aside(self, present: Collection[str]) -> list[str]:
        """Keep the pages of those who are not `present` in the folder `left`; return who they are."""
        before = self.before()
        gone = []
        if before is not None:
            for name, pages in ((PAGES, before / PAGES), (LEFT, before / LEFT)):
                for page in sorted(pages.glob("*.html")) if pages.is_dir() else []:
                    if page.stem not in present:
                        kept = outputs.folder(self.folder / LEFT) / page.name
                        if not kept.exists():
                            shutil.copyfile(page, kept)
                        if name == PAGES:
                            gone.append(page.stem)
        return gone

    def finish(self) -> None:
        """Publish: from one rename on everybody sees the new files."""
        if self.before() == self._out:
            self._adopt()
        self._link(_CURRENT, f"{PUBLISHED}/{self.folder.name}")
        self._finished = True
        for name in (*FILES, PAGES, LEFT):
            ours = f"{_CURRENT}/{name}"
            if (self.folder / name).exists() and self._target(name) != ours:
                self._link(name, ours)
            elif name == LEFT and self._target(name) == ours and not (self._out / name).exists():
                (self._out / name).unlink()
        for old in (self._out / PUBLISHED).iterdir():
            if old.name != self.folder.name:
                shutil.rmtree(old, ignore_errors=True)

    def _adopt(self) -> None:
        """Take over files of a version that wrote them into OUT itself: links to the same, before anything is new."""
        own = [name for name in (*FILES, PAGES) if os.path.lexists(self._out / name)]
        old = outputs.folder(self._out / PUBLISHED / "adopted")
        for name in own:
            if (self._out / name).is_dir():
                shutil.copytree(self._out / name, old / name, dirs_exist_ok=True)
            else:
                shutil.copyfile(self._out / name, old / name)
        self._link(_CURRENT, f"{PUBLISHED}/{old.name}")
        for name in own:
            if (self._out / name).is_dir():
                (self._out / name).rename(old / f".{name}")
            self._link(name, f"{_CURRENT}/{name}")

    def _link(self, name: str, target: str) -> None:
        part = self._out / f".{name}.{secrets.token_hex(6)}"
        part.symlink_to(target)
        part.replace(self._out / name)

    def __enter__(self) -> Publication:
        """Return what is to be published."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take away what was not published."""
        if not self._finished:
            shutil.rmtree(self.folder, ignore_errors=True)
