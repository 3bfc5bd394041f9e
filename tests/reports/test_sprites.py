import math

import numpy as np
import pytest

from fixtures.sprites import COLOURS, SHAPES, mask, sprite


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_shape_type_and_range(shape, colour):
    picture = sprite(shape, colour)
    assert picture.shape == (3, 32, 32) and picture.dtype == np.float32
    assert picture.min() >= -1 and picture.max() <= 1
    assert np.allclose(picture[:, 16, 8 if shape == "ring" else 16], np.array(COLOURS[colour]) * 2 - 1, atol=0.5)
    assert np.allclose(picture[:, 0, 0], 0.08 * 2 - 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_mirror_symmetry(shape):
    drawn = mask(shape)
    assert np.array_equal(drawn, drawn[:, ::-1])
    if shape != "triangle":
        assert np.array_equal(drawn, drawn[::-1]) and np.array_equal(drawn, drawn.T)


@pytest.mark.parametrize("r", [0.3, 0.5, 0.8])
def test_areas(r):
    pixels = 32 * 32 / 4  # a unit of area, in pixels
    assert mask("circle", r=r).sum() == pytest.approx(math.pi * r**2 * pixels, rel=0.01)
    assert mask("ring", r=r).sum() == pytest.approx(math.pi * r**2 * (1 - 0.55**2) * pixels, rel=0.02)
    assert mask("square", r=r).sum() == pytest.approx((1.7 * r) ** 2 * pixels, rel=0.06)
    # Height 1.75, base 1.75 / 0.9.
    assert mask("triangle", r=r).sum() == pytest.approx(1.75 * 1.75 / 1.8 * r**2 * pixels, rel=0.04)


def test_moving_the_centre_moves_the_picture():
    step = 2 / 32  # one pixel
    assert np.array_equal(mask("circle", cx=4 * step, cy=2 * step), np.roll(mask("circle"), (2, 4), axis=(0, 1)))


def test_refusals_name_what_exists():
    with pytest.raises(ValueError, match="the shapes are circle, square"):
        sprite("star", "red")
    with pytest.raises(ValueError, match="the colours are red, green"):
        sprite("circle", "mauve")
    with pytest.raises(ValueError, match="radius above 0"):
        sprite("circle", "red", r=0)
