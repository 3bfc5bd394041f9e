"""A folder or a zip file of submissions as a list of members. Nothing is unpacked to disk; no link is followed."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from grader.errors import SubmissionError, UsageError
from grader.submission import MAX_BYTES, open_plain, read_capped
from grader.text import clean_name

MAX_MEMBERS = 200_000  # of what the instructor names
MAX_INNER_MEMBERS = 2_000  # of what one student hands in
MAX_INNER_BYTES = 16 << 20  # of a student's own archive, packed
MAX_INNER_UNPACKED = 256 << 20
MAX_RATIO = 200  # source code packs 3 to 10 times; a bomb a thousand times
MAX_DIRECTORY = 1 << 20  # of a student's own archive: its table of contents is read before it can be counted
MAX_DEPTH = 12

JUNK_FOLDERS = {"__MACOSX", "__pycache__", ".git", ".ipynb_checkpoints", ".venv", "node_modules", ".idea", ".vscode"}
JUNK_FILES = {".ds_store", "thumbs.db", "desktop.ini", ".gitignore", ".gitattributes"}


@dataclass(frozen=True, slots=True)
class Member:
    """One file: where it lies, how to read it, or why it may not be read. A folder's last part is empty."""

    parts: tuple[str, ...]
    open: Callable[[], IO[bytes]]
    refused: SubmissionError | None = None

    @property
    def name(self) -> str:
        """The file's own name, safe to print."""
        return clean_name(self.parts[-1])

    @property
    def is_junk(self) -> bool:
        """Whether this is what systems and editors leave behind, never a student's work."""
        name = self.parts[-1]
        return not JUNK_FOLDERS.isdisjoint(self.parts) or name.lower() in JUNK_FILES or name.startswith("._")

    @property
    def below_top_junk(self) -> bool:
        """Whether it lies in (or is) junk beside the students' folders."""
        return Member(self.parts[:1], self.open).is_junk

    def marker(self) -> Member:
        """Return what is left of it when its content does not count: its top folder."""
        return Member((self.parts[0], ""), self.open)

    @property
    def is_folder(self) -> bool:
        """Whether this only says that a folder is there."""
        return self.parts[-1] == ""

    @property
    def leads_out(self) -> bool:
        """Whether its name is no place inside what it came in."""
        return self.parts[0] == "/" or self.parts[0].endswith(":") or ".." in self.parts

    @property
    def is_archive(self) -> bool:
        """Whether it is a zip file, by its name."""
        return self.parts[-1].lower().endswith(".zip")

    def source(self) -> bytes:
        """Read it as a source file; SubmissionError says what is wrong with it."""
        return self._read(lambda file: read_capped(file, self.name))

    def small(self, limit: int) -> bytes:
        """Read a file of the LMS's own; SubmissionError past `limit` bytes."""
        return self._read(lambda file: _up_to(file, limit, self.name))

    def below(self, count: int) -> Member:
        """Return the same file as seen from `count` folders further in."""
        return Member(self.parts[count:], self.open, self.refused)

    def _read(self, read: Callable[[IO[bytes]], bytes]) -> bytes:
        if self.refused is not None:
            raise self.refused
        try:
            with self.open() as file:
                return read(file)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise SubmissionError("bad_archive", f"{self.name} cannot be unpacked: {_reason(error)}.") from None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[list[Member]]:
    """List what lies in the folder or zip file `path`; UsageError when it is neither."""
    if path.is_dir():
        yield list(_walk(path, (), 0))
        return
    if not path.exists():
        raise UsageError(f"there is no {path}; a folder or a zip file of submissions was expected.")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"{path} is neither a folder nor a zip file that can be read: {_reason(error)}.") from None
    with archive:
        yield _listed(archive, MAX_MEMBERS)


