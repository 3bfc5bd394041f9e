"""Checks of lab 07. The docstring of a check is the sentence that a student reads."""

from typing import Any

import numpy as np

from grader.kit import Recipe, arange, array, check, part, tensor, values, witnessed, zeros

# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_backbone", visible=True, tells="Not yet. What would a scheduler notice of another network inside?")
def test_prediction_of_the_backbone(compare):
    """Prediction: what a new backbone changes."""
    compare.checkpoint_backbone()


@check("checkpoint_context", visible=True, tells="Not yet. Who asks in cross-attention, and who is asked?")
def test_prediction_of_the_context(compare):
    """Prediction: the context's shape, and what is computed from it."""
    compare.checkpoint_context()


@check("checkpoint_maps", visible=True, tells="Not yet. How many queries are there, and how many keys?")
def test_prediction_of_the_maps(compare):
    """Prediction: the shapes of two layers' attention weights."""
    compare.checkpoint_maps()


@check("checkpoint_calls", visible=True, tells="Not yet. What changes from step to step, and what does not?")
def test_prediction_of_the_calls(compare):
    """Prediction: how often encoder and denoiser run."""
    compare.checkpoint_calls()


@check("checkpoint_skips", visible=True, tells="Not yet. Write the kept tensors down in a row, with their channels.")
def test_prediction_of_the_skips(compare):
    """Prediction: how many tensors a UNet keeps, and what two of its ResNets are given."""
    compare.checkpoint_skips()


@check("checkpoint_first_step", visible=True, tells="Not yet. Which derivatives have the gate as a factor?")
def test_prediction_of_the_first_step(compare):
    """Prediction: which parts of a fresh block get a gradient."""
    compare.checkpoint_first_step()


# timestep_embedding


@check("timestep_embedding", visible=True)
def test_embedding_of_ddpm(compare):
    """DDPM's way: sines first, shift 1."""
    compare.timestep_embedding(tensor([0.0, 1.0, 500.0, 999.0]), 32, False, 1.0)


@check("timestep_embedding", visible=True)
def test_embedding_of_stable_diffusion(compare):
    """Stable Diffusion's way: cosines first, shift 0, timesteps that are whole numbers."""
    compare.timestep_embedding(tensor([981, 1, 320], dtype="int64"), 64, True, 0.0)


@check("timestep_embedding", visible=True)
def test_embedding_of_fractional_timesteps(compare):
    """Timesteps between two whole numbers have an embedding of their own."""
    compare.timestep_embedding(tensor([20.5, 0.25]), 16, True, 0.0)


@check("timestep_embedding", visible=True, property=True)
def test_two_embeddings_know_their_distance(student):
    """The product of two embeddings hangs on the distance of their timesteps alone."""
    products = []
    for t in (0.0, 13.0, 400.0):
        first, second = values(student.timestep_embedding(tensor([t, t + 5.0]), 48, False, 0.0), 2, 48)
        products.append(float(first @ second))
    assert max(products) - min(products) < 0.01, "The same distance gives another product elsewhere."


@check("timestep_embedding")
def test_embedding_of_any_flags(compare, draw):
    """Both orders go with any shift."""
    for flip in (False, True):
        compare.timestep_embedding(draw.uniform(5) * 1000.0, 2 * draw.whole(5, 9), flip, draw.real(0.3, 0.8))


@check("timestep_embedding", visible=True)
def test_embedding_of_odd_width(compare, draw):
    """An odd width is filled up, also the smallest."""
    compare.timestep_embedding(draw.uniform(2) * 900.0, 33, True, 0.0)
    compare.timestep_embedding(draw.uniform(3) * 900.0, 3, False, 0.0)


@check("timestep_embedding")
def test_embeddings_in_turn(compare, draw):
    """Two calls with other widths and batches know nothing of each other; as many timesteps as channels do no harm."""
    compare.timestep_embedding(draw.uniform(12) * 1000.0, 12, True, 0.0)
    compare.timestep_embedding(draw.uniform(1) * 1000.0, 20, True, 0.0)
    compare.timestep_embedding(draw.uniform(4) * 1000.0, 4, False, 1.0)


@check("timestep_embedding")
def test_embedding_of_any_precision(compare):
    """Timesteps in half or double precision have an embedding in single precision."""
    compare.timestep_embedding(tensor([999.0, 12.5], dtype="float64"), 8, False, 1.0)
    compare.timestep_embedding(tensor([0.0, 37.0, 801.0]).to("float16"), 26, True, 0.0)
    compare.timestep_embedding(tensor([3.0, 0.5, 96.0]).to("bfloat16"), 14, False, 1.0)


@check("timestep_embedding")
def test_embedding_on_another_device(compare, draw):
    """The same call works where the timesteps live elsewhere."""
    given = {"dim": 10, "flip_sin_to_cos": True, "downscale_freq_shift": 0.0}
    tensors = {"t": draw.uniform(3) * 1000.0}
    compare.play("two_devices", function="timestep_embedding", tensors=tensors, **given)


