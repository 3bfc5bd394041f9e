"""Checks of lab 08. The docstring of a check is the sentence that a student reads."""

from typing import Any

import numpy as np

from grader.kit import Recipe, array, check, ones, tensor, zeros

# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check(
    "checkpoint_parameters", visible=True, tells="Not yet. Which sides do A and B share with W, and where do they go?"
)
def test_prediction_of_the_parameters(compare):
    """Prediction: the numbers of a layer, of its adapter, and of both merged."""
    compare.checkpoint_parameters()


@check("checkpoint_strength", visible=True, tells="Not yet. Write each factor as a fraction before you work it out.")
def test_prediction_of_the_strength(compare):
    """Prediction: the factor in front of B·A, at two ranks, stabilised, and after fusing."""
    compare.checkpoint_strength()


@check("checkpoint_first_step", visible=True, tells="Not yet. Which matrix is a factor of the other one's gradient?")
def test_prediction_of_the_first_step(compare):
    """Prediction: which matrices the first two steps of training move."""
    compare.checkpoint_first_step()


@check("checkpoint_targets", visible=True, tells="Not yet. Compare whole parts between dots, from the end of the name.")
def test_prediction_of_the_targets(compare):
    """Prediction: which layers a target's name hits."""
    compare.checkpoint_targets()


@check("checkpoint_what_changes", visible=True, tells="Not yet. Which of the five has the denoiser's weights in it?")
def test_prediction_of_what_changes(compare):
    """Prediction: what an active adapter changes in a run."""
    compare.checkpoint_what_changes()


# lora_linear


def layer(draw: Any, out: int, inn: int, r: int, bias: bool = True) -> dict[str, Recipe | None]:
    """Return W, b, A and B of a layer with an adapter."""
    return {
        "W": draw.normal(out, inn),
        "b": draw.normal(out) if bias else None,
        "A": draw.normal(r, inn),
        "B": draw.normal(out, r),
    }


def halved(given: dict[str, Recipe | None], dtype: str, *names: str) -> dict[str, Recipe | None]:
    """Return the same with the named tensors in another dtype."""
    return {name: value.to(dtype) if name in names and value is not None else value for name, value in given.items()}


def opposed(draw: Any, dtype: str) -> dict[str, Recipe]:
    """Return x, W, A and B of a layer in half precision whose large terms nearly cancel.

    The second half of x is the first one's negative, and those of W and A are nearly alike: a sum of terms of 100 is 1,
    and a weight that was rounded on the way moves it by more than the last rounding does.
    """
    rng = np.random.default_rng(draw.seed())
    x = rng.normal(size=(5, 8)) * 100.0

    def alike(rows: int) -> Recipe:
        half = rng.normal(size=(rows, 8))
        return array(np.concatenate([half, half + 0.005 * rng.normal(size=half.shape)], axis=1).astype(np.float32))

    return {
        "x": array(np.concatenate([x, -x], axis=1).astype(np.float32)).to(dtype),
        "W": alike(3).to(dtype),
        "A": alike(2),
        "B": draw.normal(3, 2),
    }


@check("lora_linear", visible=True)
def test_a_layer_with_an_adapter(compare, draw):
    """A layer with bias and adapter, for a batch of sequences."""
    compare.lora_linear(draw.normal(2, 5, 7), *layer(draw, 11, 7, 3).values(), 8.0)


@check("lora_linear", visible=True)
def test_a_square_layer(compare, draw):
    """A layer with as many outputs as inputs, where products in a wrong order have the right shape."""
    compare.lora_linear(draw.normal(4, 6), *layer(draw, 6, 6, 2).values(), 6.0)


@check("lora_linear", visible=True)
def test_a_layer_without_bias(compare, draw):
    """A layer that has no bias."""
    compare.lora_linear(draw.normal(3, 8), *layer(draw, 5, 8, 4, bias=False).values(), 2.0)


@check("lora_linear", visible=True)
def test_gradients_of_the_layer(compare, draw):
    """Gradients reach the input by both paths, and A and B, while the pretrained weight is frozen."""
    given = layer(draw, 5, 7, 3)
    learn = {"x": draw.normal(2, 4, 7), "A": given.pop("A"), "B": given.pop("B")}
    compare.play("gradients", function="lora_linear", weight=draw.normal(2, 4, 5), tensors=learn, alpha=5.0, **given)


@check("lora_linear")
def test_any_leading_axes(compare, draw):
    """Inputs with no leading axis and with three, ranks of one and above both sides, one after the other."""
    compare.lora_linear(draw.normal(9), *layer(draw, 4, 9, 1).values(), draw.real(2.0, 5.0))
    compare.lora_linear(draw.normal(2, 3, 1, 4), *layer(draw, 6, 4, 8).values(), draw.real(2.0, 5.0))


@check("lora_linear")
def test_a_square_layer_of_full_rank(compare, draw):
    """A layer whose inputs, outputs and rank are the same number."""
    compare.lora_linear(draw.normal(3, 4), *layer(draw, 4, 4, 4).values(), draw.real(5.0, 9.0))


