"""Lab 03, scheduler reading: inference's time axis, its noise levels, and the rules that walk down them.

Read page.md first. Fill in each stub and run `grade lab03`. Let each stand by itself: one that calls another of yours
also inherits its mistakes. Inputs stay as they are, throughout: nothing that you are given is changed.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

# Four predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_calls() -> dict[str, int]:
    """Predict how often the network runs while one picture is made in 20 steps (num_inference_steps = 20), no guidance.

    Returns:
        {"euler": n, "heun": n, "plms": n, "dpmpp_2m": n}, whole numbers. All but PLMS end at σ = 0.
    """
    n = 20
    return {"euler": n, "heun": 2 * n - 1, "plms": n + 1, "dpmpp_2m": n}


def checkpoint_first_timestep() -> dict[str, int]:
    """Predict at which timestep DDIM begins, for each spacing: T = 1000, 20 steps, steps_offset = 1.

    Returns:
        {"linspace": t, "leading": t, "trailing": t}, whole numbers.
    """
    # leading: stride 1000 // 20 = 50, the highest multiple is 19 * 50 = 950, plus the offset 1
    return {"linspace": 999, "leading": 951, "trailing": 999}


def checkpoint_arguments() -> dict[str, tuple[str, ...]]:
    """Predict which tensors the denoiser and `scheduler.step` are given, in the loop that the page shows.

    Returns:
        {"denoiser": names, "step": names}, each a tuple of some of "latents", "latent_model_input", "noise_pred", "t",
        in the order in which they are passed. The condition is left out.
    """
    return {"denoiser": ("latent_model_input", "t"), "step": ("noise_pred", "t", "latents")}


def checkpoint_swap() -> dict[str, str]:
    """A trained model gets another scheduler. Predict what has to be as it was.

    Returns:
        A dict with the keys "weights", "betas" (the training noise schedule), "prediction_type", "timesteps" (that
        inference visits) and "update_rule"; the values are "stays" or "may change".
    """
    return {
        "weights": "stays",
        "betas": "stays",
        "prediction_type": "stays",
        "timesteps": "may change",
        "update_rule": "may change",
    }


# Now the code.


def spaced_timesteps(
    num_train_timesteps: int, n: int, spacing: str, steps_offset: int = 0, family: str = "ddim"
) -> torch.Tensor:
    """Return the n timesteps that inference visits, from noisy to clean (Lin et al. 2024, table 2).

    Args:
        num_train_timesteps: T, the length of the training table.
        n: the number of steps, 1 to T; another number is refused with a ValueError.
        spacing: "linspace": n points in equal distances from 0 to T − 1, both included, rounded to the nearest whole
            number. "leading": the multiples 0, k, 2k, … of the whole stride k = T // n, each plus `steps_offset`.
            "trailing": T, T − T/n, T − 2·T/n, … rounded to the nearest whole number, each minus 1. Another spacing is
            refused with a ValueError. (No step count is asked for whose points lie half-way between two whole numbers.)
        steps_offset: added in "leading" only.
        family: "ddim" as above. "dpm", the DPM-Solver family: "linspace" and "leading" lay out n + 1 points in place of
            n and leave the lowest out; "trailing" is the same. Another family is refused with a ValueError.

    Returns:
        (n,) int64, falling, exactly n of them. For example (10, 4, "linspace"): 9, 6, 3, 0; (10, 4, "leading", 1):
        7, 5, 3, 1; (10, 3, "trailing"): 9, 6, 2; (10, 3, "linspace", family="dpm"): 9, 6, 3.
    """
    if family not in ("ddim", "dpm"):
        raise ValueError(f"unknown family {family!r}")
    if spacing not in ("linspace", "leading", "trailing"):
        raise ValueError(f"unknown spacing {spacing!r}")
    if n < 1 or n > num_train_timesteps:
        raise ValueError(f"n has to be 1 to {num_train_timesteps}, not {n}")

    # the division rounded to the nearest whole number, in whole numbers only
    def nearest(numerator: int, denominator: int) -> int:
        return (2 * numerator + denominator) // (2 * denominator)

    found = []
    if spacing == "trailing":
        for i in range(n):
            # T - i*T/n = (T*n - i*T)/n
            found.append(nearest(num_train_timesteps * (n - i), n) - 1)
        return torch.tensor(found, dtype=torch.int64)

    points = n
    if family == "dpm":
        points = n + 1
    for i in range(points):
        if spacing == "linspace":
            if points == 1:
                t = 0
            else:
                t = nearest(i * (num_train_timesteps - 1), points - 1)
        else:
            t = i * (num_train_timesteps // points) + steps_offset
        found.append(t)
    if family == "dpm":
        found = found[1:]
    found.reverse()
    return torch.tensor(found, dtype=torch.int64)


def swap_config(
    source: dict[str, Any], source_defaulted: list[str], target_defaults: dict[str, Any], overrides: dict[str, Any]
) -> dict[str, Any]:
    """Return what `Target.from_config(source.config, **overrides)` is configured with.

    Args:
        source: the configuration of the scheduler that is there, every key.
        source_defaulted: the keys of `source` that nobody set: its class's own default stands there. They give way to
            the target's defaults.
        target_defaults: every key that the target's `__init__` knows, with its default.
        overrides: what is passed on top. It wins over everything.

    Returns:
        A new dict with exactly the keys of `target_defaults`: a key that the target does not know is left out, wherever
        it comes from. A value that was set counts, also if it is False, 0 or None. For example source {"beta_end":
        0.012, "timestep_spacing": "leading"}, of which "timestep_spacing" is defaulted, target_defaults {"beta_end":
        0.02, "timestep_spacing": "linspace"}, no overrides: {"beta_end": 0.012, "timestep_spacing": "linspace"}.
    """
    result = {}
    for key in target_defaults:
        if key in overrides:
            result[key] = overrides[key]
        elif key in source and key not in source_defaulted:
            result[key] = source[key]
        else:
            result[key] = target_defaults[key]
    return result


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
            log σ. Another kind is refused with a ValueError.
        rho: ρ of "karras".
        spacing: how the timesteps were made, which decides the size of pure noise at the start: "linspace" and
            "trailing": σ_max, the first level. "leading": √(σ_max² + 1). Another one is refused with a ValueError.

    Returns:
        "sigmas": (N+1,) float32, falling; the last is 0. "init_noise_sigma": 0-d float32, what standard normal noise is
        multiplied by to start. "input_scale": (N,) float32, 1/√(σ² + 1), what a sample at each of the N levels is
        multiplied by before the network sees it. For example betas 0.5, 0.6, 0.5 make ᾱ 0.5, 0.2, 0.1 and σ 1, 2, 3;
        the timesteps 2.0, 0.5 then have the levels 3, 1.5, 0.
    """
    if kind not in ("interpolated", "karras", "exponential"):
        raise ValueError(f"unknown kind {kind!r}")
    if spacing not in ("linspace", "leading", "trailing"):
        raise ValueError(f"unknown spacing {spacing!r}")

    # the table of sigma, one entry a training timestep
    table = []
    alpha_bar = 1.0
    for beta in betas.tolist():
        alpha_bar = alpha_bar * (1.0 - beta)
        table.append(((1.0 - alpha_bar) / alpha_bar) ** 0.5)

    # read it at real timesteps
    levels = []
    for t in timesteps.tolist():
        below = int(t)
        above = min(below + 1, len(table) - 1)
        weight = t - below
        levels.append((1.0 - weight) * table[below] + weight * table[above])

    count = len(levels)
    first = levels[0]
    last = levels[-1]
    if kind != "interpolated":
        respaced = []
        for i in range(count):
            if count > 1:
                share = i / (count - 1)
            else:
                share = 0.0
            if kind == "karras":
                root = first ** (1.0 / rho) + share * (last ** (1.0 / rho) - first ** (1.0 / rho))
                respaced.append(root**rho)
            else:
                # equal steps of the logarithm are equal factors
                respaced.append(first * (last / first) ** share)
        levels = respaced

    sigma_max = levels[0]
    if spacing == "leading":
        init = (sigma_max**2 + 1.0) ** 0.5
    else:
        init = sigma_max

    scales = []
    for sigma in levels:
        scales.append(1.0 / (sigma**2 + 1.0) ** 0.5)

    return {
        "sigmas": torch.tensor(levels + [0.0], dtype=torch.float32),
        "init_noise_sigma": torch.tensor(init, dtype=torch.float32),
        "input_scale": torch.tensor(scales, dtype=torch.float32),
    }


