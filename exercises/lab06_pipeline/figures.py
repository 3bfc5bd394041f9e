"""Pictures of lab 06: how large the latents are on the way, and what the network believes the picture to be."""

from functools import cache
from itertools import product

import numpy as np

from fixtures.sprites import SHAPES, sprite
from grader.kit import Chart, ImageGrid, array, error_images, figure, randn, to_images

SEED = 20
STEPS = 6
NAMES = {"ddim": "DDIM", "dpm": "DPM-Solver++", "euler_linspace": "Euler"}
PLACES = [(0.0, 0.0), (-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)]
WORLD = list(product(SHAPES, ("red", "green", "blue"), PLACES))
WANTED = [i for i, (shape, colour, _) in enumerate(WORLD) if (shape, colour) == ("triangle", "green")]


@cache
def world():
    """Draw all that the network of the figures knows, float32 (75, 3, 32, 32)."""
    return np.stack([sprite(shape, colour, cx=cx, cy=cy, r=0.4) for shape, colour, (cx, cy) in WORLD])


def run(play, scheduler):
    """Return the answers of the `film` scenario: a world of 75 pictures, and the wish for a green triangle."""
    return play.scenario(
        "film",
        scheduler=scheduler,
        sprites=array(world()),
        wanted=WANTED,
        noise=randn(SEED, 1, 3, 32, 32),
        guidance_scale=3.0,
        steps=STEPS,
    )


@figure("denoise_loop")
def size_of_the_latents(play):
    """Draw the root mean square of the latents over the loop, for three schedulers."""
    series = []
    for scheduler, name in NAMES.items():
        yours, reference = run(play, scheduler)
        series.append((f"{name}, reference", "reference", line(reference)))
        if yours is not None:
            series.append((f"{name}, yours", "yours", line(yours)))
    return Chart(
        title="One loop, two units",
        caption="Latents of Euler begin at the size of their noise level and shrink; those of DDIM and DPM-Solver++ "
        "stay near 1 all the way. The loop does not know the difference: init_noise_sigma and "
        "scale_model_input do. Where your lines leave the reference's, one of the two is missing.",
        alt="Root mean square of the latents before every step and after the last, on a logarithmic axis: about 1 "
        "throughout for DDIM and DPM-Solver++, falling from above 10 to below 1 for Euler.",
        x_label="share of the loop that is done",
        y_label="root mean square of the latents",
        series=series,
        log_y=True,
    )


@figure("denoise_loop")
def film_of_predictions(play):
    """Show the predicted clean picture at every step of Euler's walk."""
    yours, reference = run(play, "euler_linspace")
    expected = strip(reference)
    rows = [("reference", to_images(expected))]
    if yours is not None and len(yours["x0"]) == STEPS:
        found = strip(yours)
        rows.append(("yours", to_images(found)))
        rows.append(("|difference|, 0 to 1", error_images(found, expected, 1.0)))
    return ImageGrid(
        title="What the network believes, step by step",
        caption="A network that knows 75 pictures exactly, asked for a green triangle anywhere, at guidance scale 3 "
        "with Euler. The predicted x_0 is a blend of all triangles first; the noise then decides the place.",
        alt="Small pictures of the predicted clean image: first a blend of green triangles in five places, then one "
        "clear green triangle.",
        columns=[f"step {i + 1}" for i in range(STEPS)],
        rows=rows,
    )


def line(answer):
    """Return the chart's points: share of the loop done, size of the latents."""
    last = max(len(answer["size"]) - 1, 1)
    return [(i / last, size) for i, size in enumerate(answer["size"])]


def strip(answer):
    """Return the predictions of all steps as one array (steps, 3, H, W)."""
    return np.concatenate([prediction.array for prediction in answer["x0"]])
