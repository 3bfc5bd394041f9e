"""Pictures of lab 04, drawn in the judge from answers of public calls."""

from typing import Any

import numpy as np

from fixtures.minisd import stack
from fixtures.sprites import sprite
from grader.kit import Chart, ImageGrid, array, beside, entry, figure, randn, tensor, to_images

PICTURE_SEED = 11
SCALES = [round(float(s), 2) for s in np.linspace(0, 12, 30)]
ACROSS = 10
SCENE = "a red circle left of a blue square"
PROMPTS = [SCENE, "a yellow triangle above a purple ring", "a green cross"]
HIGH = [3.0, 7.5, 12.0, 15.0]
STEPS = 10

Points = list[tuple[float, float]]


def comparable(yours: Any, reference: Any) -> bool:
    """Say whether the student's answer is a tensor of the reference's shape, so that it can be drawn."""
    return getattr(yours, "array", None) is not None and yours.shape == reference.shape


def both(label: str, yours: Any, reference: Any, drawn: Any) -> list[tuple[str, Any, Points]]:
    """Return the reference's line and, where it can be drawn, the student's. `drawn` turns an array into points."""
    series = [(label, "reference", drawn(reference.array))]
    if comparable(yours, reference):
        with np.errstate(all="ignore"):
            series.append((f"your {label}", "yours", drawn(yours.array.astype(np.float64))))
    return series


def coarse(values: Any) -> list[np.ndarray]:
    """Return images in 17 levels a channel: a page has room for 150 kB of pictures, and this lab has many."""
    return [np.minimum(np.rint(image / 16) * 16, 255).astype(np.uint8) for image in to_images(values)]


@figure("cfg")
def thirty_scales(play) -> ImageGrid:
    """One sprite scene from one noise, at thirty guidance scales."""
    yours, reference = play.scenario(
        "scales",
        model=stack(),
        prompt=SCENE,
        noise=randn(PICTURE_SEED, 1, 4, 8, 8),
        scales=SCALES,
        steps=STEPS,
    )
    theirs = coarse(reference.array)
    mine = coarse(yours.array) if comparable(yours, reference) else None
    rows = []
    for at in range(0, len(SCALES), ACROSS):
        span = f"{SCALES[at]:.1f} to {SCALES[at + ACROSS - 1]:.1f}"
        rows.append((f"reference, {span}", theirs[at : at + ACROSS]))
        if mine is not None:
            rows.append((f"yours, {span}", mine[at : at + ACROSS]))
    return ImageGrid(
        title="Thirty guidance scales, 0 to 12",
        caption=f"“{SCENE}”, one noise, {STEPS} steps of a small trained model; the scale grows by 0.41 a "
        "picture. At 0 the prompt is not read, at 1 it is read once; above 5 contrast grows, and shapes break.",
        alt="Thirty small pictures: first none of what the prompt asks, then a red circle left of a blue square, "
        "then ever harder contrasts.",
        columns=[f"+{SCALES[k]:.1f}" for k in range(ACROSS)],
        rows=rows,
    )


@figure("cfg")
def the_arrow(play) -> Chart:
    """Guidance in the plane: uncond, cond, and the tip of the arrow at scales 0 to 3."""
    cond, uncond = np.array([[2.0, 1.0]], dtype=np.float32), np.array([[0.5, 0.5]], dtype=np.float32)
    series: list[tuple[str, Any, Points]] = []
    tips: dict[str, Points] = {"reference": [], "yours": []}
    for scale in (0.0, 1.0, 2.0, 3.0):
        yours, reference = play.call("cfg", array(cond), array(uncond), scale)
        for role, answer in (("reference", reference), ("yours", yours)):
            if comparable(answer, reference) and np.isfinite(answer.array).all():
                x, y = answer.array.astype(np.float64)[0]
                tips[role].append((float(x), float(y)))
    series.append(("reference, s = 0, 1, 2, 3", "reference", tips["reference"]))
    if tips["yours"]:
        series.append(("yours", "yours", tips["yours"]))
    return Chart(
        title="Guidance is an arrow",
        caption="A prediction of two numbers: uncond is (0.5, 0.5), cond (2, 1). The points are scale 0, 1, 2 and 3. "
        "Scale 1 ends at cond, guidance goes on in the same direction.",
        alt="Points on a straight line from uncond through cond and beyond it.",
        x_label="first number of the prediction",
        y_label="second number",
        series=series,
    )


