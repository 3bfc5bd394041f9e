"""A folder or a zip file of submissions as a list of members. Nothing is unpacked to disk; no link is followed."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from grader.errors import SubmissionError, UsageError
from grader.submission import MAX_BYTES, open_plain, read_capped
from grader.text import clean_name

MAX_MEMBERS = 200_000  # of what the instructor names
MAX_INNER_MEMBERS = 2_000  # of what one student hands in
MAX_INNER_BYTES = 16 << 20  # of a student's own archive, packed
MAX_INNER_UNPACKED = 256 << 20
MAX_RATIO = 200  # source code packs 3 to 10 times; a bomb a thousand times
MAX_DIRECTORY = 1 << 20  # of a student's own archive: its table of contents is read before it can be counted
MAX_TAR = 32 << 20  # a student's own .tar.gz, unpacked: all of it is read before its first file is known
MAX_WRAPPED = 4 << 30  # an export inside the archive that the instructor names
MAX_DEPTH = 12

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")  # of these a student's own is read
OTHER_ARCHIVES = re.compile(r"\.(rar|7z|gz|bz2|xz|zst|lz|lzma|tbz2?|txz|zipx|cab|ace|arj|sit|dmg|iso)\Z", re.IGNORECASE)
_LATIN = ("LATIN SMALL LETTER", "LATIN CAPITAL LETTER")

KEY_FILE = "students.key.json"  # where this lies, `grade cohort` has written
JUNK_FOLDERS = {"__MACOSX", "__pycache__", ".git", ".ipynb_checkpoints", ".venv", "node_modules", ".idea", ".vscode"}
JUNK_FILES = {".ds_store", "thumbs.db", "desktop.ini", ".gitignore", ".gitattributes"}


@dataclass(frozen=True, slots=True)
class Member:
    """One file: where it lies, how to read it, or why it may not be read. A folder's last part is empty."""

    parts: tuple[str, ...]
    open: Callable[[], IO[bytes]]
    refused: SubmissionError | None = None
    ours: bool = False  # a folder of results, no student's
    stamp: tuple[int, ...] = ()  # what changes when the file does, as far as that can be seen without reading it

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
        """Whether it is an archive of a kind that is read, by its name."""
        return self.parts[-1].lower().endswith(ARCHIVES)

    @property
    def is_other_archive(self) -> bool:
        """Whether it is an archive of a kind that is not read, by its name."""
        return not self.is_archive and OTHER_ARCHIVES.search(self.parts[-1]) is not None

    @property
    def is_work(self) -> bool:
        """Whether somebody may have handed it in: code, a notebook, an archive of any kind."""
        name = self.parts[-1].lower()
        return name.endswith((".py", ".py.txt", ".ipynb")) or self.is_archive or self.is_other_archive

    def source(self) -> bytes:
        """Read it as a source file; SubmissionError says what is wrong with it."""
        return self._read(lambda file: read_capped(file, self.name))

    def small(self, limit: int) -> bytes:
        """Read a file of the LMS's own; SubmissionError past `limit` bytes."""
        return self._read(lambda file: _up_to(file, limit, self.name))

    def below(self, count: int) -> Member:
        """Return the same file as seen from `count` folders further in."""
        return Member(self.parts[count:], self.open, self.refused, self.ours, self.stamp)

    def _read(self, read: Callable[[IO[bytes]], bytes]) -> bytes:
        if self.refused is not None:
            raise self.refused
        try:
            with self.open() as file:
                return read(file)
        except SubmissionError:
            raise
        except Exception as error:
            # A damaged archive makes its reader raise anything: LZMAError, UnicodeDecodeError, struct.error.
            raise SubmissionError("bad_archive", f"{self.name} cannot be unpacked: {_reason(error)}.") from None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[list[Member]]:
    """List what lies in the folder or zip file `path`; UsageError when it is neither."""
    if path.is_dir():
        if os.path.lexists(path / KEY_FILE):
            raise UsageError(f"{path} is a folder of results that `grade cohort` wrote; name the submissions' folder.")
        yield list(_walk(path, (), 0))
        return
    if not path.exists():
        raise UsageError(f"there is no {path}; a folder or a zip file of submissions was expected.")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # whatever a damaged table of contents makes of its reader
        raise UsageError(f"{path} is neither a folder nor a zip file that can be read: {_reason(error)}.") from None
    with archive:
        yield _listed(archive, MAX_MEMBERS)


