"""Pictures of lab 03, drawn in the judge from answers of public calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from fixtures.minisd import stack
from fixtures.sprites import sprite
from grader.kit import (
    Chart,
    ImageGrid,
    array,
    beside,
    entry,
    figure,
    linspace,
    ones,
    randn,
    scaled_linear_betas,
    tensor,
    to_images,
)

Points = list[tuple[float, float]]
SPACINGS = ("linspace", "leading", "trailing")
KINDS = ("interpolated", "karras", "exponential")
STEP_COUNTS = [4, 8, 20]
FLOWS = [(4, False, 1), (8, False, 1), (16, False, 1), (10, True, 1), (10, True, 2)]  # steps, stochastic, seed
HEUN_STEPS = [3, 5, 7, 10, 14, 20, 28, 40]
CIRCLE = [(1.5 * float(np.cos(a)), 1.5 * float(np.sin(a))) for a in np.linspace(0, 2 * np.pi, 41)]  # of the mixture
STRENGTHS = [0.2, 0.4, 0.6, 0.8, 1.0]
SIGMA_FLOOR = 0.01  # where a chart with a logarithmic axis shows σ = 0


def numbers(answer: Any) -> list[float]:
    """Return the entries of a student's vector, or nothing where it is none."""
    found = getattr(answer, "array", None)
    return [float(value) for value in found] if found is not None and found.ndim == 1 else []


def by_index(answer: Any) -> Points:
    """Return (i, value) of a vector."""
    return [(float(i), value) for i, value in enumerate(numbers(answer))]


def both(label: str, yours: Any, reference: Any, drawn: Any = by_index) -> list[tuple[str, Any, Points]]:
    """Return the reference's line and, where there is one, the student's."""
    series = [(label, "reference", drawn(reference))]
    if points := drawn(yours):
        series.append((f"your {label}", "yours", points))
    return series


@figure("spaced_timesteps")
def where_inference_stops(play) -> Chart:
    """The timesteps of three spacings, for a table so short that one is a visible distance."""
    series = []
    for spacing in SPACINGS:
        yours, reference = play.call("spaced_timesteps", 20, 6, spacing, 1)
        series += both(spacing, yours, reference)
    return Chart(
        title="Six steps over twenty timesteps",
        caption="linspace touches both ends of the table, 19 and 0. leading (offset 1) ends at 1 and begins far from "
        "19; trailing begins at 19 and stops early.",
        alt="Three falling lines of six points each, timestep over step.",
        x_label="step",
        y_label="timestep",
        series=series,
    )


