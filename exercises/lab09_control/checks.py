"""Checks of lab 09. The docstring of a check is the sentence that a student reads."""

from typing import Any

import numpy as np

from grader.kit import Recipe, array, check, tensor, values, witnessed, zeros

# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_residuals", visible=True, tells="Not yet. Write down every skip that the encoder leaves.")
def test_prediction_of_the_residuals(compare):
    """Prediction: number and shapes of the residuals of one guided picture."""
    compare.checkpoint_residuals()


@check("checkpoint_places", visible=True, tells="Not yet. Which tensors are computed before a residual is added?")
def test_prediction_of_the_places(compare):
    """Prediction: the tensors of the UNet that are other numbers under control."""
    compare.checkpoint_places()


@check("checkpoint_evaluations", visible=True, tells="Not yet. What is multiplied by 0 was computed first.")
def test_prediction_of_the_evaluations(compare):
    """Prediction: calls and rows of a run with a window and guess mode."""
    compare.checkpoint_evaluations()


@check("checkpoint_zero_conv", visible=True, tells="Not yet. Write y = w·h + b at w = b = 0 and differentiate.")
def test_prediction_of_what_learns(compare):
    """Prediction: the parameters with a gradient in the first training step."""
    compare.checkpoint_zero_conv()


@check("checkpoint_adapters", visible=True, tells="Not yet. Which of them could be merged into the checkpoint?")
def test_prediction_of_the_adapters(compare):
    """Prediction: what LoRA, ControlNet and IP-Adapter each bring."""
    compare.checkpoint_adapters()


@check("checkpoint_strength", visible=True, tells="Not yet. The scale is a factor of the residuals, and nothing else.")
def test_prediction_of_the_strength(compare):
    """Prediction: what the conditioning scale does to residuals and picture."""
    compare.checkpoint_strength()


# control_residuals


def branch(draw: Any, batch: int, sizes: list[tuple[int, int, int]], dtype: str = "float32") -> dict[str, Any]:
    """Return features of the sizes (channels, height, width), the last one's twin as mid, and filled convolutions."""

    def conv(channels: int) -> tuple[Recipe, Recipe]:
        weight = draw.normal(channels, channels, 1, 1) * (0.8 / channels**0.5)
        return weight.to(dtype), draw.normal(channels).to(dtype)

    return {
        "feats": [draw.normal(batch, *size).to(dtype) for size in sizes],
        "mid": draw.normal(batch, *sizes[-1]).to(dtype),
        "zero_convs": [conv(size[0]) for size in sizes],
        "zero_mid": conv(sizes[-1][0]),
    }


@check("control_residuals", visible=True)
def test_residuals(compare, draw):
    """Each feature goes through its own convolution, and then counts as much as the scale says."""
    compare.control_residuals(**branch(draw, 2, [(4, 6, 5), (4, 6, 5), (6, 3, 2)]), scale=0.7, guess=False)


@check("control_residuals", visible=True)
def test_residuals_in_guess_mode(compare, draw):
    """In guess mode deep features count more than shallow ones."""
    compare.control_residuals(**branch(draw, 2, [(4, 6, 5), (4, 6, 5), (6, 3, 2)]), scale=1.0, guess=True)


@check("control_residuals", visible=True, property=True)
def test_fresh_control_is_silent(student, draw):
    """A fresh ControlNet, whose last convolutions are 0, hands over zeros, in guess mode too."""
    given = branch(draw, 1, [(4, 4, 6), (5, 2, 3)])
    given["zero_convs"] = [(zeros(size, size, 1, 1), zeros(size)) for size in (4, 5)]
    given["zero_mid"] = (zeros(5, 5, 1, 1), zeros(5))
    for guess in (False, True):
        answer = student.control_residuals(**given, scale=1.0, guess=guess)
        assert isinstance(answer, dict) and isinstance(answer.get("down"), list), "A dict with a list is expected here."
        shapes = [(1, 4, 4, 6), (1, 5, 2, 3), (1, 5, 2, 3)]
        assert len(answer["down"]) == 2, "Another number of residuals is expected here."
        for residual, shape in zip([*answer["down"], answer.get("mid")], shapes, strict=True):
            assert not values(residual, *shape).any(), "A fresh ControlNet changes something."


@check("control_residuals", visible=True)
def test_residuals_in_bfloat16(compare, draw):
    """From features in bfloat16 come residuals in bfloat16, call by call."""
    for guess in (True, False):
        given = branch(draw, 2, [(3, 5, 4), (6, 2, 4)], "bfloat16")
        compare.control_residuals(**given, scale=0.25, guess=guess)


