"""Checks of lab 01. The docstring of a check is the sentence that a student reads."""

from typing import Any

import numpy as np

from grader.kit import Recipe, check, linear_betas, rand, randn, scaled_linear_betas, tensor, zeros


def values(answer: Any, *shape: int) -> np.ndarray:
    """Return a student's tensor as an array of the shape that it must have; else fail with a sentence."""
    array = getattr(answer, "array", None)
    assert array is not None, "A tensor is expected here."
    assert array.shape == shape, "A tensor of another shape is expected here."
    return array.astype(np.float64)


def entry(answer: Any, key: str) -> Any:
    """Return what a student's dict holds under `key`, or None."""
    return answer.get(key) if isinstance(answer, dict) else None


def spread(seed: int) -> Recipe:
    """Return six timesteps over a thousand, the same few for each seed."""
    return tensor([(k + seed) % 1000 for k in (20, 90, 240, 480, 640, 940)])


# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


def same(yours: Any, expected: Any) -> bool:
    """Tell whether two predictions are the same; numbers to two digits."""
    if isinstance(expected, float):
        return isinstance(yours, float) and abs(yours - expected) <= 5e-3
    if isinstance(expected, tuple):
        return isinstance(yours, (tuple, list)) and len(yours) == len(expected) and all(map(same, yours, expected))
    if isinstance(expected, dict):
        return (
            isinstance(yours, dict)
            and yours.keys() == expected.keys()
            and all(same(yours[k], expected[k]) for k in yours)
        )
    return type(yours) is type(expected) and yours == expected


@check("checkpoint_factors", visible=True)
def test_prediction_of_the_factors(student, reference):
    """Your prediction of the two factors is right."""
    yours = student.checkpoint_factors()
    assert same(yours, reference.checkpoint_factors()), "Not yet. Which steps have been taken at t = 1?"


@check("checkpoint_factor_shape", visible=True)
def test_prediction_of_the_shape(student, reference):
    """Your prediction of the factors' shape is right."""
    yours = student.checkpoint_factor_shape()
    assert same(yours, reference.checkpoint_factor_shape()), "Not yet. From which side does broadcasting match axes?"


@check("checkpoint_calls", visible=True)
def test_prediction_of_the_calls(student, reference):
    """Your prediction of how often noise is added is right, for training and for inference."""
    yours = student.checkpoint_calls()
    assert same(yours, reference.checkpoint_calls()), "Not yet. What does the forward process need that must be there?"


@check("checkpoint_denoiser_inputs", visible=True)
def test_prediction_of_the_inputs(student, reference):
    """Your prediction of what the denoiser is given is right, for training and for inference."""
    yours = student.checkpoint_denoiser_inputs()
    assert same(yours, reference.checkpoint_denoiser_inputs()), "Not yet. What is known when a new picture is made?"


@check("make_betas", visible=True)
def test_linear(compare):
    """The linear schedule runs from beta_start to beta_end, both included."""
    compare.make_betas("linear", 1000)


@check("make_betas", visible=True)
def test_scaled_linear(compare):
    """The scaled linear schedule is linear in √β: these are the betas of Stable Diffusion."""
    compare.make_betas("scaled_linear", 1000, 0.00085, 0.012)


@check("make_betas", visible=True)
def test_cosine(compare):
    """The cosine schedule follows the ratio of neighbouring ᾱ."""
    compare.make_betas("squaredcos_cap_v2", 1000)


@check("make_betas", visible=True)
def test_betas_are_variances(student):
    """Every schedule's betas lie between 0 and 1, neither included, and rise."""
    for kind in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        betas = values(student.make_betas(kind, 40), 40)
        assert ((betas > 0) & (betas < 1)).all(), f"Some betas of {kind!r} are not between 0 and 1."
        assert (betas[1:] > betas[:-1]).all(), f"The betas of {kind!r} do not rise all the way."


@check("make_betas", visible=True)
def test_unknown_kind(compare):
    """A kind that is not known is refused with a ValueError."""
    compare.make_betas("lienar", 10)


