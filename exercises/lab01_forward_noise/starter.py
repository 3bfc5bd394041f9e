"""Lab 01, the forward noise process: how a clean sample becomes a noisy training example.

Read page.md first. Fill in each function and run `grade lab01`. Let each function stand by itself: one that calls
another of yours also inherits its mistakes. The grader sees this one file, which may import the standard library,
torch and numpy. All tensors of a call live on one device, t too, and it need not be the CPU; a `print` that reads a
number back (`.item()`) costs nothing.
"""

from collections.abc import Callable

import torch

# Four predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_factors() -> tuple[float, float]:
    """A schedule has two steps, betas = [0.5, 0.28]. Predict the two factors in x_t = signal·x_0 + noise·ε at t = 1.

    Timesteps count from 0, so t = 1 is the last of the two.

    Returns:
        (signal, noise): two floats; two digits are enough.
    """
    raise NotImplementedError


def checkpoint_factor_shape() -> tuple[int, ...]:
    """A batch holds 16 latents, shape (16, 4, 64, 64), each with a timestep of its own. Predict the factors' shape.

    Returns:
        The smallest shape with which the factors, multiplied with the batch, scale every latent by its own number.
    """
    raise NotImplementedError


def checkpoint_calls() -> dict[str, int]:
    """Predict how often the forward process, x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε, is evaluated. T is 1000.

    Returns:
        {"training": in one optimizer step on a batch of 8 pictures, whose largest timestep is 999,
         "inference": while one picture is made from noise alone in 50 steps}
        One evaluation noises a whole batch.
    """
    raise NotImplementedError


def checkpoint_denoiser_inputs() -> dict[str, tuple[str, ...]]:
    """Predict what an unconditional denoiser is given, in training and at inference.

    Returns:
        {"training": names, "inference": names}, each a tuple of some of "x0", "x_t", "noise", "t", "betas", in the
        order in which `model(...)` takes them.
    """
    raise NotImplementedError


# Now the code.


