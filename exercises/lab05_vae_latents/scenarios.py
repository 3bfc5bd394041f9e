"""Public harness of lab 05: what the checks do with your functions beyond calling them once. Runs in the worker."""

from torch import Tensor, autograd, cat, exp, float32, zeros_like

grad = autograd.grad


def answer(student, *, function, **given):
    """Call one function; for checks that look at a part of what it returns."""
    return getattr(student, function)(**given)


def two_devices(student, *, function, tensors, **given):
    """Return the answer here, and on the meta device, which has shapes and dtypes like any other and computes nothing.

    Generators and numbers stay where they are; `tensors` are moved.
    """
    here = getattr(student, function)(**tensors, **given)
    moved = {name: value.to("meta") for name, value in tensors.items()}
    return {"here": here, "elsewhere": getattr(student, function)(**moved, **given)}


def reached(value, weight, leaf):
    """Return how fast the weighted sum of `value` grows with each entry of `leaf`; None where no gradient arrives."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return None
    return grad((value * weight).sum(), leaf, allow_unused=True)[0]


def sample_gradient(student, *, moments, weight, generator):
    """Return the gradient of a weighted sum of the posterior's sample in the moments."""
    leaf = moments.clone().requires_grad_()
    said = student.posterior(leaf, generator)
    return reached(said.get("sample") if isinstance(said, dict) else None, weight, leaf)


def norm_gradient(student, *, z, weight, **given):
    """Return the gradient of a weighted sum of the scaled latents in z."""
    leaf = z.clone().requires_grad_()
    return reached(student.latent_norm(leaf, **given), weight, leaf)


# For the figures, with the trained stack. Its factor is nearly 1, which hides every mistake. So its encoder and decoder
# are put into other units: z' = z/unit + offset, a VAE that is as right as before and needs a factor and a shift.


class OtherUnits:
    """The stack's VAE with latents in other units; `scaling_factor` and `shift_factor` belong to them."""

    def __init__(self, stack, scaling_factor, shift_factor):
        """Choose the units in which the given two numbers are the right ones."""
        self.stack, self.scaling_factor, self.shift_factor = stack, scaling_factor, shift_factor

    def encode(self, pictures):
        """Return this VAE's latents of pictures in [-1, 1]: the posterior's mean."""
        return self.stack.encode(pictures) / self.scaling_factor + self.shift_factor

    def moments(self, pictures):
        """Return the moments of this VAE's posterior, whose deviation changes with the units."""
        said = self.stack.vae.encode(pictures).latent_dist
        factor = self.stack.vae.config.scaling_factor / self.scaling_factor
        std = said.std * factor
        return cat([said.mean * factor + self.shift_factor, 2 * std.log()], dim=1)

    def decode(self, z):
        """Return the pictures of this VAE's latents."""
        return self.stack.decode((z - self.shift_factor) * self.scaling_factor)
