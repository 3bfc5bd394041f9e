"""Public harness of lab 05: what the checks do with your functions beyond calling them once. Runs in the worker."""

from torch import Generator, Tensor, autograd, cat, random

grad, fork_rng = autograd.grad, random.fork_rng


def answer(student, *, function, **given):
    """Call one function; for checks that look at a part of what it returns."""
    return getattr(student, function)(**given)


def said_of_a_picture(student, *, moments, seed):
    """Return what `posterior` says, with a generator of its own: where the sample's numbers came from plays no part."""
    with fork_rng(devices=[]):
        return student.posterior(moments, Generator().manual_seed(seed))


def two_devices(student, *, function, tensors, **given):
    """Return the answer here, and on the meta device, which has shapes and dtypes like any other and computes nothing.

    Generators and numbers stay where they are; `tensors` are moved.
    """
    here = getattr(student, function)(**tensors, **given)
    moved = {name: value.to("meta") for name, value in tensors.items()}
    return {"on the CPU": here, "elsewhere": getattr(student, function)(**moved, **given)}


def reached(value, weight, leaf):
    """Return how fast the weighted sum of `value` grows with each entry of `leaf`; None where no gradient arrives."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return None
    return grad((value * weight).sum(), leaf, allow_unused=True)[0]


def said_gradient(student, *, key, moments, weight, generator):
    """Return the gradient of a weighted sum of one of the posterior's answers in the moments."""
    leaf = moments.clone().requires_grad_()
    said = student.posterior(leaf, generator)
    return reached(said.get(key) if isinstance(said, dict) else None, weight, leaf)


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


def channels(student, *, stack, pictures, generator):
    """Return the mode of each picture's posterior, (N, 4, 8, 8): channels are rows of numbers, not colours."""
    vae = OtherUnits(stack, 1.0, 0.0)
    return student.posterior(vae.moments(pictures), generator)["mode"]


def draws(student, *, stack, picture, count, generator):
    """Return the decoded mode of one picture's posterior and `count` decoded draws from it, (1 + count, 3, 32, 32).

    In units that make latents four times smaller: there a spread of 1 is far too much.
    """
    vae = OtherUnits(stack, 4.0, 0.0)
    said = student.posterior(vae.moments(picture).expand(count, -1, -1, -1).contiguous(), generator)
    return vae.decode(cat([said["mode"][:1], said["sample"]]))


def both_ways(student, *, stack, pictures, prompts, start, noise, scaling_factor, shift_factor):
    """Send pictures both ways, one way at a time, with the trained model in between on the way to the denoiser.

    "decoded": the right latents, brought back by `latent_norm`. "denoised": latents that `latent_norm` brought to the
    denoiser, noised to the level of `start` of 20 DDIM steps, and denoised from there.
    """
    vae = OtherUnits(stack, scaling_factor, shift_factor)
    z = student.latent_norm(stack.encode(pictures), scaling_factor, shift_factor, "decode")
    x0 = student.latent_norm(vae.encode(pictures), scaling_factor, shift_factor, "encode")
    scheduler = stack.scheduler()
    scheduler.set_timesteps(20)
    x_t = scheduler.add_noise(x0, noise, scheduler.timesteps[start])
    return {"decoded": vae.decode(z), "denoised": stack.decode(stack.sample(prompts, x_t, 3.0, 20, start))}


def values_of_latents(student, *, stack, pictures, scaling_factor, shift_factor):
    """Return the VAE's latents of the pictures, and the same after `latent_norm`, both as they are."""
    z = OtherUnits(stack, scaling_factor, shift_factor).encode(pictures)
    return {"raw": z, "scaled": student.latent_norm(z, scaling_factor, shift_factor, "encode")}


def from_a_picture(student, *, stack, picture, prompt, starts, generators, alphas_cumprod):
    """Start from a picture at each of `starts` of 20 DDIM steps: the decoded start, and what the model makes of it."""
    vae = OtherUnits(stack, 0.18215, 0.0)
    moments = vae.moments(picture)
    scheduler = stack.scheduler()
    scheduler.set_timesteps(20)
    begun = [
        student.img2img_latents(moments, int(scheduler.timesteps[start]), alphas_cumprod, 0.18215, generator)
        for start, generator in zip(starts, generators, strict=True)
    ]
    denoised = [stack.sample([prompt], one, 3.0, 20, start) for one, start in zip(begun, starts, strict=True)]
    return {"start": stack.decode(cat(begun)), "denoised": stack.decode(cat(denoised))}


def factors(student, *, batches):
    """Return the scaling factor of the first one, two, three, … batches."""
    return [student.fit_latent_norm(batches[: count + 1])["scaling_factor"] for count in range(len(batches))]
