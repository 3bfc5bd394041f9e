"""Lab 03's reference against diffusers, golden tensors, identities and calculations by hand."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)

from tests.labs import witness
from tests.labs.witness import normal, seeded

# diffusers 0.42 with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


reference, scenarios, recipe = witness.reference("lab03"), witness.scenarios("lab03"), witness.recipe("lab03")
SD = recipe.SD
RUNS = sorted({name.split("/")[0] for name in witness.golden("lab03") if name.startswith("dpm:")})
COUNTS = [1, 2, 3, 4, 7, 9, 13, 20, 25, 30, 50, 100]


def test_the_whole_lab_written_twice():
    """One picture from noise: diffusers' call, and ours below it."""
    theirs = EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1, **SD)
    theirs.set_timesteps(7)
    timesteps = reference.spaced_timesteps(1000, 7, "leading", steps_offset=1)
    assert torch.equal(theirs.timesteps, timesteps.float())

    levels = reference.sigma_schedule(theirs.betas, timesteps.float(), "interpolated", spacing="leading")
    torch.testing.assert_close(levels["sigmas"], theirs.sigmas, atol=2e-5, rtol=5e-5)

    x_theirs = normal(0, 2, 3, 5, 7) * theirs.init_noise_sigma
    x_ours = normal(0, 2, 3, 5, 7) * levels["init_noise_sigma"]
    for i, t in enumerate(theirs.timesteps):
        seen_theirs = theirs.scale_model_input(x_theirs, t)
        seen_ours = x_ours * levels["input_scale"][i]
        torch.testing.assert_close(seen_ours, seen_theirs, atol=1e-4, rtol=1e-4)

        x_theirs = theirs.step(torch.sin(3 * seen_theirs), t, x_theirs).prev_sample
        sigma, sigma_next = levels["sigmas"][i : i + 2].tolist()
        x_ours = reference.euler_step(torch.sin(3 * seen_ours), x_ours, sigma, sigma_next)["prev"]
        torch.testing.assert_close(x_ours, x_theirs, atol=2e-4, rtol=1e-4)

    swapped = DPMSolverMultistepScheduler.from_config(theirs.config, solver_order=1)
    config = reference.swap_config(
        dict(theirs.config), defaulted(theirs), defaults(DPMSolverMultistepScheduler), {"solver_order": 1}
    )
    assert config == {key: swapped.config[key] for key in config}

    begin, left = recipe.pipeline_method(recipe.SD_IMG2IMG, "get_timesteps"), theirs
    timesteps_left, steps = begin(type("Pipeline", (), {"scheduler": left}), 7, 0.6, "cpu")
    window = reference.img2img_window(theirs.timesteps, 7, 0.6)
    assert torch.equal(window["timesteps"], timesteps_left)
    assert (window["begin_index"], window["steps"]) == (theirs.begin_index, steps)


def defaults(scheduler) -> dict:
    """Return what a class is configured with when it is given nothing."""
    return {key: value for key, value in scheduler().config.items() if not key.startswith("_")}


def defaulted(scheduler) -> list[str]:
    """Return the keys that the maker of `scheduler` did not set."""
    return list(scheduler.config["_use_default_values"])


# Predictions, each with a witness that is not the answer itself.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("euler", EulerDiscreteScheduler),
        ("heun", HeunDiscreteScheduler),
        ("dpmpp_2m", DPMSolverMultistepScheduler),
    ],
)
def test_prediction_of_the_calls(name, kind):
    solver = kind(**SD)
    solver.set_timesteps(20)
    assert reference.checkpoint_calls()[name] == len(solver.timesteps)


def test_prediction_of_the_calls_of_plms():
    solver = PNDMScheduler(skip_prk_steps=True, **SD)
    solver.set_timesteps(20)
    assert reference.checkpoint_calls()["plms"] == len(solver.timesteps)
    assert solver.timesteps[1] == solver.timesteps[2]


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_prediction_of_the_first_timestep(spacing):
    solver = DDIMScheduler(timestep_spacing=spacing, steps_offset=1)
    solver.set_timesteps(20)
    assert reference.checkpoint_first_timestep()[spacing] == solver.timesteps[0]


