"""Checks of lab 10. What the meter says is made in the student's process: it explains, and earns next to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from grader.kit import Recipe, array, check, part, tensor, witnessed, zeros
from grader.kit import dtype as dtype_of

# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_backend", visible=True, tells="Not yet. Does another order of the same sums change what is summed?")
def test_prediction_of_the_back_end(compare):
    """Prediction: what another attention back end may change."""
    compare.checkpoint_backend()


@check(
    "checkpoint_knobs",
    visible=True,
    tells="Not yet. Where are the bytes of each afterwards: elsewhere, fewer, or gone?",
)
def test_prediction_of_the_knobs(compare):
    """Prediction: which knob moves, shrinks or recomputes."""
    compare.checkpoint_knobs()


@check("checkpoint_exact", visible=True, tells="Not yet. Which parts of the work do not know of each other?")
def test_prediction_of_what_stays_equal(compare):
    """Prediction: which knobs change the values."""
    compare.checkpoint_exact()


@check("checkpoint_bus", visible=True, tells="Not yet. When does each scheme load, and what has to go back?")
def test_prediction_of_the_traffic(compare):
    """Prediction: the gigabytes that cross the bus."""
    compare.checkpoint_bus()


@check("checkpoint_peak_owner", visible=True, tells="Not yet. Add up what is there together, component by component.")
def test_prediction_of_the_owner(compare):
    """Prediction: who owns the peak under model offload, and how much it is."""
    compare.checkpoint_peak_owner()


# query_chunked_attention


def attention_bounds(batch: int, heads: int, n: int, m: int, d: int, chunk: int) -> Callable[[Any], Any]:
    """Return the view of `metered` for float32 inputs of this size: what it cost, integers as words.

    Six blocks, where the plainest form needs three: a softmax written out by hand, with the last chunk's names still
    bound, holds five. The next worse thing, all scores at once, needs 2·N/chunk of them.
    """
    out, block = 4 * batch * heads * n * d, 4 * batch * heads * chunk * m
    needed = 4 * batch * heads * n * m * d
    tensors = 12 * batch * heads * math.ceil(n / chunk)

    def view(value: Any) -> Any:
        flops = value["flops"]
        fused = any("scaled_dot_product" in name for name in value["ops"])
        return {
            "peak": "within" if value["peak"] <= 2 * out + 6 * block else "over",
            "largest": "within" if value["largest"] <= max(out, block) else "over",
            "flops": "missing" if flops < needed else "within" if flops <= 1.3 * needed else "too many",
            "tensors": "few" if value["tensors"] <= tensors else "too many",
            "library kernel": "used" if fused else "not used",
        }

    return view


@check("query_chunked_attention", visible=True, weight=4)
def test_exact(compare, draw):
    """The output is exact attention: softmax(q·kᵀ/√d)·v over all keys."""
    compare.query_chunked_attention(*draw.normals(3, 2, 3, 12, 8), 4)


@check("query_chunked_attention", visible=True, weight=4)
def test_last_chunk_is_shorter(compare, draw):
    """All queries are answered when the chunk does not divide their number."""
    compare.query_chunked_attention(*draw.normals(3, 1, 2, 11, 8), 4)


@check("query_chunked_attention", visible=True, weight=4)
def test_cross_attention(compare, draw):
    """There may be more or fewer keys than queries."""
    compare.query_chunked_attention(draw.normal(1, 2, 9, 8), *draw.normals(2, 1, 2, 20, 8), 3)


@check("query_chunked_attention", visible=True, weight=14, memory_mib=8)
def test_long_sequence(compare, draw):
    """2048 queries and keys are answered, 16 at a time, in a process that may use 8 MiB: all scores would be 16."""
    # Smallest limits, in MiB, with torch 2.13 on x86-64: right forms 3, here and below; all scores at once 19 in
    # place, more otherwise. Pages that are touched first are what costs, so no larger than this.
    compare.query_chunked_attention(*draw.normals(3, 1, 1, 2048, 8), 16)


@check("query_chunked_attention", weight=6, memory_mib=8)
def test_long_sequence_that_does_not_divide(compare, draw):
    """Queries that the chunk does not divide, over a long sequence of keys, fit into the same memory."""
    compare.query_chunked_attention(draw.normal(1, 1, 523, 4), *draw.normals(2, 1, 1, 8192, 4), 4)


@check("query_chunked_attention", visible=True, subject="What it costs", reported=True)
def test_memory(compare, draw):
    """Memory stays within a few blocks of chunk x M scores, and the work is done once, by your own operations."""
    meter(compare, draw, 1, 2, 160, 400, 8, 2)


@check("query_chunked_attention", subject="What it costs", reported=True)
def test_memory_many_heads(compare, draw):
    """Memory stays within the bound when batch and heads are many."""
    meter(compare, draw, 2, 9, 512, 64, 8, 64)


@check("query_chunked_attention", subject="What it costs", reported=True)
def test_memory_cross_attention(compare, draw):
    """Memory stays within the bound with another number of keys and a last chunk that is shorter."""
    meter(compare, draw, 1, 12, 870, 64, 10, 80)
    meter(compare, draw, 1, 2, 150, 260, 12, 16)


@check("query_chunked_attention", subject="What it costs", reported=True)
def test_few_large_chunks(compare, draw):
    """A chunk is worked on at once: few large chunks are few rounds, and few new tensors."""
    meter(compare, draw, 1, 2, 64, 90, 8, 32)
    meter(compare, draw, 1, 1, 240, 120, 8, 80)


@check("query_chunked_attention", weight=4)
def test_chunk_sizes(compare, draw):
    """Any chunk gives the same values: one query at a time, all but one, more than there are."""
    for n, m, chunk in [(7, 5, 1), (7, 9, 6), (5, 7, 64)]:
        compare.query_chunked_attention(draw.normal(2, 1, n, 5), *draw.normals(2, 2, 1, m, 5), chunk)


@check("query_chunked_attention", weight=4)
def test_memory_layout(compare, draw):
    """Heads that were split off without a copy, as a network hands them over, give the same values."""
    compare.query_chunked_attention(*(one.transpose(1, 2) for one in draw.normals(3, 2, 10, 3, 7)), 4)


@check("query_chunked_attention", weight=4)
def test_large_scores(compare, draw):
    """Large scores do not overflow: a softmax only depends on differences."""
    for chunk in (4, 32):
        compare.query_chunked_attention(draw.normal(1, 2, 10, 16) * 40.0, *draw.normals(2, 1, 2, 14, 16), chunk)


@check("query_chunked_attention", weight=4)
def test_half_precision(compare, draw):
    """Inputs in half precision give an output of the same type, call by call."""
    for dtype, n in (("bfloat16", 13), ("float16", 9)):
        compare.query_chunked_attention(*(one.to(dtype) for one in draw.normals(3, 1, 2, n, 8)), 5)


def meter(compare: Any, draw: Any, batch: int, heads: int, n: int, m: int, d: int, chunk: int) -> None:
    """Compare output and cost for n queries and m keys of size d, chunk by chunk."""
    q, (k, v) = draw.normal(batch, heads, n, d), draw.normals(2, batch, heads, m, d)
    view = attention_bounds(batch, heads, n, m, d, chunk)
    compare.play("metered", view=view, function="query_chunked_attention", q=q, k=k, v=v, chunk=chunk)


# online_softmax_attention


def online_bounds(batch: int, heads: int, n: int, m: int, d: int, chunk: int) -> Callable[[Any], Any]:
    """Return the view of `metered` for keys in chunks: what it cost, in words.

    The plainest form holds four blocks; in float64 they are twice as large.
    """
    out, block = 4 * batch * heads * n * d, 4 * batch * heads * n * chunk
    needed = 4 * batch * heads * n * m * d

    def view(value: Any) -> Any:
        flops = value["flops"]
        fused = any("scaled_dot_product" in name for name in value["ops"])
        return {
            "peak": "within" if value["peak"] <= 8 * out + 10 * block else "over",
            "largest": "within" if value["largest"] <= 2 * max(out, block) else "over",
            "flops": "missing" if flops < needed else "within" if flops <= 1.3 * needed else "too many",
            "library kernel": "used" if fused else "not used",
        }

    return view


def meter_online(compare: Any, draw: Any, batch: int, heads: int, n: int, m: int, d: int, chunk: int) -> None:
    """Compare output and cost for n queries and m keys of size d, by chunks of keys."""
    q, (k, v) = draw.normal(batch, heads, n, d), draw.normals(2, batch, heads, m, d)
    view = online_bounds(batch, heads, n, m, d, chunk)
    compare.play("metered", view=view, function="online_softmax_attention", q=q, k=k, v=v, chunk=chunk)


def sloped(
    draw: Any, n: int, m: int, d: int, slope: float, offset: float, spread: float = 0.1
) -> tuple[Recipe, Recipe, Recipe]:
    """Return q, k, v of one head whose scores are `offset` at the first key and grow by `slope` from key to key."""
    rng = np.random.default_rng(draw.seed())
    q, k, v = rng.normal(size=(n, d)) * spread, rng.normal(size=(m, d)) * spread, rng.normal(size=(m, d))
    # The first axis of q and k alone makes the slope: its product is divided by √d.
    q[:, 0], k[:, 0] = 1.0, (offset + slope * np.arange(m)) * d**0.5
    q, k, v = (array(one[None, None].astype(np.float32)) for one in (q, k, v))
    return q, k, v


@check("online_softmax_attention", visible=True, weight=4)
def test_online_exact(compare, draw):
    """The output is exact attention: softmax(q·kᵀ/√d)·v over all keys."""
    compare.online_softmax_attention(*draw.normals(3, 2, 3, 12, 8), 4)


@check("online_softmax_attention", visible=True, weight=4)
def test_online_last_chunk_is_shorter(compare, draw):
    """All keys are looked at when the chunk does not divide their number."""
    compare.online_softmax_attention(draw.normal(1, 2, 6, 8), *draw.normals(2, 1, 2, 11, 8), 4)


@check("online_softmax_attention", visible=True, weight=4)
def test_online_rising_scores(compare, draw):
    """Each chunk brings a larger score than all before."""
    compare.online_softmax_attention(*sloped(draw, 5, 12, 8, 1.5, 0.0), 3)


@check("online_softmax_attention", visible=True, weight=4)
def test_online_large_scores(compare, draw):
    """Scores of some hundreds, up and down, do not overflow."""
    compare.online_softmax_attention(draw.normal(1, 2, 10, 16) * 40.0, *draw.normals(2, 1, 2, 14, 16), 4)


@check("online_softmax_attention", visible=True, weight=24, memory_mib=10)
def test_online_many_keys(compare, draw):
    """160 queries meet 32768 keys, 256 at a time, in a process that may use 10 MiB: all scores would be 20."""
    # Smallest limits, in MiB, with torch 2.13 on x86-64: right forms 4 to 5, keys and values among them; all scores
    # at once 23 in place, more otherwise; queries in chunks of that size are all scores at once, since there are fewer.
    compare.online_softmax_attention(draw.normal(1, 1, 160, 2), *draw.normals(2, 1, 1, 32768, 2), 256)


@check("online_softmax_attention", visible=True, subject="What it costs", reported=True, weight=2)
def test_online_memory(compare, draw):
    """Memory stays within a few blocks of queries x chunk scores, and the work is done once, by your own operations."""
    meter_online(compare, draw, 1, 2, 128, 128, 2, 4)


@check("online_softmax_attention", subject="What it costs", reported=True, weight=2)
def test_online_memory_of_many_heads(compare, draw):
    """What is held does not grow with the number of keys, with several heads and a last chunk that is shorter."""
    for keys in (330, 660):
        meter_online(compare, draw, 2, 3, 12, keys, 6, 32)


@check("online_softmax_attention", weight=4)
def test_online_chunk_sizes(compare, draw):
    """Any chunk gives the same values: one key at a time, all but one, more than there are."""
    for n, m, chunk in [(7, 5, 1), (4, 9, 8), (5, 7, 64)]:
        compare.online_softmax_attention(draw.normal(2, 3, n, 5), *draw.normals(2, 2, 3, m, 5), chunk)


@check("online_softmax_attention", weight=4)
def test_online_falling_scores(compare, draw):
    """The first keys have by far the largest scores."""
    compare.online_softmax_attention(*sloped(draw, 5, 15, 8, -16.0, 120.0), 2)


@check("online_softmax_attention", weight=4)
def test_online_negative_scores(compare, draw):
    """All scores may be far below zero."""
    compare.online_softmax_attention(*sloped(draw, 4, 11, 6, 0.4, -200.0), 4)


@check("online_softmax_attention", weight=4)
def test_online_memory_layout(compare, draw):
    """Heads that were split off without a copy, as a network hands them over, give the same values."""
    compare.online_softmax_attention(*(one.transpose(1, 2) for one in draw.normals(3, 2, 10, 3, 7)), 4)


@check("online_softmax_attention", visible=True, weight=4)
def test_online_half_precision(compare, draw):
    """Inputs in half precision give an output of the same type, as if it had been computed in float32."""
    for dtype, n, m in (("float16", 9, 8), ("bfloat16", 13, 7)):
        q, k, v = sloped(draw, n, m, 8, 0.0, 400.0, spread=1.0)
        compare.online_softmax_attention(q.to(dtype), k.to(dtype), v.to(dtype), 2)


@check("online_softmax_attention", weight=4)
def test_online_rows_of_other_sizes(compare, draw):
    """Some queries have scores of hundreds, others of hardly anything, side by side."""
    rng = np.random.default_rng(draw.seed())
    q = rng.normal(size=(1, 2, 6, 8)) * np.array([300.0, 0.1, 40.0, 1.0, 600.0, 0.01])[:, None]
    compare.online_softmax_attention(array(q.astype(np.float32)), *draw.normals(2, 1, 2, 9, 8), 4)


# vae_slicing


def shapes(answer: Any) -> list[list[int]]:
    """Return the shape of what the decoder was given, call by call."""
    return [list(call["z"].shape) for call in answer["decode"]]


def graphs(answer: Any) -> list[str]:
    """Return for each call of the decoder whether gradients were on: then its activations are kept for backward."""
    return ["kept" if call["grad"] else "dropped" for call in answer["decode"]]


def play_sliced(
    play: Any, draw: Any, shape: tuple[int, ...], f: int, dtype: str = "float32", pictures: str = "", **views: Any
) -> None:
    """Decode latents of this shape image by image; `pictures` is the dtype of what comes of it, where it is another."""
    made = {"pictures": dtype_of(pictures)} if pictures else {}
    decoder = witnessed("make_decoder", channels=shape[1], f=f, seed=draw.seed(), dtype=dtype_of(dtype), **made)
    play("sliced", **views, decode=decoder, z=draw.normal(*shape).to(dtype))


@check("vae_slicing", visible=True)
def test_slices_in_order(compare, draw):
    """The pictures of a batch, in its order, as one tensor."""
    play_sliced(compare.play, draw, (3, 4, 5, 7), 2)


@check("vae_slicing", visible=True, subject="The shapes that the decoder was given")
def test_one_image_a_call(compare, draw):
    """The decoder is given one image at a time, and each once."""
    play_sliced(compare.calls, draw, (4, 4, 6, 5), 2, view=shapes)


@check("vae_slicing", visible=True, subject="What becomes of the decoder's activations")
def test_slices_without_a_graph(compare, draw):
    """Nothing is kept for a backward pass."""
    play_sliced(compare.calls, draw, (2, 4, 4, 5), 2, view=graphs)


@check("vae_slicing")
def test_slices_of_other_sizes(compare, draw):
    """Any batch, channels, sizes and factor, one call after the other."""
    play_sliced(compare.play, draw, (1, 16, 3, 5), 4)
    play_sliced(compare.play, draw, (5, 3, 8, 2), 3)


@check("vae_slicing", subject="The shapes that the decoder was given")
def test_one_image_a_call_of_any_batch(compare, draw):
    """One image a call, for a single image, for an odd batch, for one as large as its sides."""
    for shape in ((1, 4, 5, 3), (7, 2, 3, 4), (4, 4, 4, 4)):
        play_sliced(compare.calls, draw, shape, 2, view=shapes)


@check("vae_slicing")
def test_slices_in_half_precision(compare, draw):
    """A decoder in half precision is given half precision, and its pictures stay what they are."""
    play_sliced(compare.play, draw, (3, 4, 4, 6), 2, "bfloat16")


@check("vae_slicing", visible=True)
def test_slices_in_the_decoders_dtype(compare, draw):
    """A decoder may give pictures in another dtype than its latents have, wider or narrower."""
    play_sliced(compare.play, draw, (2, 4, 3, 5), 2, "bfloat16", pictures="float32")
    play_sliced(compare.play, draw, (3, 4, 4, 3), 2, pictures="float16")


@check("vae_slicing")
def test_slices_of_strided_latents(compare, draw):
    """Latents that are not contiguous in memory are decoded all the same."""
    decoder = witnessed("make_decoder", channels=3, f=2, seed=draw.seed())
    compare.play("sliced", decode=decoder, z=draw.normal(2, 6, 5, 3).transpose(1, 3))


# tiled_decode


def play_tiled(
    play: Any,
    draw: Any,
    shape: tuple[int, ...],
    tile: int,
    overlap: float,
    f: int,
    dtype: str = "float32",
    pictures: str = "",
    **views: Any,
) -> None:
    """Decode latents of this shape in tiles; `pictures` is the dtype of what comes of it, where it is another."""
    made = {"pictures": dtype_of(pictures)} if pictures else {}
    decoder = witnessed(
        "make_decoder", calls=60, channels=shape[1], f=f, seed=draw.seed(), dtype=dtype_of(dtype), **made
    )
    play("tiled", **views, decode=decoder, z=draw.normal(*shape).to(dtype), tile=tile, overlap=overlap, f=f)


@check("tiled_decode", visible=True, weight=2)
def test_tiles_of_a_square(compare, draw):
    """Tiles overlap, each leads over into the next, and what is shared is shown once."""
    play_tiled(compare.play, draw, (1, 4, 16, 16), 8, 0.25, 2)


@check("tiled_decode", visible=True, weight=2)
def test_tiles_of_a_batch(compare, draw):
    """Several pictures that are wider than high, whose last tiles are smaller."""
    play_tiled(compare.play, draw, (2, 4, 10, 14), 8, 0.25, 2)


@check("tiled_decode", visible=True, weight=2, subject="The shapes that the decoder was given")
def test_shapes_of_the_tiles(compare, draw):
    """The decoder is given every tile once, row by row, the slivers at the ends included."""
    play_tiled(compare.calls, draw, (1, 4, 13, 15), 8, 0.25, 2, view=shapes)


@check("tiled_decode", visible=True, weight=2, subject="What becomes of the decoder's activations")
def test_tiles_without_a_graph(compare, draw):
    """Nothing is kept for a backward pass: a graph would hold every tile's activations until the end."""
    play_tiled(compare.calls, draw, (1, 4, 12, 9), 8, 0.25, 2, view=graphs)


