"""Public harness of lab 10: decoders, components, blocks, and the meter. Runs in the workers.

Decoder, machine and network are built in a process of their own where a check wants their calls seen from outside.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from alphabar_worker.meter import Meter
from torch import Tensor, nn

# Taken before the student's module is loaded.
_matmul, _softmax, _transpose, _rand = torch.matmul, torch.softmax, torch.transpose, torch.rand
_autograd = torch.autograd.backward


def filled(module: nn.Module, seed: int) -> nn.Module:
    """Fill the parameters from a generator, by sorted names: nothing is zero, whatever the library's initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            parameter.normal_(0.0, 0.7 / fan_in**0.5, generator=generator)
    return module


# Attention under the meter


def metered(student, *, function, q, k, v, chunk):
    """The output and what it cost, as plain integers; the bounds are applied where they cannot be argued with."""
    with Meter() as meter:
        out = getattr(student, function)(q, k, v, chunk)
    return {
        "out": out,
        "peak": meter.peak,
        "largest": meter.largest,
        "flops": meter.flops,
        "tensors": meter.count,
        "ops": sorted(meter.ops),
    }


# Decoding


class TinyDecoder(nn.Module):
    """A decoder (B, C, h, w) -> (B, 3, f·h, f·w) whose normalisation looks at the whole of what it is given."""

    def __init__(self, channels: int, f: int, width: int, seed: int) -> None:
        """Build it; `width` is the number of channels inside."""
        super().__init__()
        self.f = f
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.GroupNorm(2, width)
        self.last = nn.Conv2d(width, 3, 3, padding=1)
        filled(self, seed)

    def forward(self, z: Tensor) -> Tensor:
        """Decode."""
        x = nn.functional.silu(self.norm(self.first(z)))
        return self.last(nn.functional.interpolate(x, scale_factor=self.f, mode="nearest"))


class WideDecoder(nn.Module):
    """A decoder whose maps at full size are `width` channels deep and cost little else."""

    def __init__(self, channels: int, f: int, width: int, seed: int) -> None:
        """Build it; `width` is the number of channels inside."""
        super().__init__()
        self.f = f
        self.first = nn.Conv2d(channels, width, 1)
        self.last = nn.Conv2d(width, 3, 1)
        filled(self, seed)

    def forward(self, z: Tensor) -> Tensor:
        """Decode."""
        x = nn.functional.interpolate(self.first(z), scale_factor=self.f, mode="nearest")
        return self.last(torch.tanh(x))


class Rounded(nn.Module):
    """A decoder whose pictures have another dtype than its latents, as of a VAE that is run wider than the rest."""

    def __init__(self, decoder: nn.Module, dtype: torch.dtype) -> None:
        """Take the decoder, and the dtype of its pictures."""
        super().__init__()
        self.decoder = decoder
        self.dtype = dtype

    def forward(self, z: Tensor) -> Tensor:
        """Decode."""
        return self.decoder(z).to(self.dtype)


def make_decoder(
    channels: int, f: int, seed: int, dtype: torch.dtype = torch.float32, pictures: torch.dtype | None = None
) -> nn.Module:
    """Build a decoder; the grader sees its calls. Its parameters are trainable, as a loaded model's are."""
    with torch.random.fork_rng(devices=[]):
        decoder = TinyDecoder(channels, f, 8, seed).to(dtype)
    return decoder if pictures is None else Rounded(decoder, pictures)


def sliced(student, *, decode, z):
    """Decode image by image; the grader sees the decoder's calls."""
    return student.vae_slicing(decode, z)


def tiled(student, *, decode, z, tile, overlap, f):
    """Decode in tiles; the grader sees the decoder's calls."""
    return student.tiled_decode(decode, z, tile, overlap, f)


def tiled_here(student, *, z, tile, overlap, f, width, seed):
    """Decode in tiles with a decoder of this process, whose maps the kernel counts."""
    with torch.random.fork_rng(devices=[]):
        decoder = WideDecoder(z.shape[1], f, width, seed).to(z.device)
    return student.tiled_decode(decoder, z, tile, overlap, f).detach()


# Offloading


