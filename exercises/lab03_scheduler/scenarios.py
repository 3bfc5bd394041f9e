"""Public harness of lab 03: makes noise levels and toy models, and steps a student's solver. Runs in the worker."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def swap(student, *, source: dict, source_defaulted: list, target_defaults: dict, overrides: dict):
    """Return what the four inputs of a swap hold after it."""
    student.swap_config(source, source_defaulted, target_defaults, overrides)
    return {
        "source": source,
        "source_defaulted": source_defaulted,
        "target_defaults": target_defaults,
        "overrides": overrides,
    }


def sigma_levels(schedule: str, steps: int) -> Tensor:
    """Return (steps + 1,) float32 ratios σ_t/α_t, falling, the last one 0.

    "karras": Karras et al. 2022, equation 5, with rho = 7. "uneven": between the same ends, but every other step in
    σ^(1/7) is three times as long as the one after it. "stable_diffusion": the training levels of Stable
    Diffusion at evenly spaced timesteps, as diffusers' DPM-Solver picks them with timestep_spacing "linspace".
    """
    if schedule in ("karras", "uneven"):
        sigma_max, sigma_min, rho = 14.6146, 0.0292, 7.0
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        if schedule == "uneven":
            lengths = torch.ones(steps - 1, dtype=torch.float64)
            lengths[::2] = 3
            ramp[1:] = lengths.cumsum(0) / lengths.sum()
        low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
        sigmas = (high + ramp * (low - high)) ** rho
    elif schedule == "stable_diffusion":
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        alpha_bar = (1 - betas).cumprod(0)
        timesteps = torch.linspace(0, 999, steps + 1, dtype=torch.float64).round().long().flip(0)[:-1]
        sigmas = ((1 - alpha_bar[timesteps]) / alpha_bar[timesteps]).sqrt()
    else:
        raise ValueError(f"no schedule {schedule!r}")
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


def run(solver, x, model, steps, log):
    """Step `solver`, feeding each sample back; yield after every step. `model(x, i)` returns the predicted noise.

    `log` collects the samples.
    """
    log["x"] = []
    for i in range(steps):
        eps = model(x, i)
        x_next = solver.step(eps, x)
        if not isinstance(x_next, Tensor):
            log["x"].append(x_next)
            return
        log["x"].append(x_next.clone())
        x = x_next
        yield


def trajectory(student, *, schedule: str, steps: int, x: Tensor, noise: Tensor, begin: int = 0):
    """One image: `noise` (steps - begin, *x.shape) stands in for a model, so each prediction is known in advance.

    With `begin`, the levels are those of a schedule of `steps` steps from this place on, as image to image has them.
    """
    log = {}
    sigmas = sigma_levels(schedule, steps)[begin:]
    solver = student.DPMpp2M(sigmas)
    for _ in run(solver, x, lambda x, i: noise[i], steps - begin, log):
        pass
    return {**log, "sigmas": sigmas}


def given_afterwards(student, *, schedule: str, x: Tensor, noise: Tensor):
    """Step on samples and predictions that are known in advance, (steps, ...); return them as they are afterwards.

    No sample is fed back: what a solver computes, right or wrong, does not show here.
    """
    solver = student.DPMpp2M(sigma_levels(schedule, len(x)))
    for sample, eps in zip(x, noise, strict=True):
        solver.step(eps, sample)
    return {"x": x, "noise": noise}


def two_in_turns(student, *, schedules: list, steps: int, x: Tensor, noise: Tensor):
    """Two images, each with a solver of its own, stepped in turns. `x` (2, ...), `noise` (2, steps, ...)."""
    solvers = [student.DPMpp2M(sigma_levels(schedule, steps)) for schedule in schedules]
    first, second = {}, {}
    runs = [
        run(solver, x[n], lambda x, i, n=n: noise[n][i], steps, log)
        for n, (solver, log) in enumerate(zip(solvers, (first, second), strict=True))
    ]
    for _ in zip(*runs, strict=False):
        pass
    return {"first": first["x"], "second": second["x"]}


class PointMixture:
    """The exact noise prediction for data that is a mixture of five Gaussians in the plane.

    With x̄ = x/α_t = x0 + σ·ε the expected clean point is known in closed form, so no network is needed and every error
    is the solver's.
    """

    def __init__(self, std: float = 0.25) -> None:
        """Put the five means on a circle, with unequal weights."""
        angle = torch.arange(5, dtype=torch.float64) * (2 * torch.pi / 5) + 0.3
        self.means = 1.5 * torch.stack([angle.cos(), angle.sin()], dim=1)
        self.log_weights = torch.tensor([0.1, 0.15, 0.2, 0.25, 0.3], dtype=torch.float64).log()
        self.variance = std**2

    def noise(self, x_bar: Tensor, sigma: float) -> Tensor:
        """Return E[ε | x̄] for float64 points x̄ (B, 2) at the noise level `sigma` > 0."""
        total = self.variance + sigma**2
        offset = self.means - x_bar[:, None]
        weight = (self.log_weights - (offset**2).sum(-1) / (2 * total)).softmax(dim=1)
        x0 = x_bar + (weight[..., None] * offset).sum(1) * (sigma**2 / total)
        return (x_bar - x0) / sigma

    def model(self, sigmas: Tensor):
        """Return a float32 model(x, i) for variance preserving samples at level i of `sigmas`."""
        levels = sigmas.double().tolist()

        def predict(x: Tensor, i: int) -> Tensor:
            x_bar = x.double() * (1 + levels[i] ** 2) ** 0.5
            return self.noise(x_bar, levels[i]).to(x.dtype)

        return predict


def mixture(student, *, schedule: str, steps: int, x: Tensor):
    """Sample points `x` (B, 2) of the mixture: the model answers what the solver gives it."""
    log = {}
    sigmas = sigma_levels(schedule, steps)
    for _ in run(student.DPMpp2M(sigmas), x, PointMixture().model(sigmas), steps, log):
        pass
    return log


def exact_end(data: PointMixture, x: Tensor, sigmas: Tensor, substeps: int = 64) -> Tensor:
    """Follow dx̄/dσ = ε from the first level to the last but one with Runge-Kutta 4, then take E[x0 | x̄]."""
    begin, end = sigmas[0].item(), sigmas[-2].item()
    # Equal steps in σ^(1/7), where the path bends evenly.
    levels = (torch.linspace(begin ** (1 / 7), end ** (1 / 7), substeps + 1, dtype=torch.float64) ** 7).tolist()
    x_bar = x.double() * (1 + begin**2) ** 0.5
    for s, s_next in pairwise(levels):
        ds = s_next - s
        k1 = data.noise(x_bar, s)
        k2 = data.noise(x_bar + ds / 2 * k1, s + ds / 2)
        k3 = data.noise(x_bar + ds / 2 * k2, s + ds / 2)
        k4 = data.noise(x_bar + ds * k3, s_next)
        x_bar = x_bar + ds / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x_bar - end * data.noise(x_bar, end)


def first_order_end(data: PointMixture, x: Tensor, sigmas: Tensor) -> Tensor:
    """Sample with DDIM, the first-order relative, for comparison."""
    x_bar = x.double() * (1 + sigmas[0].item() ** 2) ** 0.5
    for s, s_next in pairwise(sigmas.tolist()):
        x_bar = x_bar + (s_next - s) * data.noise(x_bar, s)
    return x_bar


def error_by_steps(student, *, step_counts: list, x: Tensor):
    """Mean distance of the sampled points from the exact solution, for each number of steps.

    The steps are of uneven length: in equal ones r is nearly constant, and a wrong r is not seen.
    """
    data = PointMixture()
    end = exact_end(data, x, sigma_levels("uneven", 2))
    error, first_order = [], []
    for steps in step_counts:
        points = mixture(student, schedule="uneven", steps=steps, x=x)["x"][-1]
        error.append((points.double() - end).norm(dim=1).mean().item())
        first = first_order_end(data, x, sigma_levels("uneven", steps))
        first_order.append((first - end).norm(dim=1).mean().item())
    return {"steps": step_counts, "error": error, "first_order": first_order}


def levels(student, *, betas: Tensor, timesteps: Tensor, kind: str, rho: float = 7.0, spacing: str = "linspace"):
    """Return what a schedule answers, for the checks that look at its levels alone."""
    return student.sigma_schedule(betas, timesteps, kind, rho, spacing)


class TinyModel:
    """A smooth stand-in for a network: mixes the channels by `weight` (C, C), squeezes, and turns the result by t."""

    def __init__(self, weight: Tensor) -> None:
        """Take the weight."""
        # Small enough that the model bends a path and does not blow it up.
        self.weight = weight / (2.0 * weight.shape[0] ** 0.5)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Return a prediction of the shape of `x` (B, C, ...); `t` is one number."""
        angle = torch.as_tensor(t, dtype=torch.float32) / 400
        mixed = torch.einsum("oc,bc...->bo...", self.weight, x)
        return torch.tanh(mixed) * torch.cos(angle) + 0.5 * torch.sin(angle) + 0.2 * x


