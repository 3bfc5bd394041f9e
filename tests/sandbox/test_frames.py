"""The decoder of answers against random and mutated bytes: a BadFrame or a value, never anything else."""

from __future__ import annotations

import json
import random
import select
import socket
import threading
from typing import Any

import numpy as np
import pytest

from grader.sandbox import decode
from grader.sandbox.values import Refused, Tensor
from grader.sandbox.wire import FrameReader, Request
from grader.sandbox.worker import frames
from grader.sandbox.worker.frames import BadFrame

ROW = {"dtype": "float32", "shape": [2], "strides": [1], "device": "cpu", "requires_grad": False, "nbytes": 8}
GOOD = {
    "value": [{"$tensor": 0}, {"$tuple": [1, {"$float": "nan"}]}, {"$dict": [["a", {"$dtype": "float32"}]]}],
    "changed": {"x": {"$refused": {"kind": "object", "says": "an object"}}},
    "next_draw": {"g": 0.5},
    "global_rng_moved": True,
    "tensors": [ROW],
    "seconds": 0.25,
}
BAD = {"error": {"type": "E", "message": "m", "frames": [{"line": 1, "function": "f", "code": "c"}], "line": 1}}
ODD: list[Any] = [
    None,
    True,
    -1,
    1 << 70,
    1.5,
    "",
    "x",
    [],
    {},
    [[]],
    {"$tensor": True},
    {"$tensor": -1},
    {"a": 1, "b": 2},
]


