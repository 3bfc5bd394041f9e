"""What was handed in, on disk instead of in memory: a class may bring two gigabytes of source code.

An unnamed temporary file, gone with the process however that ends; only digests and places are remembered.
"""

from __future__ import annotations

import tempfile
from typing import Self

from grader.digests import source_digest
from grader.errors import MachineError


class Sources:
    """Keeps each different file once; a context manager."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._file = tempfile.TemporaryFile(prefix="alphabar-")  # noqa: SIM115 - closed by `__exit__`
        self._places: dict[str, tuple[int, int]] = {}  # digest -> where it begins, how many bytes it has
        self._end = 0

    def keep(self, source: bytes) -> str:
        """Keep a file and return its digest, by which it is found again; MachineError where there is no room."""
        digest = source_digest(source)
        if digest not in self._places:
            try:
                self._file.seek(self._end)
                self._file.write(source)
                self._file.flush()
            except OSError as error:
                where = tempfile.gettempdir()
                raise MachineError(
                    f"What was handed in cannot be kept in {where}: {error.strerror}. Make room, or set TMPDIR."
                ) from None
            self._places[digest] = self._end, len(source)
            self._end += len(source)
        return digest

    def size(self, digest: str) -> int:
        """Return how many bytes a file has."""
        return self._places[digest][1]

    def read(self, digest: str) -> bytes:
        """Return a file."""
        begin, size = self._places[digest]
        self._file.seek(begin)
        return self._file.read(size)

    def __enter__(self) -> Self:
        """Return what keeps them."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget them all."""
        self._file.close()
