"""Pictures of lab 06: prompts drawn by the student's code, what the network believes on the way, the latents' size.

The networks are the miniature stack of fixtures/minisd, which was trained and really draws.
"""

from typing import Any

import numpy as np

from fixtures.minisd import dit, dit_class, stack
from fixtures.sprites import sprite
from grader.kit import Chart, ImageGrid, array, beside, error_images, figure, randn, tensor, to_images

SEED = 20
STEPS = 10
SHOWN = (("circle", "red"), ("square", "green"), ("ring", "blue"), ("triangle", "yellow"), ("cross", "purple"))
STRENGTHS = [0.1, 0.2, 0.4, 0.6, 1.0]
FILM = [0, 1, 3, 5, 7, 9]  # more steps would take the room of the other tasks' pictures
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
        "its decoder. Without guidance, or with the two conditions swapped, the prompt is lost. Mistakes of the "
        "units show with Euler alone: other colours, or no picture at all.",
        alt="In the reference's row, by three schedulers, a red circle on the left and a blue square on the right.",
        columns=list(NAMES.values()),
        rows=rows,
    )


@figure("denoise_loop")
def film_of_predictions(play):
    """Show the predicted clean picture at some steps of Euler's walk."""
    yours, reference = run(play, "euler_linspace")
    rows = [("reference", to_images(strip(reference)))]
    if yours is not None and len(yours["x0"]) == STEPS:
        rows.append(("yours", to_images(strip(yours))))
    return ImageGrid(
        title="What the network believes, step by step",
        caption="The predicted x_0 of six of Euler's ten steps, decoded. The reference's first guess is two blurred "
        "things, in their places and in colours that nobody asked for. Outlines and colours come step by step.",
        alt="In the reference's row first two blurred things in wrong colours, at the end a red circle and a blue "
        "square.",
        columns=[f"step {i + 1}" for i in FILM],
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
        "scale_model_input do. Where only your line of Euler leaves the reference's, look at these two.",
        alt="Root mean square of the latents before every step and after the last, on a logarithmic axis. The "
        "reference: about 1 throughout for DDIM and DPM-Solver++, falling from above 10 to about 1 for Euler.",
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
    """Return the predictions of the film's steps as one array (steps, 3, H, W)."""
    return np.concatenate([answer["x0"][place].array for place in FILM])


def rows_of(yours: Any, reference: Any) -> list[tuple[str, Any]]:
    """Return the reference's row and, where it can be drawn, the student's."""
    rows = [("reference", to_images(reference.array))]
    if getattr(yours, "array", None) is not None and yours.array.shape == reference.array.shape:
        rows.append(("yours", to_images(yours.array)))
    return rows


@figure("prepare_latents")
def the_same_seed_in_any_batch(play):
    """The picture of one seed, drawn alone, as the first of two, and as the second of two."""
    seeds = [[3], [3, 11], [11, 3]]
    yours, reference = play.scenario(
        "drawn_from_seeds", stack=stack(), prompt="a blue ring", seeds=seeds, shown=3, steps=STEPS
    )
    return ImageGrid(
        title="One seed, one picture",
        caption="The picture of seed 3, drawn alone, before seed 11 and after it. Where the whole batch comes from one "
        "generator, it is another picture as soon as its place changes; where the noise has another size or "
        "deviation, it is none.",
        alt="In the reference's row the same blue ring three times.",
        columns=["seeds 3", "seeds 3, 11", "seeds 11, 3"],
        rows=rows_of(yours, reference),
    )


@figure("img2img_start")
def strengths(play):
    """A yellow circle under the prompt of a purple one, at five strengths."""
    yours, reference = play.scenario(
        "drawn_from_a_picture",
        stack=stack(),
        picture=array(sprite("circle", "yellow", cx=-0.3, cy=0.2)[None]),
        prompt="a purple circle",
        noise=randn(SEED, 1, 4, 8, 8),
        strengths=STRENGTHS,
        steps=STEPS,
    )
    return ImageGrid(
        title="Entering the walk late",
        caption="A yellow circle as the start for “a purple circle”. The reference leaves it yellow at 0.1, changes "
        "its colour at 0.2 and 0.4, and has it purple from 0.6 on, in nearly the old place. Noise of another level "
        "leaves specks or other colours; a walk from the top makes all strengths look like the last.",
        alt="In the reference's row a circle that is yellow at the left, then red, then blue, and purple at the right.",
        columns=[f"strength {strength}" for strength in STRENGTHS],
        rows=rows_of(yours, reference),
    )


@figure("latents_to_image")
def out_of_the_decoder(play):
    """Sprites on their way out of latent space, through a VAE whose factor and shift are not 1 and 0."""
    shown = np.stack([sprite(shape, colour) for shape, colour in SHOWN])
    yours, reference = play.scenario(
        "out_of_the_decoder", stack=stack(), pictures=array(shown), scaling_factor=0.18215, shift_factor=1.5
    )
    rows = [("reference", as_images(reference.array))]
    if getattr(yours, "array", None) is not None and yours.array.shape == reference.array.shape:
        rows.append(("yours", as_images(yours.array)))
    return ImageGrid(
        title="From latents to files",
        caption="The course's little VAE in units in which 0.18215 and a shift of 1.5 are right. Undivided latents are "
        "5.5 times too small, and shapes and colours melt; without the change of range the dark half is black.",
        alt="In the reference's row five sprites in five colours, as a picture file holds them.",
        columns=[f"{colour} {shape}" for shape, colour in SHOWN],
        rows=rows,
    )


def as_images(levels: np.ndarray) -> Any:
    """Return levels (N, H, W, 3) as pictures."""
    return to_images((levels.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2))


def swap(play):
    """Return the answers of the `drawn_after_a_swap` scenario, for DPM-Solver++ and Euler."""
    return play.scenario(
        "drawn_after_a_swap",
        stack=stack(),
        prompt=PROMPT,
        noise=randn(SEED, 1, 4, 8, 8),
        classes=["DPM", "Euler"],
        steps=STEPS,
    )


@figure("swap_scheduler")
def drawn_after_a_swap(play):
    """The prompt drawn after the stack's DDIM scheduler was swapped."""
    yours, reference = swap(play)
    return ImageGrid(
        title="Another scheduler for the same model",
        caption="The stack's DDIM scheduler, swapped by your function, then ten steps. A scheduler of defaults "
        "believes in noise levels that this model has never seen: shapes and colours come out wrong, and nothing "
        "raises.",
        alt="In the reference's row a red circle left of a blue square, by DPM-Solver++ and by Euler.",
        columns=["DPM-Solver++", "Euler"],
        rows=rows_of(yours["pictures"] if yours is not None else None, reference["pictures"]),
    )


@figure("swap_scheduler")
def levels_after_a_swap(play):
    """How much of the picture is left at each timestep, as the new scheduler believes."""
    yours, reference = swap(play)
    series = [("after the swap, reference", "reference", over_timesteps(reference["signal"][0]))]
    if yours is not None:
        series.append(("after the swap, yours", "yours", over_timesteps(yours["signal"][0])))
    return Chart(
        title="What the new scheduler believes of the noise",
        caption="√ᾱ over t. The model was trained on one curve. Linear betas, the default of every class, are another: "
        "there 0.28 of the picture is left at t = 500, and not 0.53.",
        alt="For the reference a curve that falls from 1 to about 0.09 as t rises.",
        x_label="timestep",
        y_label="share of the picture",
        series=series,
    )


def over_timesteps(signal):
    """Return (timestep, signal level), every fiftieth."""
    return [(50.0 * place, float(level)) for place, level in enumerate(signal)]


@figure("dit_sample")
def drawn_by_class(play):
    """Five classes, drawn by the course's trained transformer."""
    labels = [dit_class(colour, shape) for shape, colour in SHOWN]
    yours, reference = play.scenario(
        "drawn_by_class",
        stack=stack(),
        **dit(),
        labels=tensor(labels),
        noise=randn(SEED, len(labels), 4, 8, 8),
        guidance_scale=3.0,
        steps=STEPS,
    )
    return ImageGrid(
        title="A number in place of a prompt",
        caption="Five of forty classes, colour by shape, drawn by a small trained transformer at guidance 3. With the "
        "halves exchanged it avoids the class; with class 0 as the null class it avoids red circles.",
        alt="In the reference's row a red circle, a green square, a blue ring, a yellow triangle, a purple cross.",
        columns=[f"{colour} {shape}" for shape, colour in SHOWN],
        rows=rows_of(yours, reference),
    )


@figure("inpaint_step")
def repainted(play):
    """A scene whose right half is repainted, at three strengths."""
    left, right = sprite("circle", "red", cx=-0.45, r=0.35), sprite("square", "blue", cx=0.45, r=0.35)
    scene = np.where(np.arange(32) < 16, left, right).astype(np.float32)
    mask = np.zeros((1, 1, 32, 32), dtype=np.float32)
    mask[..., 16:] = 1
    at = [0.25, 0.5, 0.75, 1.0]
    yours, reference = play.scenario(
        "repainted",
        stack=stack(),
        picture=array(scene[None]),
        prompt="a red circle left of a green triangle",
        mask=array(mask),
        noise=randn(SEED, 1, 4, 8, 8),
        strengths=at,
        steps=4,
    )
    return ImageGrid(
        title="Repainting a hole",
        caption="The right half of “a red circle left of a blue square” is a hole, repainted as a green triangle in "
        "four steps. The circle has to stay as it is, whatever the strength. In the reference's row one step leaves "
        "the square, two leave nothing, and three or four paint the triangle. A wrong level around the hole can change "
        "what is painted into it; a mask the wrong way round keeps the square and paints over the circle.",
        alt="In the reference's row a red circle on the left in each picture; on the right a blue square, nothing, and "
        "twice a green triangle.",
        columns=[f"strength {strength}" for strength in at],
        rows=beside(yours, reference, limit=0.5),
    )
