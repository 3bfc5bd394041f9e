"""The reference of lab 02 against diffusers, golden tensors, identities and a calculation by hand."""

import pytest
import torch
from diffusers import DDPMScheduler

from tests.labs import witness
from tests.labs.witness import normal, seeded

ddpm_step = witness.reference("lab02").ddpm_step
linear = torch.linspace(1e-4, 0.02, 1000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("schedule", "steps"), [("linear", 50), ("linear", 7), ("scaled_linear", 20)])
def test_equals_diffusers_bit_for_bit(dtype, clip, schedule, steps):
    scheduler = DDPMScheduler(beta_schedule=schedule, clip_sample=clip, variance_type="fixed_small")
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps.tolist()
    ours, theirs = seeded(2), seeded(2)
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        eps, x_t = normal(t, 2, 3, 5, 8).to(dtype), 1.5 * normal(t + 1, 2, 3, 5, 8).to(dtype)
        expected = scheduler.step(eps, t, x_t, generator=theirs).prev_sample
        x_prev = ddpm_step(eps, t, t_prev, x_t, scheduler.betas, clip, ours)
        assert x_prev.dtype == dtype
        assert torch.equal(x_prev, expected), t
    assert torch.equal(torch.rand((), generator=ours), torch.rand((), generator=theirs))


def test_equals_diffusers_one_step_at_a_time():
    scheduler = DDPMScheduler(clip_sample=True)
    for t in [999, 998, 500, 20, 2, 1, 0]:
        eps, x_t = normal(t, 2, 16), normal(t + 1, 2, 16)
        expected = scheduler.step(eps, t, x_t, generator=seeded(t)).prev_sample
        assert torch.equal(ddpm_step(eps, t, t - 1, x_t, scheduler.betas, True, seeded(t)), expected), t


@pytest.mark.parametrize("case", witness.recipe("lab02").CASES)
def test_gives_the_golden_tensors(case):
    golden = witness.case("lab02", case)
    generator = seeded(golden["seed"].item())
    t, t_prev, clip = golden["t"].item(), golden["t_prev"].item(), golden["clip"].item()
    x_prev = ddpm_step(golden["model_output"], t, t_prev, golden["x_t"], golden["betas"], clip, generator)
    torch.testing.assert_close(x_prev, golden["x_prev"], atol=2e-5, rtol=2e-5)
    assert torch.equal(torch.rand((), generator=generator), golden["next_draw"])


def test_by_hand():
    # alpha_bar = 0.64, 0.16: alpha = 0.25 and beta = 0.75 for the step 1 -> 0.
    betas = torch.tensor([0.36, 0.75])
    x_t, eps = torch.full((1, 16), 2.0), torch.full((1, 16), 1.0)
    x0 = (2.0 - 0.84**0.5) / 0.4
    mean = 0.8 * 0.75 / 0.84 * x0 + 0.5 * 0.36 / 0.84 * 2.0
    std = (0.36 / 0.84 * 0.75) ** 0.5
    expected = mean + std * torch.randn(1, 16, generator=seeded(3))
    torch.testing.assert_close(ddpm_step(eps, 1, 0, x_t, betas, False, seeded(3)), expected)


@pytest.mark.parametrize(("t", "t_prev"), [(999, 979), (500, 499), (300, 100), (40, 20)])
def test_is_the_product_of_two_gaussians(t, t_prev):
    # q(x_prev | x_t, x_0) is proportional to q(x_t | x_prev) q(x_prev | x_0): precisions add, in float64.
    alpha_bar = torch.cumprod(1 - linear.double(), dim=0)
    alpha, before = (alpha_bar[t] / alpha_bar[t_prev]).item(), alpha_bar[t_prev].item()
    x0, eps = normal(4, 1, 16).double(), normal(5, 1, 16).double()
    x_t = alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps
    precision = alpha / (1 - alpha) + 1 / (1 - before)
    mean = (alpha**0.5 / (1 - alpha) * x_t + before**0.5 / (1 - before) * x0) / precision
    expected = mean.float() + precision**-0.5 * torch.randn(1, 16, generator=seeded(6))
    x_prev = ddpm_step(eps.float(), t, t_prev, x_t.float(), linear, False, seeded(6))
    torch.testing.assert_close(x_prev, expected, atol=2e-4, rtol=2e-4)


def test_perfect_predictions_lead_back_to_the_sample():
    x0, x, generator = normal(7, 2, 16).clamp(-1, 1), normal(8, 2, 16), seeded(9)
    alpha_bar = torch.cumprod(1 - linear, dim=0)
    timesteps = list(range(980, -1, -20))
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        eps = (x - alpha_bar[t].sqrt() * x0) / (1 - alpha_bar[t]).sqrt()
        x = ddpm_step(eps, t, t_prev, x, linear, True, generator)
    torch.testing.assert_close(x, x0, atol=1e-4, rtol=0)


def test_last_step_returns_the_estimate_and_draws_nothing():
    x_t, eps, generator = normal(10, 2, 16), normal(11, 2, 16), seeded(12)
    state = generator.get_state()
    x_prev = ddpm_step(eps, 0, -1, x_t, linear, False, generator)
    torch.testing.assert_close(x_prev, (x_t - 0.01 * eps) / (1 - 1e-4) ** 0.5)
    assert torch.equal(state, generator.get_state())


def test_clip_holds_the_estimate_not_the_sample():
    x_t, eps = 3 * normal(13, 4, 64), normal(14, 4, 64)
    x_prev = ddpm_step(eps, 200, 180, x_t, linear, True, seeded(15))
    assert x_prev.abs().max() > 1.5
    assert ddpm_step(eps, 0, -1, x_t, linear, True, seeded(15)).abs().max() <= 1


def test_inputs_stay_and_the_global_generator_too():
    x_t, eps = normal(16, 2, 16), normal(17, 2, 16)
    before, state = [x_t.clone(), eps.clone()], torch.get_rng_state()
    ddpm_step(eps, 500, 480, x_t, linear, True, seeded(18))
    assert torch.equal(x_t, before[0]) and torch.equal(eps, before[1])
    assert torch.equal(state, torch.get_rng_state())