@check("tiled_decode", visible=True, weight=3, memory_mib=10)
def test_memory_of_tiles(compare, draw):
    """A picture of 256×256 is decoded in tiles of 64×64, in a process that may use 10 MiB: one whole map is 10."""
    # Smallest limits, in MiB, with torch 2.13 on x86-64: tiles 4 to 5; all at once 24, and as much with a graph.
    compare.play(
        "tiled_here", z=draw.normal(1, 4, 32, 32), tile=8, overlap=0.25, f=8, width=40, seed=draw.whole(1, 1000)
    )


@check("tiled_decode", weight=2)
def test_tiles_that_share_half(compare, draw):
    """Half of each tile may be shared, also with a last tile that lies in the one before, or tiles one latent apart."""
    play_tiled(compare.play, draw, (1, 3, 13, 9), 4, 0.5, 3)
    play_tiled(compare.play, draw, (1, 4, 3, 4), 2, 0.5, 2)


@check("tiled_decode", weight=2)
def test_tiles_of_odd_sizes(compare, draw):
    """Tiles, overlap and factor are the caller's, one call after the other."""
    play_tiled(compare.play, draw, (1, 4, 23, 17), 10, 0.2, 4)
    play_tiled(compare.play, draw, (3, 5, 7, 11), 5, 0.4, 2)