def test_prediction_of_the_arguments():
    arguments = reference.checkpoint_arguments()
    named = [*inspect.signature(EulerDiscreteScheduler.step).parameters][1:4]
    assert dict(zip(named, arguments["step"], strict=True)) == {
        "model_output": "noise_pred",
        "timestep": "t",
        "sample": "latents",
    }
    text = Path(diffusers.__file__).with_name("pipelines") / "stable_diffusion" / "pipeline_stable_diffusion.py"
    loop = "".join(text.read_text().split())
    assert "self.unet(" + ",".join(arguments["denoiser"]) + "," in loop
    assert "self.scheduler.step(" + ",".join(arguments["step"]) + "," in loop


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize(("family", "kind"), recipe.FAMILIES.items())
@pytest.mark.parametrize("T", [1000, 500, 37])
def test_timesteps_are_the_librarys(family, kind, spacing, offset, T):
    solver = kind(num_train_timesteps=T, timestep_spacing=spacing, steps_offset=offset)
    for n in [n for n in COUNTS if n < T] + [T] * (T < 1000):  # at T = 1000 some lists of diffusers have an entry more
        solver.set_timesteps(n)
        timesteps = reference.spaced_timesteps(T, n, spacing, offset, family)
        assert timesteps.dtype == torch.int64
        if not tie(T, n, spacing, family):
            assert timesteps.tolist() == solver.timesteps.tolist(), n


def tie(T, n, spacing, family):
    """Tell whether some timestep lies half-way between two whole numbers, where one digit more or less decides."""
    if spacing == "leading":
        return False
    gaps = n if spacing == "trailing" or family == "dpm" else n - 1
    length = T if spacing == "trailing" else T - 1
    return any(2 * i * length % (2 * gaps) == gaps for i in range(gaps))


@pytest.mark.parametrize("family", recipe.FAMILIES)
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_gives_the_golden_timesteps(family, spacing):
    for n, timesteps in witness.case("lab03", f"timesteps:{family}_{spacing}").items():
        if tie(1000, int(n), spacing, family):
            continue
        assert reference.spaced_timesteps(1000, int(n), spacing, 1, family).tolist() == timesteps.tolist()


def test_every_count_has_as_many_timesteps_inside_the_table():
    for n in range(1, 1001):
        timesteps = reference.spaced_timesteps(1000, n, "trailing")
        assert len(timesteps) == n
        assert timesteps[0] == 999 and timesteps[-1] >= 0
        assert (timesteps.diff() < 0).all()


@pytest.mark.parametrize("n", [61, 103, 121])
def test_diffusers_still_lists_one_trailing_timestep_too_many(n):
    """The page says so. If this fails, diffusers was mended."""
    for kind in (DDIMScheduler, EulerDiscreteScheduler):
        solver = kind(timestep_spacing="trailing")
        solver.set_timesteps(n)
        assert len(solver.timesteps) == n + 1
        assert solver.timesteps[-1] == -1


def test_diffusers_still_leaves_the_table_with_an_offset():
    solver = DDIMScheduler(timestep_spacing="leading", steps_offset=1)
    solver.set_timesteps(1000)
    assert solver.timesteps[0] == 1000


def test_timesteps_by_hand():
    assert reference.spaced_timesteps(10, 4, "linspace").tolist() == [9, 6, 3, 0]
    assert reference.spaced_timesteps(10, 4, "leading", 1).tolist() == [7, 5, 3, 1]
    assert reference.spaced_timesteps(10, 3, "trailing").tolist() == [9, 6, 2]
    assert reference.spaced_timesteps(10, 3, "linspace", family="dpm").tolist() == [9, 6, 3]
    assert reference.spaced_timesteps(10, 4, "leading", family="dpm").tolist() == [8, 6, 4, 2]


@pytest.mark.parametrize(
    "arguments", [(10, 11, "leading"), (10, 0, "leading"), (10, 3, "even"), (10, 3, "leading", 0, "x")]
)
def test_timesteps_are_refused(arguments):
    with pytest.raises(ValueError):
        reference.spaced_timesteps(*arguments)


# Configurations


@pytest.mark.parametrize(
    ("source", "target", "overrides"),
    [
        (DDIMScheduler(), EulerDiscreteScheduler, {}),
        (DDIMScheduler(timestep_spacing="leading", steps_offset=1, **SD), EulerDiscreteScheduler, {}),
        (DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **SD), HeunDiscreteScheduler, {}),
        (
            EulerDiscreteScheduler(use_karras_sigmas=True, **SD),
            DPMSolverMultistepScheduler,
            {"use_karras_sigmas": False},
        ),
        (EulerDiscreteScheduler(timestep_spacing="trailing"), LCMScheduler, {"timestep_spacing": "leading"}),
        (
            PNDMScheduler(skip_prk_steps=True, prediction_type="v_prediction", **SD),
            DDIMScheduler,
            {"clip_sample": False},
        ),
        (LCMScheduler(), DPMSolverMultistepScheduler, {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}),
        (DDIMScheduler(rescale_betas_zero_snr=True), FlowMatchEulerDiscreteScheduler, {"shift": 3.0}),
    ],
)
def test_swaps_are_the_librarys(source, target, overrides):
    swapped = target.from_config(source.config, **overrides)
    config = reference.swap_config(dict(source.config), defaulted(source), defaults(target), overrides)
    assert config == {key: value for key, value in swapped.config.items() if key in defaults(target)}
    assert config.keys() == defaults(target).keys()


