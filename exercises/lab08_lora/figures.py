"""Pictures of lab 08, drawn in the judge from answers of public calls."""

from typing import Any

import numpy as np

from fixtures import minisd
from fixtures.minisd import stack
from grader.kit import Chart, ImageGrid, Recipe, array, figure, randn, to_images

SHOWN = ("a red circle", "a green square", "a blue ring", "a yellow triangle")
SCALES = (0.0, 0.5, 1.0)
RANK = 4
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
SEED = 8

Points = list[tuple[float, float]]


def adapter() -> dict[str, np.ndarray]:
    """Return the trained adapter of outlined sprites."""
    return {name: values.astype(np.float32) for name, values in minisd.weights("lora").items()}


def comparable(yours: Any, reference: Any) -> bool:
    """Say whether the student's answer is a tensor of the reference's shape, so that it can be drawn."""
    return getattr(yours, "array", None) is not None and yours.shape == reference.shape


def numbered(values: Any, start: int = 1) -> Points:
    """Return (place, value), the first place being `start`."""
    return [(float(start + place), float(value)) for place, value in enumerate(values)]


def rows_of(label: str, yours: Any, reference: Any) -> list[tuple[str, Any]]:
    """Return the reference's row and, where it can be drawn, the student's."""
    rows = [(f"{label}, reference", to_images(reference.array))]
    if comparable(yours, reference):
        rows.append((f"{label}, yours", to_images(yours.array)))
    return rows


@figure("inject_lora")
def outlined_sprites(play) -> ImageGrid:
    """Sprites drawn by the trained UNet with the trained adapter, at three scales."""
    yours, reference = play.scenario(
        "styled",
        stack=stack(),
        weights={name: array(values) for name, values in adapter().items()},
        rank=RANK,
        scales=list(SCALES),
        prompts=list(SHOWN),
        noise=randn(SEED, len(SHOWN), 4, 8, 8),
    )
    rows = []
    for place, scale in enumerate(SCALES):
        mine = yours[place] if isinstance(yours, list) and len(yours) == len(reference) else None
        rows += rows_of(f"α/r = {scale:g}", mine, reference[place])
    return ImageGrid(
        title="An adapter, injected by you",
        caption="The course's little UNet with an adapter trained on outlined sprites, put in by your code. At "
        "scale 0 it is the base, at 1 outlined. With α for α/r the scale 0.5 is 2 and pictures fall apart; with a "
        "wrapper that nobody calls all your rows are the base; without the α all of them are outlined.",
        alt="In the reference's rows four sprites at three scales: filled, then thinner, then mere outlines.",
        columns=list(SHOWN),
        rows=rows,
    )


@figure("convert_kohya")
def a_file_in_foreign_names(play) -> ImageGrid:
    """Sprites drawn with the same adapter from a kohya file, whose αs carry part of the strength."""
    sd: dict[str, Recipe] = {}
    for name, values in adapter().items():
        module, _, half = name.removeprefix("unet.").partition(".lora_")
        stem = f"lora_unet_{module.replace('.', '_')}"
        # A quarter of B, and α four times the rank: together the adapter as it was trained.
        sd[f"{stem}.lora_down.weight" if half[0] == "A" else f"{stem}.lora_up.weight"] = array(
            values if half[0] == "A" else values / 4
        )
        sd[f"{stem}.alpha"] = array(np.array(4.0 * RANK, dtype=np.float32))
    given = {"prompts": list(SHOWN), "noise": randn(SEED, len(SHOWN), 4, 8, 8)}
    yours, reference = play.scenario("from_a_file", stack=stack(), sd=sd, **given)
    return ImageGrid(
        title="The same adapter in kohya's names",
        caption="The adapter of the outlined sprites from a kohya file with α = 4r, read by your code; what finds no "
        "layer under your names has no effect. Filled sprites: names, or αs, were lost. Nothing recognisable: a scale "
        "was applied twice.",
        alt="In the reference's row four outlined sprites.",
        columns=list(SHOWN),
        rows=rows_of("from the file", yours, reference),
    )