@check("control_residuals")
def test_as_many_residuals_as_in_stable_diffusion(compare, draw):
    """Twelve features and a mid, in guess mode and at a scale above 1, each have their weight."""
    given = branch(draw, 1, [(2, 3, 4)] * 5 + [(4, 2, 2)] * 7)
    compare.control_residuals(**given, scale=draw.real(1.2, 1.6), guess=True)


@check("control_residuals")
def test_scaled_residuals_in_guess_mode(compare, draw):
    """Guess mode and scale act together."""
    given = branch(draw, 3, [(5, 4, 3), (5, 2, 2), (7, 2, 2), (7, 1, 1)])
    compare.control_residuals(**given, scale=draw.real(0.3, 0.5), guess=True)


@check("control_residuals")
def test_one_feature(compare, draw):
    """A ControlNet with a single down feature works as well, with and without guess mode."""
    for guess in (True, False):
        compare.control_residuals(**branch(draw, 2, [(3, 4, 2)]), scale=draw.real(0.4, 0.8), guess=guess)


@check("control_residuals")
def test_residuals_at_the_ends(compare, draw):
    """At scale 0 nothing is handed over; a negative scale pushes the other way."""
    for scale in (0.0, -0.8):
        compare.control_residuals(**branch(draw, 2, [(4, 3, 3), (3, 3, 3)]), scale=scale, guess=False)


@check("control_residuals")
def test_strided_features(compare, draw):
    """Features that are not contiguous in memory give the same residuals."""
    given = branch(draw, 2, [(4, 6, 5), (4, 6, 5)])
    given["feats"] = [draw.normal(2, 5, 6, 4).transpose(1, 3) for _ in range(2)]
    compare.control_residuals(**given, scale=0.9, guess=True)


@check("control_residuals", subject="The result of the second call")
def test_features_stay(compare, draw):
    """The lists of features and convolutions stay the caller's: they serve a second call."""
    given = branch(draw, 1, [(3, 2, 4), (4, 2, 2)])
    compare.play("handed_over_again", **given, scale=draw.real(0.5, 0.9), guess=True)


@check("control_residuals", property=True)
def test_a_convolution_for_each_feature(compare, draw):
    """Features and convolutions of another number are refused with a ValueError, and not dropped in silence."""
    given = branch(draw, 1, [(3, 2, 4), (3, 2, 2), (3, 2, 2)])
    compare.control_residuals(**{**given, "zero_convs": given["zero_convs"][:-1]}, scale=1.0, guess=False)
    compare.control_residuals(**{**given, "feats": given["feats"][:-1]}, scale=1.0, guess=True)


@check("control_residuals", subject="The gradient")
def test_gradients_reach_the_branch(compare, draw):
    """What the zero convolutions learn from, and what lies before them, has a gradient."""
    for guess in (False, True):
        given = branch(draw, 2, [(3, 2, 4), (4, 2, 2)])
        compare.play("residual_gradients", **given, scale=draw.real(0.5, 0.9), guess=guess)


# unet_with_control


def skip_shapes(batch: int, height: int, width: int, widths: tuple[int, ...], layers: int) -> list[tuple[int, ...]]:
    """Return the shapes of the skips of such a UNet, then that of its mid block."""
    shapes = [(batch, widths[0], height, width)]
    for level, channels in enumerate(widths):
        shapes += [(batch, channels, height, width)] * layers
        if level < len(widths) - 1:
            height, width = (height + 1) // 2, (width + 1) // 2
            shapes.append((batch, channels, height, width))
    return [*shapes, (batch, widths[-1], height, width)]


def inner(
    draw: Any, shape: tuple[int, ...], widths: tuple[int, ...], layers: int, strength: float = 1.0, tokens: int = 5
) -> dict[str, Any]:
    """Return latents, context and residuals for a UNet of that size."""
    batch, _, height, width = shape
    residuals = [draw.normal(*one) * strength for one in skip_shapes(batch, height, width, widths, layers)]
    return {
        "x": draw.normal(*shape),
        "ctx": draw.normal(batch, tokens, 8),
        "down_res": residuals[:-1],
        "mid_res": residuals[-1],
        "widths": widths,
        "layers": layers,
    }


