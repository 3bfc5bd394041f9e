"""How a call is written down: its arguments by name, and when there have been too many. Used by both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def by_name(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by the names of the parameters that take them, as the judge knows them."""
    named = {names[i] if i < len(names) else f"argument {i + 1}": value for i, value in enumerate(args)}
    return named | dict(kwargs)


def too_many(calls: int) -> str:
    """Return the sentence for a model that was called more than `calls` times."""
    return (
        f"stopped: the model was called more than {calls} times, which no right code needs. Where does your loop end?"
    )