@check("make_betas")
def test_linear_with_other_ends(compare, draw):
    """The linear schedule works for any length and any two ends."""
    seed = draw.seed()
    compare.make_betas("linear", 11 + seed % 30, 0.001 + seed % 7 / 1000, beta_end=0.2 + seed % 50 / 100)


@check("make_betas")
def test_scaled_linear_with_other_ends(compare, draw):
    """The scaled linear schedule works for any length and any two ends."""
    seed = draw.seed()
    compare.make_betas(
        "scaled_linear", 12 + seed % 30, beta_start=0.001 + seed % 7 / 1000, beta_end=0.2 + seed % 50 / 100
    )


@check("make_betas")
def test_cosine_of_another_length(compare, draw):
    """The cosine schedule stretches over any number of steps, and its ends are its own."""
    seed = draw.seed()
    compare.make_betas("squaredcos_cap_v2", 30 + seed % 40, 0.01, 0.5)


@check("make_betas")
def test_short_cosine(compare, draw):
    """A cosine schedule of a few steps is right in every entry."""
    seed = draw.seed()
    compare.make_betas("squaredcos_cap_v2", num_train_timesteps=3 + seed % 5)


@check("noise_levels", visible=True)
def test_levels_of_ddpm(compare):
    """On the linear schedule of DDPM, all five are right."""
    compare.noise_levels(linear_betas(1000))


@check("noise_levels", visible=True)
def test_levels_of_large_steps(compare):
    """Steps that add much noise each are where a sum and a product differ."""
    compare.noise_levels(tensor([0.05, 0.2, 0.1, 0.6, 0.3, 0.5]))


@check("noise_levels", visible=True)
def test_squares_of_the_factors(student):
    """The squares of the two factors add up to one at every timestep."""
    levels = student.noise_levels(scaled_linear_betas(100, 0.001, 0.2))
    total = values(entry(levels, "signal"), 100) ** 2 + values(entry(levels, "noise"), 100) ** 2
    assert (abs(total - 1) < 1e-5).all(), "signal² + noise² is not 1 everywhere."


@check("noise_levels")
def test_levels_of_stable_diffusion(compare):
    """On the schedule of Stable Diffusion, all five are right."""
    compare.noise_levels(scaled_linear_betas(1000))


@check("noise_levels")
def test_levels_of_any_betas(compare, draw):
    """Betas need not rise: the levels come from the ones that are given."""
    seed = draw.seed()
    compare.noise_levels(rand(seed, 9) * 0.6 + 0.02)


@check("noise_levels")
def test_levels_of_one_step(compare, draw):
    """A schedule of a single step has levels too."""
    seed = draw.seed()
    compare.noise_levels(rand(seed, 1) * 0.5 + 0.1)


@check("noise_levels")
def test_levels_without_signal(compare, draw):
    """Where the last step leaves no signal, the SNR is nought and its logarithm minus infinity."""
    seed = draw.seed()
    compare.noise_levels(tensor([0.1 + seed % 10 / 100, 0.2 + seed % 7 / 10, 1.0]))


@check("add_noise", visible=True)
def test_one_timestep(compare, draw):
    """At one timestep, x_t is √ᾱ_t·x_0 + √(1−ᾱ_t)·ε."""
    seed = draw.seed()
    x0, noise = randn(seed, 2, 3, 8, 8), randn(seed + 1, 2, 3, 8, 8)
    compare.add_noise(x0, noise, tensor([500, 500]), linear_betas(1000))


@check("add_noise", visible=True)
def test_mixed_timesteps(compare, draw):
    """Every sample of the batch gets the noise level of its own timestep."""
    seed = draw.seed()
    x0, noise = randn(seed, 4, 3, 8, 8), randn(seed + 1, 4, 3, 8, 8)
    compare.add_noise(x0, noise, tensor([0, 250, 500, 999]), linear_betas(1000))


