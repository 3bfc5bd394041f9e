"""What a student reads where the code raised, crashed or hung; of a hidden check nothing that the code could word."""

from __future__ import annotations

import builtins

from grader.checking.calls import Call
from grader.sandbox.client import Error
from grader.sandbox.view import ROOTS, Profile

ALONE = "The grader sees this one file alone"


def error_sentence(error: Error, visible: bool, libraries: Profile, call: Call | None = None) -> str:
    """Return the sentence; `libraries` is what the lab's files may import, `call` what was asked, if anything was."""
    if error.kind == "protocol" and not visible:
        return "Your code sent something that is not an answer."
    if error.kind != "raised":
        return error.message
    if error.type == "Undefined":  # the worker's own: what is asked for was not there when the file had run
        return _ended(error.message) if visible else "Your file does not get as far as the function that is asked for."
    return f"{_raised(error, visible, call)} {_advice(error, libraries)}".rstrip()


def _raised(error: Error, visible: bool, call: Call | None) -> str:
    told = error.type if visible or _is_builtin(error.type) else "an exception"
    message = error.message.strip() if visible else ""
    if call is not None and call.request["op"] == "play" and not error.frames:
        # Whatever the scenario did, it did it with what the student's code had given or left behind.
        said = f": {_ended(message)}" if message else "."
        return f"None of your lines ran when {told} was raised, but what the check does with your answers{said}"
    return _ended(f"{told}: {message}") if message else f"Your code raised {told}."


def _ended(text: str) -> str:
    """Return the text as a sentence that another can follow."""
    return text if text.endswith((".", "!", "?")) or "\n" in text else f"{text}."


def _advice(error: Error, libraries: Profile) -> str:
    relative = error.type == "ImportError" and "relative import" in error.message
    if error.type == "ModuleNotFoundError" or relative:
        names = ["the standard library", *ROOTS[libraries]]
        known = f"{', '.join(names[:-1])} and {names[-1]}"
        return f'{ALONE}, and it may import {known}. What stands below `if __name__ == "__main__":` is not run.'
    if error.type in ("FileNotFoundError", "PermissionError", "NotADirectoryError"):
        return f"{ALONE}: there is no other file that it could open."
    return ""


def _is_builtin(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)