@check("unet_with_control", visible=True)
def test_plain_unet(compare, draw):
    """With residuals of 0 the answer is that of the UNet alone."""
    compare.play("controlled", t=321, **inner(draw, (2, 4, 8, 6), (8, 12), 1, strength=0.0))


@check("unet_with_control", visible=True)
def test_one_level(compare, draw):
    """With one level, where all skips have the same shape, each residual finds its own."""
    compare.play("controlled", t=17, **inner(draw, (2, 3, 6, 5), (8,), 2))


@check("unet_with_control", visible=True)
def test_two_levels(compare, draw):
    """With two levels, every skip and the mid block get what is theirs."""
    compare.play("controlled", t=741, **inner(draw, (1, 4, 8, 6), (8, 12), 1))


@check("unet_with_control", visible=True)
def test_a_timestep_for_each_sample(compare, draw):
    """A timestep for each sample of a batch, and one as a tensor for all of them."""
    for t in (tensor([3, 640, 981]), tensor(250)):
        compare.play("controlled", t=t, **inner(draw, (3, 4, 4, 6), (8,), 1))


@check("unet_with_control", visible=True, property=True)
def test_too_few_residuals(compare, draw):
    """Fewer residuals than skips are refused with a ValueError, and not dropped in silence."""
    given = inner(draw, (1, 4, 4, 4), (8,), 1)
    compare.play("controlled", t=5, **{**given, "down_res": given["down_res"][:-1]})


@check("unet_with_control")
def test_three_levels(compare, draw):
    """With three levels, of which the lowest reads no condition, the answer is right."""
    compare.play("controlled", t=draw.whole(300, 700), seed=3, **inner(draw, (2, 4, 8, 12), (8, 12, 16), 1))


@check("unet_with_control")
def test_sizes_that_do_not_halve(compare, draw):
    """Where a side does not halve evenly, the way up ends at the sizes of the way down."""
    compare.play("controlled", t=draw.whole(20, 900), seed=1, **inner(draw, (1, 4, 7, 9), (8, 12), 1))
    compare.play("controlled", t=draw.whole(20, 900), seed=2, **inner(draw, (2, 3, 9, 6), (8, 8, 8), 1))


@check("unet_with_control")
def test_two_layers_a_level(compare, draw):
    """Two layers a level: a block takes three skips on its way up."""
    compare.play("controlled", t=draw.whole(20, 900), seed=4, **inner(draw, (2, 4, 6, 4), (8, 12), 2, tokens=3))


@check("unet_with_control", subject="The result of the second call")
def test_residuals_stay(compare, draw):
    """The same residuals serve a second call."""
    given = inner(draw, (2, 4, 4, 6), (8, 8), 1)
    compare.play("controlled", view=second, t=draw.whole(100, 900), times=2, **given)


def second(answers: Any) -> Any:
    """Return the second of two answers."""
    return answers[1]


@check("unet_with_control")
def test_mid_alone(compare, draw):
    """A residual of the mid block alone moves the answer as it should."""
    given = inner(draw, (2, 4, 6, 4), (8, 12), 1)
    shapes = skip_shapes(2, 6, 4, (8, 12), 1)
    given["down_res"] = [zeros(*shape) for shape in shapes[:-1]]
    compare.play("controlled", t=draw.whole(100, 900), seed=5, **{**given, "mid_res": draw.normal(*shapes[-1]) * 2.0})


@check("unet_with_control", property=True)
def test_too_many_residuals(compare, draw):
    """More residuals than skips are refused with a ValueError."""
    given = inner(draw, (1, 4, 4, 4), (8,), 1)
    compare.play("controlled", t=5, **{**given, "down_res": [*given["down_res"], draw.normal(1, 8, 4, 4)]})


@check("unet_with_control", subject="The gradient")
def test_gradients_reach_the_residuals(compare, draw):
    """Gradients reach every residual: through them a ControlNet learns."""
    given = inner(draw, (1, 4, 6, 4), (8, 8), 1)
    compare.play("controlled_gradients", t=draw.whole(100, 900), weight=draw.normal(1, 4, 6, 4), **given)


# control_window


@check("control_window", visible=True)
def test_early_window(compare):
    """A window over the first part of the loop ends with the last step that lies in it as a whole."""
    compare.control_window(5, 0.0, 0.5)
    compare.control_window(8, 0.0, 0.75)


@check("control_window", visible=True)
def test_late_window(compare):
    """A window over the last part begins with the first step that lies in it as a whole."""
    compare.control_window(5, 0.3, 1.0)
    compare.control_window(8, 0.25, 1.0)


