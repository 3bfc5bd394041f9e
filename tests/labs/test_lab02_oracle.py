"""The reference of lab 02 against diffusers, golden tensors, identities and calculations by hand."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from tests.labs import witness
from tests.labs.witness import normal, seeded

lab, scenarios, recipe = witness.reference("lab02"), witness.scenarios("lab02"), witness.recipe("lab02")
linear = torch.linspace(1e-4, 0.02, 1000)
alpha_bar = torch.cumprod(1 - linear, dim=0)

# diffusers' schedulers hand torch tensors to numpy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def table(name):
    return witness.case("lab02", f"schedule_{name}")


def test_the_whole_lab_written_twice():
    ddpm, ddim = DDPMScheduler(clip_sample=True), DDIMScheduler(clip_sample=False)
    thresholding = {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 3.0}
    imagen = DDPMScheduler(**thresholding, prediction_type="sample")
    betas, levels = ddpm.betas, ddim.alphas_cumprod
    answer, x_t, t, t_prev = normal(0, 1, 3, 4, 4), normal(1, 1, 3, 4, 4), torch.tensor([500]), torch.tensor([450])
    ddpm.set_timesteps(20)
    ddim.set_timesteps(20)
    timesteps, x, _ = recipe.ddim_run(20, x_t)

    ours = {}
    ours["estimate"] = x0 = lab.split_prediction("epsilon", answer, x_t, t, betas)["x0"]
    ours["variance"] = lab.ddpm_posterior(x0, x_t, t, t_prev, betas)["variance"][0]
    ours["ddpm"] = lab.ddpm_step(answer, 500, 450, x_t, betas, True, seeded(2))
    ours["ddim"] = lab.ddim_step(answer, 500, 450, x_t, levels, 0.5, 1.0, False, seeded(3))["prev"]
    ours["in range"] = lab.dynamic_threshold(2 * x_t, 0.9, 3.0)
    ours["run"] = lab.ddim_sample(lambda x, t: recipe.linear_denoiser(x), x_t, timesteps.tolist(), levels)["x"]

    theirs = {}
    theirs["estimate"] = ddim.step(answer, 500, x_t).pred_original_sample
    theirs["variance"] = ddpm._get_variance(500)
    theirs["ddpm"] = ddpm.step(answer, 500, x_t, generator=seeded(2)).prev_sample
    theirs["ddim"] = ddim.step(answer, 500, x_t, eta=0.5, generator=seeded(3)).prev_sample
    theirs["in range"] = imagen.step(2 * x_t, 0, x_t).pred_original_sample
    theirs["run"] = x

    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


# split_prediction


@pytest.mark.parametrize("prediction_type", recipe.TYPES)
@pytest.mark.parametrize("shape", [(4, 7), (4, 3, 5), (4, 4, 4, 4), (4, 2, 3, 5, 7)])
@pytest.mark.parametrize("schedule", ["linear", "scaled"])
def test_split_equals_diffusers(prediction_type, shape, schedule):
    scheduler = DDIMScheduler(**recipe.SCHEDULES[schedule], clip_sample=False, prediction_type=prediction_type)
    scheduler.set_timesteps(1000)
    answer, x_t = normal(0, *shape), normal(1, *shape)
    for timesteps in ([0, 1, 2, 3], [10, 200, 450, 700], [980, 990, 998, 999]):
        ours = lab.split_prediction(prediction_type, answer, x_t, torch.tensor(timesteps), scheduler.betas)
        for i, t in enumerate(timesteps):
            theirs = scheduler.step(answer[i : i + 1], t, x_t[i : i + 1]).pred_original_sample
            assert torch.equal(ours["x0"][i : i + 1], theirs), t


@pytest.mark.parametrize("prediction_type", recipe.TYPES)
@pytest.mark.parametrize("case", recipe.SPLITS)
def test_split_gives_the_golden_tensors(prediction_type, case):
    golden = witness.case("lab02", f"split_{case}_{prediction_type}")
    ours = lab.split_prediction(prediction_type, golden["answer"], golden["x_t"], golden["t"], table("linear")["betas"])
    for key in ("x0", "eps"):
        torch.testing.assert_close(ours[key], golden[key], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_three_models_that_know_the_answer_agree(dtype):
    x0, eps, t = normal(2, 3, 8).to(dtype), normal(3, 3, 8).to(dtype), torch.tensor([5, 500, 800])
    level = torch.cumprod(1 - linear.to(dtype), 0)[t][:, None]
    x_t, v = level.sqrt() * x0 + (1 - level).sqrt() * eps, level.sqrt() * eps - (1 - level).sqrt() * x0
    for prediction_type, answer in zip(recipe.TYPES, (eps, x0, v), strict=True):
        ours = lab.split_prediction(prediction_type, answer, x_t, t, linear.to(dtype))
        bound = {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]
        torch.testing.assert_close(ours, {"x0": x0, "eps": eps}, atol=bound, rtol=0)


def test_v_by_hand():
    # ᾱ = 0.36: the factors are 0.6 and 0.8. x_0 = 1 and ε = 0.5 make x_t = 1 and v = 0.3 − 0.8 = −0.5.
    one = lab.split_prediction(
        "v_prediction", torch.tensor([[-0.5]]), torch.ones(1, 1), torch.tensor([0]), torch.tensor([0.64])
    )
    assert (one["x0"].item(), one["eps"].item()) == pytest.approx((1.0, 0.5), rel=1e-6)


def test_at_an_equal_share_v_is_taken_away():
    # Where ᾱ = 1/2, σ/α = 1 and x_0 = (x − v)/√2. The EDM network's output has the other sign; this is v.
    x_t, v = normal(4, 1, 8), normal(5, 1, 8)
    ours = lab.split_prediction("v_prediction", v, x_t, torch.tensor([0]), torch.tensor([0.5]))
    torch.testing.assert_close(ours["x0"], (x_t - v) / math.sqrt(2))
    torch.testing.assert_close(ours["eps"], (x_t + v) / math.sqrt(2))


def test_v_needs_no_signal():
    ours = lab.split_prediction(
        "v_prediction", normal(6, 1, 4), normal(7, 1, 4), torch.tensor([1]), torch.tensor([0.5, 1.0])
    )
    assert torch.equal(ours["x0"], -normal(6, 1, 4)) and torch.equal(ours["eps"], normal(7, 1, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("prediction_type", recipe.TYPES)
def test_split_in_half_precision_is_the_rounded_float32_answer(dtype, prediction_type):
    answer, x_t, t = normal(8, 3, 64).to(dtype), normal(9, 3, 64).to(dtype), torch.tensor([1, 300, 700])
    half = lab.split_prediction(prediction_type, answer, x_t, t, linear)
    whole = lab.split_prediction(prediction_type, answer.float(), x_t.float(), t, linear)
    for key in ("x0", "eps"):
        assert torch.equal(half[key], whole[key].to(dtype))


def test_an_unknown_type_is_refused():
    with pytest.raises(ValueError, match="velocity"):
        lab.split_prediction("velocity", normal(0, 1, 2), normal(1, 1, 2), torch.tensor([0]), linear)


# ddpm_posterior


@pytest.mark.parametrize("case", recipe.POSTERIORS)
def test_posterior_gives_the_golden_tensors(case):
    golden = witness.case("lab02", f"posterior_{case}")
    ours = lab.ddpm_posterior(
        *(golden[key] for key in ("x0", "x_t", "t", "t_prev")), witness.case("lab02", "schedule_linear")["betas"]
    )
    torch.testing.assert_close(ours["mean"], golden["mean"], atol=1e-6, rtol=1e-5)
    # diffusers clamps the variance itself, ours only its logarithm.
    torch.testing.assert_close(ours["variance"].clamp(min=1e-20), golden["variance"], atol=0, rtol=0)
    torch.testing.assert_close(ours["log_variance"], golden["variance"].log(), atol=1e-6, rtol=0)


def test_posterior_of_a_batch_is_that_of_its_samples():
    t, t_prev = torch.tensor([999, 700, 1, 0]), torch.tensor([998, 100, 0, -9])
    x0, x_t = normal(10, 4, 4, 4), normal(11, 4, 4, 4)
    ours = lab.ddpm_posterior(x0, x_t, t, t_prev, linear)
    for i in range(4):
        one = lab.ddpm_posterior(*(value[i : i + 1] for value in (x0, x_t, t, t_prev)), linear)
        for key, value in one.items():
            assert torch.equal(ours[key][i : i + 1], value)


def test_posterior_by_hand():
    # ᾱ = 0.64, 0.16: for the step 1 → 0 α = 0.25 and β = 0.75; the factors are 0.8·0.75/0.84 and 0.5·0.36/0.84.
    betas, one, zero = torch.tensor([0.36, 0.75]), torch.ones(1, 1), torch.zeros(1, 1)
    t, t_prev = torch.tensor([1]), torch.tensor([0])
    from_x0, from_x_t = (lab.ddpm_posterior(*pair, t, t_prev, betas) for pair in ((one, zero), (zero, one)))
    assert from_x0["mean"].item() == pytest.approx(5 / 7, rel=1e-6)
    assert from_x_t["mean"].item() == pytest.approx(3 / 14, rel=1e-6)
    assert from_x0["variance"].item() == pytest.approx(9 / 28, rel=1e-6)
    assert from_x0["log_variance"].item() == pytest.approx(math.log(9 / 28), rel=1e-6)


@pytest.mark.parametrize(("t", "t_prev"), [(999, 979), (500, 499), (300, 100), (40, 20), (2, 1), (1, 0)])
def test_posterior_is_the_product_of_two_gaussians(t, t_prev):
    # q(x_prev | x_t, x_0) is proportional to q(x_t | x_prev) q(x_prev | x_0): precisions add, in float64.
    exact = torch.cumprod(1 - linear.double(), dim=0)
    alpha, before = (exact[t] / exact[t_prev]).item(), exact[t_prev].item()
    x0, x_t = normal(4, 1, 16), normal(5, 1, 16)
    precision = alpha / (1 - alpha) + 1 / (1 - before)
    mean = (alpha**0.5 / (1 - alpha) * x_t.double() + before**0.5 / (1 - before) * x0.double()) / precision
    ours = lab.ddpm_posterior(x0, x_t, torch.tensor([t]), torch.tensor([t_prev]), linear)
    torch.testing.assert_close(ours["mean"].double(), mean, atol=5e-4, rtol=5e-4)
    assert ours["log_variance"].item() == pytest.approx(-math.log(precision), abs=2e-3)


def test_variance_lies_between_nothing_and_beta():
    t, t_prev = torch.arange(20, 1000, 20), torch.arange(0, 980, 20)
    x = torch.zeros(49, 1)
    variance = lab.ddpm_posterior(x, x, t, t_prev, linear)["variance"]
    beta = 1 - alpha_bar[t] / alpha_bar[t_prev]
    assert (variance > 0).all() and (variance < beta).all()


# ddpm_step


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("schedule", "steps"), [("linear", 50), ("linear", 7), ("scaled", 20), ("scaled", 1000)])
def test_ddpm_equals_diffusers_bit_for_bit(dtype, clip, schedule, steps):
    scheduler = DDPMScheduler(**recipe.SCHEDULES[schedule], clip_sample=clip, variance_type="fixed_small")
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps.tolist()
    ours, theirs = seeded(2), seeded(2)
    for t, t_prev in list(zip(timesteps, [*timesteps[1:], -1], strict=True))[-60:]:
        eps, x_t = normal(t, 2, 3, 2, 8).to(dtype), 1.5 * normal(t + 1, 2, 3, 2, 8).to(dtype)
        expected = scheduler.step(eps, t, x_t, generator=theirs).prev_sample
        x_prev = lab.ddpm_step(eps, t, t_prev, x_t, scheduler.betas, clip, ours)
        assert x_prev.dtype == dtype
        assert torch.equal(x_prev, expected), t
    assert torch.equal(torch.rand((), generator=ours), torch.rand((), generator=theirs))


def test_ddpm_equals_diffusers_one_step_at_a_time():
    scheduler = DDPMScheduler(clip_sample=True)
    for t in [999, 998, 500, 20, 2, 1, 0]:
        eps, x_t = normal(t, 2, 16), normal(t + 1, 2, 16)
        expected = scheduler.step(eps, t, x_t, generator=seeded(t)).prev_sample
        assert torch.equal(lab.ddpm_step(eps, t, t - 1, x_t, scheduler.betas, True, seeded(t)), expected), t


@pytest.mark.parametrize("case", recipe.CASES)
def test_ddpm_gives_the_golden_tensors(case):
    golden, (_, timesteps, index, clip, schedule) = witness.case("lab02", f"ddpm_{case}"), recipe.CASES[case]
    generator = seeded(golden["seed"].item())
    t, t_prev = timesteps[index], [*timesteps, -1][index + 1]
    x_prev = lab.ddpm_step(golden["model_output"], t, t_prev, golden["x_t"], table(schedule)["betas"], clip, generator)
    torch.testing.assert_close(x_prev, golden["x_prev"], atol=2e-5, rtol=2e-5)
    assert torch.equal(torch.rand((), generator=generator), golden["next_draw"])


@pytest.mark.parametrize("t", [76, 1])
def test_diffusers_still_draws_in_a_last_step_above_zero(t):
    # page.md quotes this: the clean end is where t_prev is below zero, and diffusers asks for t. If it fails, it moved.
    scheduler = DDPMScheduler(clip_sample=False)
    scheduler.set_timesteps(timesteps=[t])
    eps, x_t, ours, theirs = normal(0, 2, 16), normal(1, 2, 16), seeded(2), seeded(2)
    x_prev = lab.ddpm_step(eps, t, -1, x_t, linear, False, ours)
    torch.testing.assert_close(x_prev, scheduler.step(eps, t, x_t, generator=theirs).prev_sample, atol=1e-9, rtol=1e-6)
    assert torch.equal(ours.get_state(), seeded(2).get_state())
    assert not torch.equal(ours.get_state(), theirs.get_state())


def test_ddpm_by_hand():
    # As in test_posterior_by_hand; x_t = 2 and ε = 1 make the estimate (2 − √0.84)/0.4.
    betas = torch.tensor([0.36, 0.75])
    x_t, eps = torch.full((1, 16), 2.0), torch.full((1, 16), 1.0)
    expected = (
        5 / 7 * (2.0 - 0.84**0.5) / 0.4 + 3 / 14 * 2.0 + (9 / 28) ** 0.5 * torch.randn(1, 16, generator=seeded(3))
    )
    torch.testing.assert_close(lab.ddpm_step(eps, 1, 0, x_t, betas, False, seeded(3)), expected)


def test_perfect_predictions_lead_back_to_the_sample():
    x0, x, generator = normal(7, 2, 16).clamp(-1, 1), normal(8, 2, 16), seeded(9)
    timesteps = list(range(980, -1, -20))
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        eps = (x - alpha_bar[t].sqrt() * x0) / (1 - alpha_bar[t]).sqrt()
        x = lab.ddpm_step(eps, t, t_prev, x, linear, True, generator)
    torch.testing.assert_close(x, x0, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("t", "t_prev"), [(0, -1), (0, -20), (76, -1), (1, -19)])
def test_the_end_returns_the_estimate_and_draws_nothing(t, t_prev):
    x_t, eps, generator = normal(10, 2, 16), normal(11, 2, 16), seeded(12)
    state = generator.get_state()
    x_prev = lab.ddpm_step(eps, t, t_prev, x_t, linear, False, generator)
    torch.testing.assert_close(x_prev, (x_t - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt())
    assert torch.equal(state, generator.get_state())


def test_clip_holds_the_estimate_not_the_sample():
    x_t, eps = 3 * normal(13, 4, 64), normal(14, 4, 64)
    x_prev = lab.ddpm_step(eps, 200, 180, x_t, linear, True, seeded(15))
    assert x_prev.abs().max() > 1.5
    assert lab.ddpm_step(eps, 0, -1, x_t, linear, True, seeded(15)).abs().max() <= 1


# ddim_step


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("ends_at_one", [False, True])
def test_ddim_equals_diffusers_bit_for_bit(dtype, eta, clip, ends_at_one):
    for schedule, steps in (("linear", 50), ("scaled", 13), ("scaled", 1000)):
        scheduler = DDIMScheduler(**recipe.SCHEDULES[schedule], clip_sample=clip, set_alpha_to_one=ends_at_one)
        scheduler.set_timesteps(steps)
        stride, ours, theirs = 1000 // steps, seeded(2), seeded(2)
        final, levels = scheduler.final_alpha_cumprod.item(), scheduler.alphas_cumprod
        for t in (999, 600, 77, 40, 3, 2, 1, 0):
            eps, x_t = normal(t, 2, 3, 2, 8).to(dtype), 1.5 * normal(t + 1, 2, 3, 2, 8).to(dtype)
            expected = scheduler.step(eps, t, x_t, eta=eta, generator=theirs)
            found = lab.ddim_step(eps, t, t - stride, x_t, levels, eta, final, clip, ours)
            assert torch.equal(found["prev"], expected.prev_sample), (schedule, t)
            assert torch.equal(found["x0"], expected.pred_original_sample), (schedule, t)
        assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("case", recipe.STEPS)
def test_ddim_gives_the_golden_tensors(case):
    golden, (_, t, steps, eta, clip, _, schedule) = witness.case("lab02", f"ddim_{case}"), recipe.STEPS[case]
    generator = seeded(golden["seed"].item())
    found = lab.ddim_step(
        golden["model_output"],
        t,
        t - 1000 // steps,
        golden["x_t"],
        table(schedule)["alphas_cumprod"],
        eta,
        golden["final_alpha_cumprod"].item(),
        clip,
        generator,
    )
    for key in ("prev", "x0"):
        torch.testing.assert_close(found[key], golden[key], atol=2e-5, rtol=2e-5)
    assert torch.equal(torch.rand((), generator=generator), golden["next_draw"])


def test_ddim_by_hand():
    # ᾱ = 0.64, 0.16 and η = 0: x_0 = (2 − √0.84)/0.4, and x_prev = 0.8·x_0 + 0.6·ε.
    levels, x_t, eps = torch.tensor([0.64, 0.16]), torch.full((1, 2), 2.0), torch.ones(1, 2)
    found = lab.ddim_step(eps, 1, 0, x_t, levels, 0.0, 1.0, False, seeded(0))
    x0 = (2.0 - 0.84**0.5) / 0.4
    torch.testing.assert_close(found["x0"], torch.full((1, 2), x0))
    torch.testing.assert_close(found["prev"], torch.full((1, 2), 0.8 * x0 + 0.6))


@pytest.mark.parametrize(("t", "t_prev"), [(999, 979), (500, 100), (20, 19), (2, 1), (1, 0)])
def test_ddim_with_eta_1_is_ddpm(t, t_prev):
    eps, x_t = normal(20, 2, 16), normal(21, 2, 16)
    ours = lab.ddim_step(eps, t, t_prev, x_t, alpha_bar, 1.0, 1.0, False, seeded(22))["prev"]
    theirs = lab.ddpm_step(eps, t, t_prev, x_t, linear, False, seeded(22))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("t", "t_prev"), [(999, 500), (300, 0), (1, 0)])
def test_ddim_keeps_the_level_whatever_eta(t, t_prev):
    # From x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε with the right ε, x_prev has mean √ᾱ_prev·x_0 and variance 1 − ᾱ_prev.
    zero, one, level = torch.zeros(1, 1), torch.ones(1, 1), alpha_bar[t]
    for eta in (0.0, 0.5, 1.0):
        along_eps, generator = [], seeded(0)
        for eps in (zero, one):
            x_t = level.sqrt() * one + (1 - level).sqrt() * eps
            along_eps.append(lab.ddim_step(eps, t, t_prev, x_t, alpha_bar, eta, 1.0, False, generator)["prev"].item())
        z = torch.randn(2, 1, 1, generator=seeded(0)) if eta > 0 else torch.zeros(2, 1, 1)
        variance = (1 - alpha_bar[t_prev]) / (1 - level) * (1 - level / alpha_bar[t_prev])
        sigma = eta * variance.sqrt().item()
        mean, direction = along_eps[0] - sigma * z[0].item(), along_eps[1] - sigma * z[1].item()
        assert mean == pytest.approx(alpha_bar[t_prev].sqrt().item(), abs=1e-4)
        assert (direction - mean) ** 2 + sigma**2 == pytest.approx(1 - alpha_bar[t_prev].item(), rel=2e-3)


def test_a_perfect_model_ends_at_the_sample_from_anywhere():
    x0, eps = normal(23, 1, 16), normal(24, 1, 16)
    for t, t_prev in ((999, -1), (76, -1), (1, -19), (0, -1)):
        x_t = alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps
        found = lab.ddim_step(eps, t, t_prev, x_t, alpha_bar, 0.0, 1.0, False, seeded(0))["prev"]
        torch.testing.assert_close(found, x0, atol=1e-4, rtol=0)


def test_a_chain_that_ends_at_the_first_level_keeps_its_noise():
    # page.md quotes 0.029 (Stable Diffusion) and 0.010 (DDPM): the share of ε that a final ᾱ of ᾱ_0 leaves.
    for schedule, share in (("scaled", 0.029), ("linear", 0.010)):
        levels = table(schedule)["alphas_cumprod"]
        x0, eps = torch.zeros(1, 1), torch.ones(1, 1)
        x_t = (1 - levels[40]).sqrt() * eps
        found = lab.ddim_step(eps, 40, -1, x_t, levels, 0.0, levels[0].item(), False, seeded(0))
        assert found["prev"].item() == pytest.approx(share, abs=5e-4)
        assert found["x0"].item() == pytest.approx(x0.item(), abs=1e-6)


def test_diffusers_still_strides_evenly_where_its_list_does_not():
    # page.md quotes this (issues 11347 and 12633): with "linspace" the list says 888, the step goes to 899.
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="linspace")
    scheduler.set_timesteps(10)
    assert scheduler.timesteps.tolist()[:2] == [999, 888]
    eps, x_t = normal(25, 1, 16), normal(26, 1, 16)
    theirs = scheduler.step(eps, 999, x_t).prev_sample
    to = {
        t_prev: lab.ddim_step(eps, 999, t_prev, x_t, alpha_bar, 0.0, 1.0, False, seeded(0))["prev"]
        for t_prev in (888, 899)
    }
    torch.testing.assert_close(theirs, to[899], atol=1e-5, rtol=1e-5)
    assert (theirs - to[888]).abs().max() > 0.1


# dynamic_threshold


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("ratio", "max_value"), [(0.995, 4.0), (0.9, 1.5), (0.5, 2.0), (0.995, 1.0), (1.0, 100.0)])
def test_threshold_equals_diffusers_bit_for_bit(dtype, ratio, max_value):
    scheduler = DDPMScheduler(
        thresholding=True, dynamic_thresholding_ratio=ratio, sample_max_value=max_value, prediction_type="sample"
    )
    for shape in ((2, 3, 5), (3, 3, 5, 7), (2, 3, 2, 5, 3)):
        x0 = (torch.linspace(0.3, 4, shape[0]).reshape(-1, *[1] * (len(shape) - 1)) * normal(30, *shape)).to(dtype)
        theirs = scheduler.step(x0, 0, x0).pred_original_sample
        assert torch.equal(lab.dynamic_threshold(x0, ratio, max_value), theirs)
        assert torch.equal(lab.dynamic_threshold(x0.flatten(1), ratio, max_value), theirs.flatten(1))


@pytest.mark.parametrize("case", recipe.THRESHOLDS)
def test_threshold_gives_the_golden_tensors(case):
    golden, (_, _, ratio, max_value) = witness.case("lab02", f"threshold_{case}"), recipe.THRESHOLDS[case]
    torch.testing.assert_close(lab.dynamic_threshold(golden["x0"], ratio, max_value), golden["y"], atol=1e-6, rtol=1e-6)


def test_threshold_by_hand():
    # |x| sorted: 0.5, 1, 2, 3, 4. The 0.75-quantile of five is the fourth, 3: clamp to ±3, divide by 3.
    x0 = torch.tensor([[2.0, -4.0, 0.5, 3.0, -1.0]])
    expected = torch.tensor([[2.0, -3.0, 0.5, 3.0, -1.0]]) / 3
    torch.testing.assert_close(lab.dynamic_threshold(x0, 0.75, 10.0), expected)


def test_threshold_never_stretches_and_never_leaves_the_range():
    quiet, loud = 0.2 * normal(31, 2, 9), 9 * normal(32, 2, 9)
    assert torch.equal(lab.dynamic_threshold(quiet, 0.5, 4.0), quiet)
    assert lab.dynamic_threshold(loud, 0.9, 4.0).abs().max() <= 1


# ddim_sample


@pytest.mark.parametrize("steps", [1, 4, 20, 50])
def test_run_equals_diffusers_bit_for_bit(steps):
    x_T = normal(40, 2, 3, 5)
    timesteps, *theirs = recipe.ddim_run(steps, x_T, **recipe.SCHEDULES["scaled"])
    levels = table("scaled")["alphas_cumprod"]
    ours = lab.ddim_sample(lambda x, t: recipe.linear_denoiser(x), x_T, timesteps.tolist(), levels)
    assert torch.equal(ours["x"], theirs[0]) and torch.equal(ours["x0"], theirs[1])


def test_run_gives_the_golden_tensors():
    golden = witness.case("lab02", "run")
    levels = table("scaled")["alphas_cumprod"]
    ours = lab.ddim_sample(lambda x, t: recipe.linear_denoiser(x), golden["x"][0], golden["timesteps"].tolist(), levels)
    for key in ("x", "x0"):
        torch.testing.assert_close(ours[key], golden[key], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("timesteps", [[999, 888, 777, 5], [500, 3], [922, 76], [0]])
def test_run_of_a_perfect_model_ends_at_the_sample(timesteps):
    x0, x_T = normal(41, 2, 8), normal(42, 2, 8)

    def model(x, t):
        return (x - alpha_bar[t].sqrt() * x0) / (1 - alpha_bar[t]).sqrt()

    run = lab.ddim_sample(model, x_T, timesteps, alpha_bar)
    assert run["x"].shape == (len(timesteps) + 1, 2, 8) and run["x0"].shape == (len(timesteps), 2, 8)
    torch.testing.assert_close(run["x"][-1], x0, atol=1e-4, rtol=0)
    assert torch.equal(run["x"][0], x_T)


# Predictions, each with a witness that is not the formula itself.


def test_prediction_of_the_misread_v():
    # One sample, ᾱ = 0.36, made of x_0 = 1 and ε = −0.5; diffusers reads its v as each of the three.
    scheduler = {
        name: DDIMScheduler(trained_betas=[0.64], num_train_timesteps=1, clip_sample=False, prediction_type=name)
        for name in recipe.TYPES
    }
    x_t = scheduler["epsilon"].add_noise(torch.ones(1, 1), torch.full((1, 1), -0.5), torch.tensor([0]))
    v = scheduler["epsilon"].get_velocity(torch.ones(1, 1), torch.full((1, 1), -0.5), torch.tensor([0]))
    assert (x_t.item(), v.item()) == pytest.approx((0.2, -1.1), rel=1e-6)
    predicted = lab.checkpoint_misread_v()
    for name, one in scheduler.items():
        one.set_timesteps(1)
        assert predicted[name] == pytest.approx(one.step(v, 0, x_t).pred_original_sample.item(), rel=1e-5)


def test_prediction_of_the_last_step():
    scheduler = DDPMScheduler(trained_betas=[0.25], num_train_timesteps=1, clip_sample=False, prediction_type="sample")
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    factors = [scheduler.step(x0, 0, x_t).prev_sample.item() for x0, x_t in ((one, zero), (zero, one))]
    assert lab.checkpoint_last_step() == pytest.approx((*factors, scheduler._get_variance(0).item()), abs=1e-6)
    assert factors == [1.0, 0.0]


@pytest.mark.parametrize(("name", "scheduler"), [("ddpm", DDPMScheduler), ("ddim", DDIMScheduler)])
def test_prediction_of_the_draws(monkeypatch, name, scheduler):
    draws, solver = [], scheduler(clip_sample=False)
    module = f"diffusers.schedulers.scheduling_{name}.randn_tensor"
    monkeypatch.setattr(module, lambda shape, **rest: draws.append(shape) or torch.zeros(shape))
    solver.set_timesteps(50)
    x = normal(0, 4, 16)
    for t in solver.timesteps:
        x = solver.step(recipe.linear_denoiser(x), t, x).prev_sample
    assert solver.timesteps[-1] == 0
    assert lab.checkpoint_draws()[name] == len(draws)


def test_prediction_of_who_computes():
    # The library's step takes the model's answer and returns the rest; no scheduler holds a network.
    scheduler = DDPMScheduler(clip_sample=False)
    scheduler.set_timesteps(20)
    out = scheduler.step(normal(0, 1, 8), 500, normal(1, 1, 8), generator=seeded(2))
    theirs = {"estimate of x_0": out.pred_original_sample, "x_prev": out.prev_sample}
    theirs |= {"variance": scheduler._get_variance(500), "t_prev": scheduler.previous_timestep(500)}
    predicted = lab.checkpoint_who_computes()
    assert all(isinstance(value, torch.Tensor) for value in theirs.values())
    assert {name for name, owner in predicted.items() if owner == "scheduler"} == theirs.keys()
    assert {name for name, owner in predicted.items() if owner == "model"} == {"noise prediction"}


def test_inputs_stay_and_the_global_generator_too():
    x_t, eps, t = normal(16, 2, 16), normal(17, 2, 16), torch.tensor([500, 3])
    before, state = [x_t.clone(), eps.clone(), t.clone()], torch.get_rng_state()
    lab.split_prediction("v_prediction", eps, x_t, t, linear)
    lab.ddpm_posterior(eps, x_t, t, t - 9, linear)
    lab.ddpm_step(eps, 500, 480, x_t, linear, True, seeded(18))
    lab.ddim_step(eps, 500, 480, x_t, alpha_bar, 1.0, 1.0, True, seeded(18))
    lab.dynamic_threshold(x_t, 0.9, 2.0)
    lab.ddim_sample(lambda x, t: recipe.linear_denoiser(x), x_t, [500, 3], alpha_bar)
    assert all(torch.equal(a, b) for a, b in zip((x_t, eps, t), before, strict=True))
    assert torch.equal(state, torch.get_rng_state())