# cross_attention


def linear(draw: Any, out: int, channels: int, gain: float = 1.0) -> Recipe:
    """Return the weight (out, channels) of a linear layer."""
    return draw.normal(out, channels) * (gain / channels**0.5)


def reads(draw: Any, c: int, d: int, inner: int) -> dict[str, Recipe]:
    """Return the weights of a cross-attention of width `inner` between C channels and a context of D."""
    w = {"q": linear(draw, inner, c, 2.0), "k": linear(draw, inner, d), "v": linear(draw, inner, d)}
    return {**w, "o": linear(draw, c, inner), "ob": draw.normal(c)}


def compare_reading(
    compare: Any, draw: Any, x: tuple[int, ...], ctx: tuple[int, ...], inner: int, heads: int, mask: Any = None
) -> None:
    """Compare one cross-attention of these shapes."""
    compare.cross_attention(draw.normal(*x), draw.normal(*ctx), reads(draw, x[2], ctx[2], inner), heads, mask)


def kept(*lengths: int, of: int) -> Recipe:
    """Return a mask (B, of) that keeps the first tokens of each row."""
    return tensor([[place < length for place in range(of)] for length in lengths])


@check("cross_attention", visible=True)
def test_an_image_reads_a_prompt(compare, draw):
    """Every place of the image reads the context, in several heads."""
    compare_reading(compare, draw, (2, 12, 10), (2, 5, 14), 24, 3)


@check("cross_attention", visible=True)
def test_of_one_width(compare, draw):
    """Image, context and heads may have one width, and as many tokens."""
    compare_reading(compare, draw, (3, 8, 16), (3, 8, 16), 16, 2)


@check("cross_attention", visible=True)
def test_masked_tokens_are_not_read(compare, draw):
    """Each sample leaves out its own masked tokens."""
    compare_reading(compare, draw, (3, 7, 12), (3, 6, 8), 16, 2, kept(6, 1, 4, of=6))


@check("cross_attention", visible=True, property=True)
def test_tokens_have_no_order(student, draw):
    """A context in another order, with its mask, says the same; what a masked token holds says nothing."""
    x, w = draw.normal(2, 5, 6), reads(draw, 6, 8, 12)
    rng = np.random.default_rng(draw.seed())
    ctx, mask = rng.normal(size=(2, 4, 8)).astype(np.float32), np.array([[True, False, True, True], [True] * 4])
    order = [2, 3, 0, 1]
    first = values(student.cross_attention(x, array(ctx), w, 3, array(mask)), 2, 5, 6)
    second = values(student.cross_attention(x, array(ctx[:, order]), w, 3, array(mask[:, order])), 2, 5, 6)
    assert np.abs(first - second).max() < 1e-3, "Another order of the tokens gives another answer."
    louder = ctx.copy()
    louder[0, 1] += 50.0
    third = values(student.cross_attention(x, array(louder), w, 3, array(mask)), 2, 5, 6)
    assert np.abs(first - third).max() < 1e-3, "A masked token is read all the same."


@check("cross_attention")
def test_in_any_mask(compare, draw):
    """Masked tokens may stand anywhere, and be as many as there are samples or places."""
    mask = tensor([[False, True, True, False], [True, False, False, False], [False, False, True, True], [True] * 4])
    compare_reading(compare, draw, (4, 4, 6), (4, 4, 10), 8, 4, mask)


@check("cross_attention")
def test_of_one_head_and_one_token(compare, draw):
    """One head is enough, and so is one token."""
    compare_reading(compare, draw, (2, 9, 5), (2, 7, 6), 7, 1)
    compare_reading(compare, draw, (1, 1, 6), (1, 1, 4), 8, 2)


@check("cross_attention")
def test_heads_wider_than_the_image(compare, draw):
    """The heads' width has nothing to do with the image's."""
    compare_reading(compare, draw, (2, 6, 24), (2, 5, 20), 16, 2)
    compare_reading(compare, draw, (2, 6, 8), (2, 5, 12), 40, 5, kept(3, 5, of=5))


@check("cross_attention")
def test_strided_tokens(compare, draw):
    """Tokens that are not contiguous in memory lead to the same."""
    x, ctx = draw.normal(2, 10, 6).transpose(1, 2), draw.normal(2, 8, 4).transpose(1, 2)
    compare.cross_attention(x, ctx, reads(draw, 10, 8, 12), 2, kept(4, 2, of=4))


@check("cross_attention", visible=True)
def test_reading_in_half_precision(compare, draw):
    """In half precision the answer stays in half precision, masked or not."""
    for dtype in ("float16", "bfloat16"):
        w = {name: value.to(dtype) for name, value in reads(draw, 8, 12, 16).items()}
        compare.cross_attention(draw.normal(2, 6, 8).to(dtype), draw.normal(2, 5, 12).to(dtype), w, 4, kept(5, 2, of=5))