def inner(member: Member) -> list[Member]:
    """List a student's own archive, one level deep; SubmissionError when it cannot be trusted or read."""
    data = member._read(lambda file: _up_to(file, MAX_INNER_BYTES, member.name))
    if member.parts[-1].lower().endswith(".zip"):
        return _inner_zip(data, member.name)
    return _inner_tar(data, member.name)


def _inner_zip(data: bytes, name: str) -> list[Member]:
    end = data.rfind(b"PK\x05\x06")
    if end < 0:
        raise SubmissionError("bad_archive", f"{name} is not a zip file; hand in the Python file itself.")
    # zipfile reads the whole table of contents before anything can be counted, so its size is looked at first. That of
    # a zip64 file stands elsewhere; no submission needs one.
    if int.from_bytes(data[end + 12 : end + 16], "little") > MAX_DIRECTORY or b"PK\x06\x07" in data[end - 20 : end]:
        raise SubmissionError("unsafe_archive", f"{name} lists far more files than a submission has.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:
        raise SubmissionError("bad_archive", f"{name} cannot be unpacked: {_reason(error)}.") from None
    if len(archive.infolist()) > MAX_INNER_MEMBERS:
        raise SubmissionError("unsafe_archive", f"{name} holds more than {MAX_INNER_MEMBERS} files.")
    if sum(info.file_size for info in archive.infolist()) > MAX_INNER_UNPACKED:
        raise SubmissionError("unsafe_archive", f"{name} would unpack to more than {MAX_INNER_UNPACKED >> 20} MiB.")
    return _listed(archive, MAX_INNER_MEMBERS)


def _inner_tar(data: bytes, name: str) -> list[Member]:
    members = []
    try:
        if data.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = _up_to(cast("IO[bytes]", packed), MAX_TAR, name)
        archive = tarfile.open(fileobj=io.BytesIO(data), mode="r:")  # noqa: SIM115 - its members are read later
        for number, info in enumerate(archive):
            if number >= MAX_INNER_MEMBERS:
                raise SubmissionError("unsafe_archive", f"{name} holds more than {MAX_INNER_MEMBERS} files.")
            parts = tuple(part for part in info.name.split("/") if part not in ("", "."))
            if not parts or not (info.isfile() or info.issym() or info.islnk()):
                continue
            refused = None
            if info.name.startswith("/") or ".." in parts:
                refused = SubmissionError("unsafe_archive", f"{clean_name(info.name)} leads out of its archive.")
            elif not info.isfile():
                refused = _link(parts[-1])
            members.append(Member(parts, lambda info=info: _plain(archive, info), refused))  # type: ignore[misc]
    except SubmissionError:
        raise
    except Exception as error:
        raise SubmissionError("bad_archive", f"{name} cannot be unpacked: {_reason(error)}.") from None
    return members


def _plain(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    if file is None:
        raise OSError("it is no plain file")
    return file


def wrapped(member: Member, stack: contextlib.ExitStack) -> list[Member] | None:
    """List an export that lies as a zip file inside what was named, open as long as `stack`; None where it is none."""
    spooled = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=MAX_INNER_BYTES))  # noqa: SIM115 - the stack does
    try:
        with member.open() as file:
            while block := file.read(1 << 20):
                spooled.write(block)
                if spooled.tell() > MAX_WRAPPED:
                    return None
        return _listed(zipfile.ZipFile(spooled), MAX_MEMBERS)
    except UsageError:
        raise
    except Exception:  # then it is a student's archive, and its row says what is wrong with it
        return None


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
            elif os.path.lexists(Path(entry.path) / KEY_FILE):
                yield Member((*here, ""), _never, ours=True)
            elif len(here) < MAX_DEPTH:
                below = list(_walk(folder / entry.name, here, seen))
                seen += len(below)
                yield from below or [Member((*here, ""), _never)]  # an empty folder is a student without a file
        elif entry.is_symlink():
            yield Member(here, _never, _link(entry.name))
        else:
            about = entry.stat(follow_symlinks=False)
            # A path is made when it is needed: there may be many.
            opened = lambda name=entry.name: open_plain(folder / name)  # noqa: E731
            yield Member(here, opened, stamp=(about.st_size, about.st_mtime_ns))


