"""Pictures of lab 09: sprites drawn under edge maps by the student's code, and an attention to a reference by hand.

The networks are the miniature stack of fixtures/minisd and its ControlNet, which were trained and really draw.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fixtures import minisd, scenes
from fixtures.minisd import stack
from fixtures.sprites import sprite
from grader.kit import Chart, ImageGrid, array, entry, error_images, figure, ones, randn, to_images, zeros

SEED, STEPS, GUIDANCE = 9, 10, 3.0
SHOWN = scenes.sample(4, np.random.default_rng(3))


@cache
def control() -> dict[str, Any]:
    """Return the trained ControlNet for a scenario: configuration and weights."""
    weights = {name: array(values) for name, values in minisd.weights("controlnet").items()}
    return {"stack": stack(), "config": minisd.config("controlnet"), "weights": weights}


def edge_maps(shown: scenes.Scenes) -> np.ndarray:
    """Return control images (N, 3, 32, 32) in [0, 1]."""
    return np.repeat(scenes.edges(shown)[:, None], 3, axis=1)


def comparable(yours: Any, reference: Any) -> bool:
    """Say whether the student's answer is a tensor of the reference's shape, so that it can be drawn."""
    return getattr(yours, "array", None) is not None and yours.shape == reference.shape


def shades(values: np.ndarray, highest: float = 1.0) -> np.ndarray:
    """Round to 32 shades on either side of 0, which nobody sees: a record has no room for all pictures otherwise."""
    return np.round(values / highest * 32) / 32 * highest


def drawn(yours: Any, reference: Any, *above: tuple[str, Any], highest: float = 1.0) -> list[tuple[str, Any]]:
    """Return the rows of a grid: what is given, the reference's pictures, yours and the difference."""
    rows = [*above, ("reference", to_images(shades(reference.array)))]
    if comparable(yours, reference):
        apart = shades(yours.array - reference.array, highest)
        rows.append(("yours", to_images(shades(yours.array))))
        rows.append((f"|difference|, 0 to {highest:g}", error_images(apart, np.zeros_like(apart), highest)))
    return rows


@figure("control_residuals")
def weights_by_depth(play) -> Chart:
    """The factor of each residual of Stable Diffusion's thirteen, read off features of 1 and convolutions that copy."""
    conv, feats = (ones(1, 1, 1, 1), zeros(1)), [ones(1, 1, 1, 1) for _ in range(12)]
    series: list[Any] = []
    for label, guess in (("guess mode", True), ("plain", False)):
        yours, reference = play.call("control_residuals", feats, ones(1, 1, 1, 1), [conv] * 12, conv, 1.0, guess)
        series.append((label, "reference", factors(reference)))
        mine = factors(yours)
        if len(mine) == 13:
            series.append((f"your {label}", "yours", mine))
    series.append(("equal steps", "other", [(float(j), 0.1 + 0.9 * j / 12) for j in range(13)]))
    return Chart(
        title="What counts at which depth",
        caption="The factor of each residual, 0 after conv_in, 12 of the mid block. In guess mode it rises in equal "
        "ratios: a straight line here. In equal steps the layers between would count up to nearly twice as much.",
        alt="A straight line from 0.1 to 1 for guess mode, a level line at 1 without, and a bent one for equal steps.",
        x_label="residual",
        y_label="factor",
        series=series,
        log_y=True,
    )


def factors(answer: Any) -> list[tuple[float, float]]:
    """Return (depth, factor) of each residual that is a single positive number."""
    down = entry(answer, "down")
    residuals = [*(down if isinstance(down, list) else []), entry(answer, "mid")]
    arrays = [getattr(one, "array", None) for one in residuals]
    numbers = [float(one.reshape(-1)[0]) for one in arrays if one is not None and one.size == 1]
    return [(float(depth), number) for depth, number in enumerate(numbers) if number > 0]


