"""Checks of lab 05. The docstring of a check is the sentence that a student reads.

Where a generator is used in half precision, fewer than 16 latent values are drawn: then every version of torch draws
the float32 numbers, rounded, and both draws are right.
"""

from typing import Any

import numpy as np

from grader.kit import Recipe, array, check, entry, linear_betas, part, scaled_linear_betas, tensor, values, zeros
from grader.kit import alphas_cumprod as levels


def encoder_output(draw: Any, shape: tuple[int, ...], low: float, high: float) -> Recipe:
    """Return moments (B, 2C, h, w): normal means, log-variances between `low` and `high`."""
    rng = np.random.default_rng(draw.seed())
    half = (shape[0], shape[1] // 2, *shape[2:])
    moments = np.concatenate([rng.normal(size=half), rng.uniform(low, high, size=half)], axis=1)
    return array(moments.astype(np.float32))


def decoder_output(draw: Any, shape: tuple[int, ...], beyond: float) -> Recipe:
    """Return a decoder's output (B, 3, H, W): well away from the middle between two levels, up to `beyond` levels out.

    So right code agrees in every entry, whatever the order of its operations.
    """
    rng = np.random.default_rng(draw.seed())
    level = rng.integers(-beyond, 256 + beyond, size=shape) + rng.uniform(-0.4, 0.4, size=shape)
    return array((level / 127.5 - 1).astype(np.float32))


def latents(draw: Any, shape: tuple[int, ...], offset: float, spread: float) -> Recipe:
    """Return a batch of latents whose channels differ in mean and deviation; all lie around `offset`."""
    rng = np.random.default_rng(draw.seed())
    channel = np.arange(shape[1]).reshape(1, -1, 1, 1)
    z = rng.normal(size=shape) * spread * (1 + 0.5 * channel) + offset + 0.8 * channel
    return array(z.astype(np.float32))


# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_latent_shape", visible=True, tells="Not yet. How many of the four blocks halve the sides?")
def test_prediction_of_the_latents_shape(compare):
    """Prediction: the latents' shape of three pictures."""
    compare.checkpoint_latent_shape()


@check("checkpoint_scaling", visible=True, tells="Not yet. Which deviation did each side see in its training?")
def test_prediction_of_the_scaling(compare):
    """Prediction: the factor, and what three ways to use it hand to the decoder."""
    compare.checkpoint_scaling()


@check(
    "checkpoint_channels", visible=True, tells="Not yet. What does the decoder's first convolution do with channels?"
)
def test_prediction_of_the_channels(compare):
    """Prediction: the colours that hang on one latent channel."""
    compare.checkpoint_channels()


@check("checkpoint_memory", visible=True, tells="Not yet. Multiply each shape out, channels included.")
def test_prediction_of_the_memory(compare):
    """Prediction: how large picture and decoder are beside the latents."""
    compare.checkpoint_memory()


# posterior


def compare_said(compare: Any, draw: Any, keys: tuple[str, ...], *moments: Recipe) -> None:
    """Compare entries that hang on no draw, for several moments."""
    for one in moments:
        compare.play("said_of_a_picture", view=part(*keys), moments=one, seed=draw.seed())


def compare_samples(compare: Any, draw: Any, *moments: Recipe) -> None:
    """Compare the draws from several posteriors, and what is left of each one's generator."""
    for one in moments:
        compare.play("answer", view=part("sample"), function="posterior", moments=one, generator=draw.generator())


def several(draw: Any) -> list[Recipe]:
    """Return moments of other shapes and dtypes: as many pictures as channels and places, and a single channel."""
    return [
        draw.normal(4, 4, 4, 4),
        encoder_output(draw, (3, 2, 8, 2), -5.0, 2.0),
        encoder_output(draw, (2, 6, 1, 2), -4.0, 0.5).to("bfloat16"),
        draw.normal(1, 4, 16, 3),
    ]


@check("posterior", visible=True)
def test_mode_and_spread(compare, draw):
    """Mode and std of several pictures with many channels."""
    compare_said(compare, draw, ("mode", "std"), draw.normal(3, 32, 5, 7))


@check("posterior", visible=True)
def test_sample(compare, draw):
    """A draw from the posterior of one picture, and of several with many channels."""
    compare_samples(compare, draw, draw.normal(1, 8, 4, 8), draw.normal(3, 32, 5, 7))


@check("posterior", visible=True)
def test_divergence(compare, draw):
    """The KL of several pictures with many channels, one number each."""
    compare_said(compare, draw, ("kl",), draw.normal(3, 32, 5, 7))


@check("posterior", visible=True)
def test_very_sharp_and_very_wide(compare, draw):
    """Where the encoder is absurdly sure, or not at all, log σ² stops at its limits."""
    compare.posterior(encoder_output(draw, (2, 8, 4, 4), -60.0, -20.0), draw.generator())
    compare.posterior(encoder_output(draw, (2, 8, 4, 4), 12.0, 34.0), draw.generator())


@check("posterior", visible=True)
def test_float16_moments(compare, draw):
    """From float16 moments come float16 latents, and a KL in float32."""
    compare.posterior(draw.normal(2, 6, 2, 1).to("float16"), draw.generator())


@check("posterior", visible=True, property=True)
def test_no_divergence_from_itself(student, draw):
    """An encoder that says N(0, 1) is at no distance from N(0, 1), and at some distance everywhere else."""
    kl = values(entry(student.posterior(zeros(2, 8, 3, 4), draw.generator()), "kl"), 2)
    assert (abs(kl) < 1e-5).all(), "The KL of N(0, 1) from itself is not 0."
    kl = values(entry(student.posterior(draw.normal(6, 8, 2, 2) * 0.5, draw.generator()), "kl"), 6)
    assert (kl > 0).all(), "A KL divergence is never negative, and 0 for N(0, 1) alone."


@check("posterior")
def test_mode_and_spread_in_turn(compare, draw):
    """Mode and std, for other shapes and dtypes one after the other."""
    compare_said(compare, draw, ("mode", "std"), *several(draw))


@check("posterior")
def test_samples_in_turn(compare, draw):
    """Draws, for other shapes and dtypes one after the other."""
    compare_samples(compare, draw, *several(draw))


@check("posterior")
def test_divergences_in_turn(compare, draw):
    """The KL, for other shapes and dtypes one after the other."""
    compare_said(compare, draw, ("kl",), *several(draw))


@check("posterior")
def test_a_large_divergence_in_float16(compare, draw):
    """The KL of a whole picture may be larger than any float16 number."""
    compare_said(compare, draw, ("kl",), encoder_output(draw, (2, 8, 36, 40), -29.0, -25.0).to("float16"))


@check("posterior")
def test_strided_moments(compare, draw):
    """Moments that are not contiguous in memory say the same; their sample is not looked at here."""
    compare_said(compare, draw, ("mode", "std", "kl"), draw.normal(3, 7, 5, 8).transpose(1, 3))


@check("posterior")
def test_gradients_reach_the_moments(compare, draw):
    """Gradients flow through the sample into both halves of the moments."""
    moments, weight = encoder_output(draw, (2, 8, 4, 4), -3.0, 1.0), draw.normal(2, 4, 4, 4)
    compare.play("said_gradient", key="sample", moments=moments, weight=weight, generator=draw.generator())


@check("posterior")
def test_gradients_of_the_divergence(compare, draw):
    """Gradients flow through the KL into both halves of the moments."""
    moments, weight = encoder_output(draw, (3, 6, 2, 5), -3.0, 1.0), draw.normal(3)
    compare.play("said_gradient", key="kl", moments=moments, weight=weight, generator=draw.generator())


@check("posterior")
def test_moments_on_another_device(compare, draw):
    """The same call works where the moments live elsewhere; the generator stays on the CPU."""
    tensors = {"moments": draw.normal(2, 8, 4, 6)}
    compare.play("two_devices", function="posterior", tensors=tensors, generator=draw.generator())


# latent_norm


@check("latent_norm", visible=True)
def test_encode_with_a_factor(compare, draw):
    """To the denoiser, with a factor alone, as in Stable Diffusion 1.5."""
    compare.latent_norm(draw.normal(2, 4, 5, 7) * 5.0, 0.18215, None, "encode")


@check("latent_norm", visible=True)
def test_decode_with_a_factor(compare, draw):
    """Back to the VAE, with a factor alone."""
    compare.latent_norm(draw.normal(2, 4, 5, 7), 0.18215, None, "decode")


@check("latent_norm", visible=True)
def test_encode_with_a_shift(compare, draw):
    """To the denoiser, with a factor above 1 and a shift, as in Stable Diffusion 3."""
    compare.latent_norm(draw.normal(2, 16, 4, 6), 1.5305, 0.0609, "encode")


@check("latent_norm", visible=True)
def test_decode_with_a_shift(compare, draw):
    """Back to the VAE, with a factor and a shift, as in FLUX."""
    compare.latent_norm(draw.normal(2, 16, 4, 6), 0.3611, 0.1159, "decode")


@check("latent_norm", visible=True)
def test_encode_with_statistics(compare, draw):
    """To the denoiser, with mean and deviation of each channel."""
    mean, std = draw.normal(4), draw.uniform(4) + 0.4
    compare.latent_norm(draw.normal(3, 4, 5, 7), 0.5, None, "encode", mean, std)


@check("latent_norm", visible=True)
def test_decode_with_statistics(compare, draw):
    """Back to the VAE, with mean and deviation of each channel."""
    mean, std = draw.normal(4), draw.uniform(4) + 0.4
    compare.latent_norm(draw.normal(3, 4, 5, 7), 0.5, None, "decode", mean, std)


@check("latent_norm", visible=True, property=True)
def test_unknown_direction(compare, draw):
    """A direction that is not known is refused with a ValueError."""
    compare.latent_norm(draw.normal(1, 4, 2, 2), 0.18215, None, "forward")


@check("latent_norm", property=True)
def test_other_spellings_are_refused(compare, draw):
    """Only the two directions as they are written are known."""
    for direction in ("Encode", "decoder"):
        compare.latent_norm(draw.normal(1, 4, 2, 2), 0.18215, None, direction)


@check("latent_norm")
def test_any_factor_and_shift(compare, draw):
    """Factor and shift are those that are given, on both ways."""
    factor, shift = draw.real(0.2, 0.7), draw.real(0.5, 2.0)
    compare.latent_norm(draw.normal(2, 3, 6, 5), factor, shift, "encode")
    compare.latent_norm(draw.normal(1, 8, 3, 3), factor, -shift, "decode")


@check("latent_norm")
def test_videos_and_sequences(compare, draw):
    """Statistics follow the channel axis, for videos and for sequences."""
    mean, std = draw.normal(6), draw.uniform(6) + 0.3
    compare.latent_norm(draw.normal(2, 6, 2, 3, 5), draw.real(0.3, 0.8), None, "encode", mean, std)
    compare.latent_norm(draw.normal(3, 6, 4), draw.real(1.2, 2.0), None, "decode", mean, std)


@check("latent_norm")
def test_channels_as_many_as_columns(compare, draw):
    """Statistics follow the channel axis, also where every axis has that length."""
    mean, std = draw.normal(4), draw.uniform(4) + 0.3
    for direction in ("encode", "decode"):
        compare.latent_norm(draw.normal(4, 4, 4, 4), draw.real(0.3, 0.8), None, direction, mean, std)


@check("latent_norm")
def test_half_precision_of_the_norm(compare, draw):
    """Half precision stays half precision, on both ways."""
    mean, std = draw.normal(8), draw.uniform(8) + 0.4
    compare.latent_norm(draw.normal(2, 8, 3, 5).to("float16"), 0.3611, 0.1159, "encode")
    compare.latent_norm(draw.normal(1, 8, 4, 4).to("bfloat16"), 1.5305, 0.7, "decode")
    compare.latent_norm(draw.normal(3, 8, 2, 5).to("bfloat16"), 0.6, None, "encode", mean, std)
    compare.latent_norm(draw.normal(1, 8, 2, 3).to("float16"), 0.6, None, "decode", mean, std)


@check("latent_norm")
def test_a_large_shift_in_half_precision(compare, draw):
    """Where a large shift leaves little, only the last rounding may lose digits."""
    compare.latent_norm((draw.normal(2, 8, 4, 6) * 0.1 + -63.0).to("bfloat16"), 0.7, 90.0, "decode")


@check("latent_norm")
def test_strided_latents(compare, draw):
    """Latents that are not contiguous in memory are scaled all the same, and stay what they were."""
    compare.latent_norm(draw.normal(2, 5, 4, 3).transpose(1, 3), 0.4, 1.5, "encode")
    mean, std = draw.normal(3), draw.uniform(3) + 0.4
    compare.latent_norm(draw.normal(2, 5, 4, 3).transpose(1, 3), 0.4, None, "decode", mean, std)


@check("latent_norm")
def test_gradients_reach_the_latents(compare, draw):
    """Gradients flow through, on both ways."""
    z, weight = draw.normal(2, 4, 3, 5), draw.normal(2, 4, 3, 5)
    given = {"scaling_factor": draw.real(0.2, 0.6), "shift_factor": 0.3}
    for direction in ("encode", "decode"):
        compare.play("norm_gradient", z=z, weight=weight, direction=direction, **given)


@check("latent_norm")
def test_latents_on_another_device(compare, draw):
    """The same call works where latents and statistics live elsewhere."""
    tensors = {"z": draw.normal(2, 4, 3, 5), "mean": draw.normal(4), "std": draw.uniform(4) + 0.4}
    given = {"scaling_factor": 0.7, "shift_factor": None}
    for direction in ("encode", "decode"):
        compare.play("two_devices", function="latent_norm", tensors=tensors, direction=direction, **given)


# latent_budget. One check for each entry, so that one slip costs one entry.

SD = {
    "height": 768,
    "width": 512,
    "batch": 2,
    "block_out_channels": (128, 256, 512, 512),
    "latent_channels": 4,
    "bytes_per_element": 2,
    "patch_size": 1,
    "cfg": True,
}
DIT = {**SD, "batch": 1, "latent_channels": 16, "patch_size": 2, "bytes_per_element": 4}


def compare_entry(compare: Any, key: str, *budgets: dict[str, Any]) -> None:
    """Compare one entry of several budgets."""
    for sizes in budgets:
        compare.play("answer", view=part(key), function="latent_budget", **sizes)


def crooked(draw: Any, cfg: bool, patch_size: int, blocks: int) -> dict[str, Any]:
    """Return sizes that nothing divides, for a VAE of so many blocks; what decides nothing is drawn."""
    unit = patch_size * 2 ** (blocks - 1)
    return {
        # One less than a multiple of patch and factor: rounding up would give one more.
        "height": unit * draw.whole(6, 9) - 1,
        "width": unit * draw.whole(11, 15) - 1,
        "batch": draw.whole(3, 5),
        "block_out_channels": (32,) * blocks,
        "latent_channels": draw.whole(5, 12),
        "bytes_per_element": draw.choice([2, 8]),
        "patch_size": patch_size,
        "cfg": cfg,
    }


@check("latent_budget", visible=True)
def test_latent_shape(compare):
    """The latents' shape: batch, channels, height, width."""
    compare_entry(compare, "latent_shape", SD, DIT)


@check("latent_budget", visible=True)
def test_compression(compare):
    """How many elements of the picture one element of the latents stands for."""
    compare_entry(compare, "compression", SD, DIT)


@check("latent_budget", visible=True)
def test_latent_bytes(compare):
    """The bytes of the latents that the loop holds."""
    compare_entry(compare, "latent_bytes", SD, DIT)


@check("latent_budget", visible=True)
def test_tokens(compare):
    """How many tokens a transformer makes of one latent."""
    compare_entry(compare, "tokens", SD, DIT)


@check("latent_budget", visible=True)
def test_attention_bytes(compare):
    """The bytes of one head's attention matrices, in one call of the denoiser."""
    compare_entry(compare, "attention_bytes_per_head", SD, DIT)


@check("latent_budget", visible=True)
def test_tokens_of_the_pixels(compare):
    """How many times as many tokens the pixels would be."""
    compare_entry(compare, "pixel_tokens_over_latent_tokens", SD, DIT)


@check("latent_budget")
def test_shape_of_any_vae(compare, draw):
    """The latents' shape for other VAEs: other blocks, other channels, sizes that do not divide."""
    compare_entry(compare, "latent_shape", *(crooked(draw, True, 2, blocks) for blocks in (5, 1, 3)))


@check("latent_budget")
def test_compression_of_any_vae(compare, draw):
    """The compression for other VAEs; where something was dropped, it counts as pixels and not as latents."""
    compare_entry(compare, "compression", crooked(draw, True, 2, 5), crooked(draw, False, 1, 2))


@check("latent_budget")
def test_bytes_of_any_vae(compare, draw):
    """The bytes for other VAEs, with and without guidance."""
    compare_entry(compare, "latent_bytes", crooked(draw, True, 2, 5), crooked(draw, False, 1, 3))


@check("latent_budget")
def test_tokens_of_any_patch(compare, draw):
    """The tokens for other patches, also where the latents do not divide."""
    sizes = crooked(draw, True, 3, 5), crooked(draw, False, 2, 2), crooked(draw, False, 1, 1)
    compare_entry(compare, "tokens", *sizes)


@check("latent_budget")
def test_attention_of_any_patch(compare, draw):
    """The attention matrices with and without guidance, for other patches and precisions."""
    compare_entry(compare, "attention_bytes_per_head", crooked(draw, True, 2, 5), crooked(draw, False, 3, 3))


@check("latent_budget")
def test_pixels_of_any_patch(compare, draw):
    """The pixels' tokens for other patches and other VAEs."""
    sizes = crooked(draw, True, 3, 5), crooked(draw, False, 2, 3), crooked(draw, True, 2, 1)
    compare_entry(compare, "pixel_tokens_over_latent_tokens", *sizes)


# image_codec. The two ways are looked at one by one.


def compare_way(compare: Any, key: str, u8: Recipe, y: Recipe) -> None:
    """Compare one of the two ways."""
    compare.play("answer", view=part(key), function="image_codec", u8=u8, y=y)


def picture(draw: Any, *shape: int) -> Recipe:
    """Return a picture (B, H, W, 3) uint8 of any levels."""
    return (draw.uniform(*shape) * 256.0).to("uint8")


NOTHING = zeros(1, 3, 2, 2)
BLACK = zeros(1, 2, 2, 3).to("uint8")


@check("image_codec", visible=True)
def test_encoded(compare, draw):
    """Levels become numbers in [−1, 1], channels come first."""
    compare_way(compare, "encoded", picture(draw, 2, 5, 7, 3), NOTHING)


@check("image_codec", visible=True)
def test_encoded_levels(compare):
    """Black is −1, white is 1, and everything between lies evenly between."""
    compare_way(compare, "encoded", tensor([[[[0, 51, 255], [255, 0, 128]]]], dtype="uint8"), NOTHING)


@check("image_codec", visible=True)
def test_decoded(compare, draw):
    """Numbers in [−1, 1] become the nearest level, channels come last."""
    compare_way(compare, "decoded", BLACK, decoder_output(draw, (2, 3, 5, 7), 0))


@check("image_codec", visible=True)
def test_decoded_beyond_the_range(compare, draw):
    """What the decoder puts beyond [−1, 1] becomes black or white."""
    compare_way(compare, "decoded", BLACK, decoder_output(draw, (1, 3, 6, 4), 200))


@check("image_codec", visible=True, property=True)
def test_there_and_back(student):
    """Each of the 256 levels has a number of its own, and comes back from it."""
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    numbers = (levels.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
    answer = student.image_codec(array(levels), array(numbers))
    encoded, decoded = values(entry(answer, "encoded"), 1, 3, 16, 16), values(entry(answer, "decoded"), 1, 16, 16, 3)
    assert (np.diff(encoded.reshape(3, 256)) > 0).all(), "A higher level does not always become a larger number."
    assert (decoded == levels).all(), "Some levels do not come back from their numbers."


@check("image_codec")
def test_encoded_dark_picture(compare):
    """A picture that holds the levels 0 and 1 alone is nearly black all over."""
    compare_way(compare, "encoded", tensor([[[[0, 1, 0], [1, 1, 0]]]], dtype="uint8"), NOTHING)


@check("image_codec")
def test_encoded_in_any_shape(compare, draw):
    """Other shapes, squares and single pixels among them."""
    compare_way(compare, "encoded", picture(draw, 3, 3, 3, 3), NOTHING)
    compare_way(compare, "encoded", picture(draw, 1, 1, 1, 3), NOTHING)
    compare_way(compare, "encoded", picture(draw, 2, 9, 2, 3), NOTHING)


@check("image_codec")
def test_decoded_in_any_shape(compare, draw):
    """Other shapes, squares and single pixels among them."""
    compare_way(compare, "decoded", BLACK, decoder_output(draw, (3, 3, 3, 3), 20))
    compare_way(compare, "decoded", BLACK, decoder_output(draw, (1, 3, 1, 1), 0))
    compare_way(compare, "decoded", BLACK, decoder_output(draw, (2, 3, 9, 2), 60))


@check("image_codec")
def test_strided_pictures(compare, draw):
    """Pictures and outputs that are not contiguous in memory lead to the same."""
    compare_way(compare, "encoded", picture(draw, 2, 6, 3, 5).transpose(2, 3), NOTHING)
    compare_way(compare, "decoded", BLACK, decoder_output(draw, (2, 7, 4, 3), 10).transpose(1, 3))


@check("image_codec")
def test_decoded_from_half_precision(compare, draw):
    """A decoder in half precision gives the nearest levels too."""
    compare_way(compare, "decoded", BLACK, decoder_output(draw, (2, 3, 8, 9), 40).to("bfloat16"))
    compare_way(compare, "decoded", BLACK, decoder_output(draw, (1, 3, 9, 8), 40).to("float16"))


@check("image_codec")
def test_encoded_beside_half_precision(compare, draw):
    """Pictures are encoded in float32, whatever the decoder's output is in."""
    for dtype in ("bfloat16", "float16"):
        compare_way(compare, "encoded", picture(draw, 2, 4, 7, 3), decoder_output(draw, (1, 3, 5, 3), 4).to(dtype))


# img2img_latents


@check("img2img_latents", visible=True)
def test_halfway(compare, draw):
    """From the middle of Stable Diffusion's schedule."""
    compare.img2img_latents(draw.normal(2, 8, 4, 6), 500, levels(scaled_linear_betas(1000)), 0.18215, draw.generator())


@check("img2img_latents", visible=True)
def test_little_noise(compare, draw):
    """At little noise, the picture's latents show: their draw and their scale are right."""
    compare.img2img_latents(draw.normal(1, 8, 4, 4), 20, levels(linear_betas(1000)), 0.5, draw.generator())


@check("img2img_latents", visible=True)
def test_much_noise(compare, draw):
    """At much noise, the picture's latents are still there."""
    compare.img2img_latents(draw.normal(2, 8, 4, 4), 900, levels(scaled_linear_betas(1000)), 0.8, draw.generator())


@check("img2img_latents", visible=True)
def test_start_in_float16(compare, draw):
    """float16 moments give a float16 start."""
    moments = draw.normal(2, 6, 2, 1).to("float16")
    compare.img2img_latents(moments, 300, levels(scaled_linear_betas(1000)), 0.18215, draw.generator())


@check("img2img_latents")
def test_both_ends_of_the_schedule(compare, draw):
    """At the first timestep hardly any noise was added, at the last one hardly anything else is left."""
    alpha_bar = levels(scaled_linear_betas(50, 0.01, 0.2))
    compare.img2img_latents(draw.normal(1, 32, 5, 7), 0, alpha_bar, draw.real(0.3, 0.9), draw.generator())
    compare.img2img_latents(draw.normal(1, 32, 5, 7), 49, alpha_bar, draw.real(0.3, 0.9), draw.generator())


@check("img2img_latents")
def test_first_noise_of_a_start_in_bfloat16(compare, draw):
    """In bfloat16 the first timesteps still add their little noise."""
    # The noise has a deviation of 0.04 there, 2.6 tolerances: six calls, so that some of the few values are large.
    for _ in range(6):
        moments = encoder_output(draw, (2, 6, 1, 2), -40.0, -30.0).to("bfloat16") * 0.01
        compare.img2img_latents(moments, 9, levels(linear_betas(1000)), 0.01, draw.generator())


@check("img2img_latents")
def test_start_of_a_sure_encoder(compare, draw):
    """Where the encoder is very sure, a little spread is left all the same."""
    moments = encoder_output(draw, (1, 8, 4, 4), -29.0, -16.0)
    compare.img2img_latents(moments, 3, levels(linear_betas(1000)), 6.0, draw.generator())


@check("img2img_latents")
def test_start_of_an_unsure_encoder(compare, draw):
    """Where the encoder is not sure at all, log σ² stops at its limit."""
    moments = encoder_output(draw, (2, 4, 4, 8), 17.0, 26.0)
    compare.img2img_latents(moments, 250, levels(scaled_linear_betas(1000)), 0.2, draw.generator())


@check("img2img_latents")
def test_starts_in_turn(compare, draw):
    """Two calls with other schedules, shapes and dtypes know nothing of each other."""
    timestep = draw.whole(10, 30)
    bfloat16 = encoder_output(draw, (3, 6, 1, 1), -4.0, 0.5).to("bfloat16")
    compare.img2img_latents(bfloat16, timestep, levels(linear_betas(40, 0.01, 0.1)), 0.4, draw.generator())
    compare.img2img_latents(
        draw.normal(1, 4, 16, 3), timestep, levels(scaled_linear_betas(1000)), 0.9, draw.generator()
    )


@check("img2img_latents")
def test_start_on_another_device(compare, draw):
    """The same call works where moments and schedule live elsewhere; the generator stays on the CPU."""
    tensors = {"moments": draw.normal(2, 8, 4, 4), "alphas_cumprod": levels(scaled_linear_betas(1000))}
    given = {"timestep": 400, "scaling_factor": 0.18215, "generator": draw.generator()}
    compare.play("two_devices", function="img2img_latents", tensors=tensors, **given)


# fit_latent_norm. One check for each entry, so that one slip costs one entry.


def compare_fit(compare: Any, key: str, *batches: Recipe) -> None:
    """Compare one entry of what is measured."""
    compare.play("answer", view=part(key), function="fit_latent_norm", batches=list(batches))


def two_batches(draw: Any) -> list[Recipe]:
    """Return two batches of other length around other means."""
    return [latents(draw, (7, 4, 16, 20), 2.0, 1.5), latents(draw, (1, 4, 16, 20), -3.0, 0.3)]


def buckets(draw: Any) -> list[Recipe]:
    """Return batches of other length, height and width, around other means."""
    sizes = ((1, 3, 8, 20), (6, 3, 24, 16), (2, 3, 20, 20))
    means = (-4.0, 1.0, 6.0)
    return [latents(draw, shape, mean, draw.real(0.5, 2.0)) for shape, mean in zip(sizes, means, strict=True)]


@check("fit_latent_norm", visible=True)
def test_factor_of_two_batches(compare, draw):
    """The factor brings all elements of both batches to deviation 1."""
    compare_fit(compare, "scaling_factor", *two_batches(draw))


@check("fit_latent_norm", visible=True)
def test_means_of_two_batches(compare, draw):
    """Each channel's mean over both batches."""
    compare_fit(compare, "mean", *two_batches(draw))


@check("fit_latent_norm", visible=True)
def test_deviations_of_two_batches(compare, draw):
    """Each channel's deviation over both batches."""
    compare_fit(compare, "std", *two_batches(draw))


@check("fit_latent_norm")
def test_factor_of_buckets(compare, draw):
    """The factor, where batches differ in length, height and width."""
    compare_fit(compare, "scaling_factor", *buckets(draw))


@check("fit_latent_norm")
def test_means_of_buckets(compare, draw):
    """Each channel's mean, where batches differ in length, height and width."""
    compare_fit(compare, "mean", *buckets(draw))


@check("fit_latent_norm")
def test_deviations_of_buckets(compare, draw):
    """Each channel's deviation, where batches differ in length, height and width."""
    compare_fit(compare, "std", *buckets(draw))


@check("fit_latent_norm")
def test_other_data_sets_in_turn(compare, draw):
    """Two data sets in half precision, one of a single batch, know nothing of each other."""
    compare.fit_latent_norm([latents(draw, (4, 5, 24, 24), 20.0, 8.0).to("float16")])
    compare.fit_latent_norm([batch.to("bfloat16") for batch in buckets(draw)])


@check("fit_latent_norm")
def test_strided_data(compare, draw):
    """Latents that are not contiguous in memory have the same statistics."""
    turned = latents(draw, (3, 20, 24, 5), 1.0, 0.5).transpose(1, 3)
    compare.fit_latent_norm([turned, draw.normal(2, 5, 16, 20) * 3.0])
