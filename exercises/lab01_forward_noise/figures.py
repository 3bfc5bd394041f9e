"""Pictures of lab 01, drawn in the judge from answers of public calls."""

from typing import Any

import numpy as np

from fixtures.minisd import stack
from fixtures.sprites import sprite
from grader.kit import (
    Chart,
    ImageGrid,
    Recipe,
    array,
    beside,
    entry,
    figure,
    linear_betas,
    ones,
    randn,
    scaled_linear_betas,
    tensor,
    to_images,
    zeros,
)

TIMESTEPS = [0, 100, 250, 450, 700, 999]
LEVELS = list(range(0, 1000, 37))
TAIL = list(range(900, 1000, 3))
PICTURE_SEED = 7
GAMMA = 5.0
STARTS = [16, 12, 8, 4, 0]  # of 20 DDIM steps: t = 151, 351, 551, 751, 951

Points = list[tuple[float, float]]


def comparable(yours: Any, reference: Any) -> bool:
    """Say whether the student's answer is a tensor of the reference's shape, so that it can be drawn."""
    return getattr(yours, "array", None) is not None and yours.shape == reference.shape


def over(places: list[int], values: np.ndarray) -> Points:
    """Return (t, value at t) for the places of a schedule."""
    return [(float(t), float(values[t])) for t in places]


def both(label: str, yours: Any, reference: Any, drawn: Any) -> list[tuple[str, Any, Points]]:
    """Return the reference's line and, where it can be drawn, the student's. `drawn` turns an array into points."""
    series = [(label, "reference", drawn(reference.array))]
    if comparable(yours, reference):
        with np.errstate(all="ignore"):
            series.append((f"your {label}", "yours", drawn(yours.array.astype(np.float64))))
    return series


def over_t(title: str, y_label: str, series: list[Any], *, caption: str, alt: str, log_y: bool = False) -> Chart:
    """Return a chart over the timesteps."""
    return Chart(title, caption, alt, "timestep t", y_label, series, log_y)


SCHEDULES = (
    ("linear", (1e-4, 0.02)),
    ("scaled_linear", (0.00085, 0.012)),
    ("squaredcos_cap_v2", ()),
)


def schedules(play, drawn: Any) -> list[Any]:
    """Return the lines of all three schedules."""
    return [line for kind, ends in SCHEDULES for line in both(kind, *play.call("make_betas", kind, 1000, *ends), drawn)]


@figure("make_betas")
def three_schedules(play) -> Chart:
    """The betas over t."""
    return over_t(
        "Three schedules: the variance of each step",
        "β_t",
        schedules(play, lambda betas: over([*LEVELS[1:], 999], betas)),
        caption="The cosine schedule's last steps replace nearly everything. scaled_linear: Stable Diffusion's ends.",
        alt="Three rising curves on a logarithmic axis; the cosine schedule starts lowest and ends near one.",
        log_y=True,
    )


@figure("make_betas")
def what_they_leave(play) -> Chart:
    """ᾱ, which these betas lead to."""
    return over_t(
        "Three schedules: the signal that is left",
        "ᾱ_t",
        schedules(play, lambda betas: over(LEVELS, np.cumprod(1 - betas))),
        caption="ᾱ_t, the product of 1 − β up to t. The last third of the linear schedule is noise already.",
        alt="Three falling curves from one towards zero: linear falls first, the cosine schedule last.",
    )


@figure("noise_levels")
def two_clocks(play) -> Chart:
    """The log-SNR of two schedules."""
    series = []
    for label, betas in (("DDPM", linear_betas(1000)), ("Stable Diffusion", scaled_linear_betas(1000))):
        yours, reference = play.call("noise_levels", betas)
        series += both(label, entry(yours, "log_snr"), reference["log_snr"], lambda values: over(LEVELS, values))
    return over_t(
        "The same t, another noise level",
        "log-SNR",
        series,
        caption="log-SNR over t: the two schedules mean different levels by the same timestep.",
        alt="Two falling curves of log-SNR; that of Stable Diffusion begins lower and lies higher from t = 100 on.",
    )