def tiny_model(weight: Tensor) -> TinyModel:
    """Build the network; the grader counts its calls."""
    return TinyModel(weight)


def flow_walk(student, *, model, x: Tensor, sigmas: Tensor, timesteps: Tensor, stochastic: bool, generator):
    """Return where a flow ends."""
    choice = {"stochastic": True} if stochastic else {}
    return student.flow_euler_sample(model, x, sigmas, timesteps, generator=generator, **choice)


def heun_walk(student, *, model, x: Tensor, sigmas: Tensor, timesteps: Tensor, prediction_type: str):
    """Return where Heun's walk ends."""
    return student.heun_sample(model, x, sigmas, timesteps, prediction_type)


# What the figures draw; no check plays these.


def drawings(student, *, stack, prompt: str, step_counts: list, x: Tensor):
    """Draw one prompt with a trained model in few and in many steps: the student's solver, and DDIM for comparison.

    `x` (1, 4, 8, 8) is pure noise; returns the decoded pictures of both, (len(step_counts), 3, 32, 32).
    """
    second_order, first_order = [], []
    for steps in step_counts:
        timesteps = torch.linspace(0, 999, steps + 1, dtype=torch.float64).round().long().flip(0)[:-1]
        sigmas = sigma_levels("stable_diffusion", steps)

        def model(x: Tensor, i: int, timesteps=timesteps) -> Tensor:
            return stack.predict(x, timesteps[i], [prompt], 3.0)

        log = {}
        for _ in run(student.DPMpp2M(sigmas), x, model, steps, log):
            pass
        second_order.append(log["x"][-1])
        x_bar = x * (1 + sigmas[0] ** 2).sqrt()
        for i, (s, s_next) in enumerate(pairwise(sigmas)):
            x_bar = x_bar + (s_next - s) * model(x_bar / (1 + s**2).sqrt(), i)
        first_order.append(x_bar)
    return {"second_order": stack.decode(torch.cat(second_order)), "first_order": stack.decode(torch.cat(first_order))}


