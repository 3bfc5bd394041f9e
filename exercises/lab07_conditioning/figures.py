"""Pictures of lab 07, drawn in the judge from answers of public calls."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fixtures.minisd import dit, dit_class, stack
from grader.kit import Chart, ImageGrid, arange, array, beside, entry, error_images, figure, randn, tensor, to_images

SHOWN = (("red", "circle"), ("green", "triangle"), ("blue", "ring"), ("yellow", "square"))
PROMPTS = tuple(f"a {colour} {shape}" for colour, shape in SHOWN)
SEED = 7
SIDES = [256, 384, 512, 768, 1024, 1536, 2048]

ALT = "In the reference's row a red circle, a green triangle, a blue ring and a yellow square."

Points = list[tuple[float, float]]


def grey(values: np.ndarray, size: int = 32) -> np.ndarray:
    """Return maps (N, h, w) in [-1, 1] as grey pictures (N, 3, size, size)."""
    shown = np.clip(values.astype(np.float32), -1, 1)[:, None].repeat(3, axis=1)
    return shown.repeat(size // shown.shape[2], axis=2).repeat(size // shown.shape[3], axis=3)


def maps(yours: Any, reference: Any, turn: Callable[[np.ndarray], np.ndarray]) -> list[tuple[str, Any]]:
    """Return the rows of answers, made maps (N, h, w) by `turn`: the reference's and, where it fits, the student's."""
    theirs = grey(turn(reference.array))
    rows = [("reference", to_images(theirs))]
    if getattr(yours, "array", None) is not None and yours.shape == reference.shape:
        mine = grey(turn(yours.array))
        rows += [("yours", to_images(mine)), ("|error|, 0 to 1", error_images(mine, theirs, 1.0))]
    return rows


def drawn(play: Any, scenario: str) -> list[tuple[str, Any]]:
    """Return what the trained stack draws with one of its parts replaced."""
    noise = randn(SEED, len(PROMPTS), 4, 8, 8)
    yours, reference = play.scenario(scenario, stack=stack(), prompts=list(PROMPTS), noise=noise)
    return beside(yours, reference)


@figure("timestep_embedding")
def the_embedding_of_time(play) -> ImageGrid:
    """The embedding as a picture: timesteps downwards, channels across."""
    yours, reference = play.call("timestep_embedding", arange(0, 1024) * 1.0, 32, True, 0.0)
    return ImageGrid(
        title="Time as sines and cosines",
        caption="The embeddings of t = 0, 32, … 992 (downwards), 32 channels: cosines left, sines right, fast "
        "ones first. At t = 0, the first line, cosines are white and sines grey.",
        alt="In the reference's picture two blocks of stripes that become slower from left to right.",
        columns=["t down, channels across"],
        rows=maps(yours, reference, lambda table: table[::32][None]),
    )


@figure("timestep_embedding")
def drawn_with_your_time(play) -> ImageGrid:
    """A trained UNet draws, told the time by the student's function."""
    return ImageGrid(
        title="Drawn with your time",
        caption="The course's small model draws four prompts; its time embedding is yours. Weights were trained "
        "with one order of the halves and one set of frequencies: with others the model does not know how noisy "
        "its input is.",
        alt=ALT,
        columns=list(PROMPTS),
        rows=drawn(play, "drawn_with_time"),
    )


@figure("cross_attention")
def drawn_with_your_attention(play) -> ImageGrid:
    """A trained UNet draws, reading the prompt by the student's function."""
    return ImageGrid(
        title="Drawn with your cross-attention",
        caption="The course's small model draws four prompts; each of its cross-attentions is yours. Small "
        "mistakes move outlines. Where the prompt is not read, something is drawn, and not what was asked for.",
        alt=ALT,
        columns=list(PROMPTS),
        rows=drawn(play, "drawn_with_attention"),
    )


@figure("patchify")
def numbered_patches(play) -> ImageGrid:
    """A ramp that is cut into tokens and laid out token by token."""
    ramp = np.linspace(-1, 1, 8 * 16, dtype=np.float32).reshape(1, 1, 8, 16)
    yours, reference = play.call("patchify", array(ramp), 4)
    return ImageGrid(
        title="Eight tokens of a ramp",
        caption="A picture of 8 × 16 that brightens from line to line and, slowly, within a line, cut into "
        "patches of 4. The first four tokens are its upper half. Lines in place of patches make tokens of nearly one "
        "grey; pixels from far apart make eight tokens that look alike.",
        alt="In the reference's row eight small grey ramps, four dark ones and four bright ones.",
        columns=[f"token {i}" for i in range(8)],
        rows=maps(yours, reference, lambda tokens: tokens.reshape(8, 4, 4)),
    )


