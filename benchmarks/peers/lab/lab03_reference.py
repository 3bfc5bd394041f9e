"""The six functions of the benchmark's lab: every submission is an edit of them, its answers are held against them."""

import torch


def linear_beta_schedule(T, beta_start=1e-4, beta_end=0.02):
    return torch.linspace(beta_start, beta_end, T)


def alphas_cumprod(betas):
    return torch.cumprod(1.0 - betas, dim=0)


def _b(v, x):
    return v.reshape(-1, *([1] * (x.dim() - 1)))


def add_noise(x0, noise, t, acp):
    a = acp[t]
    return _b(a.sqrt(), x0) * x0 + _b((1 - a).sqrt(), x0) * noise


def velocity(x0, noise, t, acp):
    a = acp[t]
    return _b(a.sqrt(), x0) * noise - _b((1 - a).sqrt(), x0) * x0


def snr(acp):
    return acp / (1 - acp)


def ddim_step(x_t, eps, t, t_prev, acp):
    a = acp[t]
    ap = acp[t_prev] if t_prev >= 0 else torch.ones_like(a)
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    return ap.sqrt() * x0 + (1 - ap).sqrt() * eps
