"""Lab 09's reference against diffusers: recorded always, the pipeline live with transformers; identities, hand sums."""

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from fixtures import minisd
from tests.labs import witness

# diffusers' schedulers hand torch tensors to numpy in a way that numpy 2 deprecates; transformers has news of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers.*"),
]

lab, scenarios, recipe = witness.reference("lab09"), witness.scenarios("lab09"), witness.recipe("lab09")
normal = witness.normal

# From lab.toml: what moves between machines is a third of it.
MODEL, LOOP = {"atol": 5e-5, "rtol": 1e-4}, {"atol": 2e-4, "rtol": 1e-3}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def places(said):
    """Return recorded residuals as the reference's answer has them."""
    down = [said[f"down_{place}"] for place in range(len(said) - 1)]
    return {"down": down, "mid": said["mid"]}


# The recording.


@pytest.mark.parametrize("name", recipe.BRANCHES)
def test_residuals_are_those_of_a_real_controlnet(name):
    given, live = recipe.branch(name)
    answer = lab.control_residuals(**given)
    torch.testing.assert_close(answer, places(live), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(answer, places(witness.case("lab09", f"residuals_{name}")), **MODEL)


@pytest.mark.parametrize("name", recipe.UNETS)
def test_the_forward_pass_is_the_library_s_to_the_bit(name):
    (answer,) = scenarios.controlled(lab, **recipe.unet_inputs(name))
    assert torch.equal(answer, recipe.unet_says(name))
    torch.testing.assert_close(answer, witness.case("lab09", f"unet_{name}")["prediction"], **MODEL)


@pytest.mark.parametrize("name", recipe.JOINED)
def test_joint_residuals_are_those_of_multicontrolnet(name):
    with torch.no_grad():
        answer = lab.multi_control(**recipe.joined_inputs(name))
    torch.testing.assert_close(answer, places(recipe.joined_says(name)), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(answer, places(witness.case("lab09", f"joined_{name}")), **MODEL)


@pytest.mark.parametrize("name", recipe.LOOPS)
def test_the_loop_is_the_recorded_pipeline_s(name):
    outcome, kept = recipe.run(name, lab), witness.case("lab09", f"loop_{name}")
    torch.testing.assert_close(outcome["latents"], kept["latents"], **LOOP)
    assert torch.equal(outcome["calls"], kept["calls"])


@pytest.mark.oracle
@pytest.mark.parametrize("name", recipe.LOOPS)
def test_the_loop_is_the_live_pipeline_s(name):
    pytest.importorskip("transformers", reason="StableDiffusionControlNetPipeline needs it: install the oracle extra")
    outcome, live = recipe.run(name, lab), recipe.run(name, recipe.LibraryPipeline())
    torch.testing.assert_close(outcome["latents"], live["latents"], atol=1e-6, rtol=1e-6)
    assert torch.equal(outcome["calls"], live["calls"])


@pytest.mark.parametrize("place", range(len(recipe.WINDOWS)))
def test_the_window_is_what_the_pipeline_told_its_controlnet(place):
    recorded = witness.case("lab09", f"window_{place}")["scales"].tolist()
    assert lab.control_window(*recipe.WINDOWS[place]) == recorded


@pytest.mark.parametrize("name", recipe.ATTENTIONS)
def test_attention_is_that_of_the_ip_adapter_s_processor(name):
    answer = lab.ip_adapter_attention(**recipe.attention_inputs(name))
    torch.testing.assert_close(answer, recipe.attention_says(name), atol=5e-6, rtol=1e-5)
    torch.testing.assert_close(answer, witness.case("lab09", f"attention_{name}")["y"], atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("name", recipe.IMAGES)
def test_a_control_image_is_what_the_image_processor_makes(name):
    answer = lab.control_image(*recipe.image_inputs(name))
    torch.testing.assert_close(answer, recipe.image_says(name), atol=1e-6, rtol=0)
    torch.testing.assert_close(answer, witness.case("lab09", f"image_{name}")["image"], atol=1e-6, rtol=0)


# The predictions, measured.


def stable_diffusion_encoder():
    """Return a ControlNet with Stable Diffusion 1.5's levels, on the meta device: shapes, and no numbers."""
    with torch.device("meta"):
        return ControlNetModel(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768)


def test_prediction_of_the_residuals():
    net = stable_diffusion_encoder()
    with torch.device("meta"):
        given = torch.empty(2, 4, 96, 64), torch.tensor(1), torch.empty(2, 77, 768), torch.empty(2, 3, 768, 512)
        down, mid = net(*given, return_dict=False)
    said = lab.checkpoint_residuals()
    assert said == {"down": len(down), "first": tuple(down[0].shape), "mid": tuple(mid.shape)}


def test_prediction_of_the_places():
    found = {}
    for strength in (0.0, 1.0):
        given = recipe.unet_inputs("two_levels")
        unet = scenarios.build_unet(4, 8, given["widths"], given["layers"])
        seen = {"encoder": [], "skips": [], "mid input": [], "mid output": [], "decoder": []}
        for block in unet.down_blocks:
            block.register_forward_hook(lambda _, __, out, seen=seen: seen["encoder"].append(out[0]))
        unet.mid_block.register_forward_pre_hook(lambda _, args, seen=seen: seen["mid input"].append(args[0]))
        for block in unet.up_blocks:

            def note(_, args, kwargs, out, seen=seen):
                seen["skips"].extend(kwargs["res_hidden_states_tuple"])
                seen["decoder"].append(out)
                if len(seen["decoder"]) == 1:
                    seen["mid output"].append(kwargs["hidden_states"])

            block.register_forward_hook(note, with_kwargs=True)
        with torch.no_grad():
            unet(
                given["x"],
                given["t"],
                given["ctx"],
                down_block_additional_residuals=[strength * one for one in given["down_res"]],
                mid_block_additional_residual=strength * given["mid_res"],
            )
        found[strength] = seen
    changed = [
        name
        for name, before in found[0.0].items()
        if not all(torch.equal(a, b) for a, b in zip(before, found[1.0][name], strict=True))
    ]
    assert tuple(changed) == lab.checkpoint_places()


def test_prediction_of_the_evaluations():
    """The recording of a window: the pipeline asks its ControlNet in every step, and half of the answers count."""
    calls = witness.case("lab09", "loop_window")["calls"]
    assert calls[:, 1].tolist() == [0, 1, 1, 0]
    assert calls[:, 0].tolist() == [2, 2, 2, 2]
    assert witness.case("lab09", "loop_euler_guess")["calls"][:, 0].tolist() == [2, 2, 2]  # of 2 pictures, guided
    said = lab.checkpoint_evaluations()
    assert said == {
        "unet_rows": 20 * 2,
        "control_calls": 20,
        "control_rows": 20,
        "controlled_steps": sum(lab.control_window(20, 0.0, 0.5)),
    }


def test_prediction_of_what_learns():
    with torch.random.fork_rng(devices=[]):
        net = ControlNetModel(
            conditioning_embedding_out_channels=(4, 8),
            block_out_channels=(8,),
            down_block_types=("CrossAttnDownBlock2D",),
            norm_num_groups=4,
            cross_attention_dim=8,
            attention_head_dim=4,
        )
        # The hint's last convolution begins at zero as well; filled, it cannot be the reason.
        net.controlnet_cond_embedding.conv_out.reset_parameters()
    unet = scenarios.build_unet(4, 8, layers=2)
    given = normal(0, 1, 4, 4, 4), 500, normal(1, 1, 5, 8)
    down, mid = net(*given, normal(2, 1, 3, 8, 8), return_dict=False)
    answer = unet(*given, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
    (answer - normal(3, 1, 4, 4, 4)).square().mean().backward()
    groups = {"weight": [], "bias": [], "branch": [], "hint": []}
    for name, parameter in net.named_parameters():
        zero_conv = name.startswith(("controlnet_down_blocks", "controlnet_mid_block"))
        hint = name.startswith("controlnet_cond_embedding")
        group = name.rsplit(".", 1)[1] if zero_conv else "hint" if hint else "branch"
        groups[group].append(parameter.grad is not None and bool(parameter.grad.any()))
    assert tuple(name for name, moved in groups.items() if any(moved)) == lab.checkpoint_zero_conv()
    assert all(groups["weight"]) and all(groups["bias"])


def test_prediction_of_the_strength():
    given, _ = recipe.branch("plain")
    one, two, none = (lab.control_residuals(**{**given, "scale": scale})["mid"] for scale in (1.0, 2.0, 0.0))
    assert lab.checkpoint_strength()["norm"] == pytest.approx(4.0 * float(two.norm() / one.norm()))
    assert not none.any()


# Identities and sums by hand.


def test_one_residual_by_hand():
    conv = (torch.full((1, 1, 1, 1), 2.0), torch.ones(1))
    h = torch.full((1, 1, 1, 1), 3.0)
    answer = lab.control_residuals([h], h, [conv], conv, 0.5, False)
    assert float(answer["down"][0]) == float(answer["mid"]) == 3.5


def test_a_fresh_controlnet_changes_nothing():
    given, _ = recipe.branch("guess")
    fresh = [(torch.zeros_like(weight), torch.zeros_like(bias)) for weight, bias in given["zero_convs"]]
    answer = lab.control_residuals(**{**given, "zero_convs": fresh})
    assert not any(residual.any() for residual in answer["down"])


def test_residuals_of_zero_are_the_plain_unet():
    given = recipe.unet_inputs("uneven")
    unet = scenarios.build_unet(4, 8, given["widths"], given["layers"])
    zeros = [torch.zeros_like(one) for one in given["down_res"]]
    (answer,) = scenarios.controlled(lab, **{**given, "down_res": zeros, "mid_res": torch.zeros_like(given["mid_res"])})
    with torch.no_grad():
        assert torch.equal(answer, unet(given["x"], given["t"], given["ctx"]).sample)


def test_the_library_adds_the_mid_residual_after_the_mid_block():
    """A mid block that answers zeros: all that is left of its output is the residual."""
    given = recipe.unet_inputs("one_level")
    unet = scenarios.build_unet(3, 8, given["widths"], given["layers"])
    seen = []
    unet.mid_block.register_forward_hook(lambda _, __, out: torch.zeros_like(out))
    unet.up_blocks[0].register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        unet(
            given["x"],
            given["t"],
            given["ctx"],
            down_block_additional_residuals=given["down_res"],
            mid_block_additional_residual=given["mid_res"],
        )
    assert torch.equal(seen[0], given["mid_res"])


class Calls:
    """A submission that leaves the forward pass to the library."""

    def __init__(self, forward):
        self.forward = forward

    def unet_with_control(self, unet, x, t, ctx, down_res, mid_res):
        return self.forward(unet, x, t, ctx).sample


KEPT = UNet2DConditionModel.forward


@pytest.mark.parametrize("forward", [lambda unet, *given: unet(*given), KEPT], ids=["called", "kept from before"])
def test_the_fence_stands_while_the_student_s_code_runs_and_falls_after_it(forward):
    with pytest.raises(scenarios.TheTaskItself, match="what the task asks you to write"):
        scenarios.controlled(Calls(forward), **recipe.unet_inputs("one_level"))
    assert UNet2DConditionModel.forward is KEPT


def test_a_window_by_hand():
    assert lab.control_window(4, 0.2, 0.75) == [0.0, 1.0, 1.0, 0.0]
    for start, end in ((0.5, 0.5), (0.7, 0.2), (-0.1, 1.0), (0.0, 1.1)):
        with pytest.raises(ValueError, match="no window"):
            lab.control_window(4, start, end)


def test_the_order_of_nets_is_free():
    given = recipe.joined_inputs("two")
    turned = {**given, **{name: given[name][::-1] for name in ("nets", "hints", "scales")}}
    with torch.no_grad():
        torch.testing.assert_close(lab.multi_control(**given), lab.multi_control(**turned))


def test_a_loop_at_scale_zero_is_a_loop_without_control():
    given = recipe.loop_inputs("euler_guess")
    silent = scenarios.sample(lab, **{**given, "scale": 0.0})
    outside = scenarios.sample(lab, **{**given, "start": 0.4, "end": 0.5})
    assert torch.equal(silent, outside)
    assert not torch.allclose(silent, scenarios.sample(lab, **given), **LOOP)


def test_a_sample_does_not_depend_on_its_batch():
    given = recipe.loop_inputs("dpm_late")
    one = scenarios.sample(lab, **given)
    doubled = {name: torch.cat([given[name]] * 2) for name in ("noise", "cond", "uncond", "hint")}
    torch.testing.assert_close(scenarios.sample(lab, **{**given, **doubled}), torch.cat([one, one]), **LOOP)


def test_attention_with_single_tokens_by_hand():
    w = {name: torch.ones(1, 1) for name in ("q", "k", "v", "ik", "iv", "o")} | {"ob": torch.zeros(1)}
    x, txt, img = normal(0, 1, 1, 1), torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), 4.0)
    assert float(lab.ip_adapter_attention(x, txt, img, w, 1, 0.5)) == 4.0


def test_attention_is_linear_in_the_scale():
    given = recipe.attention_inputs("both")
    at = {scale: lab.ip_adapter_attention(**{**given, "scale": scale}) for scale in (0.0, 1.0, 2.0)}
    torch.testing.assert_close(at[2.0] - at[1.0], at[1.0] - at[0.0], atol=1e-5, rtol=1e-5)


def test_each_picture_hangs_on_its_own_reference_alone():
    given = recipe.attention_inputs("both")
    moved = given["img"].clone()
    moved[1] += 1.0
    before, after = (lab.ip_adapter_attention(**{**given, "img": img}) for img in (given["img"], moved))
    changed = (before != after).flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False]


def test_overhead_of_the_miniature_stack():
    """Parameters and FLOPs counted by torch: the ControlNet is half of its UNet, and so is its work."""
    stack, control = minisd.load(), minisd.load_controlnet()
    x, ctx, hint = torch.zeros(1, 4, 8, 8), torch.zeros(1, 8, 64), torch.zeros(1, 3, 32, 32)
    counts = {}
    for name, net, given in (("unet", stack.unet, (x, 1, ctx)), ("control", control, (x, 1, ctx, hint))):
        backend = torch.nn.attention.SDPBackend.MATH  # torch counts nothing for its fused kernel on the CPU
        with torch.nn.attention.sdpa_kernel(backend), FlopCounterMode(display=False) as counter:
            net(*given)
        counts[name] = {
            "params": sum(parameter.numel() for parameter in net.parameters()),
            "flops": counter.get_total_flops(),
        }
    assert counts == {
        "unet": {"params": 2380516, "flops": 113405952},
        "control": {"params": 1177168, "flops": 60358656},
    }
    answer = lab.control_overhead(counts["unet"], counts["control"], 20, (0.0, 0.5), True, True, 2)
    assert answer["extra_bytes"] == 2 * 1177168 and answer["controlled_steps"] == 10
    assert 1.2 < answer["slowdown"] < 1.3


def test_a_mask_marks_and_nothing_else_leaves_the_range():
    u8 = torch.randint(0, 256, (2, 9, 6, 3), generator=witness.seeded(0), dtype=torch.uint8)
    mask = torch.zeros(2, 9, 6, dtype=torch.bool)
    mask[1, 2:5, 1:4] = True
    image = lab.control_image(u8, (6, 12), mask)
    marked = (image == -1.0).all(dim=1)
    assert marked.any() and not marked[0].any()
    assert (image.movedim(1, -1)[~marked] >= 0).all() and image.max() <= 1


def test_levels_by_hand():
    u8 = torch.tensor([[0, 51, 255, 7]], dtype=torch.uint8).reshape(1, 1, 4)
    image = lab.control_image(u8, (1, 2))
    torch.testing.assert_close(image[0, :, 0], torch.tensor([[0.0, 1.0]]).expand(3, 2))


def test_the_harness_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    scenarios.build_unet(4, 8)
    scenarios.build_controlnet(4, 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_layer_of_the_harness_models_is_left_at_zero():
    for model in (scenarios.build_unet(4, 8, (8, 12)), scenarios.build_controlnet(4, 8, (8, 12))):
        assert all(float(parameter.detach().abs().min()) > 0 for parameter in model.parameters())
