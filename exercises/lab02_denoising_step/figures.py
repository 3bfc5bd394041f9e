"""Pictures of lab 02, drawn in the judge from answers of public scenarios."""

from typing import Any

import numpy as np

from fixtures.minisd import stack
from fixtures.sprites import sprite
from grader.kit import (
    Chart,
    ImageGrid,
    alphas_cumprod,
    array,
    beside,
    entry,
    error_images,
    figure,
    linear_betas,
    ones,
    randn,
    scaled_linear_betas,
    tensor,
    to_images,
    witnessed,
    zeros,
)

PICTURE_SEED = 7
SMALL = 16  # pixels a side: noise does not compress
TIMESTEPS = [999, 800, 600, 400, 200, 0]
PROMPT = "a green triangle above a purple ring"
CHAIN = list(range(975, -1, -25))  # 40 steps
SHOWN = list(range(0, 40, 8))
SHORT_CHAIN = list(range(940, -1, -85))  # 12 steps, the last from t = 5
UNEVEN = [980, 920, 850, 760, 680, 580, 470, 370, 260, 150, 80, 20]
CHANCES = [(0.0, 1), (0.0, 2), (1.0, 1), (1.0, 2)]  # η, seed of the step's generator
TYPES = ("epsilon", "sample", "v_prediction")
JUMP = 50
PLACES = list(range(JUMP, 1000, 25))
STRETCHES = [0.9, 1.5, 3.0, 6.0]

Points = list[tuple[float, float]]


def comparable(yours: Any, reference: Any) -> bool:
    """Say whether the student's answer is a tensor of the reference's shape, so that it can be drawn."""
    return getattr(yours, "array", None) is not None and yours.shape == reference.shape


def both(label: str, yours: Any, reference: Any, drawn: Any) -> list[tuple[str, Any, Points]]:
    """Return the reference's line and, where it can be drawn, the student's. `drawn` turns an array into points."""
    series = [(label, "reference", drawn(reference.array))]
    if comparable(yours, reference):
        series.append((f"your {label}", "yours", drawn(yours.array.astype(np.float64))))
    return series


def over(values: np.ndarray) -> Points:
    """Return (t, value) for the places of the posterior's charts."""
    return [(float(t), float(y)) for t, y in zip(PLACES, values, strict=True)]


@figure("split_prediction")
def three_models_one_answer(play) -> ImageGrid:
    """What three perfect models say of one noisy sprite, read as x_0 and as noise."""
    x0 = array(sprite("cross", "orange", size=SMALL)[None])
    yours, reference = play.scenario(
        "three_models", x0=x0, noise=randn(PICTURE_SEED, 1, 3, SMALL, SMALL), t=tensor([400]), betas=linear_betas(1000)
    )
    right = [reference[name][key].array for key in ("x0", "eps") for name in TYPES]
    rows = [("reference", [image for one in right for image in to_images(one)])]
    mine = [entry(entry(yours, name), key) for key in ("x0", "eps") for name in TYPES]
    if all(comparable(one, right[0]) for one in mine):
        found = [one.array for one in mine]
        rows.append(("yours", [image for one in found for image in to_images(one)]))
        pairs = zip(found, right, strict=True)
        rows.append(("|error|, 0 to 1", [image for a, b in pairs for image in error_images(a, b, 1.0)]))
    return ImageGrid(
        title="Three models that know the answer",
        caption="One noisy sprite at t = 400, and a model for each prediction type that answers it perfectly. Rightly "
        "read, all three say the same. Read wrongly, noise stays in the sprite, the sprite in the noise, or the sprite "
        "is too pale.",
        alt="Three times an orange cross and three times the same noise, by the reference and by split_prediction.",
        columns=[f"{what} from {name}" for what in ("x_0", "noise") for name in ("ε", "x_0", "v")],
        rows=rows,
    )


@figure("ddpm_posterior")
def whom_the_mean_trusts(play) -> Chart:
    """The factor of x_0 in the mean over t, for jumps of 50."""
    t, t_prev = tensor(PLACES), tensor([place - JUMP for place in PLACES])
    yours, reference = play.call(
        "ddpm_posterior", ones(len(PLACES), 1), zeros(len(PLACES), 1), t, t_prev, linear_betas(1000)
    )
    level = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    now, before = level[PLACES], level[[place - JUMP for place in PLACES]]
    from_x_t = np.sqrt(now / before) * (1 - before) / (1 - now)
    return Chart(
        title=f"Whom the mean trusts, steps of {JUMP}",
        caption="At much noise the estimate of x_0 counts almost nothing; the smaller t, the more it counts, and at "
        "the end it is all.",
        alt="Two curves over t: the factor of x_0 falls from one towards zero, the factor of x_t rises, then sinks a "
        "little.",
        x_label="timestep t",
        y_label="factor in the mean",
        series=[
            ("factor of x_t", "other", over(from_x_t)),
            *both("factor of x_0", entry(yours, "mean"), reference["mean"], lambda mean: over(mean[:, 0])),
        ],
    )


