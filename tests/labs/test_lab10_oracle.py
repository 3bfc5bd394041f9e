"""The reference of lab 10 against torch, diffusers' VAE and hooks, accelerate, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import AutoencoderKL
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import group_norm, scaled_dot_product_attention

from tests.labs import witness
from tests.labs.witness import normal

lab, recipe = witness.reference("lab10"), witness.recipe("lab10")
attentions = pytest.mark.parametrize("attention", [lab.query_chunked_attention, lab.online_softmax_attention])


def inputs(seed, batch, heads, n, m, d, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, n, d), (batch, heads, m, d), (batch, heads, m, d)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


# Attention


@attentions
@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize(
    ("batch", "heads", "n", "m", "d", "chunk"),
    [
        (1, 2, 128, 128, 16, 16),
        (2, 3, 7, 12, 5, 3),
        (1, 1, 5, 4, 8, 64),
        (2, 2, 9, 9, 8, 1),
        (1, 4, 20, 33, 40, 8),
    ],
)
def test_torch_attention(attention, backend, batch, heads, n, m, d, chunk):
    q, k, v = inputs(n, batch, heads, n, m, d)
    with sdpa_kernel(backend):
        theirs = scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attention(q, k, v, chunk), theirs, atol=2e-6, rtol=2e-6)


@attentions
@pytest.mark.parametrize(("dtype", "atol", "rtol"), [(torch.float16, 4e-3, 8e-3), (torch.bfloat16, 3e-2, 3e-2)])
def test_half_precision(attention, dtype, atol, rtol):
    q, k, v = inputs(1, 1, 2, 13, 13, 8, dtype)
    exact = scaled_dot_product_attention(q.double(), k.double(), v.double())
    ours = attention(q, k, v, 5)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), exact, atol=atol, rtol=rtol)


@pytest.mark.parametrize("scale", [40.0, -40.0])
def test_online_scores_of_hundreds(scale):
    q, k, v = inputs(4, 1, 2, 9, 31, 16, torch.float64)
    exact = scaled_dot_product_attention(q * scale, k, v)
    ours = lab.online_softmax_attention((q * scale).float(), k.float(), v.float(), 4)
    torch.testing.assert_close(ours.double(), exact, atol=5e-5, rtol=5e-5)


@attentions
@pytest.mark.parametrize("run", recipe.ATTENTIONS)
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_golden_attention(attention, run, chunk):
    q, k, v, out = (witness.case("lab10", run)[name] for name in ("q", "k", "v", "out"))
    torch.testing.assert_close(attention(q, k, v, chunk), out, atol=2e-5, rtol=2e-5)


@attentions
def test_chunk_does_not_show(attention):
    q, k, v = inputs(2, 2, 2, 30, 17, 6)
    whole = attention(q, k, v, 30)
    for chunk in (1, 7, 29, 31):
        torch.testing.assert_close(attention(q, k, v, chunk), whole, atol=1e-6, rtol=1e-6)


@attentions
def test_attention_by_hand(attention):
    """One head of size 4, two keys: scores 2·ln 3 / √4 = ln 3 and 0, so the weights are 3/4 and 1/4."""
    q = torch.tensor([2 * math.log(3), 0, 0, 0]).reshape(1, 1, 1, 4)
    k = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]).reshape(1, 1, 2, 4)
    v = torch.tensor([[4.0, 0, 8, 1], [0, 4.0, 0, 1]]).reshape(1, 1, 2, 4)
    expected = torch.tensor([3.0, 1, 6, 1]).reshape(1, 1, 1, 4)
    torch.testing.assert_close(attention(q, k, v, 1), expected)


def test_online_softmax_by_hand():
    """Scores 0 and ln 3, values 4 and 8: (4 + 3·8)/(1 + 3) = 7, as the starter says."""
    q, k = torch.ones(1, 1, 1, 1), torch.tensor([0.0, math.log(3)]).reshape(1, 1, 2, 1)
    out = lab.online_softmax_attention(q, k, torch.tensor([4.0, 8.0]).reshape(1, 1, 2, 1), 1)
    torch.testing.assert_close(out, torch.full((1, 1, 1, 1), 7.0))


@attentions
def test_no_keys_preferred_gives_the_mean(attention):
    _, k, v = inputs(3, 1, 2, 6, 9, 4)
    mean = v.mean(dim=2, keepdim=True).expand(1, 2, 6, 4)
    torch.testing.assert_close(attention(torch.zeros(1, 2, 6, 4), k, v, 4), mean)


# Decoding


@pytest.fixture(scope="module")
def vae():
    """A small VAE of diffusers with attention in the middle, factor 4."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderKL(
            block_out_channels=(8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=4,
        ).eval()