@check("cross_attention")
def test_gradients_of_a_reading(compare, draw):
    """Gradients reach the image and the context."""
    leaves = {"x": draw.normal(2, 5, 8), "ctx": draw.normal(2, 4, 6)}
    compare.play("gradients", function="cross_attention", leaves=leaves, w=reads(draw, 8, 6, 12), heads=3)


# patchify and unpatchify


@check("patchify", visible=True)
def test_patches_of_a_wide_picture(compare, draw):
    """A picture that is wider than high becomes tokens."""
    compare.patchify(draw.normal(2, 3, 4, 6), 2)


@check("patchify", visible=True)
def test_tokens_of_a_wide_picture(compare, draw):
    """Tokens become a picture that is wider than high."""
    compare.unpatchify(draw.normal(2, 6, 12), 2, 3, 2)


@check("patchify", visible=True, property=True)
def test_patches_that_do_not_divide(compare, draw):
    """Sizes that the patch does not divide are refused, on either side."""
    compare.patchify(draw.normal(1, 2, 4, 5), 2)
    compare.patchify(draw.normal(1, 2, 5, 4), 2)


@check("patchify")
def test_patches_of_any_shape(compare, draw):
    """Other patches, squares and whole pictures among them, become tokens."""
    compare.patchify(draw.normal(2, 4, 9, 6), 3)
    compare.patchify(draw.normal(4, 4, 8, 8), 4)
    compare.patchify(draw.normal(1, 5, 3, 3), 3)
    compare.patchify(draw.normal(3, 2, 5, 2), 1)


@check("patchify")
def test_tokens_of_any_shape(compare, draw):
    """Tokens of other patches, squares among them, become pictures."""
    compare.unpatchify(draw.normal(2, 6, 36), 3, 2, 3)
    compare.unpatchify(draw.normal(4, 4, 64), 2, 2, 4)
    compare.unpatchify(draw.normal(1, 10, 3), 5, 2, 1)
    compare.unpatchify(draw.normal(3, 4, 4), 1, 4, 2)


@check("patchify")
def test_strided_patches(compare, draw):
    """Pictures and tokens that are not contiguous in memory, in half precision, lead to the same."""
    compare.patchify(draw.normal(2, 6, 8, 3).transpose(1, 3).to("float16"), 2)
    compare.unpatchify(draw.normal(2, 8, 6).transpose(1, 2).to("bfloat16"), 2, 3, 2)


@check("patchify")
def test_patches_of_whole_numbers(compare, draw):
    """Latents and tokens of whole numbers are cut and put together as well."""
    first = draw.whole(0, 200)
    numbers = arange(first, first + 48)
    compare.patchify(numbers.reshape(1, 2, 4, 6), 2)
    compare.unpatchify(numbers.reshape(2, 2, 12).to("uint8"), 2, 1, 2)


# adaln_zero_block


def modulation(draw: Any, c: int) -> dict[str, Recipe]:
    """Return the weights of the layer that makes six vectors of C channels."""
    return {"w": linear(draw, 6 * c, c, 1.5), "b": draw.normal(6 * c) * 0.5}


def compare_block(compare: Any, draw: Any, *shape: int, size: float = 1.0) -> None:
    """Compare one block on tokens (B, N, C) of this size."""
    x, c = draw.normal(*shape) * size, draw.normal(shape[0], shape[2])
    compare.play("dit_block", x=x, c=c, w=modulation(draw, shape[2]), seed=draw.seed())


@check("adaln_zero_block", visible=True)
def test_a_block(compare, draw):
    """The block modulates and gates both branches."""
    compare_block(compare, draw, 2, 5, 8)


@check("adaln_zero_block", visible=True)
def test_a_block_of_small_tokens(compare, draw):
    """Tokens whose numbers are small show the eps of each norm."""
    compare_block(compare, draw, 2, 6, 8, size=0.004)


@check("adaln_zero_block", visible=True, property=True)
def test_a_block_at_its_beginning(student, draw):
    """With a modulation of zero the block hands its tokens through."""
    rng = np.random.default_rng(draw.seed())
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    given = {"w": zeros(24, 4), "b": zeros(24)}
    answer = student.play("dit_block", x=array(x), c=draw.normal(2, 4), w=given, seed=draw.seed())
    assert (values(answer, 2, 3, 4) == x).all(), "With a modulation of zero the tokens changed."


@check("adaln_zero_block")
def test_a_block_of_as_many_tokens_as_samples(compare, draw):
    """As many tokens as samples or channels do no harm: the condition is one vector a sample."""
    compare_block(compare, draw, 4, 4, 6)
    compare_block(compare, draw, 3, 5, 5)


@check("adaln_zero_block")
def test_a_block_of_bias_alone(compare, draw):
    """Where the condition says nothing, the bias modulates."""
    w = {"w": zeros(36, 6), "b": draw.normal(36)}
    compare.play("dit_block", x=draw.normal(2, 3, 6), c=draw.normal(2, 6), w=w, seed=draw.seed())


