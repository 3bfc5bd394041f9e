"""Answers decoded and checked. Runs in the judge; every byte here was chosen by a student's process.

Whatever is not exactly what the format allows is a BadFrame: data about the submission, never an error of ours.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from grader.sandbox.values import Dtype, Refused, Tensor
from grader.sandbox.worker.frames import BadFrame
from grader.text import printable

ITEM_SIZES = {
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
}
MAX_DEPTH = 40
MAX_LEAVES = 60_000
MAX_TENSORS = 20_000
MAX_DIMENSIONS = 32
MAX_ELEMENTS = 1 << 50
MAX_PARTS = 600_000  # brackets and commas of the JSON text: 50,000 values and 20,000 tensors have fewer
MAX_DIGITS = 20
MAX_TEXT = 100_000
MAX_ENTRIES = 2_000  # of all dicts of an answer: keys may be made to have equal hashes, which costs their square
MAX_NAMES = 1000
MAX_NAME = 100
MAX_MESSAGE = 4000
MAX_CODE = 200
MAX_FRAMES = 16


class Frame(NamedTuple):
    """One line of the student's own file in a traceback."""

    line: int
    function: str
    code: str


@dataclass(frozen=True)
class Raised:
    """An exception as the worker described it."""

    type: str
    message: str
    frames: tuple[Frame, ...]
    line: int | None
    bases: tuple[str, ...] = ()  # Python's own exceptions that it is derived from


class MadeTensor(NamedTuple):
    """An input as it was made: where it begins, counted from the first, how it is read, a digest of its values."""

    name: str
    at: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    digest: str


class Made(NamedTuple):
    """The inputs of one call as they were made: how many bytes all take, the digest of those, and each of them."""

    bytes: int
    digest: str
    tensors: tuple[MadeTensor, ...]


@dataclass(frozen=True)
class Reply:
    """One decoded answer frame."""

    value: Any
    changed: dict[str, Any]
    next_draw: dict[str, float]
    untouched: tuple[str, ...]
    global_rng_moved: bool
    seconds: float
    raised: Raised | None
    calls: dict[str, Any] = field(default_factory=dict)
    made: Made | None = None


