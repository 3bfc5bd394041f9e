"""Lab 05, the VAE's latent space: how pictures become the small tensors that are denoised, and how they come back.

Read page.md first. Fill in each function and run `grade lab05`. Let each function stand by itself: one that calls
another of yours also inherits its mistakes. Inputs stay the caller's: none is changed.
"""

import torch

# Four predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_latent_shape() -> tuple[int, ...]:
    """A VAE has block_out_channels = (128, 256, 512, 512) and latent_channels = 4. Predict the shape of its latents.

    It is given 3 colour pictures, 768 high and 512 wide. Meant are the latents that are denoised, not the moments.

    Returns:
        The latents' shape, batch first.
    """
    pictures = 3
    halvings = 3  # four blocks, and the last one does not halve
    height = 768
    width = 512
    for _ in range(halvings):
        height = height // 2
        width = width // 2
    return (pictures, 4, height, width)


def checkpoint_scaling() -> dict[str, float]:
    """A VAE's latents have mean 0 and standard deviation 4 over a data set. Predict four numbers.

    The denoiser was trained on latents that the factor has brought to deviation 1, and makes such latents.

    Returns:
        {"scaling_factor": the factor that belongs into this VAE's config,
         "divided": deviation of what the decoder is given when the denoiser's latents are divided by the factor,
         "forgotten": ... when they are handed over as they are,
         "multiplied": ... when they are multiplied by the factor}, four floats; two digits are enough.
    """
    vae_deviation = 4.0
    factor = 1.0 / vae_deviation
    denoiser_deviation = 1.0
    answer = {}
    answer["scaling_factor"] = factor
    answer["divided"] = denoiser_deviation / factor
    answer["forgotten"] = denoiser_deviation
    answer["multiplied"] = denoiser_deviation * factor
    return answer


def checkpoint_channels() -> tuple[str, ...]:
    """In latents (1, 4, 64, 64) channel 0 is set to zero before they are decoded. Predict which colours change.

    Returns:
        Those of "red", "green", "blue" that are another picture afterwards, in this order.
    """
    return ("red", "green", "blue")


