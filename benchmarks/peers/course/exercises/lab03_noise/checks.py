"""The 20 checks as alphabar runs them: those of `lab/lab03_checks.py`, one for one, under the same names.

Most are a `compare`. Those that hold an answer against something else than the reference's say so themselves.
"""

import numpy as np

from grader.kit import alphas_cumprod, check, linear_betas, tensor


def close(answer, want):
    """Say whether an answer is a tensor near the numbers that are wanted, as the peers' `close` does."""
    got = getattr(answer, "array", None)
    return got is not None and got.shape == want.shape and bool(np.allclose(got, want, rtol=1e-4, atol=1e-5))


def falls(answer):
    """Say whether an answer is a tensor whose entries fall."""
    got = getattr(answer, "array", None)
    return got is not None and bool((got[1:] < got[:-1]).all())


@check("linear_beta_schedule", visible=True)
def test_c01_schedule_1000(compare):
    """The table of 1000 steps."""
    compare.linear_beta_schedule(1000)


@check("linear_beta_schedule")
def test_c02_schedule_50(compare):
    """The table of another length."""
    compare.linear_beta_schedule(50)


@check("linear_beta_schedule")
def test_c03_schedule_ends(compare):
    """The ends are those that are given."""
    compare.linear_beta_schedule(10, 0.1, 0.2)


@check("alphas_cumprod", visible=True)
def test_c04_acp_1000(compare):
    """The running product of the linear table."""
    compare.alphas_cumprod(linear_betas(1000))


@check("alphas_cumprod")
def test_c05_acp_const(compare):
    """The running product of equal factors."""
    compare.alphas_cumprod(tensor([0.5] * 5))


@check("alphas_cumprod")
def test_c06_acp_decreasing(student):
    """The product falls."""
    assert falls(student.alphas_cumprod(linear_betas(100))), "It does not fall."


@check("add_noise", visible=True)
def test_c07_add_noise_4d(compare):
    """A batch of images, each at its own timestep."""
    compare.play("on_batch", function="add_noise", seed=7)


@check("add_noise")
def test_c08_add_noise_2d(compare):
    """A batch of vectors."""
    compare.play("on_batch", function="add_noise", seed=8, shape=[5, 6])


@check("add_noise")
def test_c09_add_noise_t0(compare):
    """The first timestep."""
    compare.play("on_batch", function="add_noise", seed=9, at_zero=True)


@check("add_noise")
def test_c10_add_noise_zero(compare):
    """Noise of zeros."""
    compare.play("on_batch", function="add_noise", seed=10, silent=True)


@check("velocity", visible=True)
def test_c11_velocity_4d(compare):
    """A batch of images, each at its own timestep."""
    compare.play("on_batch", function="velocity", seed=11)


@check("velocity")
def test_c12_velocity_2d(compare):
    """A batch of vectors."""
    compare.play("on_batch", function="velocity", seed=12, shape=[5, 6])


@check("velocity")
def test_c13_velocity_zero(compare):
    """Noise of zeros."""
    compare.play("on_batch", function="velocity", seed=13, silent=True)


@check("snr", visible=True)
def test_c14_snr(compare):
    """Signal over noise along the linear table."""
    compare.snr(alphas_cumprod(linear_betas(1000)))


@check("snr")
def test_c15_snr_half(student):
    """Two values by hand: half gives 1, four fifths give 4."""
    assert close(student.snr(tensor([0.5, 0.8])), np.array([1.0, 4.0])), "The values are others."


@check("snr")
def test_c16_snr_decreasing(student):
    """The ratio falls."""
    assert falls(student.snr(alphas_cumprod(linear_betas(1000)))), "It does not fall."


# A task's time is one purse, and the looping submission loops at the chain's end: visible checks come first, so the
# others have been answered by then. The peers have a limit a check, and their order does not matter.
@check("ddim_step", visible=True)
def test_c17_ddim(compare):
    """A step back."""
    compare.play("step", seed=17, t=500, t_prev=480)


@check("ddim_step")
def test_c18_ddim_last(compare):
    """The last step, to the clean end."""
    compare.play("step", seed=18, t=20, t_prev=-1)


@check("ddim_step", visible=True)
def test_c19_ddim_same(student, reference):
    """A step to where it is gives the sample itself."""
    x = reference.play("step", seed=19, t=300, t_prev=300)["x_t"].array
    assert close(student.play("step", seed=19, t=300, t_prev=300)["x_prev"], x), "It is another."


@check("ddim_step", visible=True)
def test_c20_ddim_keeps_input(compare):
    """The sample stays the caller's."""
    compare.play("step_keeps_input", seed=20, t=500, t_prev=480)