@check("lora_linear")
def test_half_precision_of_the_layer(compare, draw):
    """Layers in half precision, with adapters in half precision and in float32."""
    everything = ("W", "b", "A", "B")
    given = halved(layer(draw, 5, 8, 2), "float16", *everything)
    compare.lora_linear(draw.normal(3, 8).to("float16"), *given.values(), 3.0)
    given = halved(layer(draw, 7, 6, 4), "bfloat16", "W", "b")
    compare.lora_linear(draw.normal(2, 2, 6).to("bfloat16"), *given.values(), 6.0)
    given = halved(layer(draw, 4, 10, 3, bias=False), "float16", "W")
    compare.lora_linear(draw.normal(10).to("float16"), *given.values(), 2.0)


@check("lora_linear", visible=True)
def test_an_adapter_that_leaves_little(compare, draw):
    """Where large terms nearly cancel, base and adapter or the input's, only the last rounding may lose digits."""
    # W·x is 136 or so, of which a two-hundredth is left: a rounding of W·x to half precision would be as large as that.
    for dtype in ("float16", "bfloat16"):
        x, W = (draw.uniform(30, 16) + 8.0).to(dtype), ones(3, 16).to(dtype)
        compare.lora_linear(x, W, None, ones(1, 16), ones(3, 1) * -0.5, 1.99)
        compare.lora_linear(**opposed(draw, dtype), b=None, alpha=3.0)


@check("lora_linear")
def test_strided_tensors(compare, draw):
    """Tensors that are not contiguous in memory give the same answer."""
    x, W = draw.normal(7, 5, 2).transpose(0, 2), draw.normal(7, 6).transpose(0, 1)
    A, B = draw.normal(7, 3).transpose(0, 1), draw.normal(3, 6).transpose(0, 1)
    compare.lora_linear(x, W, draw.normal(6), A, B, draw.real(4.0, 8.0))


# lora_init. A may be drawn in any order, so that statistics are compared: made here, from both sides' numbers.


def numbers(value: Any) -> np.ndarray | None:
    """Return a tensor's numbers, or None where there is no matrix of them."""
    found = getattr(value, "array", None)
    return found.astype(np.float64) if found is not None and found.ndim == 2 and found.size else None


def form(answer: Any) -> Any:
    """Return of each pair B itself, and shape and dtype of A."""
    return [
        {"A": (str(getattr(one["A"], "shape", None)), str(getattr(one["A"], "dtype", None))), "B": one["B"]}
        for one in answer
    ]


def spread(answer: Any) -> Any:
    """Return in words how A's numbers lie in the interval that its width gives."""
    return [_spread(numbers(one["A"])) for one in answer]


def _spread(A: np.ndarray | None) -> Any:
    if A is None:
        return "no matrix"
    unit = A * A.shape[1] ** 0.5
    # Of N uniform numbers on [−1, 1]: the largest lies below 1 by 1/N, the deviation is 1/√3 within 0.26/√N, and the
    # mean 0 within 0.58/√N. The bounds are six of these wide, and a quarter of an octave is wider than that.
    count = unit.size**0.5
    return {
        "largest": _word(abs(unit).max(), 1 - 12 / unit.size, 1 + 1e-6),
        "mean": _word(unit.mean(), -3.5 / count, 3.5 / count),
        "octaves": [_octaves(abs(unit).max()), _octaves(unit.std() * 3**0.5)],
    }


def _word(value: float, low: float, high: float) -> str:
    return "too small" if value < low else "too large" if value > high else "right"


def _octaves(ratio: float) -> str:
    return f"{round(4 * np.log2(ratio)) / 4:+g}" if ratio > 0 else "none"


def rank(answer: Any) -> Any:
    """Return the rank of each A, as its singular values show it."""
    return [None if (A := numbers(one["A"])) is None else int(np.linalg.matrix_rank(A)) for one in answer]


def equal(answer: Any) -> Any:
    """Return in words which of the As are the same numbers as the first."""
    found = [numbers(one["A"] if isinstance(one, dict) else one) for one in answer]
    first = found[0]
    return [
        "same" if first is not None and one is not None and np.array_equal(first, one) else "other" for one in found
    ]


def moved(answer: Any) -> Any:
    """Return in words which gradients of each step are not zero, and the loss before the first step."""
    words = [{name: "zero" if not np.any(step[name].array) else "not zero" for name in ("A", "B")} for step in answer]
    return {"gradients": words, "loss at first": answer[0]["loss"]}


def start(play: Any, draw: Any, view: Any, *sizes: tuple[int, int, int]) -> None:
    """Start an adapter of each size (in, out, r) and compare what `view` sees."""
    for inn, out, r in sizes:
        play("started", view=view, in_features=inn, out_features=out, r=r, seeds=[draw.seed()])


@check("lora_init", visible=True)
def test_shapes_and_zeros(compare, draw):
    """A and B have the right shapes and are float32, and B is zero."""
    start(compare.play, draw, form, (24, 40, 4), (7, 5, 6))


@check("lora_init", visible=True, subject="How A's numbers lie")
def test_spread_of_the_numbers(compare, draw):
    """The numbers of A fill the interval that its width gives, evenly, and leave it nowhere."""
    start(compare.play, draw, spread, (64, 48, 32))


@check("lora_init", visible=True, subject="What the first steps move")
def test_the_first_two_steps(compare, draw):
    """At first the layer is the pretrained one and only B learns; from the second step on both do."""
    given = {"W": draw.normal(6, 9), "x": draw.normal(20, 9), "target": draw.normal(20, 6)}
    compare.play("first_steps", view=moved, **given, r=3, alpha=6.0, seed=draw.seed(), steps=2, lr=0.1)