def inner(member: Member) -> list[Member]:
    """List a student's own archive, one level deep; SubmissionError when it cannot be trusted or read."""
    data = member._read(lambda file: _up_to(file, MAX_INNER_BYTES, member.name))
    end = data.rfind(b"PK\x05\x06")
    if end < 0:
        raise SubmissionError("bad_archive", f"{member.name} is not a zip file; hand in the Python file itself.")
    # zipfile reads the whole table of contents before anything can be counted, so its size is looked at first.
    if int.from_bytes(data[end + 12 : end + 16], "little") > MAX_DIRECTORY:
        raise SubmissionError("unsafe_archive", f"{member.name} lists far more files than a submission has.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise SubmissionError("bad_archive", f"{member.name} cannot be unpacked: {_reason(error)}.") from None
    if len(archive.infolist()) > MAX_INNER_MEMBERS:
        raise SubmissionError("unsafe_archive", f"{member.name} holds more than {MAX_INNER_MEMBERS} files.")
    if sum(info.file_size for info in archive.infolist()) > MAX_INNER_UNPACKED:
        raise SubmissionError(
            "unsafe_archive", f"{member.name} would unpack to more than {MAX_INNER_UNPACKED >> 20} MiB."
        )
    return _listed(archive, MAX_INNER_MEMBERS)


def _walk(folder: Path, parts: tuple[str, ...], seen: int) -> Iterator[Member]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        refused = SubmissionError("unreadable", f"{clean_name(folder.name)} cannot be opened: {error.strerror}.")
        yield Member((*parts, ""), _never, refused)
        return
    for entry in entries:
        seen += 1
        if seen > MAX_MEMBERS:
            raise UsageError(f"there are more than {MAX_MEMBERS} files; name the folder that holds the submissions.")
        # A name that is no text (bytes of another encoding) can be neither printed nor kept in the key file.
        here = (*parts, os.fsencode(entry.name).decode("utf-8", "backslashreplace"))
        if entry.is_dir(follow_symlinks=False):
            if entry.name in JUNK_FOLDERS:
                yield Member((*here, ""), _never)
            elif len(here) < MAX_DEPTH:
                below = list(_walk(folder / entry.name, here, seen))
                seen += len(below)
                yield from below or [Member((*here, ""), _never)]  # an empty folder is a student without a file
        elif entry.is_symlink():
            yield Member(here, _never, _link(entry.name))
        else:
            # A path is made when it is needed: there may be many.
            yield Member(here, lambda name=entry.name: open_plain(folder / name))  # type: ignore[misc]


def _listed(archive: zipfile.ZipFile, most: int) -> list[Member]:
    if len(archive.infolist()) > most:
        raise UsageError(f"the archive lists more than {most} files; that is no export of submissions.")
    members = []
    for info in archive.infolist():
        raw = _name(info).replace("\\", "/")
        parts = tuple(part for part in raw.split("/") if part not in ("", "."))
        if not parts:
            continue
        if info.is_dir():
            parts = (*parts, "")
        if raw.startswith("/"):
            parts = ("/", *parts)
        members.append(Member(parts, lambda info=info: archive.open(info), _refusal(info, raw)))  # type: ignore[misc]
    return members


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name: UTF-8 also where the mark that says so is missing, which zipfile reads as cp437."""
    if not info.flag_bits & 0x800 and not info.filename.isascii():
        with contextlib.suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _refusal(info: zipfile.ZipInfo, raw: str) -> SubmissionError | None:
    """Say why a member is not read. Nothing is written anywhere, but who sends such names is shown, not served."""
    name = clean_name(raw)
    if raw.startswith("/") or raw[1:2] == ":" or ".." in raw.split("/"):
        return SubmissionError("unsafe_archive", f"{name} leads out of its archive.")
    if stat.S_ISLNK(info.external_attr >> 16):
        return _link(raw.rsplit("/", 1)[-1])
    if info.flag_bits & 1:
        return SubmissionError("bad_archive", f"{name} is encrypted; hand it in without a password.")
    if info.file_size > MAX_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        return SubmissionError("unsafe_archive", f"{name} would unpack to {info.file_size >> 20} MiB of padding.")
    return None


def _link(name: str) -> SubmissionError:
    return SubmissionError("symlink", f"{clean_name(name)} is a symbolic link; hand in the file itself.")


def _up_to(file: IO[bytes], limit: int, name: str) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise SubmissionError("too_large", f"{name} is larger than {limit >> 20} MiB.")
    return data


def _reason(error: Exception) -> str:
    return clean_name((getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip("."))


def _never() -> IO[bytes]:
    raise OSError("it may not be opened")
