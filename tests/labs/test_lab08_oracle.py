"""Lab 08's reference against PEFT and diffusers: what they answered is recorded, and asked anew where PEFT is there."""

import math

import pytest
import torch

from tests.labs import witness
from tests.labs.witness import case, normal, seeded

reference, scenarios, recipe = witness.reference("lab08"), witness.scenarios("lab08"), witness.recipe("lab08")

# PEFT says so of every second adapter.
pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")

close = torch.testing.assert_close


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Recorded


@pytest.mark.parametrize("name", recipe.LINEARS)
def test_a_layer_is_pefts(name):
    given, (_, _, _, alpha, _) = case("lab08", f"linear_{name}"), recipe.LINEARS[name]
    x, W, A, B = (given[key] for key in ("x", "W", "A", "B"))
    close(reference.lora_linear(x, W, given.get("b"), A, B, alpha), given["h"])


@pytest.mark.parametrize("name", recipe.WEIGHTS)
def test_merging_is_pefts(name):
    given, (_, _, alpha, dtype) = case("lab08", f"merge_{name}"), recipe.WEIGHTS[name]
    # PEFT rounds the change to bfloat16, and then the sum.
    near = {"atol": 3e-2, "rtol": 1.6e-2} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    adapter = given["A"], given["B"], alpha
    close(reference.merge(given["W"], *adapter), given["merged"], **near)
    close(reference.unmerge(given["merged"], *adapter), given["unmerged"], **near)