@check("add_noise", visible=True)
def test_first_timestep(compare, draw):
    """t = 0 is the first entry of the schedule: one step of noise has been added, not none and not all."""
    seed = draw.seed()
    x0, noise = randn(seed, 2, 3, 8, 8), randn(seed + 1, 2, 3, 8, 8)
    compare.add_noise(x0, noise, tensor([0, 0]), linear_betas(1000))


@check("add_noise", visible=True)
def test_half_precision_stays_half(compare, draw):
    """A float16 sample comes back as float16, at every noise level."""
    seed = draw.seed()
    x0 = randn(seed, 3, 3, 8, 8).to("float16")
    noise = randn(seed + 1, 3, 3, 8, 8).to("float16")
    compare.add_noise(x0, noise, tensor([20, 400, 900]), linear_betas(1000))


@check("add_noise", visible=True)
def test_first_noise_survives_bfloat16(compare, draw):
    """In bfloat16 the first timesteps still add their little noise."""
    seed = draw.seed()
    x0 = zeros(4, 3, 8, 8).to("bfloat16")
    noise = randn(seed, 4, 3, 8, 8).to("bfloat16")
    compare.add_noise(x0, noise, tensor([3, 5, 7, 9]), linear_betas(1000))


@check("add_noise", visible=True)
def test_any_device(compare, draw):
    """Nothing leaves the device: the same call works where x0, noise and betas live elsewhere (t on the CPU)."""
    seed = draw.seed()
    compare.play(
        "two_devices",
        x0=randn(seed, 2, 3, 8, 8),
        noise=randn(seed + 1, 2, 3, 8, 8),
        t=tensor([10, 700]),
        betas=linear_betas(1000),
    )


@check("add_noise")
def test_last_timestep(compare, draw):
    """At the last timestep hardly any signal is left, and no index runs off the schedule."""
    seed = draw.seed()
    x0, noise = randn(seed, 3, 4, 5, 7), randn(seed + 1, 3, 4, 5, 7)
    compare.add_noise(x0, noise, tensor([999, 0, 999]), linear_betas(1000))


@check("add_noise")
def test_batch_as_long_as_the_last_axis(compare, draw):
    """The factors follow the batch axis, also where another axis has the same length."""
    seed = draw.seed()
    x0, noise = randn(seed, 4, 4, 4, 4), randn(seed + 1, 4, 4, 4, 4)
    compare.add_noise(x0, noise, tensor([40, 333, 600, 870]), linear_betas(1000))


@check("add_noise")
def test_sequences(compare, draw):
    """A batch of sequences (B, L, D) is noised like a batch of images."""
    seed = draw.seed()
    x0, noise = randn(seed, 3, 7, 5), randn(seed + 1, 3, 7, 5)
    compare.add_noise(x0, noise, tensor([700, 100, 300]), linear_betas(1000))


@check("add_noise")
def test_videos(compare, draw):
    """A batch of videos (B, C, F, H, W) is noised like a batch of images."""
    seed = draw.seed()
    x0, noise = randn(seed, 2, 3, 2, 5, 7), randn(seed + 1, 2, 3, 2, 5, 7)
    compare.add_noise(x0, noise, tensor([150, 850]), linear_betas(1000))


@check("add_noise")
def test_another_schedule(compare, draw):
    """The noise level comes from the betas that are given, whatever their number and form."""
    seed = draw.seed()
    x0, noise = randn(seed, 5, 2, 6, 3), randn(seed + 1, 5, 2, 6, 3)
    compare.add_noise(x0, noise, tensor([49, 7, 0, 23, 24]), scaled_linear_betas(50, 0.01, 0.3))


@check("add_noise")
def test_strided_samples(compare, draw):
    """A sample that is not contiguous in memory is noised all the same."""
    seed = draw.seed()
    x0 = randn(seed, 3, 3, 8, 5).transpose(1, 3)
    noise = randn(seed + 1, 3, 5, 8, 3)
    compare.add_noise(x0, noise, tensor([5, 450, 950]), linear_betas(1000))