@figure("add_noise")
def one_sprite_at_six_noise_levels(play) -> ImageGrid:
    """One sprite, the same noise, six timesteps."""
    x0 = np.stack([sprite("circle", "yellow")] * len(TIMESTEPS))
    noise = randn(PICTURE_SEED, 1, 3, 32, 32).expand(*x0.shape)
    yours, reference = play.call("add_noise", array(x0), noise, tensor(TIMESTEPS), linear_betas(1000))
    return ImageGrid(
        title="One sprite at six noise levels",
        caption="The same sprite and the same noise in every column; only t differs. Errors are on a fixed scale.",
        alt="A yellow circle that fades into noise from left to right, by the reference and by your add_noise.",
        columns=[f"t = {t}" for t in TIMESTEPS],
        rows=beside(yours, reference),
    )


@figure("add_noise")
def noised_by_you_and_denoised_by_a_model(play) -> ImageGrid:
    """The latents of a sprite, noised to five levels, and what a trained model makes of each."""
    yours, reference = play.scenario(
        "noise_and_back",
        stack=stack(),
        picture=array(sprite("circle", "yellow", cx=-0.3, cy=0.2)[None]),
        prompt="a yellow circle",
        starts=STARTS,
        noise=randn(PICTURE_SEED, 1, 4, 8, 8),
        betas=scaled_linear_betas(1000),
    )
    seen = yours is not None and comparable(yours["noised"], reference["noised"])
    rows = []
    for key in ("noised", "denoised"):
        rows.append((f"{key}, reference", to_images(reference[key].array)))
        if seen:
            rows.append((f"{key}, yours", to_images(yours[key].array)))
    return ImageGrid(
        title="Noised by you, denoised by a model",
        caption="The latents of one sprite are noised to five levels by add_noise; a small trained model, told “a "
        "yellow circle”, takes it from there. Little noise: the sprite comes back where it was. Much: another circle. "
        "The model trusts that x_t has the share of noise that t promises; where yours has another, it removes too "
        "much or too little.",
        alt="Decoded latents of a yellow circle, noisier from left to right, and what a model makes of each.",
        columns=[f"t = {951 - 50 * start}" for start in STARTS],
        rows=rows,
    )


@figure("add_noise")
def the_two_factors(play) -> Chart:
    """How much of x0 and how much noise x_t holds: a sample of ones without noise, and the other way round."""
    one, nothing = ones(len(LEVELS), 1), zeros(len(LEVELS), 1)
    series = []
    for name, x0, noise in (("x0", one, nothing), ("noise", nothing, one)):
        answers = play.call("add_noise", x0, noise, tensor(LEVELS), linear_betas(1000))
        series += both(
            f"factor of {name}", *answers, lambda factor: list(zip(LEVELS, factor[:, 0].tolist(), strict=True))
        )
    return over_t(
        "The two factors over the schedule",
        "factor",
        series,
        caption="Signal fades as noise grows; at every t the squares of the two factors add up to one.",
        alt="Two curves over t: the factor of x0 falls from one to nearly zero, the factor of the noise rises to one.",
    )


def shares(count: int) -> tuple[Recipe, Recipe]:
    """Return x_0 and noise, (2·count, 1): x_0 alone, then noise alone, so that an answer shows its two factors."""
    alone = np.repeat([[1.0], [0.0]], count, axis=0).astype(np.float32)
    return array(alone), array(1 - alone)


def plane(values: np.ndarray) -> Points:
    """Return (factor of x_0, factor of the noise) of an answer to `shares`."""
    count = len(values) // 2
    return [(float(x), float(y)) for x, y in zip(values[:count, 0], values[count:, 0], strict=True)]


def arc() -> Points:
    """Return the two factors of x_t of DDPM at each level."""
    level = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[LEVELS]
    return [(float(x), float(y)) for x, y in zip(np.sqrt(level), np.sqrt(1 - level), strict=True)]


