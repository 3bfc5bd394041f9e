"""The checks' inputs, made in the worker: the peers draw x, noise and timesteps from one generator in one go.

A recipe has a generator of its own, so it cannot draw these numbers; a scenario can, and both sides do the same work.
"""

from torch import Generator, cumprod, equal, linspace, randint, randn

draw, draw_whole, table, running_product, same = randn, randint, linspace, cumprod, equal


def data(seed, shape):
    """Return x, noise, timesteps and ᾱ."""
    g = Generator().manual_seed(seed)
    x, noise = draw(shape, generator=g), draw(shape, generator=g)
    t = draw_whole(0, 1000, (shape[0],), generator=g)
    return x, noise, t, running_product(1.0 - table(1e-4, 0.02, 1000), dim=0)


def on_batch(student, *, function, seed, shape=(4, 3, 8, 8), at_zero=False, silent=False):
    """Call `add_noise` or `velocity`: at timestep 0 everywhere if asked, with noise of zeros if asked."""
    x, noise, t, acp = data(seed, shape)
    return getattr(student, function)(x, noise * 0 if silent else noise, t * 0 if at_zero else t, acp)


def step(student, *, seed, t, t_prev):
    """Take one step from a copy; return what came of it and where it began."""
    x, noise, _, acp = data(seed, (4, 3, 8, 8))
    return {"x_prev": student.ddim_step(x.clone(), noise, t, t_prev, acp), "x_t": x}


def step_keeps_input(student, *, seed, t, t_prev):
    """Take one step; say whether the input is still what it was."""
    x, noise, _, acp = data(seed, (4, 3, 8, 8))
    y = x.clone()
    student.ddim_step(y, noise, t, t_prev, acp)
    return same(x, y)
