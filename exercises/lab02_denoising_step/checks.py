"""Checks of lab 02. The docstring of a check is the sentence that a student reads.

Where a generator is used, x_t is contiguous and a sample holds a multiple of 16 values, or is the only one: torch then
draws the same numbers for the whole batch as sample by sample, so that both are right. In half precision a batch with
a generator holds fewer than 16 values: then every version of torch draws the float32 numbers, rounded.
"""

from typing import Any

import numpy as np

from grader.kit import (
    Recipe,
    alphas_cumprod,
    array,
    check,
    entry,
    linear_betas,
    linspace,
    part,
    scaled_linear_betas,
    tensor,
    values,
    witnessed,
    zeros,
)

# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_misread_v", visible=True, tells="Not yet. Which formula leads from the answer to x_0 in each case?")
def test_prediction_of_the_misread_answer(compare):
    """Prediction: the estimate of x_0, for each way to read the answer."""
    compare.checkpoint_misread_v()


@check("checkpoint_last_step", visible=True, tells="Not yet. What is ᾱ_prev where no noise is left?")
def test_prediction_of_the_last_step(compare):
    """Prediction: the two factors and the variance of the step to the clean end."""
    compare.checkpoint_last_step()


@check("checkpoint_draws", visible=True, tells="Not yet. Which steps have a variance above zero?")
def test_prediction_of_the_draws(compare):
    """Prediction: how often a chain of 50 steps draws noise."""
    compare.checkpoint_draws()


@check(
    "checkpoint_who_computes", visible=True, tells="Not yet. What does the network return, and what is done with it?"
)
def test_prediction_of_who_computes(compare):
    """Prediction: what is the model's and what the scheduler's."""
    compare.checkpoint_who_computes()


# split_prediction


@check("split_prediction", visible=True)
def test_epsilon(compare, draw):
    """From the noise: x_0 at each sample's own level, and the noise itself."""
    answer, x_t = draw.normals(2, 4, 3, 8, 8)
    compare.split_prediction("epsilon", answer, x_t, tensor([0, 250, 500, 999]), linear_betas(1000))


@check("split_prediction", visible=True)
def test_sample(compare, draw):
    """From x_0: the noise at each sample's own level, and x_0 itself."""
    answer, x_t = draw.normals(2, 4, 3, 8, 8)
    compare.split_prediction("sample", answer, x_t, tensor([20, 250, 500, 999]), linear_betas(1000))


@check("split_prediction", visible=True)
def test_v(compare, draw):
    """From v: x_0 and the noise at each sample's own level."""
    answer, x_t = draw.normals(2, 4, 3, 8, 8)
    compare.split_prediction("v_prediction", answer, x_t, tensor([0, 250, 500, 999]), linear_betas(1000))


@check("split_prediction", visible=True)
def test_three_models_that_know_the_answer(compare, draw):
    """A noise model, a sample model and a v model that are all right lead to one x_0 and one noise."""
    x0, noise = draw.normals(2, 3, 2, 4, 4)
    compare.play("three_models", x0=x0, noise=noise, t=tensor([90, 400, 700]), betas=linear_betas(1000))


@check("split_prediction", visible=True)
def test_half_precision(compare, draw):
    """A float16 answer gives a float16 x_0 and noise, with no more lost than the last rounding."""
    for prediction_type in ("epsilon", "sample", "v_prediction"):
        answer, x_t = (one.to("float16") for one in draw.normals(2, 3, 3, 8, 8))
        compare.split_prediction(prediction_type, answer, x_t, tensor([30, 150, 300]), linear_betas(1000))


@check("split_prediction", visible=True, property=True)
def test_unknown_type(compare, draw):
    """A prediction type that is not known is refused with a ValueError."""
    answer, x_t = draw.normals(2, 1, 2, 4)
    compare.split_prediction("velocity", answer, x_t, tensor([5]), linear_betas(10))


@check("split_prediction")
def test_epsilon_of_any_shape(compare, draw):
    """For "epsilon" the levels follow the batch axis, whatever the number of axes."""
    betas = scaled_linear_betas(50, 0.01, 0.3)
    for shape in ((4, 4, 4, 4), (4, 5, 4), (4, 2, 3, 5, 4)):
        answer, x_t = draw.normals(2, *shape)
        compare.split_prediction("epsilon", answer, x_t, tensor([30, 0, 8, 45]), betas)


