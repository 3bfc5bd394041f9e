"""Pictures of lab 10. Runs in the judge; sees no torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from fixtures.minisd import stack
from fixtures.sprites import sprite
from grader.kit import Chart, ImageGrid, array, dtype, entry, error_images, figure, ones, rand, randn, to_images

PROMPTS = ["a red circle", "a blue cross", "a yellow ring left of a green square"]
T2I = ["text_encoder", "unet", "vae"]
KIB, MIB = 1024, 1 << 20

Points = list[tuple[float, float]]


def over_operations(timeline: Any, unit: int) -> Points:
    """Return a timeline over the share of the operations done, the highest of each percent: several fit one axis."""
    last = max(index for index, _ in timeline) or 1
    highest: dict[int, float] = {}
    for index, bytes_ in timeline:
        percent = round(100 * index / last)
        highest[percent] = max(highest.get(percent, 0.0), round(bytes_ / unit, 2))
    return [(float(percent), most) for percent, most in sorted(highest.items())]


def timeline_series(
    yours: Any, reference: Any, key: str, others: str, unit: int, plain: str = "all at once"
) -> list[tuple[str, Any, Points]]:
    """Return the lines of a memory timeline: the plain way, the reference's, and yours where there is one."""
    series: list[tuple[str, Any, Points]] = [
        (plain, "other", over_operations(reference[others], unit)),
        ("reference", "reference", over_operations(reference[key], unit)),
    ]
    if entry(yours, key):
        series.append(("yours", "yours", over_operations(yours[key], unit)))
    return series


@figure("query_chunked_attention")
def a_model_with_your_attention(play) -> ImageGrid:
    """Put the student's function into every attention of a trained UNet, and draw."""
    yours, reference = play.scenario("drawings", stack=stack(), prompts=PROMPTS, chunk=5, noise=randn(5, 3, 4, 8, 8))
    right = reference["usual"].array
    rows = [("its own attention", to_images(right)), ("reference, in chunks", to_images(reference["chunked"].array))]
    if yours is not None and yours["chunked"].shape == reference["chunked"].shape:
        found = yours["chunked"].array
        rows.append(("yours, in chunks", to_images(found)))
        rows.append(("|yours - its own|, 0 to 1", error_images(found, right, 1.0)))
    return ImageGrid(
        title="A model with your attention in it",
        caption="A small trained UNet draws three prompts, with its own attention and with your function in every "
        "layer, five queries at a time. Chunks change what lives in memory, not what comes out: the rows should "
        "look the same.",
        alt="Three small pictures of sprites, drawn with the model's own attention, the reference's and yours.",
        columns=[prompt.replace("a ", "", 1) for prompt in PROMPTS],
        rows=rows,
    )


@figure("query_chunked_attention")
def memory_timeline(play) -> Chart:
    """Draw the bytes alive after each operation, chunked against all at once, with the bound."""
    heads, n, d, chunk = 2, 256, 16, 32
    q, k, v = (randn(21 + i, 1, heads, n, d) for i in range(3))
    given = {"function": "query_chunked_attention", "q": q, "k": k, "v": v, "chunk": chunk}
    yours, reference = play.scenario("timelines", **given)
    out, block = 4 * heads * n * d, 4 * heads * chunk * n
    return Chart(
        title="Bytes alive while attention runs",
        caption=(
            f"{heads} heads, {n} queries and keys, chunks of {chunk}. All at once, the scores and their softmax live "
            "together. In chunks, each tooth is one block of scores that dies before the next, on top of the growing "
            "output; the last step is the copy that joins the pieces. Inputs are not counted."
        ),
        alt="Memory over the course of the computation: one tall peak for attention all at once, low teeth for chunks.",
        x_label="operations done (%)",
        y_label="KiB alive",
        series=timeline_series(yours, reference, "chunked", "full", KIB),
        limits=[("bound: 2 outputs + 6 blocks", (2 * out + 6 * block) / KIB)],
    )


@figure("online_softmax_attention")
def online_timeline(play) -> Chart:
    """Draw the bytes alive while keys pass by in chunks, with the bound."""
    heads, n, m, d, chunk = 2, 32, 1024, 16, 128
    q, k, v = randn(31, 1, heads, n, d), randn(32, 1, heads, m, d), randn(33, 1, heads, m, d)
    given = {"function": "online_softmax_attention", "q": q, "k": k, "v": v, "chunk": chunk}
    yours, reference = play.scenario("timelines", **given)
    out, block = 4 * heads * n * d, 4 * heads * chunk * n
    return Chart(
        title="Bytes alive while keys pass by",
        caption=(
            f"{heads} heads, {n} queries and {m} keys, {chunk} at a time. In the reference each pair of teeth is one "
            "chunk, of at most four blocks of queries × chunk scores. The floor is the three running values, and two "
            "blocks that names still hold. Twice the keys are twice the teeth, no higher. Inputs are not counted."
        ),
        alt="Memory over the course of the computation: a tall peak for all scores at once, a row of equal low teeth.",
        x_label="operations done (%)",
        y_label="KiB alive",
        series=timeline_series(yours, reference, "chunked", "full", KIB),
        limits=[("bound: 8 outputs + 10 blocks", (8 * out + 10 * block) / KIB)],
    )


