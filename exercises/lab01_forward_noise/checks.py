"""Checks of lab 01. The docstring of a check is the sentence that a student reads."""

from typing import Any

from grader.kit import check, entry, linear_betas, part, scaled_linear_betas, tensor, values, zeros

DDPM = linear_betas(1000)
STABLE_DIFFUSION = scaled_linear_betas(1000)
STEEP = scaled_linear_betas(50, 0.01, 0.3)
KINDS = ("linear", "scaled_linear", "squaredcos_cap_v2")
# Four samples each, with another number of axes: the batch is as long as the last axis, or as every one.
SHAPES = ((4, 4, 4, 4), (4, 5, 4), (4, 2, 3, 5, 4))


def cast(dtype: str, tensors: list[Any]) -> list[Any]:
    """Return recipes of another dtype."""
    return [one.to(dtype) for one in tensors]


def large(draw: Any, ratio: float) -> list[Any]:
    """Return x_0 and ε in bfloat16, both large, whose shares in the result nearly cancel: ε is x_0 times `ratio`.

    What is rounded before the two terms meet is then an error of the result, not of its last digit.
    """
    x0 = draw.uniform(2, 3, 5) * 500.0 + 500.0
    return cast("bfloat16", [x0, x0 * ratio])


# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_factors", visible=True, tells="Not yet. Which steps have been taken at t = 1?")
def test_prediction_of_the_factors(compare):
    """Prediction: the two factors at t = 1."""
    compare.checkpoint_factors()


@check("checkpoint_factor_shape", visible=True, tells="Not yet. From which side does broadcasting match axes?")
def test_prediction_of_the_shape(compare):
    """Prediction: the shape of a batch's factors."""
    compare.checkpoint_factor_shape()


@check("checkpoint_calls", visible=True, tells="Not yet. What does the forward process need that must be there?")
def test_prediction_of_the_calls(compare):
    """Prediction: how often noise is added, in training and at inference."""
    compare.checkpoint_calls()


@check("checkpoint_denoiser_inputs", visible=True, tells="Not yet. What is known when a new picture is made?")
def test_prediction_of_the_inputs(compare):
    """Prediction: what the denoiser is given, in training and at inference."""
    compare.checkpoint_denoiser_inputs()


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


@check("make_betas", visible=True, property=True)
def test_betas_are_variances(student):
    """Every schedule's betas lie between 0 and 1, neither included, and rise, however few they are."""
    for kind in KINDS:
        for length in (40, 10):
            betas = values(student.make_betas(kind, length), length)
            assert ((betas > 0) & (betas < 1)).all(), f"Some of {length} betas of {kind!r} are not between 0 and 1."
            assert (betas[1:] > betas[:-1]).all(), f"The {length} betas of {kind!r} do not rise all the way."


@check("make_betas", visible=True, property=True)
def test_unknown_kind(compare):
    """A kind that is not known is refused with a ValueError, also where it is nearly one that is."""
    for kind in ("lienar", "Linear", "linear_v2", "cosine", ""):
        compare.make_betas(kind, 10)


@check("make_betas", weight=2)
def test_ramps_of_other_lengths(compare, draw):
    """The two ramps work for any two ends and any length, one call after the other."""
    for kind in ("linear", "scaled_linear"):
        for length in (draw.whole(3, 6), draw.whole(11, 60)):
            compare.make_betas(kind, length, draw.real(0.001, 0.007), beta_end=draw.real(0.2, 0.7))


@check("make_betas", weight=2)
def test_cosines_of_other_lengths(compare, draw):
    """The cosine schedule has ends of its own and stretches over any number of steps, few or many."""
    for length in (draw.whole(3, 6), draw.whole(7, 10), draw.whole(30, 69)):
        compare.make_betas("squaredcos_cap_v2", num_train_timesteps=length, beta_start=0.01)


@check("noise_levels", visible=True)
def test_levels_of_ddpm(compare):
    """On the linear schedule of DDPM, all five are right."""
    compare.noise_levels(DDPM)


@check("noise_levels", visible=True)
def test_levels_of_large_steps(compare):
    """Steps that add much noise each are where a sum and a product differ."""
    compare.noise_levels(tensor([0.05, 0.2, 0.1, 0.6, 0.3, 0.5]))


