"""Lab 06, the pipeline: the loop that turns noise, a denoiser, a scheduler and two conditions into latents."""

import torch


def denoise_loop(
    unet,
    scheduler,
    noise: torch.Tensor,
    cond: torch.Tensor,
    uncond: torch.Tensor,
    guidance_scale: float,
    steps: int,
) -> torch.Tensor:
    """Walk `noise` down the scheduler's timesteps with classifier-free guidance (Ho & Salimans 2022, equation 6).

    `noise` (B, C, h, w) has unit variance, `cond` and `uncond` are (B, L, D); returns the latents (B, C, h, w).
    The paper's weight w is `guidance_scale - 1`: eps~ = eps_uncond + guidance_scale * (eps_cond - eps_uncond).
    """
    guided = guidance_scale > 1
    context = torch.cat([uncond, cond]) if guided else cond

    scheduler.set_timesteps(steps)
    latents = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        # 1. Give the denoiser its input: once per condition, at the magnitude that it was trained on.
        model_input = torch.cat([latents, latents]) if guided else latents
        model_input = scheduler.scale_model_input(model_input, t)

        # 2. Predict; nothing is learnt here, so no graph is kept.
        with torch.no_grad():
            prediction = unet(model_input, t, encoder_hidden_states=context).sample

        # 3. Guide the prediction, not the latents.
        if guided:
            prediction_uncond, prediction_cond = prediction.chunk(2)
            prediction = prediction_uncond + guidance_scale * (prediction_cond - prediction_uncond)

        # 4. Step from x_t to the next, less noisy latents; `step` takes the unscaled ones.
        latents = scheduler.step(prediction, t, latents).prev_sample
    return latents