@check("tiled_decode")
def test_tiles_that_share_nothing(compare, draw):
    """Without an overlap there is nothing to blend."""
    play_tiled(compare.play, draw, (1, 4, 7, 10), 4, 0.0, 2)


@check("tiled_decode")
def test_one_tile(compare, draw):
    """One tile may hold it all, or nearly all; then the next ones are slivers of it."""
    play_tiled(compare.play, draw, (2, 4, 5, 6), 12, 0.25, 2)
    play_tiled(compare.play, draw, (1, 4, 11, 8), 12, 0.25, 2)


@check("tiled_decode", subject="The shapes that the decoder was given")
def test_shapes_of_other_tiles(compare, draw):
    """Every tile once, whatever their size and overlap."""
    play_tiled(compare.calls, draw, (2, 3, 9, 17), 6, 0.5, 2, view=shapes)
    play_tiled(compare.calls, draw, (1, 4, 8, 8), 8, 0.25, 3, view=shapes)


@check("tiled_decode")
def test_tiles_in_half_precision(compare, draw):
    """A decoder in half precision is given half precision, and its pictures stay what they are."""
    play_tiled(compare.play, draw, (1, 4, 9, 12), 8, 0.25, 2, "bfloat16")


@check("tiled_decode", visible=True)
def test_tiles_in_the_decoders_dtype(compare, draw):
    """A decoder may give pictures in another dtype than its latents have, wider or narrower."""
    play_tiled(compare.play, draw, (1, 4, 9, 6), 4, 0.25, 2, "bfloat16", pictures="float32")
    play_tiled(compare.play, draw, (2, 4, 5, 9), 4, 0.5, 2, pictures="float16")