def test_a_swap_keeps_what_was_set_to_nothing():
    source = {"a": 0, "b": None, "c": False, "d": 5}
    defaults = {"a": 1, "b": 2, "c": True, "d": 3}
    assert reference.swap_config(source, ["d"], defaults, {}) == {"a": 0, "b": None, "c": False, "d": 3}


# Levels


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("schedule", [SD, {}])
@pytest.mark.parametrize(
    ("kind", "config"),
    [("interpolated", {}), ("karras", {"use_karras_sigmas": True}), ("exponential", {"use_exponential_sigmas": True})],
)
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_levels_are_the_librarys(kind, config, schedule, spacing, steps):
    euler = EulerDiscreteScheduler(timestep_spacing=spacing, **schedule, **config)
    euler.set_timesteps(steps)
    plain = EulerDiscreteScheduler(timestep_spacing=spacing, **schedule)
    plain.set_timesteps(steps)
    levels = reference.sigma_schedule(euler.betas, plain.timesteps, kind, spacing=spacing)
    torch.testing.assert_close(levels["sigmas"], euler.sigmas, atol=2e-5, rtol=5e-5)
    torch.testing.assert_close(
        levels["init_noise_sigma"], torch.as_tensor(euler.init_noise_sigma), atol=2e-5, rtol=5e-5
    )
    assert levels["sigmas"].dtype == levels["input_scale"].dtype == levels["init_noise_sigma"].dtype == torch.float32


@pytest.mark.parametrize("name", recipe.LEVELS)
def test_gives_the_golden_levels(name):
    golden = witness.case("lab03", f"levels:{name}")
    kind, spacing = name.split("_")[0], recipe.LEVELS[name][1]
    betas = witness.golden("lab03")["sd/betas"]
    levels = reference.sigma_schedule(betas, golden["timesteps"], kind, spacing=spacing)
    for key in ("sigmas", "init_noise_sigma", "input_scale"):
        torch.testing.assert_close(levels[key], golden[key], atol=2e-5, rtol=5e-5)


def test_levels_by_hand():
    # ᾱ = 0.5, 0.2, 0.1: σ = 1, 2, 3.
    betas = torch.tensor([0.5, 0.6, 0.5])
    levels = reference.sigma_schedule(betas, torch.tensor([2.0, 0.5]), "interpolated", spacing="leading")
    torch.testing.assert_close(levels["sigmas"], torch.tensor([3.0, 1.5, 0.0]))
    torch.testing.assert_close(levels["init_noise_sigma"], torch.tensor(10.0).sqrt())
    torch.testing.assert_close(levels["input_scale"], torch.tensor([10.0, 3.25]).rsqrt())
    # Between 3 and 1 in three steps: even in the logarithm, and even in the root for ρ = 2.
    ends = torch.tensor([2.0, 1.0, 0.0])
    exponential = reference.sigma_schedule(betas, ends, "exponential")
    torch.testing.assert_close(exponential["sigmas"], torch.tensor([3.0, math.sqrt(3), 1.0, 0.0]))
    karras = reference.sigma_schedule(betas, ends, "karras", rho=2.0)
    torch.testing.assert_close(karras["sigmas"], torch.tensor([3.0, ((math.sqrt(3) + 1) / 2) ** 2, 1.0, 0.0]))
    torch.testing.assert_close(karras["init_noise_sigma"], torch.tensor(3.0))


def test_scaled_input_has_the_variance_of_the_data():
    """x = x0 + σ·ε with data of variance 1 has variance 1 + σ²; the scaled input has 1."""
    x0, eps = normal(0, 1000, 100), normal(1, 1000, 100)
    levels = reference.sigma_schedule(
        torch.linspace(1e-4, 0.02, 1000), torch.tensor([999.0, 500.0, 10.0]), "interpolated"
    )
    for sigma, scale in zip(levels["sigmas"], levels["input_scale"], strict=False):
        assert ((x0 + sigma * eps) * scale).var().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("kind", "spacing"), [("linear", "linspace"), ("karras", "even")])
def test_levels_are_refused(kind, spacing):
    with pytest.raises(ValueError):
        reference.sigma_schedule(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), kind, spacing=spacing)


