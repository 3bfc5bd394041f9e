"""Lab 08, LoRA: another hand's solution, written from page and starter alone."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

# ---------------------------------------------------------------------------------------------------------------------
# Predictions


def checkpoint_parameters() -> dict[str, int]:
    """768·320 in W; rank 8 costs 8 rows of 768 and 8 columns of 320; merged, nothing is left over."""
    return {"full": 245_760, "lora": 8_704, "extra_when_merged": 0}


def checkpoint_strength() -> dict[str, float]:
    """16/8, 16/32, 16/√32, and (16/24)/(16/8)."""
    return {"rank_8": 2.0, "rank_32": 0.5, "rank_32_stabilised": 16 / math.sqrt(32), "fused_qkv": 1 / 3}


def checkpoint_first_step() -> dict[str, tuple[str, ...]]:
    """A's gradient has B as a factor, and B is zero at first; W is frozen."""
    return {"first": ("B",), "second": ("A", "B")}


def checkpoint_targets() -> tuple[str, ...]:
    """Whole parts, compared from the end."""
    return ("attentions.0.transformer_blocks.0.ff.net.0.proj",)


def checkpoint_what_changes() -> tuple[str, ...]:
    """The same inputs get another answer; that is all."""
    return ("predictions",)


# ---------------------------------------------------------------------------------------------------------------------
# Helpers


