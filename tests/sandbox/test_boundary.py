"""Hostile submissions on real labs earn no more than their honest twins: a third of them, each in one mode.

All of them in all modes: `python -m tests.sandbox.boundary`, which also makes the table of docs/security.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from . import boundary
from .boundary import MODES, Graders, Pair

PAIRS = boundary.pairs()
# Every third by name, each lab in one mode, since every kind of sandbox costs seconds to start.
MODE_OF = {"lab01": "full", "lab02": "none", "lab03": "no bwrap", "lab06": "no bwrap", "lab10": "full"}
SHORT = [(pair, MODE_OF[pair.lab] if MODE_OF[pair.lab] in pair.modes else "full") for pair in PAIRS[1::3]]


@pytest.fixture(scope="module")
def graders() -> Iterator[Graders]:
    with Graders() as graders:
        yield graders


@pytest.mark.parametrize(("pair", "mode"), SHORT, ids=[f"{pair.name}, {mode}" for pair, mode in SHORT])
def test_an_attack_earns_no_more_than_its_twin(graders: Graders, pair: Pair, mode: str) -> None:
    tried = graders.try_pair(pair, mode)
    assert list(tried.faults(graders.course.lab(pair.lab))) == []


def test_the_short_form_tries_every_mode_and_lab() -> None:
    assert {mode for _, mode in SHORT} == set(MODES)
    assert {pair.lab for pair, _ in SHORT} == {pair.lab for pair in PAIRS}


def test_the_corpus_is_there_and_the_table_names_just_its_files() -> None:
    assert len(PAIRS) >= 30
    assert boundary.written() == [pair.name for pair in PAIRS]
    assert {pair.name for pair in PAIRS if "on the desk" in pair.flags} == set(boundary.DESKS)


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
def test_the_two_editions_differ_by_the_trick_alone(pair: Pair) -> None:
    if "on the desk" in pair.flags:
        assert pair.twin == pair.text
        return
    twin, attack = ast.dump(ast.parse(pair.twin)), ast.dump(ast.parse(pair.text))
    assert twin != attack and "trick" not in pair.twin
    assert "quiet" in pair.flags or (boundary.PLACED in pair.text and boundary.PLACED not in pair.twin)
