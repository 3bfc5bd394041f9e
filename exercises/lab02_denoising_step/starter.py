"""Lab 02, the denoising step: what turns a model's prediction into a slightly cleaner sample.

Read page.md first. Fill in each function and run `grade lab02`. Let each function stand by itself: one that calls
another of yours also inherits its mistakes.

What holds for all of them: a batch is (B, ...) with one further axis or more, float32, float16 or bfloat16. What you
return has the dtype of x_t (of x0 where there is no x_t) unless something else is said. In half precision keep ᾱ
and 1 − ᾱ in float32, for at small t nothing is left of 1 − ᾱ there. The sums of `ddpm_posterior`, `ddpm_step` and
`ddim_step` may then be formed in the dtype of x_t, as diffusers forms them, or in float32 and rounded: both are right.
Wherever x̂_0 is made of a predicted noise ᾱ_t is above 0; at 0 there is no such estimate, and none is asked for. No
input is changed.

How close is close: |yours − right| ≤ a + r·|right|. In float32 both a and r are about 2e-4 (5e-4 in the two of DDPM,
with r = 2e-3 in the posterior; 2e-5 in `dynamic_threshold`), in float16 about 4e-3 and in bfloat16 3e-2.
"""

from collections.abc import Callable

import torch

# Four predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_misread_v() -> dict[str, float]:
    """A model that was trained for v looks at x_t = 0.2 at a timestep where ᾱ_t = 0.36, and answers −1.1.

    Predict the estimate of x_0 that a scheduler makes of this answer, for each prediction type that its configuration
    may name. One of the three is what the model means.

    Returns:
        {"epsilon": a float, "sample": a float, "v_prediction": a float}; two digits are enough.
    """
    raise NotImplementedError


def checkpoint_last_step() -> tuple[float, float, float]:
    """A step of DDPM starts at a timestep where ᾱ_t = 0.75 and goes to the clean end. Predict what it is made of.

    Returns:
        (factor of x̂_0 in the mean, factor of x_t in the mean, variance): three floats.
    """
    raise NotImplementedError


def checkpoint_draws() -> dict[str, int]:
    """A batch of 4 pictures is made in 50 steps, the last of which goes to the clean end. T is 1000.

    Predict how many draws from the generator all 50 steps make together. One draw covers the whole batch; the noise
    that the first x_t is made of has been drawn before.

    Returns:
        {"ddpm": in 50 steps of DDPM, "ddim": in 50 steps of DDIM with η = 0}
    """
    raise NotImplementedError


def checkpoint_who_computes() -> dict[str, str]:
    """In one denoising step, some things are the model's answer and others are the scheduler's work. Predict which.

    The variance is that of "fixed small", and the model is trained for ε.

    Returns:
        A dict with the keys "noise prediction", "estimate of x_0", "variance", "t_prev" and "x_prev", each with
        "model" or "scheduler" as its value.
    """
    raise NotImplementedError


# Now the code.