@figure("unet_with_control")
def drawn_through_your_unet(play) -> ImageGrid:
    """Sprites under edge maps, through the student's forward pass of the trained UNet."""
    edges = edge_maps(SHOWN)
    prompts = scenes.captions(SHOWN)
    given = {"prompts": prompts, "edges": array(edges), "noise": randn(SEED, 4, 4, 8, 8), "steps": STEPS}
    yours, reference = play.scenario("drawn_through", **control(), **given)
    return ImageGrid(
        title="Through your forward pass",
        caption=f"The trained UNet and ControlNet, {STEPS} DDIM steps, guidance 3; all of the UNet's calls are yours. "
        "A residual that goes astray may hardly show: with the mid residual before the mid block only the rims change.",
        alt="Edge maps, and under each a sprite or two that fill its lines.",
        columns=prompts,
        rows=drawn(yours, reference, ("edge map", to_images(edges * 2 - 1)), highest=0.25),
    )


@figure("control_window")
def windows_that_end(play) -> ImageGrid:
    """One edge map under windows that end sooner and sooner, and under late ones."""
    one = SHOWN[1:2]
    windows = [(0.0, 1.0), (0.0, 0.5), (0.0, 0.25), (0.0, 0.1), (0.3, 1.0), (0.6, 1.0)]
    given = {"prompts": scenes.captions(one), "edges": array(edge_maps(one)), "noise": randn(SEED, 1, 4, 8, 8)}
    yours, reference = play.scenario("drawn_in_windows", **control(), **given, steps=STEPS, windows=windows)
    return ImageGrid(
        title="When control counts",
        caption=f"“{scenes.captions(one)[0]}” under one edge map, {STEPS} steps, in the windows that your function "
        "says. On this small stack the later half of the loop decides: in the reference's row a ring whose control "
        "ends early leaves its edges, and one whose control begins at 0.3 lies on them.",
        alt="The same ring six times: on its edges with the whole window and the late ones, elsewhere with early ones.",
        columns=[f"{start:g} to {end:g}" for start, end in windows],
        rows=drawn(yours, reference, ("edge map", to_images(np.repeat(edge_maps(one), 6, axis=0) * 2 - 1))),
    )


def alone(scene: scenes.Scenes, slot: int) -> scenes.Scenes:
    """Return the scene with one of its two sprites only."""
    order = [slot, 1 - slot]
    columns = {name: getattr(scene, name)[:, order] for name in ("shape", "colour", "cx", "cy", "r")}
    return replace(scene, layout=np.array([scenes.ONE]), **columns)


@figure("multi_control")
def two_maps_together(play) -> ImageGrid:
    """Two edge maps of one sprite each: one, the other, both."""
    pair = scenes.sample(1, np.random.default_rng(12), (scenes.LEFT_RIGHT,))
    maps = [edge_maps(alone(pair, slot)) for slot in (0, 1)]
    rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5], [2.0, 2.0]]
    given = {"prompt": scenes.captions(pair)[0], "hints": [array(one) for one in maps]}
    noise = randn(SEED + 1, 1, 4, 8, 8)
    yours, reference = play.scenario("drawn_together", **control(), **given, rows=rows, noise=noise, steps=STEPS)
    shown = [maps[0], maps[1], *[np.maximum(*maps)] * 3]
    return ImageGrid(
        title="One map, the other, both",
        caption=f"“{scenes.captions(pair)[0]}”, with an edge map for each sprite and a ControlNet for each map, joined "
        "by your function. In the reference's row the other sprite withers where one map is alone, and at twice the "
        "scale of the training a colour goes wrong.",
        alt="A yellow triangle and a green square: one of them under one map, both under both, a red triangle at 2.",
        columns=["first", "second", "both", "both, 0.5", "both, 2"],
        rows=drawn(yours, reference, ("edge maps", to_images(np.concatenate(shown) * 2 - 1))),
    )


def loop(play: Any, shown: scenes.Scenes, scales: list[float], guess: bool = False) -> tuple[Any, Any]:
    """Draw scenes under their edge maps by the student's loop."""
    options = {"guidance_scale": GUIDANCE, "start": 0.0, "end": 1.0, "steps": STEPS, "guess": guess}
    given = {"prompts": scenes.captions(shown), "edges": array(edge_maps(shown)), "scales": scales}
    noise = randn(SEED, len(shown), 4, 8, 8)
    answers: tuple[Any, Any] = play.scenario("drawn_by_the_loop", **control(), **given, noise=noise, **options)
    return answers


