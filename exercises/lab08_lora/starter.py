"""Lab 08, LoRA: a small trainable change of chosen weight matrices, from one layer to files and mixtures.

Read page.md first. Fill in each function and run `grade lab08`. Let each function stand by itself: one that calls
another task's function also inherits its mistakes; small helpers of your own are welcome. Inputs stay the caller's:
none is changed, except the model of `inject_lora`.

Orientation, everywhere in this lab: A is (r, in), B is (out, r), the rank r is their shared size, and a weight
W (out, in) changes by (α/r)·B·A.
"""

from collections.abc import Callable

import torch
from torch import nn

# Five predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_parameters() -> dict[str, int]:
    """A linear layer has 768 inputs and 320 outputs. It is given a LoRA of rank 8. Predict three counts.

    Returns:
        {"full": numbers in the layer's weight W (no bias),
         "lora": numbers in A and B together,
         "extra_when_merged": numbers that the layer holds beyond those of W once A and B are merged}, three ints.
    """
    raise NotImplementedError


def checkpoint_strength() -> dict[str, float]:
    """α is 16. Predict the factor in front of B·A in four cases; two digits are enough.

    "fused_qkv": the adapters of to_q, to_k and to_v, each of rank 8 with α = 16, are stored as one adapter of a fused
    layer, whose rank is 24, and α was left at 16. Predict how many times the strength of before it has.

    Returns:
        {"rank_8": the factor at rank 8, "rank_32": at rank 32, "rank_32_stabilised": at rank 32 in rank-stabilised
        LoRA, "fused_qkv": the strength after fusing over that before}, four floats.
    """
    raise NotImplementedError


def checkpoint_first_step() -> dict[str, tuple[str, ...]]:
    """A fresh adapter, A random and B zero, is trained by plain gradient descent. Predict which matrices move.

    The loss is one that can still fall: its gradient with respect to the layer's output is not zero.

    Returns:
        {"first": those of "W", "A", "B" that are another matrix after the first step than before it,
         "second": ... after the second step than after the first}, two tuples, each in this order.
    """
    raise NotImplementedError


def checkpoint_targets() -> tuple[str, ...]:
    """A UNet block has these Linear layers. Predict which of them the target "proj" of `inject_lora` hits.

    "attentions.0.proj_in", "attentions.0.transformer_blocks.0.attn1.to_q",
    "attentions.0.transformer_blocks.0.ff.net.0.proj", "attentions.0.transformer_blocks.0.ff.net.2",
    "attentions.0.proj_out", "resnets.0.time_emb_proj"

    Returns:
        The names that are hit, in this order.
    """
    raise NotImplementedError


def checkpoint_what_changes() -> tuple[str, ...]:
    """A LoRA on the UNet's attention is switched on, everything else stays. Predict what is another thing in a run.

    The candidates: "timesteps", the list that the scheduler walks; "latent_shape", of what the loop holds;
    "network_calls", how often the UNet runs; "predictions", what the UNet answers to the same inputs;
    "spatial_condition", a map that says where things have to be.

    Returns:
        Those that change, in this order.
    """
    raise NotImplementedError


# Now the code.


def lora_linear(
    x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None, A: torch.Tensor, B: torch.Tensor, alpha: float
) -> torch.Tensor:
    """Return what a linear layer with a LoRA answers.

        h = W·x + b + (α/r)·B·A·x        (Hu et al. 2022, equation 3)

    For W = [[2]], b = [1], A = [[3], [1]] (rank 2), B = [[1, 2]], α = 4 and x = [1]: 2 + 1 + (4/2)·(1·3 + 2·1) = 13.

    Args:
        x: (..., in) with any number of leading axes, or none. float32, float16 or bfloat16.
        W: (out, in), the pretrained weight, in the dtype of `x`.
        b: (out,), its bias, in the dtype of `x`; None: there is none.
        A: (r, in), B: (out, r), both in the dtype of `x` or both in float32.
        alpha: α. The scale is α/r.

    Returns:
        (..., out), dtype of `x`. Compute in float32 and round once, at the end. Gradients flow into x, A and B; into x
        they flow through both paths, also where W wants no gradient.
    """
    raise NotImplementedError


