"""Lab 03, scheduler reading: the solvers that turn a model's prediction into the next sample."""

from __future__ import annotations

import torch


class DPMpp2M:
    """DPM-Solver++(2M) for a model that predicts noise; Lu et al. 2022 (arXiv 2211.01095), Algorithm 2.

    `sigmas` (N+1,) are the ratios σ_t/α_t of the noise levels, falling, the last one 0. A sample is x = α_t·x0 + σ_t·ε
    with α_t² + σ_t² = 1.
    """

    def __init__(self, sigmas: torch.Tensor) -> None:
        """Begin one trajectory: step 0, and no prediction remembered."""
        sigmas = sigmas.double()  # small differences of λ want the digits
        self.alpha_t = (1 + sigmas**2).rsqrt()
        self.sigma_t = sigmas * self.alpha_t
        self.lambda_t = -sigmas.log()  # λ = log(α_t/σ_t), half the log-SNR; +∞ at the end
        self.i = 0
        self.x0_before: torch.Tensor | None = None

    def step(self, model_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the sample at the next noise level, in the dtype of `x`."""
        i, alpha_t, sigma_t, lambda_t = self.i, self.alpha_t, self.sigma_t, self.lambda_t

        # 1. The predicted noise, read as a prediction of x0.
        x0 = (x.float() - sigma_t[i] * model_output.float()) / alpha_t[i]

        # 2. The data prediction for the whole step. First order on the first step, which has no predecessor,
        #    and on the last, where h is infinite.
        h = lambda_t[i + 1] - lambda_t[i]
        if self.x0_before is None or h.isinf():
            D = x0
        else:
            r = (lambda_t[i] - lambda_t[i - 1]) / h
            D = x0 + (x0 - self.x0_before) / (2 * r)

        # 3. The exact solution of the diffusion ODE for a constant data prediction D.
        x_next = sigma_t[i + 1] / sigma_t[i] * x.float() - alpha_t[i + 1] * (-h).expm1() * D

        self.x0_before, self.i = x0, i + 1
        return x_next.to(x.dtype)