@check("add_noise")
def test_single_sample(compare, draw):
    """A batch of one works."""
    seed = draw.seed()
    x0, noise = randn(seed, 1, 3, 5, 7), randn(seed + 1, 1, 3, 5, 7)
    compare.add_noise(x0, noise, tensor([321]), scaled_linear_betas(1000))


@check("add_noise")
def test_first_noise_survives_float16(compare, draw):
    """In float16 the first timesteps still add their little noise."""
    seed = draw.seed()
    x0 = zeros(3, 3, 5, 7).to("float16")
    noise = randn(seed, 3, 3, 5, 7).to("float16")
    compare.add_noise(x0, noise, tensor([0, 1, 2]), linear_betas(1000))


@check("add_noise")
def test_bfloat16_stays_bfloat16(compare, draw):
    """A bfloat16 sample comes back as bfloat16, at every noise level."""
    seed = draw.seed()
    x0 = randn(seed, 4, 2, 6, 6).to("bfloat16")
    noise = randn(seed + 1, 4, 2, 6, 6).to("bfloat16")
    compare.add_noise(x0, noise, tensor([1, 60, 450, 990]), scaled_linear_betas(1000))


@check("add_noise")
def test_any_device_in_half_precision(compare, draw):
    """Nothing leaves the device in half precision either."""
    seed = draw.seed()
    compare.play(
        "two_devices",
        x0=randn(seed, 3, 4, 6).to("bfloat16"),
        noise=randn(seed + 1, 3, 4, 6).to("bfloat16"),
        t=tensor([0, 30, 49]),
        betas=scaled_linear_betas(50),
    )


@check("add_noise")
def test_gradients_pass(compare, draw):
    """Gradients reach x0 and the noise, scaled by the two factors."""
    seed = draw.seed()
    compare.play(
        "gradients",
        x0=randn(seed, 3, 2, 5, 5),
        noise=randn(seed + 1, 3, 2, 5, 5),
        t=tensor([80, 480, 880]),
        betas=linear_betas(1000),
    )


@check("training_target", visible=True)
def test_epsilon(compare, draw):
    """For "epsilon" the target is the noise."""
    seed = draw.seed()
    x0, noise = randn(seed, 3, 3, 8, 8), randn(seed + 1, 3, 3, 8, 8)
    compare.training_target("epsilon", x0, noise, tensor([10, 500, 900]), linear_betas(1000))


@check("training_target", visible=True)
def test_sample(compare, draw):
    """For "sample" the target is the clean sample."""
    seed = draw.seed()
    x0, noise = randn(seed, 3, 3, 8, 8), randn(seed + 1, 3, 3, 8, 8)
    compare.training_target("sample", x0, noise, tensor([10, 500, 900]), linear_betas(1000))


@check("training_target", visible=True)
def test_v_prediction(compare, draw):
    """For "v_prediction" the target is √ᾱ_t·ε − √(1−ᾱ_t)·x_0, each sample at its own level."""
    seed = draw.seed()
    x0, noise = randn(seed, 4, 3, 8, 8), randn(seed + 1, 4, 3, 8, 8)
    compare.training_target("v_prediction", x0, noise, tensor([0, 150, 400, 999]), linear_betas(1000))


@check("training_target", visible=True)
def test_unknown_prediction_type(compare, draw):
    """A prediction type that is not known is refused with a ValueError."""
    seed = draw.seed()
    x0, noise = randn(seed, 1, 2, 4), randn(seed + 1, 1, 2, 4)
    compare.training_target("velocity", x0, noise, tensor([5]), linear_betas(10))


@check("training_target")
def test_epsilon_of_sequences(compare, draw):
    """For "epsilon" the target is the noise, in half precision and for sequences too."""
    seed = draw.seed()
    x0, noise = randn(seed, 4, 4, 5).to("bfloat16"), randn(seed + 1, 4, 4, 5).to("bfloat16")
    compare.training_target("epsilon", x0, noise, tensor([49, 3, 3, 20]), scaled_linear_betas(50, 0.01, 0.3))