def _two_thin_products(x: torch.Tensor, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """Rows x (..., in) through A and B, unscaled, in float32: (..., out)."""
    return F.linear(F.linear(x.float(), A.float()), B.float())


def _product_as_weight(A: torch.Tensor, B: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """B·A, unscaled, in float32 and in the shape of a weight; kernel axes travel with the inputs."""
    rows = B.float().flatten(1)  # (out, r): the kernel of B is 1×1×...
    cols = A.float().flatten(1)  # (r, in·k·...)
    return (rows @ cols).reshape(shape)


# ---------------------------------------------------------------------------------------------------------------------
# One layer


def lora_linear(
    x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None, A: torch.Tensor, B: torch.Tensor, alpha: float
) -> torch.Tensor:
    """h = W·x + b + (α/r)·B·A·x, in float32, rounded once."""
    rank = A.shape[0]
    base = F.linear(x.float(), W.float(), None if b is None else b.float())
    change = _two_thin_products(x, A, B) * (alpha / rank)
    return (base + change).to(x.dtype)


def lora_init(
    in_features: int, out_features: int, r: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A uniform on ±1/√in from the given generator, B zero."""
    bound = 1.0 / math.sqrt(in_features)
    A = torch.empty(r, in_features, dtype=torch.float32, device="cpu").uniform_(-bound, bound, generator=generator)
    B = torch.zeros(out_features, r, dtype=torch.float32, device="cpu")
    return A, B


# ---------------------------------------------------------------------------------------------------------------------
# Surgery


class _AdaptedLinear(nn.Module):
    """The pretrained layer itself, and two new parameters beside it."""

    def __init__(self, base_layer: nn.Linear, A: torch.Tensor, B: torch.Tensor, scale: float) -> None:
        super().__init__()
        device = base_layer.weight.device
        self.base_layer = base_layer
        # Copies: training must not write into tensors that the caller of `inject_lora` still holds, and two layers
        # must not share a pair because `make_ab` returned the same tensors twice.
        self.lora_A = nn.Parameter(A.detach().clone().to(device=device, dtype=torch.float32))
        self.lora_B = nn.Parameter(B.detach().clone().to(device=device, dtype=torch.float32))
        self.scale = scale
        self.train(base_layer.training)

    # What a model may read off its own nn.Linear.
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

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        out = self.base_layer(input)
        change = _two_thin_products(input, self.lora_A, self.lora_B) * self.scale
        return out + change.to(out.dtype)


def inject_lora(
    model: nn.Module,
    targets: list[str],
    rank: int,
    alpha: float,
    make_ab: Callable[[str, int, int, int], tuple[torch.Tensor, torch.Tensor]],
) -> list[str]:
    """Wrap every targeted nn.Linear in place, freeze all the rest, return the full names, sorted."""
    # 1. Setup. Every name under which a Linear can be reached, a shared layer under each of its names. The root has
    # no parent to be replaced in, and no name.
    linears = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if name and isinstance(module, nn.Linear)
    }
    if not targets:
        raise ValueError("no targets")
    hit_names: set[str] = set()
    for target in targets:
        hits = {name for name in linears if name == target or name.endswith("." + target)}
        if not hits:
            raise ValueError(f"target {target!r} hits no nn.Linear")
        hit_names |= hits

    # One adapter and one name for each layer, however many targets (or names) lead to it.
    name_of: dict[int, str] = {}
    for name, layer in linears.items():
        if name in hit_names:
            name_of.setdefault(id(layer), name)
    names = sorted(name_of.values())

    # Whatever can fail comes before the first change: pairs, and where the layers hang.
    pairs = {name: make_ab(name, linears[name].in_features, linears[name].out_features, rank) for name in names}
    places: list[tuple[nn.Module, str, int]] = []
    for name, layer in linears.items():
        if id(layer) in name_of:
            parent, _, child = name.rpartition(".")
            places.append((model.get_submodule(parent), child, id(layer)))

    # 2. Freeze what is there now.
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    # 3. Hook.
    scale = alpha / rank
    wrappers = {key: _AdaptedLinear(linears[name], *pairs[name], scale) for key, name in name_of.items()}
    for parent, child, key in places:
        setattr(parent, child, wrappers[key])

    # 4. Answer.
    return names


# ---------------------------------------------------------------------------------------------------------------------
# Into the weight and out of it


def merge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """W + (α/r)·B·A, in float32, rounded once; W is not touched."""
    change = _product_as_weight(A, B, W.shape) * (alpha / A.shape[0])
    return (W.float() + change).to(W.dtype)


def unmerge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """W − (α/r)·B·A, in float32, rounded once; W is not touched."""
    change = _product_as_weight(A, B, W.shape) * (alpha / A.shape[0])
    return (W.float() - change).to(W.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Several adapters


def combine_adapters(
    x: torch.Tensor,
    W: torch.Tensor,
    adapters: list[tuple[torch.Tensor, torch.Tensor, float | None]],
    weights: list[float],
) -> torch.Tensor:
    """W·x + Σ w_i·(α_i/r_i)·B_i·A_i·x, in float32, rounded once."""
    if len(adapters) != len(weights):
        raise ValueError(f"{len(adapters)} adapters, {len(weights)} weights")
    h = F.linear(x.float(), W.float())
    for (A, B, alpha), weight in zip(adapters, weights, strict=True):
        scale = 1.0 if alpha is None else alpha / A.shape[0]
        h = h + _two_thin_products(x, A, B) * (weight * scale)
    return h.to(x.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# A file in foreign names


_KOHYA_PARTS = ("lora_down.weight", "lora_up.weight", "alpha")


def convert_kohya(
    sd: dict[str, torch.Tensor], module_names: list[str]
) -> dict[str, dict[str, torch.Tensor] | dict[str, float]]:
    """Look every key up among the model's own names, spelled kohya's way; refuse what has no place."""
    name_of = {"lora_unet_" + name.replace(".", "_"): name for name in module_names if name}

    # First sort the file by module, so that its order does not matter.
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in sd.items():
        stem, _, part = key.partition(".")
        if stem not in name_of or part not in _KOHYA_PARTS:
            raise ValueError(f"no place for key {key!r}")
        modules.setdefault(name_of[stem], {})[part] = tensor

    weights: dict[str, torch.Tensor] = {}
    alphas: dict[str, float] = {}
    for name, parts in modules.items():
        missing = [part for part in _KOHYA_PARTS[:2] if part not in parts]
        if missing:
            raise ValueError(f"module {name!r} lacks {', '.join(missing)}")
        down, up = parts["lora_down.weight"], parts["lora_up.weight"]
        weights[f"unet.{name}.lora_A.weight"] = down
        weights[f"unet.{name}.lora_B.weight"] = up
        alphas[f"unet.{name}.alpha"] = float(parts["alpha"].item()) if "alpha" in parts else float(down.shape[0])
    return {"weights": weights, "alphas": alphas}


# ---------------------------------------------------------------------------------------------------------------------
# Length and direction


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
    """h = (m/‖V‖)·V·x + b with V = W + s·B·A; the row norms are constants in the backward pass."""
    rank = A.shape[0]
    s = alpha / math.sqrt(rank) if rs else alpha / rank
    V = W.float() + s * (B.float() @ A.float())
    norm = torch.linalg.vector_norm(V.detach(), dim=1)  # (out,)
    h = F.linear(x.float(), V) * (m.float() / norm)
    if b is not None:
        h = h + b.float()
    return h.to(x.dtype)
