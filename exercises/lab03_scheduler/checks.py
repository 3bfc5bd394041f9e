"""Checks of lab 03. The docstring of a check is the sentence that a student reads.

Where a generator is used in half precision, a batch holds fewer than 16 values: then every version of torch draws the
float32 numbers, rounded, and both draws are right.
"""

from __future__ import annotations

import math
from typing import Any

from grader.kit import (
    alphas_cumprod,
    check,
    linear_betas,
    linspace,
    part,
    scaled_linear_betas,
    tensor,
    values,
    witnessed,
)

# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_calls", visible=True, tells="Not yet. Which of the four looks twice, and which remembers instead?")
def test_prediction_of_the_calls(compare):
    """Prediction: how often the network runs in twenty steps of four samplers."""
    compare.checkpoint_calls()


@check(
    "checkpoint_first_timestep", visible=True, tells="Not yet. Write down three or four timesteps of each list by hand."
)
def test_prediction_of_the_first_timestep(compare):
    """Prediction: where inference begins, for three spacings."""
    compare.checkpoint_first_timestep()


@check(
    "checkpoint_arguments", visible=True, tells="Not yet. Who asks for a sample of size 1, and who moves the sample?"
)
def test_prediction_of_the_arguments(compare):
    """Prediction: which tensors the denoiser and the scheduler's step are given."""
    compare.checkpoint_arguments()


@check("checkpoint_swap", visible=True, tells="Not yet. What was fixed when the network was trained?")
def test_prediction_of_the_swap(compare):
    """Prediction: what a swap of schedulers has to leave as it was."""
    compare.checkpoint_swap()


# Timesteps


@check("spaced_timesteps", visible=True)
def test_linspace(compare):
    """The spacing "linspace" runs from the first to the last training timestep, both included, and rounds."""
    compare.spaced_timesteps(1000, 8, "linspace")


@check("spaced_timesteps", visible=True)
def test_leading(compare):
    """The spacing "leading" counts in whole strides and adds the offset."""
    compare.spaced_timesteps(1000, 13, "leading", 1)


@check("spaced_timesteps", visible=True)
def test_trailing(compare):
    """The spacing "trailing" begins at the last training timestep and rounds the real stride's multiples."""
    compare.spaced_timesteps(1000, 13, "trailing")


@check("spaced_timesteps", visible=True)
def test_the_other_family(compare):
    """The DPM-Solver family lays out one point more and leaves the lowest out."""
    compare.spaced_timesteps(1000, 7, "linspace", family="dpm")
    compare.spaced_timesteps(1000, 7, "leading", 1, "dpm")


@check("spaced_timesteps", visible=True, property=True)
def test_as_many_as_asked_for(student):
    """There are exactly as many timesteps as steps, and none lies outside the training table."""
    for n in (9, 61, 103):
        timesteps = values(student.spaced_timesteps(1000, n, "trailing"), n)
        assert timesteps.min() >= 0, "A timestep lies below 0."
        assert timesteps.max() <= 999, "A timestep lies beyond the end of the table."


@check("spaced_timesteps", visible=True, property=True)
def test_unknown_spacing(compare):
    """A spacing that is not known is refused with a ValueError."""
    compare.spaced_timesteps(1000, 10, "even")


@check("spaced_timesteps", property=True)
def test_unknown_family(compare):
    """A family that is not known is refused with a ValueError, whatever the spacing."""
    for spacing in ("leading", "linspace", "trailing"):
        compare.spaced_timesteps(1000, 10, spacing, 0, "euler")


@check("spaced_timesteps", property=True)
def test_too_many_steps(compare, draw):
    """More steps than there are timesteps, or none at all, are refused with a ValueError."""
    T = draw.whole(20, 90)
    compare.spaced_timesteps(T, T + 1, "trailing")
    compare.spaced_timesteps(T, 0, "leading")


@check("spaced_timesteps")
def test_linspace_of_any_length(compare, draw):
    """The spacing "linspace" is right for any number of steps."""
    compare.spaced_timesteps(1000, draw.choice([12, 18, 26, 30, 44]), "linspace")


@check("spaced_timesteps")
def test_linspace_of_the_other_family(compare, draw):
    """The spacing "linspace" of the DPM-Solver family is right for any number of steps."""
    compare.spaced_timesteps(1000, draw.choice([11, 13, 17, 21]), "linspace", family="dpm")


@check("spaced_timesteps")
def test_leading_of_the_other_family(compare, draw):
    """The spacing "leading" of the DPM-Solver family takes its stride from one point more, and the offset on top."""
    compare.spaced_timesteps(1000, draw.choice([6, 12, 22]), "leading", draw.whole(1, 4), "dpm")


@check("spaced_timesteps")
def test_trailing_of_the_other_family(compare, draw):
    """The spacing "trailing" is the same list for both families, for any number of steps."""
    compare.spaced_timesteps(1000, draw.choice([7, 23, 30]), "trailing", family="dpm")


@check("spaced_timesteps")
def test_leading_with_any_offset(compare, draw):
    """The offset is added once, whatever it is."""
    compare.spaced_timesteps(1000, draw.choice([7, 23, 30]), "leading", draw.whole(2, 5))


@check("spaced_timesteps")
def test_offset_of_leading_alone(compare, draw):
    """The offset belongs to "leading"; the other two spacings do without."""
    for spacing, n in (("linspace", 12), ("trailing", 13)):
        compare.spaced_timesteps(1000, n, spacing, draw.whole(1, 3))


