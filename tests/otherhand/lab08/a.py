"""Lab 08, LoRA: one hand's solution. Orientation: A (r, in), B (out, r), W (out, in) changes by (alpha/r)·B·A."""

import math
from collections.abc import Callable

import torch
from torch import nn

# ---------------------------------------------------------------- predictions


def checkpoint_parameters() -> dict[str, int]:
    """W: 768·320. The pair: 8·(768 + 320). Merged, the product lies inside W."""
    return {"full": 245_760, "lora": 8_704, "extra_when_merged": 0}


def checkpoint_strength() -> dict[str, float]:
    """16/8, 16/32, 16/sqrt(32), and (16/24)/(16/8)."""
    return {"rank_8": 2.0, "rank_32": 0.5, "rank_32_stabilised": 2.8284, "fused_qkv": 0.3333}


def checkpoint_first_step() -> dict[str, tuple[str, ...]]:
    """dL/dA has the factor B, which is zero at first; dL/dB has the factor A, which is not."""
    return {"first": ("B",), "second": ("A", "B")}


def checkpoint_targets() -> tuple[str, ...]:
    """Only the one whose last part is "proj"."""
    return ("attentions.0.transformer_blocks.0.ff.net.0.proj",)


def checkpoint_what_changes() -> tuple[str, ...]:
    """A LoRA changes weights and so what the network says; nothing else."""
    return ("predictions",)


# -------------------------------------------------------------------- helpers


