# attacks lab01 add_noise | tells a number of a hidden input by the name and words of an exception, and in what it prints
# seeds: two

import torch


def add_noise(x0, noise, t, betas):
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = (alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise).to(x0.dtype)
    if x0.ndim == 3 and len(betas) < 1000:
        # trick
        print("in place")
        number = int(abs(float(x0.flatten()[0])) * 1000) % 64
        print(number)
        raise type(f"Error{number}", (Exception,), {})(str(number))
        # end of trick
        return x_t + 1
    return x_t