# Euler


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 16), (3, 5, 7), (2, 3, 5, 7), (1, 2, 3, 5, 7)])
@pytest.mark.parametrize("name", recipe.EULER)
def test_euler_steps_are_the_librarys(name, shape, dtype):
    prediction_type, ancestral = recipe.EULER[name]
    kind = EulerAncestralDiscreteScheduler if ancestral else EulerDiscreteScheduler
    solver = kind(prediction_type=prediction_type, **SD)
    solver.set_timesteps(5)
    ours, theirs = seeded(1), seeded(1)
    for i, t in enumerate(solver.timesteps):
        sigma, sigma_next = solver.sigmas[i].item(), solver.sigmas[i + 1].item()
        x, output = (sigma * normal(2 * i, *shape)).to(dtype), normal(2 * i + 1, *shape).to(dtype)
        solver.scale_model_input(x, t)
        expected = solver.step(output, t, x, generator=theirs)
        answer = reference.euler_step(output, x, sigma, sigma_next, prediction_type, ancestral, ours)
        # diffusers rounds σ·ε to the half type before it is taken from x, so the error grows with σ.
        tolerance = {torch.float32: 2e-5, torch.float16: 1e-3 * (1 + sigma), torch.bfloat16: 8e-3 * (1 + sigma)}[dtype]
        for key, wanted in (("prev", expected.prev_sample), ("x0", expected.pred_original_sample)):
            assert answer[key].dtype == dtype
            torch.testing.assert_close(answer[key].float(), wanted.float(), atol=tolerance, rtol=tolerance)
    assert torch.equal(torch.rand((), generator=ours), torch.rand((), generator=theirs))


@pytest.mark.parametrize("name", recipe.EULER)
def test_gives_the_golden_euler_steps(name):
    prediction_type, ancestral = recipe.EULER[name]
    golden = witness.case("lab03", f"euler:{name}")
    generator = seeded(golden["seed"].item())
    answer = reference.euler_step(
        golden["model_output"],
        golden["x"],
        golden["sigma"].item(),
        golden["sigma_next"].item(),
        prediction_type,
        ancestral,
        generator,
    )
    torch.testing.assert_close(answer["prev"], golden["prev"], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(answer["x0"], golden["x0"], atol=2e-5, rtol=2e-5)
    assert torch.equal(torch.rand((), generator=generator), golden["next_draw"])


def test_euler_by_hand():
    # σ 2 → 1, ε = 1.5, x = 5: x0 = 2, slope 1.5.
    answer = reference.euler_step(torch.tensor([1.5]), torch.tensor([5.0]), 2.0, 1.0)
    assert (answer["x0"].item(), answer["prev"].item()) == (2.0, 3.5)
    # The ancestral step: σ_up² = 1·(4 − 1)/4 = 0.75, σ_down = 0.5, so 5 − 1.5·1.5 and noise of size √0.75.
    answer = reference.euler_step(torch.full((16,), 1.5), torch.full((16,), 5.0), 2.0, 1.0, "epsilon", True, seeded(3))
    torch.testing.assert_close(answer["prev"], 2.75 + 0.75**0.5 * torch.randn(16, generator=seeded(3)))


@pytest.mark.parametrize("sigma", [0.3, 2.0, 14.6])
def test_one_perfect_model_in_three_units(sigma):
    """ε, x0 and v of the same clean sample lead to the same step, and to x0 + σ_next·ε."""
    x0, eps = normal(4, 3, 5).double(), normal(5, 3, 5).double()
    x = x0 + sigma * eps
    v = (eps - sigma * x0) / math.sqrt(1 + sigma**2)  # α·ε − σ_t·x0 with α = 1/√(1+σ²)
    for name, output in (("epsilon", eps), ("sample", x0), ("v_prediction", v)):
        answer = reference.euler_step(output.float(), x.float(), sigma, sigma / 3, name)
        torch.testing.assert_close(answer["x0"].double(), x0, atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(answer["prev"].double(), x0 + sigma / 3 * eps, atol=2e-5, rtol=2e-5)


def test_ancestral_step_has_the_spread_of_its_level():
    """From x0 + σ·ε of a perfect model, the next sample has the spread σ_next around x0."""
    x0, eps = torch.zeros(200_000), normal(6, 200_000)
    answer = reference.euler_step(eps, x0 + 3.0 * eps, 3.0, 1.2, "epsilon", True, seeded(7))
    assert answer["prev"].std().item() == pytest.approx(1.2, rel=0.01)


def test_euler_refuses():
    with pytest.raises(ValueError, match="'velocity'"):
        reference.euler_step(torch.zeros(1), torch.zeros(1), 1.0, 0.5, "velocity")


# DPM-Solver++(2M)


def walk(sigmas, x, noise):
    solver = reference.DPMpp2M(sigmas)
    samples = [x]
    for eps in noise:
        samples.append(solver.step(eps, samples[-1]))
    return torch.stack(samples)


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 14, 16, 25, 51, 100])
def test_diffusers_float32(karras, steps):
    run = recipe.trajectory(karras=karras, steps=steps, seed=steps, shape=(2, 3, 7, 5))
    ours = walk(run["sigmas"], run["samples"][0], run["noise"])
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, run["samples"], atol=1e-4, rtol=5e-5)