@check("lora_init", subject="Which seeds give the same numbers")
def test_numbers_of_the_generator(compare, draw):
    """Equal generators give equal numbers and others give others, and nothing else decides."""
    one, other = draw.seed(), draw.seed()
    compare.play("started", view=equal, in_features=12, out_features=8, r=4, seeds=[one, one, other])


@check("lora_init", subject="Which layers start with the same numbers")
def test_layers_in_a_row(compare, draw):
    """Layers that are started from one generator in a row have numbers of their own."""
    compare.play("started_in_a_row", view=equal, in_features=9, out_features=9, r=3, seed=draw.seed(), count=3)


@check("lora_init", subject="How A's numbers lie")
def test_spread_in_other_layers(compare, draw):
    """The interval follows the layer's inputs: not its outputs, and not the rank."""
    start(compare.play, draw, spread, (500, 3, 4), (9, 700, 200))


@check("lora_init", subject="The rank of A")
def test_rank_of_the_numbers(compare, draw):
    """A has the rank that was asked for, or as many as it has columns."""
    start(compare.play, draw, rank, (30, 20, 5), (4, 9, 7))


@check("lora_init")
def test_shapes_of_other_layers(compare, draw):
    """Shapes and zeros are right for a square layer, a rank of one, and a rank above the layer's sides."""
    start(compare.play, draw, form, (8, 8, 8), (5, 12, 1), (3, 2, 9))


# inject_lora. A model is graded by what it answers: at once, over another base, and after it has learned.

UNET = {"kind": "unet", "width": 8, "inner": 12}
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def net(draw: Any, width: int = 6, inner: int = 10, batch: int = 2, dtype: str = "float32") -> dict[str, Any]:
    """Return the small network with weights of its own, and inputs for it."""
    x, t = draw.normal(batch, 7, 5), draw.normal(batch, 3)
    model = {"kind": "net", "width": width, "inner": inner, "dtype": dtype, "seed": draw.seed() % 2**31}
    return {"model": model, "inputs": [x.to(dtype), t.to(dtype)], "seed": draw.seed() % 2**31}


def unet(draw: Any, height: int = 8, width: int = 6) -> dict[str, Any]:
    """Return the smallest UNet that reads a condition, with weights of its own, and inputs for it."""
    inputs = [draw.normal(2, 4, height, width), tensor([7, 801]), draw.normal(2, 5, 12)]
    return {"model": {**UNET, "seed": draw.seed() % 2**31}, "inputs": inputs, "seed": draw.seed() % 2**31}


def train(play: Any, draw: Any, given: dict[str, Any], shape: tuple[int, ...], **more: Any) -> None:
    """Train what wants to learn, and compare what the model answers then."""
    play("after_training", weight=draw.normal(*shape), **{"steps": 1, "lr": 0.02, **given, **more})


@check("inject_lora", visible=True, weight=3)
def test_attention_of_a_unet(compare, draw):
    """With adapters on all attention projections of a UNet, biases and all, it answers as it should."""
    compare.play("as_injected", **unet(draw), targets=ATTENTION, rank=3, alpha=8.0)


@check("inject_lora", visible=True, weight=3)
def test_names_of_a_network(compare, draw):
    """A name hits the layers that end in it, part by part, at the root and below, and no others."""
    compare.play("as_injected", **net(draw), targets=["proj", "head"], rank=2, alpha=6.0)
    compare.play("as_injected", **net(draw), targets=["mlp.2", "blocks.1.time_proj"], rank=4, alpha=6.0)


@check("inject_lora", visible=True, weight=3)
def test_another_base(compare, draw):
    """The pretrained layers are still the model's: other numbers in them show, in weights and biases."""
    compare.play("with_another_base", **net(draw), targets=["proj", "mlp.0", "head"], rank=3, alpha=5.0)


@check("inject_lora", visible=True, weight=4)
def test_a_step_of_training(compare, draw):
    """After a step of SGD on all that wants a gradient, exactly A and B of every adapter have moved."""
    train(compare.play, draw, net(draw), (2, 7, 4), targets=["proj", "mlp.2"], rank=3, alpha=5.0)


@check("inject_lora", visible=True, property=True, weight=2)
def test_a_target_that_hits_nothing(compare, draw):
    """A target that no Linear layer is called is refused with a ValueError, also beside one that hits."""
    given = net(draw)
    compare.play("as_injected", **given, targets=["to_q"], rank=2, alpha=4.0)
    compare.play("as_injected", **given, targets=["mlp.0", "mix.norm"], rank=2, alpha=4.0)


@check("inject_lora", visible=True, reported=True, weight=3, subject="What the injection says, and what learns")
def test_names_and_counts(compare, draw):
    """The names that come back are sorted, and there are as many trainable numbers as the As and Bs have."""
    compare.play("said", model=UNET, targets=["to_v", "to_q", "attn2.to_q", "ff.net.2"], rank=3, alpha=8.0, seed=1)


@check("inject_lora", weight=3)
def test_feed_forward_of_a_unet(compare, draw):
    """With adapters on the feed-forward layers and the projections around them, a UNet answers as it should."""
    given = unet(draw, 4, 10)
    compare.play("as_injected", **given, targets=["ff.net.0.proj", "net.2", "proj_in"], rank=5, alpha=2.0)


