"""What a call did to its inputs: tensors changed in place, generators drawn from, the global random state moved.

Runs in the worker. Copies are kept from before the call, but of tensors that the judge looks at itself (shared.py); of
those only the form is watched. A reader is told the parameter's name.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import torch

from .codec import Encoder, plain, true_types

GLOBAL_SEED = 1234

_Base, _Generator = torch._C.TensorBase, torch._C.Generator
_equal, _rand, _state = torch.equal, torch.rand, torch._C.Generator.get_state
# What torch.manual_seed does to the processor's generator. It would also tell every accelerator's, of which there is
# none here, and keep a formatted stack for each: most of what a small call takes.
_manual_seed = torch.default_generator.manual_seed
_global_state, _random_seed = torch.default_generator.get_state, random.seed


class Inputs:
    """The inputs of one call, watched from before it."""

    def __init__(self, named: dict[str, Any], seen: Callable[[Any], bool] = lambda tensor: False) -> None:
        """Keep a copy of every tensor among the inputs that the judge does not see; set the global random state."""
        self._seen = seen
        self._tensors: list[tuple[str, Any, Any]] = []
        self._forms: list[tuple[str, Any, Any]] = []
        self._generators: list[tuple[str, Any, Any]] = []
        for name, value in named.items():
            self._watch(name, value)
        _manual_seed(GLOBAL_SEED)
        _random_seed(GLOBAL_SEED)
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed(GLOBAL_SEED)
        self._state = _global_state()

    def _watch(self, name: str, value: Any) -> None:
        kinds = true_types(value)
        if _Base in kinds:
            bare = plain(value)
            if self._seen(value):
                self._forms.append((name, value, _form(bare)))
                return
            self._tensors.append((name, value, bare if bare.device.type == "meta" else bare.clone()))
        elif _Generator in kinds:
            self._generators.append((name, value, _state(value)))
        elif list in kinds or tuple in kinds:
            for index, item in enumerate(value):
                self._watch(f"{name}[{index}]", item)
        elif dict in kinds:
            for key, item in value.items():
                self._watch(f"{name}[{key!r}]", item)

    def global_rng_moved(self) -> bool:
        """Say whether the call drew from torch's global generator or seeded it."""
        return not _equal(self._state, _global_state())

    def changed(self, encoder: Encoder) -> dict[str, Any]:
        """Return the tensors that no longer hold what they held, encoded, by parameter name."""
        changed = [(name, tensor) for name, tensor, kept in self._tensors if not _same(plain(tensor), kept)]
        changed += [(name, tensor) for name, tensor, form in self._forms if _form(plain(tensor)) != form]
        return {name: encoder.value(tensor) for name, tensor in changed}

    def untouched(self) -> list[str]:
        """Return the names of the generators that nothing was drawn from; ask before `next_draw` draws."""
        return [name for name, generator, state in self._generators if _equal(_state(generator), state)]

    def next_draw(self) -> dict[str, float]:
        """Return the next uniform number of every generator among the inputs."""
        return {name: _rand((), generator=generator).item() for name, generator, _ in self._generators}


def _form(tensor: Any) -> tuple[Any, ...]:
    """Return where a tensor's values lie and how they are read."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _same(now: Any, kept: Any) -> bool:
    if now.shape != kept.shape or now.dtype != kept.dtype or now.device != kept.device:
        return False
    if now.device.type == "meta" or _equal(now, kept):
        return True
    nan = now.isnan() & kept.isnan()
    return bool(((now == kept) | nan).all())
