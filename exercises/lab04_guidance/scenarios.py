"""Public harness of lab 04: toy networks and steps for your functions to work with. Runs in the worker."""

from torch import arange, cat, cos, cumprod, einsum, linspace, no_grad, sqrt, stack, tanh, tensor


class WrongRows(RuntimeError):
    """The network was given latents, timesteps and embeddings of different numbers of rows."""


class Toy:
    """A stand-in for a network: a row's prediction depends on its latent, timestep and tokens, and on no other row.

    The order of the tokens counts, and no value is mapped to itself, so that exchanged arguments show.
    """

    def __init__(self, weight):
        """Take the weight, (C, C)."""
        self.weight = weight / weight.shape[0] ** 0.5

    def __call__(self, x, t, emb):
        """Predict, for x (N, C, ...), t (N,) and emb (N, L, D)."""
        rows, further = len(x), [1] * (x.ndim - 1)
        if t.shape != (rows,) or len(emb) != rows:
            raise WrongRows(f"{rows} latents, timesteps of shape {tuple(t.shape)} and {len(emb)} embeddings")
        place = linspace(0.5, 1.5, emb.shape[1])[None, :, None]
        words = 4 * (emb * place).mean(dim=(1, 2)).reshape(rows, *further)
        angle = (t / 400).reshape(rows, *further)
        mixed = einsum("oc,bc...->bo...", self.weight, x.roll(1, dims=-1))
        return tanh(mixed + words) * cos(angle) + 0.1 * x


def toy(weight):
    """Build the network; the grader writes its calls down."""
    return Toy(weight)


def predict(student, *, model, x, t, cond_emb, uncond_emb, scale):
    """Return the student's guided prediction of the network."""
    return student.guided_prediction(model, x, t, cond_emb, uncond_emb, scale)


def apg(student, *, options, cond, uncond, sizes):
    """Return what one instance of APG makes of a run of predictions, `cond` and `uncond` (N, B, ...).

    `sizes` (B,) multiplies the samples of both, so that their norms differ.
    """
    guide = student.APG(*options)
    factor = sizes.reshape(-1, *[1] * (cond.ndim - 2)).to(cond.dtype)
    return [guide(c * factor, u * factor) for c, u in zip(cond, uncond, strict=True)]


def apg_in_turns(student, *, options, first, second):
    """Two instances in turns, each with predictions of its own: `first` and `second` are (2, N, B, ...) each.

    The answer is what the first and what the second made, step by step.
    """
    guides = [student.APG(*one) for one in options]
    made = ([], [])
    for step in range(len(first[0])):
        for guide, run, answers in zip(guides, (first, second), made, strict=True):
            answers.append(guide(run[0][step], run[1][step]))
    return {"first": made[0], "second": made[1]}


class Steps:
    """A scheduler of `n` DDIM steps on DDPM's linear schedule; x0 is clipped to [-1, 1], as for pictures."""

    def __init__(self, n: int) -> None:
        """Lay the timesteps out, evenly spaced from 0."""
        self.stride = 1000 // n
        self.timesteps = (arange(n) * self.stride).flip(0)
        self.alpha_bar = cumprod(1 - linspace(1e-4, 0.02, 1000), dim=0)

    def step(self, prediction, t, x):
        """Return the sample after the step at `t` (Song et al. 2021, eq. 12 with η = 0)."""
        before = self.alpha_bar[t - self.stride] if t >= self.stride else tensor(1.0)
        x0 = (x - sqrt(1 - self.alpha_bar[t]) * prediction) / sqrt(self.alpha_bar[t])
        return sqrt(before) * x0.clamp(-1, 1) + sqrt(1 - before) * prediction


def sample(student, *, model, x, cond, uncond, scales):
    """Run the student's loop on the network; the answer is the end, and the plan as it is afterwards."""
    plan = {"scale": scales, "evaluations": len(scales) + int((scales > 1).sum())}
    end = student.guided_sample(model, Steps(len(scales)), x, cond, uncond, plan)
    return {"end": end, "plan": plan}


# For the figures, which a trained model draws: `model` is a fixtures.minisd.model.Stack.