@check("inject_lora", weight=3)
def test_proj_in_a_unet(compare, draw):
    """A short name that others contain hits only where it is a whole part."""
    compare.play("as_injected", **unet(draw), targets=["proj"], rank=2, alpha=9.0)
    compare.play("as_injected", **net(draw), targets=["proj_out"], rank=2, alpha=draw.real(3.0, 9.0))


@check("inject_lora", weight=3)
def test_a_fresh_adapter(compare, draw):
    """With B at zero the model answers as before."""
    compare.play("as_injected", **net(draw), targets=["proj", "mlp.0"], rank=3, alpha=8.0, filled=False)
    compare.play("as_injected", **net(draw, width=4), targets=["embed", "head"], rank=3, alpha=8.0, filled=False)


@check("inject_lora", weight=3)
def test_another_base_of_a_unet(compare, draw):
    """A UNet's pretrained parameters are still its own under the adapters."""
    compare.play("with_another_base", **unet(draw), targets=[*ATTENTION, "ff.net.2"], rank=3, alpha=5.0)


@check("inject_lora", weight=4)
def test_a_step_of_training_a_unet(compare, draw):
    """After a step of SGD through a whole UNet, exactly A and B of every adapter have moved."""
    targets = [*ATTENTION, "ff.net.2", "proj_out"]
    train(compare.play, draw, unet(draw, 4, 6), (2, 4, 4, 6), targets=targets, rank=2, alpha=6.0, lr=0.06)


@check("inject_lora", weight=4)
def test_a_fresh_adapter_learns(compare, draw):
    """An adapter that begins with B at zero has learned after some steps: first B, then A as well."""
    given = {**net(draw, 5, 8, batch=1), "filled": False, "steps": 3, "lr": 0.006}
    train(compare.play, draw, given, (1, 7, 4), targets=["head", "mlp.2"], rank=4, alpha=4.0)


@check("inject_lora", weight=3)
def test_two_targets_on_one_layer(compare, draw):
    """Where two targets hit the same layer, it has one adapter."""
    given = net(draw, 8, 8)
    compare.play("as_injected", **given, targets=["proj_out", "blocks.1.proj_out", "mlp.2", "mlp.2"], rank=3, alpha=7.0)


@check("inject_lora", visible=True, weight=3)
def test_a_model_in_half_precision(compare, draw):
    """In a bfloat16 model the adapters are float32, and a layer answers in bfloat16 as before."""
    # The last layer, and no other: roundings of a whole network would be larger than what is looked for.
    compare.play("as_injected", **net(draw, dtype="bfloat16"), targets=["head"], rank=3, alpha=1.0)
    compare.play("as_injected", **net(draw, dtype="bfloat16"), targets=["head"], rank=2, alpha=500.0, opposed=True)


@check("inject_lora", property=True, weight=2)
def test_nothing_happens_at_a_refusal(compare, draw):
    """After a refusal the model answers, and would learn, as before."""
    given = {**net(draw), "weight": draw.normal(2, 7, 4)}
    compare.play("after_a_refusal", **given, targets=["proj", "mlp.2", "mlp.1"], rank=3, alpha=7.0)


@check("inject_lora", reported=True, weight=1, subject="What the injection says, and what learns")
def test_names_and_counts_of_a_network(compare, draw):
    """Names and counts are right for layers at the root, in lists, and without a bias."""
    given = {"model": net(draw)["model"], "seed": 3}
    compare.play("said", **given, targets=["time_proj", "head", "embed"], rank=2, alpha=8.0)


# merge_unmerge


def adapter(draw: Any, W: tuple[int, ...], r: int) -> dict[str, Recipe]:
    """Return a weight of this shape, and A and B for it."""
    out, inn, *kernel = W
    return {"W": draw.normal(*W), "A": draw.normal(r, inn, *kernel), "B": draw.normal(out, r, *[1] * len(kernel))}


@check("merge_unmerge", visible=True)
def test_merge_of_a_linear_layer(compare, draw):
    """The merged weight of a linear layer."""
    compare.merge(**adapter(draw, (5, 8), 3), alpha=7.0)


@check("merge_unmerge", visible=True)
def test_merge_of_a_convolution(compare, draw):
    """The merged weight of a convolution with a kernel that is higher than wide."""
    compare.merge(**adapter(draw, (5, 4, 3, 2), 2), alpha=5.0)


@check("merge_unmerge", visible=True)
def test_unmerge_of_a_linear_layer(compare, draw):
    """A weight from which the adapter is taken out."""
    compare.unmerge(**adapter(draw, (6, 4), 2), alpha=6.0)


@check("merge_unmerge", visible=True)
def test_there_and_back(compare, draw):
    """Merged and unmerged, the weight is what it was, up to rounding, several times over."""
    compare.play("round_trip", **adapter(draw, (5, 7), 3), alpha=8.0, times=3)