@check("adaln_zero_block")
def test_blocks_in_turn(compare, draw):
    """Blocks of other widths, one token among them, know nothing of each other."""
    compare_block(compare, draw, 1, 1, 10)
    compare_block(compare, draw, 3, 7, 4, size=3.0)


@check("adaln_zero_block")
def test_a_block_whose_attention_is_closed(compare, draw):
    """Where attention's gate is closed, small tokens reach the MLP's norm, which has an eps of its own."""
    rng = np.random.default_rng(draw.seed())
    weight, bias = (rng.normal(size=size).astype(np.float32) for size in ((36, 6), (36,)))
    weight[12:18], bias[12:18] = 0.0, 0.0
    w = {"w": array(weight), "b": array(bias)}
    for size in (0.004, 0.001):
        compare.play("dit_block", x=draw.normal(3, 4, 6) * size, c=draw.normal(3, 6), w=w, seed=draw.seed())


@check("adaln_zero_block")
def test_gradients_of_a_block(compare, draw):
    """Gradients reach the tokens, the condition and the modulation."""
    leaves = {"x": draw.normal(2, 3, 4), "c": draw.normal(2, 4), "weight": linear(draw, 24, 4), "bias": draw.normal(24)}
    compare.play("dit_block_gradients", seed=draw.seed(), leaves=leaves)


# sincos_2d


@check("sincos_2d", visible=True)
def test_places_of_a_square(compare):
    """A square grid at the size of the training."""
    compare.sincos_2d(16, 4, 4, 4, 1.0)


@check("sincos_2d", visible=True)
def test_places_of_a_wide_grid(compare):
    """A grid that is wider than high, each axis measured by its own size."""
    compare.sincos_2d(24, 3, 5, 4, 1.0)


@check("sincos_2d", visible=True)
def test_interpolated_places(compare):
    """A larger grid is spread over the trained one; interpolation draws it together once more."""
    compare.sincos_2d(8, 6, 4, 16, 2.0)


@check("sincos_2d", visible=True, property=True)
def test_channels_that_four_does_not_divide(compare):
    """A width that 4 does not divide is refused, whether even or odd."""
    compare.sincos_2d(6, 2, 3, 2, 1.0)
    compare.sincos_2d(9, 2, 3, 2, 1.0)


@check("sincos_2d")
def test_places_of_a_high_grid(compare, draw):
    """Grids that are higher than wide, of any base."""
    compare.sincos_2d(20, 7, 2, draw.whole(8, 13), draw.real(0.5, 0.9))
    compare.sincos_2d(12, 5, 3, draw.whole(20, 30), draw.real(1.2, 1.9))


@check("sincos_2d")
def test_places_in_one_row_or_column(compare, draw):
    """One row, one column, and one place."""
    for height, width in ((1, 6), (6, 1), (1, 1)):
        compare.sincos_2d(4 * draw.whole(1, 4), height, width, draw.whole(3, 9), 1.0)


@check("sincos_2d")
def test_places_of_many_channels(compare, draw):
    """Many channels, far places: every frequency counts."""
    compare.sincos_2d(64, 4, 6, draw.whole(60, 90), 0.5)


@check("sincos_2d")
def test_tables_in_turn(compare, draw):
    """Two tables of other sizes know nothing of each other; as many rows and columns as channels do no harm."""
    compare.sincos_2d(8, 8, 8, draw.whole(3, 7), 1.0)
    compare.sincos_2d(4, 4, 2, draw.whole(9, 13), draw.real(1.2, 1.9))


# rope_axial


def places(draw: Any, count: int, axes: int, most: int) -> Recipe:
    """Return ids (count, axes): whole numbers below `most`, other ones on each axis."""
    rng = np.random.default_rng(draw.seed())
    return array(rng.integers(1, most, size=(count, axes)).astype(np.float32))


@check("rope_axial", visible=True)
def test_turned_by_two_axes(compare, draw):
    """Row and column turn channels of their own."""
    compare.rope_axial(draw.normal(2, 3, 6, 12), places(draw, 6, 2, 30), (4, 8))


@check("rope_axial", visible=True)
def test_turned_by_one_axis(compare, draw):
    """One axis turns all channels."""
    compare.rope_axial(draw.normal(1, 2, 5, 8), places(draw, 5, 1, 20), (8,))


@check("rope_axial", visible=True, property=True)
def test_lengths_stay(student, draw):
    """Turning changes no length, and at position 0 nothing."""
    rng = np.random.default_rng(draw.seed())
    x = rng.normal(size=(1, 2, 4, 6)).astype(np.float32)
    ids = np.array([[0, 0], [3, 1], [7, 2], [1, 9]], dtype=np.float32)
    turned = values(student.rope_axial(array(x), array(ids), (2, 4)), 1, 2, 4, 6)
    lengths = [np.sqrt((y**2).sum(axis=3)) for y in (x, turned)]
    assert np.abs(lengths[0] - lengths[1]).max() < 1e-3, "A query's length changed."
    assert np.abs(turned[:, :, 0] - x[:, :, 0]).max() < 1e-5, "At position 0 something changed."


