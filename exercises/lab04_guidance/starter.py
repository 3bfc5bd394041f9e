"""Lab 04, classifier-free guidance: two predictions of one network, and what is made of them.

Read page.md first. Fill in each function and run `grade lab04`. Let each function stand by itself: one that calls
another of yours also inherits its mistakes. Whatever a function is given stays the caller's: change nothing in place.
What you return may be an input itself where nothing is to be done to it. Gradients are not asked for.
Where half precision may come, computing in it and computing in float32 are both right; only `APG` wants float32.
How close is close: |yours − right| ≤ a + a·|right|, with a = 8e-3 in float16, 6e-2 in bfloat16 and 2e-5 in float32
(2e-3 for the features of a scale).
"""

from collections.abc import Callable
from typing import Any

import torch

# Four predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_weights() -> dict[str, int]:
    """Three predictions can be made of one latent: under the prompt, the negative prompt, the empty prompt.

    A pipeline runs at guidance_scale = 8, prompt and negative prompt given. Its guided prediction is a weighted sum of
    the three. Predict the weights.

    Returns:
        {"prompt": weight, "negative": weight, "empty": weight}, whole numbers.
    """
    raise NotImplementedError


def checkpoint_batch_shape() -> tuple[int, ...]:
    """Three prompts, four pictures each, guidance_scale = 7.5, one call of the network a step. Predict its shape.

    The latent of one picture is (4, 64, 64).

    Returns:
        The shape of the latents that one call is given.
    """
    raise NotImplementedError


def checkpoint_evaluations() -> dict[str, int]:
    """One picture is made in 20 steps. Predict how many evaluations each of four things costs.

    One evaluation is one latent that passes through a network: a call with a batch of two is two.

    Returns:
        {"guided": of the denoiser, guidance_scale 7.5 in every step,
         "window": of the denoiser, guidance_scale 7.5 from a quarter to three quarters of the steps only,
         "distilled": of a denoiser that is told the scale as an input, at scale 7.5,
         "classifier": of a classifier of noisy pictures, in the run of the first line}
    """
    raise NotImplementedError


def checkpoint_step_order() -> tuple[str, ...]:
    """Put the six things that happen in one guided step into their order.

    "guide": the two predictions are combined. "double": the latents are stacked on themselves. "step": the scheduler
    moves the sample. "predict": the network is called. "rescale": the standard deviation is brought back. "split": one
    tensor is cut into two halves.

    Returns:
        The six names, first to last.
    """
    raise NotImplementedError


# Now the code.


def cfg(cond: torch.Tensor, uncond: torch.Tensor, scale: float, use_original_formulation: bool = False) -> torch.Tensor:
    """Return the guided prediction.

    Two conventions are in use. Libraries write a scale s (Imagen's paper, Saharia et al. 2022, eq. 2), the original
    paper a weight w (Ho & Salimans 2022, eq. 6):

        uncond + s·(cond − uncond)        cond + w·(cond − uncond)

    By hand: with cond = 3 and uncond = 1, s = 7.5 gives 16, and so does w = 6.5.

    Args:
        cond: the prediction under the prompt, (B, ...) with any number of further axes; float32, float16 or bfloat16.
        uncond: the prediction without it, as `cond`.
        scale: s, or w where `use_original_formulation` says so. Any number: s = 0 is the unconditional prediction.
        use_original_formulation: False: `scale` is s. True: it is w.

    Returns:
        The guided prediction: shape and dtype of `cond`, every channel guided.
    """
    raise NotImplementedError