@check("training_target")
def test_sample_of_sequences(compare, draw):
    """For "sample" the target is the clean sample, in half precision and for sequences too."""
    seed = draw.seed()
    x0, noise = randn(seed, 4, 4, 5).to("float16"), randn(seed + 1, 4, 4, 5).to("float16")
    compare.training_target("sample", x0, noise, tensor([49, 3, 3, 20]), scaled_linear_betas(50, 0.01, 0.3))


@check("training_target")
def test_v_of_any_shape(compare, draw):
    """v is right for any number of axes, also where the last is as long as the batch."""
    seed = draw.seed()
    betas = scaled_linear_betas(50, 0.01, 0.3)
    for shape in ((4, 4, 4, 4), (4, 5, 4), (4, 2, 3, 5, 4)):
        compare.training_target(
            "v_prediction", randn(seed, *shape), randn(seed + 1, *shape), tensor([30, 0, 8, 45]), betas
        )


@check("training_target")
def test_v_in_half_precision(compare, draw):
    """In half precision v keeps its dtype, and what little of x_0 it holds at the first timesteps."""
    seed = draw.seed()
    for dtype in ("float16", "bfloat16"):
        x0, noise = randn(seed, 4, 3, 5, 7).to(dtype), zeros(4, 3, 5, 7).to(dtype)
        compare.training_target("v_prediction", x0, noise, tensor([1, 4, 300, 990]), linear_betas(1000))


@check("zero_terminal_snr", visible=True)
def test_stable_diffusion_rescaled(compare):
    """The schedule of Stable Diffusion is rescaled as in the paper."""
    compare.zero_terminal_snr(scaled_linear_betas(1000))


@check("zero_terminal_snr", visible=True)
def test_noisy_first_step(compare):
    """A schedule whose first step adds much noise keeps its first level."""
    compare.zero_terminal_snr(tensor([0.3, 0.1, 0.2, 0.25, 0.4]))


@check("zero_terminal_snr", visible=True)
def test_both_ends(student):
    """The last beta is exactly 1, and the first one is what it was."""
    betas = values(student.zero_terminal_snr(linear_betas(50, 0.05, 0.3)), 50)
    assert betas[-1] == 1, "Some signal is left after the last step: its beta is not exactly 1."
    assert abs(betas[0] - 0.05) < 1e-5, "The first beta has changed."


@check("zero_terminal_snr")
def test_ddpm_rescaled(compare):
    """The linear schedule of DDPM is rescaled as in the paper."""
    compare.zero_terminal_snr(linear_betas(1000))


@check("zero_terminal_snr")
def test_any_betas_rescaled(compare, draw):
    """Betas need not rise to be rescaled."""
    seed = draw.seed()
    compare.zero_terminal_snr(rand(seed, 12) * 0.4 + 0.05)


@check("zero_terminal_snr")
def test_two_steps_rescaled(compare, draw):
    """Two steps are enough: the first stays, the second ends at zero."""
    seed = draw.seed()
    compare.zero_terminal_snr(rand(seed, 2) * 0.4 + 0.2)


@check("zero_terminal_snr")
def test_already_at_zero(compare, draw):
    """A schedule that ends at zero already stays as it is."""
    seed = draw.seed()
    compare.zero_terminal_snr(tensor([0.2, 0.1 + seed % 50 / 100, 0.3, 1.0]))


@check("flow_matching_pair", visible=True)
def test_mixed_sigmas(compare, draw):
    """Every sample of the batch is mixed at its own σ."""
    seed = draw.seed()
    x0, noise = randn(seed, 4, 3, 8, 8), randn(seed + 1, 4, 3, 8, 8)
    compare.flow_matching_pair(x0, noise, tensor([0.1, 0.35, 0.7, 0.95]))


@check("flow_matching_pair", visible=True)
def test_both_ends_of_the_path(compare, draw):
    """σ = 0 is the data, σ = 1 is the noise, and the velocity is the same at both."""
    seed = draw.seed()
    x0, noise = randn(seed, 2, 3, 8, 8), randn(seed + 1, 2, 3, 8, 8)
    compare.flow_matching_pair(x0, noise, tensor([0.0, 1.0]))


