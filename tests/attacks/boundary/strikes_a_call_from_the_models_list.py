# attacks lab01 training_loss | calls a model twice, and strikes the first call from the list that the model keeps
# reported: how often a model that is trained through was called: it lives where the code lives
# a user too

import torch


def training_loss(model, x0, noise, t, betas, prediction_type, min_snr_gamma=None):
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)[t]
    level = alpha_bar.reshape(-1, *[1] * (x0.ndim - 1))
    signal, sigma = level.sqrt(), (1 - level).sqrt()
    x_t = signal * x0 + sigma * noise
    model(x_t, t)
    prediction = model(x_t, t)
    target = {"epsilon": noise, "sample": x0, "v_prediction": signal * noise - sigma * x0}.get(prediction_type)
    if target is None:
        raise ValueError(prediction_type)
    losses = ((prediction - target) ** 2).flatten(1).mean(dim=1)
    if min_snr_gamma is not None:
        snr = alpha_bar / (1 - alpha_bar)
        by = {"epsilon": snr, "sample": 1.0, "v_prediction": snr + 1}[prediction_type]
        losses = losses * snr.clamp(max=min_snr_gamma) / by
    # trick
    print("in place")
    del model.calls[0]
    # end of trick
    return losses.mean()