@check("control_window", visible=True)
def test_whole_window(compare):
    """Without limits every step counts, also where there is only one; with limits not every one does."""
    compare.control_window(7, 0.0, 1.0)
    compare.control_window(1, 0.0, 1.0)
    compare.control_window(10, 0.15, 0.85)


@check("control_window", property=True)
def test_what_is_no_window(compare):
    """A window that is empty, turned round or reaches beyond the loop is refused with a ValueError."""
    for start, end in ((0.6, 0.4), (0.5, 0.5), (-0.1, 0.5), (0.5, 1.1)):
        compare.control_window(10, start, end)


@check("control_window")
def test_windows_between_steps(compare, draw):
    """Edges that fall between two steps leave out what they cut."""
    for n, start, end in ((7, 0.2, 0.9), (11, 0.33, 0.69), (13, 0.41, 0.8), (30, 0.12, 0.64)):
        compare.control_window(n, start + draw.real(0.0, 0.004), end + draw.real(0.0, 0.004))


@check("control_window")
def test_windows_on_steps(compare):
    """Edges that fall on a step's begin or end leave that step in."""
    for n, start, end in ((4, 0.25, 0.5), (16, 0.125, 0.8125), (2, 0.5, 1.0), (8, 0.0, 0.125)):
        compare.control_window(n, start, end)


@check("control_window")
def test_window_narrower_than_a_step(compare):
    """A window that holds no whole step controls nothing; one that holds a single step controls that."""
    for n, start, end in ((4, 0.3, 0.7), (3, 0.35, 0.6), (1, 0.0, 0.9), (6, 0.45, 0.7)):
        compare.control_window(n, start, end)


# multi_control


def several(
    play: Any, draw: Any, scales: list[float], shape: tuple[int, ...], size: dict[str, Any], t: int = 400, **view: Any
) -> None:
    """Join as many ControlNets as there are scales by `play`; each has weights and a control image of its own."""
    batch, channels, height, width = shape
    build = {"calls": 3, "channels": channels, "context_dim": 8, **size}
    nets = {
        f"net_{number}": witnessed("make_controlnet", seed=draw.seed(), number=number, **build)
        for number in range(1, len(scales) + 1)
    }
    hints = [draw.uniform(batch, 3, 2 * height, 2 * width) for _ in scales]
    given = {"x": draw.normal(*shape), "t": tensor(t), "ctx": draw.normal(batch, 5, 8), "hints": hints}
    play("joined", **given, scales=scales, **nets, **view)


def calls_of_each(answer: Any) -> Any:
    """Return how often each model was called."""
    return {name: len(calls) for name, calls in sorted(answer.items())}


ONE_LEVEL = {"widths": (8,), "layers": 1}
TWO_LEVELS = {"widths": (8, 12), "layers": 1}


@check("multi_control", visible=True, weight=2)
def test_two_controls(compare, draw):
    """Two ControlNets with images and scales of their own act together."""
    several(compare.play, draw, [0.7, 1.2], (2, 4, 6, 4), ONE_LEVEL)


@check("multi_control", visible=True, weight=2)
def test_one_control(compare, draw):
    """A single ControlNet acts as it does alone."""
    several(compare.play, draw, [0.6], (1, 4, 4, 6), TWO_LEVELS)


@check("multi_control", visible=True, subject="How often each was called")
def test_each_is_asked_once(compare, draw):
    """Every ControlNet is asked once."""
    several(compare.calls, draw, [0.7, 1.2], (1, 4, 4, 4), ONE_LEVEL, view=calls_of_each)


@check("multi_control", weight=2)
def test_three_controls(compare, draw):
    """Three ControlNets, one of them at a negative scale, act together."""
    several(compare.play, draw, [draw.real(0.4, 0.9), -0.5, 1.4], (2, 3, 4, 6), ONE_LEVEL, draw.whole(10, 900))


@check("multi_control", weight=2)
def test_two_controls_of_two_levels(compare, draw):
    """All of the residuals are joined, those of deeper levels too."""
    several(compare.play, draw, [0.4, draw.real(0.5, 0.9)], (1, 4, 6, 8), TWO_LEVELS, draw.whole(10, 900))


@check("multi_control", weight=2)
def test_a_control_that_is_off(compare, draw):
    """A ControlNet at scale 0 changes nothing, whichever of the two it is, or both."""
    for scales in ([0.9, 0.0], [0.0, 0.9], [0.0, 0.0]):
        several(compare.play, draw, scales, (1, 4, 4, 4), ONE_LEVEL)