@check("rope_axial", visible=True)
def test_turned_in_half_precision(compare, draw):
    """Half precision is turned in single precision, and stays half precision."""
    for dtype in ("float16", "bfloat16"):
        compare.rope_axial(draw.normal(2, 2, 5, 8).to(dtype), places(draw, 5, 2, 300), (4, 4))


@check("rope_axial")
def test_turned_far_away(compare, draw):
    """At large positions angles are still right, on each axis."""
    compare.rope_axial(draw.normal(1, 2, 6, 12), places(draw, 6, 2, 500) + 60000.0, (8, 4))


@check("rope_axial")
def test_turned_by_three_axes(compare, draw):
    """Three axes of other widths, with another θ."""
    compare.rope_axial(draw.normal(2, 2, 7, 16), places(draw, 7, 3, 60), (2, 8, 6), draw.real(100.0, 500.0))


@check("rope_axial")
def test_turned_by_whole_ids(compare, draw):
    """Ids may be whole numbers, stand in any order, and be fewer than anything; fractions count."""
    compare.rope_axial(draw.normal(2, 4, 4, 4), tensor([[5, 1], [0, 3], [2, 2], [9, 0]], dtype="int64"), (2, 2))
    compare.rope_axial(draw.normal(1, 1, 1, 6), tensor([[2.5, 0.25]]), (4, 2))


@check("rope_axial")
def test_turned_where_not_contiguous(compare, draw):
    """Queries as they come out of a projection, with heads and tokens exchanged in memory, lead to the same."""
    compare.rope_axial(draw.normal(2, 5, 3, 8).transpose(1, 2), places(draw, 5, 2, 40), (6, 2))


@check("rope_axial")
def test_turned_elsewhere(compare, draw):
    """The same call works where queries and ids live elsewhere."""
    tensors = {"x": draw.normal(1, 2, 3, 8), "ids": places(draw, 3, 2, 20)}
    compare.play("two_devices", function="rope_axial", tensors=tensors, axes_dim=(4, 4))


@check("rope_axial")
def test_gradients_of_a_turn(compare, draw):
    """Gradients are turned back."""
    given = {"ids": places(draw, 4, 2, 20), "axes_dim": (2, 6)}
    compare.play("gradients", function="rope_axial", leaves={"x": draw.normal(1, 2, 4, 8)}, **given)


# joint_attention


def stream(draw: Any, channels: int, inner: int, width: int) -> dict[str, Recipe]:
    """Return the weights of one stream of `channels` channels, with heads of this width."""
    w = {name: linear(draw, inner, channels) for name in ("q", "k", "v")}
    w |= {"nq": draw.normal(width) * 0.4 + 1.5, "nk": draw.normal(width) * 0.4 + 1.0}
    return {**w, "o": linear(draw, channels, inner), "ob": draw.normal(channels)}


def compare_joint(
    compare: Any, draw: Any, x: tuple[int, ...], c: tuple[int, ...], heads: int, width: int, mask: Any = None
) -> None:
    """Compare one joint attention of these shapes."""
    w = {"x": stream(draw, x[2], heads * width, width), "c": stream(draw, c[2], heads * width, width)}
    compare.joint_attention(draw.normal(*x), draw.normal(*c), w, heads, mask)


@check("joint_attention", visible=True)
def test_image_and_text_read_both(compare, draw):
    """Both streams read all tokens, in several heads."""
    compare_joint(compare, draw, (2, 7, 10), (2, 4, 12), 2, 6)


@check("joint_attention", visible=True)
def test_streams_of_one_width(compare, draw):
    """Streams of one width keep their own weights."""
    compare_joint(compare, draw, (2, 5, 8), (2, 5, 8), 2, 4)


@check("joint_attention", visible=True)
def test_masked_text_is_not_read(compare, draw):
    """Neither stream reads masked text; both read all of the image."""
    compare_joint(compare, draw, (2, 6, 8), (2, 5, 6), 3, 4, kept(5, 2, of=5))


@check("joint_attention")
def test_more_text_than_image(compare, draw):
    """There may be more text than image, and one head."""
    compare_joint(compare, draw, (3, 2, 6), (3, 9, 4), 1, 8, kept(9, 4, 1, of=9))
    compare_joint(compare, draw, (1, 1, 5), (1, 3, 7), 3, 2)


@check("joint_attention")
def test_mask_of_as_many_tokens_as_places(compare, draw):
    """Where there are as many tokens as places, the mask is still the text's."""
    compare_joint(
        compare, draw, (2, 4, 6), (2, 4, 6), 2, 6, tensor([[True, False, False, True], [False, True, True, False]])
    )


@check("joint_attention")
def test_fully_masked_text(compare, draw):
    """Where all text is masked, the image reads itself."""
    compare_joint(compare, draw, (2, 5, 8), (2, 3, 6), 2, 4, tensor([[False] * 3, [True] * 3]))


