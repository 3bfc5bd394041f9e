"""The harness of lab 08, public: builds models, injects a student's adapters and runs what comes of it."""

from copy import copy, deepcopy
from functools import cache
from zlib import crc32

import torch
from diffusers import UNet2DConditionModel
from torch import nn

_grad, _fork_rng, _crc32 = torch.autograd.grad, torch.random.fork_rng, crc32


def fill(model, seed):
    """Fill every parameter from `seed`, by sorted name: no layer is left at zero, where a mistake could hide."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            parameter.normal_(0.0, 0.7 / fan_in**0.5, generator=generator)
    return model.eval()


class Block(nn.Module):
    """A block whose layers have names that begin, end, and contain one another's."""

    def __init__(self, width, inner):
        """Build it: two projections, one small network, and a convolution that is called as a projection is."""
        super().__init__()
        self.proj = nn.Linear(width, inner)
        self.time_proj = nn.Linear(3, inner, bias=False)
        self.proj_out = nn.Linear(inner, width)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.Tanh(), nn.Linear(inner, width))
        self.mix = nn.ModuleDict({"proj": nn.Conv1d(width, width, 1), "norm": nn.LayerNorm(width)})

    def forward(self, x, t):
        """Return x (B, N, width) after the block; t is (B, 3)."""
        h = torch.tanh(self.proj(x) + self.time_proj(t)[:, None])
        x = x + self.proj_out(h)
        x = x + self.mlp(self.mix["norm"](x))
        return x + self.mix["proj"](x.mT).mT


class Net(nn.Module):
    """A small network with Linear layers at its root, in lists, and in sequences."""

    def __init__(self, width, inner):
        """Build it, two blocks deep."""
        super().__init__()
        self.embed = nn.Linear(5, width)
        self.blocks = nn.ModuleList([Block(width, inner), Block(width, inner)])
        self.head = nn.Linear(width, 4)

    def forward(self, x, t):
        """Return (B, N, 4) for x (B, N, 5) and t (B, 3)."""
        h = self.embed(x)
        for block in self.blocks:
            h = block(h, t)
        return self.head(h)


@cache
def _untrained(kind, width, inner):
    with _fork_rng(devices=[]):
        if kind == "net":
            return Net(width, inner)
        return UNet2DConditionModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(width,),
            down_block_types=("CrossAttnDownBlock2D",),
            mid_block_type=None,
            up_block_types=("UpBlock2D",),
            norm_num_groups=4,
            cross_attention_dim=inner,
            attention_head_dim=4,
            use_linear_projection=True,
        )


def pretrained(kind="net", width=6, inner=10, dtype="float32", seed=0):
    """Return a model with weights from `seed`: "net", as above, or "unet", the smallest one that reads a condition."""
    model = fill(deepcopy(_untrained(kind, width, inner)), seed)
    # Asked for what they are already, diffusers' models warn of layers that should keep float32.
    return model if dtype == "float32" else model.to(getattr(torch, dtype))


def adapters(seed, filled=True, opposed=False):
    """Return a `make_ab`: float32 A and B that hang on the layer's name and sizes; B is zero where not `filled`.

    Where `opposed`, ranks nearly cancel, and what is left of them drowns where A or B is rounded.
    """

    def make_ab(name, in_features, out_features, rank):
        generator = torch.Generator().manual_seed(seed + _crc32(name.encode()))
        A = torch.randn(rank, in_features, generator=generator) * 2 / in_features**0.5
        B = torch.randn(out_features, rank, generator=generator) / rank**0.5
        if opposed:
            A[1:] = A[:1] + 0.004 * A[1:]
            B[:, 1:] = -B[:, :1] / (rank - 1)
        return A, B if filled else torch.zeros_like(B)

    return make_ab


def inject(student, model, targets, rank, alpha, make_ab):
    """Have the adapters put into `model`. New layers may draw their first weights where they like: it is forked."""
    with _fork_rng(devices=[]):
        return student.inject_lora(model, list(targets), rank, alpha, make_ab)


def as_injected(student, *, model, inputs, targets, rank, alpha, seed, filled=True, opposed=False):
    """Return what the model answers with its adapters in."""
    built = pretrained(**model)
    inject(student, built, targets, rank, alpha, adapters(seed, filled, opposed))
    return answer(built, inputs)