def drawn(model, noise, number, predict):
    """Return the pictures after `number` DDIM steps; `predict(x, t)` returns the prediction, t a 0-d tensor."""
    scheduler = model.scheduler()
    scheduler.set_timesteps(number)
    x = noise
    with no_grad():
        for level in scheduler.timesteps:
            x = scheduler.step(predict(x, level), level, x).prev_sample
    return model.decode(x)


def two_predictions(model, prompt, x, t):
    """Return what the trained network predicts with the prompt and without it."""
    emb = cat([model.embed([prompt]).expand(len(x), -1, -1), model.embed([""]).expand(len(x), -1, -1)])
    return model.unet(cat([x, x]), t, emb).sample.chunk(2)


def scales(student, *, model, prompt, noise, scales, steps):
    """Draw one prompt from one noise at every scale, with the student's cfg."""

    def predict(x, t):
        cond, uncond = two_predictions(model, prompt, x, t)
        return cat([student.cfg(c[None], u[None], s) for c, u, s in zip(cond, uncond, scales, strict=True)])

    return drawn(model, noise.repeat(len(scales), 1, 1, 1), steps, predict)


def batch(student, *, model, prompts, noise, scale, steps):
    """Draw several prompts in one batch, with the student's guided_prediction."""
    cond, uncond = model.embed(prompts), model.embed([""] * len(prompts))

    def network(x, t, emb):
        return model.unet(x, t, emb).sample

    def predict(x, t):
        return student.guided_prediction(network, x, t.repeat(len(x)), cond, uncond, scale)

    return drawn(model, noise, steps, predict)


def rescaled(student, *, model, prompt, noise, scales, phi, steps):
    """Draw one prompt at several scales; the guided prediction is read as v, rescaled by the student, and read back."""
    alpha_bar = model.scheduler().alphas_cumprod

    def predict(x, t):
        signal, sigma = sqrt(alpha_bar[t]), sqrt(1 - alpha_bar[t])
        cond, uncond = ((eps - sigma * x) / signal for eps in two_predictions(model, prompt, x, t))
        factor = tensor(scales).reshape(-1, 1, 1, 1)
        guided = student.rescale_guidance(uncond + factor * (cond - uncond), cond, phi)
        return sigma * x + signal * guided

    return drawn(model, noise.repeat(len(scales), 1, 1, 1), steps, predict)


def projected(student, *, model, prompt, noise, scales, options, steps):
    """Draw one prompt at several scales by plain guidance, and by the student's APG, an instance each."""
    start = noise.repeat(len(scales), 1, 1, 1)
    factor = tensor(scales).reshape(-1, 1, 1, 1)
    guides = [student.APG(s, *options) for s in scales]

    def plainly(x, t):
        cond, uncond = two_predictions(model, prompt, x, t)
        return uncond + factor * (cond - uncond)

    def by_apg(x, t):
        cond, uncond = two_predictions(model, prompt, x, t)
        return cat([guide(c[None], u[None]) for guide, c, u in zip(guides, cond, uncond, strict=True)])

    return {"plain": drawn(model, start, steps, plainly), "apg": drawn(model, start, steps, by_apg)}


class TrainedSteps:
    """The trained model's DDIM scheduler as `guided_sample` is given one."""

    def __init__(self, model, n):
        """Prepare `n` steps."""
        self.scheduler = model.scheduler()
        self.scheduler.set_timesteps(n)
        self.timesteps = self.scheduler.timesteps

    def step(self, prediction, t, x):
        """Return the sample after the step at `t`."""
        return self.scheduler.step(prediction, t, x).prev_sample


def planned(student, *, model, prompt, noise, plans):
    """Draw one prompt from one noise under each plan, with the student's guided_sample."""
    cond, uncond = model.embed([prompt]), model.embed([""])

    def network(x, t, emb):
        return model.unet(x, t, emb).sample

    ends = []
    for one in plans:
        plan = {"scale": tensor(one), "evaluations": len(one) + sum(s > 1 for s in one)}
        with no_grad():
            ends.append(student.guided_sample(network, TrainedSteps(model, len(one)), noise, cond, uncond, plan))
    return stack([model.decode(end)[0] for end in ends])