@check("joint_attention")
def test_streams_of_small_numbers(compare, draw):
    """Queries and keys that are tiny show the norm's eps."""
    w = {"x": stream(draw, 6, 8, 4), "c": stream(draw, 5, 8, 4)}
    # Scores a few times as large, which the softmax shows as well.
    sharp = {name: {**own, "nk": own["nk"] * 3.0} for name, own in w.items()}
    compare.joint_attention(draw.normal(2, 4, 6) * 1e-3, draw.normal(2, 3, 5) * 2e-3, sharp, 2)


@check("joint_attention")
def test_strided_streams(compare, draw):
    """Streams that are not contiguous in memory lead to the same."""
    w = {"x": stream(draw, 6, 12, 4), "c": stream(draw, 8, 12, 4)}
    compare.joint_attention(draw.normal(2, 6, 5).transpose(1, 2), draw.normal(3, 2, 8).transpose(0, 1), w, 3)


@check("joint_attention")
def test_gradients_of_both_streams(compare, draw):
    """Gradients reach both streams."""
    w = {"x": stream(draw, 6, 8, 4), "c": stream(draw, 5, 8, 4)}
    leaves = {"x": draw.normal(2, 4, 6), "c": draw.normal(2, 3, 5)}
    compare.play("gradients", function="joint_attention", leaves=leaves, w=w, heads=2)


# attention_cost. One check for each entry, so that one slip costs one entry.

SD3 = {
    "H": 1024,
    "W": 1024,
    "vsf": 8,
    "patch": 2,
    "d_model": 1536,
    "heads": 24,
    "text_tokens": 154,
    "bytes_per_el": 2,
    "batch": 2,
}
SMALL = {**SD3, "H": 64, "W": 96, "d_model": 48, "heads": 3, "text_tokens": 10, "bytes_per_el": 4}


def compare_entry(compare: Any, key: str, *bills: dict[str, int]) -> None:
    """Compare one entry of several bills."""
    for sizes in bills:
        compare.play("answer", view=part(key), function="attention_cost", **sizes)


def crooked(draw: Any, vsf: int, patch: int) -> dict[str, int]:
    """Return sizes that nothing divides; what decides nothing is drawn."""
    return {
        # One less than a multiple: rounding up would give one more, rounding once at the end too.
        "H": vsf * (patch * draw.whole(4, 7) + patch - 1) + vsf - 1,
        "W": vsf * (patch * draw.whole(9, 12) + patch - 1) + vsf - 1,
        "vsf": vsf,
        "patch": patch,
        "d_model": 5 * draw.whole(5, 9),
        "heads": 5,
        "text_tokens": draw.whole(3, 20),
        "bytes_per_el": draw.choice([2, 8]),
        "batch": draw.whole(3, 5),
    }


@check("attention_cost", visible=True)
def test_tokens(compare):
    """How many tokens one row has, image and text."""
    compare_entry(compare, "tokens", SD3, SMALL)


@check("attention_cost", visible=True)
def test_score_bytes(compare):
    """How many bytes the scores take."""
    compare_entry(compare, "score_bytes", SD3, SMALL)


@check("attention_cost", visible=True)
def test_attention_flops(compare):
    """How many operations the two products take."""
    compare_entry(compare, "attn_flops", SD3, SMALL)


@check("attention_cost")
def test_tokens_of_any_size(compare, draw):
    """The tokens for sizes that nothing divides, and without text."""
    compare_entry(
        compare, "tokens", crooked(draw, 8, 2), crooked(draw, 4, 3), {**crooked(draw, 2, 1), "text_tokens": 0}
    )


@check("attention_cost")
def test_bytes_of_any_size(compare, draw):
    """The bytes for other sizes, precisions and batches."""
    compare_entry(compare, "score_bytes", crooked(draw, 8, 3), {**crooked(draw, 2, 2), "batch": 1}, crooked(draw, 4, 1))


@check("attention_cost")
def test_flops_of_any_size(compare, draw):
    """The operations for other sizes and batches."""
    compare_entry(compare, "attn_flops", crooked(draw, 8, 3), {**crooked(draw, 2, 2), "batch": 1}, crooked(draw, 4, 1))


# resnet_block


def layers(draw: Any, c: int, out: int, time: int, scale_shift: bool, shortcut: bool) -> dict[str, Recipe]:
    """Return a ResNet block's weights; norms are near 1, as trained ones are."""
    rows = 2 * out if scale_shift else out
    weights = {
        "norm1.weight": draw.normal(c) * 0.3 + 1.0,
        "norm1.bias": draw.normal(c) * 0.5,
        "conv1.weight": draw.normal(out, c, 3, 3) * (0.5 / c**0.5),
        "conv1.bias": draw.normal(out) * 0.5,
        "time_emb_proj.weight": linear(draw, rows, time),
        "time_emb_proj.bias": draw.normal(rows) * 0.5,
        "norm2.weight": draw.normal(out) * 0.3 + 1.0,
        "norm2.bias": draw.normal(out) * 0.5,
        "conv2.weight": draw.normal(out, out, 3, 3) * (0.5 / out**0.5),
        "conv2.bias": draw.normal(out) * 0.5,
    }
    if shortcut:
        weights |= {"conv_shortcut.weight": draw.normal(out, c, 1, 1) * c**-0.5, "conv_shortcut.bias": draw.normal(out)}
    return weights


