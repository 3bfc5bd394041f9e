"""What a student is told of an exception: its type, its words, and the lines of their own file. Runs in the worker."""

from __future__ import annotations

from typing import Any

from .codec import module_of, name_of, true_types

MAX_FRAMES = 8
MAX_MESSAGE = 4000
MAX_CODE = 200


def describe(error: BaseException, filename: str, lines: list[str]) -> dict[str, Any]:
    """Return type, message, the student's own frames (outermost first, the last few) and the line to look at.

    `bases` are Python's own exceptions that a type of somebody else's is derived from: `class X(ValueError)` is one.
    """
    frames = _frames(error, filename, lines)
    syntax = _syntax(error, filename)
    message, line = syntax if syntax is not None else (_message(error), frames[-1]["line"] if frames else None)
    kinds = true_types(error)
    own = [] if module_of(kinds[0]) == "builtins" else [kind for kind in kinds[1:] if module_of(kind) == "builtins"]
    return {
        "type": name_of(kinds[0]),
        "bases": [name_of(kind) for kind in own],
        "message": message[:MAX_MESSAGE],
        "frames": frames,
        "line": line,
    }


def _syntax(error: BaseException, filename: str) -> tuple[str, int | None] | None:
    """Return message and line of an error in the student's own syntax, which has no frame there."""
    if type(error) not in (SyntaxError, IndentationError, TabError):
        return None
    assert isinstance(error, SyntaxError)
    if error.filename != filename or type(error.msg) is not str or type(error.lineno) is not int:
        return None
    return error.msg, error.lineno


def _message(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except BaseException:
        return "(its message cannot be shown: __str__ raised)"


def _frames(error: BaseException, filename: str, lines: list[str]) -> list[dict[str, Any]]:
    found = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_filename == filename:
            number = step.tb_lineno
            text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
            found.append({"line": number, "function": code.co_name[:80], "code": text[:MAX_CODE]})
        step = step.tb_next
    return found[-MAX_FRAMES:]