def message(text: bytes) -> dict[str, Any]:
    """Return the JSON object of a frame. What would take long or much memory to build is not begun."""
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_PARTS:
        raise BadFrame("it has too many parts")
    try:
        found = json.loads(text, parse_int=_whole, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadFrame("it is not JSON") from None
    if type(found) is not dict:
        raise BadFrame("it is not an object")
    return found


def _whole(digits: str) -> int:
    # No answer of an honest worker is longer: beyond 64 bits it refuses by itself.
    if len(digits) > MAX_DIGITS:
        raise BadFrame("a whole number is too large")
    return int(digits)


def _no_constant(name: str) -> float:
    raise BadFrame(f"{name} is no JSON")


@dataclass(frozen=True)
class ModelCall:
    """A call that a submission makes to a model of another process."""

    model: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    grad: bool
    bytes: int


def is_model_call(text: bytes) -> bool:
    """Tell whether a frame asks for a model's answer in place of giving one."""
    return text.startswith(b'{"call":')


def model_call(text: bytes, data: bytes | memoryview | None) -> ModelCall:
    """Return a checked call of a model."""
    if data is None:
        raise BadFrame("it gives a model far more data than the check has")
    asked = message(text)
    given = _Values(_tensors(asked.get("tensors", []), data)).value(asked.get("given"))
    if type(given) is not tuple or len(given) != 3 or type(given[0]) is not tuple or type(given[1]) is not dict:
        raise BadFrame("its call of a model is malformed")
    args, kwargs, grad = given
    if len(args) > MAX_NAMES or not all(type(name) is str and name.isidentifier() for name in kwargs):
        raise BadFrame("its call of a model is malformed")
    return ModelCall(_text(asked.get("call"), MAX_NAME), args, kwargs, grad is True, len(data))


def reply(text: bytes, data: bytes | memoryview | None) -> Reply:
    """Return a checked answer; without `data` it was larger than it may be, and is refused as a whole."""
    if data is None:
        return Reply(Refused("too_large", "far more data than is expected"), {}, {}, (), False, 0.0, None)
    answer = message(text)
    if "error" in answer:
        if data:
            raise BadFrame("an error came with data")
        return Reply(None, {}, {}, (), False, 0.0, _raised(answer["error"]), made=_made(answer.get("made")))
    values = _Values(_tensors(answer.get("tensors", []), data))
    changed, drawn = answer.get("changed", {}), answer.get("next_draw", {})
    if type(changed) is not dict or type(drawn) is not dict or len(changed) + len(drawn) > MAX_NAMES:
        raise BadFrame("its notes on the inputs are malformed")
    return Reply(
        value=values.value(answer.get("value")),
        changed={printable(name, MAX_NAME): values.value(item) for name, item in changed.items()},
        next_draw={printable(name, MAX_NAME): _number(item) for name, item in drawn.items()},
        untouched=_names(answer.get("untouched", [])),
        global_rng_moved=answer.get("global_rng_moved") is True,
        seconds=_number(answer.get("seconds", 0.0)),
        raised=None,
        calls=_calls(values.value(answer.get("calls", {"$dict": []}))),
        made=_made(answer.get("made")),
    )


def _made(value: Any) -> Made | None:
    if value is None:
        return None
    rows = value.get("rows") if type(value) is dict else None
    if type(rows) is not list or len(rows) > MAX_NAMES or not all(type(row) is dict for row in rows):
        raise BadFrame("its description of the inputs is malformed")
    (total, *starts) = _whole_numbers([value.get("bytes"), *(row.get("at") for row in rows)], MAX_NAMES + 1)
    tensors = []
    for row, start in zip(rows, starts, strict=True):
        if row.get("dtype") not in ITEM_SIZES:
            raise BadFrame("its description of the inputs is malformed")
        shape, strides = _whole_numbers(row.get("shape")), _whole_numbers(row.get("strides"))
        if len(shape) != len(strides):
            raise BadFrame("its description of the inputs is malformed")
        name, digest = _text(row.get("name"), MAX_NAME), _text(row.get("digest"), MAX_NAME)
        tensors.append(MadeTensor(name, start, row["dtype"], shape, strides, digest))
    return Made(total, _text(value.get("digest"), MAX_NAME), tuple(tensors))


def _calls(value: Any) -> dict[str, Any]:
    if isinstance(value, Refused):  # the value has filled the answer
        return {}
    if type(value) is not dict or not all(type(name) is str and type(log) is list for name, log in value.items()):
        raise BadFrame("its list of calls is malformed")
    return value


def _number(value: Any) -> float:
    if type(value) is dict:
        value = _special(value)
    if type(value) not in (int, float):
        raise BadFrame("a number is missing")
    try:
        return float(value)
    except OverflowError:
        raise BadFrame("a number is too large") from None


def _special(value: dict[str, Any]) -> float:
    if set(value) == {"$float"} and value["$float"] in ("nan", "inf", "-inf"):
        return float(value["$float"])
    raise BadFrame("a number is malformed")


def _text(value: Any, limit: int) -> str:
    if type(value) is not str:
        raise BadFrame("a text is missing")
    return printable(value, limit)


def _names(values: Any) -> tuple[str, ...]:
    if type(values) is not list or len(values) > MAX_NAMES:
        raise BadFrame("a list of names is malformed")
    return tuple(_text(value, MAX_NAME) for value in values)


def _line(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 1 << 31 else None


def _raised(error: Any) -> Raised:
    if type(error) is not dict or type(error.get("frames", [])) is not list:
        raise BadFrame("its error is malformed")
    steps = []
    for step in error.get("frames", [])[-MAX_FRAMES:]:
        if type(step) is not dict or _line(step.get("line")) is None:
            raise BadFrame("its traceback is malformed")
        steps.append(Frame(step["line"], _text(step.get("function"), MAX_NAME), _text(step.get("code"), MAX_CODE)))
    return Raised(
        type=_text(error.get("type"), MAX_NAME),
        message=_text(error.get("message"), MAX_MESSAGE),
        frames=tuple(steps),
        line=_line(error.get("line")),
        bases=_names(error.get("bases", [])),
    )


def _tensors(table: Any, data: bytes | memoryview) -> list[Tensor]:
    if type(table) is not list or len(table) > MAX_TENSORS:
        raise BadFrame("its table of tensors is malformed")
    made, offset = [], 0
    for row in table:
        if type(row) is not dict:
            raise BadFrame("a tensor is malformed")
        tensor, offset = _tensor(row, data, offset)
        made.append(tensor)
    if offset != len(data):
        raise BadFrame("its tensors do not use up its bytes")
    return made


def _tensor(row: dict[str, Any], data: bytes | memoryview, offset: int) -> tuple[Tensor, int]:
    dtype, device, size = row.get("dtype"), row.get("device"), row.get("nbytes")
    shape, strides = _whole_numbers(row.get("shape")), _whole_numbers(row.get("strides"))
    if type(dtype) is not str or dtype not in ITEM_SIZES or device not in ("cpu", "meta", "cuda"):
        raise BadFrame("a tensor has an unknown dtype or device")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS or type(size) is not int:
        raise BadFrame("a tensor's shape is malformed")
    if math.prod(max(length, 1) for length in shape) > MAX_ELEMENTS:
        raise BadFrame("a tensor is larger than any memory")
    expected = 0 if device == "meta" else math.prod(shape) * ITEM_SIZES[dtype]
    if size != expected or offset + size > len(data):
        raise BadFrame("a tensor's bytes do not fit its shape")
    array = None if device == "meta" else _array(dtype, shape, data, offset)
    return Tensor(array, dtype, shape, strides, str(device), row.get("requires_grad") is True), offset + size


def _whole_numbers(values: Any, most: int = MAX_DIMENSIONS) -> tuple[int, ...]:
    if (
        type(values) is not list
        or len(values) > most
        or any(type(v) is not int or not 0 <= v <= MAX_ELEMENTS for v in values)
    ):
        raise BadFrame("a tensor's shape is malformed")
    return tuple(values)


def _array(dtype: str, shape: tuple[int, ...], data: bytes | memoryview, offset: int) -> Any:
    import numpy as np

    kind = kind_of(dtype)
    count = math.prod(shape)
    flat = np.frombuffer(data, kind, count, offset) if count else np.empty(0, kind)
    if dtype == "bool":  # any byte may have come; numpy expects 0 or 1
        flat = flat != 0
    return flat.reshape(shape)


def kind_of(dtype: str) -> Any:
    """Return numpy's dtype for the bytes of a torch dtype; of booleans one byte each, which may be any."""
    import numpy as np

    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype("uint8" if dtype == "bool" else dtype)


class _Values:
    """Decodes the values of one answer, counting them."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._leaves = 0
        self._entries = 0

    def value(self, value: Any, depth: int = 0) -> Any:
        self._leaves += 1
        if depth > MAX_DEPTH or self._leaves > MAX_LEAVES:
            raise BadFrame("its value is too deep or too large")
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int:
            if not -(1 << 63) <= value < 1 << 64:
                raise BadFrame("a whole number is too large")
            return value
        if type(value) is str:
            if len(value) > MAX_TEXT:
                raise BadFrame("a text is too long")
            return value.encode("utf-8", "replace").decode()
        if type(value) is list:
            return [self.value(item, depth + 1) for item in value]
        if type(value) is not dict or len(value) != 1:
            raise BadFrame("a value is malformed")
        ((tag, body),) = value.items()
        return self._tagged(tag, body, depth)

    def _tagged(self, tag: str, body: Any, depth: int) -> Any:
        match tag, body:
            case "$tensor", int() if type(body) is int and 0 <= body < len(self._tensors):
                return self._tensors[body]
            case "$tuple", list():
                return tuple(self.value(item, depth + 1) for item in body)
            case "$dict", list():
                return self._dict(body, depth)
            case "$float", "nan" | "inf" | "-inf":
                return float(body)
            case "$dtype", str():
                return Dtype(printable(body, MAX_NAME))
            case "$refused", {"kind": str(kind), "says": str(says)}:
                return Refused(printable(kind, MAX_NAME), printable(says, MAX_CODE))
            case "$foreign", str():
                return Refused("foreign", f"a {printable(body, MAX_NAME)}, not a torch tensor or a plain number")
        raise BadFrame("a value is malformed")

    def _dict(self, pairs: list[Any], depth: int) -> dict[Any, Any]:
        self._entries += len(pairs)
        if self._entries > MAX_ENTRIES:
            raise BadFrame("its dicts have too many entries")
        made: dict[Any, Any] = {}
        for pair in pairs:
            if type(pair) is not list or len(pair) != 2:
                raise BadFrame("a dict is malformed")
            key = self.value(pair[0], depth + 1)
            if not isinstance(key, str | int | float | bool | tuple | Dtype | Refused | None):
                raise BadFrame("a dict's key is not plain")
            try:
                made[key] = self.value(pair[1], depth + 1)
            except TypeError:  # a tuple with a list in it
                raise BadFrame("a dict's key is not plain") from None
        return made