@check("merge_unmerge")
def test_square_weights(compare, draw):
    """Weights with as many outputs as inputs, and as many as kernel places, on both ways."""
    alpha = draw.real(6.0, 9.0)
    compare.merge(**adapter(draw, (6, 6), 6), alpha=alpha)
    compare.merge(**adapter(draw, (3, 3, 3, 3), 3), alpha=alpha)
    compare.unmerge(**adapter(draw, (4, 4), 2), alpha=alpha)
    compare.unmerge(**adapter(draw, (3, 3, 3, 3), 3), alpha=alpha)


@check("merge_unmerge")
def test_unmerge_of_a_convolution(compare, draw):
    """A convolution from which the adapter is taken out."""
    compare.unmerge(**adapter(draw, (4, 6, 3, 5), 2), alpha=draw.real(4.0, 9.0))


@check("merge_unmerge")
def test_other_kernels(compare, draw):
    """Convolutions of 1×1, of sequences and of videos, one after the other."""
    alpha = draw.real(4.0, 9.0)
    compare.merge(**adapter(draw, (5, 3, 1, 1), 2), alpha=alpha)
    compare.merge(**adapter(draw, (3, 4, 5), 2), alpha=alpha)
    compare.unmerge(**adapter(draw, (2, 3, 2, 3, 4), 4), alpha=alpha)


@check("merge_unmerge")
def test_rank_one(compare, draw):
    """An adapter of rank one, of a convolution and of a linear layer, merged and taken out."""
    for shape in ((4, 3, 2, 5), (3, 6)):
        compare.merge(**adapter(draw, shape, 1), alpha=draw.real(2.0, 4.0))
        compare.unmerge(**adapter(draw, shape, 1), alpha=draw.real(2.0, 4.0))


@check("merge_unmerge")
def test_half_precision_of_the_weight(compare, draw):
    """Weights in half precision keep their dtype, whatever dtype the adapter has."""
    given = halved(adapter(draw, (5, 8), 3), "bfloat16", "W")
    compare.merge(**given, alpha=6.0)
    compare.unmerge(**given, alpha=6.0)
    given = halved(adapter(draw, (4, 3, 3, 2), 2), "float16", "W", "A", "B")
    compare.merge(**given, alpha=6.0)
    compare.unmerge(**given, alpha=6.0)


@check("merge_unmerge", visible=True)
def test_an_adapter_that_takes_most_away(compare, draw):
    """Where weight and adapter nearly cancel in half precision, only the last rounding may lose digits."""
    W, A = draw.uniform(6, 8) + 60.0, draw.uniform(1, 8) * 0.01 + 1.0
    W, B = W.to("bfloat16"), draw.uniform(6, 1) * 0.3 + 60.0
    compare.unmerge(W, A, B, 1.003)
    compare.merge(W, A, B * -1.0, 1.003)


@check("merge_unmerge")
def test_a_product_beyond_half_precision(compare, draw):
    """The product of B and A may be larger than any float16 number, and α make it small again."""
    given = {name: (draw.uniform(*shape) + 300.0).to("float16") for name, shape in {"A": (4, 6), "B": (5, 4)}.items()}
    W = draw.normal(5, 6).to("float16")
    compare.merge(W, given["A"], given["B"], 0.0001)
    compare.unmerge(W, given["A"], given["B"], 0.0001)


@check("merge_unmerge")
def test_strided_weights(compare, draw):
    """Weights that are not contiguous in memory are merged all the same."""
    W, A = draw.normal(2, 4, 3, 5).transpose(0, 3), draw.normal(2, 3, 4, 2).transpose(1, 2)
    compare.merge(W, A, draw.normal(2, 5, 1, 1).transpose(0, 1), 5.0)
    W, A = draw.normal(8, 6).transpose(0, 1), draw.normal(8, 3).transpose(0, 1)
    compare.unmerge(W, A, draw.normal(3, 6).transpose(0, 1), 5.0)


# combine_adapters


def mixture(
    draw: Any, out: int, inn: int, *ranks: tuple[int, float | None]
) -> list[tuple[Recipe, Recipe, float | None]]:
    """Return adapters of a layer, one for each rank and α."""
    return [(draw.normal(r, inn), draw.normal(out, r), alpha) for r, alpha in ranks]


@check("combine_adapters", visible=True)
def test_two_adapters(compare, draw):
    """Two adapters of the same rank and of two αs, each with a weight of its own."""
    given = mixture(draw, 6, 9, (3, 6.0), (3, 2.0))
    compare.combine_adapters(draw.normal(2, 5, 9), draw.normal(6, 9), given, [0.7, 0.4])


@check("combine_adapters", visible=True)
def test_mixed_ranks(compare, draw):
    """Adapters of three ranks: α and rank belong together, adapter by adapter."""
    given = mixture(draw, 7, 5, (2, 8.0), (6, 3.0), (3, 12.0))
    compare.combine_adapters(draw.normal(3, 5), draw.normal(7, 5), given, [1.0, 0.8, 0.3])


@check("combine_adapters", visible=True)
def test_weights_of_any_sign(compare, draw):
    """A negative weight takes an adapter's change away, and a weight above 1 gives more of it."""
    given = mixture(draw, 8, 6, (4, 2.0), (2, 5.0))
    compare.combine_adapters(draw.normal(2, 6), draw.normal(8, 6), given, [1.6, -0.9])


@check("combine_adapters", visible=True)
def test_without_alpha(compare, draw):
    """An adapter whose file gave no α has the scale 1, before its weight."""
    given = mixture(draw, 4, 6, (3, None), (2, 7.0))
    compare.combine_adapters(draw.normal(3, 6), draw.normal(4, 6), given, [0.5, 0.6])


