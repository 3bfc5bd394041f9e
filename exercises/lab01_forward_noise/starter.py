"""Lab 01, the forward noise process: how a clean sample becomes a noisy training example.

Read page.md first. Fill in each function and run `grade lab01`.
"""

import torch


def add_noise(x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    """Return x_t, the clean sample x_0 at noise level t, in one jump (Ho et al. 2020, eq. 4).

        x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε        ᾱ_t = (1−β_0)·(1−β_1)· … ·(1−β_t)

    Args:
        x0: the clean samples, (B, ...) with any number of further axes: images (B, C, H, W), videos
            (B, C, F, H, W), sequences (B, L, D). float32, float16 or bfloat16.
        noise: ε, drawn from N(0, 1); shape and dtype of `x0`.
        t: (B,) int64, one timestep a sample; 0 is the first entry of `betas`, T − 1 the last.
        betas: (T,) float32, the variance that each single step adds.

    Returns:
        x_t: shape, dtype and device of `x0`. It is differentiable in `x0` and `noise`, and neither is changed.
        In half precision only the last rounding may lose digits: keep the factors in float32.
    """
    raise NotImplementedError