def decoder(vae):
    return lambda z: vae.decoder(vae.post_quant_conv(z))


def test_diffusers_slicing(vae):
    z = normal(1, 3, 4, 6, 5)
    vae.enable_slicing()
    with torch.no_grad():
        theirs = vae.decode(z).sample
    vae.disable_slicing()
    assert torch.equal(lab.vae_slicing(decoder(vae), z), theirs)


@pytest.mark.parametrize(("shape", "tile", "overlap"), [((1, 4, 16, 16), 8, 0.25), ((2, 4, 14, 9), 8, 0.5)])
def test_diffusers_tiles(vae, shape, tile, overlap):
    z = normal(2, *shape)
    vae.tile_latent_min_size, vae.tile_sample_min_size, vae.tile_overlap_factor = tile, 4 * tile, overlap
    with torch.no_grad():
        theirs, whole = vae.tiled_decode(z).sample, vae.decode(z).sample
    ours = lab.tiled_decode(decoder(vae), z, tile, overlap, 4)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    assert (ours - whole).abs().max() > 0.01, "tiles differ from the whole: attention and normalisation see a tile"


@pytest.mark.parametrize("run", recipe.TILES)
def test_golden_tiles(run):
    golden, (_, tile, overlap, f) = witness.case("lab10", f"tiles_{run}"), recipe.TILES[run]
    ours = lab.tiled_decode(recipe.MeanDecoder(f), golden["z"], tile, overlap, f)
    torch.testing.assert_close(ours, golden["image"], atol=1e-6, rtol=1e-6)


def test_tiles_of_a_local_decoder_are_the_whole():
    """A decoder that looks at no neighbour has no seams: blending two equal things changes nothing."""
    z = normal(3, 2, 3, 11, 14)

    def local(z):
        return z.repeat_interleave(2, 2).repeat_interleave(2, 3)

    for tile, overlap in ((4, 0.5), (8, 0.25), (5, 0.0), (20, 0.25)):
        torch.testing.assert_close(lab.tiled_decode(local, z, tile, overlap, 2), local(z))


# Offloading and planning

MOVES = [
    *(("text_encoder", "gpu"), ("text_encoder", "cpu"), ("unet", "gpu")),
    *(("unet", "cpu"), ("vae", "gpu"), ("vae", "cpu")),
]


def moves_of_the_lab(run):
    """Return what the reference moves in a run."""
    moves, modules = [], {name: torch.nn.Linear(3, 3) for name in ("text_encoder", "unet", "vae")}
    free = lab.model_offload_hooks(modules, lambda name, place: moves.append((name, place)))
    for name in run:
        modules[name](torch.zeros(1, 3))
    free()
    return moves


def moves_of_accelerate(run):
    """Return what a chain of accelerate's hooks moves in a run, the meta device for a GPU."""
    accelerate = pytest.importorskip("accelerate", reason="the witness is accelerate: install the oracle extra")
    moves, modules, hook, hooks = [], {}, None, []

    class Noted(torch.nn.Linear):
        def to(self, device):
            moves.append((self.name, {"meta": "gpu", "cpu": "cpu"}[torch.device(device).type]))
            return self.to_empty(device=device)  # values do not matter here, and there are none on the meta device

    for name in ("text_encoder", "unet", "vae"):
        module = modules[name] = Noted(3, 3)
        module.name = name
        _, hook = accelerate.cpu_offload_with_hook(module, torch.device("meta"), prev_module_hook=hook)
        hooks.append(hook)
    moves.clear()
    for name in run:
        modules[name](torch.zeros(1, 3, device="meta"))
    for one in hooks:
        if one.model.weight.device.type == "meta":
            one.offload()
    return moves