@check("combine_adapters", visible=True, property=True)
def test_a_weight_too_few(compare, draw):
    """As many weights as adapters, or a ValueError."""
    given = mixture(draw, 4, 6, (3, 5.0), (2, 7.0))
    compare.combine_adapters(draw.normal(3, 6), draw.normal(4, 6), given, [0.5])


@check("combine_adapters", property=True)
def test_a_weight_too_many(compare, draw):
    """A weight without an adapter is refused, too."""
    compare.combine_adapters(draw.normal(3, 6), draw.normal(4, 6), mixture(draw, 4, 6, (3, 5.0)), [0.5, 1.0])
    compare.combine_adapters(draw.normal(3, 6), draw.normal(4, 6), [], [1.0])


@check("combine_adapters")
def test_a_square_layer_with_adapters(compare, draw):
    """On a square layer each adapter reads the layer's input, not another one's output."""
    given = mixture(draw, 6, 6, (3, 4.0), (3, 9.0), (3, 5.0))
    compare.combine_adapters(draw.normal(2, 3, 6), draw.normal(6, 6), given, [0.6, 0.5, -0.4])


@check("combine_adapters")
def test_off_and_on(compare, draw):
    """An adapter that is off with weight 0 is all there when it is switched on again."""
    x, W, given = draw.normal(4, 5), draw.normal(6, 5), mixture(draw, 6, 5, (2, 6.0), (4, 3.0))
    for weights in ([0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]):
        compare.combine_adapters(x, W, given, weights)


@check("combine_adapters")
def test_one_adapter_and_none(compare, draw):
    """One adapter alone, and none at all."""
    x, W = draw.normal(2, 1, 2, 8), draw.normal(3, 8)
    compare.combine_adapters(x, W, mixture(draw, 3, 8, (5, draw.real(6.0, 9.0))), [draw.real(0.3, 0.8)])
    compare.combine_adapters(x, W, [], [])


@check("combine_adapters")
def test_without_any_alpha(compare, draw):
    """Adapters of several ranks whose files gave no α at all."""
    given = mixture(draw, 5, 7, (4, None), (1, None), (2, None))
    compare.combine_adapters(draw.normal(7), draw.normal(5, 7), given, [0.5, -1.0, 1.0])


@check("combine_adapters")
def test_an_alpha_of_zero(compare, draw):
    """An α of 0 is an α: that adapter adds nothing, whatever its weight."""
    given = mixture(draw, 5, 6, (3, 0.0), (2, 4.0))
    compare.combine_adapters(draw.normal(2, 6), draw.normal(5, 6), given, [0.9, draw.real(0.4, 0.8)])


@check("combine_adapters", visible=True)
def test_adapters_that_leave_little(compare, draw):
    """Where adapters take nearly everything away, only the last rounding may lose digits."""
    # As for one adapter: of 136 or so a two-hundredth is left.
    given = [(ones(1, 16), ones(3, 1) * -0.5, alpha) for alpha in (1.2, 0.79)]
    for dtype in ("float16", "bfloat16"):
        x, W = (draw.uniform(30, 16) + 8.0).to(dtype), ones(3, 16).to(dtype)
        compare.combine_adapters(x, W, given, [1.0, 1.0])


@check("combine_adapters")
def test_half_precision_of_the_mixture(compare, draw):
    """A layer in half precision, with adapters in half precision and in float32 side by side."""
    (A, B, alpha), other = mixture(draw, 5, 8, (2, 5.0), (4, 6.0))
    given = [(A.to("float16"), B.to("float16"), alpha), other]
    compare.combine_adapters(draw.normal(3, 8).to("float16"), draw.normal(5, 8).to("float16"), given, [0.5, 0.4])
    given = mixture(draw, 6, 4, (2, None), (3, 6.0))
    compare.combine_adapters(draw.normal(2, 4).to("bfloat16"), draw.normal(6, 4).to("bfloat16"), given, [0.5, -0.4])


@check("combine_adapters")
def test_strided_mixture(compare, draw):
    """Tensors that are not contiguous in memory are combined all the same."""
    turned = [(draw.normal(5, 2).transpose(0, 1), draw.normal(2, 6).transpose(0, 1), 5.0)]
    given = [*turned, *mixture(draw, 6, 5, (3, 2.0))]
    compare.combine_adapters(draw.normal(5, 4).transpose(0, 1), draw.normal(5, 6).transpose(0, 1), given, [0.7, 1.2])


# convert_kohya

NAMES = [
    "conv_in",
    "down_blocks.0.attentions.1.proj_in",
    "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0",
    "down_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.0.attentions.1.transformer_blocks.0.ff.net.2",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
    "up_blocks.1.resnets.2.time_emb_proj",
]


def kohya(name: str, part: str) -> str:
    """Return the key of a module's part in a kohya file."""
    return f"lora_unet_{name.replace('.', '_')}.{part}"