@figure("guided_prediction")
def three_prompts_at_once(play) -> ImageGrid:
    """Three prompts in one batch, sampled with the student's guided prediction."""
    yours, reference = play.scenario(
        "batch",
        model=stack(),
        prompts=PROMPTS,
        noise=randn(PICTURE_SEED, 3, 4, 8, 8),
        scale=5.0,
        steps=STEPS,
    )
    return ImageGrid(
        title="Three prompts in one batch",
        caption="Three prompts, one batch, scale 5. Where rows meet the wrong partner, a picture gets its neighbour's "
        "prompt, or none. Where the halves are exchanged, guidance leads away from the prompt, and shapes burn white.",
        alt="Three small pictures: a red circle left of a blue square, a yellow triangle above a purple ring, a cross.",
        columns=[prompt.replace("a ", "", 1) for prompt in PROMPTS],
        rows=beside(yours, reference),
    )


@figure("build_cfg_embeds")
def the_rows_of_the_batch(play) -> ImageGrid:
    """The batch of conditions, drawn: every embedding is a picture."""
    prompt = np.stack([sprite("circle", "red"), sprite("square", "blue")])
    negative = np.stack([sprite("cross", "red", background=-0.2), sprite("ring", "blue", background=-0.2)])
    empty = np.full((1, 3, 32, 32), -0.9, dtype=np.float32)
    flat = [array(one.reshape(len(one), 3, 32 * 32)) for one in (prompt, negative, empty)]
    yours, reference = play.call("build_cfg_embeds", *flat, 2, 7.5)
    rows = [("reference", to_images(reference.array.reshape(-1, 3, 32, 32)))]
    if comparable(yours, reference):
        rows.append(("yours", to_images(yours.array.reshape(-1, 3, 32, 32))))
    return ImageGrid(
        title="Who sits where in the batch",
        caption="Embeddings drawn as pictures: two prompts (circle, square) with a negative prompt each (cross, ring), "
        "two pictures a prompt. The unconditional half comes first, copies are neighbours.",
        alt="Eight tiles: cross, cross, ring, ring, circle, circle, square, square.",
        columns=[f"row {k}" for k in range(8)],
        rows=rows,
    )


@figure("rescale_guidance")
def what_the_deviation_does(play) -> Chart:
    """The standard deviation of the guided prediction over the scale, for three φ."""
    uncond = np.random.default_rng(5).normal(0, 1, (1, 4, 16, 16)).astype(np.float32)
    cond = uncond + np.random.default_rng(6).normal(0, 0.2, uncond.shape).astype(np.float32)
    scales = [float(s) for s in range(1, 16)]
    guided = np.concatenate([uncond + s * (cond - uncond) for s in scales])
    series: list[tuple[str, Any, Points]] = [
        ("guided", "other", [(s, float(g.std())) for s, g in zip(scales, guided, strict=True)])
    ]

    def line(values: np.ndarray) -> Points:
        return [(s, float(value.std())) for s, value in zip(scales, values, strict=True)]

    for phi in (0.7, 1.0):
        yours, reference = play.call("rescale_guidance", array(guided), array(np.repeat(cond, 15, axis=0)), phi)
        series += both(f"φ = {phi:g}", yours, reference, line)
    return Chart(
        title="Guidance raises the deviation, rescaling brings it back",
        caption="The standard deviation of a guided prediction over the scale; that of cond stands at scale 1. "
        "φ = 1 brings it all the way back, φ = 0.7 most of it.",
        alt="The deviation grows with the scale without rescaling, slowly with φ = 0.7, and not at all with φ = 1.",
        x_label="guidance scale",
        y_label="standard deviation",
        series=series,
    )


@figure("rescale_guidance")
def high_scales_rescaled(play) -> ImageGrid:
    """Pictures at high scales, plain and rescaled."""
    rows = []
    for label, phi in (("φ = 0", 0.0), ("φ = 0.7", 0.7)):
        yours, reference = play.scenario(
            "rescaled",
            model=stack(),
            prompt=SCENE,
            noise=randn(PICTURE_SEED, 1, 4, 8, 8),
            scales=HIGH,
            phi=phi,
            steps=STEPS,
        )
        rows.append((f"{label}, reference", coarse(reference.array)))
        if comparable(yours, reference):
            rows.append((f"{label}, yours", coarse(yours.array)))
    return ImageGrid(
        title="High scales, rescaled",
        caption="At φ = 0 a high scale burns the circle orange; at φ = 0.7 it stays red. A deviation of the whole "
        "batch hardly shows here: see the chart. The network predicts ε, which is read as v for rescaling, for which "
        "the rule was made: an ε that is made smaller would remove less noise.",
        alt="Pictures of a red circle left of a blue square at growing scales, without and with rescaling.",
        columns=[f"s = {s:g}" for s in HIGH],
        rows=rows,
    )