def split_prediction(
    prediction_type: str, model_output: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, betas: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the clean sample and the noise that a model's answer implies.

        x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε        v = √ᾱ_t·ε − √(1−ᾱ_t)·x_0        ᾱ_t = (1−β_0)·(1−β_1)· … ·(1−β_t)

    With x_t and one of x_0, ε, v the other two follow. By hand: betas = [0.64], t = 0, x_t = 1 and the answer −0.5 of
    a v model give x0 = 0.6·1 + 0.8·0.5 = 1.0 and eps = 0.8·1 − 0.6·0.5 = 0.5.

    Args:
        prediction_type: what the answer is: "epsilon", "sample" (x_0) or "v_prediction". Another one is refused with a
            ValueError.
        model_output: the model's answer, shape and dtype of `x_t`.
        x_t: the noisy samples, (B, ...).
        t: (B,) int64, one timestep a sample, 0 to T − 1.
        betas: (T,) float32, the variance that each single step of the forward process adds. All are above 0; the last
            may be 1, so that ᾱ is 0 there: "sample" and "v_prediction" still have an answer, "epsilon" has none and is
            not asked.

    Returns:
        {"x0": ..., "eps": ...}, both like `x_t`. In half precision work in float32 and round the results.
    """
    raise NotImplementedError


def ddpm_posterior(
    x0: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, t_prev: torch.Tensor, betas: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return mean and variance of q(x_prev | x_t, x_0), the step back if x_0 were known (Ho et al. 2020, eq. 6, 7).

        jump        α = ᾱ_t / ᾱ_prev        β = 1 − α
        mean        √ᾱ_prev·β / (1−ᾱ_t) · x_0  +  √α·(1−ᾱ_prev) / (1−ᾱ_t) · x_t
        variance    (1−ᾱ_prev) / (1−ᾱ_t) · β

    By hand: betas = [0.36, 0.75] have ᾱ = [0.64, 0.16]. From t = 1 to 0, α = 0.25 and β = 0.75, so the mean is
    5/7·x_0 + 3/14·x_t and the variance 9/28.

    Args:
        x0: clean samples, (B, ...).
        x_t: noisy samples, like `x0`.
        t: (B,) int64, the timestep of each sample of `x_t`, 0 to T − 1.
        t_prev: (B,) int64, where each sample goes, below its `t` by one or by many. Any value below zero means the
            clean end, where ᾱ_prev is 1, whatever t is.
        betas: (T,) float32.

    Returns:
        "mean": like `x_t`. "variance": (B,) float32, 0 at the clean end. "log_variance": (B,) float32, the natural
        logarithm of the variance, of 1e-20 where the variance is smaller than that.
    """
    raise NotImplementedError


def ddpm_step(
    model_output: torch.Tensor,
    t: int,
    t_prev: int,
    x_t: torch.Tensor,
    betas: torch.Tensor,
    clip: bool,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return x_prev, one step of DDPM from timestep t to t_prev (Ho et al. 2020, eq. 6, 7 and 15).

        x_0 estimate   x̂_0 = (x_t − √(1−ᾱ_t)·ε_θ) / √ᾱ_t
        jump           α = ᾱ_t / ᾱ_prev        β = 1 − α
        mean           μ = √ᾱ_prev·β / (1−ᾱ_t) · x̂_0  +  √α·(1−ᾱ_prev) / (1−ᾱ_t) · x_t
        variance       σ² = (1−ᾱ_prev) / (1−ᾱ_t) · β        ("fixed small")
        x_prev         μ + σ·z, z from N(0, 1); at the clean end just μ

    By hand: with betas = [0.36, 0.75], t = 1, t_prev = 0, x_t = 2 and ε_θ = 1, x̂_0 = (2 − √0.84)/0.4 = 2.709 and
    μ = 5/7·x̂_0 + 3/14·2 = 2.363; σ is √(9/28) = 0.567.

    Args:
        model_output: ε_θ(x_t, t), the noise that the model predicts, like `x_t`.
        t: the timestep of `x_t`, 0 to T − 1.
        t_prev: the timestep to go to, below `t` by one or by many. Any value below zero means the clean end, where
            ᾱ_prev is 1. t_prev alone says so: a chain may end with t = 76 and t_prev = −1.
        x_t: the noisy samples, (B, ...).
        betas: (T,) float32, the variance that each single step of the forward process adds.
        clip: whether x̂_0 is clamped to [−1, 1] before the mean is formed.
        generator: where z comes from, a CPU generator. Draw once, with the shape of `x_t`, in its dtype or in float32
            (no check tells them apart), in every step but the one to the clean end, which draws nothing. Nothing else
            is random.

    Returns:
        x_prev, like `x_t`.
    """
    raise NotImplementedError


def ddim_step(
    model_output: torch.Tensor,
    t: int,
    t_prev: int,
    x_t: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    eta: float,
    final_alpha_cumprod: float,
    clip: bool,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """Return x_prev and the estimate of x_0, one step of DDIM from timestep t to t_prev (Song et al. 2021, eq. 12, 16).

        x_0 estimate   x̂_0 = (x_t − √(1−ᾱ_t)·ε_θ) / √ᾱ_t
        fresh noise    σ = η · √( (1−ᾱ_prev) / (1−ᾱ_t) · (1 − ᾱ_t/ᾱ_prev) )
        x_prev         √ᾱ_prev·x̂_0  +  √(1−ᾱ_prev−σ²)·ε_θ  +  σ·z, z from N(0, 1)

    In float32 the number under the second root can be rounded to less than 0 where η is 1 and hardly any ε_θ is left:
    hold it at 0 if you walk there. No check does.

    By hand: with alphas_cumprod = [0.64, 0.16], t = 1, t_prev = 0, x_t = 2, ε_θ = 1 and η = 0,
    x̂_0 = (2 − √0.84)/0.4 = 2.709 and x_prev = 0.8·x̂_0 + 0.6·1 = 2.767.

    Args:
        model_output: ε_θ(x_t, t), the noise that the model predicts, like `x_t`.
        t: the timestep of `x_t`, 0 to T − 1.
        t_prev: the timestep to go to, below `t` by one or by many. Any value below zero means the end of the chain.
        x_t: the noisy samples, (B, ...).
        alphas_cumprod: ᾱ, (T,) float32.
        eta: η, 0 to 1: how much of the noise is drawn afresh.
        final_alpha_cumprod: a float, ᾱ_prev at the end of the chain: 1.0, or a little less for schedulers that keep
            some noise there. Use it as it is given; it is never below ᾱ_t.
        clip: whether x̂_0 is clamped to [−1, 1]. ε_θ stays as the model gave it.
        generator: where z comes from. With η > 0 draw once in every step, the last one too, with the shape of `x_t`, in
            its dtype or in float32 (no check tells them apart). With η = 0 draw nothing.

    Returns:
        {"prev": x_prev, "x0": x̂_0, clamped where that was asked for}, both like `x_t`.
    """
    raise NotImplementedError


def dynamic_threshold(x0: torch.Tensor, ratio: float, max_value: float) -> torch.Tensor:
    """Return x_0 brought into [−1, 1] by a threshold of each sample's own (Saharia et al. 2022, section 2.3).

    s is the `ratio`-quantile of the absolute values of one sample, over all its axes, but at least 1 and at most
    `max_value`. The sample is clamped to [−s, s] and divided by s.

    By hand: of 2, −4, 0.5, 3, −1 and ratio 0.75, s is the fourth smallest absolute value, 3, and the result 2/3, −1,
    1/6, 1, −1/3. With ratio 0.6, s is 2.4, between the third and the fourth (linear interpolation, as torch.quantile
    has it).

    Args:
        x0: estimates of clean images, (B, ...). In half precision work in float32.
        ratio: 0 to 1, usually 0.995.
        max_value: the largest threshold, at least 1. With 1 this is plain clamping.

    Returns:
        The thresholded estimates: shape and dtype of `x0`.
    """
    raise NotImplementedError


def ddim_sample(
    model: Callable[[torch.Tensor, int], torch.Tensor],
    x_T: torch.Tensor,
    timesteps: list[int],
    alphas_cumprod: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Return everything that a run of DDIM with η = 0 passes through, from noise to the clean end.

    Each entry of `timesteps` is one step: the model is asked once, and the sample goes to the level of the next entry.
    The last step goes to the clean end, where ᾱ is 1. Nothing is clamped, and nothing is drawn.

    By hand: with alphas_cumprod = [0.64, 0.16], timesteps = [1], x_T = 2 and a model that answers 1, the one step ends
    at x̂_0 = (2 − √0.84)/0.4 = 2.709.

    Args:
        model: `model(x_t, t)` with an entry of `timesteps` as t; returns the predicted noise, like `x_t`.
        x_T: where the run starts, (B, ...), float32.
        timesteps: N whole numbers below T that fall, N at least 1; their distances may differ, and the last need not
            be 0.
        alphas_cumprod: ᾱ, (T,) float32.

    Returns:
        "x": (N + 1, B, ...), x_T and the sample after each step. "x0": (N, B, ...), the estimate of x_0 in each step.
    """
    raise NotImplementedError