def levels_of(config: Any) -> Points:
    """Return the levels σ that a configured Euler scheduler visits in ten steps, by what its configuration says."""
    T, start, end = (entry(config, key) for key in ("num_train_timesteps", "beta_start", "beta_end"))
    schedule, spacing = entry(config, "beta_schedule"), entry(config, "timestep_spacing")
    power = {"linear": 1, "scaled_linear": 2}.get(schedule)
    if not (isinstance(T, int) and isinstance(start, float) and isinstance(end, float) and power):
        return []
    alpha_bar = np.cumprod(1 - np.linspace(start ** (1 / power), end ** (1 / power), T) ** power)
    offset = entry(config, "steps_offset")
    timesteps = {
        "linspace": np.linspace(T - 1, 0, 10),
        "leading": np.arange(9, -1, -1) * (T // 10) + (offset if isinstance(offset, int) else 0),
        "trailing": np.round(np.arange(10, 0, -1) * T / 10) - 1,
    }.get(spacing)
    if timesteps is None:
        return []
    sigmas = np.interp(timesteps, np.arange(T), np.sqrt((1 - alpha_bar) / alpha_bar))
    return [(float(i), float(sigma)) for i, sigma in enumerate(sigmas)]


@figure("swap_config")
def levels_after_the_swap(play) -> Chart:
    """Which levels the new scheduler visits: what a configuration is for."""
    shared = {"num_train_timesteps": 1000, "beta_schedule": "linear", "steps_offset": 0}
    ends = {"beta_start": 0.0001, "beta_end": 0.02}
    set_by_hand = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    yours, reference = play.call(
        "swap_config",
        {**shared, **ends, **set_by_hand, "timestep_spacing": "leading", "clip_sample": True},
        ["num_train_timesteps", "timestep_spacing", "clip_sample"],
        {**shared, **ends, "timestep_spacing": "linspace", "use_karras_sigmas": False},
        {},
    )
    series = both("levels", yours, reference, levels_of)
    series.append(
        ("levels of the source", "other", levels_of({**shared, **set_by_hand, "timestep_spacing": "leading"}))
    )
    return Chart(
        title="The levels of a DDIM scheduler's configuration, and of the Euler scheduler made from it",
        caption="Ten steps, Stable Diffusion's betas. The spacing was never set, so Euler takes its own, which begins "
        "at the last timestep; the betas were set and stay. Lost betas would put all levels elsewhere. If yours "
        "lies on the dashed line, the source's spacing came along.",
        alt="Falling curves of noise levels over ten steps on a logarithmic axis.",
        x_label="step",
        y_label="σ",
        series=series,
        log_y=True,
    )


def floored(answer: Any) -> Points:
    """Return (i, σ) of the levels of an answer, 0 drawn at the bottom of the axis."""
    return [(i, max(sigma, SIGMA_FLOOR)) for i, sigma in by_index(entry(answer, "sigmas"))]


@figure("sigma_schedule")
def levels_side_by_side(play) -> Chart:
    """The levels of all kinds in eight steps."""
    series = []
    for kind in KINDS:
        yours, reference = play.call("sigma_schedule", scaled_linear_betas(1000), linspace(999, 0, 8), kind)
        series += both(kind, yours, reference, floored)
    return Chart(
        title="Eight steps down, by three kinds of levels",
        caption="All run from 14.6 to 0.029 and then to 0, which is drawn at the bottom. The interpolated levels leap "
        "at the end; Karras and exponential levels spend their steps where details are decided.",
        alt="Three falling curves of noise levels on a logarithmic axis; all drop to the bottom at the last point.",
        x_label="place in the list",
        y_label="σ",
        series=series,
        log_y=True,
    )


@figure("sigma_schedule")
def down_your_levels(play) -> ImageGrid:
    """What a trained model makes of a start, a scaling and levels."""
    timesteps = [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    yours, reference = play.scenario(
        "walked_levels",
        stack=stack(),
        prompt="a yellow ring",
        betas=scaled_linear_betas(1000),
        timesteps=tensor(timesteps),
        x=randn(3, 1, 4, 8, 8),
    )
    return ImageGrid(
        title="What the network sees on the way down",
        caption="A small trained model draws “a yellow ring” in ten Euler steps: the scaled sample at four levels, and "
        "the end. A start that is too small, an input that is not scaled, or levels that stop early end in another "
        "picture, in mud or in grain. (The decoder makes coloured strokes of noise.)",
        alt="A sprite that appears out of noise over five pictures.",
        columns=[*(f"t = {t}" for t in timesteps[::3]), "the end"],
        rows=beside(yours, reference),
    )


def paths_of(label: str, role: Any, answer: Any) -> list[tuple[str, Any, Points]]:
    """Return one line a point: its path in the plane."""
    found = getattr(answer, "array", None)
    if found is None or found.ndim != 3 or found.shape[-1] != 2:
        return []
    return [
        (label if n == 0 else f"{label} {n + 1}", role, [(float(x), float(y)) for x, y in found[:, n]])
        for n in range(found.shape[1])
    ]


@figure("euler_step")
def paths_in_the_plane(play) -> Chart:
    """How four points of a mixture walk from noise to data."""
    yours, reference = play.scenario(
        "paths",
        x=tensor([[4.5, 1.0], [-3.0, 4.0], [-2.5, -4.0], [3.5, -4.5]]),
        steps=12,
        sigma_max=4.0,
        velocity=True,
        ancestral=False,
        seed=1,
    )
    return Chart(
        title="Four points walk to the data",
        caption="Euler steps for a velocity, on a mixture of five Gaussians whose answer is known exactly. The points "
        "come from outside and end on the circle where the data lie. A wrong slope or a wrong x0 leads elsewhere.",
        alt="Four curved paths in the plane that end near a circle around the origin.",
        x_label="x",
        y_label="y",
        series=[
            ("the data", "other", CIRCLE),
            *paths_of("reference", "reference", reference),
            *paths_of("yours", "yours", yours),
        ],
    )


@figure("euler_step")
def an_ancestral_path(play) -> Chart:
    """One point with fresh noise at every step."""
    yours, reference = play.scenario(
        "paths",
        x=tensor([[4.5, 1.0]]),
        steps=12,
        sigma_max=4.0,
        velocity=False,
        ancestral=True,
        seed=2,
    )
    return Chart(
        title="One point, ancestral",
        caption="The same walk with fresh noise in every step: it wanders, and still ends on the data, since σ_down "
        "and σ_up fit together. With too much noise it never arrives.",
        alt="A path in the plane that wanders and ends near the data.",
        x_label="x",
        y_label="y",
        series=[
            ("the data", "other", CIRCLE),
            *paths_of("reference", "reference", reference),
            *paths_of("yours", "yours", yours),
        ],
    )


@figure("DPMpp2M")
def few_steps(play) -> ImageGrid:
    """Draw one sprite in 4, 8 and 20 steps: DDIM, the reference, and the student's solver."""
    yours, reference = play.scenario(
        "drawings", stack=stack(), prompt="a blue cross", step_counts=STEP_COUNTS, x=randn(5, 1, 4, 8, 8)
    )
    return ImageGrid(
        title="A sprite in few and in many steps",
        caption="A small trained model draws “a blue cross” at guidance scale 3, from the same noise: with DDIM, with "
        "the reference's DPM-Solver++(2M), and with yours, at equal numbers of model calls.",
        alt="A blue cross in three pictures, drawn by DDIM, by the reference and by your solver.",
        columns=[f"{steps} steps" for steps in STEP_COUNTS],
        rows=[
            ("first order (DDIM)", to_images(reference["first_order"].array)),
            *beside(yours, reference, "second_order"),
        ],
    )


@figure("DPMpp2M")
def convergence(play) -> Chart:
    """Draw the error of the sampled points against the number of steps."""
    yours, reference = play.scenario("error_by_steps", step_counts=[16, 20, 28, 40, 56, 80], x=randn(7, 48, 2))

    def line(answer: Any, key: str) -> Points:
        return list(zip(answer["steps"], answer[key], strict=True))

    series = [
        ("first order (DDIM)", "other", line(reference, "first_order")),
        ("reference", "reference", line(reference, "error")),
    ]
    if yours is not None:
        series.append(("yours", "yours", line(yours, "error")))
    return Chart(
        title="What the second order buys",
        caption=(
            "Mean distance of 48 sampled points from the exact solution, on a mixture of five Gaussians whose noise "
            "prediction is known exactly, so all of the error is the solver's, on steps of uneven length. A doubling "
            "of the steps about halves the first-order error and quarters the second-order one, at the same number of "
            "model calls. A line that leaves the reference's, be it downwards, belongs to another rule."
        ),
        alt="Error against number of steps on a logarithmic axis: first order, the reference, and your solver.",
        x_label="steps (model calls)",
        y_label="mean error",
        series=series,
        log_y=True,
    )


@figure("flow_sigmas")
def where_the_steps_fall(play) -> Chart:
    """The levels of a flow for three shifts."""
    series = []
    for shift in (1.0, 3.0, 7.0):
        yours, reference = play.call("flow_sigmas", linspace(1.0, 0.1, 10), shift)
        series += both(f"shift {shift:g}", entry(yours, "sigmas"), reference["sigmas"])
    return Chart(
        title="Ten levels of a flow, shifted",
        caption="A shift bends the levels up: more steps at much noise, and a longer last step to 0. Both ends stay.",
        alt="Three curves from one to zero over ten steps; the larger the shift, the longer they stay near one.",
        x_label="place in the list",
        y_label="σ",
        series=series,
    )


@figure("flow_sigmas")
def what_is_told(play) -> Chart:
    """The timestep that the network is told, against the level that the sample has."""

    def told(answer: Any) -> Points:
        return list(zip(numbers(entry(answer, "sigmas")), numbers(entry(answer, "timesteps")), strict=False))

    yours, reference = play.call("flow_sigmas", linspace(1.0, 0.1, 10), mu=1.15, shift_terminal=0.2)
    return Chart(
        title="Is the network told the truth?",
        caption="Levels shifted by mu = 1.15 and stretched to end at 0.2. The timestep belongs to the level that the "
        "sample has, so all points lie on one straight line.",
        alt="Points on a straight line: timestep over level.",
        x_label="σ of the sample",
        y_label="timestep that is told",
        series=both("timesteps", yours, reference, told),
    )


@figure("img2img_window")
def from_a_little_to_all(play) -> ImageGrid:
    """Walk windows of growing strength from a sprite, with the trained model."""
    yours, reference = play.scenario(
        "windows",
        stack=stack(),
        picture=array(np.stack([sprite("circle", "yellow")])),
        prompt="a yellow circle",
        strengths=STRENGTHS,
        noise=randn(7, 1, 4, 8, 8),
    )
    return ImageGrid(
        title="How much is done again",
        caption="A yellow circle is noised to where your window of 20 steps begins, and a small trained model walks "
        "the window. A little strength keeps the circle where it was; all of it makes another one. A window that "
        "begins at the wrong place leaves noise, or changes what should stay. (The decoder makes coloured strokes of "
        "noise.)",
        alt="Pictures of a yellow circle after windows of growing strength.",
        columns=[f"strength {strength:g}" for strength in STRENGTHS],
        rows=[("noised", to_images(reference["noised"].array)), *beside(yours, reference, "walked")],
    )


@figure("lcm_step")
def who_answers(play) -> Chart:
    """The factor of the sample over the first timesteps, read off an answer each."""
    lines: list[Points] = [[], []]
    for t in range(6):
        # ᾱ = 0.5: x_t = 1 with ε = √2 predicts x̂_0 = 0, so what is left in the answer is c_skip.
        answers = play.call("lcm_step", ones(1) * 2**0.5, t, 0, ones(1), ones(6) * 0.5, True)
        for points, answer in zip(lines, answers, strict=True):
            points += [(float(t), value) for value in numbers(entry(answer, "denoised"))]
    yours, reference = lines
    return Chart(
        title="Who answers near the clean end?",
        caption="The factor of the sample in the denoised sample. At t = 0 the answer is the sample itself; one "
        "timestep later hardly anything of it is left, and the prediction answers.",
        alt="The factor falls from one at t = 0 to nearly zero at t = 1 and stays there.",
        x_label="timestep t",
        y_label="c_skip",
        series=[("c_skip", "reference", reference), *([("your c_skip", "yours", yours)] if yours else [])],
    )


@figure("flow_euler_sample")
def along_the_flow(play) -> ImageGrid:
    """Draw one sprite along a flow, in few and in many steps, and stochastically."""
    yours, reference = play.scenario(
        "flow_drawings", stack=stack(), prompt="a red triangle", plans=FLOWS, x=randn(4, 1, 4, 8, 8)
    )
    return ImageGrid(
        title="Down a flow, straight and noised anew",
        caption="A small trained model, whose answer is rewritten as a velocity, draws “a red triangle” from one "
        "noise. Without fresh noise, 4 steps and 16 make nearly the same picture; the stochastic walk makes another "
        "one with every generator. A wrong sign or a level in another place leaves noise.",
        alt="A red triangle in five pictures: after 4, 8 and 16 steps, and twice after 10 stochastic ones.",
        columns=["4 steps", "8 steps", "16 steps", "noised anew", "another seed"],
        rows=beside(yours, reference),
    )


@figure("heun_sample")
def error_at_equal_calls(play) -> Chart:
    """Draw the error of the sampled points against the number of calls, by Heun's rule and by Euler's."""
    yours, reference = play.scenario("error_by_calls", step_counts=HEUN_STEPS, x=randn(8, 48, 2))

    def line(answer: Any, key: str) -> Points:
        found = zip(entry(answer, "calls"), entry(answer, key), strict=True)
        return [(calls, error) for calls, error in found if np.isfinite(error) and error > 0]

    series = [
        ("Euler", "other", line(reference, "first_order")),
        ("reference", "reference", line(reference, "error")),
    ]
    if yours is not None and (points := line(yours, "error")):
        series.append(("yours", "yours", points))
    return Chart(
        title="What the second look buys",
        caption="Mean distance of 48 sampled points from the exact solution, on a mixture of five Gaussians whose "
        "noise is known exactly. Twice the calls halve Euler's error and quarter Heun's; with very few calls, in long "
        "steps, the second look does harm. A look at the wrong place or level loses the second order, or more.",
        alt="Error against calls of the model on a logarithmic axis: Euler, the reference, and your walk.",
        x_label="calls of the model",
        y_label="mean error",
        series=series,
        log_y=True,
    )