@figure("adaln_zero_block")
def while_the_gates_open(play) -> Chart:
    """How far a block moves its tokens, while its modulation grows from zero."""
    opening = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    w = {"w": randn(SEED, 48, 8) * 0.4, "b": randn(SEED + 1, 48) * 0.4}
    given = {"x": randn(SEED + 2, 2, 6, 8), "c": randn(SEED + 3, 2, 8), "w": w, "opening": opening, "seed": SEED}
    yours, reference = play.scenario("gates", **given)
    series = [("reference", "reference", list(zip(opening, reference, strict=True)))]
    if isinstance(yours, list) and len(yours) == len(opening) and all(np.isfinite(value) for value in yours):
        series.append(("yours", "yours", list(zip(opening, yours, strict=True))))
    return Chart(
        title="While the gates open",
        caption="How far a block moves its tokens (root mean square), while its modulation grows from zero to "
        "full. At zero the block has to be the identity: its curve starts at 0.",
        alt="For the reference a curve that starts at zero and rises.",
        x_label="share of the modulation",
        y_label="change of the tokens",
        series=series,
    )


@figure("sincos_2d")
def who_is_near(play) -> ImageGrid:
    """How alike the embedding of one place is to those of all others."""
    yours, reference = play.call("sincos_2d", 64, 8, 16, 16, 1.0)

    def alike(table: np.ndarray) -> np.ndarray:
        unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
        found = np.stack([unit @ unit[row * 16 + column] for row, column in ((0, 0), (4, 4), (4, 8), (7, 15))])
        return (2 * found - 1).reshape(4, 8, 16)

    return ImageGrid(
        title="Who is near",
        caption="The likeness (cosine) of one place's embedding to those of all places of a grid of 8 rows and 16 "
        "columns: a bright spot at the place itself, and brighter lines along its row and column. The order of the "
        "channels does not show here.",
        alt="In the reference's row four pictures with a bright spot: in the upper left corner, left of the middle, in "
        "the middle, in the lower right corner.",
        columns=["upper left", "row 4, column 4", "row 4, column 8", "lower right"],
        rows=maps(yours, reference, alike),
    )


@figure("sincos_2d")
def four_channels(play) -> ImageGrid:
    """Four of the embedding's channels, each over the grid of places."""
    yours, reference = play.call("sincos_2d", 64, 8, 16, 16, 1.0)
    shown = [1, 17, 33, 49]
    return ImageGrid(
        title="What stands in which channel",
        caption="Four of 64 channels over the same grid: sine and cosine of the column, then sine and cosine of the "
        "row. In the reference's row the first two change from left to right, the last two from top to bottom.",
        alt="In the reference's row two pictures of upright stripes and two of level ones.",
        columns=[f"channel {channel}" for channel in shown],
        rows=maps(yours, reference, lambda table: table[:, shown].T.reshape(4, 8, 16)),
    )


@figure("rope_axial")
def scores_before_and_after_a_shift(play) -> ImageGrid:
    """Scores of rotated queries and keys, before and after all positions move."""
    ids = tensor([[float(row), float(column)] for row in range(2) for column in range(8)])
    given = {"q": randn(SEED, 1, 1, 16, 16), "k": randn(SEED + 1, 1, 1, 16, 16), "ids": ids, "axes_dim": (8, 8)}
    yours, reference = play.scenario("shifted_scores", **given, by=tensor([[5.0, 11.0]]))
    return ImageGrid(
        title="Scores know distances alone",
        caption="Scores of 16 queries and 16 keys on a grid of 2 × 8, with positions as they are, and all moved "
        "by 5 rows and 11 columns. Turned rightly, both pictures are one, and the same as the reference's: some wrong "
        "angles, too, know distances alone.",
        alt="In the reference's row two equal patterns of grey squares.",
        columns=["as they are", "all moved"],
        rows=maps(yours, reference, lambda scores: scores),
    )


@figure("joint_attention")
def who_reads_whom(play) -> ImageGrid:
    """The shares of both heads, as values that name their token bring them out: a row reads, a column is read."""
    rng = np.random.default_rng(SEED)
    places, words = 12, 6
    tokens = places + words
    row, column = np.divmod(np.arange(places), 4)
    near = np.exp(-((row[:, None] - row) ** 2 + (column[:, None] - column) ** 2) / 2.0)

    # The first half of a token's channels is its name, which values carry; the second is what queries and keys see.
    looks = rng.normal(size=(tokens, tokens))
    looks[:places] = near @ looks[:places]  # neighbours look alike
    looks[places:] = looks[1:places:2] + 0.3 * looks[places:]  # and each word is about a place
    channels = np.concatenate([np.eye(tokens), looks], axis=1).astype(np.float32)[None]

    alike = rng.normal(size=(2 * tokens, tokens))
    blind = np.zeros_like(alike)

    def stream(out: np.ndarray, norms: np.ndarray) -> dict[str, Any]:
        query, key = alike + 0.5 * rng.normal(size=(2, 2 * tokens, tokens))
        weights = {
            "q": np.concatenate([blind, query], axis=1),
            "k": np.concatenate([blind, key], axis=1),
            "v": np.concatenate([np.tile(np.eye(tokens), (2, 1)), blind], axis=1),
            "nq": norms,
            "nk": norms[::-1] / 2,
            "o": out,
            "ob": np.zeros(2 * tokens),
        }
        return {name: array(value.astype(np.float32)) for name, value in weights.items()}

    # The text's output projection turns the order of its channels round; the picture turns it back.
    same, growing = np.eye(2 * tokens), np.linspace(0.6, 2.0, tokens)
    w = {"x": stream(same, growing), "c": stream(same[::-1], growing[::-1])}
    mask = tensor([[True] * 4 + [False] * 2])
    image, text = array(channels[:, :places]), array(channels[:, places:])
    yours, reference = play.call("joint_attention", image, text, w, 2, mask)

    def shares(answer: Any) -> np.ndarray | None:
        parts = [getattr(entry(answer, name), "array", None) for name in ("x", "c")]
        if [getattr(part, "shape", None) for part in parts] != [(1, n, 2 * tokens) for n in (places, words)]:
            return None
        rows = np.concatenate([parts[0][0], parts[1][0][:, ::-1]]).astype(np.float32)
        return grey(6 * rows.reshape(tokens, 2, tokens).transpose(1, 0, 2) - 1, tokens)

    theirs, mine = shares(reference), shares(yours)
    rows = [("reference", to_images(theirs))]
    if mine is not None:
        rows += [("yours", to_images(mine)), ("|error|, 0 to 1", error_images(mine, theirs, 1.0))]
    return ImageGrid(
        title="Who reads whom",
        caption="The shares of two heads: each line is a token that reads, each column one that is read, image first "
        "(12 places, 3 rows of 4), then text (6 tokens, of which the last two are masked). White is a third or more. "
        "All lines should read both image and text, and the last two columns stay black. Biases are zero here.",
        alt="In the reference's row two patterns of grey squares whose last two columns are black.",
        columns=["head 1", "head 2"],
        rows=rows,
    )


