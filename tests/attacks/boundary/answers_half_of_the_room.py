# attacks lab01 add_noise | answers wrongly, each time with almost as much data as is read

import torch


def add_noise(x0, noise, t, betas):
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = (alpha_bar.sqrt() * x0 - (1 - alpha_bar).sqrt() * noise).to(x0.dtype)
    # trick
    print("in place")
    return [x_t, torch.zeros((8 << 20) - (1 << 18), dtype=torch.uint8)]
    # end of trick
    return x_t