@figure("vae_slicing")
def slicing_timeline(play) -> Chart:
    """Draw the bytes alive while four images are decoded."""
    yours, reference = play.scenario("decoding_timelines", z=randn(41, 4, 4, 8, 8), f=8, width=16, seed=1)
    pictures = 4 * 4 * 3 * 64 * 64
    one = max(bytes_ for _, bytes_ in reference["full"]) / 4
    return Chart(
        title="Four images, one at a time",
        caption="A small decoder with 16 channels at full size. All at once, the maps of four images live together; in "
        "slices those of one, on top of the pictures that are done already: a quarter, and the pictures. Weights and "
        "latents are not counted.",
        alt="Memory over the course of decoding: one high peak for the batch, four low ones for slices.",
        x_label="operations done (%)",
        y_label="MiB alive",
        series=timeline_series(yours, reference, "sliced", "full", MIB),
        limits=[("a quarter of all at once + the pictures", (one + pictures) / MIB)],
    )


def wall(columns: int, rows: int) -> np.ndarray:
    """Return a large picture (1, 3, 32·rows, 32·columns) of sprites on one ground."""
    shown = [("circle", "red"), ("square", "green"), ("ring", "blue"), ("triangle", "yellow"), ("cross", "purple")]
    picked = [[sprite(*shown[(i * columns + j) % len(shown)]) for j in range(columns)] for i in range(rows)]
    whole = np.concatenate([np.concatenate(row, axis=2) for row in picked], axis=1)[None]
    return np.roll(whole, (16, 16), axis=(2, 3))  # by half a sprite, so that tiles of sprites cut through them


def in_levels(picture: np.ndarray, highest: float) -> np.ndarray:
    """Round values to 32 levels from 0 to `highest`, which nobody sees, and which takes a third of the room."""
    return np.round(picture / highest * 31) / 31 * highest


@figure("tiled_decode")
def seams_and_their_repair(play) -> ImageGrid:
    """Draw a large picture through the trained VAE: whole, in tiles that touch, in blended tiles, and the errors.

    Two columns, for then there is room for the pictures in their own size: drawn smaller, they would lose their seams.
    """
    picture = array(wall(4, 3).astype(np.float32))
    yours, reference = play.scenario("seams", stack=stack(), picture=picture, tile=16, overlap=0.25)
    whole = reference["whole"].array
    shown = [("whole", whole), ("tiles that touch", reference["touching"].array)]
    shown.append(("reference", reference["blended"].array))
    found = entry(yours, "blended")
    if getattr(found, "array", None) is not None and found.shape == whole.shape:
        shown.append(("yours", found.array))

    def seam(one: np.ndarray) -> np.ndarray:
        return error_images(in_levels(one - whole, 0.5), np.zeros_like(whole), 0.5)[0]

    return ImageGrid(
        title="Seams, and their repair",
        caption="Sprites on 96×128 pixels, encoded and decoded by the small trained VAE: as a whole, in tiles of 16×16 "
        "latents that merely touch, and in overlapping tiles that are blended. At the right, how far each is from the "
        "whole. Tiles that touch cut sprites in two, and lose those that lie on a corner; blended, what is left are "
        "slopes, and faint patches that no ramp takes away: a tile's normalisation has seen the tile alone.",
        alt="A wall of sprites decoded in four ways, and black pictures with lines where tiles meet.",
        columns=["decoded", "|difference from the whole|, 0 to 0.5"],
        rows=[(label, [to_images(in_levels(one, 1.0))[0], seam(one)]) for label, one in shown],
    )


