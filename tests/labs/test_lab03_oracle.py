"""Lab 03's reference against diffusers, golden tensors, identities and a hand calculation."""

from __future__ import annotations

import math

import pytest
import torch

from tests.labs import witness
from tests.labs.witness import normal as randn

# diffusers 0.42 with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


reference, scenarios, recipe = witness.reference("lab03"), witness.scenarios("lab03"), witness.recipe("lab03")
RUNS = sorted({name.split("/")[0] for name in witness.golden("lab03")})


def walk(sigmas, x, noise):
    solver = reference.DPMpp2M(sigmas)
    samples = [x]
    for eps in noise:
        samples.append(solver.step(eps, samples[-1]))
    return torch.stack(samples)


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 14, 16, 25])
def test_diffusers_float32(karras, steps):
    run = recipe.trajectory(karras=karras, steps=steps, seed=steps, shape=(2, 3, 7, 5))
    ours = walk(run["sigmas"], run["samples"][0], run["noise"])
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, run["samples"], atol=5e-5, rtol=5e-5)


@pytest.mark.parametrize(("dtype", "atol", "rtol"), [(torch.bfloat16, 0.8, 0.08), (torch.float16, 0.1, 0.02)])
def test_diffusers_half_precision(dtype, atol, rtol):
    """diffusers forms x0 in the half type, the reference in float32: they agree to the lab's tolerance."""
    solver = recipe.scheduler(karras=True, steps=6)
    noise = randn(1, 6, 2, 3, 8, 5).to(dtype)
    samples = [randn(2, 2, 3, 8, 5).to(dtype)]
    for t, eps in zip(solver.timesteps, noise, strict=True):
        samples.append(solver.step(eps, t, samples[-1]).prev_sample)
    ours = walk(solver.sigmas, samples[0], noise)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, torch.stack(samples), atol=atol, rtol=rtol)


@pytest.mark.parametrize("run", RUNS)
def test_golden(run):
    golden = witness.case("lab03", run)
    ours = walk(golden["sigmas"], golden["samples"][0], golden["noise"])
    torch.testing.assert_close(ours, golden["samples"], atol=5e-5, rtol=5e-5)


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_scenario_levels_are_the_librarys(steps):
    for schedule, karras in [("stable_diffusion", False), ("karras", True)]:
        theirs = recipe.scheduler(karras=karras, steps=steps).sigmas
        torch.testing.assert_close(scenarios.sigma_levels(schedule, steps), theirs, atol=1e-4, rtol=2e-3)


def test_ends_at_predicted_x0():
    sigmas = scenarios.sigma_levels("karras", 1)
    x, eps = randn(3, 2, 5), randn(4, 2, 5)
    alpha = 1 / math.sqrt(1 + sigmas[0].item() ** 2)
    x0 = (x.double() - sigmas[0].item() * alpha * eps.double()) / alpha
    torch.testing.assert_close(reference.DPMpp2M(sigmas).step(eps, x).double(), x0, atol=1e-4, rtol=1e-5)


def test_exact_when_x0_is_constant():
    """A model that always sees the same x0 leaves nothing to approximate: every sample is α_t·x0 + σ_t·ε."""
    x0, eps = randn(5, 3, 4), randn(6, 3, 4)
    sigmas = scenarios.sigma_levels("stable_diffusion", 8)
    alpha = (1 + sigmas**2).rsqrt()
    exact = alpha[:, None, None] * x0 + (sigmas * alpha)[:, None, None] * eps
    torch.testing.assert_close(walk(sigmas, exact[0], [eps] * 8), exact, atol=2e-5, rtol=2e-5)


def test_by_hand():
    """σ = 4, 2, 1, 0 and x0 predictions 1, 2, 4: steps of equal length ln 2, so r = 1 and D = 2 + (2 - 1)/2."""
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.0])
    alpha = (1 + sigmas.double() ** 2).rsqrt()
    x = torch.tensor([0.5])
    solver = reference.DPMpp2M(sigmas)
    x_bar = 0.5 / alpha[0].item()
    for i, (x0, D) in enumerate([(1.0, 1.0), (2.0, 2.5), (4.0, 4.0)]):
        eps = torch.tensor([(x_bar - x0) / sigmas[i].item()])
        x = solver.step(eps, x)
        ratio = (sigmas[i + 1] / sigmas[i]).item()
        x_bar = ratio * x_bar + (1 - ratio) * D
        assert x.item() == pytest.approx(x_bar * alpha[i + 1].item(), rel=1e-5)


def test_two_instances_do_not_meet():
    sigmas = [scenarios.sigma_levels("karras", 5), scenarios.sigma_levels("stable_diffusion", 5)]
    x, noise = randn(7, 2, 3, 4), randn(8, 2, 5, 3, 4)
    log = scenarios.two_in_turns(reference, schedules=["karras", "stable_diffusion"], steps=5, x=x, noise=noise)
    for n, name in enumerate(["first", "second"]):
        assert torch.equal(torch.stack(log[name]["x"]), walk(sigmas[n], x[n], noise[n])[1:])
        assert log[name]["inputs_untouched"]


def test_second_order_of_convergence():
    found = scenarios.error_by_steps(reference, step_counts=[20, 40, 80], x=randn(9, 48, 2))
    orders = [math.log2(a / b) for a, b in zip(found["error"], found["error"][1:], strict=False)]
    first = [math.log2(a / b) for a, b in zip(found["first_order"], found["first_order"][1:], strict=False)]
    assert all(1.8 < order < 2.4 for order in orders), orders
    assert all(0.8 < order < 1.3 for order in first), first


def test_one_library_scheduler_cannot_serve_two_images():
    """What the page says of sharing: the step index moves twice a round, and the levels run out halfway."""
    solver = recipe.scheduler(karras=False, steps=4)
    with pytest.raises(IndexError):
        for t in solver.timesteps:
            for seed in (1, 2):
                solver.step(randn(seed, 1, 3), t, randn(seed + 2, 1, 3))
