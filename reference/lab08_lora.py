"""Lab 08, LoRA: a small trainable change of chosen weight matrices, from one layer to files and mixtures.

Symbols are those of Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2022), in the orientation in which
PEFT and diffusers store them: A is (r, in), B is (out, r), and a layer's weight W_0 becomes W_0 + (α/r)·B·A. Each
function stands by itself.
"""

from collections.abc import Callable

import torch
from torch import nn


def checkpoint_parameters() -> dict[str, int]:
    """Return the numbers of a layer of 768 inputs and 320 outputs: W_0, A and B of rank 8, and what merging adds.

    r·(in + out) for the pair. Merged, the pair is added into W_0 and is gone.
    """
    return {"full": 245760, "lora": 8704, "extra_when_merged": 0}


def checkpoint_strength() -> dict[str, float]:
    """Return the scale in front of B·A for α = 16 at ranks 8 and 32, with and without the root of rsLoRA, and fused.

    α/r; α/√r in rank-stabilised LoRA. Three adapters of rank 8 in one of rank 24 have a third of their strength.
    """
    return {"rank_8": 2.0, "rank_32": 0.5, "rank_32_stabilised": 16 / 32**0.5, "fused_qkv": 1 / 3}


def checkpoint_first_step() -> dict[str, tuple[str, ...]]:
    """Return which of W, A and B move at the first optimiser step and at the second, when B begins at zero.

    ∂L/∂A has B as a factor, ∂L/∂B has A as a factor. W is frozen.
    """
    return {"first": ("B",), "second": ("A", "B")}


def checkpoint_targets() -> tuple[str, ...]:
    """Return which of the layers of a UNet block the target "proj" hits: whole parts of the name from its end."""
    return ("attentions.0.transformer_blocks.0.ff.net.0.proj",)


def checkpoint_what_changes() -> tuple[str, ...]:
    """Return what an active LoRA changes in a sampling run: the values of predictions, and nothing of the loop."""
    return ("predictions",)


def lora_linear(
    x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None, A: torch.Tensor, B: torch.Tensor, alpha: float
) -> torch.Tensor:
    """Return h = W_0·x + b + (α/r)·B·A·x (Hu et al. 2022, equation 3 and section 4.1), for rows x (..., in).

    `peft.tuners.lora.Linear.forward` without dropout.
    """
    r = A.shape[0]
    h = x.float() @ W.float().T
    if b is not None:
        h = h + b
    delta = x.float() @ A.float().T @ B.float().T
    return (h + alpha / r * delta).to(x.dtype)