@check("noise_levels", visible=True, property=True)
def test_squares_of_the_factors(student):
    """The squares of the two factors add up to one at every timestep."""
    levels = student.noise_levels(scaled_linear_betas(100, 0.001, 0.2))
    total = values(entry(levels, "signal"), 100) ** 2 + values(entry(levels, "noise"), 100) ** 2
    assert (abs(total - 1) < 1e-5).all(), "signal² + noise² is not 1 everywhere."


@check("noise_levels", weight=2)
def test_levels_of_any_betas(compare, draw):
    """Betas need not rise, and may be few: the levels come from the ones that are given, call by call."""
    for length in (9, 14, 1):
        compare.noise_levels(draw.uniform(length) * 0.6 + 0.02)


@check("noise_levels", weight=2)
def test_levels_without_signal(compare, draw):
    """Where the last step leaves no signal, the SNR is nought and its logarithm minus infinity."""
    compare.noise_levels(tensor([draw.real(0.1, 0.2), draw.real(0.2, 0.8), 1.0]))


@check("add_noise", visible=True)
def test_one_timestep(compare, draw):
    """At one timestep, x_t is √ᾱ_t·x_0 + √(1−ᾱ_t)·ε."""
    compare.add_noise(*draw.normals(2, 2, 3, 8, 8), tensor([500, 500]), DDPM)


@check("add_noise", visible=True)
def test_mixed_timesteps(compare, draw):
    """Every sample of the batch gets the noise level of its own timestep."""
    compare.add_noise(*draw.normals(2, 4, 3, 8, 8), tensor([0, 250, 500, 999]), DDPM)


@check("add_noise", visible=True)
def test_first_timestep(compare, draw):
    """t = 0 is the first entry of the schedule: one step of noise has been added, not none and not all."""
    compare.add_noise(*draw.normals(2, 2, 3, 8, 8), tensor([0, 0]), DDPM)


@check("add_noise", visible=True)
def test_half_precision_stays_half(compare, draw):
    """A float16 sample comes back as float16, at every noise level."""
    compare.add_noise(*cast("float16", draw.normals(2, 3, 3, 8, 8)), tensor([20, 400, 900]), DDPM)


@check("add_noise", visible=True)
def test_first_noise_survives_bfloat16(compare, draw):
    """In bfloat16 the first timesteps still add their little noise."""
    x0, noise = cast("bfloat16", [zeros(4, 3, 8, 8), draw.normal(4, 3, 8, 8)])
    compare.add_noise(x0, noise, tensor([3, 5, 7, 9]), DDPM)


@check("add_noise", visible=True)
def test_only_the_result_is_rounded(compare, draw):
    """In bfloat16, where large terms nearly cancel, what is left is as exact as the inputs allow."""
    compare.add_noise(*large(draw, -1.23), tensor([220, 220]), DDPM)


@check("add_noise", visible=True)
def test_any_device(compare, draw):
    """Nothing leaves the device: the same call works where all four inputs live elsewhere."""
    x0, noise = draw.normals(2, 2, 3, 8, 8)
    compare.play("two_devices", x0=x0, noise=noise, t=tensor([10, 700]), betas=DDPM)


@check("add_noise", weight=2)
def test_any_number_of_axes(compare, draw):
    """The factors follow the batch axis of sequences, images and videos, also where another has the same length."""
    for shape in (*SHAPES, (1, 3, 5, 7)):
        compare.add_noise(*draw.normals(2, *shape), tensor([999, 40, 333, 870][: shape[0]]), DDPM)


@check("add_noise", weight=2)
def test_another_schedule(compare, draw):
    """The noise level comes from the betas that are given, call by call, whatever their number and form."""
    compare.add_noise(*draw.normals(2, 5, 2, 6, 3), tensor([49, 7, 0, 23, 24]), STEEP)
    compare.add_noise(*cast("float16", draw.normals(2, 3, 4, 5)), tensor([19, 2, 7]), linear_betas(20, 0.02, 0.2))


@check("add_noise")
def test_strided_samples(compare, draw):
    """A sample that is not contiguous in memory is noised all the same."""
    x0 = draw.normal(3, 3, 8, 5).transpose(1, 3)
    compare.add_noise(x0, draw.normal(3, 5, 8, 3), tensor([5, 450, 950]), DDPM)


@check("add_noise")
def test_both_half_precisions(compare, draw):
    """Either half precision stays what it is, and still gets the little noise of the first timesteps."""
    for dtype, t in (("float16", [0, 1, 2, 500]), ("bfloat16", [1, 60, 450, 990])):
        for x0 in (zeros(4, 2, 6, 6), draw.normal(4, 2, 6, 6)):
            compare.add_noise(*cast(dtype, [x0, draw.normal(4, 2, 6, 6)]), tensor(t), DDPM)


