"""Checks of lab 06: the same loop, graded under schedulers that hide and schedulers that show each mistake."""

from typing import Any

import numpy as np

from grader.kit import check, witnessed


def run(play: Any, draw: Any, scheduler: str, scale: float, steps: int, size: tuple[int, ...], **more: Any) -> None:
    """Run the loop by `play`. `size`: batch, height, width, tokens, dim; `more` goes to the UNet, or is the `view`."""
    batch, height, width, tokens, dim = size
    cond, uncond = draw.normals(2, batch, tokens, dim)
    noise = draw.normal(batch, 4, height, width)
    views = {"view": more.pop("view")} if "view" in more else {}
    unet = witnessed("make_unet", calls=20, channels=4, context_dim=dim, **more)
    given = {"noise": noise, "cond": cond, "uncond": uncond, "guidance_scale": scale, "steps": steps}
    play("sample", unet=unet, scheduler=scheduler, **given, **views)


def calls(answer: Any) -> Any:
    """Return each call of the network as (batch size, timestep as text: "751", "749.25", or all where they differ)."""
    return [(call["sample"].shape[0], plain_timestep(call["timestep"])) for call in answer["unet"]]


def plain_timestep(timestep: Any) -> str:
    """Write a timestep as text, which compares exactly."""
    values = [f"{float(t):.7g}" for t in np.ravel(getattr(timestep, "array", timestep))]
    return values[0] if len(set(values)) == 1 else ", ".join(values)


def graphs(answer: Any) -> Any:
    """Return of each call whether the latents that it was given hung on a gradient graph."""
    return [call["sample"].requires_grad for call in answer["unet"]]


@check("denoise_loop", visible=True)
def test_runs_ddim(compare, draw):
    """With DDIM, the loop makes the steps that were asked for, guided, and ends at the right latents."""
    run(compare.play, draw, "ddim", 7.5, 4, (2, 8, 6, 5, 12))


@check("denoise_loop", visible=True)
def test_runs_euler(compare, draw):
    """With Euler, whose latents live in another unit, the same loop still ends at the right latents."""
    run(compare.play, draw, "euler", 5.0, 4, (1, 8, 8, 5, 12))


@check("denoise_loop", visible=True, subject="The list of calls")
def test_calls_once_a_step(compare, draw):
    """Guided, the network is called once a step, with both conditions as one batch and the scheduler's timestep."""
    run(compare.calls, draw, "euler", 5.0, 4, (2, 4, 4, 3, 8), view=calls)


@check("denoise_loop", visible=True, subject="The list of calls")
def test_skips_the_unconditional_branch(compare, draw):
    """At guidance scale 1 the network sees the conditional batch only."""
    run(compare.calls, draw, "dpm", 1.0, 3, (2, 6, 8, 3, 8), view=calls)


@check("denoise_loop", visible=True, subject="What hangs on a graph")
def test_keeps_no_graph(compare, draw):
    """Sampling learns nothing: no step hands a gradient graph to the next, even from trainable weights."""
    run(compare.calls, draw, "ddim", 3.0, 3, (1, 4, 4, 3, 8), view=graphs, trainable=True)


@check("denoise_loop")
def test_serves_a_multistep_solver(compare, draw):
    """With DPM-Solver++, which remembers earlier predictions, the loop still ends at the right latents."""
    run(compare.play, draw, "dpm", 4.0, 4, (2, 6, 10, 7, 12), seed=1)


@check("denoise_loop")
def test_serves_a_second_order_solver(compare, draw):
    """With Heun, which takes two looks for a step, the loop still ends at the right latents."""
    run(compare.play, draw, "heun", 6.0, 2, (1, 10, 6, 4, 8))


@check("denoise_loop")
def test_serves_velocity_prediction(compare, draw):
    """With a network that predicts v and another spacing of the timesteps, the same loop is still right."""
    run(compare.play, draw, "euler_v", 2.5, 3, (3, 6, 8, 6, 20))


@check("denoise_loop")
def test_does_not_guide_below_one(compare, draw):
    """Guidance is on above scale 1 only: below it, and at it, the conditional prediction is all that counts."""
    for scale in (0.5, 1.0):
        run(compare.play, draw, "ddim", scale, 2, (3, 4, 6, 4, 8))


@check("denoise_loop", subject="The list of calls")
def test_sees_one_batch_below_one(compare, draw):
    """Below scale 1, too, the network sees the conditional batch alone."""
    run(compare.calls, draw, "ddim", draw.real(0.2, 0.8), 2, (3, 4, 6, 4, 8), view=calls)


@check("denoise_loop")
def test_guides_just_above_one(compare, draw):
    """A scale little above 1 is guidance already."""
    run(compare.play, draw, "ddim", 1.25, 2, (2, 4, 4, 3, 8))


@check("denoise_loop")
def test_serves_timesteps_that_are_not_whole(compare, draw):
    """Where the scheduler's timesteps are no whole numbers, the loop still ends at the right latents."""
    run(compare.play, draw, "euler_linspace", 9.0, 3, (1, 4, 8, 2, 8), seed=2)


@check("denoise_loop", subject="The list of calls")
def test_passes_timesteps_that_are_not_whole(compare, draw):
    """The network gets the scheduler's own timesteps, also where they are no whole numbers."""
    run(compare.calls, draw, "euler_linspace", 9.0, 3, (1, 4, 8, 2, 8), view=calls)
