"""Pictures of lab 01, drawn in the judge from answers of public calls."""

from typing import Any

import numpy as np

from fixtures.sprites import sprite
from grader.kit import (
    Chart,
    ImageGrid,
    array,
    error_images,
    figure,
    linear_betas,
    ones,
    randn,
    tensor,
    to_images,
    zeros,
)

TIMESTEPS = [0, 100, 250, 450, 700, 999]
LEVELS = list(range(0, 1000, 37))
PICTURE_SEED = 7


def comparable(yours: Any, reference: Any) -> bool:
    """Say whether the student's answer is a tensor of the reference's shape, so that it can be drawn."""
    return yours is not None and getattr(yours, "shape", None) == reference.shape


@figure("add_noise")
def one_sprite_at_six_noise_levels(play) -> ImageGrid:
    """One sprite, the same noise, six timesteps."""
    x0 = np.stack([sprite("circle", "yellow")] * len(TIMESTEPS))
    noise = randn(PICTURE_SEED, 1, 3, 32, 32).expand(*x0.shape)
    yours, reference = play.call("add_noise", array(x0), noise, tensor(TIMESTEPS), linear_betas(1000))
    rows = [("reference", to_images(reference.array))]
    if comparable(yours, reference):
        rows.append(("yours", to_images(yours.array)))
        rows.append(("|error|, 0 to 1", error_images(yours.array, reference.array, 1.0)))
    return ImageGrid(
        title="One sprite at six noise levels",
        caption="The same sprite and the same noise in every column; only t differs. Errors are on a fixed scale.",
        alt="A yellow circle that fades into noise from left to right, by the reference and by your add_noise.",
        columns=[f"t = {t}" for t in TIMESTEPS],
        rows=rows,
    )


@figure("add_noise")
def the_two_factors(play) -> Chart:
    """How much of x0 and how much noise x_t holds: a sample of ones without noise, and the other way round."""
    t, betas = tensor(LEVELS), linear_betas(1000)
    one, nothing = ones(len(LEVELS), 1), zeros(len(LEVELS), 1)
    series = []
    for name, x0, noise in (("x0", one, nothing), ("noise", nothing, one)):
        yours, reference = play.call("add_noise", x0, noise, t, betas)
        series.append((f"factor of {name}", "reference", points(reference)))
        if comparable(yours, reference):
            series.append((f"your factor of {name}", "yours", points(yours)))
    return Chart(
        title="The two factors over the schedule",
        caption="Signal fades as noise grows; at every t the squares of the two factors add up to one.",
        alt="Two curves over t: the factor of x0 falls from one to nearly zero, the factor of the noise rises to one.",
        x_label="timestep t",
        y_label="factor",
        series=series,
    )


def points(values: Any) -> list[tuple[float, float]]:
    """Return (t, factor) for each level."""
    return [(float(t), float(y)) for t, y in zip(LEVELS, values.array[:, 0], strict=True)]
