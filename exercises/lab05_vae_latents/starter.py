"""Lab 05, the VAE's latent space: how pictures become the small tensors that are denoised, and how they come back.

Read page.md first. Fill in each function and run `grade lab05`. Let each function stand by itself: one that calls
another of yours also inherits its mistakes; helpers and imports of your own are fine. Inputs stay the caller's: none is
changed, but a result may be a view of one, and may lie in memory in any order. Gradients matter where a docstring says
so. NaN, infinite numbers and divisors of 0 are not asked for.

How close is close: |yours − right| ≤ a + a·|right|, with a = 2e-5 in float32 (1e-3 for what `fit_latent_norm`
measures), 4e-3 in float16 and 1.6e-2 in bfloat16; levels are compared exactly.
"""

import torch

# Four predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_latent_shape() -> tuple[int, ...]:
    """A VAE has block_out_channels = (128, 256, 512, 512) and latent_channels = 4. Predict the shape of its latents.

    It is given 3 colour pictures, 768 high and 512 wide. Meant are the latents that are denoised, not the moments.

    Returns:
        The latents' shape, batch first.
    """
    raise NotImplementedError


def checkpoint_scaling() -> dict[str, float]:
    """A VAE's latents have mean 0 and standard deviation 4 over a data set. Predict four numbers.

    The denoiser was trained on latents that the factor has brought to deviation 1, and makes such latents.

    Returns:
        {"scaling_factor": the factor that belongs into this VAE's config,
         "divided": deviation of what the decoder is given when the denoiser's latents are divided by the factor,
         "forgotten": ... when they are handed over as they are,
         "multiplied": ... when they are multiplied by the factor}, four floats; two digits are enough.
    """
    raise NotImplementedError


def checkpoint_channels() -> tuple[str, ...]:
    """In latents (1, 4, 64, 64) of Stable Diffusion channel 0 is set to zero. Predict which colours change.

    They are decoded then; before, that channel was nowhere near zero.

    Returns:
        Those of "red", "green", "blue" that are another picture afterwards, in this order.
    """
    raise NotImplementedError


def checkpoint_memory() -> dict[str, int]:
    """A picture of 1024×1024 is decoded from latents (1, 4, 128, 128); the decoder's last block has 128 channels.

    Predict how many times as many elements as the latents are held by the picture, and by that block's output, which
    is as high and as wide as the picture.

    Returns:
        {"picture": times, "decoder": times}, two ints.
    """
    raise NotImplementedError


# Now the code.


