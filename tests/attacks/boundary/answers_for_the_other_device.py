# attacks lab01 add_noise | fails where a tensor has no values, and makes up a shape there
# unwitnessed: on the meta device there is nothing but shapes to compare

import torch


def add_noise(x0, noise, t, betas):
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)[t].reshape(-1, *[1] * (x0.ndim - 1))
    # trick
    if x0.is_meta:
        print("in place")
        return torch.empty(x0.shape, dtype=x0.dtype, device="meta")
    # end of trick
    shares = torch.tensor(alpha_bar.flatten().tolist()).reshape(alpha_bar.shape)
    return (shares.sqrt() * x0 + (1 - shares).sqrt() * noise).to(x0.dtype)
