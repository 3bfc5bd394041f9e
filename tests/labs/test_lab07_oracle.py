"""The reference of lab 07 against diffusers' own layers, models and pipelines, and by hand."""

import math

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.embeddings import get_2d_sincos_pos_embed, get_timestep_embedding

from fixtures import minisd
from fixtures.scenes import COLOUR_NAMES
from fixtures.sprites import SHAPES
from tests.labs import witness
from tests.labs.witness import normal, seeded

lab, recipe = witness.reference("lab07"), witness.recipe("lab07")
CLOSE = {"atol": 1e-5, "rtol": 1e-4}
WHOLE = {"atol": 1e-4, "rtol": 1e-3}

# diffusers' schedulers hand torch tensors to numpy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


# Checkpoints, each counted on a model


def test_the_predicted_shapes_and_maps():
    # Stable Diffusion 1's first cross-attention, narrow: 77 tokens of 768, latents of 64 × 48, 8 heads.
    attention = recipe.filled(recipe.Attention(16, 768, heads=8, dim_head=2, processor=AttnProcessor()), 0)
    context = normal(1, *lab.checkpoint_context()["shape"])
    sizes = []
    scores = attention.get_attention_scores
    attention.get_attention_scores = lambda q, k, m: sizes.append((q.shape[1], k.shape[1])) or scores(q, k, m)
    attention(normal(2, 2, 64 * 48, 16), encoder_hidden_states=context)
    maps = lab.checkpoint_maps()
    assert sizes == [maps["cross"][2:]] and maps["self"] == (2, 8, 64 * 48, 64 * 48)


def test_the_predicted_skips():
    # Four levels of two ResNets, Stable Diffusion's widths divided by 10.
    model = recipe.UNet2DModel(
        block_out_channels=(32, 64, 128, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        add_attention=False,
    )
    kept = 1 + sum(len(block.resnets) + len(block.downsamplers or []) for block in model.down_blocks)
    widths = [block.resnets[i].in_channels * 10 for block, i in ((model.up_blocks[0], 0), (model.up_blocks[-1], -1))]
    assert lab.checkpoint_skips() == {"skips": kept, "first": widths[0], "last": widths[1]}


def test_the_predicted_first_step():
    # Modulation at zero, everything else filled: who has a gradient?
    w = {"w": torch.zeros(24, 4, requires_grad=True), "b": torch.zeros(24, requires_grad=True)}
    attention, mlp = normal(0, 4, 4).requires_grad_(), normal(1, 4, 4).requires_grad_()
    x, target = normal(2, 2, 3, 4), normal(3, 2, 3, 4)
    y = lab.adaln_zero_block(x, normal(4, 2, 4), w, lambda h: h @ attention, lambda h: (h @ mlp).relu())
    assert torch.equal(y, x)
    ((y - target) ** 2).mean().backward()
    moved = {"modulation": w["w"], "attention": attention, "mlp": mlp}
    assert tuple(name for name, leaf in moved.items() if leaf.grad.abs().max() > 0) == lab.checkpoint_first_step()


# timestep_embedding


@pytest.mark.parametrize("case", recipe.EMBEDDINGS)
def test_the_embedding_equals_diffusers(case):
    golden, (_, dim, flip, shift) = witness.case("lab07", f"embedding_{case}"), recipe.EMBEDDINGS[case]
    torch.testing.assert_close(
        lab.timestep_embedding(golden["t"], dim, flip, shift), golden["embedding"], atol=2e-4, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.float64])
def test_the_embedding_of_any_dtype_is_float32(dtype):
    t = torch.tensor([0, 3, 500], dtype=dtype)
    found = lab.timestep_embedding(t, 8, True, 0.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, get_timestep_embedding(t, 8, True, 0.0), **CLOSE)


def test_the_embedding_by_hand():
    # dim 4, shift 0: ω = 1, 1/100. dim 4, shift 1: ω = 1, 1/10000.
    t = torch.tensor([2.0])
    found = lab.timestep_embedding(t, 4, False, 0.0)
    assert found[0].tolist() == pytest.approx([math.sin(2), math.sin(0.02), math.cos(2), math.cos(0.02)], abs=1e-6)
    assert lab.timestep_embedding(t, 4, True, 1.0)[0, 1].item() == pytest.approx(math.cos(0.0002), abs=1e-6)