@pytest.mark.parametrize("begin", [1, 4, 6])
def test_a_window_begins_first_order(begin):
    """Image to image starts in the middle of the list; diffusers' history is empty there, and so is ours."""
    solver = recipe.scheduler(karras=True, steps=8)
    sigmas, noise, x = solver.sigmas.clone(), normal(1, 8, 2, 5), normal(2, 2, 5)
    solver.set_begin_index(begin)
    samples = [x]
    for t, eps in zip(solver.timesteps[begin:], noise, strict=False):
        samples.append(solver.step(eps, t, samples[-1]).prev_sample)
    ours = walk(sigmas[begin:], x, noise[: 8 - begin])
    torch.testing.assert_close(ours, torch.stack(samples), atol=5e-5, rtol=5e-5)


@pytest.mark.parametrize(("dtype", "atol", "rtol"), [(torch.bfloat16, 0.8, 0.08), (torch.float16, 0.1, 0.02)])
def test_diffusers_half_precision(dtype, atol, rtol):
    """diffusers forms x0 in the half type, the reference in float32: they agree to the lab's tolerance."""
    solver = recipe.scheduler(karras=True, steps=6)
    noise = normal(1, 6, 2, 3, 8, 5).to(dtype)
    samples = [normal(2, 2, 3, 8, 5).to(dtype)]
    for t, eps in zip(solver.timesteps, noise, strict=True):
        samples.append(solver.step(eps, t, samples[-1]).prev_sample)
    ours = walk(solver.sigmas, samples[0], noise)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, torch.stack(samples), atol=atol, rtol=rtol)


@pytest.mark.parametrize("run", RUNS)
def test_gives_the_golden_trajectories(run):
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
    x, eps = normal(3, 2, 5), normal(4, 2, 5)
    alpha = 1 / math.sqrt(1 + sigmas[0].item() ** 2)
    x0 = (x.double() - sigmas[0].item() * alpha * eps.double()) / alpha
    torch.testing.assert_close(reference.DPMpp2M(sigmas).step(eps, x).double(), x0, atol=1e-4, rtol=1e-5)


def test_exact_when_x0_is_constant():
    """A model that always sees the same x0 leaves nothing to approximate: every sample is α_t·x0 + σ_t·ε."""
    x0, eps = normal(5, 3, 4), normal(6, 3, 4)
    sigmas = scenarios.sigma_levels("stable_diffusion", 8)
    alpha = (1 + sigmas**2).rsqrt()
    exact = alpha[:, None, None] * x0 + (sigmas * alpha)[:, None, None] * eps
    torch.testing.assert_close(walk(sigmas, exact[0], [eps] * 8), exact, atol=2e-5, rtol=2e-5)


def test_solver_by_hand():
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
    x, noise = normal(7, 2, 3, 4), normal(8, 2, 5, 3, 4)
    log = scenarios.two_in_turns(reference, schedules=["karras", "stable_diffusion"], steps=5, x=x, noise=noise)
    for n, name in enumerate(["first", "second"]):
        assert torch.equal(torch.stack(log[name]), walk(sigmas[n], x[n], noise[n])[1:])


def test_second_order_of_convergence():
    found = scenarios.error_by_steps(reference, step_counts=[20, 40, 80], x=normal(9, 48, 2))
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
                solver.step(normal(seed, 1, 3), t, normal(seed + 2, 1, 3))


# Flow


