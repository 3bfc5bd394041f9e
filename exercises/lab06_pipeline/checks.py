"""Checks of lab 06: the same loop, graded under schedulers that hide and schedulers that show each mistake."""

from grader.kit import check, randn


def inputs(seed, batch, height, width, tokens, dim):
    """Return noise and the two conditions for one call of the loop."""
    return {
        "noise": randn(seed, batch, 4, height, width),
        "cond": randn(seed + 1, batch, tokens, dim),
        "uncond": randn(seed + 2, batch, tokens, dim),
    }


@check("denoise_loop", visible=True)
def test_runs_ddim(compare, draw):
    """With DDIM, the loop makes the steps that were asked for, guided, and ends at the same latents and calls."""
    seed = draw.seed()
    compare.play("sample", scheduler="ddim", **inputs(seed, 2, 8, 6, 5, 12), guidance_scale=7.5, steps=4)


@check("denoise_loop", visible=True)
def test_runs_euler(compare, draw):
    """With Euler, whose latents live in another unit, the same loop still ends at the right latents."""
    seed = draw.seed()
    compare.play("sample", scheduler="euler", **inputs(seed, 1, 8, 8, 5, 12), guidance_scale=5.0, steps=4)


@check("denoise_loop", visible=True)
def test_skips_the_unconditional_branch(compare, draw):
    """At guidance scale 1 the network sees the conditional batch only."""
    seed = draw.seed()
    compare.play("sample", scheduler="dpm", **inputs(seed, 2, 6, 8, 3, 8), guidance_scale=1.0, steps=3)


@check("denoise_loop", visible=True)
def test_keeps_no_graph(compare, draw):
    """Sampling learns nothing: the latents come back without a gradient graph, even from trainable weights."""
    seed = draw.seed()
    compare.play("gradients", scheduler="ddim", **inputs(seed, 1, 4, 4, 3, 8), guidance_scale=3.0, steps=1)


@check("denoise_loop")
def test_serves_a_multistep_solver(compare, draw):
    """With DPM-Solver++, which remembers earlier predictions, the loop still ends at the right latents."""
    seed = draw.seed()
    compare.play("sample", scheduler="dpm", **inputs(seed, 2, 6, 10, 7, 12), guidance_scale=4.0, steps=4, unet_seed=1)


@check("denoise_loop")
def test_serves_a_second_order_solver(compare, draw):
    """With Heun, which takes two looks for a step, the loop still ends at the right latents."""
    seed = draw.seed()
    compare.play("sample", scheduler="heun", **inputs(seed, 1, 10, 6, 4, 8), guidance_scale=6.0, steps=2)


@check("denoise_loop")
def test_serves_velocity_prediction(compare, draw):
    """With a network that predicts v and another spacing of the timesteps, the same loop is still right."""
    seed = draw.seed()
    compare.play("sample", scheduler="euler_v", **inputs(seed, 3, 6, 8, 6, 20), guidance_scale=2.5, steps=3)


@check("denoise_loop")
def test_does_not_guide_below_one(compare, draw):
    """Guidance is on above scale 1 only: below it, too, the network sees the conditional batch alone."""
    seed = draw.seed()
    compare.play("sample", scheduler="ddim", **inputs(seed, 3, 4, 6, 4, 8), guidance_scale=0.5, steps=2)


@check("denoise_loop")
def test_guides_just_above_one(compare, draw):
    """A scale little above 1 is guidance already."""
    seed = draw.seed()
    compare.play("sample", scheduler="ddim", **inputs(seed, 2, 4, 4, 3, 8), guidance_scale=1.25, steps=2)


@check("denoise_loop")
def test_passes_timesteps_that_are_not_whole(compare, draw):
    """The network gets the scheduler's own timesteps, also where they are no whole numbers."""
    seed = draw.seed()
    compare.play(
        "sample", scheduler="euler_linspace", **inputs(seed, 1, 4, 8, 2, 8), guidance_scale=9.0, steps=3, unet_seed=2
    )