@check("tiled_decode")
def test_tiles_of_strided_latents(compare, draw):
    """Latents that are not contiguous in memory are decoded all the same."""
    decoder = witnessed("make_decoder", channels=3, f=2, seed=draw.seed())
    z = draw.normal(2, 12, 9, 3).transpose(1, 3)
    compare.play("tiled", decode=decoder, z=z, tile=6, overlap=0.5, f=2)


# model_offload_hooks

T2I = ["text_encoder", "unet", "vae"]


def events(answer: Any) -> list[str]:
    """Return what the machine was asked, in order."""
    return [
        f"{call['name']} -> {call['given']}" if call["action"] == "move" else f"{call['name']} runs"
        for call in answer["machine"]
    ]


def ledger(sizes: dict[str, int]) -> Callable[[Any], Any]:
    """Return the view that adds up the bytes: most on the GPU at once, all that crossed the bus, what stayed."""

    def view(answer: Any) -> Any:
        resident: set[str] = set()
        peak = moved = 0
        for call in answer["machine"]:
            if call["action"] != "move":
                continue
            there = call["name"] in resident
            moved += sizes[call["name"]] if there != (call["given"] == "gpu") else 0
            (resident.add if call["given"] == "gpu" else resident.discard)(call["name"])
            peak = max(peak, sum(sizes[name] for name in resident))
        return {"peak": peak, "moved": moved, "left": sorted(resident)}

    return view


def play_offloaded(
    play: Any, draw: Any, runs: list[list[str]], components: list[str] = T2I, frees: int = 1, **views: Any
) -> None:
    """Let components run in the order of each of `runs`."""
    machine = witnessed("make_machine", calls=90, components=components)
    play("offloaded", **views, machine=machine, components=components, runs=runs, x=draw.normal(2, 5), frees=frees)


@check("model_offload_hooks", visible=True)
def test_what_the_components_answer(compare, draw):
    """Every component is on the GPU when it runs, and answers what it always does."""
    play_offloaded(compare.play, draw, [["text_encoder", "unet", "unet", "unet", "vae"]])


@check("model_offload_hooks", visible=True, weight=2, subject="What was moved and run")
def test_moves_of_text_to_image(compare, draw):
    """Each component is loaded when it is needed, stays while it is called, and leaves before the next one comes."""
    play_offloaded(compare.calls, draw, [["text_encoder", "unet", "unet", "unet", "vae"]], view=events)


@check("model_offload_hooks", visible=True, subject="What it costs")
def test_bytes_of_text_to_image(compare, draw):
    """Most bytes on the GPU, bytes over the bus, and what is left at the end."""
    view = ledger({"text_encoder": 250, "unet": 1700, "vae": 160})
    play_offloaded(compare.calls, draw, [["text_encoder", "unet", "unet", "vae"]], view=view)


@check("model_offload_hooks", weight=2, subject="What was moved and run")
def test_moves_of_image_to_image(compare, draw):
    """A run may take the components in another order than they stand in, and come back to one."""
    play_offloaded(compare.calls, draw, [["vae", "text_encoder", "unet", "unet", "vae"]], view=events)