@figure("control_loop")
def from_edges_to_sprites(play) -> ImageGrid:
    """Four scenes under their edge maps."""
    edges = ("edge map", to_images(edge_maps(SHOWN) * 2 - 1))
    _, without = loop(play, SHOWN, [0.0])
    rows = drawn(*loop(play, SHOWN, [1.0]), edges, ("no control", to_images(without.array)))
    return ImageGrid(
        title="From edges to sprites",
        caption=f"Your loop with the trained stack and its ControlNet: {STEPS} DDIM steps, guidance 3, scale 1. The "
        "prompt says what, the edge map where. The row without control is the reference's.",
        alt="Edge maps; scenes drawn without them, which lie elsewhere; and scenes that lie on their edges.",
        columns=scenes.captions(SHOWN),
        rows=rows,
    )


@figure("control_loop")
def strength_is_no_quality(play) -> ImageGrid:
    """One scene at scales from 0 to 4, with guess mode below."""
    one, scales = SHOWN[:1], [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]
    edges = np.repeat(edge_maps(one), len(scales), axis=0)
    rows: list[tuple[str, Any]] = [("edge map", to_images(edges * 2 - 1))]
    for label, guess in (("plain", False), ("guess mode", True)):
        yours, reference = loop(play, one, scales, guess)
        rows.append((f"{label}, reference", to_images(shades(reference.array))))
        if comparable(yours, reference):
            rows.append((f"{label}, yours", to_images(shades(yours.array))))
    return ImageGrid(
        title="Strength is no quality",
        caption=f"“{scenes.captions(one)[0]}” under one edge map, at several conditioning scales. At 0 the prompt is "
        "alone; from 0.25 on the reference's crosses lie on their edges, to a pixel; at 4, far above the 1 of the "
        "training, they are blunt and their colours run. In guess mode guidance amplifies the structure too, and at "
        "4 the prompt's blue is lost.",
        alt="An edge map, and two crosses six times: away from it at scale 0, on it from 0.25, misshapen at 4.",
        columns=[f"scale {scale:g}" for scale in scales],
        rows=rows,
    )


@figure("ip_adapter_attention")
def a_reference_by_hand(play) -> ImageGrid:
    """A red circle by the text, under the colours of a reference, at five scales; the weights are made by hand."""
    scales = [0.0, 0.25, 0.5, 0.75, 1.0]
    cover = (sprite("circle", "white").mean(axis=0) > 0).astype(np.float32)
    # Two channels say whether a place lies in the circle; tokens carry the same two, and a colour.
    x = np.stack([cover, 1 - cover, np.zeros_like(cover)], axis=-1).reshape(1, -1, 3)
    text = np.array([[[1, 0, 0.9, -0.8, -0.8], [0, 1, -0.8, -0.8, -0.8]]], dtype=np.float32)
    picture = np.array([[[1, 0, 0, 0.2, 1.6], [0, 1, 0, 0, 0], [0, 1, 0.2, 0.2, 0.2]]], dtype=np.float32)
    place = np.zeros((3, 5), dtype=np.float32)
    place[0, 0] = place[1, 1] = 1
    colour = np.eye(3, 5, 2, dtype=np.float32)
    eye = np.eye(3, dtype=np.float32)
    weights = {
        "q": 12 * eye,
        "k": place,
        "v": colour,
        "ik": place,
        "iv": colour,
        "o": eye,
        "ob": np.zeros(3, np.float32),
    }
    made = {name: array(weight) for name, weight in weights.items()}
    found, expected = [], []
    for scale in scales:
        yours, reference = play.call("ip_adapter_attention", array(x), array(text), array(picture), made, 1, scale)
        expected.append(as_picture(reference.array))
        if comparable(yours, reference):
            found.append(as_picture(yours.array))
    rows = [("reference", to_images(np.concatenate(expected)))]
    if len(found) == len(scales):
        rows.append(("yours", to_images(np.concatenate(found))))
        rows.append(("|difference|, 0 to 1", error_images(np.concatenate(found), np.concatenate(expected), 1.0)))
    return ImageGrid(
        title="A reference beside the text",
        caption="A sketch with weights made by hand, for no IP-Adapter was trained: the text's tokens paint a red "
        "circle, the reference's tokens add blue to it. Decoupled, the red stays what it was at every scale. In one "
        "softmax the tokens share the weight, and the circle is pale even at scale 0.",
        alt="A red circle that turns to magenta as the scale grows from 0 to 1.",
        columns=[f"scale {scale:g}" for scale in scales],
        rows=rows,
    )