def test_two_embeddings_know_their_distance():
    # e(t)·e(t + k) depends on k alone.
    products = [
        (a * b).sum()
        for a, b in (lab.timestep_embedding(torch.tensor([t, t + 7.0]), 64, True, 0.0) for t in (0.0, 31.0, 400.0))
    ]
    torch.testing.assert_close(torch.stack(products), products[0].expand(3), atol=1e-3, rtol=0)


# cross_attention


@pytest.mark.parametrize("case", recipe.CROSSES)
def test_cross_attention_equals_diffusers(case):
    golden, heads = witness.case("lab07", f"cross_{case}"), recipe.CROSSES[case][5]
    w = {name: golden[name] for name in ("q", "k", "v", "o", "ob")}
    found = lab.cross_attention(golden["x"], golden["ctx"], w, heads, golden.get("mask"))
    torch.testing.assert_close(found, golden["y"], **CLOSE)


def test_tokens_have_no_order_and_masked_ones_no_effect():
    attention, x, ctx, mask = recipe.cross("masked")
    w, order = recipe.cross_weights(attention), torch.tensor([3, 0, 5, 1, 4, 2])
    found = lab.cross_attention(x, ctx, w, 3, mask)
    torch.testing.assert_close(lab.cross_attention(x, ctx[:, order], w, 3, mask[:, order]), found, **CLOSE)
    louder = ctx.masked_fill(~mask[:, :, None], 100.0)
    torch.testing.assert_close(lab.cross_attention(x, louder, w, 3, mask), found, **CLOSE)


def test_one_token_is_its_value():
    attention, x, ctx, _ = recipe.cross("cross")
    w = recipe.cross_weights(attention)
    found = lab.cross_attention(x, ctx[:, :1], w, 2)
    torch.testing.assert_close(found, (ctx[:, :1] @ w["v"].T @ w["o"].T + w["ob"]).expand_as(found), **CLOSE)


# patchify, unpatchify


def test_patchify_feeds_patch_embeds_convolution():
    golden = witness.case("lab07", "patchify")
    tokens = lab.patchify(golden["x"], 2) @ golden["weight"].flatten(1).T + golden["bias"]
    torch.testing.assert_close(tokens, golden["tokens"], **CLOSE)
    assert torch.equal(lab.patchify(golden["x"], 2), torch.nn.functional.unfold(golden["x"], 2, stride=2).mT)


def test_unpatchify_equals_stable_diffusion_3():
    golden = witness.case("lab07", "unpatchify")
    assert torch.equal(lab.unpatchify(golden["tokens"], 2, 3, 2), golden["output"])


def test_the_two_are_no_inverse_pair_but_for_one_channel():
    x = normal(0, 2, 3, 4, 6)
    tokens = lab.patchify(x, 2)
    assert not torch.equal(lab.unpatchify(tokens, 2, 3, 2), x)
    rearranged = tokens.unflatten(2, (3, 2, 2)).permute(0, 1, 3, 4, 2).flatten(2)
    assert torch.equal(lab.unpatchify(rearranged, 2, 3, 2), x)
    assert torch.equal(lab.unpatchify(lab.patchify(x[:, :1], 2), 2, 3, 2), x[:, :1])


def test_patches_that_do_not_divide():
    with pytest.raises(ValueError, match="patches of 2 do not divide 4×5"):
        lab.patchify(torch.zeros(1, 1, 4, 5), 2)


# adaln_zero_block


def test_the_block_equals_diffusers():
    golden, (block, x, given) = witness.case("lab07", "adaln"), recipe.dit_block()
    w = {"w": block.norm1.linear.weight, "b": block.norm1.linear.bias}
    found = lab.adaln_zero_block(golden["x"], golden["c"], w, block.attn1, block.ff)
    torch.testing.assert_close(found, golden["y"], **CLOSE)
    assert (x == golden["x"]).all() and given["timestep"].shape == (3,)


# sincos_2d