def lora_init(
    in_features: int, out_features: int, r: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (r, in), uniform on ±1/√in, and B (out, r), zero: the adapted layer begins as the pretrained one.

    Hu et al. 2022, section 4.1, with the uniform start that PEFT gives A: `kaiming_uniform_(a=√5)`.
    """
    bound = in_features**-0.5
    A = torch.empty(r, in_features).uniform_(-bound, bound, generator=generator)
    B = torch.zeros(out_features, r)
    return A, B


def inject_lora(
    model: nn.Module,
    targets: list[str],
    rank: int,
    alpha: float,
    make_ab: Callable[[str, int, int, int], tuple[torch.Tensor, torch.Tensor]],
) -> list[str]:
    """Give every targeted nn.Linear of `model` a LoRA of its own, freeze everything else, and return the layers' names.

    `peft.inject_adapter_in_model` with `LoraConfig(target_modules=targets)`.
    """

    class LoraLinear(nn.Module):
        """The pretrained layer, and beside it the two small matrices that learn."""

        def __init__(self, base: nn.Linear, A: torch.Tensor, B: torch.Tensor) -> None:
            super().__init__()
            self.base = base
            self.A = nn.Parameter(A)
            self.B = nn.Parameter(B)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.base(x)
            delta = x.to(self.A.dtype) @ self.A.T @ self.B.T
            return h + (alpha / rank * delta).to(h.dtype)

    # 1. Choose, and refuse, before anything is changed.
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    chosen = set()
    for target in targets:
        hit = [name for name in linears if name == target or name.endswith("." + target)]
        if not hit:
            raise ValueError(f"no nn.Linear is called {target!r}")
        chosen.update(hit)
    # 2. Freeze all that is pretrained, also where no adapter comes.
    model.requires_grad_(False)
    # 3. Put each wrapper where the model looks for its layer.
    for name in sorted(chosen):
        base = linears[name]
        A, B = make_ab(name, base.in_features, base.out_features, rank)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, LoraLinear(base, A, B))
    return sorted(chosen)


def merge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return W_0 + (α/r)·B·A in W_0's dtype (Hu et al. 2022, section 4.1); for convolutions B is 1×1.

    `get_delta_weight` and `merge` of PEFT's Linear and Conv2d, rounded once in place of twice.
    """
    r = A.shape[0]
    delta = B.float().flatten(1) @ A.float().flatten(1)
    return (W.float() + alpha / r * delta.reshape(W.shape)).to(W.dtype)


def unmerge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return the merged weight without the adapter: what was added is taken away, up to the rounding of `merge`."""
    r = A.shape[0]
    delta = B.float().flatten(1) @ A.float().flatten(1)
    return (W.float() - alpha / r * delta.reshape(W.shape)).to(W.dtype)


def combine_adapters(
    x: torch.Tensor,
    W: torch.Tensor,
    adapters: list[tuple[torch.Tensor, torch.Tensor, float | None]],
    weights: list[float],
) -> torch.Tensor:
    """Return W_0·x + Σ_i w_i·(α_i/r_i)·B_i·A_i·x: several adapters on one layer, each with its own rank, α and weight.

    `set_adapters(names, weights)` of diffusers.
    """
    h = x.float() @ W.float().T
    # A weight too few or too many is a ValueError of zip.
    for (A, B, alpha), weight in zip(adapters, weights, strict=True):
        r = A.shape[0]
        scale = 1.0 if alpha is None else alpha / r
        h = h + weight * scale * (x.float() @ A.float().T @ B.float().T)
    return h.to(x.dtype)


def convert_kohya(
    sd: dict[str, torch.Tensor], module_names: list[str]
) -> dict[str, dict[str, torch.Tensor] | dict[str, float]]:
    """Return a kohya-ss file's UNet adapter under the names that diffusers and PEFT read, and each module's α.

    kohya writes a module's name with "_" for ".", which cannot be undone without the model's own list of names.
    `_convert_non_diffusers_lora_to_diffusers` in diffusers.
    """
    modules = {"lora_unet_" + name.replace(".", "_"): name for name in module_names}
    parts = {"lora_down.weight": "A", "lora_up.weight": "B", "alpha": "alpha"}
    # 1. Sort the entries by module; what nobody would read is refused.
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in sd.items():
        module, _, part = key.partition(".")
        if module not in modules or part not in parts:
            raise ValueError(f"no module, or no part of an adapter, is called {key!r}")
        found.setdefault(modules[module], {})[parts[part]] = value
    # 2. Give each its new name. The tensors stay as they are: α is applied by whoever computes with them.
    weights, alphas = {}, {}
    for name, entries in found.items():
        if "A" not in entries or "B" not in entries:
            raise ValueError(f"{name} has one half of an adapter only")
        weights[f"unet.{name}.lora_A.weight"] = entries["A"]
        weights[f"unet.{name}.lora_B.weight"] = entries["B"]
        r = entries["A"].shape[0]
        alphas[f"unet.{name}.alpha"] = float(entries["alpha"]) if "alpha" in entries else float(r)
    return {"weights": weights, "alphas": alphas}


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
    """Return m·(V/‖V‖)·x + b with V = W_0 + s·B·A (Liu et al. 2024, equation 5), ‖·‖ of each output's row.

    s is α/r, or α/√r in rank-stabilised LoRA (Kalajdzievski 2023). `use_dora` and `use_rslora` of PEFT.
    """
    r = A.shape[0]
    s = alpha / r**0.5 if rs else alpha / r
    V = W.float() + s * (B.float() @ A.float())
    # A constant in the backward pass (section 4.3).
    norm = V.norm(dim=1).detach()
    h = x.float() @ (m.float() / norm)[:, None].mul(V).T
    if b is not None:
        h = h + b
    return h.to(x.dtype)