@figure("attention_cost")
def scores_over_the_side(play) -> Chart:
    """Bytes of the scores over the side of the picture, for two patch sizes."""
    series = []
    for patch in (1, 2):
        mine: Points = []
        theirs: Points = []
        for side in SIDES:
            yours, reference = play.call("attention_cost", side, side, 8, patch, 1536, 24, 154, 2, 2)
            theirs.append((float(side), float(reference["score_bytes"])))
            found = yours.get("score_bytes") if isinstance(yours, dict) else None
            if isinstance(found, int) and not isinstance(found, bool) and found > 0:
                mine.append((float(side), float(found)))
        series.append((f"patches of {patch}, reference", "reference", theirs))
        if len(mine) == len(SIDES):
            series.append((f"patches of {patch}, yours", "yours", mine))
    return Chart(
        title="What scores cost, by side",
        caption="Bytes of one layer's scores in half precision: 24 heads, batch 2, 154 tokens of text. Half the "
        "patch costs as much as twice the side. Either is eight times the bytes for the smallest picture here, where "
        "much of the sequence is text, and nearly sixteen times for the largest.",
        alt="For the reference two rising lines on a logarithmic axis, patches of 1 eight to sixteen times above "
        "patches of 2.",
        x_label="side of the picture in pixels",
        y_label="bytes",
        series=series,
        log_y=True,
    )


@figure("resnet_block")
def drawn_with_your_resnets(play) -> ImageGrid:
    """A trained UNet draws, with the student's ResNet block at every place."""
    return ImageGrid(
        title="Drawn with your ResNet block",
        caption="The course's small model draws four prompts; each of its ResNet blocks is yours.",
        alt=ALT,
        columns=list(PROMPTS),
        rows=drawn(play, "drawn_with_resnets"),
    )


@figure("unet_forward")
def drawn_on_your_way(play) -> ImageGrid:
    """A trained UNet draws, with its layers in the student's order."""
    return ImageGrid(
        title="Drawn on your way through the UNet",
        caption="The course's small model draws four prompts; its layers are its own, the way through them is yours. A "
        "skip that lies in front of the own input gives every weight another channel, and noise comes out.",
        alt=ALT,
        columns=list(PROMPTS),
        rows=drawn(play, "drawn_with_walk"),
    )


@figure("two_backbones")
def drawn_by_both(play) -> ImageGrid:
    """A trained UNet and a trained DiT draw the same prompts from the same noise, driven by the student's loop."""
    yours, reference = play.scenario(
        "drawn_by_both",
        stack=stack(),
        **dit(),
        prompts=list(PROMPTS),
        labels=tensor([dit_class(colour, shape) for colour, shape in SHOWN]),
        noise=randn(37, len(PROMPTS), 4, 8, 8),  # of which the judge reads all eight pictures right
        guidance_scale=3.0,
        steps=12,
    )
    rows = [
        (f"{label}, {name}", pictures)
        for key, name in (("unet", "UNet"), ("dit", "DiT"))
        for label, pictures in beside(yours, reference, key)
    ]
    return ImageGrid(
        title="One loop, two backbones",
        caption="The same noise and the same prompts, drawn by the course's trained UNet and by its trained DiT, both "
        "driven by your loop. Other networks draw other pictures of one prompt. How often the prompt is encoded does "
        "not show here.",
        alt="In the reference's rows the UNet and the DiT each draw a red circle, a green triangle, a blue ring and a "
        "yellow square.",
        columns=list(PROMPTS),
        rows=rows,
    )
