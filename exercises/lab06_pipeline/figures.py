"""Pictures of lab 06: a prompt drawn by the student's loop, what the network believes on the way, the latents' size.

The network is the miniature stack of fixtures/minisd, which was trained and really draws.
"""

import numpy as np

from fixtures.minisd import stack
from grader.kit import Chart, ImageGrid, error_images, figure, randn, to_images

SEED = 20
STEPS = 10
PROMPT = "a red circle left of a blue square"
NAMES = {"ddim": "DDIM", "dpm": "DPM-Solver++", "euler_linspace": "Euler"}


def run(play, scheduler):
    """Return the answers of the `film` scenario."""
    return play.scenario(
        "film",
        stack=stack(),
        scheduler=scheduler,
        prompt=PROMPT,
        noise=randn(SEED, 1, 4, 8, 8),
        guidance_scale=3.0,
        steps=STEPS,
    )


@figure("denoise_loop")
def drawn_by_three_schedulers(play):
    """Show the decoded latents that the loop returns, for three schedulers."""
    answers = [run(play, scheduler) for scheduler in NAMES]
    expected = np.concatenate([reference["picture"].array for _, reference in answers])
    rows = [("reference", to_images(expected))]
    if all(yours is not None and yours["picture"].shape == (1, 3, 32, 32) for yours, _ in answers):
        found = np.concatenate([yours["picture"].array for yours, _ in answers])
        rows.append(("yours", to_images(found)))
        rows.append(("|difference|, 0 to 1", error_images(found, expected, 1.0)))
    return ImageGrid(
        title="“a red circle left of a blue square”",
        caption=f"The same noise, {STEPS} steps, guidance scale 3: your loop, the course's small trained model, and "
        "its decoder. Without guidance, or with the two conditions swapped, the prompt is lost; with a wrong noise "
        "level, the picture.",
        alt="The prompt's picture as three schedulers draw it: a red circle on the left, a blue square on the right.",
        columns=list(NAMES.values()),
        rows=rows,
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
        caption="The predicted x_0 of every step, decoded. At first it is a blur of all that the prompt allows; then "
        "the noise decides where the things lie; the last steps only sharpen.",
        alt="Small pictures of the predicted clean image: first a vague blend, then a red circle and a blue square.",
        columns=[f"step {i + 1}" for i in range(STEPS)],
        rows=rows,
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
        "throughout for DDIM and DPM-Solver++, falling from above 10 to about 1 for Euler.",
        x_label="share of the loop that is done",
        y_label="root mean square of the latents",
        series=series,
        log_y=True,
    )


def line(answer):
    """Return the chart's points: share of the loop done, size of the latents."""
    last = max(len(answer["size"]) - 1, 1)
    return [(i / last, size) for i, size in enumerate(answer["size"])]


def strip(answer):
    """Return the predictions of all steps as one array (steps, 3, H, W)."""
    return np.concatenate([prediction.array for prediction in answer["x0"]])
