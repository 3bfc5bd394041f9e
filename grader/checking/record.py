"""Answers as bytes: how a student edition carries what the reference and its edits answer, without their source.

A file is one line of JSON (the index) and the raw tensor bytes, each different tensor once. No code, no pickle.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from grader.errors import CourseError
from grader.sandbox.client import Answer, Error
from grader.sandbox.values import Refused, Tensor

Key = tuple[tuple[str, ...], str]  # (ids of the edits, none for the reference; the call's key)


def write(path: Path, answers: Mapping[Key, Answer]) -> None:
    """Write recorded answers to `path`."""
    blobs: dict[bytes, int] = {}
    entries = []
    for (edits, call), answer in sorted(answers.items(), key=lambda item: item[0]):
        entries.append([list(edits), call, _pack(_as_plain(answer), blobs)])
    index = {"entries": entries, "sizes": [len(blob) for blob in blobs]}
    # mtime=0: the same answers give the same file
    path.write_bytes(gzip.compress(json.dumps(index).encode() + b"\n" + b"".join(blobs), mtime=0))


def read(path: Path) -> dict[Key, Answer]:
    """Read what `write` wrote; CourseError when the file is damaged."""
    try:
        head, _, body = gzip.decompress(path.read_bytes()).partition(b"\n")
        index = json.loads(head)
        blobs, at = [], 0
        for size in index["sizes"]:
            blobs.append(body[at : at + size])
            at += size
        return {(tuple(edits), call): _as_answer(_unpack(packed, blobs)) for edits, call, packed in index["entries"]}
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, IndexError) as error:
        raise CourseError(
            f"{path.name} is damaged ({type(error).__name__}); build the student edition again."
        ) from None


def _as_plain(answer: Answer) -> dict[str, Any]:
    error = answer.error and {"type": answer.error.type, "kind": answer.error.kind}
    return {
        "value": answer.value,
        "changed": answer.changed,
        "next_draw": answer.next_draw,
        "global_rng_moved": answer.global_rng_moved,
        "error": error,
    }


def _as_answer(plain: dict[str, Any]) -> Answer:
    error = plain["error"] and Error(
        type=plain["error"]["type"], message="", frames=(), line=None, kind=plain["error"]["kind"]
    )
    return Answer(
        value=plain["value"],
        changed=plain["changed"],
        next_draw=plain["next_draw"],
        global_rng_moved=plain["global_rng_moved"],
        error=error,
        output="",
        seconds=0.0,
    )


def _pack(value: Any, blobs: dict[bytes, int]) -> Any:
    if isinstance(value, Tensor):
        facts = [value.dtype, list(value.shape), list(value.strides), value.device, value.requires_grad]
        if value.array is None:
            return {"$tensor": [None, *facts]}
        blob = np.ascontiguousarray(value.array).tobytes()
        return {"$tensor": [blobs.setdefault(blob, len(blobs)), *facts]}
    if isinstance(value, Refused):
        return {"$refused": [value.kind, value.says]}
    if isinstance(value, dict):
        return {"$dict": [[_pack(k, blobs), _pack(v, blobs)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"$tuple" if isinstance(value, tuple) else "$list": [_pack(v, blobs) for v in value]}
    return value


def _unpack(packed: Any, blobs: list[bytes]) -> Any:
    if not isinstance(packed, dict):
        return packed
    ((tag, content),) = packed.items()
    if tag == "$tensor":
        blob, dtype, shape, strides, device, requires_grad = content
        array = None
        if blob is not None:
            scalar = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
            array = np.frombuffer(blobs[blob], dtype=scalar).reshape(shape)
        return Tensor(array, dtype, tuple(shape), tuple(strides), device, requires_grad)
    if tag == "$refused":
        return Refused(*content)
    if tag == "$dict":
        return {_unpack(k, blobs): _unpack(v, blobs) for k, v in content}
    items = [_unpack(v, blobs) for v in content]
    return tuple(items) if tag == "$tuple" else items