def as_picture(values: np.ndarray) -> np.ndarray:
    """Return (1, 1024, 3) as a picture (1, 3, 32, 32)."""
    return values.reshape(1, 32, 32, 3).transpose(0, 3, 1, 2)


@figure("control_overhead")
def what_a_window_saves(play) -> Chart:
    """Extra work and controlled steps over the window's end, both as a share of the UNet's work and of the steps."""
    unet, net = {"params": 2380516, "flops": 113405952}, {"params": 1177168, "flops": 60358656}
    ends = [0.1 * place for place in range(1, 11)]
    lines: dict[str, Any] = {"work": [], "steps": [], "your work": [], "your steps": []}
    for end in ends:
        yours, reference = play.call("control_overhead", unet, net, 20, (0.0, min(end + 1e-9, 1.0)), True, False, 2)
        for mine, answer in (("", reference), ("your ", yours)):
            slowdown, controlled = entry(answer, "slowdown"), entry(answer, "controlled_steps")
            if isinstance(slowdown, (int, float)) and isinstance(controlled, (int, float)):
                lines[f"{mine}work"].append((end, float(slowdown) - 1))
                lines[f"{mine}steps"].append((end, float(controlled) / 20))
    return Chart(
        title="What a window saves",
        caption="Extra work of the miniature stack's ControlNet, as a share of the UNet's, and the share of steps that "
        "count, over the window's end. The work stays: diffusers multiplies by 0 what it computed.",
        alt="A level line at 0.53 for the work, and a rising line for the share of controlled steps.",
        x_label="control_guidance_end",
        y_label="share",
        series=[
            (label, "yours" if label.startswith("your") else "reference", points)
            for label, points in lines.items()
            if points
        ],
    )


@figure("control_image")
def as_the_network_sees_it(play) -> ImageGrid:
    """Edge maps and pictures as the student's function hands them over, drawn on the scale from -1 to 1."""
    picture = np.round((sprite("ring", "orange") + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)[None]
    edges = np.round(scenes.edges(SHOWN[:1]) * 255).astype(np.uint8)
    hole = np.zeros((1, 32, 32), dtype=bool)
    hole[:, 6:20, 12:26] = True
    cases = (
        ("colours", array(picture), (32, 32), None),
        ("half the size", array(edges), (16, 16), None),
        ("edge map", array(edges), (32, 32), None),
        ("to be filled in", array(picture), (32, 32), array(hole)),
    )
    found, expected = [], []
    for _, levels, size, mask in cases:
        yours, reference = play.call("control_image", levels, size, mask)
        expected.append(enlarged(reference.array))
        if comparable(yours, reference):
            found.append(enlarged(yours.array))
    rows = [("reference", to_images(np.concatenate(expected)))]
    if len(found) == len(cases):
        rows.append(("yours", to_images(np.concatenate(found))))
    return ImageGrid(
        title="As the network sees it",
        caption="Drawn on the scale from −1, black, to 1, white. A control image lies in its upper half, so its black "
        "is grey here; only pixels to be filled in are black.",
        alt="An orange ring, two edge maps on grey, and the ring with a black rectangle.",
        columns=[label for label, *_ in cases],
        rows=rows,
    )


def enlarged(image: np.ndarray) -> np.ndarray:
    """Return (1, 3, h, w) at 32 by 32."""
    return image.repeat(32 // image.shape[2], axis=2).repeat(32 // image.shape[3], axis=3)