def file(
    draw: Any, modules: dict[str, tuple[int, int, int, float | None]], kernel: tuple[int, ...] = ()
) -> dict[str, Recipe]:
    """Return a kohya file with (in, out, r, α or None) for each module, the αs first."""
    sd = {kohya(name, "alpha"): tensor(alpha) for name, (*_, alpha) in modules.items() if alpha is not None}
    for name, (inn, out, r, _) in modules.items():
        sd[kohya(name, "lora_up.weight")] = draw.normal(out, r, *[1] * len(kernel))
        sd[kohya(name, "lora_down.weight")] = draw.normal(r, inn, *kernel)
    return sd


@check("convert_kohya", visible=True, weight=2)
def test_a_file_with_alphas(compare, draw):
    """A file with an α for each module; no two are the same."""
    modules = {NAMES[2]: (6, 8, 4, 2.0), NAMES[3]: (8, 6, 4, 1.0), NAMES[7]: (5, 7, 4, 8.0)}
    compare.convert_kohya(file(draw, modules), NAMES)


@check("convert_kohya", visible=True, weight=2)
def test_a_file_without_alphas(compare, draw):
    """A file without αs, with several ranks: every scale is 1."""
    modules = {NAMES[4]: (6, 9, 4, None), NAMES[5]: (9, 6, 2, None), NAMES[6]: (5, 7, 3, None)}
    compare.convert_kohya(file(draw, modules), NAMES)


@check("convert_kohya", visible=True, weight=2)
def test_square_modules(compare, draw):
    """Modules whose matrices are square: down is A and up is B, and nothing is turned."""
    modules = {NAMES[2]: (4, 4, 4, 8.0), NAMES[6]: (4, 4, 4, 1.0)}
    compare.convert_kohya(file(draw, modules), NAMES)


@check("convert_kohya", visible=True, property=True)
def test_a_module_that_is_not_there(compare, draw):
    """A module that the model does not have is refused with a ValueError."""
    modules = {NAMES[2]: (6, 8, 4, 2.0), "mid_block.attentions.0.to_q": (6, 8, 4, 2.0)}
    compare.convert_kohya(file(draw, modules), NAMES)


@check("convert_kohya", visible=True, property=True)
def test_half_an_adapter(compare, draw):
    """A module with one of its two matrices is refused with a ValueError."""
    sd = file(draw, {NAMES[2]: (6, 8, 4, 2.0), NAMES[3]: (5, 4, 2, None)})
    compare.convert_kohya({key: sd[key] for key in sd if key != kohya(NAMES[3], "lora_up.weight")}, NAMES)


@check("convert_kohya", weight=2)
def test_every_kind_of_name(compare, draw):
    """Every module of the list is found, whatever its name contains, and only those of the file come back."""
    compare.convert_kohya(file(draw, {name: (3 + i, 9 - i, 2, 0.5 + i) for i, name in enumerate(NAMES)}), NAMES)
    names = ["a.b_c", "a.b", "a_b.d", "unet.e", "e", "lora.f.alpha_g"]
    compare.convert_kohya(file(draw, {name: (4, 5, 2, 3.0) for name in names}), names)


@check("convert_kohya", weight=2)
def test_alphas_of_some_modules(compare, draw):
    """Where some modules have an α and some have none, each counts for itself."""
    modules = {NAMES[1]: (6, 9, 4, None), NAMES[3]: (9, 6, 2, 8.0), NAMES[6]: (5, 7, 3, None), NAMES[2]: (5, 5, 4, 1.0)}
    compare.convert_kohya(file(draw, modules), NAMES)


@check("convert_kohya", weight=2)
def test_convolutions(compare, draw):
    """Adapters of convolutions keep their four axes; the rank is where it always is."""
    compare.convert_kohya(file(draw, {NAMES[0]: (4, 6, 3, None), NAMES[1]: (6, 5, 2, 4.0)}, (3, 2)), NAMES)


@check("convert_kohya", visible=True, weight=2)
def test_numbers_as_they_are(compare, draw):
    """Half precision stays, also of an α that is not whole, and of one in a list of one."""
    sd = file(draw, {NAMES[2]: (6, 8, 4, None), NAMES[4]: (5, 7, 2, None), NAMES[6]: (5, 4, 3, None)})
    sd = {key: value.to("bfloat16" if "attn1" in key else "float16") for key, value in sd.items()}
    alphas = {kohya(NAMES[2], "alpha"): tensor(2.5, "bfloat16"), kohya(NAMES[4], "alpha"): tensor([0.75], "float16")}
    compare.convert_kohya({**sd, **alphas}, NAMES)


@check("convert_kohya", subject="The result of the second conversion")
def test_the_file_stays(compare, draw):
    """The file is not used up: converted a second time it says the same."""
    modules = {NAMES[2]: (6, 8, 4, 2.0), NAMES[5]: (5, 7, 3, None)}
    compare.play("converted_again", sd=file(draw, modules), module_names=NAMES)


@check("convert_kohya", property=True)
def test_parts_that_are_not_known(compare, draw):
    """A part that a LoRA does not have, and an adapter of another network, are refused with a ValueError."""
    sd = file(draw, {NAMES[2]: (6, 8, 4, 2.0)})
    for key in (
        kohya(NAMES[2], "dora_scale"),
        kohya(NAMES[2], "lora_mid.weight"),
        "lora_te_" + kohya(NAMES[2], "alpha")[10:],
    ):
        compare.convert_kohya({**sd, key: draw.normal(8, 1)}, NAMES)


