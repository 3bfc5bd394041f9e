"""Public harness of lab 04: toy networks and steps for your functions to work with. Runs in the worker."""

from torch import arange, cos, cumprod, linspace, sqrt, tanh, tensor

CALL_BUDGET = 80


class TooManyCalls(RuntimeError):
    """The network was called more often than any task of this lab needs."""


class WrongRows(RuntimeError):
    """The network was given latents, timesteps and embeddings of different numbers of rows."""


class Toy:
    """A stand-in for a network: a row's prediction depends on its latent, timestep and tokens, and on no other row.

    The order of the tokens counts, and no value is mapped to itself, so that exchanged arguments show.
    """

    def __init__(self) -> None:
        """Begin without a call."""
        self.calls = 0

    def __call__(self, x, t, emb):
        """Predict, for x (N, C, ...), t (N,) and emb (N, L, D)."""
        self.calls += 1
        if self.calls > CALL_BUDGET:
            raise TooManyCalls(f"stopped: the network was called more than {CALL_BUDGET} times")
        rows, further = len(x), [1] * (x.ndim - 1)
        if t.shape != (rows,) or len(emb) != rows:
            raise WrongRows(f"{rows} latents, timesteps of shape {tuple(t.shape)} and {len(emb)} embeddings")
        place = linspace(0.5, 1.5, emb.shape[1])[None, :, None]
        words = 4 * (emb * place).mean(dim=(1, 2)).reshape(rows, *further)
        angle = (t / 400).reshape(rows, *further)
        return tanh(x.roll(1, dims=-1) + words) * cos(angle) + 0.1 * x


def predict(student, *, x, t, cond_emb, uncond_emb, scale):
    """Return the student's guided prediction of the toy network."""
    return student.guided_prediction(Toy(), x, t, cond_emb, uncond_emb, scale)


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


def sample(student, *, x, cond, uncond, scales):
    """Run the student's loop on the toy network; the answer is the end, and the plan as it is afterwards."""
    plan = {"scale": scales, "evaluations": len(scales) + int((scales > 1).sum())}
    end = student.guided_sample(Toy(), Steps(len(scales)), x, cond, uncond, plan)
    return {"end": end, "plan": plan}
