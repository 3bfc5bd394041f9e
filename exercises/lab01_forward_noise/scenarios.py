"""Public harness of lab 01: what the checks do with your functions beyond calling them once. Runs in the worker."""

from torch import autograd, ones_like

grad = autograd.grad


def gradients(student, *, x0, noise, t, betas):
    """Return x_t and how fast its sum grows with each entry of x0 and of the noise."""
    x0, noise = x0.clone().requires_grad_(), noise.clone().requires_grad_()
    x_t = student.add_noise(x0, noise, t, betas)
    d_x0, d_noise = grad(x_t, [x0, noise], grad_outputs=ones_like(x_t))
    return {"x_t": x_t.detach(), "d_x0": d_x0, "d_noise": d_noise}


def two_devices(student, *, x0, noise, t, betas):
    """Return x_t here, and x_t on the meta device, which has shapes and dtypes like any other and computes nothing."""
    here = student.add_noise(x0, noise, t, betas)
    elsewhere = student.add_noise(x0.to("meta"), noise.to("meta"), t, betas.to("meta"))
    return {"here": here, "elsewhere": elsewhere}