@check("model_offload_hooks", weight=2, subject="What was moved and run")
def test_moves_of_several_runs(compare, draw):
    """A second run finds everything as the first one did; a run that ends early leaves nothing behind either."""
    runs = [["text_encoder", "unet", "vae"], ["text_encoder", "unet"], ["unet", "unet", "vae"]]
    play_offloaded(compare.calls, draw, runs, view=events)


@check("model_offload_hooks", subject="What was moved and run")
def test_nothing_to_free(compare, draw):
    """Without a run nothing moves; what was freed is not freed again."""
    play_offloaded(compare.calls, draw, [[], ["vae"], []], frees=2, view=events)


@check("model_offload_hooks", visible=True, subject="What it costs")
def test_bytes_of_other_components(compare, draw):
    """Other components, some of them called in turns: most bytes at once, bytes over the bus, and what is left."""
    names = ["clip_l", "clip_g", "refiner", "transformer", "decoder"]
    sizes = {name: draw.whole(100, 900) for name in names}
    run = ["clip_l", "clip_g", "transformer", "refiner", "transformer", "refiner", "refiner", "decoder"]
    play_offloaded(compare.calls, draw, [run, ["decoder", "clip_g"]], names, view=ledger(sizes))


@check("model_offload_hooks")
def test_what_other_components_answer(compare, draw):
    """Runs of other components, one after the other, each on the GPU."""
    names = ["encoder", "prior", "decoder", "upscaler"]
    play_offloaded(compare.play, draw, [["encoder", "prior", "prior", "decoder"], ["decoder", "upscaler"]], names)
    play_offloaded(compare.play, draw, [["prior"], ["prior", "encoder", "prior"]], names)


@check("model_offload_hooks")
def test_two_pipelines(compare, draw):
    """Two pipelines that are arranged one after the other do not know of each other."""
    machines = {name: witnessed("make_machine", components=T2I) for name in ("machine", "other")}
    runs = {"first": ["text_encoder", "unet"], "second": ["unet", "vae"]}
    compare.play("two_pipelines", **machines, components=T2I, **runs, x=draw.normal(2, 3))


# checkpointed_forward