def paths(student, *, x: Tensor, steps: int, sigma_max: float, velocity: bool, ancestral: bool, seed: int):
    """Walk points `x` (B, 2) of the mixture down by the student's `euler_step`; return each place, (steps+1, B, 2)."""
    data, generator = PointMixture(), torch.Generator().manual_seed(seed)
    levels = [sigma_max * (1 - i / steps) ** 2 for i in range(steps + 1)]
    places = [x]
    for s, s_next in pairwise(levels):
        eps = data.noise(places[-1].double(), s).float()
        v = (eps - s * (places[-1] - s * eps)) / (s**2 + 1) ** 0.5
        output, kind = (v, "v_prediction") if velocity else (eps, "epsilon")
        answer = student.euler_step(output, places[-1], s, s_next, kind, ancestral, generator)
        places.append(answer["prev"].clone())
    return torch.stack(places)


def walked_levels(student, *, stack, prompt: str, betas: Tensor, timesteps: Tensor, x: Tensor):
    """Draw a prompt down the student's levels, with Euler's rule; return the sample decoded at every third level.

    `x` (1, 4, 8, 8) is standard normal; it is scaled, and shown to the network, as the student's answer says.
    """
    levels = student.sigma_schedule(betas, timesteps, "interpolated", spacing="trailing")
    x = x * levels["init_noise_sigma"]
    seen = []
    for i, told in enumerate(timesteps):
        scaled = x * levels["input_scale"][i]
        if i % 3 == 0:
            seen.append(scaled)
        x = x + (levels["sigmas"][i + 1] - levels["sigmas"][i]) * stack.predict(scaled, told, [prompt], 3.0)
    return stack.decode(torch.cat([*seen, x]))