@figure("model_offload_hooks")
def gantt_of_the_moves(play) -> Chart:
    """Draw when each component is on the GPU in an image-to-image run: a raised line for each."""
    run = ["vae", "text_encoder", *["unet"] * 6, "vae"]
    yours, reference = play.scenario("residency", components=T2I, run=run)

    def lines(events: Any, shift: float) -> list[Points]:
        """Return one line a component: up while it is on the GPU."""
        found: list[Points] = []
        for row, name in enumerate(T2I):
            level = 0.0
            points: Points = [(0.0, row + shift)]
            for time, (moved, what) in enumerate(events, start=1):
                if moved == name and what in ("cpu", "gpu"):
                    points.append((float(time), row + shift + level))
                    level = 0.6 if what == "gpu" else 0.0
                    points.append((float(time), row + shift + level))
            found.append([*points, (float(len(events) + 1), row + shift + level)])
        return found

    series: list[tuple[str, Any, Points]] = []
    for name, points in zip(T2I, lines(reference, 0.0), strict=True):
        series.append((f"{name}, reference", "reference", points))
    if isinstance(yours, list) and all(isinstance(one, list) and len(one) == 2 for one in yours):
        for name, points in zip(T2I, lines(yours, 0.1), strict=True):
            series.append((f"{name}, yours", "yours", points))
    return Chart(
        title="Who is on the GPU",
        caption="An image-to-image run: the VAE encodes, the text encoder runs, the denoiser takes six steps, the VAE "
        "decodes. A line is raised while its component is on the GPU, and at every edge its weights cross the bus. "
        "Yours is drawn a little higher. Where two are raised at the same time, the GPU has to hold both; an edge "
        "between the denoiser's steps is paid at every step.",
        alt="Three lines, one above the other, each raised while a component is on the GPU; the reference never raises "
        "two at a time.",
        x_label="moves and calls, one after the other",
        y_label="0 text_encoder, 1 unet (the denoiser), 2 vae",
        series=series,
    )


@figure("checkpointed_forward")
def training_timeline(play) -> Chart:
    """Draw the bytes alive in forward and backward, with and without checkpoints."""
    given = {"x": randn(51, 256, 8), "cond": randn(52, 1, 8), "seg": 3, "depth": 12, "seed": 2, "hidden": 48}
    yours, reference = play.scenario("training_timelines", **given)
    gradients, border, block = 4 * 12 * (3 * 8 * 48 + 2 * 48 + 8), 4 * 256 * 8, 4 * 256 * (8 + 48)
    return Chart(
        title="Activations of twelve blocks",
        caption="Forward and backward through twelve blocks, without checkpoints and in segments of three. Without, "
        "activations pile up all the way forward, and are used up on the way back, which is longer. In segments only "
        "the borders pile up; then each segment is run once more, a tooth for each. That is more work, but both lines "
        "are stretched over the same axis. Parameters are not counted, their gradients are.",
        alt="Memory over the course of training: one mountain without checkpoints, a saw with four teeth with them.",
        x_label="operations done (%)",
        y_label="KiB alive",
        series=timeline_series(yours, reference, "checkpointed", "plain", KIB, plain="no checkpoints"),
        limits=[("bound: gradients + 4 borders + 6 blocks", (gradients + 4 * border + 6 * block) / KIB)],
    )


@figure("groupnorm_fp16")
def error_over_size(play) -> Chart:
    """Draw the largest error of the normalised activations over their size."""
    rng = np.random.default_rng(6)
    plain = rng.normal(size=(1, 4, 8, 8))
    sizes = [2.0**power for power in range(-6, 14)]
    mine: Points = []
    theirs: Points = []
    for size in sizes:
        x = (plain * size).astype(np.float16)
        yours, reference = play.call("groupnorm_fp16", array(x), 2, ones(4), ones(4) * 0.0, 1e-5)
        grouped = x.astype(np.float64).reshape(1, 2, -1)
        centred = grouped - grouped.mean(axis=2, keepdims=True)
        exact = (centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-5)).reshape(x.shape)
        for answer, points in ((yours, mine), (reference, theirs)):
            found = getattr(answer, "array", None)
            if found is not None and found.shape == exact.shape:
                error = np.abs(found.astype(np.float64) - exact).max()
                points.append((float(np.log2(size)), float(error) if np.isfinite(error) else 10.0))
    series: list[tuple[str, Any, Points]] = [("reference", "reference", theirs)]
    if len(mine) == len(sizes):
        series.append(("yours", "yours", mine))
    return Chart(
        title="How far activations may grow",
        caption="The largest error of the normalised values, against float64, for float16 activations of deviation "
        "2⁻⁶ to 2¹³. In float32 inside it is one rounding, whatever their size. Squared in float16, it jumps where "
        "the largest squares pass 65504, between 2⁶ and 2⁷; what is not finite is drawn at 10.",
        alt="A flat line near a thousandth.",
        x_label="log₂ of the activations' size",
        y_label="largest error",
        series=series,
        log_y=True,
    )