def checkpoint_memory() -> dict[str, int]:
    """A picture of 1024×1024 is decoded from latents (1, 4, 128, 128); the decoder's last block has 128 channels.

    Predict how many times as many elements as the latents are held by the picture, and by that block's output, which
    is as high and as wide as the picture.

    Returns:
        {"picture": times, "decoder": times}, two ints.
    """
    latents = 1 * 4 * 128 * 128
    picture = 1 * 3 * 1024 * 1024
    last_block = 1 * 128 * 1024 * 1024
    return {"picture": picture // latents, "decoder": last_block // latents}


# Helpers of mine.


def _limited(log_var: torch.Tensor) -> torch.Tensor:
    """Return the log-variance limited to [-30, 20]."""
    return torch.clamp(log_var, min=-30.0, max=20.0)


def _patches(height: int, width: int, patch_size: int) -> int:
    """Return how many whole patches fit, each side for itself."""
    down = height // patch_size
    across = width // patch_size
    return down * across


# Now the code.


def posterior(moments: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return what the encoder says of a picture: the likeliest latents, their spread, one draw, and the KL divergence.

        z = μ + σ·ε        KL = ½·Σ(μ² + σ² − 1 − log σ²)        (Kingma & Welling 2014, section 2.4 and appendix B)

    For one element with μ = 3 and log σ² = log 4: σ = 2, KL = ½·(9 + 4 − 1 − log 4) = 5.307.

    Args:
        moments: (B, 2C, h, w) float32, float16 or bfloat16; along axis 1 first all C channels of μ, then all of log σ².
            Limit log σ² to [−30, 20] before you use it, for σ and for KL.
        generator: a generator on the CPU. Draw ε from it, and from nowhere else, in one draw of shape (B, C, h, w)
            (not of another memory order, and not in float64: those are other numbers); move it to the moments' device.

    Returns:
        "mode", "std", "sample": (B, C, h, w), dtype and device of `moments`. "kl": (B,), one sum a picture, always
        float32. Compute in float32 and round once, at the end. Gradients flow from the sample into both halves of the
        moments. Nothing is read back from the device: no `.item()`, no `.numpy()`.
    """
    batch = moments.shape[0]
    channels = moments.shape[1] // 2
    rows = moments.shape[2]
    columns = moments.shape[3]

    mu = moments[:, 0:channels].to(torch.float64)
    log_var = _limited(moments[:, channels : 2 * channels].to(torch.float64))
    variance = torch.exp(log_var)
    sigma = torch.sqrt(variance)

    # the numbers come from the CPU, as float32, and only then become something else
    eps_cpu = torch.randn((batch, channels, rows, columns), generator=generator, dtype=torch.float32)
    eps = eps_cpu.to(moments.device).to(torch.float64)
    draw = mu + sigma * eps

    # mu^2 - 1 is (mu - 1)(mu + 1)
    terms = (mu - 1.0) * (mu + 1.0) + variance - log_var
    kl_list = []
    for i in range(batch):
        kl_of_picture = terms[i].sum() / 2.0
        kl_list.append(kl_of_picture)
    kl = torch.stack(kl_list).to(torch.float32)

    result = {}
    result["mode"] = mu.to(moments.dtype)
    result["std"] = sigma.to(moments.dtype)
    result["sample"] = draw.to(moments.dtype)
    result["kl"] = kl
    return result


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
    For z = 5, s = 0.5, b = 1: encode gives 2, and decode of 2 gives 5. With μ_c = 1, σ_c = 4, encode gives 0.5.

    Args:
        z: (B, C, ...) with any number of further axes: pictures (B, C, h, w), videos (B, C, f, h, w), sequences
            (B, C, L). float32, float16 or bfloat16.
        scaling_factor: s.
        shift_factor: b; None: there is no shift.
        direction: "encode", from the VAE to the denoiser, or "decode", back. Anything else is refused with a
            ValueError.
        mean: μ_c, (C,) float32, on the device of `z`. mean and std come together, and then shift_factor is None.
        std: σ_c, (C,) float32.

    Returns:
        Shape, dtype and device of `z`. Compute in float32 and round once, at the end. It is differentiable in `z`, and
        nothing is read back from the device.
    """
    if direction not in ("encode", "decode"):
        raise ValueError("direction has to be 'encode' or 'decode', not " + repr(direction))

    number_of_channels = z.shape[1]
    new_channels = []
    for c in range(number_of_channels):
        values = z[:, c].to(torch.float64)
        shift = 0.0
        factor = scaling_factor
        if shift_factor is not None:
            shift = shift_factor
        if mean is not None and std is not None:
            shift = mean[c].to(torch.float64)
            factor = scaling_factor / std[c].to(torch.float64)
        if direction == "encode":
            new_values = values * factor - shift * factor
        else:
            new_values = (values + shift * factor) / factor
        new_channels.append(new_values)
    return torch.stack(new_channels, dim=1).to(z.dtype)


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

    A picture of 512×512 with four blocks, 4 latent channels, 2 bytes, patch size 1 and guidance: latents
    (1, 4, 64, 64), 48 times fewer elements, 32768 bytes; 4096 tokens, 2·4096²·2 = 67108864 bytes of attention a head.

    Args:
        height, width: of the pictures, which have 3 channels.
        batch: how many pictures.
        block_out_channels: the VAE's, one entry a block. Each block but the last halves both sides.
        latent_channels: channels of the latents.
        bytes_per_element: 4 for float32, 2 for half precision.
        patch_size: a token of the denoiser is a patch of patch_size × patch_size latents.
        cfg: with classifier-free guidance the denoiser is given each latent twice. The loop still holds it once.

    Wherever something does not divide evenly, the rest is dropped, as strided convolutions do: round down.

    Returns:
        "latent_shape": what the loop holds, a tuple of four ints. "compression": elements of the pictures for each
        element of the latents, a float. "latent_bytes": bytes of what the loop holds, an int. "tokens": of one latent,
        an int. "attention_bytes_per_head": bytes of the attention matrices of one head, tokens × tokens for each
        latent that the denoiser is given in one call, an int. "pixel_tokens_over_latent_tokens": how many times as many
        tokens the pixels themselves would be, cut into patches of the same patch_size, a float.
    """
    latent_height = height
    latent_width = width
    for _ in range(len(block_out_channels) - 1):
        latent_height = latent_height // 2
        latent_width = latent_width // 2
    latent_shape = (batch, latent_channels, latent_height, latent_width)

    latent_elements = 1
    for side in latent_shape:
        latent_elements = latent_elements * side
    picture_elements = batch * 3 * height * width

    tokens = _patches(latent_height, latent_width, patch_size)
    pixel_tokens = _patches(height, width, patch_size)

    latents_in_one_call = batch
    if cfg:
        latents_in_one_call = batch + batch
    one_matrix = tokens * tokens * bytes_per_element

    return {
        "latent_shape": latent_shape,
        "compression": picture_elements / latent_elements,
        "latent_bytes": latent_elements * bytes_per_element,
        "tokens": tokens,
        "attention_bytes_per_head": latents_in_one_call * one_matrix,
        "pixel_tokens_over_latent_tokens": pixel_tokens / tokens,
    }


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
        nearest level. Compute in float32, whatever dtype `y` has.
    """
    colours = []
    for c in range(3):
        levels = u8[:, :, :, c].to(torch.float64)
        colours.append(levels / 127.5 - 1.0)
    encoded = torch.stack(colours, dim=1).to(torch.float32)

    colours_back = []
    for c in range(3):
        values = y[:, c, :, :].to(torch.float64)
        levels = values * 127.5 + 127.5
        levels = torch.clamp(levels, 0.0, 255.0)
        nearest = torch.floor(levels + 0.5)
        colours_back.append(nearest.to(torch.uint8))
    decoded = torch.stack(colours_back, dim=3)

    return {"encoded": encoded, "decoded": decoded}


def img2img_latents(
    moments: torch.Tensor,
    timestep: int,
    alphas_cumprod: torch.Tensor,
    scaling_factor: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return the latents from which image to image starts: a picture's latents, noised to the level of `timestep`.

        x_t = √ᾱ_t·(s·z) + √(1−ᾱ_t)·ε        z = μ + σ·ε', the draw of `posterior`

    For μ = 3, σ = 0, s = 0.5, ᾱ_t = 0.64 and ε = 1: x_t = 0.8·1.5 + 0.6·1 = 1.8.

    Args:
        moments: (B, 2C, h, w) float32, float16 or bfloat16, as in `posterior`: μ, then log σ², which is limited to
            [−30, 20].
        timestep: t, the same for the whole batch; an index into `alphas_cumprod`.
        alphas_cumprod: ᾱ, (T,) float32, on the device of `moments`.
        scaling_factor: s; this VAE has no shift.
        generator: a generator on the CPU. Two draws of shape (B, C, h, w) come from it: first ε', for z, then ε.

    Returns:
        x_t: (B, C, h, w), dtype and device of `moments`. Compute in float32 and round once, at the end. Nothing is
        read back from the device.
    """
    shape = (moments.shape[0], moments.shape[1] // 2, moments.shape[2], moments.shape[3])
    channels = shape[1]

    # first the posterior's draw, second the noise
    eps_posterior = torch.randn(shape, generator=generator, dtype=torch.float32)
    eps_noise = torch.randn(shape, generator=generator, dtype=torch.float32)
    eps_posterior = eps_posterior.to(moments.device).to(torch.float64)
    eps_noise = eps_noise.to(moments.device).to(torch.float64)

    mu = moments[:, :channels].to(torch.float64)
    log_var = _limited(moments[:, channels:].to(torch.float64))
    sigma = torch.exp(0.5 * log_var)
    z = mu + sigma * eps_posterior
    x_0 = scaling_factor * z

    alpha_bar = alphas_cumprod[timestep].to(torch.float64)
    signal = torch.sqrt(alpha_bar)
    noise_level = torch.sqrt(1.0 - alpha_bar)
    x_t = signal * x_0 + noise_level * eps_noise
    return x_t.to(moments.dtype)


def fit_latent_norm(batches: list[torch.Tensor]) -> dict[str, float | torch.Tensor]:
    """Measure a data set's latents: the scaling factor, and mean and standard deviation of each channel.

    The factor is 1 over the standard deviation of all elements, whatever their channel (Rombach et al. 2022, appendix
    G). Batches (1, 2, 1, 1) with the values [1, 5] and [3, 7]: means 2 and 6, deviations 1 and 1; all four lie around 4
    with variance (9 + 1 + 1 + 9)/4 = 5, so the factor is 1/√5 = 0.447.

    Args:
        batches: one or more tensors (B_i, C, h_i, w_i), float32, float16 or bfloat16. C is the same for all; length and
            sizes may differ from batch to batch. Every element of the data set counts the same.

    Returns:
        "scaling_factor": a float. "mean", "std": (C,) float32, over all batches. Compute in float32. Whether a sum of
        squares is divided by N or by N − 1 is up to you: with thousands of elements it makes no difference.
    """
    channels = batches[0].shape[1]

    # all values of one channel in one row, whatever batch they come from
    rows = []
    for c in range(channels):
        pieces = []
        for batch in batches:
            pieces.append(batch[:, c].to(torch.float64).reshape(-1))
        rows.append(torch.cat(pieces))

    means = []
    deviations = []
    for row in rows:
        m = row.sum() / row.numel()
        squares = (row - m) ** 2
        means.append(m)
        deviations.append(torch.sqrt(squares.sum() / row.numel()))

    everything = torch.cat(rows)
    centre = everything.sum() / everything.numel()
    spread = torch.sqrt(((everything - centre) ** 2).sum() / everything.numel())

    return {
        "scaling_factor": 1.0 / float(spread),
        "mean": torch.stack(means).to(torch.float32),
        "std": torch.stack(deviations).to(torch.float32),
    }