def posterior(moments: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return what the encoder says of a picture: the likeliest latents, their spread, one draw, and the KL divergence.

        z = μ + σ·ε        KL = ½·Σ(μ² + σ² − 1 − log σ²)        (Kingma & Welling 2014, section 2.4 and appendix B)

    For one element with μ = 3 and log σ² = log 4: σ = 2, KL = ½·(9 + 4 − 1 − log 4) = 5.307.

    Args:
        moments: (B, 2C, h, w) float32, float16 or bfloat16; along axis 1 first all C channels of μ, then all of log σ².
            Limit log σ² to [−30, 20] before you use it, for σ and for KL.
        generator: a generator on the CPU. Draw ε from it, and from nowhere else, in one draw of shape (B, C, h, w), in
            row-major order and in float32; move it to the moments' device. (Another memory order or float64 are other
            numbers. A draw in the half type of the moments passes, too: so few are drawn there that they are the same,
            rounded.)

    Returns:
        "mode", "std", "sample": (B, C, h, w), dtype and device of `moments`. "kl": (B,), one sum a picture, always
        float32. Compute in float32 and round once, at the end. Gradients flow from the sample and from the KL into both
        halves of the moments (none where log σ² is beyond its limits). Nothing is read back from the device: no
        `.item()`, no `.numpy()`.
    """
    raise NotImplementedError


def latent_norm(
    z: torch.Tensor,
    scaling_factor: float,
    shift_factor: float | None,
    direction: str,
    mean: torch.Tensor | None = None,
    std: torch.Tensor | None = None,
) -> torch.Tensor:
    """Bring latents of the VAE to the scale on which a denoiser works, or a denoiser's latents back to the VAE.

        encode: (z − b)·s        decode: z/s + b

    where s is the scaling factor and b the shift. With statistics of the channels, μ_c stands for b and s/σ_c for s.
    For z = 5, s = 0.5, b = 1: encode gives 2, and decode of 2 gives 5. With μ_c = 1, σ_c = 4, encode gives 0.5, and
    decode of 0.5 gives 5.

    Args:
        z: (B, C, ...) with any number of further axes, none included: pictures (B, C, h, w), videos (B, C, f, h, w),
            sequences (B, C, L). float32, float16 or bfloat16.
        scaling_factor: s.
        shift_factor: b; None: there is no shift.
        direction: "encode", from the VAE to the denoiser, or "decode", back. Anything else is refused with a
            ValueError, also another spelling such as "Encode".
        mean: μ_c, (C,) float32, on the device of `z`. Both of mean and std are given, and then
            shift_factor is None, or neither.
        std: σ_c, (C,) float32.

    Returns:
        Shape, dtype and device of `z`. Compute in float32 and round once, at the end. It is differentiable in `z`, and
        nothing is read back from the device.
    """
    raise NotImplementedError


def latent_budget(
    height: int,
    width: int,
    batch: int,
    block_out_channels: tuple[int, ...],
    latent_channels: int,
    bytes_per_element: int,
    patch_size: int,
    cfg: bool,
) -> dict[str, tuple[int, ...] | int | float]:
    """Return what colour pictures cost as latents, and what attention over them costs.

    A picture of 512×512 with four blocks, 16 latent channels, 2 bytes, patch size 1 and guidance: latents
    (1, 16, 64, 64), 12 times fewer elements, 131072 bytes; 4096 tokens, 2·4096²·2 = 67108864 bytes of attention a head.

    Args:
        height, width: of the pictures, which have 3 channels.
        batch: how many pictures.
        block_out_channels: the VAE's, one entry a block. Each block but the last halves both sides.
        latent_channels: channels of the latents.
        bytes_per_element: 4 for float32, 2 for half precision.
        patch_size: a token of the denoiser is a patch of patch_size × patch_size latents.
        cfg: with classifier-free guidance the denoiser is given each latent twice. The loop still holds it once.

    Wherever something does not divide evenly, the rest is dropped on each side, as strided convolutions do: round down.
    Pictures are large enough that something is left.

    Returns:
        "latent_shape": what the loop holds, a tuple of four ints. "compression": elements of the pictures as they are
        given, what is dropped included, for each element of the latents that the loop holds, a float. "latent_bytes":
        bytes of what the loop holds, an int. "tokens": of one latent, an int. "attention_bytes_per_head": bytes of the
        attention matrices of one head, tokens × tokens for each latent that the denoiser is given in one call, an int.
        "pixel_tokens_over_latent_tokens": how many times as many tokens the pixels themselves would be, cut into
        patches of the same patch_size, a float.
    """
    raise NotImplementedError


def image_codec(u8: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    """Turn pictures into what the VAE's encoder takes, and what its decoder gives into pictures.

    The VAE works in [−1, 1]: level 0 is −1, level 51 is −0.6, level 255 is 1. Back, −0.6 is level 51, and −1.5 is level
    0.

    Args:
        u8: (B, H, W, 3) uint8, red, green, blue: pictures as they come from a file.
        y: (B', 3, H', W') float32, float16 or bfloat16: the decoder's output. It may leave [−1, 1] and is then limited.
            Its sizes need not be those of `u8`.

    Returns:
        "encoded": `u8` as (B, 3, H, W) float32 in [−1, 1]. "decoded": `y` as (B', H', W', 3) uint8, each value at the
        nearest level (of two that are equally near, either). Compute in float32, whatever dtype `y` has.
    """
    raise NotImplementedError


def img2img_latents(
    moments: torch.Tensor,
    timestep: int,
    alphas_cumprod: torch.Tensor,
    scaling_factor: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return the latents from which image to image starts: a picture's latents, noised to the level of `timestep`.

        x_t = √ᾱ_t·(s·z) + √(1−ᾱ_t)·ε        z = μ + σ·ε', the draw of `posterior`

    For z = 3, s = 0.5, ᾱ_t = 0.64 and ε = 1: x_t = 0.8·1.5 + 0.6·1 = 1.8.

    Args:
        moments: (B, 2C, h, w) float32, float16 or bfloat16, as in `posterior`: μ, then log σ², which is limited to
            [−30, 20].
        timestep: t, 0 to T − 1, the same for the whole batch.
        alphas_cumprod: ᾱ, (T,) float32, on the device of `moments`.
        scaling_factor: s; this VAE has no shift.
        generator: a generator on the CPU. Two draws of shape (B, C, h, w) come from it, each as in `posterior`: first
            ε', for z, then ε.

    Returns:
        x_t: (B, C, h, w), dtype and device of `moments`. Compute in float32 and round once, at the end; a z that was
        rounded in between, as `posterior` returns it, passes. Nothing is read back from the device.
    """
    raise NotImplementedError


def fit_latent_norm(batches: list[torch.Tensor]) -> dict[str, float | torch.Tensor]:
    """Measure a data set's latents: the scaling factor, and mean and standard deviation of each channel.

    The factor is 1 over the standard deviation of all elements, whatever their channel (Rombach et al. 2022, appendix
    G). Batches (1, 2, 1, 1) with the values [1, 5] and [3, 7]: means 2 and 6, deviations 1 and 1; all four lie around 4
    with variance (9 + 1 + 1 + 9)/4 = 5, so the factor is 1/√5 = 0.447.

    Args:
        batches: one or more tensors (B_i, C, h_i, w_i), float32, float16 or bfloat16. C is the same for all; length and
            sizes may differ from batch to batch. Every element of the data set counts the same.

    Returns:
        "scaling_factor": a float. "mean", "std": (C,) float32, over all batches. Compute in float32 or float64. The
        example divides a sum of squares by N. N − 1 passes, too: you are asked about thousands of elements, where it
        makes no difference.
    """
    raise NotImplementedError