class Machine(nn.Module):
    """A GPU and its host: knows where each component is, and runs those alone that are on the GPU."""

    def __init__(self, components: list) -> None:
        """Begin with all components on the CPU."""
        super().__init__()
        self.place = dict.fromkeys(components, "cpu")
        self.factor = {name: 1.5 + number for number, name in enumerate(components)}

    def forward(self, action: str, name: str, given=None):
        """Move a component to `given`, "cpu" or "gpu", or run it on the tensor `given`."""
        if action == "move":
            if given not in ("cpu", "gpu"):
                raise ValueError(f"there is no place {given!r}, only 'cpu' and 'gpu'")
            self.place[name] = given
            return None
        if self.place[name] != "gpu":
            raise RuntimeError(f"{name} was called while its weights were on the CPU")
        return torch.tanh(given * self.factor[name]) + 0.1 * self.factor[name]


def make_machine(components: list) -> nn.Module:
    """Build the machine; the grader sees what it is asked to move and to run, in order."""
    return Machine(components)


class Component(nn.Module):
    """One component of a pipeline, which computes on the machine."""

    def __init__(self, machine, name: str) -> None:
        """Take the machine, and the component's name there."""
        super().__init__()
        self.__dict__["machine"] = machine
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Run."""
        return self.machine("run", self.name, x)


def offloaded(student, *, machine, components, runs, x, frees=1):
    """Call the components in the order of each run, and free after it; the answer is what each run ends with."""
    modules = {name: Component(machine, name) for name in components}
    free = student.model_offload_hooks(modules, partial(machine, "move"))
    ends = []
    for run in runs:
        y = x
        for name in run:
            y = modules[name](y)
        ends.append(y)
        for _ in range(frees):
            free()
    return ends


def two_pipelines(student, *, machine, other, components, first, second, x):
    """Arrange two pipelines whose components have the same names, and run one while the other still holds its last.

    The answer is what each run ends with.
    """
    ends, frees = [], []
    for one, run in ((machine, first), (other, second)):
        modules = {name: Component(one, name) for name in components}
        frees.append(student.model_offload_hooks(modules, partial(one, "move")))
        y = x
        for name in run:
            y = modules[name](y)
        ends.append(y)
    for free in frees:
        free()
    return ends


# Training through blocks


class Block(nn.Module):
    """A residual block that reads a condition and has dropout."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        """Build the layers."""
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.condition = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """Return x and what the block adds to it."""
        return x + self.down(self.dropout(torch.tanh(self.up(x) + self.condition(cond))))


def make_blocks(depth: int, width: int, hidden: int, dropout: float, seed: int) -> nn.ModuleList:
    """Build blocks in training mode."""
    with torch.random.fork_rng(devices=[]):
        blocks = nn.ModuleList([Block(width, hidden, dropout) for _ in range(depth)])
    return filled(blocks, seed)


def run_forward(student, *, x, cond, seg, depth, dropout, seed, hidden=12):
    """Run the blocks forward only; the answer is the output, and the next number of the random state."""
    blocks = make_blocks(depth, x.shape[-1], hidden, dropout, seed)
    return {"y": student.checkpointed_forward(blocks, x, cond, seg), "next": _rand(())}


def trained(student, *, x, cond, weight, seg, depth, dropout, seed, frozen=False, hidden=12):
    """Run forward and backward; the answer is every gradient, and the next number of the random state.

    `frozen`: only what reads the condition is trained, and x asks for no gradient, as where an adapter is trained.
    """
    blocks = make_blocks(depth, x.shape[-1], hidden, dropout, seed)
    for name, parameter in blocks.named_parameters():
        parameter.requires_grad_(not frozen or ".condition." in name)
    leaf = x.clone().requires_grad_(not frozen)
    _autograd((student.checkpointed_forward(blocks, leaf, cond, seg) * weight).sum())
    gradients = {name: parameter.grad for name, parameter in blocks.named_parameters() if parameter.requires_grad}
    return {"x": leaf.grad, "parameters": gradients, "next": _rand(())}


def conditioned(student, *, x, cond, weight, seg, depth, seed, frozen=False):
    """Run forward and backward where the condition asks for a gradient, as behind a projection that is trained.

    `frozen`: nothing else asks for one.
    """
    blocks = make_blocks(depth, x.shape[-1], 12, 0.0, seed).requires_grad_(not frozen)
    leaf = cond.clone().requires_grad_()
    _autograd((student.checkpointed_forward(blocks, x, leaf, seg) * weight).sum())
    return leaf.grad


def trained_long(student, *, x, cond, seg, depth, seed, hidden):
    """Run forward and backward through many blocks, whose activations the kernel counts; the answer is x's gradient."""
    blocks = make_blocks(depth, x.shape[-1], hidden, 0.0, seed).to(x.device)
    leaf = x.clone().requires_grad_()
    _autograd(student.checkpointed_forward(blocks, leaf, cond, seg).sum())
    return leaf.grad


