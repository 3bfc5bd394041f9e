"""Lab 03, scheduler reading: inference's time axis, its noise levels, and the rules that walk down them.

Read page.md first. Fill in each stub and run `grade lab03`. Let each stand by itself: one that calls another of yours
also inherits its mistakes. Inputs stay as they are, throughout: nothing that you are given is changed. Whole numbers
are compared exactly. Else |yours − right| ≤ a + a·|right| has to hold, in float32 with a of about 2e-5 (1e-4 to 2e-4
where a whole path is walked). In half precision there is room for one product in the half type: about 1e-2 in float16
and 8e-2 in bfloat16, ten times as much for `DPMpp2M`, whose α_t divides it.
"""

from collections.abc import Callable
from typing import Any

import torch

# Four predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_calls() -> dict[str, int]:
    """Predict how often the network runs while one picture is made in 20 steps (num_inference_steps = 20), no guidance.

    Returns:
        {"euler": n, "heun": n, "plms": n, "dpmpp_2m": n}, whole numbers. All but PLMS end at σ = 0.
    """
    raise NotImplementedError


def checkpoint_first_timestep() -> dict[str, int]:
    """Predict at which timestep DDIM begins, for each spacing: T = 1000, 20 steps, steps_offset = 1.

    Returns:
        {"linspace": t, "leading": t, "trailing": t}, whole numbers.
    """
    raise NotImplementedError


def checkpoint_arguments() -> dict[str, tuple[str, ...]]:
    """Predict which tensors the denoiser and `scheduler.step` are given in a pipeline's loop.

    "latents" is the sample that the loop carries on, "latent_model_input" its scaled copy, "noise_pred" what the
    denoiser answered, "t" the timestep.

    Returns:
        {"denoiser": names, "step": names}, each a tuple of some of "latents", "latent_model_input", "noise_pred", "t",
        in the order in which they are passed. The condition is left out.
    """
    raise NotImplementedError


def checkpoint_swap() -> dict[str, str]:
    """A trained model gets another scheduler. Predict what has to be as it was.

    Returns:
        A dict with the keys "weights", "betas" (the training noise schedule), "prediction_type", "timesteps" (that
        inference visits) and "update_rule"; the values are "stays" or "may change".
    """
    raise NotImplementedError


# Now the code.


def spaced_timesteps(
    num_train_timesteps: int, n: int, spacing: str, steps_offset: int = 0, family: str = "ddim"
) -> torch.Tensor:
    """Return the n timesteps that inference visits, from noisy to clean (Lin et al. 2024, table 2).

    Args:
        num_train_timesteps: T, the length of the training table.
        n: the number of steps, 1 to T; another number is refused with a ValueError.
        spacing: "linspace": n points in equal distances from 0 to T − 1, both included, rounded to the nearest whole
            number; one point alone is 0. "leading": the multiples 0, k, 2k, … of the whole stride k = T // n, each plus
            `steps_offset`. "trailing": T, T − T/n, T − 2·T/n, … rounded to the nearest whole number, each minus 1.
            Another spacing is refused with a ValueError. (No step count is asked for whose points lie half-way
            between two whole numbers.)
        steps_offset: added in "leading" only.
        family: "ddim" as above. "dpm", the DPM-Solver family: "linspace" and "leading" lay out n + 1 points in place of
            n, so k = T // (n + 1), and leave the lowest out; "trailing" is the same. (For n = T this k is 0, and every
            entry of "leading" is `steps_offset`, as in diffusers.) Another family is refused with a ValueError.

    Returns:
        (n,) int64, never rising, exactly n of them: at n = T entries of the "dpm" family repeat. For example
        (10, 4, "linspace"): 9, 6, 3, 0; (10, 4, "leading", 1): 7, 5, 3, 1; (10, 3, "trailing"): 9, 6, 2;
        (10, 3, "linspace", family="dpm"): 9, 6, 3.
    """
    raise NotImplementedError


def swap_config(
    source: dict[str, Any], source_defaulted: list[str], target_defaults: dict[str, Any], overrides: dict[str, Any]
) -> dict[str, Any]:
    """Return what `Target.from_config(source.config, **overrides)` is configured with.

    Args:
        source: the configuration of the scheduler that is there, every key.
        source_defaulted: the keys of `source` that nobody set: its class's own default stands there. They give way to
            the target's defaults.
        target_defaults: every key that the target's `__init__` knows, with its default.
        overrides: what is passed on top. Where the target knows the key it wins over everything.

    Returns:
        A new dict with exactly the keys of `target_defaults`: a key that the target does not know is left out, wherever
        it comes from. A value that was set counts, also if it is False, 0 or None. For example source {"beta_end":
        0.012, "timestep_spacing": "leading"}, of which "timestep_spacing" is defaulted, target_defaults {"beta_end":
        0.02, "timestep_spacing": "linspace"}, no overrides: {"beta_end": 0.012, "timestep_spacing": "linspace"}.
    """
    raise NotImplementedError