@figure("merge_unmerge")
def spectra(play) -> Chart:
    """Singular values of a trained layer, and of what merging the trained adapter adds to it."""
    W = minisd.weights("unet")[f"{LAYER}.weight"].astype(np.float32)
    A, B = (adapter()[f"unet.{LAYER}.lora_{half}.weight"] for half in "AB")
    yours, reference = play.call("merge", array(W), array(A), array(B / 2), 2.0 * RANK)  # half of B at twice α/r
    series = [
        ("W", "other", numbered(np.linalg.svd(W, compute_uv=False)[:12])),
        ("merged − W, reference", "reference", numbered(np.linalg.svd(reference.array - W, compute_uv=False)[:12])),
    ]
    if comparable(yours, reference) and np.isfinite(yours.array).all():
        series.append(("merged − W, yours", "yours", numbered(np.linalg.svd(yours.array - W, compute_uv=False)[:12])))
    return Chart(
        title="What an adapter adds has r directions",
        caption="The first twelve singular values of a projection of the course's little UNet, and of what its trained "
        "adapter of rank 4 adds: four, and then none. Here B is halved and α/r is 2. A wrong scale moves the whole "
        "line; a wrong product has another shape.",
        alt="A slowly falling line for the weight, and one that falls to zero after the fourth value for the "
        "reference's change.",
        x_label="number of the singular value",
        y_label="singular value",
        series=series,
    )


@figure("merge_unmerge")
def what_swapping_leaves(play) -> Chart:
    """How far a weight has drifted after adapters were merged and unmerged, in three precisions."""
    adapters = [(randn(SEED + i, 8, 96) * 0.1, randn(SEED + 50 + i, 64, 8) * 0.015) for i in range(12)]
    series = []
    for dtype in ("float32", "float16", "bfloat16"):
        W = (randn(SEED, 64, 96) * 0.03).to(dtype)
        yours, reference = play.scenario("drift", W=W, adapters=adapters, alpha=16.0)
        series.append((f"{dtype}, reference", "reference", numbered(reference)))
        if isinstance(yours, list) and all(isinstance(one, float) and np.isfinite(one) and one > 0 for one in yours):
            series.append((f"{dtype}, yours", "yours", numbered(yours)))
    return Chart(
        title="Merging and unmerging in turns",
        caption="Root mean square of the change of a weight of deviation 0.03, after so many adapters were merged "
        "and taken out again. Each rounding stays. Where unmerge is not merge's undoing, your lines lie far above.",
        alt="For the reference three rising lines on a logarithmic axis, bfloat16 above float16 and far above float32.",
        x_label="adapters, one after another",
        y_label="root mean square of what is left",
        series=series,
        log_y=True,
    )


@figure("lora_init")
def the_first_steps(play) -> Chart:
    """The gradients of A and B over the first steps of training a fresh adapter."""
    yours, reference = play.scenario(
        "first_steps",
        W=randn(SEED, 12, 16) * 0.3,
        x=randn(SEED + 1, 64, 16),
        target=randn(SEED + 2, 64, 12),
        r=4,
        alpha=8.0,
        seed=SEED,
        steps=12,
        lr=0.5,
    )
    series = []
    for name in ("A", "B"):
        series.append((f"gradient of {name}, reference", "reference", numbered(sizes(reference, name))))
        mine = sizes(yours, name)
        if len(mine) == len(reference):
            series.append((f"gradient of {name}, yours", "yours", numbered(mine)))
    return Chart(
        title="B learns first",
        caption="Root mean square of both gradients in the first twelve steps. A's has to be zero at the first, since "
        "B is. With both at zero your lines lie on the axis for ever; with both random neither starts at zero. Which "
        "numbers A begins with is free, so that your lines need not lie on the reference's.",
        alt="For the reference the gradient of B starts high and falls; that of A starts at zero and grows at first.",
        x_label="step",
        y_label="root mean square of the gradient",
        series=series,
    )


def sizes(log: Any, name: str) -> list[float]:
    """Return the root mean square of a gradient at each step, or nothing where there is none."""
    found = [entry.get(name) if isinstance(entry, dict) else None for entry in log] if isinstance(log, list) else []
    if not all(getattr(one, "array", None) is not None and np.isfinite(one.array).all() for one in found):
        return []
    return [float(np.sqrt(np.mean(one.array.astype(np.float64) ** 2))) for one in found]


