"""Answers as bytes: how a student edition carries what the reference and its edits answer, without their source.

A file is one line of JSON (the index) and the raw tensor bytes, each different tensor once: the first byte of every
four, then the second, and so on, for the first bytes of numbers are more alike than those of one. No code, no pickle.
`source` is the digest of the lab that was recorded: recordings of one lab that lie in two places belong together.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from grader.checking.sketch import Sketch, Viewed
from grader.errors import CourseError
from grader.sandbox import decode
from grader.sandbox.client import Answer, Error
from grader.sandbox.decode import Made
from grader.sandbox.values import Dtype, Refused, Tensor
from grader.sandbox.worker.frames import BadFrame

WORD = 4  # bytes; most tensors are float32
Key = tuple[tuple[str, ...], str]  # (ids of the edits, none for the reference; the call's key)


def write(path: Path, answers: Mapping[Key, Answer], source: str) -> None:
    """Write recorded answers to `path`."""
    blobs: dict[bytes, int] = {}
    forms: dict[str, int] = {}  # thousands of answers have a few hundred forms: all but the numbers in their tensors
    entries = []
    named: dict[tuple[str, ...], int] = {}
    called: dict[str, int] = {}
    for (edits, call), answer in sorted(answers.items(), key=lambda item: item[0]):
        reply, error, used = _packed(answer, blobs)
        form = forms.setdefault(json.dumps([reply, error]), len(forms))
        entries.append([named.setdefault(edits, len(named)), called.setdefault(call, len(called)), form, used])
    index = {
        "source": source,
        "edits": [list(edits) for edits in named],
        "calls": list(called),
        "forms": [json.loads(form) for form in forms],
        "entries": entries,
        "sizes": [len(blob) for blob in blobs],
    }
    # mtime=0: the same answers give the same file
    path.write_bytes(gzip.compress(json.dumps(index).encode() + b"\n" + _in_planes(b"".join(blobs)), mtime=0))


def read(path: Path) -> tuple[dict[Key, Answer], str]:
    """Read what `write` wrote: the answers and their source; CourseError when the file is damaged."""
    try:
        head, _, body = gzip.decompress(path.read_bytes()).partition(b"\n")
        index = json.loads(head)
        body = _in_rows(body)
        blobs, at = [], 0
        for size in index["sizes"]:
            blobs.append(body[at : at + size])
            at += size
        answers = {}
        for edits, call, form, used in index["entries"]:
            reply, error = index["forms"][form]
            key = (tuple(index["edits"][edits]), index["calls"][call])
            answers[key] = _unpacked(reply, error, [blobs[number] for number in used])
        return answers, str(index["source"])
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, IndexError, BadFrame) as error:
        raise CourseError(
            f"{path.name} is damaged ({type(error).__name__}); build the student edition again."
        ) from None


def _in_planes(body: bytes) -> bytes:
    return np.frombuffer(body + bytes(-len(body) % WORD), np.uint8).reshape(-1, WORD).T.tobytes()


def _in_rows(body: bytes) -> bytes:
    return np.frombuffer(body, np.uint8).reshape(WORD, -1).T.tobytes()


def packed_size(answer: Answer) -> int:
    """Return about how many bytes the tensors of an answer take in a file."""
    blobs: dict[bytes, int] = {}
    _packed(answer, blobs)
    return len(zlib.compress(b"".join(blobs)))


def _packed(answer: Answer, blobs: dict[bytes, int]) -> tuple[Any, Any, list[int]]:
    """Return an answer as a worker would send it, its error, and the numbers of the blobs that are its data."""
    writer = _Writer(blobs)
    reply = {
        "value": writer.value(answer.value),
        "changed": {name: writer.value(item) for name, item in answer.changed.items()},
        "calls": writer.value(answer.calls),
        "next_draw": {name: writer.value(item) for name, item in answer.next_draw.items()},
        "global_rng_moved": answer.global_rng_moved,
        "tensors": writer.table,
        "made": answer.made and _made(answer.made),
    }
    error = answer.error and {"type": answer.error.type, "kind": answer.error.kind}
    return reply, error, writer.used


def _made(made: Made) -> dict[str, Any]:
    return {"bytes": made.bytes, "digest": made.digest, "rows": [row._asdict() for row in made.tensors]}


def _unpacked(reply: Any, error: Any, data: list[bytes]) -> Answer:
    found = decode.reply(json.dumps(reply).encode(), b"".join(data))
    return Answer(
        value=_with_sketches(found.value),
        changed=_with_sketches(found.changed),
        next_draw=found.next_draw,
        global_rng_moved=found.global_rng_moved,
        calls=_with_sketches(found.calls),
        made=found.made,
        error=error and Error(type=error["type"], message="", frames=(), line=None, kind=error["kind"]),
        output="",
        seconds=0.0,
    )


SKETCH, VIEWED = "$sketch", "$viewed"  # no names of parameters, and no keys that a lab's function returns


def _with_sketches(value: Any) -> Any:
    """Return a value that was read with its sketches as such."""
    if isinstance(value, dict):
        if value.keys() == {SKETCH}:
            dtype, shape, strides, device, requires_grad, digest, sums = value[SKETCH]
            return Sketch(None, dtype, shape, strides, device, requires_grad, digest, sums and sums.array)
        if value.keys() == {VIEWED}:
            return Viewed(_with_sketches(value[VIEWED]))
        return {key: _with_sketches(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_sketches, value))
    return value


class _Writer:
    """Writes values as `sandbox.decode` reads them: the judge's counterpart of the worker's codec."""

    def __init__(self, blobs: dict[bytes, int]) -> None:
        self.table: list[dict[str, Any]] = []
        self.used: list[int] = []
        self._blobs = blobs

    def value(self, value: Any) -> Any:
        if isinstance(value, Sketch):
            return self.value({SKETCH: self._sketch(value)})
        if isinstance(value, Viewed):
            return self.value({VIEWED: value.value})
        if isinstance(value, Tensor):
            return {"$tensor": self._tensor(value)}
        if isinstance(value, Dtype):
            return {"$dtype": value.name}
        if isinstance(value, Refused):
            return {"$refused": {"kind": value.kind, "says": value.says}}
        if isinstance(value, dict):
            return {"$dict": [[self.value(k), self.value(v)] for k, v in value.items()]}
        if isinstance(value, tuple):
            return {"$tuple": [self.value(item) for item in value]}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            return {"$float": str(value)}
        return value

    def _sketch(self, sketch: Sketch) -> tuple[Any, ...]:
        sums = None
        if sketch.sums is not None:
            sums = Tensor(sketch.sums, str(sketch.sums.dtype), sketch.sums.shape, (1,), "cpu", False)
        known = (sketch.dtype, sketch.shape, sketch.strides, sketch.device, sketch.requires_grad)
        return (*known, sketch.digest, sums)

    def _tensor(self, tensor: Tensor) -> int:
        size = 0
        if tensor.array is not None:
            blob = np.ascontiguousarray(tensor.array).tobytes()
            self.used.append(self._blobs.setdefault(blob, len(self._blobs)))
            size = len(blob)
        self.table.append(
            {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "strides": list(tensor.strides),
                "device": tensor.device,
                "requires_grad": tensor.requires_grad,
                "nbytes": size,
            }
        )
        return len(self.table) - 1