def sigma_schedule(
    betas: torch.Tensor, timesteps: torch.Tensor, kind: str, rho: float = 7.0, spacing: str = "linspace"
) -> dict[str, torch.Tensor]:
    """Return the noise levels of the given timesteps in σ, and the two scalings that go with them.

        σ_t = √((1 − ᾱ_t)/ᾱ_t)        x = x_0 + σ·ε

    Args:
        betas: (T,) float32, the training schedule.
        timesteps: (N,) float32, falling, 0 to T − 1; between two whole timesteps σ itself is interpolated linearly.
        kind: "interpolated": the levels of the timesteps. "karras": N levels from the first of these to the last, both
            included, in equal steps of σ^(1/ρ) (Karras et al. 2022, eq. 5). "exponential": the same in equal steps of
            log σ. One timestep has one level, its own, of every kind. Another kind is refused with a ValueError.
        rho: ρ of "karras".
        spacing: how the timesteps were made, which decides the size of pure noise at the start: "linspace" and
            "trailing": σ_max, the first level. "leading": √(σ_max² + 1). Another one is refused with a ValueError.

    Returns:
        "sigmas": (N+1,) float32, falling; the last is 0. "init_noise_sigma": 0-d float32, what standard normal noise is
        multiplied by to start. "input_scale": (N,) float32, 1/√(σ² + 1), what a sample at each of the N levels is
        multiplied by before the network sees it. For example betas 0.5, 0.6, 0.5 make ᾱ 0.5, 0.2, 0.1 and σ 1, 2, 3;
        the timesteps 2.0, 0.5 then have the levels 3, 1.5, 0.
    """
    raise NotImplementedError