def test_moves_of_text_to_image():
    assert moves_of_the_lab(["text_encoder", "unet", "unet", "unet", "vae"]) == MOVES


@pytest.mark.oracle
def test_accelerate_moves_alike_in_text_to_image():
    assert moves_of_accelerate(["text_encoder", "unet", "unet", "unet", "vae"]) == MOVES


@pytest.mark.oracle
def test_accelerate_keeps_two_components_in_image_to_image():
    """The chain evicts the predecessor alone: the VAE, which ran first, stays while the others come."""
    run = ["vae", "text_encoder", "unet", "vae"]
    theirs = moves_of_accelerate(run)
    assert theirs.index(("text_encoder", "gpu")) < theirs.index(("vae", "cpu"))
    ours = moves_of_the_lab(run)
    assert ours.index(("vae", "cpu")) < ours.index(("text_encoder", "gpu"))


def component(**more):
    golden = witness.case("lab10", "ledger")
    sizes = {name: int(golden[name]) for name in ("params", "largest_leaf", "largest_group")}
    return {**sizes, "bytes_per_param": 4, "activations": 0, "per_step": True, **more}


def test_golden_casting():
    """diffusers' layerwise casting: all weights at one byte, and the layer that runs at four."""
    plan = lab.memory_plan([component()], 3, 0.1, 100.0, "layerwise_casting")
    assert plan["peak"] == int(witness.case("lab10", "ledger")["cast_peak"])


def test_golden_groups():
    """diffusers' group offloading, one block a group: each call moves everything in, and out again."""
    golden, plan = witness.case("lab10", "ledger"), lab.memory_plan([component()], 3, 0.1, 100.0, "group")
    assert (plan["peak"], plan["moved"]) == (int(golden["group_peak"]), int(golden["group_moved"]))


def test_model_offload_moves_what_the_hooks_move():
    """The plan's figures from the ledger of the moves."""
    sizes = {"text_encoder": (120, 30), "unet": (860, 300), "vae": (80, 1500)}
    components = [
        component(params=params, bytes_per_param=1, activations=activations, per_step=name == "unet")
        for name, (params, activations) in sizes.items()
    ]
    moves = moves_of_the_lab(["text_encoder", "unet", "unet", "vae"])
    plan = lab.memory_plan(components, 2, 0.5, 530.0, "model")
    assert plan["moved"] == sum(sizes[name][0] for name, _ in moves)
    assert plan["peak"] == max(map(sum, sizes.values()))
    assert plan["total_s"] == pytest.approx(2 * 0.5 + 2120 / 530)


def test_sequential_offload_by_hand():
    """100 parameters of 2 bytes in the loop, 4 steps, a largest leaf of 20, activations 30, as the starter says."""
    one = component(params=100, bytes_per_param=2, activations=30, largest_leaf=20)
    plan = lab.memory_plan([one], 4, 0.25, 400.0, "sequential")
    assert plan == {"peak": 70, "moved": 800, "transfer_s": 2.0, "total_s": 3.0}


# Training


class Block(torch.nn.Module):
    """A residual block with a condition and dropout."""

    def __init__(self, width, dropout):
        super().__init__()
        self.inner, self.dropout = torch.nn.Linear(width, width), torch.nn.Dropout(dropout)

    def forward(self, x, cond):
        return x + self.dropout(torch.tanh(self.inner(x) + cond))