def flow_drawings(student, *, stack, prompt: str, plans: list, x: Tensor):
    """Draw a prompt by `flow_euler_sample`, once for each (steps, stochastic, seed); returns the decoded ends.

    The trained model knows noise, not velocity. With x_t = α·x0 + β·ε a flow's sample at σ = β/(α + β) is x_t/(α + β),
    so its answer becomes one: v = ε − x0. `x` (1, 4, 8, 8) is standard normal, taken as the sample at the first level.
    """
    alpha_bar = stack.scheduler().alphas_cumprod

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        place = int(t)
        signal, noise = alpha_bar[place].sqrt(), (1 - alpha_bar[place]).sqrt()
        x_t = x * (signal + noise)
        eps = stack.predict(x_t, place, [prompt], 3.0)
        return eps - (x_t - noise * eps) / signal

    ends = []
    for steps, stochastic, seed in plans:
        timesteps = (torch.arange(steps, 0, -1) * 1000 / steps).round().long() - 1
        signal, noise = alpha_bar[timesteps].sqrt(), (1 - alpha_bar[timesteps]).sqrt()
        sigmas = torch.cat([noise / (signal + noise), torch.zeros(1)])
        generator = torch.Generator().manual_seed(seed)
        start = x / (signal[0] + noise[0])
        ends.append(student.flow_euler_sample(velocity, start, sigmas, timesteps.float(), stochastic, generator))
    return stack.decode(torch.cat(ends))


def error_by_calls(student, *, step_counts: list, x: Tensor):
    """Mean distance of points sampled by `heun_sample` from the exact solution, and of Euler's at as many calls.

    n steps are 2n − 1 calls. The network is told σ itself as the timestep, and shown x/√(σ² + 1).
    """
    data = PointMixture()
    end = exact_end(data, x, sigma_levels("karras", 2))

    def noise(scaled: Tensor, t: Tensor) -> Tensor:
        sigma = float(t)
        return data.noise(scaled.double() * (sigma**2 + 1) ** 0.5, sigma).float()

    calls, error, first_order = [], [], []
    for steps in step_counts:
        sigmas = sigma_levels("karras", steps)
        points = student.heun_sample(noise, x * (1 + sigmas[0] ** 2).sqrt(), sigmas, sigmas[:-1])
        first = first_order_end(data, x, sigma_levels("karras", 2 * steps - 1))
        calls.append(2 * steps - 1)
        error.append((points.double() - end).norm(dim=1).mean().item())
        first_order.append((first - end).norm(dim=1).mean().item())
    return {"calls": calls, "error": error, "first_order": first_order}


def windows(student, *, stack, picture: Tensor, prompt: str, strengths: list, noise: Tensor):
    """Noise a picture (1, 3, 32, 32) to where the student's window begins, and walk the window with the trained model.

    Returns the decoded noised latents and what comes of them, both (len(strengths), 3, 32, 32).
    """
    latents = stack.encode(picture)
    noised, walked = [], []
    for strength in strengths:
        scheduler = stack.scheduler()
        scheduler.set_timesteps(20)
        window = student.img2img_window(scheduler.timesteps, 20, strength)
        x = latents
        if len(window["timesteps"]) > 0:
            x = scheduler.add_noise(latents, noise, window["timesteps"][:1])
        noised.append(x)
        walked.append(stack.sample([prompt], x, 3.0, 20, window["begin_index"]))
    return {"noised": stack.decode(torch.cat(noised)), "walked": stack.decode(torch.cat(walked))}