@check("spaced_timesteps")
def test_counts_that_a_running_stride_misses(compare):
    """The spacing "trailing" has as many entries as steps, also where a running float stride adds up otherwise."""
    for n in (61, 103):
        compare.spaced_timesteps(1000, n, "trailing")


@check("spaced_timesteps")
def test_another_table(compare):
    """The list follows the length of the training table that is given, from one call to the next."""
    compare.spaced_timesteps(37, 6, "linspace")
    compare.spaced_timesteps(50, 7, "trailing")
    compare.spaced_timesteps(200, 6, "leading", steps_offset=2)
    compare.spaced_timesteps(501, 7, "leading", family="dpm")


@check("spaced_timesteps")
def test_a_single_step(compare, draw):
    """One step is a list of one timestep."""
    T = draw.whole(50, 900)
    compare.spaced_timesteps(T, 1, "trailing")
    compare.spaced_timesteps(T, 1, "leading", 1)


@check("spaced_timesteps")
def test_every_timestep(compare, draw):
    """As many steps as timesteps visit all of them."""
    T = draw.whole(20, 60)
    compare.spaced_timesteps(T, T, "trailing")
    compare.spaced_timesteps(T, T, "leading")
    compare.spaced_timesteps(T, T, "linspace")


@check("spaced_timesteps")
def test_ends_of_the_other_grids(compare, draw):
    """One step has one timestep in every spacing and family, and a grid of more points than timesteps stands still."""
    T = draw.whole(50, 900)
    compare.spaced_timesteps(T, 1, "linspace")
    compare.spaced_timesteps(T, 1, "linspace", family="dpm")
    compare.spaced_timesteps(T, 1, "leading", 1, "dpm")
    T = draw.whole(20, 60)
    compare.spaced_timesteps(T, T, "leading", 1, "dpm")


# Configurations, as diffusers 0.42.1 holds them.

