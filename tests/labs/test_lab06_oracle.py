"""Lab 06's reference against diffusers' own StableDiffusionPipeline: recorded always, live with transformers."""

from types import SimpleNamespace

import pytest
import torch

from tests.labs import witness

# diffusers' schedulers hand torch tensors to numpy in a way that numpy 2 deprecates; transformers has news of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*"),
]

reference, scenarios, recipe = witness.reference("lab06"), witness.scenarios("lab06"), witness.recipe("lab06")
golden = witness.golden("lab06")

# From lab.toml: what moves between machines is a third of it.
TOLERANCE = {"atol": 2e-4, "rtol": 1e-3}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", recipe.CASES)
def test_agrees_with_the_recorded_pipeline(case):
    outcome = recipe.run(case, reference)
    torch.testing.assert_close(outcome["latents"], golden[f"{case}/latents"], **TOLERANCE)
    assert torch.equal(outcome["calls"], golden[f"{case}/calls"])


@pytest.mark.parametrize("case", recipe.CASES)
def test_agrees_with_the_live_pipeline_to_the_bit(case):
    pytest.importorskip("transformers", reason="StableDiffusionPipeline needs transformers: install the oracle extra")
    library, ours = recipe.run(case, recipe.LibraryPipeline()), recipe.run(case, reference)
    assert torch.equal(ours["latents"], library["latents"])
    assert torch.equal(ours["calls"], library["calls"])


def test_guidance_between_equal_conditions_is_no_guidance():
    given = recipe.inputs("euler")
    given["uncond"] = given["cond"]
    guided = scenarios.sample(reference, **given)
    plain = scenarios.sample(reference, **{**given, "guidance_scale": 1.0})
    torch.testing.assert_close(guided, plain, **TOLERANCE)


def test_a_sample_does_not_depend_on_its_batch():
    given = recipe.inputs("dpm")
    one = scenarios.sample(reference, **given)
    doubled = {name: torch.cat([given[name], given[name]]) for name in ("noise", "cond", "uncond")}
    two = scenarios.sample(reference, **{**given, **doubled})
    torch.testing.assert_close(two, torch.cat([one, one]), **TOLERANCE)


def test_a_used_scheduler_starts_afresh():
    given = recipe.inputs("heun")
    scheduler = scenarios.make_scheduler("heun")
    unet = scenarios.make_unet(4, 8, seed=0).requires_grad_(False)
    rest = [given[name] for name in ("noise", "cond", "uncond", "guidance_scale")]
    first = reference.denoise_loop(unet, scheduler, *rest, 2)
    assert torch.equal(reference.denoise_loop(unet, scheduler, *rest, 2), first)


def test_one_euler_step_by_hand():
    """From sigma to 0 in one step the latents become x - sigma * eps; here eps is 0.5 everywhere."""
    scheduler = scenarios.make_scheduler("euler_linspace")
    noise = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    seen = []

    def half(sample, t, encoder_hidden_states):
        seen.append(sample)
        return SimpleNamespace(sample=torch.full_like(sample, 0.5))

    latents = reference.denoise_loop(half, scheduler, noise, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), 1.0, 1)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = torch.cumprod(1 - betas, dim=0)[0]  # one step, spaced by linspace, is timestep 0
    sigma = float(((1 - alpha_bar) / alpha_bar).sqrt())
    start = noise * float(scheduler.init_noise_sigma)
    torch.testing.assert_close(seen[0], start / (sigma**2 + 1) ** 0.5)
    torch.testing.assert_close(latents, start - 0.5 * sigma)


def test_the_harness_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    scenarios.make_unet(4, 8, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_parameter_of_the_harness_model_is_left_at_zero():
    unet = scenarios.make_unet(4, 8, seed=0)
    assert all(float(parameter.detach().abs().min()) > 0 for parameter in unet.parameters() if parameter.numel() < 64)
    assert all(float(parameter.detach().std()) > 0 for parameter in unet.parameters())
