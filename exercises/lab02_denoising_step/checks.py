"""Checks of lab 02. The docstring of a check is the sentence that a student reads.

Where a generator is used, samples are contiguous and hold a multiple of 16 values each: torch then draws the same
numbers for the whole batch as sample by sample, so that both are right.
"""

from grader.kit import check, generator, linear_betas, randn, scaled_linear_betas


def sample(seed, *shape):
    """Return two recipes: a predicted noise and an x_t."""
    return randn(seed, *shape), randn(seed + 1, *shape)


@check("ddpm_step", visible=True)
def test_one_step(compare, draw):
    """One step down the chain: the posterior's mean, plus noise of its standard deviation."""
    seed = draw.seed()
    eps, x_t = sample(seed, 2, 3, 8, 8)
    compare.ddpm_step(eps, 500, 499, x_t, linear_betas(1000), False, generator(seed + 2))


@check("ddpm_step", visible=True)
def test_jump(compare, draw):
    """A step over many timesteps uses the α and β of the whole jump."""
    seed = draw.seed()
    eps, x_t = sample(seed, 2, 3, 8, 8)
    compare.ddpm_step(eps, 500, 450, x_t, linear_betas(1000), False, generator(seed + 2))


@check("ddpm_step", visible=True)
def test_clip(compare, draw):
    """With clip=True the estimate of x_0 is clamped to [-1, 1], and nothing else is."""
    seed = draw.seed()
    eps, x_t = sample(seed, 2, 3, 8, 8)
    compare.ddpm_step(eps, 300, 280, x_t * 2.0, linear_betas(1000), True, generator(seed + 2))


@check("ddpm_step", visible=True)
def test_last_step(compare, draw):
    """The step at t = 0 returns the mean and takes no random number."""
    seed = draw.seed()
    eps, x_t = sample(seed, 2, 3, 8, 8)
    compare.ddpm_step(eps, 0, -1, x_t, linear_betas(1000), False, generator(seed + 2))


@check("ddpm_step", visible=True)
def test_whole_chain(compare, draw):
    """With perfect predictions a chain of steps ends at the clean sample, every sample on the way as it should be."""
    seed = draw.seed()
    x0 = randn(seed, 2, 3, 4, 4).clamp(-1.0, 1.0)
    timesteps = [999, 800, 600, 400, 200, 0]
    compare.play("chain", x0=x0, timesteps=timesteps, betas=linear_betas(1000), clip=True, seed=seed + 1)


@check("ddpm_step")
def test_first_step_from_pure_noise(compare, draw):
    """The first step of a chain, where x_t is nearly pure noise and the estimate of x_0 is wild."""
    seed = draw.seed()
    eps, x_t = sample(seed, 3, 4, 4, 4)
    compare.ddpm_step(eps, 999, 979, x_t, linear_betas(1000), True, generator(seed + 2))


@check("ddpm_step")
def test_clip_while_jumping(compare, draw):
    """Clamping and a long jump go together."""
    seed = draw.seed()
    eps, x_t = sample(seed, 3, 1, 5, 16)
    compare.ddpm_step(eps, 142, 71, x_t * 1.5, scaled_linear_betas(1000), True, generator(seed + 2))


@check("ddpm_step")
def test_last_step_with_clip(compare, draw):
    """The last step with clip=True is the clamped estimate."""
    seed = draw.seed()
    eps, x_t = sample(seed, 3, 2, 5, 8)
    compare.ddpm_step(eps, 0, -1, x_t * 1.5, scaled_linear_betas(1000), True, generator(seed + 2))


@check("ddpm_step")
def test_any_negative_t_prev_is_the_end(compare, draw):
    """Every t_prev below zero means the clean end of the chain."""
    seed = draw.seed()
    eps, x_t = sample(seed, 3, 2, 5, 8)
    compare.ddpm_step(eps, 0, -20, x_t, linear_betas(1000), False, generator(seed + 2))


@check("ddpm_step")
def test_sequences(compare, draw):
    """A batch of sequences (B, L, D) is denoised like a batch of images."""
    seed = draw.seed()
    eps, x_t = sample(seed, 3, 16, 5)
    compare.ddpm_step(eps, 640, 600, x_t, linear_betas(1000), False, generator(seed + 2))


@check("ddpm_step")
def test_videos(compare, draw):
    """A batch of videos (B, C, F, H, W) is denoised like a batch of images."""
    seed = draw.seed()
    eps, x_t = sample(seed, 2, 3, 2, 4, 2)
    compare.ddpm_step(eps, 820, 800, x_t, linear_betas(1000), True, generator(seed + 2))


@check("ddpm_step")
def test_short_schedule(compare, draw):
    """The step follows the betas that are given, whatever their number."""
    seed = draw.seed()
    eps, x_t = sample(seed, 4, 3, 4, 4)
    compare.ddpm_step(eps, 5, 2, x_t, linear_betas(7, 0.01, 0.4), False, generator(seed + 2))


@check("ddpm_step")
def test_float16(compare, draw):
    """A float16 sample comes back as float16."""
    seed = draw.seed()
    eps, x_t = sample(seed, 2, 3, 4, 4)
    betas = linear_betas(1000)
    compare.ddpm_step(eps.to("float16"), 120, 100, x_t.to("float16"), betas, False, generator(seed + 2))


@check("ddpm_step")
def test_bfloat16(compare, draw):
    """A bfloat16 sample comes back as bfloat16."""
    seed = draw.seed()
    eps, x_t = sample(seed, 2, 3, 4, 4)
    betas = linear_betas(1000)
    compare.ddpm_step(eps.to("bfloat16"), 120, 110, x_t.to("bfloat16"), betas, True, generator(seed + 2))


@check("ddpm_step")
def test_whole_chain_without_clip(compare, draw):
    """The chain also holds without clamping, on another schedule."""
    seed = draw.seed()
    x0 = randn(seed, 3, 1, 4, 4)
    timesteps = [49, 40, 30, 20, 10, 0]
    betas = scaled_linear_betas(50, 0.01, 0.3)
    compare.play("chain", x0=x0, timesteps=timesteps, betas=betas, clip=False, seed=seed + 1)