def read(raw: bytes, step: int = 1 << 20) -> tuple[int, bytes, bytes] | None:
    """Feed bytes to a reader in pieces."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        reader = FrameReader()
        for start in range(0, len(raw), step):
            theirs.sendall(raw[start : start + step])
            while True:
                frame = reader.read(ours)
                if frame is not None:
                    return frame
                try:
                    if not ours.recv(1, socket.MSG_PEEK):
                        break
                except BlockingIOError:
                    break
    return None


def whole(message: Any, data: bytes = b"") -> bytes:
    text = json.dumps(message).encode()
    return frames.header(7, len(text), len(data)) + text + data


def test_a_frame_arrives_however_it_is_cut() -> None:
    raw = whole(GOOD, bytes(8))
    for step in (1, 3, 19, 20, 21, len(raw)):
        assert read(raw, step) == (7, json.dumps(GOOD).encode(), bytes(8))


def test_good_answers_decode() -> None:
    reply = decode.reply(json.dumps(GOOD).encode(), np.array([1, 2], np.float32).tobytes())
    tensor = reply.value[0]
    assert isinstance(tensor, Tensor)
    assert tensor.array is not None
    assert tensor.array.tolist() == [1, 2]
    raised = decode.reply(json.dumps(BAD).encode(), b"").raised
    assert raised is not None
    assert raised.frames[0] == (1, "f", "c")


@pytest.mark.parametrize("lengths", [(1 << 31, 0), (10, 1 << 63), (frames.MAX_JSON + 1, 0), (0, frames.MAX_DATA + 1)])
def test_announced_sizes_are_checked_before_anything_is_read(lengths: tuple[int, int]) -> None:
    with pytest.raises(BadFrame):
        read(frames.header(1, *lengths))


def test_other_bytes_are_no_frame() -> None:
    with pytest.raises(BadFrame):
        read(b"GET / HTTP/1.1\r\n\r\n\r\n")


def every_place(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        found += [place for key in value for place in every_place(value[key], (*path, key))]
    if isinstance(value, list):
        found += [place for i, item in enumerate(value) for place in every_place(item, (*path, i))]
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("message", [GOOD, BAD])
def test_an_odd_value_in_any_place_is_a_bad_frame_or_a_value(message: dict[str, Any]) -> None:
    data = b"" if message is BAD else bytes(8)
    for place in every_place(message):
        for odd in ODD:
            text = json.dumps(replaced(message, place, odd)).encode()
            try:
                decode.reply(text, data)
            except BadFrame:
                continue


def test_mutated_bytes_are_a_bad_frame_or_a_value() -> None:
    generator = random.Random(0)
    text = json.dumps(GOOD).encode()
    for _ in range(3000):
        mutated = bytearray(text)
        for _ in range(generator.randrange(1, 6)):
            mutated[generator.randrange(len(mutated))] = generator.randrange(256)
        try:
            decode.reply(bytes(mutated), bytes(generator.choice((0, 7, 8, 9))))
        except BadFrame:
            continue


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"value":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"value":' + b"9" * 10_000 + b"}",
        b'{"value": 1e999, "seconds": NaN}' + b"\xff",
        b'{"value": {"$dict": [[{"$dict": []}, 1]]}}',
        b'{"value": {"$dict": [[{"$tuple": [[1]]}, 1]]}}',
        b'{"seconds": ' + b"9" * 400 + b"}",
        b'{"value": {"$tensor": 0}, "tensors": [{"dtype": "float32"}]}',
        b'{"value":' + b"9" * 21 + b"}",
        b'{"value": 18446744073709551616}',
        b'{"value": NaN}',
        b'{"value": null, "more": [' + b"[]," * 400_000 + b"0]}",
        b'{"value": "' + b"x" * 100_001 + b'"}',
    ],
)
def test_known_tricks_are_bad_frames(text: bytes) -> None:
    with pytest.raises(BadFrame):
        decode.reply(text, b"")


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1 << 40], "nbytes": 8},
        {"shape": [-2]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": [0, 1 << 45, 1 << 45], "strides": [1, 1, 1], "nbytes": 0},
        {"shape": [1] * 100, "strides": [1] * 100, "nbytes": 4},
        {"strides": [1, 1]},
        {"dtype": "object"},
        {"dtype": "O"},
        {"device": "disk"},
        {"nbytes": 4},
        {"nbytes": -8},
    ],
)
def test_a_tensor_that_does_not_add_up_is_a_bad_frame(change: dict[str, Any]) -> None:
    answer = {"value": {"$tensor": 0}, "tensors": [ROW | change]}
    with pytest.raises(BadFrame):
        decode.reply(json.dumps(answer).encode(), bytes(8))


def test_any_byte_makes_a_clean_bool() -> None:
    row = ROW | {"dtype": "bool", "shape": [4], "nbytes": 4}
    reply = decode.reply(json.dumps({"value": {"$tensor": 0}, "tensors": [row]}).encode(), b"\x00\x01\x02\xff")
    assert reply.value.array.tolist() == [False, True, True, True]


def test_a_request_too_large_for_a_frame_is_our_own_bug() -> None:
    from grader.errors import InternalError

    with pytest.raises(InternalError):
        Request({"op": "call", "args": ["x" * (5 << 20)]}).frame(1)
    with pytest.raises(InternalError):
        Request({"op": "call", "args": [object()]})


def equal_hashes(count: int) -> bytes:
    """A dict of so many keys that all have one hash: -1 and -2 do, and so do tuples of them."""
    keys = ([-1 - (n >> bit & 1) for bit in range(16)] for n in range(count))
    assert len({hash(tuple(-1 - (n >> bit & 1) for bit in range(16))) for n in range(100)}) == 1
    pairs = [[{"$tuple": key}, 0] for key in keys]
    return json.dumps({"value": {"$dict": pairs}}).encode()


def test_a_dict_that_would_take_its_square_is_not_built() -> None:
    with pytest.raises(BadFrame, match="too many entries"):
        decode.reply(equal_hashes(2_001), b"")
    assert len(decode.reply(equal_hashes(2_000), b"").value) == 2_000


def test_data_without_room_is_dropped_and_the_next_frame_found() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        reader = FrameReader()
        reader.room = lambda: 2 << 20
        data = bytes(3 << 20)
        feeder = threading.Thread(target=theirs.sendall, args=(whole({"value": 1}, data) + whole(GOOD, bytes(8)),))
        feeder.start()
        found: list[Any] = []
        while len(found) < 2:
            select.select([ours], [], [], 10)
            if (frame := reader.read(ours)) is not None:
                found.append(frame)
        feeder.join()
    assert found[0] == (7, b'{"value": 1}', None)
    assert found[1] == (7, json.dumps(GOOD).encode(), bytes(8))
    assert decode.reply(b"", None).value == Refused("too_large", "far more data than is expected")
