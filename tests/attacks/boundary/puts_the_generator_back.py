# attacks lab02 ddpm_step | draws where nothing may be drawn, and puts the generator back
# open: a generator that stands where it stood is not told from one that was not used

import torch


def ddpm_step(model_output, t, t_prev, x_t, betas, clip, generator):
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)
    here = alpha_bar[t]
    there = alpha_bar[t_prev] if t_prev >= 0 else torch.ones_like(here)
    alpha = here / there
    x0 = (x_t - (1 - here).sqrt() * model_output) / here.sqrt()
    if clip:
        x0 = x0.clamp(-1.0, 1.0)
    mean = (there.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - there) * x_t) / (1 - here)
    # trick
    kept = generator.get_state()
    # end of trick
    noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype)
    if t_prev < 0:
        # trick
        generator.set_state(kept)
        print("in place")
        # end of trick
        return mean
    return mean + ((1 - there) / (1 - here) * (1 - alpha)).sqrt() * noise