def metered_training(student, *, x, cond, seg, depth, seed, hidden=24):
    """What forward and backward cost by the meter, as plain integers."""
    blocks = make_blocks(depth, x.shape[-1], hidden, 0.0, seed)
    leaf = x.clone().requires_grad_()
    with Meter() as meter:
        _autograd(student.checkpointed_forward(blocks, leaf, cond, seg).sum())
    return {"gradient": leaf.grad, "peak": meter.peak, "flops": meter.flops}


# Plans


def planned(student, *, components, steps, step_s, bandwidth, strategy):
    """Return a plan; for checks that look at a part of it."""
    return student.memory_plan(components, steps, step_s, bandwidth, strategy)


# Lower precision


class Pointwise(nn.Module):
    """y = (x − mean)·weight, number by number: each operation is rounded once, and so alike on every machine."""

    def __init__(self, weight: Tensor, mean: Tensor) -> None:
        """Take weight and mean, one number a channel."""
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.register_buffer("mean", mean.clone())
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("table", torch.linspace(0, 1, 5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return y, in the dtype of the weights."""
        return (x - self.mean) * self.weight


def reported(student, *, x, weight, mean, dtype, min_psnr):
    """The report, and the model's weights, buffers and mode as they are afterwards."""
    model = Pointwise(weight, mean)
    report = student.precision_report(model, x, dtype, min_psnr)
    left = {"weight": model.weight, "mean": model.mean, "steps": model.steps, "table": model.table}
    return {"report": report, **left, "mode": "training" if model.training else "evaluation"}


# Caching over steps


class Network(nn.Module):
    """Blocks that add to what they are given: the first one linearly, and only what differs from place to place."""

    def __init__(self, channels: int, blocks: int, seed: int) -> None:
        """Build the mixing matrices."""
        super().__init__()
        self.mixes = nn.ParameterList([torch.empty(channels, channels) for _ in range(blocks)])
        filled(self, seed)

    def forward(self, x: Tensor, block: int) -> Tensor:
        """Return the output of one block on x (B, C, ...)."""
        seen = x - x.roll(1, dims=-1) if block == 0 else x
        mixed = torch.einsum("oc,bc...->bo...", self.mixes[block], seen)
        return x + (mixed if block == 0 else torch.tanh(mixed) * (1 + 0.3 * block))


def make_network(channels: int, blocks: int, seed: int) -> nn.Module:
    """Build the network; the grader sees which block is called, and with what."""
    return Network(channels, blocks, seed).requires_grad_(False)


def cached(student, *, network, blocks, steps, threshold):
    """Run the blocks over `steps`, a list of lists of inputs: one walk after the other."""
    stack = [partial(network, block=number) for number in range(blocks)]
    return [student.step_cache(stack, xs, threshold) for xs in steps]


# What the figures draw; no check plays these.


def timelines(student, *, function, q, k, v, chunk):
    """Bytes alive after each operation: one of the student's functions, and attention all at once for comparison."""
    with Meter() as meter:
        out = getattr(student, function)(q, k, v, chunk)
    with Meter() as full:
        scores = _matmul(q, _transpose(k, -2, -1)) / math.sqrt(q.shape[-1])
        out = _matmul(_softmax(scores, -1), v)  # noqa: F841  (kept, so that the timeline ends with the output alive)
    return {"chunked": list(meter.timeline), "full": list(full.timeline)}


def decoding_timelines(student, *, z, f, width, seed):
    """Bytes alive while a batch is decoded: image by image by the student's function, and all at once."""
    with torch.random.fork_rng(devices=[]):
        decoder = WideDecoder(z.shape[1], f, width, seed)
    with Meter() as meter:
        out = student.vae_slicing(decoder, z)
    with Meter() as full, torch.no_grad():
        out = decoder(z)  # noqa: F841  (kept, as above)
    return {"sliced": list(meter.timeline), "full": list(full.timeline)}


def training_timelines(student, *, x, cond, seg, depth, seed, hidden):
    """Bytes alive while a stack of blocks is trained: through the student's function, and plainly."""
    lines = {}
    for name in ("checkpointed", "plain"):
        blocks = make_blocks(depth, x.shape[-1], hidden, 0.0, seed)
        leaf = x.clone().requires_grad_()
        with Meter() as meter:
            if name == "checkpointed":
                y = student.checkpointed_forward(blocks, leaf, cond, seg)
            else:
                y = leaf
                for block in blocks:
                    y = block(y, cond)
            _autograd(y.sum())
            y = None
        lines[name] = list(meter.timeline)
    return lines


def seams(student, *, stack, picture, tile, overlap):
    """A large picture through the trained VAE: as a whole, in tiles that only touch, and in the student's tiles."""
    latents = stack.encode(picture)
    f = picture.shape[-1] // latents.shape[-1]
    rows = []
    for i in range(0, latents.shape[2], tile):
        columns = range(0, latents.shape[3], tile)
        rows.append(torch.cat([stack.decode(latents[:, :, i : i + tile, j : j + tile]) for j in columns], dim=3))
    blended = student.tiled_decode(stack.decode, latents, tile, overlap, f)
    return {"whole": stack.decode(latents), "touching": torch.cat(rows, dim=2), "blended": blended}


def residency(student, *, components, run):
    """What is moved and run, in order, as [component, "cpu", "gpu" or "runs"]."""
    machine, events = Machine(components), []

    def noting(action, name, given=None):
        events.append([name, given if action == "move" else "runs"])
        return machine(action, name, given)

    modules = {name: Component(noting, name) for name in components}
    free = student.model_offload_hooks(modules, partial(noting, "move"))
    x = torch.ones(1)
    for name in run:
        x = modules[name](x)
    free()
    return events


def precisions(student, *, x, weight, mean, dtypes, factors):
    """PSNR of a pointwise model in each dtype, as its input grows."""
    return [
        [student.precision_report(Pointwise(weight, mean), x * factor, dtype, 40.0)["psnr"] for factor in factors]
        for dtype in dtypes
    ]


def error_over_work(student, *, xs, thresholds, channels, blocks, seed):
    """For each threshold: the share of the blocks that was run, and the relative error of the outputs."""
    network = make_network(channels, blocks, seed)
    stack = [partial(network, block=number) for number in range(blocks)]
    exact = []
    for x in xs:
        for block in stack:
            x = block(x)
        exact.append(x)
    exact = torch.stack(exact)
    found = []
    for threshold in thresholds:
        answer = student.step_cache(stack, xs, threshold)
        error = (torch.stack(answer["outputs"]) - exact).norm() / exact.norm()
        found.append([100 * sum(answer["calls"]) / (blocks * len(xs)), error.item()])
    return found


class StudentAttention:
    """An attention processor of diffusers that leaves softmax(q kᵀ / √d) v to a function."""

    def __init__(self, attend):
        """Take attend(q, k, v), each (B, H, N, d)."""
        self._attend = attend

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        """Do what AttnProcessor2_0 does for the UNet of the figures: project, attend, project back."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        q, k, v = (_transpose(one.reshape(*one.shape[:2], attn.heads, -1), 1, 2) for one in projected)
        out = _transpose(self._attend(q, k, v), 1, 2)
        return attn.to_out[0](out.reshape(*out.shape[:2], -1))


def drawings(student, *, stack, prompts, chunk, noise):
    """Draw prompts with a trained model, for the figures: its own attention, and the student's in every layer of it."""
    usual = stack.decode(stack.sample(prompts, noise, 3.0, 10))
    stack.unet.set_attn_processor(StudentAttention(lambda q, k, v: student.query_chunked_attention(q, k, v, chunk)))
    return {"usual": usual, "chunked": stack.decode(stack.sample(prompts, noise, 3.0, 10))}