@pytest.mark.parametrize("case", recipe.POSITIONS)
def test_positions_equal_diffusers(case):
    golden, (dim, height, width, base, scale) = witness.case("lab07", f"sincos_{case}"), recipe.POSITIONS[case]
    torch.testing.assert_close(lab.sincos_2d(dim, height, width, base, scale), golden["embedding"], atol=1e-5, rtol=0)


def test_positions_by_hand():
    # dim 4: one frequency, ω = 1. Token 4 of a grid of 2 × 3 is row 1, column 1; base 2: x = 2/3, y = 1.
    found = lab.sincos_2d(4, 2, 3, 2, 1.0)[4].tolist()
    assert found == pytest.approx([math.sin(2 / 3), math.cos(2 / 3), math.sin(1), math.cos(1)], abs=1e-6)
    with pytest.raises(ValueError, match="6 channels"):
        lab.sincos_2d(6, 2, 3, 2, 1.0)


def test_diffusers_still_puts_the_column_first():
    # page.md says so.
    table = get_2d_sincos_pos_embed(8, (2, 5), base_size=2)
    assert torch.equal(table[0, :4], table[5, :4]) and not torch.equal(table[0, 4:], table[5, 4:])


# rope_axial


@pytest.mark.parametrize("case", recipe.ROTATIONS)
def test_rotation_equals_flux(case):
    golden, (_, _, _, axes, theta, _) = witness.case("lab07", f"rope_{case}"), recipe.ROTATIONS[case]
    torch.testing.assert_close(lab.rope_axial(golden["x"], golden["ids"], axes, theta), golden["turned"], **CLOSE)


def test_rotation_by_hand():
    # One axis of 2 channels: the angle is the id. (1, 0) at id π/2 becomes (0, 1).
    found = lab.rope_axial(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[math.pi / 2]]), (2,))
    assert found.flatten().tolist() == pytest.approx([0, 1], abs=1e-6)


def test_scores_depend_on_distances_alone():
    q, k, ids = normal(0, 1, 2, 5, 12), normal(1, 1, 2, 5, 12), torch.randint(0, 9, (5, 2), generator=seeded(2)).float()
    scores = [
        lab.rope_axial(q, ids + by, (4, 8)) @ lab.rope_axial(k, ids + by, (4, 8)).mT
        for by in (torch.zeros(2), torch.tensor([3.0, 40.0]))
    ]
    torch.testing.assert_close(*scores, atol=1e-5, rtol=1e-5)


# joint_attention


@pytest.mark.parametrize("case", recipe.JOINTS)
def test_joint_attention_equals_stable_diffusion_3(case):
    golden, (attention, _, _) = witness.case("lab07", f"joint_{case}"), recipe.joint(case)
    found = lab.joint_attention(golden["x"], golden["c"], recipe.joint_weights(attention), recipe.JOINTS[case][5])
    torch.testing.assert_close(found["x"], golden["image"], **CLOSE)
    torch.testing.assert_close(found["c"], golden["text"], **CLOSE)


def test_a_masked_token_is_a_token_less():
    # diffusers' processor takes no mask, so it is asked without the tokens.
    attention, x, c = recipe.joint("mmdit")
    mask = torch.tensor([[True, True, False, False]] * 2)
    found = lab.joint_attention(x, c, recipe.joint_weights(attention), 2, mask)
    image, text = attention(x, encoder_hidden_states=c[:, :2])
    torch.testing.assert_close(found["x"], image, **CLOSE)
    torch.testing.assert_close(found["c"][:, :2], text, **CLOSE)


# attention_cost


@pytest.mark.parametrize("case", recipe.COSTS)
def test_the_bill_equals_what_torch_counts(case):
    golden, (batch, n, heads, width) = witness.case("lab07", f"cost_{case}"), recipe.COSTS[case]
    # n tokens: n − 3 patches in one row, and three of text.
    found = lab.attention_cost(16, 16 * (n - 3), 8, 2, heads * width, heads, 3, 4, batch)
    assert found == {"tokens": n, **{key: value.item() for key, value in golden.items()}}


def test_the_bill_of_stable_diffusion_3_by_hand():
    # 1024 px: 64·64 patches and 154 tokens; 24 heads of 64; half precision, one picture with guidance.
    found = lab.attention_cost(1024, 1024, 8, 2, 1536, 24, 154, 2, 2)
    assert found["tokens"] == 4250
    assert found["score_bytes"] == 2 * 24 * 4250**2 * 2
    assert found["attn_flops"] == 2 * 2 * 2 * 4250**2 * 1536