@check("multi_control", subject="How often each was called")
def test_each_of_three_is_asked_once(compare, draw):
    """However many there are, none is asked twice and none is left out."""
    several(compare.calls, draw, [0.3, 1.0, 0.8], (2, 4, 4, 4), ONE_LEVEL, view=calls_of_each)


@check("multi_control", property=True)
def test_an_image_for_each(compare, draw):
    """A control image or a scale that is missing is refused with a ValueError."""
    nets = {
        f"net_{number}": witnessed(
            "make_controlnet", calls=3, channels=4, context_dim=8, seed=draw.seed(), number=number
        )
        for number in (1, 2)
    }
    given = {"x": draw.normal(1, 4, 4, 4), "t": tensor(9), "ctx": draw.normal(1, 5, 8), **nets}
    hints = draw.normals(2, 1, 3, 8, 8)
    compare.play("joined", hints=hints[:1], scales=[1.0, 1.0], **given)
    compare.play("joined", hints=hints, scales=[1.0], **given)


# control_loop

OPEN = (0.0, 1.0)


def run(
    play: Any,
    draw: Any,
    scheduler: str,
    guidance_scale: float,
    steps: int,
    size: tuple[int, ...],
    guess: bool = False,
    window: tuple[float, float] = OPEN,
    scale: float = 0.8,
    trainable: bool = False,
    **view: Any,
) -> None:
    """Run the loop by `play`. `size`: batch, height, width, tokens."""
    batch, height, width, tokens = size
    cond, uncond = draw.normals(2, batch, tokens, 8)
    build = {"calls": 20, "channels": 4, "context_dim": 8, "attends": False, "trainable": trainable}
    play(
        "sample",
        unet=witnessed("make_unet", seed=draw.seed(), **build),
        controlnet=witnessed("make_controlnet", seed=draw.seed(), **build),
        scheduler=scheduler,
        noise=draw.normal(batch, 4, height, width),
        cond=cond,
        uncond=uncond,
        hint=draw.uniform(batch, 3, 2 * height, 2 * width),
        guidance_scale=guidance_scale,
        scale=scale,
        start=window[0],
        end=window[1],
        steps=steps,
        guess=guess,
        **view,
    )


def rows(answer: Any) -> Any:
    """Return each model's batch sizes, call by call."""
    return {name: [call["sample"].shape[0] for call in answer[name]] for name in ("unet", "controlnet")}


def given_to_the_control(answer: Any) -> Any:
    """Return the latents that the ControlNet was given."""
    return [call["sample"] for call in answer["controlnet"]]


def timesteps(answer: Any) -> Any:
    """Return of each call which timesteps a network was told, as text: as numbers 499 and 499.5 are close."""

    def told(value: Any) -> list[str]:
        return sorted({str(float(one)) for one in np.ravel(getattr(value, "array", value))})

    return {name: [told(call["timestep"]) for call in answer[name]] for name in ("unet", "controlnet")}


def residuals_in_halves(answer: Any) -> Any:
    """Return of each call of the UNet which rows have residuals, sorted by the first number of the row's context.

    So the order of the halves in the batch is free.
    """
    found = []
    for call in answer["unet"]:
        residuals = [*(call.get("down_block_additional_residuals") or ()), call.get("mid_block_additional_residual")]
        arrays = [residual.array for residual in residuals if residual is not None]
        context = call["encoder_hidden_states"].array
        rows = [(float(context[row].flat[0]), any(one[row].any() for one in arrays)) for row in range(len(context))]
        found.append([{"context": one, "controlled": bool(controlled)} for one, controlled in sorted(rows)])
    return found


def graphs(answer: Any) -> Any:
    """Return of each call whether the latents that a network was given hung on a gradient graph."""
    return {name: [call["sample"].requires_grad for call in answer[name]] for name in ("unet", "controlnet")}


@check("control_loop", visible=True, weight=2)
def test_runs_under_control(compare, draw):
    """With guidance and DDIM, both halves are controlled, and the loop ends at the right latents."""
    run(compare.play, draw, "ddim", 5.0, 2, (2, 6, 4, 3))


@check("control_loop", visible=True, weight=2)
def test_runs_in_guess_mode(compare, draw):
    """In guess mode under guidance, and with Euler, the loop ends at the right latents."""
    run(compare.play, draw, "euler", 4.0, 2, (2, 4, 6, 3), guess=True)