def with_another_base(student, *, model, inputs, targets, rank, alpha, seed):
    """Return what the model answers after its pretrained parameters, those from before the injection, were replaced."""
    built = pretrained(**model)
    before = [parameter for _, parameter in sorted(built.named_parameters())]
    inject(student, built, targets, rank, alpha, adapters(seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in before:
            fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7 / fan_in**0.5)
    return answer(built, inputs)


def after_training(student, *, model, inputs, weight, targets, rank, alpha, seed, steps, lr, filled=True):
    """Return what the model answers after SGD steps on everything that wants a gradient; the loss is ⟨weight, answer⟩.

    Nothing that is frozen may move and everything that learns must, or the answer is another.
    """
    built = pretrained(**model).requires_grad_(True)
    inject(student, built, targets, rank, alpha, adapters(seed, filled))
    for _ in range(steps):
        learning = [parameter for parameter in built.parameters() if parameter.requires_grad]
        loss = (answer(built, inputs) * weight).sum()
        with torch.no_grad():
            for parameter, gradient in zip(learning, _grad(loss, learning), strict=True):
                parameter -= lr * gradient
    with torch.no_grad():
        return answer(built, inputs)


def answer(model, inputs):
    """Return what a model of either kind answers; (x, t) for the net, (sample, timesteps, condition) for the UNet."""
    out = model(*inputs)
    return out if isinstance(out, torch.Tensor) else out.sample


def after_a_refusal(student, *, model, inputs, targets, rank, alpha, seed, weight):
    """Return what a model answers, and its weights' gradient, after an injection that was refused with a ValueError."""
    built = pretrained(**model).requires_grad_(True)
    try:
        inject(student, built, targets, rank, alpha, adapters(seed))
    except ValueError:
        out = answer(built, inputs)
        learning = [p for _, p in sorted(built.named_parameters()) if p.requires_grad]
        gradient = _grad((out * weight).sum(), learning, allow_unused=True)
        return {"answer": out.detach(), "gradient": list(gradient)}
    return "It was not refused."


def said(student, *, model, targets, rank, alpha, seed):
    """Return the names that the injection answers, and how many numbers and tensors learn and how many there are."""
    built = pretrained(**model)
    names = inject(student, built, targets, rank, alpha, adapters(seed))
    learning = [parameter.numel() for parameter in built.parameters() if parameter.requires_grad]
    total = sum(parameter.numel() for parameter in built.parameters())
    return {"names": names, "learning": sum(learning), "tensors": len(learning), "all": total}


# The other tasks


def gradients(student, *, function, weight, tensors, **given):
    """Return the gradient of ⟨weight, result⟩ in each of `tensors`; None where none arrives."""
    leaves = {name: value.clone().requires_grad_() for name, value in tensors.items()}
    result = getattr(student, function)(**leaves, **given)
    if not isinstance(result, torch.Tensor) or not result.requires_grad:
        return None
    found = _grad((result * weight).sum(), list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, found, strict=True))


def started(student, *, in_features, out_features, r, seeds):
    """Return the A and B of each seed, each with a generator of its own: where the numbers lie in it plays no part."""
    pairs = [student.lora_init(in_features, out_features, r, torch.Generator().manual_seed(seed)) for seed in seeds]
    return [{"A": A, "B": B} for A, B in pairs]


def started_in_a_row(student, *, in_features, out_features, r, seed, count):
    """Return the A of several layers that are started from one generator, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    pairs = [student.lora_init(in_features, out_features, r, generator) for _ in range(count)]
    return [A for A, _ in pairs]


def first_steps(student, *, W, x, target, r, alpha, seed, steps, lr):
    """Train a student's fresh A and B to turn W·x into `target`; return the gradients and losses of the first steps."""
    A, B = student.lora_init(W.shape[1], W.shape[0], r, torch.Generator().manual_seed(seed))
    A, B = A.clone().requires_grad_(), B.clone().requires_grad_()
    log = []
    for _ in range(steps):
        loss = (x @ W.T + alpha / r * (x @ A.T @ B.T) - target).square().mean()
        of_A, of_B = _grad(loss, [A, B])
        log.append({"loss": loss.detach(), "A": of_A, "B": of_B})
        with torch.no_grad():
            A -= lr * of_A
            B -= lr * of_B
    return log


def converted_again(student, *, sd, module_names):
    """Return what the second of two conversions of one file answers."""
    student.convert_kohya(sd, module_names)
    return student.convert_kohya(sd, module_names)


def round_trip(student, *, W, A, B, alpha, times=1):
    """Return a weight after it was merged and unmerged."""
    for _ in range(times):
        W = student.unmerge(student.merge(W, A, B, alpha), A, B, alpha)
    return W


# For the figures, with the trained stack.

PROJECTIONS = ["to_q", "to_k", "to_v", "to_out.0"]


def with_unet(stack, unet):
    """Return the stack with another UNet."""
    other = copy(stack)
    other.unet = unet
    return other


def styled(student, *, stack, weights, rank, scales, prompts, noise):
    """Draw prompts with a trained adapter that the student's code injected, at each of `scales`: (N, 3, 32, 32)."""

    def make_ab(name, in_features, out_features, rank):
        return weights[f"unet.{name}.lora_A.weight"].clone(), weights[f"unet.{name}.lora_B.weight"].clone()

    pictures = []
    for scale in scales:
        unet = deepcopy(stack.unet)
        inject(student, unet, PROJECTIONS, rank, rank * scale, make_ab)
        pictures.append(drawn(with_unet(stack, unet), prompts, noise))
    return pictures


def from_a_file(student, *, stack, sd, prompts, noise):
    """Draw prompts with an adapter from a kohya file, as far as the student's names find a layer of the UNet."""
    modules = dict(stack.unet.named_modules())
    found = student.convert_kohya(sd, list(modules))
    hooks = []
    for key, A in found["weights"].items():
        name = key.removeprefix("unet.").removesuffix(".lora_A.weight")
        if not key.endswith(".lora_A.weight") or name not in modules:
            continue
        B = found["weights"][f"unet.{name}.lora_B.weight"]
        scale = found["alphas"].get(f"unet.{name}.alpha", len(A)) / len(A)

        def add(module, inputs, output, A=A, B=B, scale=scale):
            return output + scale * (inputs[0] @ A.T @ B.T)

        hooks.append(modules[name].register_forward_hook(add))
    try:
        return drawn(stack, prompts, noise)
    finally:
        for hook in hooks:
            hook.remove()


def drawn(stack, prompts, noise):
    """Return pictures after twelve guided steps."""
    return stack.decode(stack.sample(prompts, noise, 3.0, 12))


def drift(student, *, W, adapters, alpha):
    """Return the root mean square of what is left of a weight's way through each adapter, merged and unmerged."""
    now, left = W, []
    for A, B in adapters:
        now = student.unmerge(student.merge(now, A, B, alpha), A, B, alpha)
        left.append(float((now.float() - W.float()).square().mean().sqrt()))
    return left