@figure("memory_plan")
def seconds_over_steps(play) -> Chart:
    """Draw the seconds of a run over its steps, for each strategy."""
    billion = 10**9
    components = [
        plan_component(817, 2, 0.1, False, 63, 32),
        plan_component(2567, 2, 0.7, True, 60, 260),
        plan_component(83, 2, 4.0, False, 3, 12),
    ]
    steps = [1, 5, 10, 20, 30, 40, 50]
    series: list[tuple[str, Any, Points]] = []
    for strategy in ("none", "model", "sequential", "group"):
        mine: Points = []
        theirs: Points = []
        for count in steps:
            yours, reference = play.call("memory_plan", components, count, 0.08, 12.0 * billion, strategy)
            theirs.append((float(count), reference["total_s"]))
            found = entry(yours, "total_s")
            if isinstance(found, float) and np.isfinite(found):
                mine.append((float(count), found))
        peak = reference["peak"] / billion
        series.append((f"{strategy}, {peak:.1f} GB", "reference", theirs))
        if len(mine) == len(steps):
            series.append((f"your {strategy}", "yours", mine))
    return Chart(
        title="Offload is not free",
        caption="Seconds of a run over its steps, for a pipeline of SDXL's size in half precision: 0.08 s of "
        "computation a step, a bus of 12 GB a second (both assumed). Model offload costs a constant; sequential and "
        "group offload cost the denoiser's weights at every step. Behind each name its peak.",
        alt="Four rising lines: two close together and low, two steep.",
        x_label="steps",
        y_label="seconds",
        series=series,
    )


def plan_component(millions: int, width: int, activations_gb: float, per_step: bool, leaf: int, group: int) -> dict:
    """Return a component of so many million parameters."""
    return {
        "params": millions * 10**6,
        "bytes_per_param": width,
        "activations": int(activations_gb * 10**9),
        "per_step": per_step,
        "largest_leaf": leaf * 10**6,
        "largest_group": group * 10**6,
    }


@figure("precision_report")
def psnr_over_size(play) -> Chart:
    """Draw the PSNR of a small model in two dtypes as its input grows."""
    factors = [2.0**power for power in range(-12, 19, 2)]
    given = {"weight": rand(61, 4, 1, 1), "mean": randn(62, 4, 1, 1) * 0.01, "factors": factors}
    dtypes = {"float16": dtype("float16"), "bfloat16": dtype("bfloat16")}
    x = randn(63, 2, 4, 6, 6)
    yours, reference = play.scenario("precisions", x=x, dtypes=list(dtypes.values()), **given)
    series: list[tuple[str, Any, Points]] = []
    for place, name in enumerate(dtypes):
        series.append((name, "reference", psnr_points(factors, reference[place])))
        if isinstance(yours, list) and len(yours) == len(dtypes) and all_numbers(yours[place]):
            series.append((f"{name}, yours", "yours", psnr_points(factors, yours[place])))
    return Chart(
        title="Digits and range",
        caption="PSNR of a small pointwise model against float32, for inputs from 2⁻¹² to 2¹⁸. float16 has three more "
        "bits, and nothing left where its range ends; bfloat16 is some 17 dB lower and does not care. What is not "
        "finite is drawn at 0.",
        alt="Two lines that rise a little and stay flat; the higher one falls to zero at the right.",
        x_label="log₂ of the input's size",
        y_label="PSNR (dB)",
        series=series,
    )


def all_numbers(values: Any) -> bool:
    """Tell whether these are floats."""
    return isinstance(values, list) and all(isinstance(value, float) for value in values)


def psnr_points(factors: list[float], values: list[float]) -> Points:
    """Return (log₂ of the factor, PSNR), with 0 for what is not finite."""
    return [
        (float(np.log2(factor)), float(value) if np.isfinite(value) else 0.0)
        for factor, value in zip(factors, values, strict=True)
    ]


@figure("step_cache")
def error_over_work(play) -> Chart:
    """Draw the error of the outputs over the share of the blocks that was run."""
    rng = np.random.default_rng(8)
    start, end = rng.normal(size=(2, 2, 6, 16))
    # From noise to a picture as in a sampler: fast at first, slow at the end.
    xs = [array((start * (1 - s) + end * s).astype(np.float32)) for s in np.linspace(0, 1, 30) ** 0.5]
    thresholds = [0.0, 0.02, 0.05, 0.08, 0.12, 0.18, 0.25, 0.4, 0.6]
    given = {"xs": xs, "thresholds": thresholds, "channels": 6, "blocks": 8, "seed": 3}
    yours, reference = play.scenario("error_over_work", **given)
    series: list[tuple[str, Any, Points]] = [("reference", "reference", sorted(map(tuple, reference)))]
    if isinstance(yours, list) and all(all_numbers(one) and np.isfinite(one).all() for one in yours):
        series.append(("yours", "yours", sorted(map(tuple, yours))))
    return Chart(
        title="What is left out has a price",
        caption="Eight random blocks over thirty steps, which change fast at first and slowly at the end; one point "
        "for each of nine thresholds, some of which coincide. Everything computed is no error; each block that is "
        "left out costs some, and the curve says how much. A rule that compares with the wrong step lies above it.",
        alt="A falling curve: the relative error over the share of blocks that was run, down to zero at 100 %.",
        x_label="blocks run (%)",
        y_label="relative error",
        series=series,
    )