def training_bounds(n: int, width: int, hidden: int, depth: int, seg: int) -> Callable[[Any], Any]:
    """Return the view of `metered_training`: its cost in words.

    A forward pass is `forward` FLOPs, its backward pass twice that. What is run once more costs nearly another one; the
    last product of a segment may be left out. `held` is what a block keeps: its input and its activations.
    """
    once = 2 * (2 * n * width * hidden + width * hidden) * depth
    held = 4 * n * (width + hidden)
    parameters = 4 * depth * (3 * width * hidden + 2 * hidden + width)
    bound = parameters + 4 * n * width * (depth // seg) + held * (seg + 3)

    def view(value: Any) -> Any:
        flops = value["flops"]
        return {
            "peak": "within" if value["peak"] <= bound else "over",
            "flops": "nothing twice" if flops < 3.2 * once else "within" if flops <= 4.2 * once else "too many",
        }

    return view


def meter_training(compare: Any, draw: Any, depth: int, seg: int) -> None:
    """Compare what training through `depth` blocks costs in segments of `seg`."""
    n, width, hidden = 256, 4, 24
    x, cond = draw.normal(n, width), draw.normal(1, width)
    view = training_bounds(n, width, hidden, depth, seg)
    given = {"x": x, "cond": cond, "seg": seg, "depth": depth, "seed": draw.whole(1, 1000), "hidden": hidden}
    compare.play("metered_training", view=view, **given)


def play_blocks(compare: Any, draw: Any, scenario: str, depth: int, seg: int, shape: tuple[int, ...], **more: Any):
    """Run `depth` blocks in segments of `seg` on x of this shape."""
    given = {"x": draw.normal(*shape), "cond": draw.normal(*shape), "seed": draw.whole(1, 1000), **more}
    if scenario != "conditioned":
        given.setdefault("dropout", 0.0)
    if scenario in ("trained", "conditioned"):
        given["weight"] = draw.normal(*shape)
    compare.play(scenario, seg=seg, depth=depth, **given)


@check("checkpointed_forward", visible=True, weight=3)
def test_the_blocks_output(compare, draw):
    """All blocks, one after the other, each with the condition."""
    play_blocks(compare, draw, "run_forward", 6, 2, (3, 5))


@check("checkpointed_forward", visible=True, weight=3)
def test_gradients_of_all_blocks(compare, draw):
    """Every parameter of every block gets its gradient, and so does the input."""
    play_blocks(compare, draw, "trained", 6, 2, (3, 5))


@check("checkpointed_forward", visible=True, weight=3)
def test_dropout_of_the_second_run(compare, draw):
    """Dropout drops the same numbers when a segment is run once more."""
    play_blocks(compare, draw, "trained", 4, 2, (6, 4), dropout=0.4)


@check("checkpointed_forward", visible=True, weight=12, memory_mib=14)
def test_memory_of_training(compare, draw):
    """42 blocks are trained through in segments of one, in a process that may use 14 MiB: their activations are 24."""
    # Smallest limits, in MiB, with torch 2.13 on x86-64: every block checkpointed 5 to 7, parameters and gradients
    # among them; no checkpoint, or one around everything, more than 28.
    given = {"x": draw.normal(928, 4), "cond": draw.normal(1, 4), "seed": draw.whole(1, 1000)}
    compare.play("trained_long", seg=1, depth=42, hidden=160, **given)


@check("checkpointed_forward", visible=True, subject="What it costs", reported=True, weight=2)
def test_work_and_memory_of_training(compare, draw):
    """Each segment is run once more, and no more than boundaries and one segment are held."""
    meter_training(compare, draw, 12, 2)


@check("checkpointed_forward", subject="What it costs", reported=True)
def test_work_and_memory_of_long_segments(compare, draw):
    """A few long segments: each is run once more, and one of them is held at a time."""
    meter_training(compare, draw, 12, 6)


@check("checkpointed_forward", weight=3)
def test_segments_that_do_not_divide(compare, draw):
    """The last segment may be shorter; a segment may be longer than the stack."""
    play_blocks(compare, draw, "run_forward", 7, 3, (2, 6))
    play_blocks(compare, draw, "trained", 5, 3, (4, 3))
    play_blocks(compare, draw, "trained", 2, 5, (2, 7))


@check("checkpointed_forward", weight=3)
def test_a_frozen_base(compare, draw):
    """Where the blocks are frozen but for a small part, and the input asks for no gradient, that part learns."""
    play_blocks(compare, draw, "trained", 4, 2, (3, 5), frozen=True)


@check("checkpointed_forward", visible=True, weight=3)
def test_gradient_of_the_condition(compare, draw):
    """Where the condition asks for a gradient it gets one, also where nothing else is trained."""
    play_blocks(compare, draw, "conditioned", 4, 2, (3, 5))
    play_blocks(compare, draw, "conditioned", 3, 2, (2, 4), frozen=True)


@check("checkpointed_forward", weight=3)
def test_dropout_and_the_random_state(compare, draw):
    """With dropout, the output is that of plain training, and the random state is left as by one forward pass."""
    play_blocks(compare, draw, "run_forward", 5, 2, (5, 6), dropout=0.3)
    play_blocks(compare, draw, "trained", 6, 3, (4, 8), dropout=0.5)


@check("checkpointed_forward", weight=3)
def test_blocks_of_other_shapes(compare, draw):
    """Inputs of any number of axes, one call after the other."""
    play_blocks(compare, draw, "trained", 3, 1, (2, 3, 4))
    play_blocks(compare, draw, "trained", 4, 4, (1, 2, 3, 5))


# groupnorm_fp16


def compare_normed(compare: Any, draw: Any, x: Recipe, groups: int, channels: int, **more: Any) -> None:
    """Normalise x in groups, with weight and bias of its own for each channel."""
    weight, bias = draw.uniform(channels) + 0.5, draw.normal(channels)
    dtype = more.get("dtype", "float32")
    compare.groupnorm_fp16(x, groups, weight.to(dtype), bias.to(dtype), more.get("eps", 1e-5))


@check("groupnorm_fp16", visible=True)
def test_normed(compare, draw):
    """Each group of channels has mean 0 and deviation 1, before weight and bias."""
    compare_normed(compare, draw, draw.normal(2, 6, 4, 5).to("float16"), 3, 6)


@check("groupnorm_fp16", visible=True)
def test_large_activations(compare, draw):
    """Activations of some hundreds, whose squares are no float16 numbers."""
    compare_normed(compare, draw, (draw.normal(2, 8, 4, 6) * 400.0 + 300.0).to("float16"), 2, 8)


@check("groupnorm_fp16", visible=True)
def test_an_offset(compare, draw):
    """Activations that lie around a large number, at a small distance."""
    compare_normed(compare, draw, (draw.normal(1, 8, 5, 7) + 100.0).to("float16"), 4, 8)


@check("groupnorm_fp16")
def test_few_values_in_a_group(compare, draw):
    """A group may hold very few values, and the deviation is that of these."""
    compare_normed(compare, draw, draw.normal(3, 4, 1, 2).to("float16"), 2, 4)
    compare_normed(compare, draw, draw.normal(2, 6, 1, 3).to("float16"), 6, 6)


@check("groupnorm_fp16", visible=True)
def test_small_activations(compare, draw):
    """Where the deviation is as small as the root of eps, eps decides."""
    compare_normed(compare, draw, (draw.normal(2, 6, 4, 4) * 0.01).to("float16"), 3, 6, eps=1e-4)
    compare_normed(compare, draw, (draw.normal(2, 4, 3, 3) * 0.0 + 3.0).to("float16"), 2, 4)


@check("groupnorm_fp16")
def test_one_group_and_as_many_as_channels(compare, draw):
    """One group of all channels, and a group for every channel."""
    for groups in (1, 5):
        compare_normed(compare, draw, (draw.normal(3, 5, 4, 2) * 30.0 + 10.0).to("float16"), groups, 5)


@check("groupnorm_fp16")
def test_activations_of_other_axes(compare, draw):
    """Videos and sequences, bfloat16, weights in half precision: the answer has the dtype of x."""
    compare_normed(compare, draw, draw.normal(2, 6, 2, 3, 4).to("float16"), 3, 6, dtype="float16")
    compare_normed(compare, draw, (draw.normal(3, 8, 5) * 3.0).to("bfloat16"), 4, 8, dtype="bfloat16")


@check("groupnorm_fp16")
def test_a_large_offset(compare, draw):
    """Activations that lie around a large number, no further apart than neighbours in float16 are."""
    compare_normed(compare, draw, (draw.normal(2, 8, 6, 7) * 2.0 + 4000.0).to("float16"), 4, 8)


@check("groupnorm_fp16")
def test_strided_activations(compare, draw):
    """Activations that lie channels last in memory give the same values."""
    compare_normed(compare, draw, (draw.normal(2, 5, 4, 6) * 50.0).to("float16").transpose(1, 3), 2, 6)


# memory_plan. Weights and activations are largest in different components, and no two components are alike.

PIPELINE = [
    {
        "params": 120,
        "bytes_per_param": 2,
        "activations": 30,
        "per_step": False,
        "largest_leaf": 40,
        "largest_group": 50,
    },
    {
        "params": 860,
        "bytes_per_param": 2,
        "activations": 300,
        "per_step": True,
        "largest_leaf": 60,
        "largest_group": 210,
    },
    {
        "params": 80,
        "bytes_per_param": 4,
        "activations": 1500,
        "per_step": False,
        "largest_leaf": 10,
        "largest_group": 20,
    },
]


def drawn_pipeline(draw: Any) -> list[dict[str, int]]:
    """Return four components of other sizes; which of them is the largest in what stays as it is."""
    return [
        {**PIPELINE[0], "params": draw.whole(200, 240), "activations": draw.whole(20, 40)},
        {**PIPELINE[0], "params": draw.whole(300, 340), "bytes_per_param": 4, "per_step": True, "largest_leaf": 90},
        {**PIPELINE[1], "params": draw.whole(900, 1200), "largest_leaf": draw.whole(150, 180)},
        {**PIPELINE[2], "params": draw.whole(60, 90), "activations": draw.whole(2600, 2900)},
    ]


def compare_plan(compare: Any, draw: Any, keys: tuple[str, ...], *strategies: str, pipelines: Any = (PIPELINE,)):
    """Compare entries of the plan of each pipeline under each strategy."""
    for pipeline in pipelines:
        for strategy in strategies:
            given = {"steps": draw.whole(7, 30), "step_s": draw.real(0.1, 0.4), "bandwidth": draw.real(1000.0, 9000.0)}
            compare.play("planned", view=part(*keys), components=pipeline, strategy=strategy, **given)


@check("memory_plan", visible=True)
def test_peak_without_offloading(compare, draw):
    """Everything stays on the GPU: the peak."""
    compare_plan(compare, draw, ("peak",), "none")


@check("memory_plan", visible=True)
def test_peak_of_model_offload(compare, draw):
    """One component at a time: the peak."""
    compare_plan(compare, draw, ("peak",), "model")


@check("memory_plan", visible=True)
def test_bytes_that_move(compare, draw):
    """The bytes over the bus, for nothing, for model and for sequential offload."""
    compare_plan(compare, draw, ("moved",), "none", "model", "sequential")


@check("memory_plan", visible=True)
def test_seconds_of_transfer(compare, draw):
    """The seconds of transfer, and those of the whole run."""
    compare_plan(compare, draw, ("transfer_s", "total_s"), "model", "sequential")


@check("memory_plan", visible=True, property=True)
def test_unknown_strategy(compare, draw):
    """A strategy that is not known is refused with a ValueError."""
    compare.play("planned", components=PIPELINE, steps=3, step_s=0.1, bandwidth=100.0, strategy="Model")


@check("memory_plan", visible=True)
def test_peak_of_sequential_offload(compare, draw):
    """One layer at a time: the peak."""
    compare_plan(compare, draw, ("peak",), "sequential", pipelines=(PIPELINE, drawn_pipeline(draw)))


@check("memory_plan")
def test_groups(compare, draw):
    """One group of layers at a time: peak and bytes over the bus."""
    compare_plan(compare, draw, ("peak", "moved"), "group", pipelines=(PIPELINE, drawn_pipeline(draw)))


@check("memory_plan", visible=True)
def test_layerwise_casting(compare, draw):
    """Every weight stored in one byte: peak and bytes over the bus."""
    compare_plan(compare, draw, ("peak", "moved"), "layerwise_casting", pipelines=(PIPELINE, drawn_pipeline(draw)))


@check("memory_plan")
def test_plans_of_other_pipelines(compare, draw):
    """Another pipeline, with two components in the loop: peak and bytes over the bus."""
    pipelines = [drawn_pipeline(draw), drawn_pipeline(draw)[1:]]
    compare_plan(compare, draw, ("peak", "moved"), "none", "model", "sequential", pipelines=pipelines)


@check("memory_plan")
def test_seconds_of_other_pipelines(compare, draw):
    """Seconds of transfer and of the run, for another pipeline under every strategy."""
    strategies = ("none", "model", "sequential", "group", "layerwise_casting")
    compare_plan(compare, draw, ("transfer_s", "total_s"), *strategies, pipelines=(drawn_pipeline(draw),))


# precision_report

CHANNELS = 4


def play_report(compare: Any, draw: Any, keys: tuple[str, ...], x: Recipe, **given: Any) -> None:
    """Report on a pointwise model; `given` may hold weight, mean, dtype and min_psnr."""
    made = {
        "weight": draw.uniform(CHANNELS, 1, 1) + 0.5,
        "mean": draw.normal(CHANNELS, 1, 1),
        "min_psnr": 40.0,
        **given,
    }
    made["dtype"] = dtype_of(made.pop("dtype", "float16"))

    def view(answer: Any) -> Any:
        return {key: answer["report"][key] for key in keys}

    compare.play("reported", view=view, x=x, **made)


def pictures(draw: Any, *shape: int) -> Recipe:
    """Return a model's input of CHANNELS channels, of these sizes."""
    return draw.normal(shape[0], CHANNELS, *shape[1:])


@check("precision_report", visible=True)
def test_bytes_held(compare, draw):
    """What weights and buffers take in the other dtype."""
    play_report(compare, draw, ("bytes",), pictures(draw, 2, 3, 5))


@check("precision_report", visible=True)
def test_errors(compare, draw):
    """Largest and relative error against the float32 answer."""
    play_report(compare, draw, ("max_error", "relative_error"), pictures(draw, 2, 3, 5), dtype="bfloat16")


@check("precision_report", visible=True)
def test_psnr(compare, draw):
    """PSNR with the peak of the float32 answer."""
    play_report(compare, draw, ("psnr",), pictures(draw, 2, 3, 5) * 3.0, dtype="bfloat16")


@check("precision_report", visible=True)
def test_overflow(compare, draw):
    """Where numbers pass the end of float16: the share of them, and what that does to errors and PSNR."""
    keys = ("max_error", "relative_error", "psnr", "overflow", "underflow", "verdict")
    play_report(compare, draw, keys, pictures(draw, 2, 4, 5) * 200.0, weight=draw.uniform(CHANNELS, 1, 1) * 900.0)


@check("precision_report", visible=True, weight=2)
def test_model_stays_the_callers(compare, draw):
    """The model that is given stays in float32 and in its mode, with its weights and buffers."""
    given = {"weight": draw.uniform(CHANNELS, 1, 1), "mean": draw.normal(CHANNELS, 1, 1), "min_psnr": 40.0}
    view = part("weight", "mean", "steps", "table", "mode")
    compare.play("reported", view=view, x=pictures(draw, 2, 3, 4), dtype=dtype_of("float16"), **given)


@check("precision_report")
def test_bytes_in_other_dtypes(compare, draw):
    """Bytes in bfloat16 and float64; whole numbers keep their width."""
    for dtype in ("bfloat16", "float64"):
        play_report(compare, draw, ("bytes", "overflow", "underflow"), pictures(draw, 1, 2, 3), dtype=dtype)


@check("precision_report")
def test_errors_of_large_and_small_answers(compare, draw):
    """Errors and PSNR where the answers are far from one, and not centred."""
    for factor, offset, dtype in ((300.0, 40.0, "float16"), (0.02, 0.5, "bfloat16")):
        weight = (draw.uniform(CHANNELS, 1, 1) + 0.5) * -factor
        mean = draw.normal(CHANNELS, 1, 1) + offset
        keys = ("max_error", "relative_error", "psnr")
        play_report(compare, draw, keys, pictures(draw, 3, 2, 4), weight=weight, mean=mean, dtype=dtype)


@check("precision_report", visible=True)
def test_underflow(compare, draw):
    """Numbers that become zero, beside numbers that were zero before: the share of the former."""
    rng = np.random.default_rng(draw.seed())
    x = rng.normal(size=(2, CHANNELS, 4, 6)) * 1e-3
    x[:, :, 1] = 0.0
    weight, mean = draw.uniform(CHANNELS, 1, 1) * 5e-5, zeros(CHANNELS, 1, 1)
    given = {"weight": weight, "mean": mean}
    play_report(compare, draw, ("underflow", "overflow", "verdict"), array(x.astype(np.float32)), **given)


@check("precision_report", visible=True)
def test_not_a_number(compare, draw):
    """A number that passes the end of the range and is then multiplied by zero is not a number: the largest error."""
    rng = np.random.default_rng(draw.seed())
    x = rng.normal(size=(2, CHANNELS, 3, 3))
    x[0, 2, 1] = 90000.0
    weight = tensor([1.5, 0.7, 0.0, 2.0]).reshape(CHANNELS, 1, 1)
    keys = ("max_error", "relative_error", "psnr", "overflow", "verdict")
    play_report(compare, draw, keys, array(x.astype(np.float32)), weight=weight)


@check("precision_report")
def test_verdict(compare, draw):
    """The verdict stands on the PSNR that is asked for."""
    for dtype, min_psnr in (("float16", 50.0), ("bfloat16", 90.0), ("bfloat16", 35.0), ("float16", 100.0)):
        x = pictures(draw, 2, 6, 5) * 30.0
        play_report(compare, draw, ("verdict",), x, dtype=dtype, min_psnr=min_psnr)
    # Nothing is lost from float32 to float32, so that whatever is asked for is reached.
    play_report(compare, draw, ("psnr", "verdict"), pictures(draw, 1, 2, 3), dtype="float32", min_psnr=math.inf)


# step_cache


def walk(draw: Any, shape: tuple[int, ...], changes: list[float], offset: float = 0.0, sparse: bool = False):
    """Return inputs offset + x_0·(1 + c), for each c of `changes`.

    `sparse`: one sample's first row alone is changed, from ±1 by 36·c, so that no draw decides how much that is.
    """
    rng = np.random.default_rng(draw.seed())
    start = rng.normal(size=shape)
    steps = []
    for change in changes:
        x = start.copy() if sparse else start * (1 + change)
        if sparse:
            x[0, :, 0] = np.sign(start[0, :, 0]) * (1 + 36 * change)
        steps.append(array((offset + x).astype(np.float32)))
    return steps


def play_cached(play: Any, draw: Any, walks: list[list[Recipe]], threshold: float, channels: int, **views: Any) -> None:
    """Run three blocks over walks, one after the other."""
    blocks = views.pop("blocks", 3)
    network = witnessed("make_network", calls=90, channels=channels, blocks=blocks, seed=draw.seed())
    play("cached", **views, network=network, blocks=blocks, steps=walks, threshold=threshold)


def computed(answer: Any) -> list[int]:
    """Return which block was called, call by call."""
    return [call["block"] for call in answer["network"]]


@check("step_cache", visible=True)
def test_outputs_of_a_walk(compare, draw):
    """While the first block changes little, the output is its output, and what the others added before."""
    play_cached(compare.play, draw, [walk(draw, (2, 4, 6), [0.0, 0.05, 0.5, 0.55, 0.6])], 0.1, 4)


@check("step_cache", visible=True, subject="The blocks that were called")
def test_blocks_of_a_walk(compare, draw):
    """The first block is called at every step, the others where it changed, at the first step and at the last."""
    play_cached(compare.calls, draw, [walk(draw, (2, 4, 6), [0.0, 0.05, 0.5, 0.55, 0.6])], 0.1, 4, view=computed)


@check("step_cache", visible=True)
def test_slow_drift(compare, draw):
    """Small changes add up: what counts is how far the first block is from the step that was computed."""
    play_cached(compare.play, draw, [walk(draw, (1, 3, 5, 4), [0.04 * step for step in range(8)])], 0.1, 3)


@check("step_cache")
def test_scales_of_a_walk(compare, draw):
    """The change is relative: neither very large nor very small inputs are computed more often."""
    for factor in (30.0, 0.03):
        steps = [x * factor for x in walk(draw, (2, 3, 4), [0.0, 0.06, 0.2, 0.25, 0.45, 0.5])]
        play_cached(compare.play, draw, [steps], 0.1, 3)


@check("step_cache")
def test_change_in_one_place(compare, draw):
    """A large change in few numbers is a small change on average."""
    steps = walk(draw, (6, 4, 16), [0.0, 0.07, 0.08, 0.09, 0.1], sparse=True)
    play_cached(compare.play, draw, [steps], 0.15, 4)


@check("step_cache")
def test_change_of_small_numbers(compare, draw):
    """Numbers near nought that change by much of themselves are a small change on average."""
    rng = np.random.default_rng(draw.seed())
    start, other = rng.normal(size=(2, 4, 4, 32))
    steps = [array((start + change * other).astype(np.float32)) for change in (0.0, 0.06, 0.065, 0.07, 0.075)]
    play_cached(compare.play, draw, [steps], 0.1, 4)


@check("step_cache")
def test_two_walks(compare, draw):
    """Nothing is left of one walk in the next, of other shapes and nearly the same inputs."""
    first = walk(draw, (2, 4, 5), [0.0, 0.03, 0.05])
    play_cached(
        compare.play, draw, [first, [x * 1.02 for x in first], walk(draw, (1, 4, 3, 2), [0.0, 0.02, 0.4, 0.42])], 0.1, 4
    )


@check("step_cache", subject="The blocks that were called")
def test_blocks_of_short_and_still_walks(compare, draw):
    """One step, two, and steps that do not change at all."""
    walks = [walk(draw, (2, 3, 4), changes) for changes in ([0.0], [0.0, 0.01], [0.0, 0.0, 0.0, 0.0])]
    play_cached(compare.calls, draw, walks, 0.0, 3, blocks=4, view=computed)


@check("step_cache")
def test_falling_walk(compare, draw):
    """A change down counts as a change up does, with other numbers of blocks."""
    for blocks in (2, 5):
        steps = walk(draw, (2, 3, 7), [0.0, -0.05, -0.3, -0.33, -0.6, -0.62])
        play_cached(compare.play, draw, [steps], 0.12, 3, blocks=blocks)


@check("step_cache")
def test_walk_around_an_offset(compare, draw):
    """What counts is the change of what the first block added, however large its input is."""
    steps = walk(draw, (2, 4, 6), [0.0, 0.05, 0.4, 0.44, 0.9, 0.95], offset=8.0)
    play_cached(compare.play, draw, [steps], 0.15, 4)