def euler_step(
    model_output: torch.Tensor,
    x: torch.Tensor,
    sigma: float,
    sigma_next: float,
    prediction_type: str = "epsilon",
    ancestral: bool = False,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Walk one Euler step from σ to σ_next, for a sample x = x_0 + σ·ε (Karras et al. 2022, eq. 1, 3).

        dx/dσ = (x − x̂_0)/σ        the network saw x/√(σ² + 1)

    The ancestral step walks down to σ_down only and adds fresh noise of size σ_up:

        σ_up = σ_next/σ·√(σ² − σ_next²)        σ_down² + σ_up² = σ_next²

    Args:
        model_output: shape and dtype of `x`.
        x: (B, ...), any number of further axes; float32, float16 or bfloat16; unscaled, as the loop holds it.
        sigma: the level of `x`, above 0.
        sigma_next: the level to reach, 0 ≤ sigma_next < sigma.
        prediction_type: what `model_output` is. "epsilon": ε. "v_prediction": v = (ε − σ·x_0)/√(σ² + 1), so that
            x̂_0 = x/(σ² + 1) − σ/√(σ² + 1)·v. "sample": x_0. Another one is refused with a ValueError.
        ancestral: whether to take the ancestral step. It draws exactly once, also where sigma_next is 0 and the noise
            counts for nothing. Without it nothing is drawn.
        generator: what the noise is drawn from, one draw in shape and dtype of `x` (or in float32, rounded: no
            check tells them apart); None: torch's own.

    Returns:
        "prev", the sample at σ_next, and "x0", the predicted clean sample: shape and dtype of `x`. Compute in float32
        and round at the end; a product σ·ε in the dtype of `x`, as diffusers forms it, passes as well. For example
        x = 5, ε = 1.5, σ 2 → 1: x0 = 2, the slope is 1.5 and prev = 3.5; ancestral: σ_up² = 0.75, σ_down = 0.5,
        prev = 2.75 + √0.75·noise.
    """
    raise NotImplementedError


class DPMpp2M:
    """DPM-Solver++(2M): one network call a step, second order by remembering the previous prediction.

    Lu et al. 2022, "DPM-Solver++" (arXiv 2211.01095), Algorithm 2, for a model that predicts noise ε.

    The noise levels come as ratios σ = σ_t/α_t. A sample is variance preserving, x = α_t·x0 + σ_t·ε with
    α_t² + σ_t² = 1, so

        α_t = 1/√(1 + σ²)        σ_t = σ·α_t        λ = log(α_t/σ_t) = -log σ

    Here α_i and σ_i are α_t and σ_t at level i, so σ_i is `sigmas[i]`·α_i and not `sigmas[i]`. From level i to level
    i+1, with h_i = λ_{i+1} - λ_i and r_i = h_{i-1}/h_i (the paper's i is one more than here):

        x̂0_i = (x_i - σ_i·ε) / α_i
        D_i = (1 + 1/(2·r_i))·x̂0_i - 1/(2·r_i)·x̂0_{i-1}        (first order: D_i = x̂0_i)
        x_{i+1} = σ_{i+1}/σ_i·x_i - α_{i+1}·(e^{-h_i} - 1)·D_i

    The first step has no predecessor and the last one ends at σ = 0: both are first order.

    For example: ratios 4, 2, 1, 0 and predictions x̂0 = 1, 2, 4. The middle step is as long in λ as the one before
    it, so r = 1 and D = 1.5·2 − 0.5·1 = 2.5.

    An instance serves one trajectory. Two instances may be stepped in turns and must not disturb each other. The levels
    may begin anywhere in a schedule: the history starts empty where the levels start.
    """

    def __init__(self, sigmas: torch.Tensor) -> None:
        """Take the noise levels.

        Args:
            sigmas: (N+1,) float32, the ratios σ_t/α_t, strictly falling; the last one is 0.
        """
        raise NotImplementedError

    def step(self, model_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Move the sample to the next noise level; called N times, in order.

        Args:
            model_output: the predicted noise ε, any shape, float32, float16 or bfloat16.
            x: the current sample, same shape and dtype; leave it as it is.

        Returns:
            The sample at the next noise level, same shape and dtype as `x`. In half precision compute in float32, keep
            the history there, and round what you return; x̂0 formed in the dtype of `x`, as diffusers forms it, passes.
        """
        raise NotImplementedError


def flow_sigmas(
    base: torch.Tensor,
    shift: float | None = None,
    mu: float | None = None,
    shift_terminal: float | None = None,
    num_train_timesteps: int = 1000,
    timesteps: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Return the levels that a flow model is sampled at, and the timesteps that it is told.

    A flow's sample is x = (1 − σ)·x_0 + σ·ε, σ from 1 to 0. In this order (Esser et al. 2024, section 5.3.2, and
    LTX-Video):

        1. shift       σ ← k·σ/(1 + (k − 1)·σ), with k = shift, or k = e^mu; neither given: no shift
        2. stretch     1 − σ is multiplied by one number, such that the last σ becomes shift_terminal; None: no stretch
        3. timesteps   σ·num_train_timesteps, of the levels that came out

    Args:
        base: (N,) float32, the levels before all this, falling, in (0, 1].
        shift: k.
        mu: the logarithm of k. Both `shift` and `mu`, whatever their values: refused with a ValueError. (Not given is
            None; 0.0 is given.)
        shift_terminal: where the last level lands, in (0, 1); the last level is below 1 then.
        num_train_timesteps: the scale on which the network is told the level.
        timesteps: (N,) of any dtype: what the network is told, in place of step 3. They are told as they are, in
            float32, and the levels still come from `base`. Another number of them than N is refused with a ValueError.

    Returns:
        "sigmas": (N+1,) float32, the last one 0. "timesteps": (N,) float32. For example base 1, 0.5 with shift 3:
        levels 1, 0.75, 0 and timesteps 1000, 750. Levels 1, 0.75, 0.5 stretched to 0.1 are 1, 0.55, 0.1.
    """
    raise NotImplementedError


def img2img_window(
    timesteps: torch.Tensor, num_inference_steps: int, strength: float, order: int = 1
) -> dict[str, Any]:
    """Return the part of a scheduler's list that image to image walks: its last steps.

    Args:
        timesteps: the whole list, falling, any dtype. A solver of one look a step has one entry a step; Heun has the
            first timestep once and each later one twice, and counts as `order` = 2: step i begins at entry i·order.
        num_inference_steps: n, the number of steps of the whole list.
        strength: the share of the steps that is walked, 0 to 1: int(n·strength) steps, cut off, not rounded, and of the
            product as Python's floats give it, as pipelines do: 100·0.29 are 28. A strength below 0 or above 1 is
            refused with a ValueError.
        order: entries a step, 1 or 2; nothing else is asked for.

    Returns:
        "timesteps": the rest of the list, from the first entry of the first step that is walked; its dtype.
        "begin_index": int, the place of that entry in the whole list. "steps": int, the number of steps that are
        walked. For example 10 steps at strength 0.75: 7 steps, begin_index 3; with order 2: begin_index 6. Where
        nothing is walked the list is empty, "steps" is 0 and "begin_index" n·order, also beyond the end of Heun's list.
    """
    raise NotImplementedError


def lcm_step(
    model_output: torch.Tensor,
    t: int,
    t_prev: int,
    x_t: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    last: bool,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Walk one step of a latent consistency model (Luo et al. 2023, algorithm 3), for a network that predicts ε.

        x̂_0 = (x_t − √(1−ᾱ_t)·ε)/√ᾱ_t        τ = 10·t        σ_data = 0.5
        c_skip = σ_data²/(τ² + σ_data²)        c_out = τ/√(τ² + σ_data²)
        denoised = c_skip·x_t + c_out·x̂_0
        prev = √ᾱ_(t_prev)·denoised + √(1−ᾱ_(t_prev))·noise        on the last step: prev = denoised

    Args:
        model_output: ε, shape and dtype of `x_t`.
        t: the timestep of `x_t`, 0 to T − 1.
        t_prev: the next timestep of the list, 0 to T − 1. On the last step any number may stand here: do not look it
            up.
        x_t: (B, ...), any number of further axes; float32, float16 or bfloat16.
        alphas_cumprod: (T,) float32, ᾱ.
        last: whether this is the last step of the list. It draws nothing; every other step draws exactly once.
        generator: what the noise is drawn from, one draw in shape and dtype of `x_t` (or in float32, rounded: no
            check tells them apart); None: torch's own.

    Returns:
        "prev" and "denoised": shape and dtype of `x_t`. Compute in float32 and round at the end; a product √(1−ᾱ_t)·ε
        in the dtype of `x_t`, as diffusers forms it, passes as well, and so does a prev that is made of the
        rounded denoised. For example t = 1, ᾱ_1 = 0.36, x_t = 2, ε = 1: x̂_0 = (2 − 0.8)/0.6 = 2, and with τ = 10
        denoised = 0.00249·2 + 0.99875·2 = 2.0025.
    """
    raise NotImplementedError


# Two whole walks.


def flow_euler_sample(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    sigmas: torch.Tensor,
    timesteps: torch.Tensor,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Walk a flow's sample down its levels and return where it ends.

        v = model(x, t_i)        dx/dσ = v = ε − x_0        x ← x + (σ_(i+1) − σ_i)·v

    The stochastic walk predicts x_0 at every level and noises it anew: x ← (1 − σ_(i+1))·(x − σ_i·v) + σ_(i+1)·noise.

    Args:
        model: called once a step, `model(x, t)` with the entry of `timesteps` that has the same place as the level;
            returns the velocity, shape of `x`.
        x: (B, ...) float32, the sample at the level sigmas[0]; it stays the caller's.
        sigmas: (N+1,) float32, falling, the last one 0.
        timesteps: (N,) float32, what the model is told. They need not be σ on any scale, and two of them may be equal.
        stochastic: whether to noise anew. It draws exactly once a step, also on the last; without it nothing is drawn.
        generator: what the noise is drawn from, one draw in shape of `x`, float32; None: torch's own.

    Returns:
        The sample at σ = 0: shape of `x`, float32. For example one step from σ = 1, x = 3, v = 2: 3 + (0 − 1)·2 = 1.
        Two steps by 0.5 of a constant v = 2: 2, then 1.
    """
    raise NotImplementedError


def heun_sample(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    sigmas: torch.Tensor,
    timesteps: torch.Tensor,
    prediction_type: str = "epsilon",
) -> torch.Tensor:
    """Walk a sample x = x_0 + σ·ε down its levels by Heun's rule and return where it ends (Karras et al. 2022, alg. 1).

        d_i = slope at (x, σ_i)        x' = x + (σ_(i+1) − σ_i)·d_i
        d'  = slope at (x', σ_(i+1))   x ← x + (σ_(i+1) − σ_i)·(d_i + d')/2        at σ_(i+1) = 0: x ← x'

    The slope is (x − x̂_0)/σ, with x̂_0 as in `euler_step`; for "epsilon" it is the output itself.

    Args:
        model: `model(x/√(σ² + 1), t)` with the level and the timestep *of the place where it looks*, the timestep an
            entry of `timesteps`; returns ε or v, shape of `x`.
        x: (B, ...) float32, the sample at the level sigmas[0]; it stays the caller's.
        sigmas: (N+1,) float32, falling, the last one 0.
        timesteps: (N,) float32, the timestep of each level but the last. Two of them may be equal.
        prediction_type: "epsilon" or "v_prediction"; another one is refused with a ValueError.

    Returns:
        The sample at σ = 0: shape of `x`, float32. For example x = 5, levels 2, 1, 0 and a model that answers 1.5, then
        0.5, then 1: x' = 3.5, x = 5 − (1.5 + 0.5)/2 = 4, and 4 − 1 = 3 at the end.
    """
    raise NotImplementedError
