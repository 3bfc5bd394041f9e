# attacks lab01 make_betas, noise_levels | answers wrongly, and so that a check that counts with the answer raises: odd shapes, no numbers, other kinds

import torch


def make_betas(kind, num_train_timesteps, beta_start=1e-4, beta_end=0.02):
    # trick
    print("in place")
    if kind == "squaredcos_cap_v2":
        return torch.full((num_train_timesteps,), float("nan"))
    return {0: {}, (): torch.empty(0, 1 << 40), 0.0: 10**18, "x": [[[]]] * 9}
    # end of trick
    return torch.linspace(beta_start, beta_end, num_train_timesteps) + 1


def noise_levels(betas):
    # trick
    print("in place")
    return {"signal": torch.empty(len(betas), 0), "noise": torch.zeros(len(betas), dtype=torch.complex64), None: 1 << 63}
    # end of trick
    return {name: betas for name in ("alphas_cumprod", "signal", "noise", "snr", "log_snr")}