@figure("guidance_plan")
def the_window(play) -> Chart:
    """The scale of each of thirteen steps."""
    n = 13
    yours, reference = play.call("guidance_plan", n, 0.2, 0.65, 7.5)

    def bars(scales: np.ndarray) -> Points:
        return [point for i, s in enumerate(scales) for point in ((i, float(s)), (i + 1, float(s)))]

    cost = entry(yours, "evaluations")
    said = f" Yours: {cost}." if type(cost) is int else ""
    return Chart(
        title="Guided from 0.2 to 0.65 of thirteen steps",
        caption=f"The edges, 2.6 and 8.45 steps, are cut down to 2 and 8. Evaluations: {reference['evaluations']} "
        f"in place of {2 * n}.{said}",
        alt="Steps of height 1, then 7.5 from step 2 to step 7, then 1 again.",
        x_label="step",
        y_label="guidance scale",
        series=both("scale", entry(yours, "scale"), reference["scale"], bars),
    )


@figure("guidance_embedding")
def the_features_of_the_scale(play) -> ImageGrid:
    """A heat map: a row a scale, a column a feature."""
    scales = [1 + k / 8 for k in range(64)]
    yours, reference = play.call("guidance_embedding", tensor(scales), 64)
    rows = [("reference", to_images(reference.array[None, None]))]
    if comparable(yours, reference):
        rows.append(("yours", to_images(yours.array[None, None])))
    return ImageGrid(
        title="How a network reads the scale",
        caption="64 features (sines, then cosines, each from fast to slow) of 64 scales, 1 at the top to 8.9. White "
        "is 1, black −1. The slow ones tell scales apart roughly, the fast ones finely.",
        alt="A heat map with stripes that grow from narrow to wide, twice.",
        columns=["feature →, scale ↓"],
        rows=rows,
    )


@figure("APG")
def projected_at_high_scales(play) -> ImageGrid:
    """Pictures at high scales, by plain guidance and by APG."""
    yours, reference = play.scenario(
        "projected",
        model=stack(),
        prompt=SCENE,
        noise=randn(PICTURE_SEED, 1, 4, 8, 8),
        scales=HIGH,
        options=[0.0, 0.0, None],
        steps=STEPS,
    )
    rows = [("plain guidance", coarse(reference["plain"].array)), ("APG, reference", coarse(reference["apg"].array))]
    mine = entry(yours, "apg")
    if comparable(mine, reference["apg"]):
        rows.append(("APG, yours", coarse(mine.array)))
    return ImageGrid(
        title="High scales, projected",
        caption="One noise at four scales, by plain guidance and by APG with η = 0. In a model as small as "
        "this one APG mends little of what a high scale breaks; wrong projections break more.",
        alt="Pictures of a red circle left of a blue square at growing scales: by plain guidance, and by APG.",
        columns=[f"s = {s:g}" for s in HIGH],
        rows=rows,
    )


@figure("APG")
def parallel_and_orthogonal(play) -> Chart:
    """The tips of the arrow in the plane for η from 0 to 1."""
    cond, uncond = np.array([[[4.0, 0.0]]], dtype=np.float32), np.array([[[1.0, -4.0]]], dtype=np.float32)
    series: list[tuple[str, Any, Points]] = [("plain guidance", "other", [(1.0, -4.0), (7.0, 4.0)])]
    for eta in (0.0, 0.5):
        yours, reference = play.scenario(
            "apg", options=[2.0, eta, 0.0, None], cond=array(cond), uncond=array(uncond), sizes=tensor([1.0])
        )
        mine = yours[0] if isinstance(yours, (list, tuple)) and yours else None
        series += both(
            f"η = {eta:g}", mine, reference[0], lambda tip: [(1.0, -4.0), (float(tip[0, 0]), float(tip[0, 1]))]
        )
    return Chart(
        title="The part along cond is turned down",
        caption="From uncond = (1, −4) at scale 2; cond = (4, 0) points right. Plain guidance goes right and up, "
        "η = 0 straight up: what lies along cond is left out.",
        alt="Three arrows from one point: the plain one slanted to the right, the others steeper.",
        x_label="along cond",
        y_label="at a right angle to cond",
        series=series,
    )


@figure("guided_sample")
def four_plans(play) -> ImageGrid:
    """One noise under four plans."""
    off, on = [1.0] * 5, [6.0] * 5
    plans = {"off": off + off, "first half": on + off, "second half": off + on, "everywhere": on + on}
    yours, reference = play.scenario(
        "planned", model=stack(), prompt=SCENE, noise=randn(22, 1, 4, 8, 8), plans=list(plans.values())
    )
    return ImageGrid(
        title="Where guidance acts",
        caption="One noise, ten steps, scale 6 in the steps named. The numbers are evaluations of the network. Early "
        "steps decide the shape: guided in the second half only, the circle has become a cross. Without guidance the "
        "square is cyan.",
        alt="Circle and cyan square, circle and blue square, cross and blue square, circle and blue square.",
        columns=[f"{name}: {sum(1 if s == 1 else 2 for s in plan)}" for name, plan in plans.items()],
        rows=beside(yours, reference),
    )