@figure("ddpm_posterior")
def two_variances(play) -> Chart:
    """The posterior's variance beside β."""
    x = zeros(len(PLACES), 1)
    t, t_prev = tensor(PLACES), tensor([place - JUMP for place in PLACES])
    yours, reference = play.call("ddpm_posterior", x, x, t, t_prev, linear_betas(1000))
    level = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    beta = over(np.array([1 - level[place] / level[place - JUMP] for place in PLACES]))
    return Chart(
        title=f"Two variances, steps of {JUMP}",
        caption="β, “fixed large”, and the posterior's variance, “fixed small”: they part where little noise is left. "
        "If your line covers the dashed one, you returned β.",
        alt="Two rising curves over t on a logarithmic axis; the posterior's variance lies below β, most at small t.",
        x_label="timestep t",
        y_label="variance",
        series=[
            ("β of the jump", "other", beta),
            *both("variance", entry(yours, "variance"), reference["variance"], over),
        ],
        log_y=True,
    )


@figure("ddpm_step")
def a_prompt_drawn_by_your_step(play) -> ImageGrid:
    """A trained model predicts, the student's step walks: forty steps from noise to a prompt."""
    yours, reference = play.scenario(
        "drawing",
        stack=stack(),
        prompt=PROMPT,
        timesteps=CHAIN,
        shown=SHOWN,
        betas=scaled_linear_betas(1000),
        seed=PICTURE_SEED,
    )
    return ImageGrid(
        title=f"“{PROMPT}”, drawn by your step",
        caption="Forty steps with a small trained model in latent space; each picture is x_t, decoded. The model "
        "predicts from your own x_t, so a small slip in the step grows on the way. (The decoder makes coloured strokes "
        "of noise.)",
        alt="Coloured strokes that turn into a green triangle above a purple ring, by the reference and by your "
        "ddpm_step.",
        columns=[*(f"t = {CHAIN[i]}" for i in SHOWN), "end"],
        rows=beside(yours, reference, "film"),
    )


@figure("ddpm_step")
def mean_and_noise_of_one_step(play) -> ImageGrid:
    """One step taken 64 times: the average shows the mean, one draw shows the sample, their difference the noise."""
    x0 = array(sprite("ring", "purple", size=SMALL)[None])
    yours, reference = play.scenario(
        "many_draws", x0=x0, t=250, t_prev=150, betas=linear_betas(1000), draws=64, seed=PICTURE_SEED
    )
    panels = [parts(reference)]
    rows = [("reference", to_images(panels[0]))]
    if all(comparable(entry(yours, name), reference[name]) for name in ("average", "first")):
        panels.append(parts(yours))
        rows.append(("yours", to_images(panels[1])))
        rows.append(("|error|, 0 to 1", error_images(panels[1], panels[0], 1.0)))
    return ImageGrid(
        title="One step from t = 250 to 150: mean, sample, noise",
        caption="One x_t, 64 steps from it. Their average is nearly the mean; one draw minus it is the noise. A draw "
        "that looks cleaner is not better: it has too little noise for t = 150, the level the model is told next.",
        alt="A noisy ring, the cleaner average of 64 steps from it, one single step, and the noise it added.",
        columns=["x_t", "average of 64", "one draw", "noise"],
        rows=rows,
    )


def parts(answer: Any) -> np.ndarray:
    """Return the four panels: x_t, the average, one draw, and what that draw added to the average."""
    x_t, average, first = (answer[name].array for name in ("x_t", "average", "first"))
    return np.concatenate([x_t, average, first, first - average])


@figure("ddpm_step")
def the_whole_chain(play) -> ImageGrid:
    """Six steps from pure noise to the sprite, with perfect noise predictions."""
    x0 = array(sprite("ring", "purple", size=SMALL)[None])
    yours, reference = play.scenario(
        "chain", x0=x0, timesteps=TIMESTEPS, betas=linear_betas(1000), clip=True, seed=PICTURE_SEED
    )
    right = reference["samples"].array[:, 0]
    rows = [("reference", to_images(right))]
    if comparable(entry(yours, "samples"), reference["samples"]):
        samples = yours["samples"].array[:, 0]
        rows.append(("yours", to_images(samples)))
        rows.append(("|error|, 0 to 1", error_images(samples, right, 1.0)))
    return ImageGrid(
        title="Six steps from noise to a sprite",
        caption="The model is perfect here, so what differs is your step alone. It also forgives: the end may be "
        "right, so look at the columns between. Errors are on a fixed scale.",
        alt="Pure noise that turns into a purple ring in six steps, by the reference and by your ddpm_step.",
        columns=["start", *(f"→ t = {t}" for t in TIMESTEPS[1:]), "end"],
        rows=rows,
    )


