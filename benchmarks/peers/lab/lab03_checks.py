"""The 20 checks as the peers run them. CHECKS: (name, function of the student's module).

`course/exercises/lab03_noise/checks.py` holds the same 20 for alphabar.
"""

import lab03_reference as reference
import torch


def close(got, want):
    assert isinstance(got, torch.Tensor), f"expected a tensor, got {type(got).__name__}"
    assert got.shape == want.shape, f"shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    assert torch.allclose(got, want, rtol=1e-4, atol=1e-5), f"max difference {(got - want).abs().max().item():.3g}"


def data(seed, shape=(4, 3, 8, 8), T=1000):
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(shape, generator=g),
        torch.randn(shape, generator=g),
        torch.randint(0, T, (shape[0],), generator=g),
        reference.alphas_cumprod(reference.linear_beta_schedule(T)),
    )


def c01_schedule_1000(m):
    close(m.linear_beta_schedule(1000), reference.linear_beta_schedule(1000))


def c02_schedule_50(m):
    close(m.linear_beta_schedule(50), reference.linear_beta_schedule(50))


def c03_schedule_ends(m):
    close(m.linear_beta_schedule(10, 0.1, 0.2), reference.linear_beta_schedule(10, 0.1, 0.2))


def c04_acp_1000(m):
    betas = reference.linear_beta_schedule(1000)
    close(m.alphas_cumprod(betas), reference.alphas_cumprod(betas))


def c05_acp_const(m):
    close(m.alphas_cumprod(torch.full((5,), 0.5)), reference.alphas_cumprod(torch.full((5,), 0.5)))


def c06_acp_decreasing(m):
    a = m.alphas_cumprod(reference.linear_beta_schedule(100))
    assert bool((a[1:] < a[:-1]).all()), "not decreasing"


def c07_add_noise_4d(m):
    inputs = data(7)
    close(m.add_noise(*inputs), reference.add_noise(*inputs))


def c08_add_noise_2d(m):
    inputs = data(8, (5, 6))
    close(m.add_noise(*inputs), reference.add_noise(*inputs))


def c09_add_noise_t0(m):
    x, n, t, c = data(9)
    t = t * 0
    close(m.add_noise(x, n, t, c), reference.add_noise(x, n, t, c))


def c10_add_noise_zero(m):
    x, n, t, c = data(10)
    close(m.add_noise(x, n * 0, t, c), reference.add_noise(x, n * 0, t, c))


def c11_velocity_4d(m):
    inputs = data(11)
    close(m.velocity(*inputs), reference.velocity(*inputs))


def c12_velocity_2d(m):
    inputs = data(12, (5, 6))
    close(m.velocity(*inputs), reference.velocity(*inputs))


def c13_velocity_zero(m):
    x, n, t, c = data(13)
    close(m.velocity(x, n * 0, t, c), reference.velocity(x, n * 0, t, c))


def c14_snr(m):
    c = data(14)[3]
    close(m.snr(c), reference.snr(c))


def c15_snr_half(m):
    close(m.snr(torch.tensor([0.5, 0.8])), torch.tensor([1.0, 4.0]))


def c16_snr_decreasing(m):
    s = m.snr(data(16)[3])
    assert bool((s[1:] < s[:-1]).all()), "not decreasing"


def c17_ddim(m):
    x, n, _, c = data(17)
    close(m.ddim_step(x.clone(), n, 500, 480, c), reference.ddim_step(x, n, 500, 480, c))


def c18_ddim_last(m):
    x, n, _, c = data(18)
    close(m.ddim_step(x.clone(), n, 20, -1, c), reference.ddim_step(x, n, 20, -1, c))


def c19_ddim_same(m):
    x, n, _, c = data(19)
    close(m.ddim_step(x.clone(), n, 300, 300, c), x)


def c20_ddim_keeps_input(m):
    x, n, _, c = data(20)
    y = x.clone()
    m.ddim_step(y, n, 500, 480, c)
    assert torch.equal(x, y), "input changed in place"


CHECKS = [(name, check) for name, check in sorted(globals().items()) if name[0] == "c" and name[1:3].isdigit()]