def _listed(archive: zipfile.ZipFile, most: int) -> list[Member]:
    if len(archive.infolist()) > most:
        raise UsageError(f"the archive lists more than {most} files; that is no export of submissions.")
    members = []
    for info in archive.infolist():
        raw = _name(info)
        parts = tuple(part for part in raw.split("/") if part not in ("", "."))
        if not parts:
            continue
        if info.is_dir():
            parts = (*parts, "")
        if raw.startswith("/"):
            parts = ("/", *parts)
        opened = lambda info=info: archive.open(info)  # noqa: E731
        stamp = (info.CRC, info.file_size, info.compress_size)
        members.append(Member(parts, opened, _refusal(info, raw), stamp=stamp))
    return members


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name with slashes: UTF-8 also where the mark that says so is missing.

    Without the mark the standard says cp437, and programs write what their system speaks. What cannot be told for
    certain is kept as bytes in escapes: a name that cannot be read is better than a wrong one.
    """
    name = info.filename
    if not info.flag_bits & 0x800 and not name.isascii():
        data = name.encode("cp437")
        try:
            name = data.decode("utf-8")
        except UnicodeError:
            if not _is_certain(data):
                # Here a backslash may be the second half of a Chinese character, no separator.
                return data.decode("ascii", "backslashreplace")
    return name.replace("\\", "/")


def _is_certain(data: bytes) -> bool:
    """Tell whether a name without the mark can be cp437 only, or what is written alike in its cousins.

    DOS writes "Pawe\u0142" in cp852 as the bytes of "Paw\u00ea" in cp437, Windows writes "Nov\u00e1k" as those of
    "Nov\u00dfk", and a Chinese character is two bytes of any kind. So all three alphabets of DOS have to read the same
    Latin letters, none of Windows' may make letters of all of it, and no two such bytes may stand side by side.
    """
    if re.search(rb"[\x80-\xff]{2}", data):
        return False
    strange = bytes(byte for byte in data if byte >= 0x80)
    read = {strange.decode(code) for code in ("cp437", "cp850", "cp852")}
    return (
        len(read) == 1
        and _is_latin(read.pop())
        and not any(_is_latin(strange.decode(code, "replace")) for code in ("cp1250", "cp1252"))
    )


def _is_latin(text: str) -> bool:
    return all(unicodedata.name(char, "").startswith(_LATIN) for char in text)


def is_unread(name: str) -> bool:
    """Tell whether a name holds bytes that could not be read as text."""
    return re.search(r"\\x[0-9a-f]{2}", name) is not None


def _refusal(info: zipfile.ZipInfo, raw: str) -> SubmissionError | None:
    """Say why a member is not read. Nothing is written anywhere, but who sends such names is shown, not served."""
    name = clean_name(raw)
    if raw.startswith("/") or raw[1:2] == ":" or ".." in raw.split("/"):
        return SubmissionError("unsafe_archive", f"{name} leads out of its archive.")
    if stat.S_ISLNK(info.external_attr >> 16):
        return _link(raw.rsplit("/", 1)[-1])
    if info.flag_bits & 1:
        return SubmissionError("bad_archive", f"{name} is encrypted; hand it in without a password.")
    if info.header_offset < 0:
        return SubmissionError("bad_archive", f"{name} cannot be unpacked: its place in the archive is none.")
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