@figure("ddim_step")
def what_chance_does(play) -> ImageGrid:
    """One start, four runs of twelve steps with a trained model: without chance, and with it."""
    yours, reference = play.scenario(
        "from_one_start",
        stack=stack(),
        prompt="a yellow cross",
        timesteps=SHORT_CHAIN,
        alphas_cumprod=alphas_cumprod(scaled_linear_betas(1000)),
        start=randn(PICTURE_SEED, 1, 4, 8, 8),
        chances=CHANCES,
    )
    return ImageGrid(
        title="One start, four runs: “a yellow cross” in twelve steps",
        caption="All begin with the same noise; the seed is that of the steps. With η = 0 it has no say, and the same "
        "picture comes out; with η = 1 each seed ends elsewhere. Too much noise on the way leaves stray shapes, too "
        "little washes the sprite out.",
        alt="Four small pictures of a yellow cross: the first two are the same, the others differ.",
        columns=[f"η = {eta:g}, seed {seed}" for eta, seed in CHANCES],
        rows=beside(yours, reference, "pictures"),
    )


@figure("dynamic_threshold")
def clamped_or_scaled(play) -> ImageGrid:
    """A shaded sprite that is stretched out of range, clamped and thresholded."""
    shade = np.linspace(0.35, 1.0, 32, dtype=np.float32)
    shaded = sprite("circle", "orange", r=0.8) * shade[None, :, None] * shade[None, None, :]
    x0 = np.stack([shaded * stretch for stretch in STRETCHES])
    yours, reference = play.call("dynamic_threshold", array(x0), 0.97, 10.0)
    return ImageGrid(
        title="Out of range: clamped, or brought back",
        caption="A shaded sprite, stretched as strong guidance stretches estimates. Plain clamping turns the shading "
        "into one flat colour; a threshold of each image's own keeps it. An image within range stays as it is.",
        alt="A shaded orange disc at four strengths: clamped it goes flat, thresholded it keeps its shading.",
        columns=[f"times {stretch:g}" for stretch in STRETCHES],
        rows=[("clamped to [−1, 1]", to_images(x0)), *beside(yours, reference)],
    )


@figure("ddim_sample")
def estimates_on_the_way(play) -> ImageGrid:
    """The estimate of x_0 in each second step of a run with a trained model, and its end."""
    yours, reference = play.scenario(
        "estimates",
        stack=stack(),
        prompt=PROMPT,
        timesteps=UNEVEN,
        shown=list(range(0, len(UNEVEN), 2)),
        alphas_cumprod=alphas_cumprod(scaled_linear_betas(1000)),
        start=randn(PICTURE_SEED + 1, 1, 4, 8, 8),
    )
    return ImageGrid(
        title=f"What the model believes on the way to “{PROMPT}”",
        caption="The estimate of x_0 in every second of twelve uneven steps, decoded: first one pale shape, then both "
        "shapes and their colours. The last column is where the run ends. A wrong level on the way makes the model see "
        "noise where there is none, or miss what is there.",
        alt="A pale ring, then a green triangle above a purple ring, by the reference and by your ddim_sample.",
        columns=[*(f"t = {t}" for t in UNEVEN[::2]), "end"],
        rows=beside(yours, reference, "film"),
    )


@figure("ddim_sample")
def how_far_from_the_data(play) -> Chart:
    """The distance to the nearest clean point, step by step, where the data are five points in the plane."""
    angles = np.arange(5) * 2 * np.pi / 5
    modes = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * 1.5

    def distances(x: np.ndarray) -> Points:
        gaps = np.linalg.norm(x[:, :, None] - modes, axis=-1).min(axis=2).mean(axis=1)
        # What is left of float32's rounding at the end is no distance.
        return [(float(step), max(float(gap), 1e-5)) for step, gap in enumerate(gaps)]

    levels = alphas_cumprod(linear_betas(1000))
    model = witnessed("denoiser", modes=array(modes), alphas_cumprod=levels)
    yours, reference = play.scenario(
        "run", model=model, x_T=randn(PICTURE_SEED, 16, 2), timesteps=UNEVEN, alphas_cumprod=levels
    )
    return Chart(
        title="How far from the data?",
        caption="The data are five points, and the model knows them. The mean distance of 16 samples to the nearest: "
        "it falls to nothing (drawn at 1e-5) in the last step, to the clean end. A run that ends at the level of t = 0 "
        "stops at a hundredth, which no eye sees in the samples.",
        alt="A curve on a logarithmic axis that falls slowly and then, in the last step, to the bottom.",
        x_label="steps done",
        y_label="distance to the nearest clean point",
        series=both("distance", entry(yours, "x"), reference["x"], distances),
        log_y=True,
    )
