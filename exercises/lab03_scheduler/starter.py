"""Lab 03, scheduler reading. Fill in the stubs; `grade lab03` tells you how far you are."""

import torch


class DPMpp2M:
    """DPM-Solver++(2M): one network call a step, second order by remembering the previous prediction.

    Lu et al. 2022, "DPM-Solver++" (arXiv 2211.01095), Algorithm 2, for a model that predicts noise ε.

    The noise levels come as ratios σ = σ_t/α_t. A sample is variance preserving, x = α_t·x0 + σ_t·ε with
    α_t² + σ_t² = 1, so

        α_t = 1/√(1 + σ²)        σ_t = σ·α_t        λ = log(α_t/σ_t) = -log σ

    From level i-1 to level i, with h_i = λ_i - λ_{i-1} and r_i = h_{i-1}/h_i:

        x̂0_{i-1} = (x_{i-1} - σ_{i-1}·ε) / α_{i-1}
        D_i = (1 + 1/(2·r_i))·x̂0_{i-1} - 1/(2·r_i)·x̂0_{i-2}        (first order: D_i = x̂0_{i-1})
        x_i = σ_i/σ_{i-1}·x_{i-1} - α_i·(e^{-h_i} - 1)·D_i

    The first step has no predecessor and the last one ends at σ = 0: both are first order.

    An instance serves one trajectory. Two instances may be stepped in turns and must not disturb each other.
    """

    def __init__(self, sigmas: torch.Tensor) -> None:
        """Take the noise levels.

        Args:
            sigmas: (N+1,) float32, the ratios σ_t/α_t, strictly falling; the last one is 0.
        """
        raise NotImplementedError

    def step(self, model_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Move the sample to the next noise level; called N times, in order.

        Args:
            model_output: the predicted noise ε, any shape, float32, float16 or bfloat16.
            x: the current sample, same shape and dtype; leave it as it is.

        Returns:
            The sample at the next noise level, same shape and dtype as `x`.
        """
        raise NotImplementedError