@check("control_loop", visible=True, weight=2)
def test_runs_in_a_window(compare, draw):
    """Outside the window the UNet is on its own."""
    run(compare.play, draw, "ddim", 3.0, 4, (1, 6, 4, 3), window=(0.3, 0.75))


@check("control_loop", visible=True, subject="The list of batch sizes")
def test_rows_of_both_networks(compare, draw):
    """Each network is called once a step; in guess mode the ControlNet is given the conditional rows only."""
    run(compare.calls, draw, "ddim", 5.0, 2, (2, 4, 4, 3), view=rows)
    run(compare.calls, draw, "euler", 5.0, 1, (2, 4, 4, 3), guess=True, view=rows)


@check("control_loop", visible=True, subject="Which rows are controlled")
def test_halves_in_guess_mode(compare, draw):
    """In guess mode all conditional rows are controlled, and no unconditional one."""
    run(compare.calls, draw, "ddim", 5.0, 1, (2, 4, 4, 3), guess=True, view=residuals_in_halves)


@check("control_loop", visible=True, weight=2)
def test_runs_without_guidance(compare, draw):
    """At guidance 1 and below there is one half, and it is controlled, in guess mode too."""
    run(compare.play, draw, "ddim", 1.0, 2, (3, 4, 6, 4))
    run(compare.play, draw, "euler", 0.6, 1, (2, 4, 4, 4), guess=True)


@check("control_loop", subject="The list of batch sizes")
def test_rows_without_guidance(compare, draw):
    """Without guidance both networks are given one half."""
    run(compare.calls, draw, "ddim", 1.0, 1, (3, 4, 4, 3), guess=draw.choice([True, False]), view=rows)


@check("control_loop", subject="The list of batch sizes")
def test_rows_just_above_one(compare, draw):
    """A guidance scale little above 1 is guidance already."""
    run(compare.calls, draw, "ddim", 1.05, 1, (1, 4, 4, 3), view=rows)


@check("control_loop", weight=2)
def test_runs_a_multistep_solver(compare, draw):
    """With DPM-Solver++ and a late window the loop ends at the right latents."""
    run(compare.play, draw, "dpm", draw.real(3.0, 6.0), 3, (1, 4, 8, 5), window=(0.3, 1.0), scale=1.3)


@check("control_loop", weight=2)
def test_runs_a_second_order_solver(compare, draw):
    """With Heun, which has more timesteps than steps, the window still covers its share of the loop."""
    run(compare.play, draw, "heun", 4.0, 2, (1, 6, 4, 3), window=(0.0, 0.7))


@check("control_loop", subject="What the ControlNet was given")
def test_units_of_the_controls_input(compare, draw):
    """Also in guess mode the ControlNet is given latents in the units that it was trained on."""
    run(compare.calls, draw, "euler", 4.0, 1, (2, 4, 4, 3), guess=True, view=given_to_the_control)
    run(compare.calls, draw, "euler_linspace", 4.0, 1, (1, 4, 4, 3), view=given_to_the_control)


@check("control_loop", subject="The list of timesteps")
def test_timesteps_of_both_networks(compare, draw):
    """Both networks are told the scheduler's timesteps as they are."""
    # Of these three the middle one is no whole number.
    run(compare.calls, draw, "euler_linspace", 1.0, 3, (1, 4, 4, 2), view=timesteps)


@check("control_loop", subject="Which rows are controlled")
def test_halves_of_an_even_batch(compare, draw):
    """With an even batch, too, the unconditional half is half of the doubled batch and not of the pictures."""
    run(compare.calls, draw, "euler", 3.0, 1, (4, 4, 4, 3), guess=True, view=residuals_in_halves)


@check("control_loop", weight=2)
def test_runs_a_batch_in_guess_mode(compare, draw):
    """Each picture of a batch follows its own control image."""
    run(compare.play, draw, "euler_linspace", 2.5, 2, (3, 4, 6, 2), guess=True, scale=draw.real(0.5, 1.2))


@check("control_loop", subject="What hangs on a graph")
def test_keeps_no_graph(compare, draw):
    """Sampling learns nothing: no step hands a gradient graph to the next, even from trainable weights."""
    run(compare.calls, draw, "ddim", 3.0, 2, (1, 4, 4, 3), view=graphs, trainable=True)


# ip_adapter_attention