@check("convert_kohya", property=True)
def test_other_halves(compare, draw):
    """A module without the other matrix, or with its α alone, is refused with a ValueError."""
    sd = file(draw, {NAMES[2]: (6, 8, 4, 2.0), NAMES[3]: (5, 4, 2, 1.0)})
    compare.convert_kohya({key: sd[key] for key in sd if key != kohya(NAMES[3], "lora_down.weight")}, NAMES)
    compare.convert_kohya({key: sd[key] for key in sd if "to_out" not in key or "alpha" in key}, NAMES)


# dora_linear


def dora(draw: Any, out: int, inn: int, r: int, bias: bool = True) -> dict[str, Recipe | None]:
    """Return W, b, A, B and m of a layer; the magnitudes are positive and far from the norms."""
    return {**layer(draw, out, inn, r, bias), "m": draw.uniform(out) * 3.0 + 1.0}


@check("dora_linear", visible=True)
def test_direction_and_magnitude(compare, draw):
    """A layer whose direction and magnitude are both another than before."""
    compare.dora_linear(draw.normal(2, 4, 6), *dora(draw, 9, 6, 3).values(), 5.0, False)


@check("dora_linear", visible=True)
def test_rank_stabilised(compare, draw):
    """The same with the scale of rank-stabilised LoRA."""
    compare.dora_linear(draw.normal(5, 6), *dora(draw, 4, 6, 5).values(), 3.0, True)


@check("dora_linear", visible=True)
def test_dora_without_bias(compare, draw):
    """A layer that has no bias."""
    compare.dora_linear(draw.normal(3, 8), *dora(draw, 5, 8, 2, bias=False).values(), 3.0, False)


@check("dora_linear", visible=True)
def test_gradients_of_dora(compare, draw):
    """Gradients reach input, A, B and magnitude, with the norm as a constant."""
    given = dora(draw, 5, 7, 3)
    learn = {"x": draw.normal(4, 7), **{name: given.pop(name) for name in ("A", "B", "m")}}
    rest = {"weight": draw.normal(4, 5), "alpha": 5.0, "rs": False}
    compare.play("gradients", function="dora_linear", tensors=learn, **given, **rest)


@check("dora_linear")
def test_a_square_dora(compare, draw):
    """A square layer, where rows and columns could be taken for each other."""
    for rs in (False, True):
        compare.dora_linear(draw.normal(3, 6), *dora(draw, 6, 6, 4).values(), draw.real(3.0, 6.0), rs)


@check("dora_linear")
def test_other_doras_in_turn(compare, draw):
    """Inputs with no leading axis and with three, one after the other."""
    compare.dora_linear(draw.normal(9), *dora(draw, 4, 9, 2).values(), draw.real(3.0, 6.0), True)
    compare.dora_linear(draw.normal(2, 1, 3, 4), *dora(draw, 6, 4, 6).values(), draw.real(3.0, 6.0), False)


@check("dora_linear")
def test_half_precision_of_dora(compare, draw):
    """Layers in half precision, with adapters in half precision and in float32."""
    given = halved(dora(draw, 5, 8, 2), "float16", "W", "b", "A", "B", "m")
    compare.dora_linear(draw.normal(3, 8).to("float16"), *given.values(), 3.0, True)
    given = halved(dora(draw, 7, 6, 4), "bfloat16", "W", "b")
    compare.dora_linear(draw.normal(2, 2, 6).to("bfloat16"), *given.values(), 6.0, False)


@check("dora_linear", visible=True)
def test_a_dora_that_leaves_little(compare, draw):
    """Where large terms nearly cancel, the input's or the bias's, only the last rounding may lose digits."""
    for dtype in ("float16", "bfloat16"):
        compare.dora_linear(**opposed(draw, dtype), b=None, m=draw.uniform(3) + 4.0, alpha=3.0, rs=False)
    # Rows of length √15, which bfloat16 has as 3.875: of 964 or so, which the bias takes away, that is a half.
    x, W, b = draw.uniform(4, 15) * 0.5 + 64.0, ones(3, 15), ones(3) * -964.0
    given = halved({"x": x, "W": W, "b": b}, "bfloat16", "x", "W", "b")
    compare.dora_linear(**given, A=draw.normal(2, 15), B=zeros(3, 2), m=ones(3) * 3.875, alpha=3.0, rs=False)


@check("dora_linear")
def test_strided_dora(compare, draw):
    """Tensors that are not contiguous in memory give the same answer."""
    x, W = draw.normal(7, 2, 5).transpose(0, 2), draw.normal(7, 6).transpose(0, 1)
    A, B = draw.normal(7, 3).transpose(0, 1), draw.normal(3, 6).transpose(0, 1)
    compare.dora_linear(x, W, draw.normal(6), A, B, draw.uniform(6) + 1.0, draw.real(4.0, 8.0), False)


@check("dora_linear")
def test_gradients_of_a_stabilised_dora(compare, draw):
    """Gradients are right for a square layer with the stabilised scale, too."""
    given = dora(draw, 6, 6, 4, bias=False)
    learn = {"x": draw.normal(2, 3, 6), **{name: given.pop(name) for name in ("A", "B", "m")}}
    rest = {"weight": draw.normal(2, 3, 6), "alpha": 3.0, "rs": True}
    compare.play("gradients", function="dora_linear", tensors=learn, **given, **rest)
