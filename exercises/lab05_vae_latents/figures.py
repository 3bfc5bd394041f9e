"""Pictures of lab 05, drawn in the judge from answers of public calls."""

from statistics import NormalDist
from typing import Any

import numpy as np

from fixtures.minisd import stack
from fixtures.sprites import sprite
from grader.kit import (
    Chart,
    ImageGrid,
    Recipe,
    alphas_cumprod,
    array,
    entry,
    figure,
    generator,
    randn,
    scaled_linear_betas,
    to_images,
)

SHOWN = (("circle", "red"), ("square", "green"), ("ring", "blue"), ("triangle", "yellow"), ("cross", "purple"))
FACTOR, SHIFT = 0.18215, 1.5
STARTS = [17, 14, 11, 8, 4]  # of 20 DDIM steps
SIDES = [128, 192, 256, 384, 512, 768, 1024, 1536, 2048]
SEED = 5

Points = list[tuple[float, float]]


def pictures(shown: Any = SHOWN) -> np.ndarray:
    """Return sprites (N, 3, 32, 32) in [-1, 1]."""
    return np.stack([sprite(shape, colour) for shape, colour in shown])


def comparable(yours: Any, reference: Any) -> bool:
    """Say whether the student's answer is a tensor of the reference's shape, so that it can be drawn."""
    return getattr(yours, "array", None) is not None and yours.shape == reference.shape


def rows_of(label: str, yours: Any, reference: Any) -> list[tuple[str, Any]]:
    """Return the reference's row and, where it can be drawn, the student's."""
    rows = [(f"{label}, reference", to_images(reference.array))]
    if comparable(yours, reference):
        rows.append((f"{label}, yours", to_images(yours.array)))
    return rows


