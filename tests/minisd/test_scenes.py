"""Scenes are what their captions say, and drawn as `fixtures.sprites` draws them."""

from dataclasses import replace

import numpy as np
import pytest

from fixtures import scenes
from fixtures.minisd.model import TOKENS, VOCABULARY, tokenize
from fixtures.scenes import COLOUR_NAMES, ONE
from fixtures.sprites import SHAPES, mask, sprite


@pytest.fixture(scope="module")
def made():
    return scenes.sample(300, np.random.default_rng(4))


def test_one_sprite_is_drawn_as_sprites_draws_it(made):
    one = made[made.layout == ONE]
    drawn = scenes.draw(one)
    for i in range(40):
        kind, colour = SHAPES[one.shape[i, 0]], COLOUR_NAMES[one.colour[i, 0]]
        place = {"cx": one.cx[i, 0], "cy": one.cy[i, 0], "r": one.r[i, 0]}
        expected = sprite(kind, colour, **place, background=one.background[i])
        # 3 samples along a pixel's side instead of 8: a pixel on a rim differs by up to a third of its cover.
        assert np.abs(drawn[i] - expected).mean() < 0.02
        assert np.abs(drawn[i] - expected).max() < 2 / 3


def test_the_caption_s_first_thing_lies_where_the_caption_says(made):
    for i, text in enumerate(scenes.captions(made)):
        words = text.split()
        shape, colour = SHAPES.index(words[2]), COLOUR_NAMES.index(words[1])
        if len(words) == 3:
            assert made.layout[i] == ONE and (made.shape[i, 0], made.colour[i, 0]) == (shape, colour)
            continue
        slot = int(made.turned[i])
        assert (made.shape[i, slot], made.colour[i, slot]) == (shape, colour)
        axis, sign = {"left": ("cx", -1), "right": ("cx", 1), "above": ("cy", -1), "below": ("cy", 1)}[words[3]]
        assert np.sign(getattr(made, axis)[i, slot]) == sign == -np.sign(getattr(made, axis)[i, 1 - slot])


def test_every_caption_is_in_the_vocabulary_and_every_word_is_used(made):
    used = {word for text in scenes.captions(scenes.sample(3000, np.random.default_rng(1))) for word in text.split()}
    assert used == set(VOCABULARY[1:])
    tokens = tokenize(["", *scenes.captions(made)])
    assert tokens.shape == (301, TOKENS) and not tokens[0].any()
    assert " ".join(VOCABULARY[t] for t in tokens[1].tolist()).strip() == scenes.captions(made)[0]


def test_a_word_that_nobody_taught_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="no word 'pink'; the words are a, an, red"):
        tokenize(["a pink circle"])
    with pytest.raises(ValueError, match="9 words; 8 is the most"):
        tokenize(["a a a a a a a a a"])


def test_outlines_and_edges_lie_in_their_shapes_and_leave_the_middle_free(made):
    cover, edges = scenes.masks(made), scenes.edges(made)
    assert (edges <= cover + 1e-6).all() and (edges.sum(axis=(1, 2)) < cover.sum(axis=(1, 2))).all()
    hollow = scenes.draw(replace(made, outlined=np.ones(len(made), dtype=bool)))
    painted, ground = scenes.draw(made), made.background[:, None, None] * 2 - 1
    squares = (made.layout == ONE) & (made.shape[:, 0] == SHAPES.index("square"))
    for i in np.flatnonzero(squares):
        x, y = (int((made.cx[i, 0] + 1) * 16), int((made.cy[i, 0] + 1) * 16))
        assert np.allclose(hollow[i, :, y, x], ground[i]) and not np.allclose(painted[i, :, y, x], ground[i])


def test_sprites_of_a_pair_do_not_touch(made):
    for i in np.flatnonzero(made.layout != ONE)[:60]:
        first, second = (
            mask(SHAPES[made.shape[i, s]], cx=made.cx[i, s], cy=made.cy[i, s], r=made.r[i, s]) > 0 for s in (0, 1)
        )
        assert not (first & second).any()