@check("split_prediction")
def test_sample_of_any_shape(compare, draw):
    """For "sample" the levels follow the batch axis, whatever the number of axes."""
    betas = scaled_linear_betas(50, 0.01, 0.3)
    for shape in ((4, 4, 4, 4), (4, 5, 4), (4, 2, 3, 5, 4)):
        answer, x_t = draw.normals(2, *shape)
        compare.split_prediction("sample", answer, x_t, tensor([30, 0, 8, 45]), betas)


@check("split_prediction")
def test_v_of_any_shape(compare, draw):
    """For "v_prediction" the levels follow the batch axis, whatever the number of axes."""
    betas = scaled_linear_betas(50, 0.01, 0.3)
    for shape in ((4, 4, 4, 4), (4, 5, 4), (4, 2, 3, 5, 4)):
        answer, x_t = draw.normals(2, *shape)
        compare.split_prediction("v_prediction", answer, x_t, tensor([30, 0, 8, 45]), betas)


@check("split_prediction")
def test_first_timesteps(compare, draw):
    """Where hardly any noise has been added, it is still found."""
    answer, x_t = draw.normals(2, 3, 2, 5, 7)
    compare.split_prediction("sample", answer, x_t, tensor([0, 1, 2]), scaled_linear_betas(1000))


@check("split_prediction")
def test_answers_in_bfloat16(compare, draw):
    """bfloat16 stays bfloat16, and the first timesteps keep their little noise."""
    for prediction_type in ("epsilon", "sample", "v_prediction"):
        answer, x_t = (one.to("bfloat16") for one in draw.normals(2, 4, 5, 7))
        compare.split_prediction(prediction_type, answer, x_t, tensor([4, 9, 60, 200]), linear_betas(1000))


@check("split_prediction")
def test_without_signal(compare, draw):
    """Where no signal is left, a sample model and a v model still have an answer."""
    betas = tensor([draw.real(0.1, 0.4), 0.3, 0.6, 1.0])
    for prediction_type in ("sample", "v_prediction"):
        answer, x_t = draw.normals(2, 3, 4, 3)
        compare.split_prediction(prediction_type, answer, x_t, tensor([3, 0, 3]), betas)


@check("split_prediction")
def test_strided_answers(compare, draw):
    """An answer and a sample that are not contiguous in memory are read all the same."""
    answer = draw.normal(3, 3, 8, 5).transpose(1, 3)
    x_t = draw.normal(3, 5, 3, 8).transpose(2, 3)
    compare.split_prediction("v_prediction", answer, x_t, tensor([5, 450, 950]), linear_betas(1000))


@check("split_prediction")
def test_one_after_another(compare, draw):
    """A second call with another schedule, shape and dtype owes nothing to the first; a batch of one works."""
    first, second = draw.normals(2, 3, 4, 4), [one.to("float16") for one in draw.normals(2, 1, 3, 5, 7)]
    compare.split_prediction("epsilon", *first, tensor([500, 10, 300]), linear_betas(1000))
    compare.split_prediction("epsilon", *second, tensor([draw.whole(5, 20)]), scaled_linear_betas(40, 0.001, 0.1))


# ddpm_posterior. Three checks look at the mean alone: a slip in the variance must not take the points of a right mean.


def posterior_mean(compare: Any, x0: Recipe, x_t: Recipe, t: Recipe, t_prev: Recipe, betas: Recipe) -> None:
    """Compare the mean alone."""
    compare.play("posterior", view=part("mean"), x0=x0, x_t=x_t, t=t, t_prev=t_prev, betas=betas)


@check("ddpm_posterior", visible=True)
def test_single_steps(compare, draw):
    """From t to t − 1, each sample at its own t: mean, variance and logarithm."""
    x0, x_t = draw.normals(2, 4, 3, 8, 8)
    compare.ddpm_posterior(x0, x_t, tensor([999, 600, 300, 90]), tensor([998, 599, 299, 89]), linear_betas(1000))


@check("ddpm_posterior", visible=True)
def test_jumps(compare, draw):
    """The mean over many timesteps, each sample with a jump of its own."""
    x0, x_t = draw.normals(2, 4, 3, 8, 8)
    posterior_mean(compare, x0, x_t, tensor([999, 600, 400, 90]), tensor([979, 300, 399, 0]), linear_betas(1000))