@check("add_noise")
def test_gradients_pass(compare, draw):
    """Gradients reach x0 and the noise, scaled by the two factors."""
    x0, noise = draw.normals(2, 3, 2, 5, 5)
    compare.play("gradients", x0=x0, noise=noise, t=tensor([80, 480, 880]), betas=DDPM)


@check("training_target", visible=True)
def test_epsilon(compare, draw):
    """For "epsilon" the target is the noise."""
    compare.training_target("epsilon", *draw.normals(2, 3, 3, 8, 8), tensor([10, 500, 900]), DDPM)


@check("training_target", visible=True)
def test_sample(compare, draw):
    """For "sample" the target is the clean sample."""
    compare.training_target("sample", *draw.normals(2, 3, 3, 8, 8), tensor([10, 500, 900]), DDPM)


@check("training_target", visible=True)
def test_v_prediction(compare, draw):
    """For "v_prediction" the target is √ᾱ_t·ε − √(1−ᾱ_t)·x_0, each sample at its own level."""
    compare.training_target("v_prediction", *draw.normals(2, 4, 3, 8, 8), tensor([0, 150, 400, 999]), DDPM)


@check("training_target", visible=True, property=True)
def test_unknown_prediction_type(compare, draw):
    """A prediction type that is not known is refused with a ValueError, also where it is nearly one that is."""
    for prediction_type in ("velocity", "Epsilon", "eps", "v", "x0_sample"):
        compare.training_target(prediction_type, *draw.normals(2, 1, 2, 4), tensor([5]), linear_betas(10))


@check("training_target")
def test_plain_targets_of_sequences(compare, draw):
    """For "epsilon" the target is the noise and for "sample" the clean sample, in half precision too."""
    for prediction_type, dtype in (("epsilon", "bfloat16"), ("sample", "float16")):
        compare.training_target(prediction_type, *cast(dtype, draw.normals(2, 4, 4, 5)), tensor([49, 3, 3, 20]), STEEP)


@check("training_target")
def test_v_of_any_shape(compare, draw):
    """v is right for any number of axes and for any betas, call by call."""
    for shape, betas in zip(SHAPES, (STEEP, linear_betas(80, 0.001, 0.1), STEEP), strict=True):
        compare.training_target("v_prediction", *draw.normals(2, *shape), tensor([30, 0, 8, 45]), betas)


@check("training_target")
def test_v_in_half_precision(compare, draw):
    """In half precision v keeps its dtype, and what little of x_0 it holds at the first timesteps."""
    for dtype in ("float16", "bfloat16"):
        x0, noise = cast(dtype, [draw.normal(4, 3, 5, 7), zeros(4, 3, 5, 7)])
        compare.training_target("v_prediction", x0, noise, tensor([1, 4, 300, 990]), DDPM)


@check("training_target")
def test_only_v_is_rounded(compare, draw):
    """In bfloat16, where the large terms of v nearly cancel, what is left is as exact as the inputs allow."""
    compare.training_target("v_prediction", *large(draw, 0.813), tensor([220, 220]), DDPM)


@check("zero_terminal_snr", visible=True)
def test_stable_diffusion_rescaled(compare):
    """The schedule of Stable Diffusion is rescaled as in the paper."""
    compare.zero_terminal_snr(STABLE_DIFFUSION)


@check("zero_terminal_snr", visible=True)
def test_noisy_first_step(compare):
    """A schedule whose first step adds much noise keeps its first level."""
    compare.zero_terminal_snr(tensor([0.3, 0.1, 0.2, 0.25, 0.4]))


@check("zero_terminal_snr", visible=True, property=True)
def test_both_ends(student):
    """The last beta is exactly 1, and the first one is what it was."""
    betas = values(student.zero_terminal_snr(linear_betas(50, 0.05, 0.3)), 50)
    assert betas[-1] == 1, "Some signal is left after the last step: its beta is not exactly 1."
    assert abs(betas[0] - 0.05) < 1e-5, "The first beta has changed."


@check("zero_terminal_snr", weight=2)
def test_any_betas_rescaled(compare, draw):
    """Betas need not rise to be rescaled, and two steps are enough, one schedule after the other."""
    for length in (12, 7, 2):
        compare.zero_terminal_snr(draw.uniform(length) * 0.4 + 0.05)