# resnet_block


@pytest.mark.parametrize("case", recipe.BLOCKS)
def test_the_resnet_equals_diffusers(case):
    golden = witness.case("lab07", f"resnet_{case}")
    _, _, _, _, groups, eps, modulated, output_scale = recipe.BLOCKS[case]
    weights = {key: value for key, value in golden.items() if "." in key}
    found = lab.resnet_block(golden["x"], golden["temb"], weights, modulated, groups, eps, output_scale)
    torch.testing.assert_close(found, golden["y"], **CLOSE)


# unet_forward


@pytest.mark.parametrize("case", recipe.UNETS)
def test_the_whole_unet_equals_diffusers(case):
    golden, model = witness.case("lab07", f"unet_{case}"), recipe.unet(case)
    _, timesteps = recipe.unet_inputs(case)
    found = lab.unet_forward(golden["sample"], recipe.unet_time(model, timesteps), recipe.unet_blocks(model))
    torch.testing.assert_close(found, golden["prediction"], **WHOLE)


# two_backbones


class Stepper:
    """A scheduler of diffusers behind the lab's `step`."""

    def __init__(self, scheduler, steps):
        scheduler.set_timesteps(steps)
        self.scheduler = scheduler

    def step(self, prediction, t, sample):
        return self.scheduler.step(prediction, t, sample).prev_sample


@pytest.mark.parametrize("case", recipe.schedulers())
def test_both_backbones_end_where_diffusers_pipelines_do(case):
    model, transformer, make = recipe.pipeline_unet(), recipe.tiny_dit(), recipe.schedulers()[case]
    scheduler = make()
    scheduler.set_timesteps(3)
    sample = torch.randn(2, 3, 8, 8, generator=seeded(28))
    ends = lab.two_backbones(
        sample,
        scheduler.timesteps,
        torch.tensor([4, 9]),
        lambda tokens: tokens,
        lambda x, t, context: model(x, t).sample,
        lambda x, t, context: transformer(x, timestep=t, class_labels=context).sample,
        lambda: Stepper(make(), 3),
    )
    seen = {name: (end / 2 + 0.5).clamp(0, 1) for name, end in ends.items()}
    torch.testing.assert_close(seen["dit"], witness.case("lab07", f"dit_{case}")["end"], **WHOLE)


def test_the_unet_ends_where_diffusers_pipeline_does():
    model, (make, _) = recipe.pipeline_unet(), recipe.schedulers().values()
    scheduler = make()
    scheduler.set_timesteps(3)
    ends = lab.two_backbones(
        torch.randn(2, 3, 8, 8, generator=seeded(29)),
        scheduler.timesteps,
        torch.tensor([0]),
        lambda tokens: tokens,
        lambda x, t, context: model(x, t).sample,
        lambda x, t, context: torch.cat([x, x], dim=1),
        lambda: Stepper(make(), 3),
    )
    seen = (ends["unet"] / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(seen, witness.case("lab07", "unet_ddim")["end"], **WHOLE)


def test_one_loop_draws_what_is_asked_with_the_trained_unet_and_the_trained_dit():
    asked = [("red", "circle"), ("green", "triangle"), ("blue", "ring"), ("yellow", "square")]
    drawn = witness.scenarios("lab07").drawn_by_both(
        lab,
        stack=minisd.load(),
        config=minisd.config("dit"),
        weights={name: torch.from_numpy(values) for name, values in minisd.weights("dit").items()},
        prompts=[f"a {colour} {shape}" for colour, shape in asked],
        labels=torch.tensor([minisd.dit_class(colour, shape) for colour, shape in asked]),
        noise=torch.randn(4, 4, 8, 8, generator=seeded(37)),  # as in the report's picture
        guidance_scale=3.0,
        steps=12,
    )
    for name in ("unet", "dit"):
        read = minisd.load_judge().read(drawn[name])
        assert [(COLOUR_NAMES[c], SHAPES[s]) for c, s in zip(read["colour_0"], read["shape_0"], strict=True)] == asked