@check("ddpm_posterior", visible=True)
def test_the_lowest_steps(compare, draw):
    """The steps just before the end, where all differences are small."""
    x0, x_t = draw.normals(2, 3, 3, 8, 8)
    compare.ddpm_posterior(x0, x_t, tensor([3, 2, 1]), tensor([2, 1, 0]), linear_betas(1000))


@check("ddpm_posterior", visible=True)
def test_clean_end(compare, draw):
    """At the clean end the mean is x_0, the variance 0, and its logarithm finite; t may be 0 or not."""
    x0, x_t = draw.normals(2, 3, 3, 8, 8)
    compare.ddpm_posterior(x0, x_t, tensor([0, 76, 1]), tensor([-1, -1, -19]), linear_betas(1000))


@check("ddpm_posterior", visible=True, property=True)
def test_two_witnesses_know_more_than_one(student, draw):
    """The variance is smaller than that of the step alone, β, and than that of the level alone, 1 − ᾱ_prev."""
    x0, x_t = draw.normals(2, 4, 2, 3)
    t, t_prev = [600, 600, 50, 1], [590, 100, 49, 0]
    answer = student.ddpm_posterior(x0, x_t, tensor(t), tensor(t_prev), linear_betas(1000))
    variance = values(entry(answer, "variance"), 4)
    levels = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    assert (variance > 0).all(), "A variance inside the chain is not above 0."
    assert (variance < 1 - levels[t] / levels[t_prev]).all(), "A variance is not smaller than β."
    assert (variance < 1 - levels[t_prev]).all(), "A variance is not smaller than 1 − ᾱ_prev."


@check("ddpm_posterior")
def test_any_negative_t_prev(compare, draw):
    """Every t_prev below zero is the clean end, for some samples of a batch and not for others."""
    x0, x_t = draw.normals(2, 5, 2, 5, 3)
    t = tensor([draw.whole(1, 40), 0, 999, 300, 3])
    compare.ddpm_posterior(x0, x_t, t, tensor([-1, -20, -1000, 200, -4321]), linear_betas(1000))


@check("ddpm_posterior")
def test_posterior_of_any_shape(compare, draw):
    """The mean's factors follow the batch axis, whatever the number of axes and also where another has its length."""
    t, t_prev = tensor([30, 2, 45, 9]), tensor([29, -1, 20, 1])
    for shape in ((4, 4, 4, 4), (4, 5, 4), (4, 2, 3, 5, 4)):
        x0, x_t = draw.normals(2, *shape)
        posterior_mean(compare, x0, x_t, t, t_prev, scaled_linear_betas(50, 0.01, 0.3))


@check("ddpm_posterior")
def test_posterior_of_a_short_schedule(compare, draw):
    """The posterior follows the betas that are given, which need not rise."""
    x0, x_t = draw.normals(2, 4, 3)
    betas = draw.uniform(7) * 0.5 + 0.05
    compare.ddpm_posterior(x0, x_t, tensor([6, 5, 3, 1]), tensor([5, 1, 2, 0]), betas)


@check("ddpm_posterior")
def test_posterior_in_half_precision(compare, draw):
    """In half precision the mean keeps its dtype; variance and logarithm stay float32."""
    for dtype in ("float16", "bfloat16"):
        x0, x_t = (one.to(dtype) for one in draw.normals(2, 4, 3, 5, 7))
        compare.ddpm_posterior(x0, x_t, tensor([9, 2, 400, 990]), tensor([3, 1, 380, 989]), linear_betas(1000))


@check("ddpm_posterior")
def test_strided_posterior(compare, draw):
    """Samples that are not contiguous in memory have their mean all the same."""
    x0, x_t = draw.normal(3, 3, 8, 5).transpose(1, 3), draw.normal(3, 5, 8, 3)
    posterior_mean(compare, x0, x_t, tensor([5, 450, 950]), tensor([4, 400, 900]), scaled_linear_betas(1000))


@check("ddpm_posterior")
def test_one_posterior_after_another(compare, draw):
    """A second call with another schedule, shape and dtype owes nothing to the first; a batch of one works."""
    first, second = draw.normals(2, 2, 4, 4), [one.to("bfloat16") for one in draw.normals(2, 1, 3, 5, 7)]
    compare.ddpm_posterior(*first, tensor([500, 10]), tensor([450, 3]), linear_betas(1000))
    compare.ddpm_posterior(*second, tensor([30]), tensor([draw.whole(0, 25)]), scaled_linear_betas(40, 0.01, 0.3))