@check("zero_terminal_snr", weight=2)
def test_already_at_zero(compare, draw):
    """A schedule that ends at zero already stays as it is."""
    compare.zero_terminal_snr(tensor([0.2, draw.real(0.1, 0.6), 0.3, 1.0]))


@check("flow_matching_pair", visible=True)
def test_mixed_sigmas(compare, draw):
    """Every sample of the batch is mixed at its own σ."""
    compare.flow_matching_pair(*draw.normals(2, 4, 3, 8, 8), tensor([0.1, 0.35, 0.7, 0.95]))


@check("flow_matching_pair", visible=True)
def test_both_ends_of_the_path(compare, draw):
    """σ = 0 is the data, σ = 1 is the noise, and the velocity is the same at both."""
    compare.flow_matching_pair(*draw.normals(2, 2, 3, 8, 8), tensor([0.0, 1.0]))


@check("flow_matching_pair", visible=True)
def test_another_scale_of_timesteps(compare, draw):
    """The timestep is σ on the scale that is asked for."""
    compare.flow_matching_pair(*draw.normals(2, 2, 4), tensor([0.25, 0.6]), num_train_timesteps=50)


@check("flow_matching_pair", visible=True)
def test_half_precision_of_the_pair(compare, draw):
    """A half-precision sample gives a half-precision x_t and target; the timestep stays float32."""
    compare.flow_matching_pair(*cast("float16", draw.normals(2, 3, 2, 6)), tensor([0.2, 0.5, 0.9]))


@check("flow_matching_pair", weight=2)
def test_pair_of_any_shape(compare, draw):
    """σ follows the batch axis, whatever the number of axes, call by call."""
    for shape in SHAPES:
        compare.flow_matching_pair(*draw.normals(2, *shape), draw.uniform(4), draw.whole(200, 400))


@check("flow_matching_pair", weight=2)
def test_pair_in_half_precision(compare, draw):
    """Either half precision stays what it is."""
    for dtype, shape in (("bfloat16", (3, 5, 7)), ("float16", (3, 6))):
        compare.flow_matching_pair(*cast(dtype, draw.normals(2, *shape)), tensor([0.02, 0.4, 0.85]), 250)


@check("min_snr_weights", visible=True)
def test_weights_for_epsilon(compare):
    """For "epsilon": min(SNR, γ)/SNR, which is 1 for noisy samples and falls for nearly clean ones."""
    compare.min_snr_weights(tensor([3, 120, 300, 600, 990]), DDPM, 5.0, "epsilon")


@check("min_snr_weights", visible=True)
def test_weights_for_v(compare):
    """For "v_prediction": min(SNR, γ)/(SNR + 1)."""
    compare.min_snr_weights(tensor([3, 120, 300, 600, 990]), DDPM, 5.0, "v_prediction")


@check("min_snr_weights", visible=True)
def test_weights_for_sample(compare):
    """For "sample": min(SNR, γ)."""
    compare.min_snr_weights(tensor([3, 120, 300, 600, 990]), DDPM, 5.0, "sample")


@check("min_snr_weights", visible=True, property=True)
def test_weights_of_unknown_type(compare):
    """A prediction type that is not known is refused with a ValueError, also where it is nearly one that is."""
    for prediction_type in ("velocity", "Epsilon", "eps", "v", "x0_sample"):
        compare.min_snr_weights(tensor([3]), linear_betas(10), 5.0, prediction_type)


@check("min_snr_weights")
def test_another_gamma_for_epsilon(compare, draw):
    """Another γ moves the level from which the weight of "epsilon" falls."""
    compare_gammas(compare, draw, "epsilon")


@check("min_snr_weights")
def test_another_gamma_for_v(compare, draw):
    """Another γ moves the level from which the weight of "v_prediction" falls."""
    compare_gammas(compare, draw, "v_prediction")


@check("min_snr_weights")
def test_another_gamma_for_sample(compare, draw):
    """Another γ caps the weight of "sample" elsewhere."""
    compare_gammas(compare, draw, "sample")


@check("min_snr_weights")
def test_weight_without_signal(compare, draw):
    """Where no signal is left, v still has a finite weight."""
    betas = tensor([draw.real(0.1, 0.4), 0.3, 0.6, 1.0])
    compare.min_snr_weights(tensor([3, 0, 3, 2]), betas, 1.5, "v_prediction")


