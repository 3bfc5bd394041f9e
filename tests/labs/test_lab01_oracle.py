"""The reference of lab 01 against diffusers, golden tensors, identities and a calculation by hand."""

import runpy
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
LAB = runpy.run_path(str(ROOT / "reference" / "lab01_forward_noise.py"))
RECIPE = runpy.run_path(str(ROOT / "fixtures" / "recipes" / "golden_lab01.py"))
GOLDEN = load_file(RECIPE["GOLDEN"])

add_noise = LAB["add_noise"]
linear = torch.linspace(1e-4, 0.02, 1000)


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("shape", [(3, 5), (3, 7, 5), (3, 4, 5, 7), (3, 2, 3, 5, 7)])
def test_equals_diffusers_bit_for_bit(schedule, shape):
    scheduler = DDPMScheduler(beta_schedule=schedule)
    x0, noise = normal(0, *shape), normal(1, *shape)
    for t in torch.arange(0, 1000, 3).split(3):
        if len(t) == 3:
            assert torch.equal(add_noise(x0, noise, t, scheduler.betas), scheduler.add_noise(x0, noise, t))


def test_golden_file_comes_from_diffusers():
    made = RECIPE["make"]()
    assert made.keys() == GOLDEN.keys()
    for name, value in made.items():
        torch.testing.assert_close(value, GOLDEN[name], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("case", RECIPE["CASES"])
def test_gives_the_golden_tensors(case):
    x0, noise, t, betas, x_t = (GOLDEN[f"{case}/{key}"] for key in ("x0", "noise", "t", "betas", "x_t"))
    torch.testing.assert_close(add_noise(x0, noise, t, betas), x_t, atol=2e-5, rtol=2e-5)


def test_by_hand():
    # alpha = 0.5, 0.32: alpha_bar = 0.5, 0.16, so at t = 1 the factors are 0.4 and sqrt(0.84).
    x_t = add_noise(torch.tensor([[10.0]]), torch.tensor([[1.0]]), torch.tensor([1]), torch.tensor([0.5, 0.68]))
    assert x_t.item() == pytest.approx(4.0 + 0.84**0.5, rel=1e-6)


def test_squares_of_the_factors_add_up_to_one():
    t, one, nothing = torch.arange(1000), torch.ones(1000, 1), torch.zeros(1000, 1)
    signal, sigma = add_noise(one, nothing, t, linear), add_noise(nothing, one, t, linear)
    torch.testing.assert_close(signal**2 + sigma**2, one, atol=1e-6, rtol=0)
    assert (signal.diff(dim=0) < 0).all() and (sigma.diff(dim=0) > 0).all()


def test_is_linear_in_sample_and_noise():
    x0, noise, t = normal(2, 3, 4, 4), normal(3, 3, 4, 4), torch.tensor([7, 70, 700])
    torch.testing.assert_close(add_noise(2 * x0, 2 * noise, t, linear), 2 * add_noise(x0, noise, t, linear))


def test_many_single_steps_have_the_same_distribution():
    # x_s = sqrt(1 - beta_s) x_(s-1) + sqrt(beta_s) eps_s, by the recursion of mean and variance in float64.
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(linear.double().tolist()):
        mean, variance = mean * (1 - beta) ** 0.5, variance * (1 - beta) + beta
        if t % 111 == 0:
            level = torch.tensor([t])
            assert add_noise(torch.ones(1, 1), torch.zeros(1, 1), level, linear).item() == pytest.approx(mean, rel=1e-4)
            assert add_noise(torch.zeros(1, 1), torch.ones(1, 1), level, linear).item() == pytest.approx(
                variance**0.5, rel=1e-3
            )


def test_gradients_are_the_factors():
    x0, noise = normal(4, 2, 5).requires_grad_(), normal(5, 2, 5).requires_grad_()
    t = torch.tensor([100, 900])
    add_noise(x0, noise, t, linear).sum().backward()
    alpha_bar = torch.cumprod(1 - linear, dim=0)[t][:, None].expand(2, 5)
    torch.testing.assert_close(x0.grad, alpha_bar.sqrt())
    torch.testing.assert_close(noise.grad, (1 - alpha_bar).sqrt())


def test_inputs_stay_and_nothing_is_drawn():
    x0, noise, t = normal(6, 2, 5), normal(7, 2, 5), torch.tensor([3, 4])
    before = [value.clone() for value in (x0, noise, t, linear)]
    state = torch.get_rng_state()
    add_noise(x0, noise, t, linear)
    assert all(torch.equal(a, b) for a, b in zip((x0, noise, t, linear), before, strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_runs_where_nothing_can_be_read_back():
    x0 = torch.empty(2, 3, 4, dtype=torch.bfloat16, device="meta")
    x_t = add_noise(x0, torch.empty_like(x0), torch.tensor([0, 9]), linear.to("meta"))
    assert (x_t.device.type, x_t.dtype, x_t.shape) == ("meta", torch.bfloat16, x0.shape)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_rounded_float32_answer(dtype):
    x0, noise, t = normal(8, 3, 64).to(dtype), normal(9, 3, 64).to(dtype), torch.tensor([2, 400, 990])
    x_t = add_noise(x0, noise, t, linear)
    assert x_t.dtype == dtype
    assert torch.equal(x_t, add_noise(x0.float(), noise.float(), t, linear).to(dtype))


@pytest.mark.parametrize(
    ("schedule", "dtype", "lost"),
    [
        ({"beta_schedule": "linear"}, torch.bfloat16, 10),
        ({"beta_schedule": "linear"}, torch.float16, 2),
        ({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, torch.bfloat16, 2),
    ],
)
def test_diffusers_still_loses_the_first_noise_in_half_precision(schedule, dtype, lost):
    # Not our oracle in half precision: page.md and a misconception quote this. If it fails, diffusers was mended.
    scheduler = DDPMScheduler(**schedule)
    t = torch.arange(1000)
    x0, noise = torch.zeros(1000, 1, dtype=dtype), torch.ones(1000, 1, dtype=dtype)
    theirs, ours = scheduler.add_noise(x0, noise, t), add_noise(x0, noise, t, scheduler.betas)
    assert (theirs == 0).sum().item() == lost
    assert (ours != 0).all()
