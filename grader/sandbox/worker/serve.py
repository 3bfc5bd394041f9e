"""The worker's loop: loads the public scenarios and one source file, answers calls, one frame each way.

From the moment a source is loaded nothing in this process is trusted; the judge takes its answers as data.
"""

from __future__ import annotations

import builtins
import linecache
import mmap
import os
import sys
import time
from types import ModuleType
from typing import Any, NoReturn

from . import frames
from .calls import by_name
from .codec import Encoder, decode, refused, tensors
from .errors import describe
from .inputs import Inputs
from .output import Output
from .shared import Layout
from .witness import Elsewhere, Here, StandIn, TooManyCalls, Witnessed, answer, facts, raised

CHANNEL, STDOUT = 3, 1

_exit, _clock = os._exit, time.perf_counter


class Undefined(Exception):
    """The request names something that the source does not define."""


def leave(code: object = None) -> NoReturn:
    """End the program, as `exit` and `quit` do in any Python."""
    raise SystemExit(code)


class Worker:
    """What has been loaded, and how it is called."""

    def __init__(self, channel: int | None = None, region: mmap.mmap | None = None) -> None:
        """Start with nothing loaded; `channel` is where a model that is elsewhere is asked.

        `region` is memory that the judge sees, where inputs are laid if a request says at which byte.
        """
        self._channel = channel
        self._region = region
        self._made: dict[str, Any] = {}  # where the inputs of the last call lie, and what they held
        self.models: dict[str, Any] = {}
        self.submission: ModuleType | None = None
        self.scenarios: ModuleType | None = None
        self.filename = ""
        self.lines: list[str] = []
        self.left_at: int | None = None  # the line of an exit() that ended the submission's file

    def load(self, name: str, role: str, source: bytes) -> None:
        """Run a source file as a module of its own; exit() ends it there, as it ends a script."""
        if role == "submission":
            self.filename = name
            self.lines = source.decode("utf-8", "replace").splitlines()
            self.left_at = None
        # Dataclasses and typing look a class's module up in sys.modules, so it stands there under its own name.
        module = ModuleType(name.removesuffix(".py"))
        module.__file__ = name
        text = source.decode("utf-8", "replace")
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        code = compile(source, name, "exec", dont_inherit=True)
        sys.modules[module.__name__] = module
        try:
            exec(code, module.__dict__)
        except SystemExit as left:
            if role != "submission":
                raise
            self.left_at = describe(left, self.filename, self.lines)["line"]
        if role == "submission":
            self.submission = module
        else:
            self.scenarios = module

    def call(self, request: dict[str, Any], data: bytes, encoder: Encoder, sequence: int) -> dict[str, Any]:
        """Call one function of the submission, or play one scenario with it."""
        here: dict[str, Here] = {}
        literals = tensors(request.get("tensors", []), data)
        args = [decode(item, literals) for item in request.get("args", [])]
        kwargs = {name: decode(item, literals) for name, item in request.get("kwargs", {}).items()}
        layout = None
        if "at" in request or request.get("describe"):
            layout = Layout(self._region if "at" in request else None, request.get("at", 0))
            names = request.get("names", [])
            laid = {name: layout.value(name, value) for name, value in by_name(names, args, kwargs).items()}
            kwargs = {name: laid.pop(name) for name in kwargs}
            args = list(laid.values())
            self._made = layout.described() if request.get("describe") else {}
        if request["op"] == "play":
            function = self._named(self.scenarios, "scenarios.py", request["scenario"], None)
            named = kwargs
            here = {name: Here(self._built(value), value.calls) for name, value in _of(Witnessed, kwargs)}
            stand_ins = {name: StandIn(made.known, made) for name, made in here.items()}
            away = {name: StandIn(value.known, self._away(value, sequence)) for name, value in _of(Elsewhere, kwargs)}
            kwargs |= stand_ins | away
            args = [self.submission, *args]
        else:
            function = self._named(self.submission, self.filename, request["function"], self.left_at)
            named = by_name(request.get("names", []), args, kwargs)
        inputs = Inputs(named, layout.holds) if layout else Inputs(named)
        start = _clock()
        result = function(*args, **kwargs)
        seconds = _clock() - start
        for made in here.values():  # code may catch the exception, and is refused all the same
            if made.refused:
                raise TooManyCalls(made.refused)
        moved = inputs.global_rng_moved()
        return {
            "value": encoder.value(result),
            "changed": inputs.changed(encoder),
            "untouched": inputs.untouched(),
            "next_draw": inputs.next_draw(),
            "global_rng_moved": moved,
            "calls": encoder.value({name: made.log for name, made in here.items()}),
            "tensors": encoder.table,
            "seconds": seconds,
        }

    def _built(self, wanted: Witnessed) -> Any:
        return self._named(self.scenarios, "scenarios.py", wanted.builder, None)(**wanted.kwargs)

    def _away(self, model: Elsewhere, sequence: int) -> Any:
        """Return what asks the judge for a model's answer while it waits for this process's own."""

        def ask(args: tuple[Any, ...], kwargs: dict[str, Any], grad: bool) -> Any:
            assert self._channel is not None
            encoder = Encoder()
            given = encoder.value((args, kwargs, grad))
            frames.send(
                self._channel, sequence, {"call": model.name, "given": given, "tensors": encoder.table}, encoder.chunks
            )
            received = frames.receive(self._channel)
            if received is None:
                _exit(0)
            _, response, data = received
            literals = tensors(response.get("tensors", []), data)
            found = [decode(item, literals) for item in response["args"]]
            if response["op"] == "raised":
                raise raised(*found)
            return found[0]

        return ask

    def build(self, request: dict[str, Any], data: bytes, encoder: Encoder) -> dict[str, Any]:
        """Build the models of a play, in the process that only plays models; return what stand-ins show of them."""
        literals = tensors(request.get("tensors", []), data)
        wanted = {name: decode(item, literals) for name, item in request["kwargs"].items()}
        Inputs({})  # the global random state, as before every call
        self.models = {name: self._built(value) for name, value in wanted.items()}
        known = {name: facts(model) for name, model in self.models.items()}
        return {"value": encoder.value(known), "tensors": encoder.table}

    def forward(self, request: dict[str, Any], data: bytes, encoder: Encoder) -> dict[str, Any]:
        """Return what a model that was built here answers."""
        literals = tensors(request.get("tensors", []), data)
        args = [decode(item, literals) for item in request["args"]]
        kwargs = {name: decode(item, literals) for name, item in request["kwargs"].items()}
        found = answer(self.models[request["model"]], args, kwargs, grad=request["grad"])
        return {"value": encoder.value(found), "tensors": encoder.table}

    @staticmethod
    def _named(module: ModuleType | None, filename: str, name: str, left_at: int | None) -> Any:
        if module is None or name not in module.__dict__:
            early = f": the file ends at line {left_at}, before it" if left_at else ""
            raise Undefined(f"{filename} defines no {name}{early}")
        return module.__dict__[name]

    def answer(self, request: dict[str, Any], data: bytes, encoder: Encoder, sequence: int = 0) -> dict[str, Any]:
        """Do what a request asks; whatever student code raises is part of the answer."""
        try:
            match request["op"]:
                case "load":
                    self.load(request["name"], request["role"], data)
                    return {"value": None}
                case "build":
                    return self.build(request, data, encoder)
                case "forward":
                    return self.forward(request, data, encoder)
            found = self.call(request, data, encoder, sequence)
        except BaseException as error:
            encoder.table.clear()
            encoder.chunks.clear()
            found = {"error": describe(error, self.filename, self.lines)}
        if request.get("describe"):
            found["made"] = self._made
        return found


def _of(kind: type, named: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in named.items() if type(value) is kind]


def serve(channel: int, report: dict[str, Any], region: mmap.mmap | None = None) -> None:
    """Say that the worker is up and which layers hold it, then answer until the judge hangs up. Never returns."""
    worker = Worker(channel, region)
    output = Output(STDOUT)
    sys.stdout, sys.stderr = output.stream("surrogateescape"), output.stream("backslashreplace")
    builtins.exit = builtins.quit = leave  # type: ignore[assignment]  # the module that makes them is not loaded here
    frames.send(channel, 0, {"up": report})
    while True:
        received = frames.receive(channel)
        if received is None:
            _exit(0)
        sequence, request, data = received
        encoder = Encoder()
        found = worker.answer(request, data, encoder, sequence)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException:  # the student closed or replaced it; what was printed is lost, the answer is not
                continue
        output.answered()
        try:
            frames.send(channel, sequence, found, encoder.chunks)
        except (frames.BadFrame, ValueError, TypeError, RecursionError):
            frames.send(channel, sequence, {"value": refused("too_large", "more data than fits into an answer")})
