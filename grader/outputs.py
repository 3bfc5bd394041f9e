"""Files that we write: beside and renamed, so whole or not at all, and through no link that somebody has laid there.

The working directory may be a folder that a student has handed in, with `.grade/` as a link to anywhere. So folders
below it are opened one after the other without following links, and what is written takes the place of a link instead
of going through it. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


def folder(path: Path) -> Path:
    """Make a folder of our own, parents too, and return it; OSError where it is a link or belongs to somebody else."""
    with _opened(path, make=True) as descriptor:
        owner = os.fstat(descriptor).st_uid
    if owner != os.geteuid():
        raise OSError(errno.EPERM, f"it belongs to another user, number {owner}", str(path))
    return path


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written piece by piece; it takes its place when all of it is there, or never."""
    part = f".{path.name[:80]}.{secrets.token_hex(8)}"
    with _opened(path.parent) as there:
        _refuse_strange(path, there)
        try:
            with os.fdopen(os.open(part, _NEW, 0o666, dir_fd=there), "wb") as file:
                yield file
            os.replace(part, path.name, src_dir_fd=there, dst_dir_fd=there)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=there)
            raise


def create(path: Path, text: str) -> None:
    """Write a new file; FileExistsError where anything is there already, a link to nothing included."""
    with _opened(path.parent) as there, os.fdopen(os.open(path.name, _NEW, 0o666, dir_fd=there), "wb") as file:
        file.write(text.encode())


def _refuse_strange(path: Path, there: int) -> None:
    """Refuse to put a file in the place of a device, a pipe or a folder."""
    try:
        mode = os.stat(path.name, dir_fd=there, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OSError(errno.EISDIR, "something that is no file is there already", str(path))


@contextlib.contextmanager
def _opened(path: Path, make: bool = False) -> Iterator[int]:
    """Open a folder. Below the working directory no part of its path may be a link; what lies above is the user's."""
    whole_path, here = Path(os.path.abspath(path)), Path.cwd()  # noqa: PTH100 - resolve() would follow links
    if whole_path.is_relative_to(here):
        start, names = here, whole_path.relative_to(here).parts
    elif make:
        start, names = whole_path.parent, (whole_path.name,)
        start.mkdir(parents=True, exist_ok=True)
    else:
        start, names = whole_path, ()
    descriptor = os.open(start, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        for name in names:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
            try:
                inner = os.open(name, _FOLDER, dir_fd=descriptor)
            except OSError as error:
                raise _explained(error, name, descriptor, path) from None
            os.close(descriptor)
            descriptor = inner
        owner = os.fstat(descriptor).st_uid
        # Of another user's folder we would never know what becomes of the file. Folders of root are everybody's.
        if os.geteuid() != 0 and owner not in (0, os.geteuid()):
            raise OSError(errno.EPERM, f"its folder belongs to another user, number {owner}", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def _explained(error: OSError, name: str, there: int, path: Path) -> OSError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        with contextlib.suppress(OSError):
            if stat.S_ISLNK(os.stat(name, dir_fd=there, follow_symlinks=False).st_mode):
                return OSError(errno.ELOOP, f"{name} is a symbolic link, which is not followed", str(path))
    return OSError(error.errno, error.strerror, str(path))