@check("flow_matching_pair", visible=True)
def test_another_scale_of_timesteps(compare, draw):
    """The timestep is σ on the scale that is asked for."""
    seed = draw.seed()
    x0, noise = randn(seed, 2, 4), randn(seed + 1, 2, 4)
    compare.flow_matching_pair(x0, noise, tensor([0.25, 0.6]), num_train_timesteps=50)


@check("flow_matching_pair", visible=True)
def test_half_precision_of_the_pair(compare, draw):
    """A half-precision sample gives a half-precision x_t and target; the timestep stays float32."""
    seed = draw.seed()
    x0, noise = randn(seed, 3, 2, 6).to("float16"), randn(seed + 1, 3, 2, 6).to("float16")
    compare.flow_matching_pair(x0, noise, tensor([0.2, 0.5, 0.9]))


@check("flow_matching_pair")
def test_pair_of_any_shape(compare, draw):
    """σ follows the batch axis, whatever the number of axes and also where another has the same length."""
    seed = draw.seed()
    for shape in ((4, 4, 4, 4), (4, 5, 4), (4, 2, 3, 5, 4)):
        compare.flow_matching_pair(randn(seed, *shape), randn(seed + 1, *shape), rand(seed + 2, 4))


@check("flow_matching_pair")
def test_pair_in_bfloat16(compare, draw):
    """bfloat16 stays bfloat16."""
    seed = draw.seed()
    x0, noise = randn(seed, 3, 5, 7).to("bfloat16"), randn(seed + 1, 3, 5, 7).to("bfloat16")
    compare.flow_matching_pair(x0, noise, tensor([0.02, 0.4, 0.85]), 250)


@check("flow_matching_pair")
def test_back_along_the_path(student, draw):
    """Walking back from x_t by σ times the velocity leads to x_0."""
    seed = draw.seed()
    x0, noise, sigma = randn(seed, 3, 6), randn(seed + 1, 3, 6), [0.15, 0.45, 0.8]
    example = student.flow_matching_pair(x0, noise, tensor(sigma))
    begin = student.flow_matching_pair(x0, noise, zeros(3))
    x_t, target = values(entry(example, "x_t"), 3, 6), values(entry(example, "target"), 3, 6)
    error = x_t - np.array(sigma)[:, None] * target - values(entry(begin, "x_t"), 3, 6)
    assert (abs(error) < 1e-4).all(), "x_t − σ·target is not the x_t at the beginning of the path."


@check("min_snr_weights", visible=True)
def test_weights_for_epsilon(compare):
    """For "epsilon": min(SNR, γ)/SNR, which is 1 for noisy samples and falls for nearly clean ones."""
    compare.min_snr_weights(tensor([3, 120, 300, 600, 990]), linear_betas(1000), 5.0, "epsilon")


@check("min_snr_weights", visible=True)
def test_weights_for_v(compare):
    """For "v_prediction": min(SNR, γ)/(SNR + 1)."""
    compare.min_snr_weights(tensor([3, 120, 300, 600, 990]), linear_betas(1000), 5.0, "v_prediction")


@check("min_snr_weights", visible=True)
def test_weights_for_sample(compare):
    """For "sample": min(SNR, γ)."""
    compare.min_snr_weights(tensor([3, 120, 300, 600, 990]), linear_betas(1000), 5.0, "sample")


@check("min_snr_weights", visible=True)
def test_weights_of_unknown_type(compare):
    """A prediction type that is not known is refused with a ValueError."""
    compare.min_snr_weights(tensor([3]), linear_betas(10), 5.0, "velocity")


@check("min_snr_weights")
def test_another_gamma_for_epsilon(compare, draw):
    """Another γ moves the level from which the weight of "epsilon" falls."""
    seed = draw.seed()
    compare.min_snr_weights(spread(seed), scaled_linear_betas(1000), 0.5 + seed % 16, "epsilon")