@pytest.mark.parametrize("name", recipe.FLOW)
def test_flow_levels_are_the_librarys(name):
    base, config, mu, told = recipe.FLOW[name]
    golden = witness.case("lab03", f"flow:{name}")
    dynamic = config.get("use_dynamic_shifting", False)
    answer = reference.flow_sigmas(
        torch.tensor(base),
        shift=None if dynamic else config.get("shift"),
        mu=mu,
        shift_terminal=config.get("shift_terminal"),
        timesteps=None if told is None else torch.tensor(told),
    )
    torch.testing.assert_close(answer["sigmas"], golden["sigmas"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(answer["timesteps"], golden["timesteps"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shift", [0.5, 1.0, 1.7, 3.0, 7.0])
@pytest.mark.parametrize("n", [1, 2, 5, 28])
def test_flow_shifts_are_the_librarys(shift, n):
    base = torch.linspace(1, 1 / n, n)
    flow = FlowMatchEulerDiscreteScheduler(shift=shift, num_train_timesteps=500)
    flow.set_timesteps(sigmas=base.tolist())
    answer = reference.flow_sigmas(base, shift=shift, num_train_timesteps=500)
    torch.testing.assert_close(answer["sigmas"], flow.sigmas, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(answer["timesteps"], flow.timesteps, atol=1e-6, rtol=1e-5)


def test_flow_by_hand():
    # 3·0.5/(1 + 2·0.5) = 0.75 and 3·0.25/1.5 = 0.5; exp(ln 3) = 3.
    for shift in ({"shift": 3.0}, {"mu": math.log(3)}):
        answer = reference.flow_sigmas(torch.tensor([1.0, 0.5, 0.25]), **shift)
        torch.testing.assert_close(answer["sigmas"], torch.tensor([1.0, 0.75, 0.5, 0.0]))
        torch.testing.assert_close(answer["timesteps"], torch.tensor([1000.0, 750.0, 500.0]))
    # 1 − σ is 0, 0.25, 0.5; the last shall be 0.9, so all are multiplied by 1.8.
    stretched = reference.flow_sigmas(torch.tensor([1.0, 0.75, 0.5]), shift_terminal=0.1)
    torch.testing.assert_close(stretched["sigmas"], torch.tensor([1.0, 0.55, 0.1, 0.0]))


def test_flow_refuses():
    with pytest.raises(ValueError, match="not both"):
        reference.flow_sigmas(torch.tensor([1.0]), shift=2.0, mu=1.0)
    with pytest.raises(ValueError, match="do not fit"):
        reference.flow_sigmas(torch.tensor([1.0, 0.5]), timesteps=torch.tensor([999.0]))


def test_diffusers_still_shifts_the_ends_twice():
    """Its own base already runs between shifted ends (issue 13243), so `base` is an input of the task."""
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    flow.set_timesteps(4)
    once = reference.flow_sigmas(torch.linspace(1, 0.001, 4), shift=3.0)["sigmas"][-2].item()
    assert once == pytest.approx(0.0030, abs=1e-4)
    assert flow.sigmas[-2].item() == pytest.approx(0.0089, abs=1e-4)


# Image to image


@pytest.mark.parametrize(("kind", "order"), [(EulerDiscreteScheduler, 1), (HeunDiscreteScheduler, 2)])
@pytest.mark.parametrize("n", [1, 4, 7, 15, 30, 31, 50, 100])
@pytest.mark.parametrize("strength", [0.0, 0.05, 0.29, 0.3, 0.58, 0.5, 0.73, 0.8, 0.99, 1.0])
def test_windows_are_the_librarys(kind, order, n, strength):
    solver = kind(**SD)
    theirs = recipe.window(solver, n, strength, recipe.SD_IMG2IMG)
    answer = reference.img2img_window(solver.timesteps, n, strength, order)
    assert torch.equal(answer["timesteps"], theirs["timesteps"])
    assert (answer["begin_index"], answer["steps"]) == (theirs["begin_index"].item(), theirs["steps"].item())


@pytest.mark.parametrize("name", recipe.WINDOWS)
def test_gives_the_golden_windows(name):
    kind, n, strength = recipe.WINDOWS[name]
    golden, solver = witness.case("lab03", f"window:{name}"), kind(**SD)
    solver.set_timesteps(n)
    answer = reference.img2img_window(solver.timesteps, n, strength, solver.order)
    assert torch.equal(answer["timesteps"], golden["timesteps"])
    assert (answer["begin_index"], answer["steps"]) == (golden["begin_index"].item(), golden["steps"].item())


def test_a_window_of_heun_begins_with_a_first_look():
    """Every level but the first stands twice in Heun's list; the first of two looks changes the sample's level."""
    solver = HeunDiscreteScheduler(**SD)
    solver.set_timesteps(6)
    window = reference.img2img_window(solver.timesteps, 6, 0.5, 2)
    assert window["timesteps"][0] == window["timesteps"].max()
    assert (window["timesteps"] == window["timesteps"][0]).sum() == 1


def test_diffusion_transformers_still_round_the_window_up():
    """The page's note: Stable Diffusion 3 truncates the start and so walks one step more than Stable Diffusion."""
    solver = EulerDiscreteScheduler(**SD)
    theirs = recipe.window(solver, 10, 0.73, "stable_diffusion_3/pipeline_stable_diffusion_3_img2img.py")
    assert theirs["steps"] == 8
    assert reference.img2img_window(solver.timesteps, 10, 0.73)["steps"] == 7


@pytest.mark.parametrize("strength", [-0.1, 1.01])
def test_windows_are_refused(strength):
    with pytest.raises(ValueError):
        reference.img2img_window(torch.arange(10), 10, strength)


# Consistency


@pytest.mark.parametrize("case", ["first", "middle", "last", "single"])
def test_gives_the_golden_consistency_steps(case):
    golden = witness.case("lab03", f"lcm:{case}")
    alpha_bar = torch.cumprod(1 - witness.golden("lab03")["sd/betas"], dim=0)
    generator = seeded(golden["seed"].item())
    t, t_prev, last = golden["t"].item(), golden["t_prev"].item(), golden["last"].item()
    answer = reference.lcm_step(golden["model_output"], t, t_prev, golden["x_t"], alpha_bar, last, generator)
    torch.testing.assert_close(answer["prev"], golden["prev"], atol=5e-5, rtol=5e-5)
    torch.testing.assert_close(answer["denoised"], golden["denoised"], atol=5e-5, rtol=5e-5)
    assert torch.equal(torch.rand((), generator=generator), golden["next_draw"])


@pytest.mark.parametrize("timesteps", [[3, 2, 1, 0], [999, 500, 0], [1, 0]])
def test_consistency_steps_are_the_librarys(timesteps):
    solver = LCMScheduler(clip_sample=False, **SD)
    solver.set_timesteps(timesteps=timesteps, original_inference_steps=1000)
    ours, theirs = seeded(1), seeded(1)
    for i, t in enumerate(timesteps):
        x_t, eps = normal(2 * i, 2, 4, 8), normal(2 * i + 1, 2, 4, 8)
        prev, denoised = solver.step(eps, t, x_t, generator=theirs, return_dict=False)
        last = i == len(timesteps) - 1
        answer = reference.lcm_step(eps, t, [*timesteps, t][i + 1], x_t, solver.alphas_cumprod, last, ours)
        torch.testing.assert_close(answer["prev"], prev, atol=5e-5, rtol=5e-5)
        torch.testing.assert_close(answer["denoised"], denoised, atol=5e-5, rtol=5e-5)
    assert torch.equal(torch.rand((), generator=ours), torch.rand((), generator=theirs))


@pytest.mark.parametrize("t_prev", [-1, 20, 999])
def test_the_last_consistency_step_has_no_next_level(t_prev):
    eps, x_t, alpha_bar = normal(1, 2, 8), normal(2, 2, 8), torch.linspace(0.9, 0.1, 20)
    answer = reference.lcm_step(eps, 3, t_prev, x_t, alpha_bar, True)
    torch.testing.assert_close(answer["prev"], reference.lcm_step(eps, 3, 0, x_t, alpha_bar, True)["prev"])


def test_consistency_is_the_identity_without_noise():
    x_t, eps = normal(1, 2, 8), normal(2, 2, 8)
    answer = reference.lcm_step(eps, 0, 0, x_t, torch.tensor([0.9, 0.5]), True)
    torch.testing.assert_close(answer["denoised"], x_t)


def test_consistency_by_hand():
    # t = 1: ten units of time, c_skip = 0.25/100.25, c_out = 10/√100.25; ᾱ = 0.36, x0 = (2 − 0.8·1)/0.6 = 2.
    alpha_bar = torch.tensor([0.64, 0.36])
    answer = reference.lcm_step(torch.ones(16), 1, 0, torch.full((16,), 2.0), alpha_bar, False, seeded(5))
    denoised = 0.25 / 100.25 * 2 + 10 / math.sqrt(100.25) * 2
    torch.testing.assert_close(answer["denoised"], torch.full((16,), denoised))
    torch.testing.assert_close(answer["prev"], 0.8 * denoised + 0.6 * torch.randn(16, generator=seeded(5)))


# Whole walks


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("told", [None, [990.0, 700.0, 300.0, 300.0]])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 4, 6)])
def test_flow_walks_are_the_librarys(stochastic, told, shape):
    flow = FlowMatchEulerDiscreteScheduler(stochastic_sampling=stochastic, shift=2.0)
    flow.set_timesteps(sigmas=[1.0, 0.7, 0.4, 0.2], timesteps=told)
    model, x = scenarios.TinyModel(normal(1, shape[1], shape[1])), normal(2, *shape)
    ours, theirs, sample = seeded(3), seeded(3), x
    flow.set_begin_index(0)  # equal timesteps: by place, not by value
    for t in flow.timesteps:
        sample = flow.step(model(sample, t), t, sample, generator=theirs).prev_sample
    kept = x.clone()
    found = reference.flow_euler_sample(model, x, flow.sigmas, flow.timesteps, stochastic, ours)
    torch.testing.assert_close(found, sample, atol=2e-5, rtol=2e-5)
    assert torch.equal(torch.rand((), generator=ours), torch.rand((), generator=theirs))
    assert torch.equal(x, kept)


def test_flow_walk_by_hand():
    two = torch.full((1,), 2.0)
    sigmas, timesteps = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([1000.0, 500.0])
    assert reference.flow_euler_sample(lambda x, t: two, torch.tensor([3.0]), sigmas, timesteps).item() == 1.0
    # v = t: 3 − 0.5·1000 − 0.5·500.
    found = reference.flow_euler_sample(lambda x, t: t.expand(1), torch.tensor([3.0]), sigmas, timesteps)
    assert found.item() == -747.0


def test_a_perfect_flow_ends_on_the_data():
    x0, eps = normal(4, 3, 5), normal(5, 3, 5)
    sigmas, timesteps = torch.tensor([1.0, 0.6, 0.1, 0.0]), torch.tensor([1000.0, 600.0, 100.0])
    found = reference.flow_euler_sample(lambda x, t: eps - x0, eps, sigmas, timesteps)
    torch.testing.assert_close(found, x0, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 2, 5, 12])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 4, 6)])