@pytest.mark.parametrize("name", recipe.MIXTURES)
def test_several_adapters_are_pefts(name):
    given, (_, _, ranks, weights) = case("lab08", f"mixture_{name}"), recipe.MIXTURES[name]
    adapters = [(given[f"A{i}"], given[f"B{i}"], alpha) for i, (_, alpha) in enumerate(ranks)]
    close(reference.combine_adapters(given["x"], given["W"], adapters, list(weights)), given["h"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", recipe.DORAS)
def test_dora_and_its_gradients_are_pefts(name):
    given, (_, _, _, alpha, _, rs) = case("lab08", f"dora_{name}"), recipe.DORAS[name]
    learn = {key: given[key].clone().requires_grad_() for key in ("A", "B", "m")}
    h = reference.dora_linear(given["x"], given["W"], given.get("b"), **learn, alpha=alpha, rs=rs)
    close(h, given["h"], atol=1e-5, rtol=1e-5)
    found = torch.autograd.grad((h * given["weight"]).sum(), list(learn.values()))
    for key, gradient in zip(learn, found, strict=True):
        close(gradient, given[f"of_{key}"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", recipe.INJECTIONS)
def test_an_injected_model_is_pefts(name):
    given, (_, targets, rank, alpha, filled) = case("lab08", f"inject_{name}"), recipe.INJECTIONS[name]
    made = recipe.inputs(name)
    weight, lr = made.pop("weight"), made.pop("lr")
    adapter = {"targets": targets, "rank": rank, "alpha": alpha}
    close(
        scenarios.as_injected(reference, **made, **adapter, filled=filled).detach(),
        given["at_once"],
        atol=1e-5,
        rtol=1e-5,
    )
    after = scenarios.after_training(reference, **made, **adapter, weight=weight, steps=1, lr=lr, filled=filled)
    close(after, given["after_a_step"], atol=2e-5, rtol=2e-5)
    said = scenarios.said(reference, model=made["model"], **adapter, seed=0)
    assert said["learning"] == int(given["learning"])
    assert [len(said["names"]), *map(len, said["names"])] == given["wrapped"].tolist()


@pytest.mark.parametrize("name", recipe.FILES)
def test_a_kohya_file_is_read_as_diffusers_reads_it(name):
    given = case("lab08", f"kohya_{name}")
    answer = reference.convert_kohya(recipe.file(name), [*recipe.FILES[name], "conv_in", "mid_block"])
    assert answer["weights"].keys() == {key for key in given if key.endswith(".weight")}
    for key, value in answer["weights"].items():
        assert torch.equal(value, given[key])
    for module, (_, _, r, alpha) in recipe.FILES[name].items():
        # diffusers names an α where the file has one; without, PEFT is told the rank.
        key = f"unet.{module}.alpha"
        assert answer["alphas"][key] == (float(given[key]) if key in given else r)
        assert (key in given) == (alpha is not None)


# Identities


def test_a_fresh_adapter_changes_nothing_and_learns():
    x, W, b = normal(0, 3, 6), normal(1, 5, 6), normal(2, 5)
    A, B = reference.lora_init(6, 5, 4, seeded(3))
    A, B = A.requires_grad_(), B.requires_grad_()
    h = reference.lora_linear(x, W, b, A, B, 8.0)
    close(h, torch.nn.functional.linear(x, W, b))
    of_A, of_B = torch.autograd.grad(h.square().sum(), [A, B])
    assert not of_A.any()
    assert of_B.abs().min() > 0


def test_the_start_of_a_is_pefts_distribution():
    A, _ = reference.lora_init(400, 3, 50, seeded(0))
    kaiming = torch.nn.init.kaiming_uniform_(torch.empty(50, 400), a=math.sqrt(5), generator=seeded(0))
    close(A, kaiming)
    assert 0.999 / 20 < A.abs().max() <= 1 / 20


def test_merged_and_unmerged_layers_answer_alike():
    x, W, A, B = normal(0, 3, 6), normal(1, 5, 6), normal(2, 2, 6), normal(3, 5, 2)
    close(x @ reference.merge(W, A, B, 7.0).T, reference.lora_linear(x, W, None, A, B, 7.0), atol=1e-5, rtol=1e-5)
    close(reference.unmerge(reference.merge(W, A, B, 7.0), A, B, 7.0), W)


def test_a_merged_convolution_is_two_convolutions_in_a_row():
    x, W = normal(0, 2, 4, 9, 8), normal(1, 5, 4, 3, 2)
    A, B = normal(2, 3, 4, 3, 2), normal(3, 5, 3, 1, 1)
    conv = torch.nn.functional.conv2d
    both = conv(x, W) + 6.0 / 3 * conv(conv(x, A), B)
    close(conv(x, reference.merge(W, A, B, 6.0)), both, atol=1e-4, rtol=1e-4)


def test_one_adapter_of_weight_1_is_the_layer():
    x, W, A, B = normal(0, 3, 6), normal(1, 5, 6), normal(2, 2, 6), normal(3, 5, 2)
    close(reference.combine_adapters(x, W, [(A, B, 7.0)], [1.0]), reference.lora_linear(x, W, None, A, B, 7.0))
    close(reference.combine_adapters(x, W, [(A, B, None)], [1.0]), reference.lora_linear(x, W, None, A, B, 2.0))


def test_dora_with_the_norms_as_magnitudes_is_lora():
    x, W, b = normal(0, 3, 6), normal(1, 5, 6), normal(2, 5)
    A, B = normal(3, 2, 6), normal(4, 5, 2)
    norms = reference.merge(W, A, B, 7.0).norm(dim=1)
    close(
        reference.dora_linear(x, W, b, A, B, norms, 7.0, False),
        reference.lora_linear(x, W, b, A, B, 7.0),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_fresh_dora_is_the_layer():
    x, W, A = normal(0, 3, 6), normal(1, 5, 6), normal(2, 2, 6)
    close(reference.dora_linear(x, W, None, A, torch.zeros(5, 2), W.norm(dim=1), 7.0, True), x @ W.T)


def test_a_fused_adapter_has_a_third_of_the_strength():
    """Three adapters as one of three times the rank, α left as it was: what `checkpoint_strength` asks."""
    x, W = normal(0, 3, 6), torch.zeros(15, 6)
    A, B = [normal(i, 8, 6) for i in (1, 2, 3)], [normal(i, 5, 8) for i in (4, 5, 6)]
    apart = torch.cat([reference.lora_linear(x, W[:5], None, a, b, 16.0) for a, b in zip(A, B, strict=True)], dim=1)
    fused = reference.lora_linear(x, W, None, torch.cat(A), torch.block_diag(*B), 16.0)
    close(fused, apart * reference.checkpoint_strength()["fused_qkv"], atol=1e-5, rtol=1e-5)


# By hand: the numbers of the starter.


def test_the_starters_numbers():
    t = torch.tensor
    A, B = t([[3.0], [1.0]]), t([[1.0, 2.0]])
    assert reference.lora_linear(t([1.0]), t([[2.0]]), t([1.0]), A, B, 4.0).item() == pytest.approx(13)
    assert reference.merge(t([[1.0, 1.0]]), t([[1.0, 2.0]]), t([[3.0]]), 2.0).tolist() == [[7, 13]]
    assert reference.unmerge(t([[7.0, 13.0]]), t([[1.0, 2.0]]), t([[3.0]]), 2.0).tolist() == [[1, 1]]
    adapters = [(t([[3.0]]), t([[1.0]]), 2.0), (t([[1.0], [1.0]]), t([[1.0, 1.0]]), 1.0)]
    assert reference.combine_adapters(t([1.0]), t([[2.0]]), adapters, [0.5, -1.0]).item() == pytest.approx(4)
    given = t([[3.0, 0.0]]), t([1.0]), t([[0.0, 2.0]]), t([[1.0]]), t([10.0])
    assert reference.dora_linear(t([1.0, 1.0]), *given, 2.0, False).item() == pytest.approx(15)


def test_the_first_steps_move_what_the_checkpoint_says():
    W, x, target = normal(0, 4, 6), normal(1, 9, 6), normal(2, 9, 4)
    log = scenarios.first_steps(reference, W=W, x=x, target=target, r=2, alpha=4.0, seed=3, steps=2, lr=0.1)
    moved = [tuple(name for name in ("A", "B") if step[name].any()) for step in log]
    assert dict(zip(("first", "second"), moved, strict=True)) == reference.checkpoint_first_step()


def test_the_target_of_the_checkpoint():
    unet = scenarios.pretrained("unet", 8, 12)
    names = reference.inject_lora(unet, ["proj"], 2, 4.0, scenarios.adapters(0))
    (hit,) = reference.checkpoint_targets()
    assert [name.endswith(hit) for name in names] == [True]


# The harness


def test_no_layer_of_the_harness_is_left_at_zero():
    for kind in ("net", "unet"):
        model = scenarios.pretrained(kind, 8, 12)
        assert all(
            float(parameter.detach().abs().min()) > 0 for parameter in model.parameters() if parameter.numel() < 64
        )


def test_each_injection_begins_with_a_model_of_its_own():
    first, second = scenarios.pretrained(), scenarios.pretrained()
    reference.inject_lora(first, ["proj"], 2, 4.0, scenarios.adapters(0))
    assert all(parameter.requires_grad for parameter in second.parameters())
    assert not any("base" in name for name, _ in second.named_modules())