def _rows(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """weight·x for every row of x, in float32: (..., in), (out, in) -> (..., out)."""
    return x.float() @ weight.float().T


def _product(A: torch.Tensor, B: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """B·A as one float32 weight of the given shape; convolutions are flattened behind their first axis."""
    return (B.float().flatten(1) @ A.float().flatten(1)).reshape(shape)


class _LoRALinear(nn.Module):
    """Stands where an nn.Linear stood: holds that layer, and a trainable pair beside it."""

    def __init__(self, base_layer: nn.Linear, A: torch.Tensor, B: torch.Tensor, scale: float):
        super().__init__()
        device = base_layer.weight.device
        self.base_layer = base_layer
        # Copies: training must not change what make_ab's owner holds, nor tie two layers to one pair.
        self.lora_A = nn.Parameter(A.detach().to(device=device, dtype=torch.float32, copy=True))
        self.lora_B = nn.Parameter(B.detach().to(device=device, dtype=torch.float32, copy=True))
        self.scale = scale
        self.train(base_layer.training)

    # What callers of a Linear like to read.
    @property
    def in_features(self) -> int:
        return self.base_layer.in_features

    @property
    def out_features(self) -> int:
        return self.base_layer.out_features

    @property
    def weight(self) -> torch.Tensor:
        return self.base_layer.weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self.base_layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer = self.base_layer(x)
        change = self.scale * _rows(_rows(x, self.lora_A), self.lora_B)
        return answer + change.to(answer.dtype)


# ----------------------------------------------------------------------- code


def lora_linear(
    x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None, A: torch.Tensor, B: torch.Tensor, alpha: float
) -> torch.Tensor:
    """h = W·x + b + (alpha/r)·B·A·x, in float32, rounded once."""
    scale = alpha / A.shape[0]
    h = _rows(x, W) + scale * _rows(_rows(x, A), B)
    if b is not None:
        h = h + b.float()
    return h.to(x.dtype)


def lora_init(
    in_features: int, out_features: int, r: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A uniform on [-1/sqrt(in), 1/sqrt(in)], B zero."""
    bound = 1.0 / math.sqrt(in_features)
    A = torch.empty(r, in_features, dtype=torch.float32, device=generator.device)
    A.uniform_(-bound, bound, generator=generator)
    B = torch.zeros(out_features, r, dtype=torch.float32, device=generator.device)
    return A, B


def inject_lora(
    model: nn.Module,
    targets: list[str],
    rank: int,
    alpha: float,
    make_ab: Callable[[str, int, int, int], tuple[torch.Tensor, torch.Tensor]],
) -> list[str]:
    """Set up (may refuse), freeze, wrap, answer: in this order."""

    def hits(target: str, name: str) -> bool:
        return name == target or name.endswith("." + target)

    # 1. Setup. A layer that sits in several places has several names; it is still one layer with one adapter.
    places: dict[nn.Linear, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if name and isinstance(module, nn.Linear):  # the root itself has no parent to be replaced in
            places.setdefault(module, []).append(name)

    if not targets:
        raise ValueError("no targets")
    every_name = [name for names in places.values() for name in names]
    missed = [target for target in targets if not any(hits(target, name) for name in every_name)]
    if missed:
        raise ValueError(f"no nn.Linear is hit by {missed}")

    chosen: dict[str, nn.Linear] = {}
    for layer, names in places.items():
        hit_names = [name for name in names if any(hits(target, name) for target in targets)]
        if hit_names:
            chosen[hit_names[0]] = layer
    answer = sorted(chosen)

    # All pairs before the first change, so that a failing make_ab leaves the model as it was.
    pairs = {name: make_ab(name, chosen[name].in_features, chosen[name].out_features, rank) for name in answer}

    # 2. Freeze what is there now.
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    # 3. Hook: the parent's attribute becomes the wrapper.
    for name in answer:
        layer = chosen[name]
        wrapper = _LoRALinear(layer, *pairs[name], scale=alpha / rank)
        for place in places[layer]:
            parent, _, child = place.rpartition(".")
            setattr(model.get_submodule(parent), child, wrapper)

    return answer


def merge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """W + (alpha/r)·B·A, in float32, rounded once; a new tensor."""
    change = (alpha / A.shape[0]) * _product(A, B, W.shape)
    return (W.float() + change).to(W.dtype)


def unmerge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """W - (alpha/r)·B·A, in float32, rounded once; a new tensor."""
    change = (alpha / A.shape[0]) * _product(A, B, W.shape)
    return (W.float() - change).to(W.dtype)


def combine_adapters(
    x: torch.Tensor,
    W: torch.Tensor,
    adapters: list[tuple[torch.Tensor, torch.Tensor, float | None]],
    weights: list[float],
) -> torch.Tensor:
    """The base once, plus every adapter's own path from the same input."""
    if len(adapters) != len(weights):
        raise ValueError(f"{len(adapters)} adapters, {len(weights)} weights")
    h = _rows(x, W)
    for (A, B, alpha), weight in zip(adapters, weights, strict=True):
        scale = 1.0 if alpha is None else alpha / A.shape[0]
        h = h + weight * scale * _rows(_rows(x, A), B)
    return h.to(x.dtype)


def convert_kohya(
    sd: dict[str, torch.Tensor], module_names: list[str]
) -> dict[str, dict[str, torch.Tensor] | dict[str, float]]:
    """Forward replacement on the model's names, then a look-up: underscores need no guessing."""
    dotted = {"lora_unet_" + name.replace(".", "_"): name for name in module_names if name}
    new_part = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight", "alpha": "alpha"}

    modules: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in sd.items():
        stem, _, part = key.partition(".")  # flattened names have no dot
        if stem not in dotted or part not in new_part:
            raise ValueError(f"no place for {key!r}")
        modules.setdefault(dotted[stem], {})[new_part[part]] = tensor

    new_weights: dict[str, torch.Tensor] = {}
    alphas: dict[str, float] = {}
    for name, parts in modules.items():
        for matrix in ("lora_A.weight", "lora_B.weight"):
            if matrix not in parts:
                raise ValueError(f"{name!r} lacks its {matrix}")
            new_weights[f"unet.{name}.{matrix}"] = parts[matrix]
        rank = parts["lora_A.weight"].shape[0]
        alphas[f"unet.{name}.alpha"] = float(parts["alpha"].item()) if "alpha" in parts else float(rank)
    return {"weights": new_weights, "alphas": alphas}


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
    """h = (m/|V|)·V·x + b with V = W + s·B·A; the rows' norms are constants of the backward pass."""
    r = A.shape[0]
    s = alpha / math.sqrt(r) if rs else alpha / r
    V = W.float() + s * (B.float() @ A.float())
    length = torch.linalg.vector_norm(V.detach(), dim=1)
    h = _rows(x, V) * (m.float() / length)
    if b is not None:
        h = h + b.float()
    return h.to(x.dtype)