def make_betas(kind: str, num_train_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> torch.Tensor:
    """Return the variance that each single noising step adds, β_0 to β_(T−1).

    Args:
        kind: "linear": from beta_start to beta_end, both included, in equal steps (Ho et al. 2020, section 4).
            "scaled_linear": √β runs from √beta_start to √beta_end in equal steps (latent diffusion, Stable Diffusion).
            "squaredcos_cap_v2": the cosine schedule (Nichol & Dhariwal 2021, eq. 17), which uses neither end:

                ᾱ(u) = cos²((u + s)/(1 + s) · π/2)        s = 0.008
                β_i = min(1 − ᾱ((i+1)/T)/ᾱ(i/T), 0.999)

            The names hold as they are written; any other is refused with a ValueError.
        num_train_timesteps: T.
        beta_start: β_0.
        beta_end: β_(T−1).

    Returns:
        (T,) float32.
    """
    raise NotImplementedError


def noise_levels(betas: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return how much signal and how much noise x_t holds, at every timestep of a schedule.

        ᾱ_t = (1−β_0)·(1−β_1)· … ·(1−β_t)        SNR_t = ᾱ_t/(1−ᾱ_t)

    Args:
        betas: (T,) float32.

    Returns:
        Five tensors, each (T,) float32: "alphas_cumprod", ᾱ_t; "signal" and "noise", the factors of x_0 and of ε in
        x_t; "snr", the signal-to-noise ratio as a ratio of variances; "log_snr", its natural logarithm.
    """
    raise NotImplementedError


def add_noise(x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    """Return x_t, the clean sample x_0 at noise level t, in one jump (Ho et al. 2020, eq. 4).

        x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε        ᾱ_t = (1−β_0)·(1−β_1)· … ·(1−β_t)

    Args:
        x0: the clean samples, (B, ...) with any number of further axes: images (B, C, H, W), videos
            (B, C, F, H, W), sequences (B, L, D). float32, float16 or bfloat16.
        noise: ε, drawn from N(0, 1); shape and dtype of `x0`.
        t: (B,) int64, one timestep a sample; 0 is the first entry of `betas`, T − 1 the last.
        betas: (T,) float32, the variance that each single step adds.

    Returns:
        x_t: shape, dtype and device of `x0`. It is differentiable in `x0` and `noise`, and neither is changed.
        In half precision only the last rounding may lose digits: keep the factors in float32.
    """
    raise NotImplementedError


def training_target(
    prediction_type: str, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, betas: torch.Tensor
) -> torch.Tensor:
    """Return what the denoiser is asked to predict from x_t and t.

    Args:
        prediction_type: "epsilon": the noise that was mixed in. "sample": the clean sample. "v_prediction": the
            velocity (Salimans & Ho 2022, section 4), v = √ᾱ_t·ε − √(1−ᾱ_t)·x_0. The names hold as they are
            written; any other is refused with a ValueError.
        x0: (B, ...), any number of further axes; float32, float16 or bfloat16.
        noise: ε, as `x0`.
        t: (B,) int64, one timestep a sample.
        betas: (T,) float32.

    Returns:
        The target: shape and dtype of `x0`. In half precision only the last rounding may lose digits, as in
        `add_noise`: keep the factors in float32.
    """
    raise NotImplementedError


def zero_terminal_snr(betas: torch.Tensor) -> torch.Tensor:
    """Return a schedule whose last step leaves no signal at all (Lin et al. 2024, algorithm 1).

    The whole curve √ᾱ is shifted, so that its last value is 0, and then scaled, so that its first value is what it was.

    Args:
        betas: (T,) float32, T at least 2; it stays the caller's.

    Returns:
        The betas of the new schedule, (T,) float32. The last one is exactly 1.
    """
    raise NotImplementedError


def flow_matching_pair(
    x0: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor, num_train_timesteps: int = 1000
) -> dict[str, torch.Tensor]:
    """Return one training example of a flow model, on the straight path from the data to the noise.

        x_t = (1−σ)·x_0 + σ·ε        the model is asked for the velocity dx_t/dσ

    Args:
        x0: (B, ...), any number of further axes; float32, float16 or bfloat16.
        noise: ε, as `x0`.
        sigma: (B,) float32 in [0, 1], one noise level a sample; 0 is data, 1 is noise.
        num_train_timesteps: the scale on which the model is told the noise level.

    Returns:
        "x_t" and "target": shape and dtype of `x0`. "timestep": (B,) float32, σ on the scale 0 to num_train_timesteps.
    """
    raise NotImplementedError


def min_snr_weights(t: torch.Tensor, betas: torch.Tensor, gamma: float, prediction_type: str) -> torch.Tensor:
    """Return the weight of each sample's loss by the Min-SNR rule (Hang et al. 2023, section 3.4).

    On the loss of x_0 the weight is min(SNR_t, γ). The losses of ε and of v measure the same error in other units:

        |x_0 − x̂_0|² = |ε − ε̂|²/SNR_t = |v − v̂|²/(SNR_t + 1)

    Args:
        t: (B,) int64, one timestep a sample.
        betas: (T,) float32.
        gamma: γ, usually 5.
        prediction_type: "epsilon", "sample" or "v_prediction", what the loss is taken of; else a ValueError.

    Returns:
        (B,) float32, the factor for each sample's mean squared error.
    """
    raise NotImplementedError


def training_loss(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x0: torch.Tensor,
    noise: torch.Tensor,
    t: torch.Tensor,
    betas: torch.Tensor,
    prediction_type: str,
    min_snr_gamma: float | None = None,
) -> torch.Tensor:
    """Return the loss of one training step: x_t, the model's answer, the selected target, the mean squared error.

    Args:
        model: called once, `model(x_t, t)` with `t` as it is given; returns its prediction, shape of `x0`.
        x0: (B, ...), any number of further axes, float32.
        noise: ε, as `x0`. It has been drawn already; nothing random happens here.
        t: (B,) int64, one timestep a sample.
        betas: (T,) float32.
        prediction_type: "epsilon", "sample" or "v_prediction"; another one is refused with a ValueError,
            with a γ and without.
        min_snr_gamma: γ of the Min-SNR rule; None: no weights.

    Returns:
        The loss as a 0-d float32 tensor that gradients flow back from: the mean over the batch of each sample's mean
        squared error, which is weighted before the batch's mean where there is a γ. backward() is left to the caller.
    """
    raise NotImplementedError