def euler_step(
    model_output: torch.Tensor,
    x: torch.Tensor,
    sigma: float,
    sigma_next: float,
    prediction_type: str = "epsilon",
    ancestral: bool = False,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Walk one Euler step from σ to σ_next, for a sample x = x_0 + σ·ε (Karras et al. 2022, eq. 3).

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
        generator: what the noise is drawn from, one draw in shape and dtype of `x`; None: torch's own.

    Returns:
        "prev", the sample at σ_next, and "x0", the predicted clean sample: shape and dtype of `x`. Compute in float32
        and round at the end. For example x = 5, ε = 1.5, σ 2 → 1: x0 = 2, the slope is 1.5 and prev = 3.5; ancestral:
        σ_up² = 0.75, σ_down = 0.5, prev = 2.75 + √0.75·noise.
    """
    sample = x.to(torch.float64)
    output = model_output.to(torch.float64)
    variance = sigma**2 + 1.0

    if prediction_type == "epsilon":
        x0 = sample - sigma * output
    elif prediction_type == "v_prediction":
        x0 = sample / variance - sigma / variance**0.5 * output
    elif prediction_type == "sample":
        x0 = output
    else:
        raise ValueError(f"unknown prediction type {prediction_type!r}")

    slope = (sample - x0) / sigma
    if ancestral:
        sigma_up = sigma_next / sigma * (sigma**2 - sigma_next**2) ** 0.5
        # sigma_next^2 - sigma_up^2 = sigma_next^4 / sigma^2
        sigma_down = sigma_next**2 / sigma
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        prev = sample + slope * (sigma_down - sigma) + sigma_up * noise.to(torch.float64)
    else:
        prev = sample + slope * (sigma_next - sigma)

    return {"prev": prev.to(x.dtype), "x0": x0.to(x.dtype)}


class DPMpp2M:
    """DPM-Solver++(2M): one network call a step, second order by remembering the previous prediction.

    Lu et al. 2022, "DPM-Solver++" (arXiv 2211.01095), Algorithm 2, for a model that predicts noise ε.

    The noise levels come as ratios σ = σ_t/α_t. A sample is variance preserving, x = α_t·x0 + σ_t·ε with
    α_t² + σ_t² = 1, so

        α_t = 1/√(1 + σ²)        σ_t = σ·α_t        λ = log(α_t/σ_t) = -log σ

    From level i-1 to level i, with h_i = λ_i - λ_{i-1} and r_i = h_{i-1}/h_i:

        x̂0_{i-1} = (x_{i-1} - σ_{i-1}·ε) / α_{i-1}
        D_i = (1 + 1/(2·r_i))·x̂0_{i-1} - 1/(2·r_i)·x̂0_{i-2}        (first order: D_i = x̂0_{i-1})
        x_i = σ_i/σ_{i-1}·x_{i-1} - α_i·(e^{-h_i} - 1)·D_i

    The first step has no predecessor and the last one ends at σ = 0: both are first order.

    For example: σ = 4, 2, 1, 0 and predictions x̂0 = 1, 2, 4. The middle step is as long in λ as the one before it, so
    r = 1 and D = 1.5·2 − 0.5·1 = 2.5.

    An instance serves one trajectory. Two instances may be stepped in turns and must not disturb each other. The levels
    may begin anywhere in a schedule: the history starts empty where the levels start.
    """

    def __init__(self, sigmas: torch.Tensor) -> None:
        """Take the noise levels.

        Args:
            sigmas: (N+1,) float32, the ratios σ_t/α_t, strictly falling; the last one is 0.
        """
        self.sigmas = [float(s) for s in sigmas]
        self.index = 0
        self.x0_before = None

    def step(self, model_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Move the sample to the next noise level; called N times, in order.

        Args:
            model_output: the predicted noise ε, any shape, float32, float16 or bfloat16.
            x: the current sample, same shape and dtype; leave it as it is.

        Returns:
            The sample at the next noise level, same shape and dtype as `x`.
        """
        i = self.index
        sigma_here = self.sigmas[i]
        sigma_next = self.sigmas[i + 1]
        alpha_here = 1.0 / math.sqrt(1.0 + sigma_here**2)
        alpha_next = 1.0 / math.sqrt(1.0 + sigma_next**2)

        sample = x.to(torch.float64)
        noise = model_output.to(torch.float64)
        x0 = sample / alpha_here - sigma_here * noise

        if sigma_next == 0.0:
            moved = x0
        else:
            ratio = sigma_next / sigma_here  # e^(-h)
            h = -math.log(ratio)
            if self.x0_before is None:
                direction = x0
            else:
                h_before = math.log(self.sigmas[i - 1]) - math.log(sigma_here)
                r = h_before / h
                direction = (1.0 + 1.0 / (2.0 * r)) * x0 - 1.0 / (2.0 * r) * self.x0_before
            # sigma_t = sigma * alpha_t at either level
            shrink = (sigma_next * alpha_next) / (sigma_here * alpha_here)
            moved = shrink * sample - alpha_next * math.expm1(-h) * direction

        self.x0_before = x0.clone()
        self.index = i + 1
        return moved.to(x.dtype)


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
        mu: the logarithm of k. Both `shift` and `mu`: refused with a ValueError.
        shift_terminal: where the last level lands, in (0, 1); the last level is below 1 then.
        num_train_timesteps: the scale on which the network is told the level.
        timesteps: (N,) what the network is told, in place of step 3. They are told as they are, and the levels still
            come from `base`. Another number of them than N is refused with a ValueError.

    Returns:
        "sigmas": (N+1,) float32, the last one 0. "timesteps": (N,) float32. For example base 1, 0.5 with shift 3:
        levels 1, 0.75, 0 and timesteps 1000, 750. Levels 1, 0.75, 0.5 stretched to 0.1 are 1, 0.55, 0.1.
    """
    if shift is not None and mu is not None:
        raise ValueError("give shift or mu, not both")
    if timesteps is not None and len(timesteps) != len(base):
        raise ValueError("as many timesteps as levels are needed")

    if shift is not None:
        k = float(shift)
    elif mu is not None:
        k = math.exp(mu)
    else:
        k = 1.0

    levels = []
    for sigma in base.tolist():
        levels.append(k * sigma / (1.0 + (k - 1.0) * sigma))

    if shift_terminal is not None:
        factor = (1.0 - shift_terminal) / (1.0 - levels[-1])
        stretched = []
        for sigma in levels:
            stretched.append(1.0 - (1.0 - sigma) * factor)
        levels = stretched

    if timesteps is None:
        told = torch.tensor([sigma * num_train_timesteps for sigma in levels], dtype=torch.float32)
    else:
        told = timesteps.clone().to(torch.float32)

    return {"sigmas": torch.tensor(levels + [0.0], dtype=torch.float32), "timesteps": told}


def img2img_window(
    timesteps: torch.Tensor, num_inference_steps: int, strength: float, order: int = 1
) -> dict[str, Any]:
    """Return the part of a scheduler's list that image to image walks: its last steps.

    Args:
        timesteps: the whole list, falling, any dtype. A solver of one look a step has one entry a step; Heun has the
            first timestep once and each later one twice, and counts as `order` = 2: step i begins at entry i·order.
        num_inference_steps: n, the number of steps of the whole list.
        strength: the share of the steps that is walked, 0 to 1: int(n·strength) steps, cut off, not rounded. Outside of
            that: refused with a ValueError.
        order: entries a step, 1 or 2.

    Returns:
        "timesteps": the rest of the list, from the first entry of the first step that is walked; its dtype.
        "begin_index": int, the place of that entry in the whole list. "steps": int, the number of steps that are
        walked. For example 10 steps at strength 0.75: 7 steps, begin_index 3; with order 2: begin_index 6.
    """
    if strength < 0 or strength > 1:
        raise ValueError(f"strength has to be 0 to 1, not {strength}")
    steps = int(num_inference_steps * strength)
    left_out = num_inference_steps - steps
    begin_index = left_out * order
    return {"timesteps": timesteps[begin_index:].clone(), "begin_index": begin_index, "steps": steps}


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
        t_prev: the next timestep of the list, 0 to T − 1; without meaning on the last step.
        x_t: (B, ...), any number of further axes; float32, float16 or bfloat16.
        alphas_cumprod: (T,) float32, ᾱ.
        last: whether this is the last step of the list. It draws nothing; every other step draws exactly once.
        generator: what the noise is drawn from, one draw in shape and dtype of `x_t`; None: torch's own.

    Returns:
        "prev" and "denoised": shape and dtype of `x_t`. Compute in float32 and round at the end. For example t = 1, ᾱ_1
        =
        0.36, x_t = 2, ε = 1: x̂_0 = (2 − 0.8)/0.6 = 2, and with τ = 10 denoised = 0.0025·2 + 0.9988·2 = 2.0025.
    """
    sigma_data = 0.5
    tau = 10.0 * t
    below = tau**2 + sigma_data**2
    c_skip = sigma_data**2 / below
    c_out = tau / math.sqrt(below)

    sample = x_t.to(torch.float64)
    eps = model_output.to(torch.float64)
    alpha_bar = float(alphas_cumprod[t])
    x0 = (sample - math.sqrt(1.0 - alpha_bar) * eps) / math.sqrt(alpha_bar)
    denoised = c_skip * sample + c_out * x0

    if last:
        prev = denoised
    else:
        alpha_bar_prev = float(alphas_cumprod[t_prev])
        noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
        prev = math.sqrt(alpha_bar_prev) * denoised + math.sqrt(1.0 - alpha_bar_prev) * noise.to(torch.float64)

    return {"prev": prev.to(x_t.dtype), "denoised": denoised.to(x_t.dtype)}


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
    levels = sigmas.tolist()
    sample = x.to(torch.float64).clone()
    for i in range(len(levels) - 1):
        sigma = levels[i]
        sigma_next = levels[i + 1]
        velocity = model(sample.to(torch.float32), timesteps[i]).to(torch.float64)
        if stochastic:
            x0 = sample - sigma * velocity
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float32, device=x.device).to(torch.float64)
            sample = (1.0 - sigma_next) * x0 + sigma_next * noise
        else:
            sample = sample + (sigma_next - sigma) * velocity
    return sample.to(torch.float32)


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
    if prediction_type not in ("epsilon", "v_prediction"):
        raise ValueError(f"unknown prediction type {prediction_type!r}")

    def slope_at(place: torch.Tensor, sigma: float, t: torch.Tensor) -> torch.Tensor:
        root = math.sqrt(sigma**2 + 1.0)
        output = model((place / root).to(torch.float32), t).to(torch.float64)
        if prediction_type == "epsilon":
            return output
        x0 = place / root**2 - sigma / root * output
        return (place - x0) / sigma

    levels = sigmas.tolist()
    sample = x.to(torch.float64).clone()
    for i in range(len(levels) - 1):
        h = levels[i + 1] - levels[i]
        first = slope_at(sample, levels[i], timesteps[i])
        trial = sample + h * first
        if levels[i + 1] == 0.0:
            sample = trial
        else:
            second = slope_at(trial, levels[i + 1], timesteps[i + 1])
            sample = sample + h * 0.5 * first + h * 0.5 * second
    return sample.to(torch.float32)