@figure("combine_adapters")
def along_a_weight(play) -> Chart:
    """One output's value as the weight of the second of two adapters goes from -1 to 2."""
    x, W = randn(SEED, 1, 12), randn(SEED + 1, 8, 12) * 0.3
    adapters = [
        (randn(SEED + 2, 4, 12) * 0.3, randn(SEED + 3, 8, 4), 4.0),
        (randn(SEED + 4, 4, 12) * 0.3, randn(SEED + 5, 8, 4), 8.0),
    ]
    places = [round(-1 + 0.25 * i, 2) for i in range(13)]
    mine: Points = []
    theirs: Points = []
    for place in places:
        yours, reference = play.call("combine_adapters", x, W, adapters, [0.8, place])
        theirs.append((place, float(reference.array[0, 0])))
        if comparable(yours, reference) and np.isfinite(yours.array).all():
            mine.append((place, float(yours.array[0, 0])))
    series = [("reference", "reference", theirs)]
    if len(mine) == len(places):
        series.append(("yours", "yours", mine))
    return Chart(
        title="Weights count as they are",
        caption="One output of a layer with two adapters, over the second one's weight; the first has 0.8. It has to "
        "be straight from below weight 0 to above weight 1. Normalised weights and mixed matrices bend it, limits cut "
        "it off, a lost sign folds it.",
        alt="For the reference a straight falling line over weights from -1 to 2.",
        x_label="weight of the second adapter",
        y_label="output",
        series=series,
    )


@figure("lora_linear")
def along_the_rank(play) -> Chart:
    """How large an adapter's part is at the same α, as the rank grows."""
    ranks = [1, 2, 4, 8, 16, 32]
    mine: Points = []
    theirs: Points = []
    for r in ranks:
        x, W = randn(SEED, 64, 32), randn(SEED + 1, 16, 32) * 0.0
        yours, reference = play.call(
            "lora_linear", x, W, None, randn(SEED + r, r, 32) * 0.18, randn(SEED + 100 + r, 16, r), 8.0
        )
        theirs.append((float(r), float(np.sqrt(np.mean(reference.array**2)))))
        if comparable(yours, reference) and np.isfinite(yours.array).all():
            mine.append((float(r), float(np.sqrt(np.mean(yours.array.astype(np.float64) ** 2)))))
    series = [("reference", "reference", theirs)]
    if len(mine) == len(ranks):
        series.append(("yours", "yours", mine))
    return Chart(
        title="The same α at higher ranks",
        caption="Size of the adapter's part for α = 8 and random A and B. The sum over ranks grows with √r, the scale "
        "falls with r, so the part falls with √r. Without the division it rises; with √r in its place it stays about "
        "level from rank 2 on.",
        alt="For the reference a falling curve over ranks from 1 to 32.",
        x_label="rank",
        y_label="root mean square of the adapter's part",
        series=series,
    )


@figure("dora_linear")
def lengths_of_the_rows(play) -> Chart:
    """Lengths of the effective weight's rows beside the magnitudes that were asked for."""
    W, A, B = randn(SEED, 12, 20) * 0.3, randn(SEED + 1, 4, 20) * 0.3, randn(SEED + 2, 12, 4)
    wanted = np.linspace(0.5, 3.0, 12).astype(np.float32)
    unit = array(np.eye(20, dtype=np.float32))
    yours, reference = play.call("dora_linear", unit, W, None, A, B, array(wanted), 8.0, False)
    series = [("reference", "reference", lengths(reference, wanted))]
    if comparable(yours, reference) and np.isfinite(yours.array).all():
        series.append(("yours", "yours", lengths(yours, wanted)))
    return Chart(
        title="m is the length of a row",
        caption="The answers to unit vectors are the columns of the effective weight; shown are its rows' lengths, "
        "over the magnitudes that they should have. Normalised by anything else, they leave the straight line.",
        alt="For the reference a straight rising line.",
        x_label="m, the magnitude asked for",
        y_label="length of the row",
        series=series,
    )


def lengths(answer: Any, wanted: np.ndarray) -> Points:
    """Return (magnitude, length of that output's row)."""
    rows = np.linalg.norm(answer.array.astype(np.float64), axis=0)
    return [(float(m), float(length)) for m, length in zip(wanted, rows, strict=True)]