# ddpm_step


@check("ddpm_step", visible=True)
def test_one_step(compare, draw):
    """One step down the chain: the posterior's mean, plus noise of its standard deviation."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    compare.ddpm_step(eps, 500, 499, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step", visible=True)
def test_jump(compare, draw):
    """A step over many timesteps uses the α and β of the whole jump."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    compare.ddpm_step(eps, 500, 450, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step", visible=True)
def test_clip(compare, draw):
    """With clip=True the estimate of x_0 is clamped to [-1, 1], and nothing else is."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    compare.ddpm_step(eps, 300, 280, x_t * 2.0, linear_betas(1000), True, draw.generator())


@check("ddpm_step", visible=True)
def test_the_step_before_the_last(compare, draw):
    """From t = 1 to 0 a little noise is still drawn and added."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    compare.ddpm_step(eps, 1, 0, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step", visible=True)
def test_last_step(compare, draw):
    """The step from t = 0 to the clean end returns the mean and takes no random number."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    compare.ddpm_step(eps, 0, -1, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step", visible=True)
def test_last_step_above_zero(compare, draw):
    """The step to the clean end is the last wherever it starts: t_prev says so, not t."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    for t in (76, 3):
        compare.ddpm_step(eps, t, -1, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step", visible=True)
def test_whole_chain(compare, draw):
    """With perfect predictions a chain of steps ends at the clean sample, every sample on the way as it should be."""
    x0 = draw.normal(2, 3, 4, 4).clamp(-1.0, 1.0)
    timesteps = [999, 800, 600, 400, 200, 40]
    compare.play("chain", x0=x0, timesteps=timesteps, betas=linear_betas(1000), clip=True, seed=draw.seed())


@check("ddpm_step")
def test_first_step_from_pure_noise(compare, draw):
    """The first step of a chain, where x_t is nearly pure noise and the estimate of x_0 is wild."""
    eps, x_t = draw.normals(2, 3, 4, 4, 4)
    compare.ddpm_step(eps, 999, 979, x_t, linear_betas(1000), True, draw.generator())


@check("ddpm_step")
def test_clip_while_jumping(compare, draw):
    """Clamping and a long jump go together."""
    eps, x_t = draw.normals(2, 3, 1, 5, 16)
    compare.ddpm_step(eps, 142, 71, x_t * 1.5, scaled_linear_betas(1000), True, draw.generator())


@check("ddpm_step")
def test_last_step_with_clip(compare, draw):
    """The last step with clip=True is the clamped estimate."""
    eps, x_t = draw.normals(2, 3, 2, 5, 7)
    compare.ddpm_step(eps, 0, -1, x_t * 1.5, scaled_linear_betas(1000), True, draw.generator())


@check("ddpm_step")
def test_any_negative_t_prev_is_the_end(compare, draw):
    """Every t_prev below zero means the clean end of the chain, whatever t is; the layout of x_t does not matter."""
    eps, x_t = draw.normal(3, 2, 5, 7), draw.normal(3, 7, 5, 2).transpose(1, 3)
    for t, t_prev in ((0, -20), (1, -19), (draw.whole(30, 90), -1), (500, -1000)):
        compare.ddpm_step(eps, t, t_prev, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step")
def test_small_steps_still_draw(compare, draw):
    """However low the step, noise is drawn and added as long as it does not go to the end."""
    eps, x_t = draw.normals(2, 2, 4, 4)
    for t, t_prev in ((2, 1), (4, 3), (draw.whole(60, 80), 0)):
        compare.ddpm_step(eps, t, t_prev, x_t, linear_betas(1000), True, draw.generator())


@check("ddpm_step")
def test_sequences(compare, draw):
    """A batch of sequences (B, L, D) is denoised like a batch of images, whatever the layout of the prediction."""
    eps, x_t = draw.normal(3, 5, 16).transpose(1, 2), draw.normal(3, 16, 5)
    compare.ddpm_step(eps, 640, 600, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step")
def test_videos(compare, draw):
    """A batch of videos (B, C, F, H, W) is denoised like a batch of images."""
    eps, x_t = draw.normals(2, 2, 3, 2, 4, 2)
    compare.ddpm_step(eps, 820, 800, x_t, linear_betas(1000), True, draw.generator())


@check("ddpm_step")
def test_one_sample_of_odd_size(compare, draw):
    """A batch of one works, and its sides may be odd."""
    eps, x_t = draw.normals(2, 1, 3, 5, 7)
    compare.ddpm_step(eps, 321, 300, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step")
def test_float16(compare, draw):
    """A float16 sample comes back as float16."""
    eps, x_t = (one.to("float16") for one in draw.normals(2, 2, 1, 2, 3))
    compare.ddpm_step(eps, 120, 100, x_t, linear_betas(1000), False, draw.generator())


@check("ddpm_step")
def test_bfloat16(compare, draw):
    """A bfloat16 sample comes back as bfloat16, and the lowest steps keep their levels apart."""
    for t, t_prev in ((120, 110), (9, 4), (3, -1)):
        eps, x_t = (one.to("bfloat16") for one in draw.normals(2, 2, 7))
        compare.ddpm_step(eps, t, t_prev, x_t, linear_betas(1000), True, draw.generator())


@check("ddpm_step")
def test_whole_chain_without_clip(compare, draw):
    """The chain also holds without clamping, on another schedule."""
    x0 = draw.normal(3, 1, 4, 4)
    timesteps = [49, 40, 30, 20, 10, 0]
    betas = scaled_linear_betas(50, 0.01, 0.3)
    compare.play("chain", x0=x0, timesteps=timesteps, betas=betas, clip=False, seed=draw.seed())


@check("ddpm_step")
def test_one_step_after_another(compare, draw):
    """A second call with another schedule, shape and dtype owes nothing to the first."""
    eps, x_t = draw.normals(2, 4, 3, 4, 4)
    compare.ddpm_step(eps, 5, 2, x_t, linear_betas(7, 0.01, 0.4), False, draw.generator())
    eps, x_t = (one.to("float16") for one in draw.normals(2, 1, 15))
    compare.ddpm_step(eps, 5, 2, x_t, scaled_linear_betas(40, 0.01, 0.3), False, draw.generator())


# ddim_step


@check("ddim_step", visible=True)
def test_deterministic_jump(compare, draw):
    """With η = 0: the estimate at the new level, plus as much of the predicted noise as that level has."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    levels = alphas_cumprod(linear_betas(1000))
    compare.ddim_step(eps, 500, 450, x_t, levels, 0.0, 1.0, False, draw.generator())


@check("ddim_step", visible=True)
def test_half_of_the_noise(compare, draw):
    """With η = 0.5 some noise is fresh, and the predicted noise makes room for it."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    levels = alphas_cumprod(linear_betas(1000))
    compare.ddim_step(eps, 500, 300, x_t, levels, 0.5, 1.0, False, draw.generator())


@check("ddim_step", visible=True)
def test_as_much_noise_as_ddpm(compare, draw):
    """With η = 1 the noise is that of DDPM."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    levels = alphas_cumprod(linear_betas(1000))
    compare.ddim_step(eps, 300, 200, x_t, levels, 1.0, 1.0, False, draw.generator())


@check("ddim_step", visible=True)
def test_clip_of_the_estimate(compare, draw):
    """With clip=True the estimate of x_0 is clamped to [-1, 1]; the predicted noise stays as it is."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    levels = alphas_cumprod(linear_betas(1000))
    compare.ddim_step(eps, 300, 280, x_t * 2.0, levels, 0.0, 1.0, True, draw.generator())


@check("ddim_step", visible=True)
def test_clean_end_of_ddim(compare, draw):
    """A last step to ᾱ = 1 returns the estimate, from t = 0 as from any other t."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    levels = alphas_cumprod(linear_betas(1000))
    compare.ddim_step(eps, 0, -1, x_t, levels, 0.0, 1.0, False, draw.generator())
    compare.ddim_step(eps, 76, -1, x_t, levels, 0.0, 1.0, False, draw.generator())


@check("ddim_step", visible=True)
def test_end_that_is_not_clean(compare, draw):
    """A last step to another ᾱ keeps the noise of that level."""
    eps, x_t = draw.normals(2, 2, 3, 8, 8)
    levels = alphas_cumprod(scaled_linear_betas(1000))
    compare.ddim_step(eps, 40, -10, x_t, levels, 0.0, 0.99, False, draw.generator())


@check("ddim_step", visible=True, property=True)
def test_perfect_prediction_ends_at_the_sample(student, draw):
    """A perfect prediction and a clean end lead to the sample itself."""
    x0 = np.random.default_rng(draw.seed()).normal(size=(2, 3, 4)).astype(np.float32)
    steps = [[900, -1], [76, -1], [1, -19]]
    levels = alphas_cumprod(linear_betas(1000))
    given = {"x0": array(x0), "noise": draw.normal(2, 3, 4), "steps": steps, "alphas_cumprod": levels}
    ends = values(entry(student.play("perfect_ends", **given), "ends"), 3, 2, 3, 4)
    assert (abs(ends - x0) < 1e-3).all(), "Some of the noise is left, or some of the sample lost."


@check("ddim_step")
def test_first_step_of_ddim(compare, draw):
    """The first step of a chain, where the estimate of x_0 is wild, with and without clamping."""
    levels = alphas_cumprod(linear_betas(1000))
    for clip in (True, False):
        eps, x_t = draw.normals(2, 3, 2, 5, 7)
        compare.ddim_step(eps, 999, 949, x_t, levels, 0.0, 1.0, clip, draw.generator())


@check("ddim_step")
def test_any_eta(compare, draw):
    """Any η between 0 and 1, over any jump."""
    levels = alphas_cumprod(scaled_linear_betas(1000))
    for low, high in ((0.15, 0.4), (0.6, 0.85)):
        eps, x_t = draw.normals(2, 3, 1, 4, 4)
        compare.ddim_step(
            eps,
            draw.whole(300, 400),
            draw.whole(50, 150),
            x_t,
            levels,
            draw.real(low, high),
            1.0,
            False,
            draw.generator(),
        )


@check("ddim_step")
def test_single_steps_of_ddim(compare, draw):
    """From t to t − 1, down to t = 1, with fresh noise and without."""
    levels = alphas_cumprod(linear_betas(1000))
    for t, eta in ((700, 0.0), (2, 1.0), (1, 1.0), (1, 0.0)):
        eps, x_t = draw.normals(2, 2, 4, 4)
        compare.ddim_step(eps, t, t - 1, x_t, levels, eta, 1.0, False, draw.generator())


@check("ddim_step")
def test_fresh_noise_in_the_last_step(compare, draw):
    """With η above 0 the last step draws like all others, also where it has nothing to add."""
    for final in (draw.real(0.9, 0.99), 1.0):
        eps, x_t = draw.normals(2, 2, 2, 8)
        levels = alphas_cumprod(scaled_linear_betas(1000))
        compare.ddim_step(eps, 150, -1, x_t, levels, 0.8, final, False, draw.generator())


@check("ddim_step")
def test_any_negative_t_prev_of_ddim(compare, draw):
    """Every t_prev below zero means the end of the chain, whatever t is."""
    levels = alphas_cumprod(linear_betas(1000))
    eps, x_t = draw.normal(3, 2, 5, 7), draw.normal(3, 7, 5, 2).transpose(1, 3)
    for t, t_prev, final in ((0, -20, 1.0), (draw.whole(40, 90), -1, draw.real(0.985, 0.995)), (500, -1000, 0.9)):
        compare.ddim_step(eps, t, t_prev, x_t, levels, 0.0, final, False, draw.generator())


@check("ddim_step")
def test_clip_with_fresh_noise(compare, draw):
    """Clamping, a jump and fresh noise go together."""
    eps, x_t = draw.normals(2, 3, 1, 5, 16)
    levels = alphas_cumprod(scaled_linear_betas(1000))
    compare.ddim_step(eps, 342, 200, x_t * 1.5, levels, 0.7, 1.0, True, draw.generator())


@check("ddim_step")
def test_ddim_of_sequences(compare, draw):
    """A batch of sequences (B, L, D) is denoised like a batch of images, whatever the layout of the prediction."""
    eps, x_t = draw.normal(4, 4, 16).transpose(1, 2), draw.normal(4, 16, 4)
    levels = alphas_cumprod(linear_betas(1000))
    compare.ddim_step(eps, 640, 600, x_t, levels, 0.3, 1.0, False, draw.generator())


@check("ddim_step")
def test_ddim_of_videos(compare, draw):
    """A batch of videos (B, C, F, H, W) is denoised like a batch of images."""
    eps, x_t = draw.normals(2, 2, 3, 2, 4, 2)
    levels = alphas_cumprod(linear_betas(1000))
    compare.ddim_step(eps, 320, 240, x_t, levels, 1.0, 1.0, True, draw.generator())


@check("ddim_step")
def test_ddim_in_float16(compare, draw):
    """A float16 sample comes back as float16."""
    eps, x_t = (one.to("float16") for one in draw.normals(2, 2, 1, 2, 3))
    levels = alphas_cumprod(linear_betas(1000))
    compare.ddim_step(eps, 120, 100, x_t, levels, 0.5, 1.0, False, draw.generator())


@check("ddim_step")
def test_ddim_in_bfloat16(compare, draw):
    """A bfloat16 sample comes back as bfloat16, and the lowest steps keep their levels apart."""
    levels = alphas_cumprod(linear_betas(1000))
    for t, t_prev, eta in ((120, 110, 0.0), (9, 4, 1.0), (3, -1, 0.0)):
        eps, x_t = (one.to("bfloat16") for one in draw.normals(2, 2, 7))
        compare.ddim_step(eps, t, t_prev, x_t, levels, eta, 1.0, True, draw.generator())


@check("ddim_step")
def test_one_ddim_step_after_another(compare, draw):
    """A second call with another schedule, shape and dtype owes nothing to the first; a batch of one works."""
    eps, x_t = draw.normals(2, 4, 4, 4, 4)
    compare.ddim_step(eps, 5, 2, x_t, alphas_cumprod(linear_betas(7, 0.01, 0.4)), 0.4, 1.0, False, draw.generator())
    eps, x_t = (one.to("float16") for one in draw.normals(2, 1, 5, 7))
    levels = alphas_cumprod(scaled_linear_betas(40, 0.01, 0.3))
    compare.ddim_step(eps, 5, 2, x_t, levels, 0.0, 1.0, False, draw.generator())


# dynamic_threshold


@check("dynamic_threshold", visible=True)
def test_each_image_by_its_own(compare, draw):
    """A dark and a bright image of one batch get different thresholds."""
    by = tensor([0.7, 2.0, 4.0]).reshape(3, 1, 1, 1)
    compare.play("brighter", x0=draw.normal(3, 3, 8, 8), by=by, ratio=0.9, max_value=10.0)


@check("dynamic_threshold", visible=True)
def test_values_in_range_stay(compare, draw):
    """An image within [-1, 1] is not stretched, also beside one that is not: the threshold is at least 1."""
    by = tensor([0.4, 2.0]).reshape(2, 1, 1, 1)
    compare.play("brighter", x0=draw.normal(2, 3, 8, 8).clamp(-2.0, 2.0), by=by, ratio=0.8, max_value=4.0)


@check("dynamic_threshold", visible=True)
def test_threshold_is_capped(compare, draw):
    """The threshold is at most max_value."""
    compare.dynamic_threshold(draw.normal(2, 3, 8, 8) * 4.0, 0.9, 1.5)


@check("dynamic_threshold", visible=True)
def test_cap_of_one_is_plain_clamping(compare, draw):
    """With max_value = 1, the default of the library, this is plain clamping."""
    compare.dynamic_threshold(draw.normal(2, 3, 8, 8) * 2.0, 0.995, 1.0)


@check("dynamic_threshold")
def test_very_different_images(compare, draw):
    """Images whose values differ by far do not touch each other's threshold, nor do channels have one of their own."""
    by = linspace(0.5, 6.0, 12).reshape(3, 4, 1, 1)
    compare.play("brighter", x0=draw.normal(3, 4, 5, 7), by=by, ratio=draw.real(0.7, 0.9), max_value=20.0)


@check("dynamic_threshold")
def test_dark_pixels_count(compare, draw):
    """Large negative values count as much as large positive ones."""
    compare.dynamic_threshold(draw.uniform(3, 2, 5, 5) * -5.0 + 0.5, 0.8, 10.0)


@check("dynamic_threshold")
def test_between_two_values(compare, draw):
    """In a small sample the quantile lies between two of its values."""
    compare.dynamic_threshold(draw.normal(4, 7) * 3.0, draw.choice([0.55, 0.6, 0.72]), 10.0)


@check("dynamic_threshold")
def test_threshold_of_any_shape(compare, draw):
    """Sequences, videos and batches as long as an axis have their thresholds too, and so has a batch of one."""
    for shape in ((4, 4, 4, 4), (4, 5, 4), (2, 2, 3, 5, 4), (1, 3, 5, 7)):
        compare.dynamic_threshold(draw.normal(*shape) * 2.5, 0.9, 20.0)


@check("dynamic_threshold")
def test_threshold_in_half_precision(compare, draw):
    """In half precision the dtype stays."""
    for dtype in ("float16", "bfloat16"):
        compare.dynamic_threshold((draw.normal(3, 3, 5, 7) * 2.0).to(dtype), 0.9, 8.0)


@check("dynamic_threshold")
def test_threshold_of_strided_images(compare, draw):
    """An image that is not contiguous in memory keeps the place of its pixels."""
    compare.dynamic_threshold((draw.normal(3, 3, 8, 5) * 2.0).transpose(1, 3), 0.8, 8.0)


@check("dynamic_threshold")
def test_extreme_ratios(compare, draw):
    """The ratio may be 1, the largest value, or small; a sample of zeros stays zero."""
    compare.dynamic_threshold(draw.normal(2, 3, 6) * 3.0, 1.0, 50.0)
    compare.dynamic_threshold(draw.normal(2, 3, 6) * 6.0, 0.3, 50.0)
    compare.dynamic_threshold(zeros(1, 4), 0.9, 4.0)


# ddim_sample


def run(play: Any, modes: Recipe, x_T: Recipe, timesteps: list[int], betas: Recipe, **views: Any) -> None:
    """Run DDIM by `play` with the best denoiser for a few modes, which is witnessed."""
    levels = alphas_cumprod(betas)
    model = witnessed("denoiser", modes=modes, alphas_cumprod=levels)
    play("run", model=model, x_T=x_T, timesteps=timesteps, alphas_cumprod=levels, **views)


def asked(answer: Any) -> list[int]:
    """Return the timestep of each call of the model."""
    return [int(getattr(call["t"], "array", call["t"])) for call in answer["model"]]


@check("ddim_sample", visible=True)
def test_even_steps(compare, draw):
    """Five even steps to the clean end: every sample and every estimate."""
    run(compare.play, draw.normal(5, 6), draw.normal(8, 6), [800, 600, 400, 200, 0], linear_betas(1000))


@check("ddim_sample", visible=True)
def test_uneven_steps(compare, draw):
    """Steps whose distances differ: each goes to the next entry of the list."""
    run(compare.play, draw.normal(5, 6), draw.normal(8, 6), [999, 888, 700, 333, 222, 0], linear_betas(1000))


@check("ddim_sample", visible=True)
def test_list_that_ends_above_zero(compare, draw):
    """A list that ends above 0 ends clean all the same."""
    run(compare.play, draw.normal(5, 6), draw.normal(8, 6), [922, 845, 460, 230, 76], scaled_linear_betas(1000))


@check("ddim_sample")
def test_one_long_step(compare, draw):
    """One step leads to the first estimate."""
    run(compare.play, draw.normal(3, 5, 2), draw.normal(1, 5, 2), [draw.whole(600, 990)], linear_betas(1000))


@check("ddim_sample")
def test_images_over_many_steps(compare, draw):
    """Images, and steps at distances that no rule gives."""
    timesteps = sorted({draw.whole(low, low + 60) for low in range(10, 900, 75)}, reverse=True)
    run(compare.play, draw.normal(4, 2, 3, 5), draw.normal(4, 2, 3, 5), timesteps, scaled_linear_betas(1000))


@check("ddim_sample")
def test_one_run_after_another(compare, draw):
    """A second run with another schedule, length and shape owes nothing to the first."""
    run(compare.play, draw.normal(5, 4), draw.normal(3, 4), [900, 500, 100], linear_betas(1000))
    run(
        compare.play, draw.normal(3, 2, 3), draw.normal(2, 2, 3), [38, 30, 12, 5, 3], scaled_linear_betas(40, 0.01, 0.3)
    )


@check("ddim_sample", subject="The list of timesteps that the model was asked at")
def test_asks_once_a_step(compare, draw):
    """The model is asked once in each step, and told that step's timestep."""
    timesteps = [draw.whole(700, 990), draw.whole(300, 650), draw.whole(30, 250)]
    run(compare.calls, draw.normal(3, 4), draw.normal(2, 4), timesteps, linear_betas(1000), view=asked)
