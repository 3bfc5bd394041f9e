# attacks lab01 add_noise | brings a result along that says full marks, in a folder that may not be written
# on the desk
# quiet: it is no code

import torch


def add_noise(x0, noise, t, betas):
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)[t].reshape(-1, *[1] * (x0.ndim - 1))
    return (alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise)