def lora_init(
    in_features: int, out_features: int, r: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A and B of a fresh adapter: before training the layer answers exactly as without it, and it can learn.

        A uniform on [−1/√in, 1/√in]        B = 0

    For in = 4 the entries of A lie between −0.5 and 0.5. (PEFT writes this as `kaiming_uniform_(a=√5)`.)

    Args:
        in_features, out_features: of the layer.
        r: the rank.
        generator: a generator on the CPU. The numbers of A come from it, and from nowhere else; how many you take and
            in which order is up to you.

    Returns:
        A (r, in_features), B (out_features, r), float32, plain tensors: whoever trains them asks for gradients. The
        numbers are independent, so that A has the rank min(r, in_features).
    """
    raise NotImplementedError


def inject_lora(
    model: nn.Module,
    targets: list[str],
    rank: int,
    alpha: float,
    make_ab: Callable[[str, int, int, int], tuple[torch.Tensor, torch.Tensor]],
) -> list[str]:
    """Give every targeted nn.Linear of `model` a LoRA of its own, in place, and freeze everything else.

    A target t hits the layers whose dotted name in `model` is t, or ends with "." + t: "to_q" hits "attn1.to_q",
    "out" hits "attn.out" and not "out_norm" or "time_out", "net.2" hits "ff.net.2". Only nn.Linear is hit: a
    convolution of that name is left as it is.

    Afterwards the model answers as if each hit layer were `lora_linear` with scale alpha/rank. A layer without bias
    works as well. Its pretrained weight and bias stay the very parameters that they were, not copies: what is written
    into them later shows in the model's answer. Of `model.parameters()` exactly the As and Bs want a gradient. Every
    other parameter of the model wants none, hit or not, bias or weight.

    Args:
        model: has no adapters yet, and is yours to change. Each of its layers stands in one place, under one name, and
            its parent calls it and reads nothing else of it.
        targets: at least one. A target that hits no nn.Linear is refused with a ValueError, before anything in the
            model is changed.
        rank: r. alpha: α.
        make_ab: make_ab(name, in_features, out_features, rank) returns the A (rank, in) and B (out, rank) of one layer;
            call it once for each layer that is hit, in any order, with its dotted name. They are float32 and stay it,
            also in a bfloat16 model, whose layers go on to answer in bfloat16. There you may round the whole sum, or
            the adapter's part and then the sum. Whether these tensors learn or copies of them is up to you.

    Returns:
        The dotted names of the layers that were hit, sorted as strings. A layer that two targets hit has one adapter
        and is named once. For the targets ["to_q", "to_v"] on one attention: ["attn.to_q", "attn.to_v"].
    """
    raise NotImplementedError


def merge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return the weight with the adapter in it: W + (α/r)·B·A.

    For W = [[1, 1]], A = [[1, 2]], B = [[3]], α = 2: [[1 + 2·3, 1 + 2·6]] = [[7, 13]].

    Args:
        W: (out, in), or (out, in, k, ...) of a convolution with any number of kernel axes and without groups. float32,
            float16 or bfloat16.
        A: (r, in), or (r, in, k, ...): a convolution with W's kernel. r may be 1.
        B: (out, r), or (out, r, 1, ...): a convolution of 1×1. A and B both have W's dtype, or are both float32.
        alpha: α.

    Returns:
        Shape and dtype of `W`. Compute product and sum in float32 and round once, at the end. W stays as it is.
    """
    raise NotImplementedError


def unmerge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return a merged weight without the adapter: W − (α/r)·B·A.

    For W = [[7, 13]], A = [[1, 2]], B = [[3]], α = 2: [[1, 1]]. Arguments and result as for `merge`.
    """
    raise NotImplementedError


def combine_adapters(
    x: torch.Tensor,
    W: torch.Tensor,
    adapters: list[tuple[torch.Tensor, torch.Tensor, float | None]],
    weights: list[float],
) -> torch.Tensor:
    """Return what a linear layer without bias answers with several adapters at once, each with a weight of its own.

        h = W·x + Σ_i w_i·(α_i/r_i)·B_i·A_i·x

    For W = [[2]], x = [1], adapters (A = [[3]], B = [[1]], α = 2) and (A = [[1], [1]], B = [[1, 1]], α = 1) with the
    weights 0.5 and −1: 2 + 0.5·2·3 − 1·(1/2)·2 = 4.

    Args:
        x: (..., in) with any number of leading axes, or none. float32, float16 or bfloat16.
        W: (out, in), in the dtype of `x`.
        adapters: (A_i, B_i, α_i) each, with ranks of their own; A_i and B_i both in the dtype of `x` or both in
            float32. α_i is a number, 0 for an adapter that adds nothing, or None where the file gave none: then that
            adapter's scale is 1, before its weight. The list may be empty.
        weights: w_i, of any sign and sum, one for each adapter; another number of them is refused with a ValueError.

    Returns:
        (..., out), dtype of `x`. Compute in float32 and round once, at the end.
    """
    raise NotImplementedError


def convert_kohya(
    sd: dict[str, torch.Tensor], module_names: list[str]
) -> dict[str, dict[str, torch.Tensor] | dict[str, float]]:
    """Rename a kohya-ss file with a UNet's adapter to what diffusers and PEFT read, and collect each module's α.

    For the module "mid.to_q" a file has "lora_unet_mid_to_q.lora_down.weight" (r, in),
    "lora_unet_mid_to_q.lora_up.weight" (out, r) and mostly "lora_unet_mid_to_q.alpha", one number in a tensor of no
    axes or of one. They become "unet.mid.to_q.lora_A.weight" and "unet.mid.to_q.lora_B.weight", and α goes under
    "unet.mid.to_q.alpha". Without an alpha entry α is the module's own rank, so that its scale is 1.

    Args:
        sd: the file, in any order. Adapters of convolutions have four axes.
        module_names: the dotted names of the UNet's modules, adapted or not, a parent's beside its children's; no two
            are the same with "_" for ".". Any key of the file that is not one of these modules' three is refused with
            a ValueError, another network's as well, and so is a module of which the file lacks a matrix, or both.

    Returns:
        {"weights": new name -> the tensor as it is in the file, or a copy: same numbers, shape and dtype;
         "alphas": new name -> α as a float}.
    """
    raise NotImplementedError


def dora_linear(
    x: torch.Tensor,
    W: torch.Tensor,
    b: torch.Tensor | None,
    A: torch.Tensor,
    B: torch.Tensor,
    m: torch.Tensor,
    alpha: float,
    rs: bool,
) -> torch.Tensor:
    """Return what a linear layer with a DoRA answers: direction from LoRA, magnitude from m.

        V = W + s·B·A        h = (m/‖V‖)·V·x + b        (Liu et al. 2024, equation 5)

    ‖V‖ is the Euclidean norm of each *row* of V, one number an output, never 0; m_j/‖V_j‖ multiplies row j.
    For W = [[3, 0]], A = [[0, 2]], B = [[1]], α = 2 (so V = [[3, 4]], norm 5), m = [10], x = [1, 1], b = [1]:
    10/5·(3 + 4) + 1 = 15.

    Args:
        x: (..., in) with any number of leading axes, or none. float32, float16 or bfloat16.
        W: (out, in) and b: (out,) or None, in the dtype of `x`.
        A: (r, in), B: (out, r), m: (out,), all three in the dtype of `x` or all in float32.
        alpha: α.
        rs: False: s = α/r. True: s = α/√r, rank-stabilised.

    Returns:
        (..., out), dtype of `x`. Compute in float32 and round once, at the end. Gradients flow into x, A, B and m; in
        the backward pass ‖V‖ counts as a constant (section 4.3 of the paper).
    """
    raise NotImplementedError