@figure("training_target")
def the_turning_pair(play) -> Chart:
    """x_t and v as two hands of a clock, a right angle apart."""
    x0, noise = shares(len(LEVELS))
    yours, reference = play.call("training_target", "v_prediction", x0, noise, tensor(LEVELS * 2), linear_betas(1000))
    return Chart(
        title="v is x_t turned by a right angle",
        caption="Each point is a mixture of x_0 and noise. As t grows x_t walks to the noise, and v ahead of it.",
        alt="Two quarter circles: x_t from x_0 up to the noise, v from the noise on to minus x_0.",
        x_label="factor of x_0",
        y_label="factor of the noise",
        series=[("x_t", "other", arc()), *both("v", yours, reference, plane)],
    )


@figure("zero_terminal_snr")
def the_tail(play) -> Chart:
    """The last part of the signal's factor, before and after."""

    def root(betas: np.ndarray) -> Points:
        return over(TAIL, np.sqrt(np.cumprod(1 - betas)))

    yours, reference = play.call("zero_terminal_snr", scaled_linear_betas(1000))
    before = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return over_t(
        "The signal's factor near the end, Stable Diffusion's schedule",
        "√ᾱ_t",
        [("before", "other", root(before)), *both("after", yours, reference, root)],
        caption="Before, 7 % of the signal's amplitude is left at the last timestep; after, nothing.",
        alt="The factor of x_0 over the last hundred timesteps falls; only the rescaled curve ends at zero.",
    )


@figure("flow_matching_pair")
def the_straight_path(play) -> Chart:
    """The straight path beside the arc of a variance-preserving process."""
    count = 21
    x0, noise = shares(count)
    sigma = array(np.tile(np.linspace(0, 1, count, dtype=np.float32), 2))
    yours, reference = play.call("flow_matching_pair", x0, noise, sigma)
    return Chart(
        title="Two ways from the data to the noise",
        caption="A flow model's path is straight, its velocity the same all along. DDPM's factors run on a circle.",
        alt="A straight line from x_0 to the noise, below a quarter circle between the same two ends.",
        x_label="factor of x_0",
        y_label="factor of the noise",
        series=[("DDPM", "other", arc()), *both("flow matching", entry(yours, "x_t"), reference["x_t"], plane)],
    )


@figure("min_snr_weights")
def three_weights(play) -> Chart:
    """The weight over t, in the units of each prediction type."""
    series = []
    for prediction_type in ("epsilon", "sample", "v_prediction"):
        yours, reference = play.call("min_snr_weights", tensor(LEVELS), linear_betas(1000), GAMMA, prediction_type)
        series += both(
            prediction_type, yours, reference, lambda weight: list(zip(LEVELS, weight.tolist(), strict=True))
        )
    return over_t(
        "One rule, three units: the Min-SNR weight with γ = 5",
        "weight",
        series,
        caption="They make one loss of three predictions: the weights differ by the SNR, or by SNR + 1.",
        alt="Three curves of weights over t on a logarithmic axis.",
        log_y=True,
    )


@figure("training_loss")
def where_the_loss_comes_from(play) -> Chart:
    """What a model that answers 0 has to pay at each timestep, with and without weights."""
    x0 = array(np.stack([sprite("circle", "yellow", size=8)]))
    series = []
    for label, gamma in (("loss without weights", None), ("loss with Min-SNR, γ = 5", GAMMA)):
        yours, reference = play.scenario(
            "loss_by_timestep",
            x0=x0,
            noise=randn(PICTURE_SEED, 1, 3, 8, 8),
            timesteps=LEVELS,
            betas=linear_betas(1000),
            prediction_types=["v_prediction"],
            gamma=gamma,
        )
        series += both(label, yours, reference, lambda losses: list(zip(LEVELS, losses[0].tolist(), strict=True)))
    return over_t(
        "Which timesteps does training listen to?",
        "loss",
        series,
        caption="The loss for v of a model that always answers 0. The weights turn down both ends of the schedule.",
        alt="A smooth curve without weights, and one with weights that is low at both ends.",
    )