@check("min_snr_weights")
def test_another_gamma_for_v(compare, draw):
    """Another γ moves the level from which the weight of "v_prediction" falls."""
    seed = draw.seed()
    compare.min_snr_weights(spread(seed), scaled_linear_betas(1000), 0.5 + seed % 16, "v_prediction")


@check("min_snr_weights")
def test_another_gamma_for_sample(compare, draw):
    """Another γ caps the weight of "sample" elsewhere."""
    seed = draw.seed()
    compare.min_snr_weights(spread(seed), scaled_linear_betas(1000), 0.5 + seed % 16, "sample")


@check("min_snr_weights")
def test_weight_without_signal(compare, draw):
    """Where no signal is left, v still has a finite weight."""
    seed = draw.seed()
    betas = tensor([0.1 + seed % 30 / 100, 0.3, 0.6, 1.0])
    compare.min_snr_weights(tensor([3, 0, 3, 2]), betas, 1.5, "v_prediction")


@check("training_loss", visible=True)
def test_loss_of_epsilon(compare, draw):
    """One step of training for "epsilon": what the model is given, the loss, and the gradient."""
    seed = draw.seed()
    play_training(compare, seed, (4, 3, 6, 6), [0, 200, 500, 999], "epsilon")


@check("training_loss", visible=True)
def test_loss_of_v(compare, draw):
    """One step of training for "v_prediction"."""
    seed = draw.seed()
    play_training(compare, seed, (4, 3, 6, 6), [0, 200, 500, 999], "v_prediction")


@check("training_loss", visible=True)
def test_weighted_loss(compare, draw):
    """With a γ, each sample's loss is weighted before the mean over the batch."""
    seed = draw.seed()
    play_training(compare, seed, (4, 3, 6, 6), [40, 120, 400, 900], "epsilon", gamma=5.0)


@check("training_loss", visible=True)
def test_loss_of_unknown_type(compare, draw):
    """A prediction type that is not known is refused with a ValueError."""
    seed = draw.seed()
    play_training(compare, seed, (2, 3, 4), [10, 20], "velocity")


@check("training_loss")
def test_loss_of_sample(compare, draw):
    """One step of training for "sample", on sequences."""
    seed = draw.seed()
    play_training(compare, seed, (3, 5, 7), [900, 30, 450], "sample")


@check("training_loss")
def test_weighted_loss_of_sample(compare, draw):
    """With a γ, "sample" has the weights of its own."""
    seed = draw.seed()
    play_training(compare, seed, (5, 2, 5, 3), [10, 700, 250, 90, 500], "sample", gamma=2.5)


@check("training_loss")
def test_weighted_loss_of_v(compare, draw):
    """With a γ, "v_prediction" has the weights of its own, for videos too."""
    seed = draw.seed()
    play_training(compare, seed, (3, 2, 3, 4, 5), [15, 60, 600], "v_prediction", gamma=8.0)


@check("training_loss")
def test_batch_as_long_as_the_width(compare, draw):
    """Levels and weights follow the batch axis, also where another has the same length."""
    seed = draw.seed()
    play_training(compare, seed, (4, 4, 4, 4), [999, 20, 300, 100], "v_prediction", gamma=1.0)


@check("training_loss")
def test_loss_of_one_sample(compare, draw):
    """A batch of one works."""
    seed = draw.seed()
    play_training(compare, seed, (1, 3, 4, 5), [333], "epsilon")


def play_training(
    compare, seed: int, shape: tuple[int, ...], t: list[int], prediction_type: str, gamma: Any = None
) -> None:
    """Compare one training step on a small model, see `train` in scenarios.py."""
    compare.play(
        "train",
        weight=randn(seed + 2, shape[1], shape[1]),
        x0=randn(seed, *shape),
        noise=randn(seed + 1, *shape),
        t=tensor(t),
        betas=linear_betas(1000),
        prediction_type=prediction_type,
        gamma=gamma,
    )