DDIM = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "clip_sample": True,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "prediction_type": "epsilon",
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "clip_sample_range": 1.0,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
}
EULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "interpolation_type": "linear",
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "sigma_min": None,
    "sigma_max": None,
    "timestep_spacing": "linspace",
    "timestep_type": "discrete",
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
    "final_sigmas_type": "zero",
}
FLOW = {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": False,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
    "invert_sigmas": False,
    "shift_terminal": None,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "time_shift_type": "exponential",
    "stochastic_sampling": False,
}
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def configured(defaults: dict[str, Any], **given: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration of a scheduler that was built with `given`, and the keys that were not set."""
    return {**defaults, **given}, [key for key in defaults if key not in given]


@check("swap_config", visible=True)
def test_ddim_becomes_euler(compare):
    """What was set survives the swap; what was not set becomes the target's own default."""
    compare.swap_config(*configured(DDIM, **STABLE_DIFFUSION, steps_offset=1), EULER, {})


@check("swap_config", visible=True)
def test_overrides(compare):
    """What is passed on top wins, over values that were set and values that were not."""
    source = configured(DDIM, **STABLE_DIFFUSION, timestep_spacing="leading")
    compare.swap_config(*source, EULER, {"timestep_spacing": "trailing", "use_karras_sigmas": True, "steps_offset": 1})


@check("swap_config", visible=True)
def test_keys_that_the_target_does_not_know(compare):
    """Back to DDIM: the target's keys alone, with its own defaults for what was not set."""
    source, defaulted = configured(EULER, **STABLE_DIFFUSION, use_karras_sigmas=True, final_sigmas_type="sigma_min")
    source["_class_name"] = "EulerDiscreteScheduler"
    compare.swap_config(source, defaulted, DDIM, {"solver_order": 3})


@check("swap_config", subject="What the swap was given")
def test_leaves_the_configurations(compare):
    """A swap changes none of its inputs: the source and the target's defaults may be needed for the next one."""
    source, defaulted = configured(DDIM, **STABLE_DIFFUSION, timestep_spacing="trailing")
    compare.play(
        "swap",
        source=source,
        source_defaulted=defaulted,
        target_defaults=EULER,
        overrides={"use_karras_sigmas": True},
    )


@check("swap_config")
def test_values_that_look_empty(compare):
    """A value that was set counts, whatever it is."""
    source = configured(DDIM, clip_sample=False, steps_offset=0, trained_betas=None, set_alpha_to_one=False)
    target = {**DDIM, "steps_offset": 1, "trained_betas": "none", "prediction_type": "sample"}
    compare.swap_config(*source, target, {"thresholding": False})


@check("swap_config")
def test_nothing_was_set(compare):
    """A source that nobody configured gives way in every key."""
    compare.swap_config(*configured(EULER), DDIM, {})


@check("swap_config")
def test_everything_was_set(compare, draw):
    """A source that was configured in every key keeps all that the target knows."""
    source = {**EULER, "beta_end": draw.real(0.011, 0.019), "timestep_spacing": "trailing", "steps_offset": 3}
    compare.swap_config(source, [], {**DDIM, "prediction_type": "v_prediction"}, {"clip_sample": False})


@check("swap_config")
def test_an_override_of_nothing(compare, draw):
    """An override counts also where it is empty, and where the source had something else."""
    source = configured(EULER, sigma_min=draw.real(0.01, 0.05), use_karras_sigmas=True)
    compare.swap_config(*source, EULER, {"sigma_min": None, "use_karras_sigmas": False, "beta_start": 0})


@check("swap_config")
def test_one_swap_after_another(compare, draw):
    """A swap depends on nothing but its own four inputs."""
    compare.swap_config(*configured(DDIM, beta_end=draw.real(0.011, 0.019)), FLOW, {"shift": 3.0})
    compare.swap_config(*configured(FLOW, shift=draw.real(2.0, 6.0)), {**EULER, "shift": 1.0}, {})


# Levels


@check("sigma_schedule", visible=True)
def test_interpolated_levels(compare):
    """The level of each timestep, also between two whole ones; then 0; and the scalings of "linspace"."""
    compare.sigma_schedule(scaled_linear_betas(1000), linspace(999, 0, 6), "interpolated")


@check("sigma_schedule", visible=True)
def test_levels_of_leading(compare):
    """With "leading" pure noise is a little larger at the start."""
    compare.sigma_schedule(
        linear_betas(1000), tensor([801.0, 601.0, 401.0, 201.0, 1.0]), "interpolated", spacing="leading"
    )


@check("sigma_schedule", visible=True)
def test_karras_levels(compare):
    """Karras levels run between the same two ends in equal steps of a root of σ."""
    compare.play(
        "levels", view=part("sigmas"), betas=scaled_linear_betas(1000), timesteps=linspace(999, 0, 7), kind="karras"
    )


@check("sigma_schedule", visible=True)
def test_exponential_levels(compare):
    """Exponential levels run between the same two ends in equal steps of log σ."""
    compare.play(
        "levels",
        view=part("sigmas"),
        betas=scaled_linear_betas(1000),
        timesteps=linspace(999, 0, 7),
        kind="exponential",
    )


@check("sigma_schedule", visible=True, property=True)
def test_unknown_kind(compare):
    """A kind that is not known is refused with a ValueError."""
    compare.sigma_schedule(linear_betas(10), tensor([9.0, 0.0]), "linear")


@check("sigma_schedule", property=True)
def test_unknown_spacing_of_levels(compare):
    """A spacing that is not known is refused with a ValueError."""
    compare.sigma_schedule(linear_betas(10), tensor([9.0, 0.0]), "interpolated", spacing="even")


@check("sigma_schedule")
def test_fractions_of_a_timestep(compare, draw):
    """Between two whole timesteps, σ is interpolated linearly."""
    first = 4 + draw.real(0.3, 0.7)
    betas = tensor([0.5, 0.6, 0.5, 0.4, 0.3, 0.6])
    compare.play("levels", view=part("sigmas"), betas=betas, timesteps=tensor([first, 2.5, 0.25]), kind="interpolated")


@check("sigma_schedule")
def test_karras_with_another_rho(compare, draw):
    """ρ decides how early the levels fall; the ends are those of the timesteps that are given."""
    timesteps = tensor([draw.real(850.0, 950.0), 700.0, 400.0, 200.0, draw.real(20.0, 60.0)])
    compare.play(
        "levels",
        view=part("sigmas"),
        betas=linear_betas(1000),
        timesteps=timesteps,
        kind="karras",
        rho=draw.real(2.0, 5.0),
        spacing="trailing",
    )


@check("sigma_schedule")
def test_exponential_of_leading(compare, draw):
    """Exponential levels go with "leading" as well, between the levels of the timesteps that are given."""
    timesteps = tensor([draw.real(600.0, 900.0), 300.0, 100.0, draw.real(10.0, 60.0)])
    betas = scaled_linear_betas(1000)
    compare.play("levels", view=part("sigmas"), betas=betas, timesteps=timesteps, kind="exponential", spacing="leading")


@check("sigma_schedule")
def test_a_single_level(compare, draw):
    """One step has one level and the 0 after it, of every kind."""
    t = draw.real(400.0, 998.0)
    for kind in ("interpolated", "karras", "exponential"):
        compare.sigma_schedule(scaled_linear_betas(1000), tensor([t]), kind, spacing="trailing")


@check("sigma_schedule")
def test_another_schedule(compare, draw):
    """The levels come from the betas that are given, from one call to the next."""
    compare.sigma_schedule(draw.uniform(11) * 0.3 + 0.1, linspace(10, 0, 4), "interpolated")
    compare.sigma_schedule(linear_betas(50, 0.01, 0.2), linspace(49, 0, 6), "karras", spacing="leading")


# Euler


@check("euler_step", visible=True)
def test_euler_of_epsilon(compare, draw):
    """One step for a network that predicts the noise."""
    model_output, x = draw.normals(2, 2, 3, 8, 8)
    compare.euler_step(model_output, x * 3.0, 2.5, 0.6)


@check("euler_step", visible=True)
def test_euler_of_v(compare, draw):
    """One step for a network that predicts the velocity."""
    model_output, x = draw.normals(2, 2, 3, 8, 8)
    compare.euler_step(model_output, x * 3.0, 2.5, 0.6, "v_prediction")


@check("euler_step", visible=True)
def test_euler_of_sample(compare, draw):
    """One step for a network that predicts the clean sample."""
    model_output, x = draw.normals(2, 2, 3, 8, 8)
    compare.euler_step(model_output, x * 3.0, 2.5, 0.6, "sample")


@check("euler_step", visible=True)
def test_ancestral_step(compare, draw):
    """An ancestral step goes further down and adds fresh noise from the generator."""
    model_output, x = draw.normals(2, 2, 3, 8, 8)
    compare.euler_step(model_output, x * 3.0, 2.5, 0.6, "epsilon", True, draw.generator())


@check("euler_step", visible=True, property=True)
def test_unknown_prediction_type(compare, draw):
    """A prediction type that is not known is refused with a ValueError."""
    model_output, x = draw.normals(2, 1, 4)
    compare.euler_step(model_output, x, 2.5, 0.6, "velocity")


@check("euler_step")
def test_last_step_of_euler(compare, draw):
    """The step to σ = 0 ends on the predicted clean sample, for every prediction type."""
    for prediction_type in ("epsilon", "v_prediction", "sample"):
        model_output, x = draw.normals(2, 3, 5, 7)
        compare.euler_step(model_output, x, draw.real(0.4, 0.8), 0.0, prediction_type)


@check("euler_step")
def test_last_ancestral_step(compare, draw):
    """The ancestral step to σ = 0 adds nothing, and leaves the generator where every other step leaves it."""
    model_output, x = draw.normals(2, 2, 4, 8)
    compare.euler_step(model_output, x, draw.real(0.4, 0.8), 0.0, "epsilon", True, draw.generator())


@check("euler_step")
def test_nothing_is_drawn(compare, draw):
    """Without ancestral noise a generator stays where it is."""
    model_output, x = draw.normals(2, 2, 4, 4)
    compare.euler_step(model_output, x, draw.real(1.5, 3.0), 0.7, "epsilon", False, draw.generator())


@check("euler_step")
def test_ancestral_step_of_v(compare, draw):
    """Ancestral steps go with the velocity, too, down from the highest levels."""
    model_output, x = draw.normals(2, 3, 2, 4, 4)
    sigma = draw.real(9.0, 14.0)
    compare.euler_step(model_output, x * sigma, sigma, draw.real(2.0, 6.0), "v_prediction", True, draw.generator())


@check("euler_step")
def test_ancestral_step_of_sample(compare, draw):
    """Ancestral steps go with a predicted clean sample, too."""
    model_output, x = draw.normals(2, 1, 16)
    compare.euler_step(model_output, x, draw.real(0.5, 0.9), 0.2, "sample", True, draw.generator())


@check("euler_step")
def test_any_shape_of_euler(compare, draw):
    """Samples may have any number of axes, and a batch may be one."""
    for shape in ((4, 4, 4, 4), (5, 3), (1, 2, 3, 5, 7)):
        model_output, x = draw.normals(2, *shape)
        compare.euler_step(model_output, x, draw.real(1.5, 4.0), draw.real(0.2, 0.8), "v_prediction")


@check("euler_step")
def test_memory_layout_of_euler(compare, draw):
    """A sample whose axes were swapped without a copy gives the same values."""
    model_output, x = draw.normal(2, 3, 5, 7), draw.normal(2, 7, 5, 3).transpose(1, 3)
    compare.euler_step(model_output, x, draw.real(1.5, 4.0), draw.real(0.2, 0.8))


@check("euler_step")
def test_euler_in_half_precision(compare, draw):
    """Half precision comes back as the same type, as exact as it allows; the next call is in another type."""
    for dtype, prediction_type in (("bfloat16", "epsilon"), ("float16", "v_prediction"), ("float32", "sample")):
        model_output, x = (made.to(dtype) for made in draw.normals(2, 3, 4, 5))
        compare.euler_step(model_output, x, draw.real(1.2, 1.8), draw.real(0.3, 0.8), prediction_type)


@check("euler_step")
def test_ancestral_step_in_half_precision(compare, draw):
    """Ancestral noise goes with half precision, too."""
    for dtype in ("float16", "bfloat16"):
        model_output, x = (made.to(dtype) for made in draw.normals(2, 2, 7))
        compare.euler_step(model_output, x, draw.real(1.2, 1.8), 0.7, "epsilon", True, draw.generator())


# DPM-Solver++(2M)


def order(value: dict[str, Any]) -> dict[str, Any]:
    """Name how fast the error falls when the number of steps doubles."""
    error = value["error"]
    if not all(math.isfinite(e) and e > 0 for e in error):
        return {"error": "is no number"}
    slope = math.log2(error[0] / error[-1]) / math.log2(value["steps"][-1] / value["steps"][0])
    return {"error": "falls as 1/N²" if slope > 1.6 else "falls as 1/N" if slope > 0.6 else "does not fall"}


def play_trajectory(compare, draw, schedule: str, steps: int, shape: tuple[int, ...], dtype: str = "float32", **more):
    """Compare every sample of one trajectory on random predictions, see `trajectory` in scenarios.py."""
    compare.play(
        "trajectory",
        view=part("x"),
        schedule=schedule,
        steps=steps,
        x=draw.normal(*shape).to(dtype),
        noise=draw.normal(steps - more.get("begin", 0), *shape).to(dtype),
        **more,
    )


@check("DPMpp2M", visible=True)
def test_single_step(compare, draw):
    """A trajectory of one step ends at the predicted x0."""
    play_trajectory(compare, draw, "karras", 1, (2, 3, 8, 8))


@check("DPMpp2M", visible=True)
def test_first_and_last_step(compare, draw):
    """The first step and the last one are first order."""
    play_trajectory(compare, draw, "karras", 2, (2, 3, 8, 8))


@check("DPMpp2M", visible=True)
def test_second_order_step(compare, draw):
    """Between them, a step extrapolates from the two newest predictions of x0."""
    play_trajectory(compare, draw, "karras", 6, (2, 3, 8, 8))


@check("DPMpp2M", visible=True, reported=True)
def test_order_of_convergence(compare, draw):
    """Twice as many steps leave about a quarter of the error, also where long and short steps take turns."""
    compare.play("error_by_steps", view=order, step_counts=[40, 80], x=draw.normal(48, 2))


@check("DPMpp2M", subject="What the step was given")
def test_leaves_what_it_is_given(compare, draw):
    """A step leaves the sample and the prediction as they were."""
    compare.play("given_afterwards", schedule="karras", x=draw.normal(3, 2, 5), noise=draw.normal(3, 2, 5))


@check("DPMpp2M", subject="What the solver was given")
def test_leaves_the_levels(compare, draw):
    """The levels stay as they were: another solver may walk them."""
    compare.play(
        "trajectory",
        view=lambda answer: str(answer["sigmas"].array.tolist()),  # as text, for a tiny last level is not 0
        schedule="karras",
        steps=4,
        x=draw.normal(2, 5),
        noise=draw.normal(4, 2, 5),
    )


@check("DPMpp2M")
def test_training_levels(compare, draw):
    """Steps of very different length in log-SNR are weighed rightly, on Stable Diffusion's training levels."""
    play_trajectory(compare, draw, "stable_diffusion", 16, (1, 4, 5, 7))


@check("DPMpp2M")
def test_any_shape(compare, draw):
    """Samples may have any number of axes: tokens and videos too."""
    for shape in [(3, 11, 5), (1, 2, 3, 5, 7)]:
        play_trajectory(compare, draw, "stable_diffusion", 4, shape)


@check("DPMpp2M")
def test_memory_layout(compare, draw):
    """A sample whose axes were swapped without a copy gives the same values."""
    compare.play(
        "trajectory",
        view=part("x"),
        schedule="karras",
        steps=5,
        x=draw.normal(2, 7, 5, 3).transpose(1, 3),
        noise=draw.normal(5, 2, 3, 5, 7),
    )


@check("DPMpp2M")
def test_answering_model(compare, draw):
    """With a model that answers the solver's own samples, every point of the path agrees."""
    compare.play("mixture", view=part("x"), schedule="karras", steps=25, x=draw.normal(32, 2))


@check("DPMpp2M")
def test_many_steps(compare, draw):
    """A long run is right to its end."""
    play_trajectory(compare, draw, "karras", 51, (2, 6))


@check("DPMpp2M")
def test_from_the_middle(compare, draw):
    """Levels that begin in the middle of a schedule begin with a first-order step."""
    play_trajectory(compare, draw, "stable_diffusion", 9, (2, 4, 3), begin=draw.whole(3, 5))


@check("DPMpp2M")
def test_two_solvers_in_turns(compare, draw):
    """Two solvers that are stepped in turns do not disturb each other."""
    for schedules, steps in [(["karras", "stable_diffusion"], 5), (["karras", "karras"], 3)]:
        compare.play(
            "two_in_turns",
            schedules=schedules,
            steps=steps,
            x=draw.normal(2, 1, 3, 6, 5),
            noise=draw.normal(2, steps, 1, 3, 6, 5),
        )


@check("DPMpp2M")
def test_bfloat16(compare, draw):
    """Samples in bfloat16 come back in bfloat16, as exact as that type allows."""
    play_trajectory(compare, draw, "karras", 6, (2, 3, 8, 5), "bfloat16")


@check("DPMpp2M")
def test_float16(compare, draw):
    """Samples in float16 come back in float16, as exact as that type allows; the next solver works in float32."""
    play_trajectory(compare, draw, "stable_diffusion", 7, (1, 4, 7, 6), "float16")
    play_trajectory(compare, draw, "karras", 4, (3, 5))


# Flow


@check("flow_sigmas", visible=True)
def test_plain_levels(compare):
    """Without a shift the levels stay, a 0 follows, and the network is told σ on its scale."""
    compare.flow_sigmas(tensor([1.0, 0.8, 0.5, 0.2]))


@check("flow_sigmas", visible=True)
def test_shifted_levels(compare):
    """A shift moves the levels along its curve, and the timesteps with them."""
    compare.flow_sigmas(tensor([1.0, 0.75, 0.5, 0.25]), shift=3.0)


@check("flow_sigmas", visible=True)
def test_shift_by_mu(compare):
    """mu is the logarithm of the shift."""
    compare.flow_sigmas(linspace(1.0, 0.1, 6), mu=1.15)


@check("flow_sigmas", visible=True)
def test_stretch_to_the_terminal(compare):
    """The stretch keeps the noisy end and moves the last level where it shall be."""
    compare.flow_sigmas(tensor([1.0, 0.8, 0.5, 0.25]), shift=2.0, shift_terminal=0.1)


@check("flow_sigmas", visible=True)
def test_timesteps_that_are_given(compare):
    """Timesteps that are given are told as they are; the levels come from the base."""
    compare.flow_sigmas(tensor([1.0, 0.75, 0.5]), shift=3.0, timesteps=tensor([999.0, 500.0, 100.0]))


@check("flow_sigmas", property=True)
def test_two_shifts(compare, draw):
    """A shift and a mu together are refused with a ValueError, a mu of 0 too."""
    for mu in (0.5, 0.0):
        compare.flow_sigmas(tensor([1.0, 0.5]), shift=draw.real(2.0, 3.0), mu=mu)


@check("flow_sigmas", property=True)
def test_timesteps_that_do_not_fit(compare):
    """Another number of timesteps than levels is refused with a ValueError."""
    compare.flow_sigmas(tensor([1.0, 0.6, 0.3]), timesteps=tensor([900.0, 300.0]))


@check("flow_sigmas")
def test_small_shift(compare, draw):
    """A shift below one moves the levels the other way."""
    compare.flow_sigmas(draw.uniform(7) * 0.9 + 0.05, draw.real(0.2, 0.7))


@check("flow_sigmas")
def test_stretch_of_mu(compare, draw):
    """Shift by mu first, then stretch; the last level lands where it shall."""
    base = tensor([draw.real(0.9, 0.99), 0.7, 0.4, draw.real(0.1, 0.3)])
    compare.flow_sigmas(base, mu=draw.real(0.4, 1.2), shift_terminal=draw.real(0.02, 0.2))


@check("flow_sigmas")
def test_negative_mu(compare, draw):
    """A mu below zero is a shift below one."""
    compare.flow_sigmas(tensor([0.95, 0.6, 0.2]), mu=-draw.real(0.3, 1.0))


@check("flow_sigmas")
def test_given_timesteps_on_another_scale(compare, draw):
    """Given timesteps are told as they are, whatever the scale, the shift, the stretch and their dtype."""
    compare.flow_sigmas(
        tensor([1.0, 0.7, 0.35]),
        mu=draw.real(0.4, 1.0),
        shift_terminal=draw.real(0.05, 0.15),
        num_train_timesteps=50,
        timesteps=tensor([48, 31, 7]),
    )


@check("flow_sigmas")
def test_given_timesteps_that_are_whole(compare):
    """Given timesteps of another dtype are told as float32."""
    compare.flow_sigmas(tensor([1.0, 0.75, 0.5]), shift=2.0, timesteps=tensor([999, 500, 100]))


@check("flow_sigmas")
def test_another_scale_of_timesteps(compare, draw):
    """The timesteps follow the scale that is given, from one call to the next, and one level is enough."""
    compare.flow_sigmas(
        tensor([draw.real(0.5, 0.9)]), shift=draw.real(2.0, 5.0), num_train_timesteps=draw.whole(50, 400)
    )
    compare.flow_sigmas(linspace(1.0, 0.04, 28), draw.real(2.0, 5.0), num_train_timesteps=draw.whole(500, 900))


# Image to image


@check("img2img_window", visible=True)
def test_window(compare):
    """The last steps of the list are walked, as many as the strength says."""
    compare.img2img_window(tensor([900, 800, 700, 600, 500, 400, 300, 200, 100, 0]), 10, 0.75)


@check("img2img_window", visible=True)
def test_window_of_two_looks(compare):
    """Where a step has two entries, the window begins with the first of a pair."""
    compare.img2img_window(tensor([900.0, 700.0, 700.0, 500.0, 500.0, 300.0, 300.0, 100.0, 100.0]), 5, 0.5, 2)


@check("img2img_window", visible=True)
def test_whole_and_no_window(compare):
    """Strength 1 walks everything, strength 0 nothing."""
    timesteps = tensor([751, 501, 251, 1])
    compare.img2img_window(timesteps, 4, 1.0)
    compare.img2img_window(timesteps, 4, 0.0)


@check("img2img_window", visible=True, property=True)
def test_strength_out_of_range(compare):
    """A strength below 0 or above 1 is refused with a ValueError."""
    compare.img2img_window(tensor([3, 2, 1, 0]), 4, 1.2)
    compare.img2img_window(tensor([3, 2, 1, 0]), 4, -0.2)


@check("img2img_window")
def test_fraction_of_a_step(compare, draw):
    """What is left of a step is cut off, however much it is."""
    n = draw.choice([15, 17, 19])
    for strength in (0.05, 0.3, 0.38, 0.97):
        compare.img2img_window(linspace(990.0, 0.0, n), n, strength)


@check("img2img_window")
def test_what_floats_make_of_the_product(compare, draw):
    """The product of steps and strength is cut off as floats give it."""
    n, strength = draw.choice([(100, 0.29), (50, 0.58), (100, 0.57)])
    compare.img2img_window(linspace(990.0, 0.0, n), n, strength)


@check("img2img_window")
def test_windows_of_two_looks(compare, draw):
    """With two entries a step, odd and even numbers of steps alike begin with the first of a pair."""
    for n, strength in ((7, 0.6), (8, 0.4)):
        first = 900 + draw.whole(0, 90)
        pairs = [first] + [t for i in range(1, n) for t in 2 * [first - 100 * i]]
        compare.img2img_window(tensor(pairs), n, strength, order=2)


@check("img2img_window")
def test_whole_window_of_two_looks(compare, draw):
    """With two entries a step, strength 1 and a strength below one step are windows, too."""
    first = 800 + draw.whole(0, 90)
    timesteps = tensor([float(t) for t in (first, 500, 500, 250, 250)])
    compare.img2img_window(timesteps, 3, 1.0, 2)
    compare.img2img_window(timesteps, 3, 0.2, 2)


# Consistency


def play_lcm(
    compare,
    draw,
    t: int,
    t_prev: int,
    last: bool = False,
    shape: tuple[int, ...] = (2, 4, 4, 2),
    dtype: str = "float32",
    betas: Any = None,
    size: float = 1.0,
):
    """Compare one consistency step on random inputs; `size` is that of the model's output."""
    model_output, x_t = (made.to(dtype) for made in draw.normals(2, *shape))
    levels = alphas_cumprod(scaled_linear_betas(1000) if betas is None else betas)
    compare.lcm_step(model_output * size, t, t_prev, x_t, levels, last, draw.generator())


@check("lcm_step", visible=True)
def test_consistency_step(compare, draw):
    """One step from much noise: predict, and go back into fresh noise of the next level."""
    play_lcm(compare, draw, 759, 499)


@check("lcm_step", visible=True)
def test_last_consistency_step(compare, draw):
    """The last step ends on the denoised sample and draws nothing."""
    play_lcm(compare, draw, 259, 0, last=True)


@check("lcm_step", visible=True)
def test_boundary(compare, draw):
    """Without noise the answer is the sample itself."""
    play_lcm(compare, draw, 0, 0, last=True)


@check("lcm_step")
def test_near_the_boundary(compare, draw):
    """Near the clean end both factors of the boundary count."""
    # So large that it moves x̂_0 away from x_t, and the two factors show apart.
    play_lcm(compare, draw, 1, 0, shape=(3, 16), size=25.0)


@check("lcm_step")
def test_last_step_near_the_boundary(compare, draw):
    """Both factors count on the last step, too."""
    play_lcm(compare, draw, draw.choice([1, 2]), 0, last=True, shape=(2, 5, 7))


@check("lcm_step")
def test_last_step_has_no_next_level(compare, draw):
    """On the last step the next timestep is not looked up, whatever stands there."""
    for t_prev in (-1, 1000 + draw.whole(0, 99)):
        play_lcm(compare, draw, draw.whole(100, 300), t_prev, last=True, shape=(2, 5, 3))


@check("lcm_step")
def test_first_consistency_step(compare, draw):
    """The first step begins where hardly any signal is left."""
    play_lcm(compare, draw, 999, draw.whole(600, 800))


@check("lcm_step")
def test_any_shape_of_consistency(compare, draw):
    """Samples may have any number of axes, and the levels are those that are given."""
    play_lcm(compare, draw, 40, 17, shape=(1, 2, 2, 4, 4), betas=linear_betas(50, 0.01, 0.1))
    play_lcm(compare, draw, 700, 320, shape=(4, 4, 4), betas=linear_betas(1000))


@check("lcm_step")
def test_memory_layout_of_consistency(compare, draw):
    """A sample whose axes were swapped without a copy gives the same values."""
    x_t = draw.normal(2, 7, 5, 3).transpose(1, 3)
    levels = alphas_cumprod(scaled_linear_betas(1000))
    compare.lcm_step(draw.normal(2, 3, 5, 7), draw.whole(200, 400), 100, x_t, levels, True, draw.generator())


@check("lcm_step")
def test_consistency_in_half_precision(compare, draw):
    """Half precision comes back as the same type, as exact as it allows."""
    for dtype in ("float16", "bfloat16"):
        play_lcm(compare, draw, draw.whole(200, 400), 90, shape=(2, 7), dtype=dtype)
        play_lcm(compare, draw, draw.whole(20, 90), 0, last=True, shape=(3, 5), dtype=dtype)


# Whole walks


def told(answer: Any) -> list[float]:
    """Return the timestep of each call of the model."""
    return [float(getattr(call["t"], "array", call["t"])) for call in answer["model"]]


def play_flow(play: Any, draw, shape: tuple[int, ...], sigmas, timesteps, stochastic: bool = False, **views: Any):
    """Walk a flow by `play`, see `flow_walk` in scenarios.py."""
    play(
        "flow_walk",
        **views,
        model=witnessed("tiny_model", weight=draw.normal(shape[1], shape[1])),
        x=draw.normal(*shape),
        sigmas=sigmas,
        timesteps=timesteps,
        stochastic=stochastic,
        generator=draw.generator(),
    )


@check("flow_euler_sample", visible=True)
def test_flow_to_its_end(compare, draw):
    """Every step follows the velocity from one level to the next; the last one ends at 0."""
    play_flow(
        compare.play, draw, (2, 3, 8, 8), tensor([1.0, 0.8, 0.5, 0.2, 0.0]), tensor([1000.0, 800.0, 500.0, 200.0])
    )


@check("flow_euler_sample", visible=True)
def test_stochastic_flow(compare, draw):
    """The stochastic walk predicts x_0 and noises it anew to the next level, with the generator that it is given."""
    play_flow(compare.play, draw, (2, 3, 8, 8), tensor([1.0, 0.75, 0.4, 0.0]), tensor([1000.0, 750.0, 400.0]), True)


@check("flow_euler_sample", visible=True)
def test_flow_of_one_step(compare, draw):
    """One step is enough."""
    play_flow(compare.play, draw, (1, 4, 5), tensor([0.9, 0.0]), tensor([900.0]))


@check("flow_euler_sample")
def test_flow_is_told_what_stands_in_the_list(compare, draw):
    """The model is told the timesteps of the list, whatever the levels are; equal ones are steps of their own."""
    play_flow(
        compare.play, draw, (3, 2, 5, 7), tensor([0.95, 0.7, 0.5, 0.3, 0.0]), tensor([900.5, 412.4, 412.4, 50.75])
    )


@check("flow_euler_sample")
def test_stochastic_flow_with_equal_timesteps(compare, draw):
    """The stochastic walk finds its levels by their place, too, and draws for each step anew."""
    play_flow(compare.play, draw, (2, 4, 4, 2), tensor([1.0, 0.6, 0.35, 0.0]), tensor([700.0, 300.0, 300.0]), True)


@check("flow_euler_sample")
def test_flows_of_any_shape(compare, draw):
    """Tokens and videos walk as well, one after the other, down levels of their own."""
    play_flow(compare.play, draw, (2, 5, 11), tensor([1.0, 0.9, 0.4, 0.0]), tensor([50.0, 45.0, 20.0]))
    play_flow(compare.play, draw, (1, 2, 3, 5, 7), tensor([0.8, 0.1, 0.0]), tensor([800.0, 100.0]))


@check("flow_euler_sample", subject="The list of timesteps that the model was told")
def test_flow_asks_once_a_step(compare, draw):
    """One call of the model is all that a step costs, stochastic or not, and each is told its entry of the list."""
    for stochastic in (False, True):
        levels = tensor([1.0, draw.real(0.5, 0.8), 0.3, 0.0]), tensor([870.5, 533.3, 120.25])
        play_flow(compare.calls, draw, (2, 3, 8, 8), *levels, stochastic, view=told)


@check("flow_euler_sample")
def test_stochastic_flow_of_one_odd_sample(compare, draw):
    """The noise of a step is drawn in that step, in one draw of the sample's shape, whatever its size."""
    play_flow(compare.play, draw, (1, 3, 5), tensor([1.0, 0.7, 0.3, 0.0]), tensor([900.0, 600.0, 200.0]), True)


def play_heun(
    play: Any, draw, shape: tuple[int, ...], sigmas, timesteps, prediction_type: str = "epsilon", **views: Any
):
    """Walk by Heun's rule by `play`, see `heun_walk` in scenarios.py."""
    play(
        "heun_walk",
        **views,
        model=witnessed("tiny_model", weight=draw.normal(shape[1], shape[1])),
        x=draw.normal(*shape) * 3.0,
        sigmas=sigmas,
        timesteps=timesteps,
        prediction_type=prediction_type,
    )


@check("heun_sample", visible=True)
def test_heun_of_epsilon(compare, draw):
    """Every step but the last averages two slopes."""
    play_heun(compare.play, draw, (2, 3, 8, 8), tensor([3.0, 1.2, 0.4, 0.0]), tensor([800.0, 450.0, 150.0]))


@check("heun_sample", visible=True)
def test_heun_of_v(compare, draw):
    """A velocity is converted at the level where the model looked, in both looks."""
    play_heun(
        compare.play, draw, (2, 3, 8, 8), tensor([3.0, 1.2, 0.4, 0.0]), tensor([800.0, 450.0, 150.0]), "v_prediction"
    )


@check("heun_sample", visible=True)
def test_last_step_of_heun(compare, draw):
    """The step to 0 has one look."""
    for prediction_type in ("epsilon", "v_prediction"):
        play_heun(compare.play, draw, (2, 4, 5), tensor([0.7, 0.0]), tensor([300.0]), prediction_type)


@check("heun_sample", visible=True, property=True)
def test_unknown_type_of_heun(compare, draw):
    """A prediction type that is not known is refused with a ValueError."""
    play_heun(compare.play, draw, (1, 2, 3), tensor([1.0, 0.0]), tensor([500.0]), "velocity")


@check("heun_sample", subject="The list of timesteps that the model was told")
def test_heun_asks_twice_a_step(compare, draw):
    """Each step but the last has two looks, and each look is told the timestep of its level."""
    levels = tensor([3.0, draw.real(0.9, 1.5), 0.4, 0.0]), tensor([800.5, 450.25, 150.0])
    play_heun(compare.calls, draw, (2, 3, 8, 8), *levels, view=told)


@check("heun_sample")
def test_heun_with_equal_timesteps(compare, draw):
    """Levels are found by their place in the list: rounded timesteps may be equal."""
    for prediction_type in ("epsilon", "v_prediction"):
        sigmas, timesteps = tensor([2.0, 0.9, 0.3, 0.1, 0.0]), tensor([700.0, 300.0, 300.0, 10.0])
        play_heun(compare.play, draw, (3, 2, 5, 7), sigmas, timesteps, prediction_type)


@check("heun_sample")
def test_heun_of_any_shape(compare, draw):
    """Tokens and videos walk as well, one after the other, down levels of their own."""
    play_heun(compare.play, draw, (2, 5, 11), tensor([draw.real(4.0, 6.0), 1.5, 0.0]), tensor([900.0, 500.0]))
    play_heun(
        compare.play,
        draw,
        (1, 2, 3, 5, 7),
        tensor([draw.real(0.8, 0.95), 0.2, 0.0]),
        tensor([400.0, 90.0]),
        "v_prediction",
    )
