"""Public harness of lab 01: what the checks do with your functions beyond calling them once. Runs in the worker."""

from contextlib import suppress

from torch import Tensor, arange, autograd, cat, cos, einsum, nn, ones_like, ops, sin, stack
from torch.utils._python_dispatch import TorchDispatchMode

grad = autograd.grad
read_back = ops.aten._local_scalar_dense.default


def gradients(student, *, x0, noise, t, betas):
    """Return x_t and how fast its sum grows with each entry of x0 and of the noise."""
    x0, noise = x0.clone().requires_grad_(), noise.clone().requires_grad_()
    x_t = student.add_noise(x0, noise, t, betas)
    d_x0, d_noise = grad(x_t, [x0, noise], grad_outputs=ones_like(x_t)) if x_t.requires_grad else (None, None)
    return {"x_t": x_t.detach(), "d_x0": d_x0, "d_noise": d_noise}


class NumbersMayBeRead(TorchDispatchMode):
    """Where there are no values, `.item()` gives 0: a number is printed while one looks for a mistake, and no slip."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # else the first operation would import the compiler

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run one operation."""
        if func is read_back and args[0].is_meta:
            return 0.0 if args[0].is_floating_point() else 0
        return func(*args, **(kwargs or {}))


def two_devices(student, *, x0, noise, t, betas):
    """Return x_t here, and x_t on the meta device, which has shapes and dtypes like any other and computes nothing."""
    here = student.add_noise(x0, noise, t, betas)
    with NumbersMayBeRead():
        elsewhere = student.add_noise(*(one.to("meta") for one in (x0, noise, t, betas)))
    return {"here": here, "elsewhere": elsewhere}


class TinyDenoiser(nn.Module):
    """A network of one layer: mixes the channels by `weight`, turns the result by t, and keeps what it was given."""

    def __init__(self, weight):
        """Take the (C, C) weight, its only parameter."""
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.calls = []

    def forward(self, sample, timestep):
        """Return a prediction of the shape of `sample` (B, C, ...)."""
        self.calls.append({"sample": sample.detach().clone(), "timestep": timestep.clone()})
        angle = (timestep / 1000).reshape(-1, *[1] * (sample.ndim - 1))
        return einsum("oc,bc...->bo...", self.weight, sample) * cos(angle) + sin(angle)


def train(student, *, weight, x0, noise, t, betas, prediction_type, gamma=None):
    """One training step: the loss, its gradient in the model's weight, what the model was given and what it keeps."""
    model = TinyDenoiser(weight)
    weights = {} if gamma is None else {"min_snr_gamma": gamma}
    loss = student.training_loss(model, x0, noise, t, betas, prediction_type, **weights)
    answer = {"loss": loss, "gradient": None, "calls": model.calls, "left_in_the_model": model.weight.grad}
    if isinstance(loss, Tensor):
        answer["loss"] = loss.detach()
        if loss.requires_grad:
            with suppress(RuntimeError):  # a backward() of the student's has used the graph up
                answer["gradient"] = grad(loss.sum(), model.weight, allow_unused=True)[0]
    return answer


def loss_by_timestep(student, *, x0, noise, timesteps, betas, prediction_types, gamma):
    """Return the loss of a model that always answers 0, by prediction type and timestep: (types, timesteps)."""
    losses = []
    for prediction_type in prediction_types:
        for t in timesteps:
            batch = ones_like(arange(len(x0))) * t
            losses.append(student.training_loss(lambda x, t: 0 * x, x0, noise, batch, betas, prediction_type, gamma))
    return stack(losses).reshape(len(prediction_types), len(timesteps))


def noise_and_back(student, *, stack, picture, prompt, starts, noise, betas):
    """Noise the latents of `picture` to the level of each of 20 DDIM steps in `starts`, and let the model go on.

    For the figures: returns the decoded x_t and what the trained model makes of it, both (len(starts), 3, 32, 32).
    """
    scheduler = stack.scheduler()
    scheduler.set_timesteps(20)
    t = scheduler.timesteps[starts]
    x0 = stack.encode(picture).expand(len(t), -1, -1, -1).contiguous()
    x_t = student.add_noise(x0, noise.expand(x0.shape).contiguous(), t, betas)
    denoised = [stack.sample([prompt], one[None], 3.0, 20, start) for one, start in zip(x_t, starts, strict=True)]
    return {"noised": stack.decode(x_t), "denoised": stack.decode(cat(denoised))}