def compare_resnet(
    compare: Any,
    draw: Any,
    x: tuple[int, ...],
    out: int,
    groups: int,
    scale_shift: bool = False,
    shortcut: bool | None = None,
    eps: float = 1e-5,
    output_scale: float = 1.0,
    size: float = 1.0,
) -> None:
    """Compare one block on feature maps (B, C, H, W) of this size."""
    way_past = out != x[1] if shortcut is None else shortcut
    weights, time = layers(draw, x[1], out, 7, scale_shift, way_past), draw.normal(x[0], 7)
    compare.resnet_block(draw.normal(*x) * size, time, weights, scale_shift, groups, eps, output_scale)


@check("resnet_block", visible=True)
def test_a_resnet(compare, draw):
    """The time is added between the two halves."""
    compare_resnet(compare, draw, (2, 8, 5, 4), 8, 4)


@check("resnet_block", visible=True)
def test_a_resnet_that_widens(compare, draw):
    """Where channels change, the way past has a convolution of its own."""
    compare_resnet(compare, draw, (2, 4, 4, 6), 8, 2)


@check("resnet_block", visible=True)
def test_a_resnet_that_is_modulated(compare, draw):
    """The time scales and shifts what comes out of the second norm."""
    compare_resnet(compare, draw, (2, 6, 5, 4), 6, 3, scale_shift=True)


@check("resnet_block", visible=True)
def test_a_resnet_with_an_output_scale(compare, draw):
    """The sum is divided at the end, way past included."""
    compare_resnet(compare, draw, (1, 6, 4, 5), 6, 2, output_scale=2.5)


@check("resnet_block")
def test_a_shortcut_between_equal_widths(compare, draw):
    """A convolution on the way past counts wherever it is there."""
    compare_resnet(compare, draw, (2, 6, 3, 5), 6, 2, shortcut=True, output_scale=0.5)


@check("resnet_block")
def test_a_modulated_resnet_that_narrows(compare, draw):
    """Scale and shift go with other widths, in few and many groups."""
    compare_resnet(compare, draw, (3, 9, 4, 3), 6, 3, scale_shift=True, output_scale=2**0.5)
    compare_resnet(compare, draw, (2, 4, 3, 3), 8, 1, scale_shift=True)


@check("resnet_block")
def test_a_resnet_of_small_numbers(compare, draw):
    """Feature maps whose numbers are small show the eps that is given."""
    compare_resnet(compare, draw, (2, 6, 4, 4), 6, 2, eps=1e-3, size=0.01)


@check("resnet_block")
def test_resnets_in_turn(compare, draw):
    """Blocks of other sizes, groups and eps know nothing of each other: single pixels, as many samples as channels."""
    compare_resnet(compare, draw, (1, 4, 1, 1), 4, 2, eps=1e-2)
    compare_resnet(compare, draw, (4, 4, 4, 4), 4, 4, eps=0.1)
    compare_resnet(compare, draw, (7, 6, 2, 7), 7, 1, eps=1e-6)


@check("resnet_block")
def test_a_resnet_in_half_precision(compare, draw):
    """In half precision the answer stays in half precision."""
    weights = {name: value.to("bfloat16") for name, value in layers(draw, 4, 8, 5, True, True).items()}
    x, time = draw.normal(2, 4, 3, 5).to("bfloat16"), draw.normal(2, 5).to("bfloat16")
    compare.resnet_block(x, time, weights, True, 2, 1e-5, 1.0)


@check("resnet_block")
def test_gradients_of_a_resnet(compare, draw):
    """Gradients reach the feature maps and the time; maps need not be contiguous in memory."""
    leaves = {"x": draw.normal(2, 5, 4, 6).transpose(1, 3), "temb": draw.normal(2, 7)}
    given = {"time_scale_shift": False, "groups": 3, "eps": 1e-5, "output_scale": 1.5}
    compare.play(
        "gradients", function="resnet_block", leaves=leaves, weights=layers(draw, 6, 6, 7, False, False), **given
    )


# unet_forward


def compare_walk(
    compare: Any, draw: Any, size: tuple[int, ...], widths: tuple[int, ...], count: int, **more: Any
) -> None:
    """Compare one walk of a sample of this size."""
    given = {"sample": draw.normal(*size), "temb": draw.normal(size[0], 5), "seed": draw.seed()}
    compare.play("walk", widths=widths, layers=count, **given, **more)


@check("unet_forward", visible=True)
def test_down_and_up(compare, draw):
    """Two levels, one ResNet on each, and sizes that halve evenly."""
    compare_walk(compare, draw, (2, 3, 8, 4), (4, 6), 1)


@check("unet_forward", visible=True)
def test_sizes_that_do_not_halve(compare, draw):
    """Odd sizes come back as they were."""
    compare_walk(compare, draw, (1, 3, 7, 5), (4, 4), 1)