def enlarged(latents: np.ndarray) -> np.ndarray:
    """Return one picture's latent channels as grey pictures (C, 3, 32, 32); ±3 is black and white."""
    grey = np.clip(latents.astype(np.float32) / 3, -1, 1)[:, None].repeat(3, axis=1)
    return grey.repeat(32 // grey.shape[2], axis=2).repeat(32 // grey.shape[3], axis=3)


@figure("posterior")
def from_log_variance_to_deviation(play) -> Chart:
    """The posterior's standard deviation over the encoder's log σ²."""
    logvar = np.linspace(-6.0, 4.0, 11, dtype=np.float32)
    moments = np.stack([np.zeros(11, dtype=np.float32), logvar])[None, :, None]
    yours, reference = play.call("posterior", array(moments), generator(SEED))

    def over_logvar(std: np.ndarray) -> Points:
        return [(float(x), float(y)) for x, y in zip(logvar, std.astype(np.float64).ravel(), strict=True)]

    series = [("reference", "reference", over_logvar(reference["std"].array))]
    mine = entry(yours, "std")
    if comparable(mine, reference["std"]) and np.isfinite(mine.array).all():
        series.append(("yours", "yours", over_logvar(mine.array)))
    return Chart(
        title="From log σ² to σ",
        caption="The standard deviation for each log σ² that an encoder may say: σ = exp(½ log σ²), which is 1 at 0. "
        "Who forgets the ½ gets the variance, twice as steep on this axis; log σ² itself is no deviation, and negative "
        "on the left.",
        alt="A straight rising line on a logarithmic axis, through 1 at log σ² = 0.",
        x_label="log σ²",
        y_label="σ",
        series=series,
        log_y=True,
    )


@figure("posterior")
def the_channels_of_three_colours(play) -> ImageGrid:
    """The latent channels of the same circle in three colours."""
    colours = ("red", "green", "blue")
    shown = array(pictures([("circle", colour) for colour in colours]))
    yours, reference = play.scenario("channels", stack=stack(), pictures=shown, generator=generator(SEED))
    rows = []
    for place, colour in enumerate(colours):
        rows.append((f"{colour}, reference", to_images(enlarged(reference.array[place]))))
        if comparable(yours, reference):
            rows.append((f"{colour}, yours", to_images(enlarged(yours.array[place]))))
    return ImageGrid(
        title="Latent channels are not colours",
        caption="The mode of the posterior of a red, a green and a blue circle, channel by channel, each 8×8 numbers. "
        "No channel is red. Channel 0 of this little VAE says nearly nothing; the others share place and colour.",
        alt="Four grey pictures for each circle: one is nearly flat, in the others the circle is seen at other greys.",
        columns=[f"channel {channel}" for channel in range(4)],
        rows=rows,
    )


@figure("posterior")
def draws_from_the_posterior(play) -> ImageGrid:
    """The decoded mode of a sprite's posterior, and draws from it."""
    picture = array(pictures([("ring", "orange")]))
    yours, reference = play.scenario("draws", stack=stack(), picture=picture, count=4, generator=generator(SEED))
    return ImageGrid(
        title="One picture, many latents",
        caption="The mode and four draws, decoded. Every draw is the same picture to the eye: what the encoder is not "
        "sure of does not show. With a spread that is too large the decoder draws the noise instead of the ring; one "
        "that is too small shows in the chart above only.",
        alt="An orange ring five times, by the reference's posterior and by yours.",
        columns=["mode", "draw 1", "draw 2", "draw 3", "draw 4"],
        rows=rows_of("decoded", yours, reference),
    )


@figure("latent_norm")
def one_way_at_a_time(play) -> ImageGrid:
    """Five sprites, with the scaling on one of the two ways in the student's hands."""
    yours, reference = play.scenario(
        "both_ways",
        stack=stack(),
        pictures=array(pictures()),
        prompts=[f"a {colour} {shape}" for shape, colour in SHOWN],
        start=12,
        noise=randn(SEED, len(SHOWN), 4, 8, 8),
        scaling_factor=FACTOR,
        shift_factor=SHIFT,
    )
    rows = []
    for key, label in (("decoded", "back"), ("denoised", "there")):
        rows += rows_of(label, entry(yours, key), reference[key])
    return ImageGrid(
        title="One way at a time",
        caption="The little VAE in units in which 0.18215 and a shift of 1.5 are right. “Back”: right latents go "
        "through your decode to the decoder. Without the division they are 5.5 times too small: every sprite turns the "
        "same green, and its edges go soft (Stable Diffusion's decoder draws grey). "
        "“There”: latents from your encode are noised to t = 351, and a trained model denoises them, told what they "
        "show; ring and cross change their colour in the reference, too. Where their size is wrong, the noise is not "
        "what t promises.",
        alt="Five sprites after the way back to the decoder, and after the way to the denoiser and through its steps.",
        columns=[f"{colour} {shape}" for shape, colour in SHOWN],
        rows=rows,
    )


@figure("latent_norm")
def quantiles_of_the_latents(play) -> Chart:
    """The latents' quantiles before and after, against those of N(0, 1)."""
    yours, reference = play.scenario(
        "values_of_latents",
        stack=stack(),
        pictures=array(pictures()),
        scaling_factor=FACTOR,
        shift_factor=SHIFT,
    )
    shares = np.linspace(0.02, 0.98, 25)
    normal = [NormalDist().inv_cdf(float(share)) for share in shares]

    def against_normal(values: np.ndarray) -> Points:
        found = np.quantile(values.astype(np.float64), shares)
        return [(x, float(y)) for x, y in zip(normal, found, strict=True)]

    scaled = entry(yours, "scaled")
    series = [
        ("N(0, 1), long dashes", "other", [(x, x) for x in normal]),
        ("the VAE's latents, longer dashes", "other", against_normal(reference["raw"].array)),
        ("scaled", "reference", against_normal(reference["scaled"].array)),
    ]
    if comparable(scaled, reference["scaled"]) and np.isfinite(scaled.array).all():
        series.append(("yours, scaled", "yours", against_normal(scaled.array)))
    return Chart(
        title="From the VAE's units to the denoiser's",
        caption="Quantiles of the latents of five sprites over those of N(0, 1). Scaled, their size is that for which "
        "the noise schedule was made. (These are modes: with the posterior's own spread they are as wide as N(0, 1).)",
        alt="A steep curve for the VAE's latents, and a flat one near the diagonal for the scaled ones.",
        x_label="quantile of N(0, 1)",
        y_label="quantile of the latents",
        series=series,
    )


@figure("latent_budget")
def attention_over_the_side(play) -> Chart:
    """Bytes of one head's attention matrix over the side of the picture, for latents, patches and pixels."""
    cases = (
        ("latents", (128, 256, 512, 512), 1),
        ("latents in patches of 2", (128, 256, 512, 512), 2),
        ("pixels", (128,), 1),
    )
    series = []
    for label, blocks, patch in cases:
        mine: Points = []
        theirs: Points = []
        for side in SIDES:
            yours, reference = play.call("latent_budget", side, side, 1, blocks, 4, 2, patch, True)
            theirs.append((float(side), float(reference["attention_bytes_per_head"])))
            found = entry(yours, "attention_bytes_per_head")
            if isinstance(found, int) and not isinstance(found, bool) and found > 0:
                mine.append((float(side), float(found)))
        series.append((label, "reference", theirs))
        if len(mine) == len(SIDES):
            series.append((f"your {label}", "yours", mine))
    return Chart(
        title="What attention costs, by side",
        caption="Bytes of one head's attention matrices in half precision, with guidance. Twice the side is sixteen "
        "times the bytes; the VAE moves the whole line down by 4096, patches of 2 by another 16. Where patches are "
        "forgotten, their line lies on that of the latents.",
        alt="Three rising curves that flatten, on a logarithmic axis: pixels far above latents, latents above patches.",
        x_label="side of the picture",
        y_label="bytes",
        series=series,
        log_y=True,
    )


@figure("image_codec")
def in_and_out(play) -> ImageGrid:
    """Sprites on their way into the VAE, and a decoder's output on its way out."""
    shown = pictures()
    files = np.round((shown + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    # A decoder's output leaves the range a little, as sharp edges do.
    yours, reference = play.call("image_codec", array(files), array((shown * 1.4).astype(np.float32)))
    rows = rows_of("in", entry(yours, "encoded"), reference["encoded"])
    out = entry(yours, "decoded")
    rows.append(("out, reference", to_images(as_picture(reference["decoded"].array))))
    if comparable(out, reference["decoded"]):
        rows.append(("out, yours", to_images(as_picture(out.array))))
    return ImageGrid(
        title="In and out",
        caption="“In”: what the encoder is given, drawn as if it were in [−1, 1]. “Out”: a decoder's output that "
        "leaves the range, as a picture file.",
        alt="Five sprites as the encoder sees them, and five sprites as the file holds them, brighter and darker.",
        columns=[f"{colour} {shape}" for shape, colour in SHOWN],
        rows=rows,
    )


def as_picture(levels: np.ndarray) -> np.ndarray:
    """Return levels (N, H, W, 3) as (N, 3, H, W) in [-1, 1]."""
    return (levels.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2)


@figure("img2img_latents")
def from_a_picture(play) -> ImageGrid:
    """A yellow circle as the start for a purple one, from five levels."""
    yours, reference = play.scenario(
        "from_a_picture",
        stack=stack(),
        picture=array(sprite("circle", "yellow", cx=-0.3, cy=0.2)[None]),
        prompt="a purple circle",
        starts=STARTS,
        generators=[generator(SEED) for _ in STARTS],
        alphas_cumprod=alphas_cumprod(scaled_linear_betas(1000)),
    )
    rows = []
    for key in ("start", "denoised"):
        rows += rows_of(key, entry(yours, key), reference[key])
    return ImageGrid(
        title="Starting from a picture",
        caption="A yellow circle, noised to five levels by your img2img_latents and handed to a small trained model "
        "that is told “a purple circle”. Start: the more noise, the less is left of the yellow circle. Denoised: the "
        "model makes a purple one where it was. Latents that are too strong burn white, and at t = 751 stay yellow: "
        "the prompt is not followed.",
        alt="A yellow circle under more and more noise, and what becomes of it under the prompt of a purple circle.",
        columns=[f"t = {951 - 50 * start}" for start in STARTS],
        rows=rows,
    )


@figure("fit_latent_norm")
def the_factor_as_data_come_in(play) -> Chart:
    """The factor after each batch of a data set whose batches are of other sizes and lie around other means."""
    batches = [batch(number) for number in range(12)]
    yours, reference = play.scenario("factors", batches=batches)
    series = [("factor", "reference", over_batches(reference))]
    if isinstance(yours, list) and all(isinstance(value, float) and np.isfinite(value) for value in yours):
        series.append(("your factor", "yours", over_batches(yours)))
    return Chart(
        title="A factor is measured over all elements",
        caption="The scaling factor of the first 1, 2, … 12 batches. They lie around other means, and every third has "
        "a single picture: whoever averages deviations misses the spread between batches.",
        alt="A line that falls at first and then settles as batches come in.",
        x_label="batches",
        y_label="scaling factor",
        series=series,
    )


def batch(number: int) -> Recipe:
    """Return one batch of latents: 4 pictures, every third time a single one, around a mean of its own."""
    count = 1 if number % 3 == 2 else 4
    return randn(SEED + number, count, 4, 8, 8) * 2.0 + (number % 4 - 1.5) * 3.0


def over_batches(values: Any) -> Points:
    """Return (number of batches, factor)."""
    return [(float(count + 1), float(value)) for count, value in enumerate(values)]
