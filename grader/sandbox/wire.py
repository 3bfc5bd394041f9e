"""Requests as bytes, and answers' frames read from a channel as they arrive. Runs in the judge.

The format stands in docs/design.md; the framing itself is shared with the worker.
"""

from __future__ import annotations

import math
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from grader.errors import InternalError
from grader.recipes import Recipe
from grader.sandbox.values import Dtype, Tensor
from grader.sandbox.worker import frames

if TYPE_CHECKING:
    import numpy as np

CHUNK = 1 << 20
MAX_SEQUENCE = 1 << 32
SMALL = 1 << 20  # bytes of data that always have room


class Unsendable(InternalError):
    """A request that no frame holds: too large, or not made of plain values."""


class Request:
    """One request on its way to bytes: JSON with placeholders, and the literal arrays that travel beside it."""

    def __init__(self, request: Mapping[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
        """Encode `request`; `arrays` are what `{"$tensor": i}` placeholders in it already refer to."""
        self._table: list[dict[str, Any]] = []
        self._chunks: list[bytes] = []
        for array in arrays:
            self._literal(array)
        values = ("args", "kwargs")
        self._json = {key: value for key, value in request.items() if key not in values}
        if "args" in request:
            self._json["args"] = [self._value(item) for item in request["args"]]
        if "kwargs" in request:
            self._json["kwargs"] = {name: self._value(item) for name, item in request["kwargs"].items()}
        if self._table:
            self._json["tensors"] = self._table

    def frame(self, sequence: int, data: bytes = b"") -> bytes:
        """Return the whole frame; `data` is a source file where there are no arrays."""
        text = frames.dumps(self._json)
        body = data or b"".join(self._chunks)
        if len(text) > frames.MAX_JSON or len(body) > frames.MAX_DATA:
            raise Unsendable(f"A request of {len(text)} + {len(body)} bytes is larger than a frame may be.")
        return frames.header(sequence, len(text), len(body)) + text + body

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": str(value)}
        if isinstance(value, Recipe):
            args = [self._value(item) for item in value.args]
            return {"$recipe": [value.op, args, {k: self._value(v) for k, v in value.kwargs.items()}]}
        if isinstance(value, tuple):
            return {"$tuple": [self._value(item) for item in value]}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, dict):
            if len(value) == 1 and next(iter(value)) in ("$tensor", "$recipe", "$tuple", "$dict", "$float"):
                return value  # encoded already
            return {"$dict": [[self._value(k), self._value(v)] for k, v in value.items()]}
        if hasattr(value, "__array_interface__"):
            return self._literal(value)
        if isinstance(value, Dtype):
            return {"$recipe": ["dtype", [value.name], {}]}
        if isinstance(value, Tensor) and value.array is not None:
            return self._literal(value.array)
        raise Unsendable(f"A check passes a {type(value).__name__}; calls take plain values, arrays and recipes.")

    def _literal(self, array: Any) -> dict[str, int]:
        import numpy as np

        array = np.asarray(array)
        body = array.tobytes(order="C")
        self._table.append({"dtype": array.dtype.name, "shape": list(array.shape), "nbytes": len(body)})
        self._chunks.append(body)
        return {"$tensor": len(self._table) - 1}


class Sequence32:
    """Sequence numbers that start anywhere and grow by random steps, so that none can be guessed ahead."""

    def __init__(self) -> None:
        """Pick the start."""
        self._last = secrets.randbelow(MAX_SEQUENCE)

    def next(self) -> int:
        """Return the next number."""
        self._last = (self._last + 1 + secrets.randbelow(1 << 16)) % MAX_SEQUENCE
        return self._last


class FrameReader:
    """Puts one frame together from what has arrived; memory grows only with bytes that really came.

    `room` says how many bytes of data may be kept; it is asked when more than `SMALL` are announced. What has no room
    is read and dropped, so that the next frame can be found.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.room: Callable[[], int] | None = None
        self._bytes = bytearray()
        self._dropped = 0
        self._drops = False
        self._lengths: tuple[int, int, int] | None = None

    def read(self, channel: socket.socket) -> tuple[int, bytes, memoryview | None] | None:
        """Receive what is there; return (sequence, JSON, data) once a frame is complete; no data where it has no room.

        EOFError when the other side has closed, BadFrame when this is not a frame.
        """
        try:
            part = channel.recv(min(max(self._missing(), frames.AHEAD), CHUNK))
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionError:
            part = b""
        if not part:
            raise EOFError
        self._bytes += part
        return self.next()

    def next(self) -> tuple[int, bytes, memoryview | None] | None:
        """Return a frame that has arrived: one may come together with the one before."""
        start = frames.HEADER.size
        if self._lengths is None:
            if len(self._bytes) < start:
                return None
            self._lengths = frames.parse_header(bytes(self._bytes[:start]))
            announced = self._lengths[2]
            self._drops = self.room is not None and announced > SMALL and announced > self.room()
        sequence, json_bytes, data_bytes = self._lengths
        middle = start + json_bytes
        if self._drops:
            dropped = min(len(self._bytes[middle:]), data_bytes - self._dropped)
            del self._bytes[middle : middle + dropped]
            self._dropped += dropped
        if self._missing():
            return None
        end = middle if self._drops else middle + data_bytes
        whole = memoryview(self._bytes).toreadonly()
        frame = sequence, bytes(whole[start:middle]), None if self._drops else whole[middle:end]
        self._bytes, self._lengths, self._dropped, self._drops = self._bytes[end:], None, 0, False
        return frame

    def _missing(self) -> int:
        """Return how many bytes more there must be, as far as is known."""
        size = frames.HEADER.size + (sum(self._lengths[1:]) if self._lengths else 0)
        return max(0, size - len(self._bytes) - self._dropped)
