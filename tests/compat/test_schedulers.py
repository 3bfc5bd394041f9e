"""Seventy-five fingerprints of diffusers' schedulers: whichever moves in another release is named here."""

import pytest
import torch

from fixtures.recipes import golden_schedulers
from tests.labs import witness

# What diffusers hands to numpy in a way that numpy 2 deprecates, and what it deprecates itself, it still answers.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]

KEPT = witness.golden("schedulers")


def moved(name: str) -> list[str]:
    """Return which parts of a fingerprint are not what was recorded."""
    found = golden_schedulers.fingerprint(name)
    kept = {key.removeprefix(f"{name}/"): value for key, value in KEPT.items() if key.startswith(f"{name}/")}
    assert kept.keys() == found.keys()
    same = {key: torch.allclose(found[key], kept[key], rtol=2e-5, atol=2e-5) for key in kept}
    return [key for key, agrees in same.items() if not agrees]


def test_there_are_seventy_five_and_each_is_recorded():
    assert len(golden_schedulers.names()) == len(set(golden_schedulers.names())) == 75
    assert {key.rpartition("/")[0] for key in KEPT} == set(golden_schedulers.names())
    assert all(value.isfinite().all() for value in KEPT.values())


@pytest.mark.parametrize("name", golden_schedulers.names())
def test_a_scheduler_answers_as_it_did(name):
    assert moved(name) == []


def test_a_configuration_that_moved_would_be_heard(monkeypatch):
    configurations = golden_schedulers.CONFIGURATIONS["DDIMScheduler"]
    monkeypatch.setitem(configurations, "leading", {**configurations["leading"], "steps_offset": 2})
    assert "timesteps" in moved("DDIMScheduler/leading")