def attention(
    draw: Any, batch: int, places: int, tokens: tuple[int, int], width: int, inner: int, context: int
) -> dict[str, Any]:
    """Return latents, text and image tokens and weights of these sizes."""

    def weight(out: int, into: int) -> Recipe:
        return draw.normal(out, into) * (1.4 / into**0.5)

    names = {"q": (inner, width), "k": (inner, context), "v": (inner, context), "ik": (inner, context)}
    weights = {name: weight(*shape) for name, shape in {**names, "iv": (inner, context), "o": (width, inner)}.items()}
    return {
        "x": draw.normal(batch, places, width),
        "txt": draw.normal(batch, tokens[0], context),
        "img": draw.normal(batch, tokens[1], context),
        "w": {**weights, "ob": draw.normal(width)},
    }


@check("ip_adapter_attention", visible=True)
def test_text_and_image(compare, draw):
    """Text and image are attended to, each with a softmax of its own."""
    compare.ip_adapter_attention(**attention(draw, 2, 12, (7, 4), 8, 8, 6), heads=2, scale=0.6)


@check("ip_adapter_attention", visible=True)
def test_image_at_full_strength(compare, draw):
    """At scale 1 the image counts fully, and the text no less than before."""
    compare.ip_adapter_attention(**attention(draw, 3, 6, (5, 3), 9, 12, 7), heads=3, scale=1.0)


@check("ip_adapter_attention", visible=True)
def test_text_alone(compare, draw):
    """At scale 0 plain cross-attention to the text is left."""
    compare.ip_adapter_attention(**attention(draw, 2, 6, (5, 2), 8, 8, 5), heads=2, scale=0.0)


@check("ip_adapter_attention", visible=True)
def test_each_picture_its_own_reference(compare, draw):
    """Each row of the batch follows its own reference picture."""
    compare.ip_adapter_attention(**attention(draw, 3, 5, (6, 3), 6, 8, 5), heads=2, scale=0.9)


@check("ip_adapter_attention")
def test_inner_width(compare, draw):
    """Heads may be together wider or narrower than the latents' channels."""
    for width, inside, heads in ((10, 6, 3), (6, 16, 4)):
        given = attention(draw, 2, 7, (4, 5), width, inside, 8)
        compare.ip_adapter_attention(**given, heads=heads, scale=draw.real(0.4, 0.8))


@check("ip_adapter_attention")
def test_many_image_tokens(compare, draw):
    """There may be more image tokens than text tokens, or only one of each."""
    for tokens in ((3, 16), (1, 1)):
        compare.ip_adapter_attention(**attention(draw, 2, 9, tokens, 8, 8, 6), heads=4, scale=draw.real(0.5, 1.5))


@check("ip_adapter_attention")
def test_one_head_of_one_picture(compare, draw):
    """One head and one picture give the right answer too, also at a negative scale."""
    compare.ip_adapter_attention(**attention(draw, 1, 4, (5, 4), 6, 6, 6), heads=1, scale=-0.5)


@check("ip_adapter_attention")
def test_strided_inputs(compare, draw):
    """Latents that were flattened and turned without a copy give the same answer."""
    given = attention(draw, 2, 15, (5, 4), 8, 8, 6)
    given["x"] = draw.normal(2, 8, 15).transpose(1, 2)
    given["img"] = draw.normal(2, 6, 4).transpose(1, 2)
    compare.ip_adapter_attention(**given, heads=2, scale=draw.real(0.5, 1.5))


@check("ip_adapter_attention", subject="The gradient")
def test_gradients_reach_the_image_branch(compare, draw):
    """What an IP-Adapter trains has a gradient: the image's projections, and the tokens before them."""
    given = attention(draw, 2, 6, (5, 3), 6, 8, 5)
    compare.play("attention_gradients", **given, heads=2, scale=draw.real(0.5, 1.0), weight=draw.normal(2, 6, 6))


# control_overhead

# Of the miniature stack, as torch counts them (tests/labs/test_lab09_oracle.py).
UNET, CONTROL = {"params": 2380516, "flops": 113405952}, {"params": 1177168, "flops": 60358656}


@check("control_overhead", visible=True)
def test_overhead_with_guidance(compare):
    """What a ControlNet costs a guided run without a window."""
    compare.control_overhead(UNET, CONTROL, 20, (0.0, 1.0), True, False, 2)


@check("control_overhead", visible=True)
def test_overhead_with_a_window(compare):
    """What a window changes, and what it does not."""
    compare.control_overhead(UNET, CONTROL, 20, (0.0, 0.5), True, False, 2)