@check("unet_forward", visible=True)
def test_skips_of_one_shape(compare, draw):
    """Where all skips have one shape, each still finds its place."""
    compare_walk(compare, draw, (2, 4, 4, 4), (4, 4), 2, sampling=False)


@check("unet_forward")
def test_one_level(compare, draw):
    """A UNet of one level has no samplers."""
    compare_walk(compare, draw, (3, 4, 3, 5), (4,), 2)
    compare_walk(compare, draw, (1, 2, 4, 4), (6,), 1)


@check("unet_forward")
def test_three_levels(compare, draw):
    """Three levels, several ResNets on each, and sizes that are odd at one level or another."""
    compare_walk(compare, draw, (2, 3, 10, 7), (4, 5, 6), 2)
    compare_walk(compare, draw, (2, 4, 6, 9), (4, 4, 4), 1)


@check("unet_forward")
def test_as_many_of_everything(compare, draw):
    """As many samples as channels, rows and columns: axes keep their meaning."""
    compare_walk(compare, draw, (4, 4, 4, 4), (4, 4, 4), 1, sampling=False)


@check("unet_forward")
def test_the_same_blocks_again(compare, draw):
    """A second sample, led through the same blocks, finds them as the first one did."""
    first, second = draw.normals(2, 1, 3, 5, 4)
    given = {"temb": draw.normal(1, 5), "seed": draw.seed(), "widths": (4, 5), "layers": 1}
    compare.play("walks_in_turn", samples=[first, second], **given)


@check("unet_forward")
def test_gradients_of_a_walk(compare, draw):
    """Gradients reach the sample and the time."""
    leaves = {"sample": draw.normal(1, 2, 5, 4), "temb": draw.normal(1, 3)}
    compare.play("walk_gradients", seed=draw.seed(), widths=(3, 4), layers=1, leaves=leaves)


# two_backbones


def drive(play: Any, draw: Any, size: tuple[int, ...], timesteps: list[int], length: int, **views: Any) -> None:
    """Drive both backbones by `play`, see `drive` in scenarios.py."""
    rng = np.random.default_rng(draw.seed())
    play(
        "drive",
        **views,
        encoder=witnessed("make_encoder", seed=draw.seed()),
        unet=witnessed("make_unet", seed=draw.seed()),
        dit=witnessed("make_dit", seed=draw.seed()),
        sample=draw.normal(*size),
        timesteps=tensor(timesteps, dtype="int64"),
        tokens=array(rng.integers(0, 16, size=(size[0], length))),
    )


def encoded(answer: Any) -> list[list[int]]:
    """Return what the encoder was given, call by call."""
    return [numbers(call["tokens"]) for call in answer["encoder"]]


def told(answer: Any) -> dict[str, list[list[int]]]:
    """Return the timesteps that each backbone was told, call by call, a number for each row."""
    return {name: [numbers(call["t"]) for call in answer[name]] for name in ("unet", "dit")}


def numbers(value: Any) -> list[int]:
    """Return the numbers of a tensor, or a number alone."""
    return [int(number) for number in np.ravel(getattr(value, "array", value))]


@check("two_backbones", visible=True)
def test_both_ends(compare, draw):
    """Both backbones lead the same noise to ends of their own."""
    drive(compare.play, draw, (2, 4, 4, 6), [900, 600, 300], 5)


@check("two_backbones", visible=True, subject="What the encoder was given")
def test_the_prompt_is_encoded_once(compare, draw):
    """The prompt is encoded once for all steps and both backbones."""
    drive(compare.calls, draw, (2, 4, 4, 4), [800, 500, 100], 4, view=encoded)


@check("two_backbones", subject="What the backbones were told")
def test_each_row_is_told_the_time(compare, draw):
    """Each backbone runs once a step and is told the step's timestep for each row."""
    timesteps = [draw.whole(700, 900), draw.whole(300, 600), draw.whole(20, 200), 1]
    drive(compare.calls, draw, (3, 2, 4, 4), timesteps, 3, view=told)


@check("two_backbones")
def test_ends_of_many_steps(compare, draw):
    """The same for one row, more steps, and other channels."""
    drive(compare.play, draw, (1, 6, 5, 3), [950, 800, 620, 400, 210, 40], 7)


@check("two_backbones")
def test_ends_of_one_step(compare, draw):
    """One step is enough, also of as many rows as channels."""
    drive(compare.play, draw, (4, 4, 4, 4), [draw.whole(200, 800)], 4)


@check("two_backbones")
def test_gradients_of_two_walks(compare, draw):
    """Gradients reach the noise from both ends."""
    rng = np.random.default_rng(draw.seed())
    given = {"tokens": array(rng.integers(0, 16, size=(2, 3))), "timesteps": tensor([700, 200], dtype="int64")}
    compare.play("drive_gradients", leaves={"sample": draw.normal(2, 2, 3, 4)}, seed=draw.seed(), **given)
