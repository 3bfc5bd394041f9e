"""Hidden checks of lab 03. Runs in the judge; sees no torch."""

from __future__ import annotations

import math
from typing import Any

from grader.kit import check, randn


def order(value: dict[str, Any]) -> dict[str, Any]:
    """Name how fast the error falls when the number of steps doubles."""
    error = value["error"]
    if not all(math.isfinite(e) and e > 0 for e in error):
        return {"error": "is no number"}
    slope = math.log2(error[0] / error[-1]) / math.log2(value["steps"][-1] / value["steps"][0])
    return {"error": "falls as 1/N²" if slope > 1.6 else "falls as 1/N" if slope > 0.6 else "does not fall"}


@check("DPMpp2M", visible=True)
def test_single_step(compare, draw):
    """A trajectory of one step ends at the predicted x0."""
    seed = draw.seed()
    compare.play(
        "trajectory",
        schedule="karras",
        steps=1,
        x=randn(seed, 2, 3, 8, 8),
        noise=randn(seed + 1, 1, 2, 3, 8, 8),
    )


@check("DPMpp2M", visible=True)
def test_first_and_last_step(compare, draw):
    """The first step and the last one are first order."""
    seed = draw.seed()
    compare.play(
        "trajectory",
        schedule="karras",
        steps=2,
        x=randn(seed, 2, 3, 8, 8),
        noise=randn(seed + 1, 2, 2, 3, 8, 8),
    )


@check("DPMpp2M", visible=True)
def test_second_order_step(compare, draw):
    """Between them, a step extrapolates from the two newest predictions of x0."""
    seed = draw.seed()
    compare.play(
        "trajectory",
        schedule="karras",
        steps=6,
        x=randn(seed, 2, 3, 8, 8),
        noise=randn(seed + 1, 6, 2, 3, 8, 8),
    )


@check("DPMpp2M", visible=True)
def test_order_of_convergence(compare, draw):
    """Twice as many steps leave about a quarter of the error."""
    seed = draw.seed()
    compare.play("error_by_steps", view=order, step_counts=[14, 28, 56], x=randn(seed, 48, 2))


@check("DPMpp2M")
def test_training_levels(compare, draw):
    """Steps of very different length in log-SNR are weighed rightly, on Stable Diffusion's training levels."""
    seed = draw.seed()
    compare.play(
        "trajectory",
        schedule="stable_diffusion",
        steps=16,
        x=randn(seed, 1, 4, 5, 7),
        noise=randn(seed + 1, 16, 1, 4, 5, 7),
    )


@check("DPMpp2M")
def test_any_shape(compare, draw):
    """Samples may have any number of axes: tokens and videos too."""
    seed = draw.seed()
    for shape in [(3, 11, 5), (1, 2, 3, 5, 7)]:
        compare.play(
            "trajectory",
            schedule="stable_diffusion",
            steps=4,
            x=randn(seed, *shape),
            noise=randn(seed + 1, 4, *shape),
        )


@check("DPMpp2M")
def test_memory_layout(compare, draw):
    """A sample whose axes were swapped without a copy gives the same values."""
    seed = draw.seed()
    compare.play(
        "trajectory",
        schedule="karras",
        steps=5,
        x=randn(seed, 2, 7, 5, 3).transpose(1, 3),
        noise=randn(seed + 1, 5, 2, 3, 5, 7),
    )


@check("DPMpp2M")
def test_answering_model(compare, draw):
    """With a model that answers the solver's own samples, every point of the path agrees."""
    seed = draw.seed()
    compare.play("mixture", schedule="karras", steps=25, x=randn(seed, 32, 2))


@check("DPMpp2M")
def test_two_solvers_in_turns(compare, draw):
    """Two solvers that are stepped in turns do not disturb each other."""
    seed = draw.seed()
    for schedules, steps in [(["karras", "stable_diffusion"], 5), (["karras", "karras"], 3)]:
        compare.play(
            "two_in_turns",
            schedules=schedules,
            steps=steps,
            x=randn(seed, 2, 1, 3, 6, 5),
            noise=randn(seed + 1, 2, steps, 1, 3, 6, 5),
        )


@check("DPMpp2M")
def test_bfloat16(compare, draw):
    """Samples in bfloat16 come back in bfloat16, as exact as that type allows."""
    seed = draw.seed()
    compare.play(
        "trajectory",
        schedule="karras",
        steps=6,
        x=randn(seed, 2, 3, 8, 5).to("bfloat16"),
        noise=randn(seed + 1, 6, 2, 3, 8, 5).to("bfloat16"),
    )


@check("DPMpp2M")
def test_float16(compare, draw):
    """Samples in float16 come back in float16, as exact as that type allows."""
    seed = draw.seed()
    compare.play(
        "trajectory",
        schedule="stable_diffusion",
        steps=7,
        x=randn(seed, 1, 4, 7, 6).to("float16"),
        noise=randn(seed + 1, 7, 1, 4, 7, 6).to("float16"),
    )