@pytest.mark.parametrize(("depth", "seg", "dropout"), [(6, 2, 0.0), (7, 3, 0.4), (3, 5, 0.2), (4, 1, 0.5)])
def test_plain_training(depth, seg, dropout):
    """Output, gradients and random state of plain training, to the last bit."""

    def plain(blocks, x, cond, seg):
        for block in blocks:
            x = block(x, cond)
        return x

    found = []
    for function in (lab.checkpointed_forward, plain):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            blocks = torch.nn.ModuleList([Block(5, dropout) for _ in range(depth)])
            x = normal(1, 3, 5).requires_grad_()
            y = function(blocks, x, normal(2, 3, 5), seg)
            (y * normal(3, 3, 5)).sum().backward()
            found.append([y, x.grad, *(parameter.grad for parameter in blocks.parameters()), torch.rand(())])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


# Precision


@pytest.mark.parametrize("run", recipe.NORMS)
def test_golden_norm(run):
    golden, (*_, groups, eps) = witness.case("lab10", f"norm_{run}"), recipe.NORMS[run]
    ours = lab.groupnorm_fp16(golden["x"], groups, golden["weight"], golden["bias"], eps)
    torch.testing.assert_close(ours, golden["out"], atol=1e-3, rtol=1e-3)


def test_torch_group_norm_of_other_axes():
    x, weight, bias = (normal(1, 2, 6, 2, 3, 4) * 20).bfloat16(), normal(2, 6), normal(3, 6)
    theirs = group_norm(x.float(), 3, weight, bias, 1e-5).bfloat16()
    torch.testing.assert_close(lab.groupnorm_fp16(x, 3, weight, bias, 1e-5), theirs)


def test_norm_by_hand():
    x = torch.tensor([1.0, 3, 5, 7]).half().reshape(1, 2, 2)
    out = lab.groupnorm_fp16(x, 1, torch.ones(2), torch.zeros(2), 0.0)
    torch.testing.assert_close(out[0, 0, 0].item(), -3 / math.sqrt(5), atol=1e-3, rtol=0)


class Table(torch.nn.Module):
    """Answers 3, 4 in float32 and 3, 4.5 in anything else."""

    def __init__(self):
        super().__init__()
        self.register_buffer("counter", torch.tensor([1, 2]))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        last = 4.0 if x.dtype == torch.float32 else 4.5
        return torch.tensor([3.0, last], dtype=x.dtype)


def test_report_by_hand():
    report = lab.precision_report(Table(), torch.zeros(2), torch.float16, 21.0)
    assert report["bytes"] == 2 * 8 + 3 * 2
    assert report["max_error"] == 0.5 and report["relative_error"] == pytest.approx(0.1)
    assert report["psnr"] == pytest.approx(10 * math.log10(16 / 0.125))
    assert (report["overflow"], report["underflow"], report["verdict"]) == (0.0, 0.0, "accept")


def test_the_same_dtype_has_no_error():
    report = lab.precision_report(torch.nn.Linear(3, 2), normal(1, 4, 3), torch.float32, 100.0)
    assert (report["max_error"], report["psnr"], report["verdict"]) == (0.0, math.inf, "accept")


# Caching


@pytest.mark.parametrize("run", recipe.WALKS)
def test_golden_walk(run):
    """diffusers' first block cache; the last step is computed there because it lies far off."""
    golden, (_, threshold) = witness.case("lab10", f"walk_{run}"), recipe.WALKS[run]
    blocks = [recipe.AddingBlock(matrix, i == 0) for i, matrix in enumerate(golden["matrices"])]
    ours = lab.step_cache(blocks, list(golden["xs"]), threshold)
    torch.testing.assert_close(torch.stack(ours["outputs"]), golden["outputs"], atol=1e-5, rtol=1e-5)
    assert 1 in ours["calls"] and 3 in ours["calls"][1:-1], (
        "a walk in which nothing or everything is reused says little"
    )


def test_cache_by_hand():
    xs = [torch.tensor([x]) for x in (1.0, 1.1, 2.0)]
    found = lab.step_cache([lambda x: 2 * x, lambda x: x + 1], xs, 0.2)
    assert found["calls"] == [2, 1, 2]
    torch.testing.assert_close(torch.cat(found["outputs"]), torch.tensor([3.0, 3.2, 5.0]))