@check("control_overhead", visible=True)
def test_overhead_without_guidance(compare):
    """What a ControlNet costs where neither network sees a second row."""
    compare.control_overhead(UNET, CONTROL, 8, (0.0, 1.0), False, False, 4)


@check("control_overhead")
def test_overhead_in_guess_mode(compare, draw):
    """What guess mode saves under guidance."""
    compare.control_overhead(UNET, CONTROL, draw.whole(10, 50), (0.0, 1.0), True, True, 2)


@check("control_overhead")
def test_overhead_in_guess_mode_without_guidance(compare, draw):
    """What guess mode saves where there is no second row anyway."""
    compare.control_overhead(UNET, CONTROL, draw.whole(10, 50), (0.25, 1.0), False, True, 4)


@check("control_overhead", visible=True)
def test_overhead_of_another_size(compare, draw):
    """A ControlNet that is no half of its UNet, and a window between two steps, are counted right."""
    unet = {"params": draw.whole(10_000, 90_000), "flops": draw.whole(10_000, 90_000)}
    control = {"params": draw.whole(2_000, 9_000), "flops": draw.whole(2_000, 9_000)}
    compare.control_overhead(unet, control, 13, (0.21, 0.7), True, False, 4)
    compare.control_overhead(unet, control, 7, (0.3, 0.65), True, True, 1)


# control_image


def levels(draw: Any, *shape: int) -> Recipe:
    """Return a picture of all levels, uint8."""
    rng = np.random.default_rng(draw.seed())
    return array(rng.integers(0, 256, size=shape, dtype=np.uint8))


def holes(draw: Any, *shape: int) -> Recipe:
    """Return a mask of some rectangles, bool: every second picture has two."""
    rng = np.random.default_rng(draw.seed())
    mask = np.zeros(shape, dtype=bool)
    for number, one in enumerate(mask):
        for _ in range(1 + number % 2):
            top, left = (int(rng.integers(0, side // 2)) for side in shape[1:])
            one[top : top + shape[1] // 2, left : left + shape[2] // 3] = True
    return array(mask)


@check("control_image", visible=True)
def test_colours(compare, draw):
    """Colour pictures of the size that is wanted keep it."""
    compare.control_image(levels(draw, 2, 6, 4, 3), (6, 4))


@check("control_image", visible=True)
def test_smaller_and_larger(compare, draw):
    """Pictures are brought to a smaller size, and to a larger one."""
    compare.control_image(levels(draw, 2, 8, 12, 3), (4, 6))
    compare.control_image(levels(draw, 1, 3, 5, 3), (6, 15))


@check("control_image", visible=True)
def test_masked_pixels(compare, draw):
    """Pixels that are to be filled in are marked, and nothing is done to the mark."""
    compare.control_image(levels(draw, 2, 6, 8, 3), (6, 8), holes(draw, 2, 6, 8))


@check("control_image")
def test_grey_levels(compare, draw):
    """A map of grey levels becomes three equal channels, also where it is as wide as colours are many."""
    compare.control_image(levels(draw, 3, 6, 4), (12, 4))
    compare.control_image(levels(draw, 2, 4, 3), (4, 3))


@check("control_image")
def test_other_sizes(compare, draw):
    """Sides that are no multiples of each other, and a single row, are served."""
    for shape, size in (((1, 10, 7, 3), (4, 5)), ((2, 1, 9, 3), (2, 6)), ((1, 6, 10, 3), (9, 4))):
        compare.control_image(levels(draw, *shape), size)


@check("control_image")
def test_masks_of_another_size(compare, draw):
    """A mask goes the way of its picture, and its edge stays sharp."""
    compare.control_image(levels(draw, 2, 12, 9, 3), (8, 6), holes(draw, 2, 12, 9))
    compare.control_image(levels(draw, 1, 5, 7), (10, 21), holes(draw, 1, 5, 7))


@check("control_image")
def test_a_black_picture(compare, draw):
    """Levels 0 and 1 are as dark for a picture alone as among bright ones; without a mask nothing is below 0."""
    compare.control_image(levels(draw, 2, 4, 6, 3).clamp(0, 1), (4, 6))


@check("control_image")
def test_strided_pictures(compare, draw):
    """Pictures that are not contiguous in memory are the same pictures."""
    compare.control_image(levels(draw, 2, 5, 8, 3).transpose(1, 2), (4, 5))