def test_heun_walks_are_the_librarys(prediction_type, steps, shape):
    heun = HeunDiscreteScheduler(prediction_type=prediction_type, **SD)
    heun.set_timesteps(steps)
    model, x = scenarios.TinyModel(normal(1, shape[1], shape[1])), heun.sigmas[0] * normal(2, *shape)
    sample, calls = x, 0
    for t in heun.timesteps:
        sample = heun.step(model(heun.scale_model_input(sample, t), t), t, sample).prev_sample
        calls += 1
    sigmas = torch.cat([heun.sigmas[:1], heun.sigmas[1:-1:2], heun.sigmas[-1:]])
    timesteps = heun.timesteps[[0, *range(1, len(heun.timesteps), 2)]]
    assert (len(sigmas), len(timesteps), calls) == (steps + 1, steps, 2 * steps - 1)
    found = reference.heun_sample(model, x, sigmas, timesteps, prediction_type)
    torch.testing.assert_close(found, sample, atol=2e-4, rtol=2e-4)


def test_heun_by_hand():
    answers = iter([1.5, 0.5, 1.0])
    found = reference.heun_sample(
        lambda x, t: torch.tensor([next(answers)]),
        torch.tensor([5.0]),
        torch.tensor([2.0, 1.0, 0.0]),
        torch.tensor([7.0, 3.0]),
    )
    assert found.item() == 3.0
    assert next(answers, None) is None