def guided_prediction(
    model: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    t: torch.Tensor,
    cond_emb: torch.Tensor,
    uncond_emb: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Return the guided prediction of a network for a batch of latents, from one call of the network.

    With scale above 1 that call is given 2B latents, the unconditional half first, and the answer is
    uncond + s·(cond − uncond). At scale 1 and below guidance is off: the call is given the B latents with `cond_emb`,
    and the answer is what it returns. Which calls are made, and with which rows, is graded beside the answer. By hand:
    predictions 3 and 1 give 16 at scale 7.5, and 3 at scale 0.5.

    Args:
        model: `model(x, t, emb)` returns a prediction of the shape of its `x`; the three have the same number of rows,
            and each row's prediction depends on that row alone.
        x: the latents, (B, C, ...), float32.
        t: (B,) int64, one timestep a latent; they may differ.
        cond_emb: (B, L, D) float32, the prompts' embeddings.
        uncond_emb: as `cond_emb`, the empty or negative prompts' embeddings.
        scale: s, any number.

    Returns:
        The prediction, shape of `x`.
    """
    raise NotImplementedError


def build_cfg_embeds(
    prompt: torch.Tensor,
    negative: torch.Tensor | None,
    empty: torch.Tensor,
    num_images_per_prompt: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Return the embeddings that the network is given, one row a latent, as Stable Diffusion's pipeline orders them.

    The unconditional half comes first, then the prompts. In each half the copies of one prompt are neighbours. By hand:
    prompts a, b with negative prompts p, q and two pictures each are the rows p, p, q, q, a, a, b, b.

    Args:
        prompt: (P, L, D), the prompts' embeddings; float32, float16 or bfloat16.
        negative: as `prompt`, one negative prompt for each prompt, or None: there are none.
        empty: (1, L, D), dtype of `prompt`, the embedding of the empty prompt; it stands where there is no negative
            prompt.
        num_images_per_prompt: n, pictures of each prompt, 1 or more.
        guidance_scale: above 1 guidance is on; at 1 and below the prompts' half is all there is.

    Returns:
        (2·P·n, L, D) with guidance, (P·n, L, D) without; dtype of `prompt`. With guidance on, another number of
        negative prompts than P is refused with a ValueError; with guidance off they are not looked at. Nothing else has
        to be refused: L and D are the same in all three.
    """
    raise NotImplementedError


def rescale_guidance(guided: torch.Tensor, cond: torch.Tensor, phi: float) -> torch.Tensor:
    """Return the guided prediction with its standard deviation brought back (Lin et al. 2024, eq. 15 and 16).

        rescaled = guided·std(cond)/std(guided)        φ·rescaled + (1−φ)·guided

    The standard deviation of a sample is taken over all its channels and pixels together, around its mean. By hand:
    guided = (4, −4) and cond = (1, −1) give (1, −1) for φ = 1 and (2.5, −2.5) for φ = 0.5.

    Args:
        guided: (B, ...), two or more further entries a sample in any number of axes; float32, float16 or bfloat16.
        cond: the conditional prediction, as `guided`.
        phi: φ in [0, 1]; 0 leaves `guided` as it is.

    Returns:
        Shape and dtype of `guided`. A sample of `guided` that is constant, all of its entries equal, comes back as it
        is, whatever rounding makes of its standard deviation. A constant `cond` is no special case: its deviation is 0.
    """
    raise NotImplementedError


def guidance_plan(n: int, start: float, stop: float, scale: float) -> dict[str, Any]:
    """Return the guidance scale of each step, if guidance acts in a part of the steps only (Kynkäänniemi et al. 2024).

    Step i of n, counted from 0 at the noisiest, is guided if int(start·n) ≤ i < int(stop·n): both edges are cut down to
    whole steps. (No window is asked for whose edge hangs on how start·n is rounded.) A step that is not guided has
    scale 1: the conditional prediction alone. A scale of 1 or below switches guidance off everywhere. By hand: n = 5
    from 0.3 to 0.7 guides the steps 1 and 2 and costs 7 evaluations.

    Args:
        n: the number of steps, 1 or more.
        start: where the window begins, as a fraction of the steps.
        stop: where it ends, likewise. Anything but 0 ≤ start ≤ stop ≤ 1 is refused with a ValueError,
            whatever the scale. With start = stop the window is empty.
        scale: s in the window.

    Returns:
        {"scale": (n,) float32, "evaluations": an int, the evaluations of the network for one picture, two in a guided
        step and one in any other}
    """
    raise NotImplementedError


def guidance_embedding(guidance_scale: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the features by which a distilled network is told the guidance scale (Meng et al. 2023, section 3.1).

    They are sines and cosines of 1000·w, with the paper's w = s − 1, at `dim // 2` = h frequencies:

        f_k = 10000^(−k/(h−1)),  k = 0 … h−1        sin(1000·w·f_0) … sin(1000·w·f_(h−1)), cos(1000·w·f_0) …

    By hand: s = 1 is w = 0, so dim = 6 gives (0, 0, 0, 1, 1, 1).

    Args:
        guidance_scale: (B,) float32, s of each sample.
        dim: the number of features, 4 or more. Where it is odd, a 0 stands at the end.

    Returns:
        (B, dim) float32.
    """
    raise NotImplementedError


class APG:
    """Adaptive projected guidance (Sadat et al. 2025, algorithm 1), in the form that diffusers has as its default.

    For each step, with d = cond − uncond and every sample by itself:

    1. momentum β: d ← d + β·(what d was after this line in the step before; nothing in the first step)
    2. the norm is limited to r: d ← d·min(1, r/|d|), |d| the root of the sum of squares over all axes but the batch
    3. d = d∥ + d⊥, where d∥ is the projection of d on the direction of cond, over the same axes (0 where cond is 0
       everywhere)
    4. the answer is uncond + s·(d⊥ + η·d∥), at every s

    By hand: s = 2, η = 0.5, r = 0 (no limit), no momentum, cond = (4, 0), uncond = (1, −4): d = (3, 4), d∥ = (3, 0),
    and the answer is (1, −4) + 2·(1.5, 4) = (4, 4). With r = 2.5 it is (2.5, 0).

    An instance serves one picture, or one batch of them. Two instances may be used in turns and must not disturb each
    other.
    """

    def __init__(self, scale: float, eta: float, norm_threshold: float, momentum: float | None) -> None:
        """Begin one picture.

        Args:
            scale: s.
            eta: η, the weight of the parallel part; 1 keeps it whole.
            norm_threshold: r, 0 or more; 0 means no limit.
            momentum: β, often negative; None, like 0, means no momentum.
        """
        raise NotImplementedError

    def __call__(self, cond: torch.Tensor, uncond: torch.Tensor) -> torch.Tensor:
        """Guide one step; called once a step, in order.

        Args:
            cond: the prediction under the prompt, (B, ...), any number of further axes; float32, float16 or bfloat16.
            uncond: the prediction without it, as `cond`.

        Returns:
            The guided prediction: shape and dtype of `cond`. Compute in float32 and round at the end: in float16 a sum
            of squares above 65504 is infinite. Differences and memory in the dtype of `cond`, as diffusers has them,
            pass as well.
        """
        raise NotImplementedError


def guided_sample(
    model: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    scheduler: Any,
    x: torch.Tensor,
    cond: torch.Tensor,
    uncond: torch.Tensor,
    plan: dict[str, Any],
) -> torch.Tensor:
    """Return the sample after all steps of a scheduler, guided as a plan says (Ho & Salimans 2022, algorithm 2).

    In step i the prediction is uncond + s·(cond − uncond) with s = plan["scale"][i]; where that is 1, the conditional
    prediction alone. The scheduler is given the finished prediction. Each step calls the network once: with 2B latents
    where s is above 1, the unconditional half first, and with the B latents and `cond` where it is 1. The calls are
    graded beside the sample. By hand: a plan of ones is sampling without guidance, and scales of 1, 5, 1 cost a picture
    four evaluations in three calls.

    Args:
        model: `model(x, t, emb)` returns a prediction of the shape of its `x`; the three have the same number of rows,
            so t is a vector, and each row's prediction depends on that row alone.
        scheduler: has `timesteps`, (n,) int64, the noisiest first, and `step(prediction, t, x)`, which returns the
            sample after the step at `t`, one entry of `timesteps`, as it stands there or as an int. Call it once a
            step, in order.
        x: the start, (B, C, ...), float32.
        cond: (B, L, D) float32, the prompts' embeddings.
        uncond: as `cond`, the empty or negative prompts' embeddings.
        plan: {"scale": (n,) float32, "evaluations": int}, as `guidance_plan` makes it: a scale for each of the
            `timesteps`, and no scale below 1. It stays as it is.

    Returns:
        The last sample, shape of `x`.
    """
    raise NotImplementedError
