"""Checks of lab 01. The docstring of a check is the sentence that a student reads."""

from grader.kit import check, linear_betas, randn, scaled_linear_betas, tensor, zeros


@check("add_noise", visible=True)
def test_one_timestep(compare, seed):
    """At one timestep, x_t is √ᾱ_t·x_0 + √(1−ᾱ_t)·ε."""
    x0, noise = randn(seed, 2, 3, 8, 8), randn(seed + 1, 2, 3, 8, 8)
    compare.add_noise(x0, noise, tensor([500, 500]), linear_betas(1000))


@check("add_noise", visible=True)
def test_mixed_timesteps(compare, seed):
    """Every sample of the batch gets the noise level of its own timestep."""
    x0, noise = randn(seed, 4, 3, 8, 8), randn(seed + 1, 4, 3, 8, 8)
    compare.add_noise(x0, noise, tensor([0, 250, 500, 999]), linear_betas(1000))


@check("add_noise", visible=True)
def test_first_timestep(compare, seed):
    """t = 0 is the first entry of the schedule: one step of noise has been added, not none and not all."""
    x0, noise = randn(seed, 2, 3, 8, 8), randn(seed + 1, 2, 3, 8, 8)
    compare.add_noise(x0, noise, tensor([0, 0]), linear_betas(1000))


@check("add_noise", visible=True)
def test_half_precision_stays_half(compare, seed):
    """A float16 sample comes back as float16, at every noise level."""
    x0 = randn(seed, 3, 3, 8, 8).to("float16")
    noise = randn(seed + 1, 3, 3, 8, 8).to("float16")
    compare.add_noise(x0, noise, tensor([20, 400, 900]), linear_betas(1000))


@check("add_noise", visible=True)
def test_first_noise_survives_bfloat16(compare, seed):
    """In bfloat16 the first timesteps still add their little noise."""
    x0 = zeros(4, 3, 8, 8).to("bfloat16")
    noise = randn(seed, 4, 3, 8, 8).to("bfloat16")
    compare.add_noise(x0, noise, tensor([3, 5, 7, 9]), linear_betas(1000))


@check("add_noise", visible=True)
def test_any_device(compare, seed):
    """Nothing leaves the device: the same call works where x0, noise and betas live elsewhere (t on the CPU)."""
    compare.play(
        "two_devices",
        x0=randn(seed, 2, 3, 8, 8),
        noise=randn(seed + 1, 2, 3, 8, 8),
        t=tensor([10, 700]),
        betas=linear_betas(1000),
    )


@check("add_noise")
def test_last_timestep(compare, seed):
    """At the last timestep hardly any signal is left, and no index runs off the schedule."""
    x0, noise = randn(seed, 3, 4, 5, 7), randn(seed + 1, 3, 4, 5, 7)
    compare.add_noise(x0, noise, tensor([999, 0, 999]), linear_betas(1000))


@check("add_noise")
def test_batch_as_long_as_the_last_axis(compare, seed):
    """The factors follow the batch axis, also where another axis has the same length."""
    x0, noise = randn(seed, 4, 4, 4, 4), randn(seed + 1, 4, 4, 4, 4)
    compare.add_noise(x0, noise, tensor([40, 333, 600, 870]), linear_betas(1000))


@check("add_noise")
def test_sequences(compare, seed):
    """A batch of sequences (B, L, D) is noised like a batch of images."""
    x0, noise = randn(seed, 3, 7, 5), randn(seed + 1, 3, 7, 5)
    compare.add_noise(x0, noise, tensor([700, 100, 300]), linear_betas(1000))


@check("add_noise")
def test_videos(compare, seed):
    """A batch of videos (B, C, F, H, W) is noised like a batch of images."""
    x0, noise = randn(seed, 2, 3, 2, 5, 7), randn(seed + 1, 2, 3, 2, 5, 7)
    compare.add_noise(x0, noise, tensor([150, 850]), linear_betas(1000))


@check("add_noise")
def test_another_schedule(compare, seed):
    """The noise level comes from the betas that are given, whatever their number and form."""
    x0, noise = randn(seed, 5, 2, 6, 3), randn(seed + 1, 5, 2, 6, 3)
    compare.add_noise(x0, noise, tensor([49, 7, 0, 23, 24]), scaled_linear_betas(50, 0.01, 0.3))


@check("add_noise")
def test_strided_samples(compare, seed):
    """A sample that is not contiguous in memory is noised all the same."""
    x0 = randn(seed, 3, 3, 8, 5).transpose(1, 3)
    noise = randn(seed + 1, 3, 5, 8, 3)
    compare.add_noise(x0, noise, tensor([5, 450, 950]), linear_betas(1000))


@check("add_noise")
def test_single_sample(compare, seed):
    """A batch of one works."""
    x0, noise = randn(seed, 1, 3, 5, 7), randn(seed + 1, 1, 3, 5, 7)
    compare.add_noise(x0, noise, tensor([321]), scaled_linear_betas(1000))


@check("add_noise")
def test_first_noise_survives_float16(compare, seed):
    """In float16 the first timesteps still add their little noise."""
    x0 = zeros(3, 3, 5, 7).to("float16")
    noise = randn(seed, 3, 3, 5, 7).to("float16")
    compare.add_noise(x0, noise, tensor([0, 1, 2]), linear_betas(1000))


@check("add_noise")
def test_bfloat16_stays_bfloat16(compare, seed):
    """A bfloat16 sample comes back as bfloat16, at every noise level."""
    x0 = randn(seed, 4, 2, 6, 6).to("bfloat16")
    noise = randn(seed + 1, 4, 2, 6, 6).to("bfloat16")
    compare.add_noise(x0, noise, tensor([1, 60, 450, 990]), scaled_linear_betas(1000))


@check("add_noise")
def test_any_device_in_half_precision(compare, seed):
    """Nothing leaves the device in half precision either."""
    compare.play(
        "two_devices",
        x0=randn(seed, 3, 4, 6).to("bfloat16"),
        noise=randn(seed + 1, 3, 4, 6).to("bfloat16"),
        t=tensor([0, 30, 49]),
        betas=scaled_linear_betas(50),
    )


@check("add_noise")
def test_gradients_pass(compare, seed):
    """Gradients reach x0 and the noise, scaled by the two factors."""
    compare.play(
        "gradients",
        x0=randn(seed, 3, 2, 5, 5),
        noise=randn(seed + 1, 3, 2, 5, 5),
        t=tensor([80, 480, 880]),
        betas=linear_betas(1000),
    )