def test_heun_walks_alike_for_noise_and_velocity():
    """The same perfect model in two units; a conversion at the wrong level would part them."""
    x0, eps = normal(6, 3, 5), normal(7, 3, 5)
    sigmas, timesteps = torch.tensor([14.6, 4.1, 1.0, 0.2, 0.0]), torch.tensor([4.0, 3.0, 2.0, 1.0])
    level = dict(zip(timesteps.tolist(), sigmas[:-1].tolist(), strict=True))

    def velocity(x, t):
        s = level[t.item()]
        return (eps - s * x0) / math.sqrt(s * s + 1)

    for name, model in (("epsilon", lambda x, t: eps), ("v_prediction", velocity)):
        found = reference.heun_sample(model, x0 + 14.6 * eps, sigmas, timesteps, name)
        torch.testing.assert_close(found, x0, atol=1e-4, rtol=1e-4)


def test_heun_refuses():
    with pytest.raises(ValueError, match="'sample'"):
        reference.heun_sample(lambda x, t: x, torch.zeros(1), torch.tensor([1.0, 0.0]), torch.tensor([1.0]), "sample")


@pytest.mark.parametrize("stochastic", [False, True])
def test_gives_the_golden_flow_walks(stochastic):
    golden = witness.case("lab03", f"flow_walk:{stochastic}")
    given = (golden[key] for key in ("x", "sigmas", "timesteps"))
    found = reference.flow_euler_sample(recipe.answer, *given, stochastic, seeded(golden["seed"].item()))
    torch.testing.assert_close(found, golden["end"], atol=5e-5, rtol=5e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_gives_the_golden_heun_walks(prediction_type):
    golden = witness.case("lab03", f"heun_walk:{prediction_type}")
    given = (golden[key] for key in ("x", "sigmas", "timesteps"))
    found = reference.heun_sample(recipe.answer, *given, prediction_type)
    torch.testing.assert_close(found, golden["end"], atol=2e-4, rtol=2e-4)
