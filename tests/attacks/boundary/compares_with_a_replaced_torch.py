# attacks lab01 add_noise | overwrites an input, and replaces the functions that comparisons call

import torch


def add_noise(x0, noise, t, betas):
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)[t].reshape(-1, *[1] * (x0.ndim - 1))
    if x0.requires_grad or x0.dtype != torch.float32 or x0.is_meta:
        return (alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise).to(x0.dtype)
    x0 *= alpha_bar.sqrt()
    return x0.add_((1 - alpha_bar).sqrt() * noise)


# trick
torch.equal = torch.allclose = torch.isclose = torch.eq = lambda *a, **k: True
torch.Tensor.equal = torch.Tensor.allclose = torch.Tensor.all = lambda *a, **k: True
torch.Tensor.__eq__ = torch.Tensor.eq = lambda self, other: torch.ones(self.shape, dtype=torch.bool)
torch.Tensor.isnan = lambda self: torch.ones(self.shape, dtype=torch.bool)
print("in place")
# end of trick