@check("training_loss", visible=True)
def test_loss_of_epsilon(compare, draw):
    """One step of training for "epsilon": the loss, and its gradient in the model's weight."""
    compare_training(compare, draw, (4, 3, 6, 6), [0, 200, 500, 999], "epsilon")


@check("training_loss", visible=True)
def test_loss_of_v(compare, draw):
    """One step of training for "v_prediction"."""
    compare_training(compare, draw, (4, 3, 6, 6), [0, 200, 500, 999], "v_prediction")


@check("training_loss", visible=True)
def test_weighted_loss(compare, draw):
    """With a γ, each sample's loss is weighted before the mean over the batch."""
    compare_training(compare, draw, (4, 3, 6, 6), [40, 120, 400, 900], "epsilon", gamma=5.0)


@check("training_loss", visible=True, reported=True, subject="What the model was given")
def test_what_the_model_is_given(compare, draw):
    """The model is called once, with the noisy samples and with t as it is given."""
    compare_training(compare, draw, (4, 3, 6, 6), [0, 200, 500, 999], "epsilon", looks_at="calls")


@check("training_loss", visible=True, property=True)
def test_loss_leaves_the_model_alone(compare, draw):
    """The gradient is the caller's to ask for: none is left in the model."""
    compare_training(compare, draw, (2, 3, 4), [10, 700], "epsilon", looks_at="left_in_the_model")


@check("training_loss", visible=True, property=True)
def test_loss_of_unknown_type(compare, draw):
    """A prediction type that is not known is refused with a ValueError, with a γ and without."""
    for prediction_type in ("velocity", "Epsilon", "v"):
        for gamma in (None, 5.0):
            compare_training(compare, draw, (2, 3, 4), [10, 20], prediction_type, gamma)


@check("training_loss")
def test_loss_of_sample(compare, draw):
    """One step of training for "sample", on sequences, and on a batch of one."""
    compare_training(compare, draw, (3, 5, 7), [900, 30, 450], "sample")
    compare_training(compare, draw, (1, 3, 4, 5), [333], "sample")


@check("training_loss", weight=2)
def test_weighted_loss_of_sample(compare, draw):
    """With a γ, "sample" has the weights of its own."""
    compare_training(compare, draw, (5, 2, 5, 3), [10, 700, 250, 90, 500], "sample", gamma=2.5)


@check("training_loss", weight=2)
def test_weighted_loss_of_v(compare, draw):
    """With a γ, "v_prediction" has the weights of its own, for videos too."""
    compare_training(compare, draw, (3, 2, 3, 4, 5), [15, 60, 600], "v_prediction", gamma=8.0)


@check("training_loss")
def test_batch_as_long_as_the_width(compare, draw):
    """Levels and weights follow the batch axis, also where another has the same length, call by call."""
    compare_training(compare, draw, (4, 4, 4, 4), [999, 20, 300, 100], "v_prediction", gamma=1.0)
    compare_training(compare, draw, (4, 5, 4), [49, 20, 3, 0], "v_prediction", gamma=2.0, betas=STEEP)


def compare_gammas(compare: Any, draw: Any, prediction_type: str) -> None:
    """Compare weights under a small γ and a large one, each on both sides of the SNR that it caps.

    The first timestep of either list has an SNR above 17, the last one below 1.
    """
    for gamma, betas, last in ((draw.real(0.5, 3.5), STABLE_DIFFUSION, 999), (draw.real(8.0, 16.0), STEEP, 49)):
        first = draw.whole(10, 40) if last == 999 else 0
        compare.min_snr_weights(tensor([first, last // 4, last // 2, last]), betas, gamma, prediction_type)


def compare_training(
    compare: Any,
    draw: Any,
    shape: tuple[int, ...],
    t: list[int],
    prediction_type: str,
    gamma: float | None = None,
    looks_at: str | None = None,
    betas: Any = DDPM,
) -> None:
    """Compare one training step on a small model, see `train` in scenarios.py: loss and gradient, or `looks_at`."""
    x0, noise = draw.normals(2, *shape)
    compare.play(
        "train",
        view=part(looks_at) if looks_at else part("loss", "gradient"),
        weight=draw.normal(shape[1], shape[1]),
        x0=x0,
        noise=noise,
        t=tensor(t),
        betas=betas,
        prediction_type=prediction_type,
        gamma=gamma,
    )
