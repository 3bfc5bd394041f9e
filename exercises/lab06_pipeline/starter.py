"""Lab 06, the pipeline: write the loop that a diffusers pipeline runs between its text encoder and its VAE.

The grader sees this one file. It may import the standard library, torch, numpy and diffusers.
"""

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
    """Turn noise into latents, the way StableDiffusionPipeline does between the prompt's encoding and the decoding.

    Nothing is handed to you ready: the scheduler comes without timesteps, the noise at unit variance. The same code
    has to work with every scheduler of diffusers, whatever its own units are; never ask for its class.

    Guidance (Ho & Salimans 2022), on the prediction:
        eps~ = eps_uncond + guidance_scale * (eps_cond - eps_uncond)
    It is on when `guidance_scale > 1`; then one call of the network takes both conditions as one batch of 2B.
    Otherwise only `cond` is used, and the network sees a batch of B.

    Args:
        unet: a UNet2DConditionModel; `unet(sample, t, encoder_hidden_states=...)`. Stopped after 20 calls.
        scheduler: one of diffusers' schedulers, not yet told how many steps to make.
        noise: (B, C, h, w), standard normal. It stays the caller's: leave it as it is.
        cond: (B, L, D), the prompt's embeddings.
        uncond: (B, L, D), the embeddings of the empty or negative prompt.
        guidance_scale: diffusers' scale; 1 means no guidance.
        steps: number of inference steps.

    Returns:
        The latents (B, C, h, w) after the last step, without a gradient graph. No step keeps one for the next either,
        also where the weights of `unet` want gradients.
    """
    raise NotImplementedError
