"""The reference of lab 04 against diffusers' guiders and pipelines, golden tensors, identities, hand calculations."""

import math

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.guiders import AdaptiveProjectedGuidance, ClassifierFreeGuidance
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from diffusers.guiders.guider_utils import rescale_noise_cfg

from tests.labs import witness
from tests.labs.witness import normal

LAB, recipe = witness.reference("lab04"), witness.recipe("lab04")
SHAPES = [(3, 5), (3, 7, 5), (3, 4, 5, 7), (3, 2, 3, 5, 7)]
HALF = [(torch.float16, 8e-3), (torch.bfloat16, 6e-2)]  # the lab's tolerance, absolute and relative


def equal(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)


def test_the_whole_lab_beside_diffusers():
    cond, uncond = normal(0, 3, 4, 5, 7), normal(1, 3, 4, 5, 7)
    table, words = normal(2, 7, 2, 3), recipe.WORDS
    x, cond_emb, uncond_emb = normal(3, 2, 4, 5, 3), normal(4, 2, 6, 4), normal(5, 2, 6, 4)
    t = torch.tensor(400)

    guided = ClassifierFreeGuidance(7.5).forward(cond, uncond).pred
    equal(LAB.cfg(cond, uncond, 7.5), guided)

    original = ClassifierFreeGuidance(6.5, use_original_formulation=True).forward(cond, uncond).pred
    equal(LAB.cfg(cond, uncond, 6.5, use_original_formulation=True), original)

    theirs = recipe.guided_by(ClassifierFreeGuidance(7.5), recipe.toy, x, t, (cond_emb, uncond_emb), 0, 1)
    ours = LAB.guided_prediction(recipe.toy, x, t.expand(2), cond_emb, uncond_emb, 7.5)
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-6)

    theirs = recipe.embeds(table, words, ["cat", "dog", "cow"], ["fog", "rain", "snow"], 2, 7.5)
    equal(LAB.build_cfg_embeds(table[1:4], table[4:7], table[:1], 2, 7.5), theirs)

    theirs = rescale_noise_cfg(guided, cond, 0.7)
    equal(LAB.rescale_guidance(guided, cond, 0.7), theirs)

    theirs, ours = recipe.plan(13, 0.1, 0.65, 7.5), LAB.guidance_plan(13, 0.1, 0.65, 7.5)
    equal(ours["scale"], theirs["scale"])
    assert ours["evaluations"] == theirs["evaluations"]

    scales = torch.tensor([1.0, 7.5, 8.5])
    theirs = recipe.method(recipe.LCM, "get_guidance_scale_embedding")(None, scales - 1, 256)
    equal(LAB.guidance_embedding(scales, 256), theirs)

    buffer, apg = MomentumBuffer(-0.5), LAB.APG(7.5, 0.25, 12.0, -0.5)
    for seed in range(10, 14):
        cond, uncond = normal(seed, 3, 4, 5, 7), normal(seed + 10, 3, 4, 5, 7)
        theirs = normalized_guidance(cond, uncond, 7.5, buffer, eta=0.25, norm_threshold=12.0)
        torch.testing.assert_close(apg(cond, uncond), theirs, atol=2e-5, rtol=2e-5)

    theirs = recipe.run(x, cond_emb, uncond_emb, 8, 0.2, 0.7, 7.5)
    plan = LAB.guidance_plan(8, 0.2, 0.7, 7.5)
    ours = LAB.guided_sample(recipe.toy, recipe.Steps(8), x, cond_emb, uncond_emb, plan)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)


# Recordings


@pytest.mark.parametrize("name", recipe.CFG)
def test_gives_the_golden_guidance(name):
    golden, (_, scale, original) = witness.case("lab04", name), recipe.CFG[name]
    pred = LAB.cfg(golden["cond"], golden["uncond"], scale, original)
    torch.testing.assert_close(pred, golden["pred"], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", recipe.RESCALE)
def test_gives_the_golden_rescaled(name):
    golden, (_, phi) = witness.case("lab04", name), recipe.RESCALE[name]
    pred = LAB.rescale_guidance(golden["guided"], golden["cond"], phi)
    torch.testing.assert_close(pred, golden["pred"], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", recipe.PLANS)
def test_gives_the_golden_plans(name):
    golden, plan = witness.case("lab04", name), LAB.guidance_plan(*recipe.PLANS[name])
    equal(plan["scale"], golden["scale"])
    assert plan["evaluations"] == golden["evaluations"].item()


@pytest.mark.parametrize("name", recipe.EMBEDDINGS)
def test_gives_the_golden_embeddings(name):
    scales, width = recipe.EMBEDDINGS[name]
    features = LAB.guidance_embedding(torch.tensor(scales), width)
    torch.testing.assert_close(features, witness.case("lab04", name)["features"], atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("name", recipe.EMBEDS)
def test_gives_the_golden_batches(name):
    golden, (prompts, negative, images, scale) = witness.case("lab04", name), recipe.EMBEDS[name]
    rows = [golden["table"][[recipe.WORDS.index(word) for word in words]] for words in (prompts, negative or [])]
    negative = rows[1] if negative else None
    equal(LAB.build_cfg_embeds(rows[0], negative, golden["table"][:1], images, scale), golden["embeds"])


@pytest.mark.parametrize("name", recipe.APG)
def test_gives_the_golden_projections(name):
    golden, (_, *options) = witness.case("lab04", name), recipe.APG[name]
    apg = LAB.APG(*options)
    for cond, uncond, pred in zip(golden["cond"], golden["uncond"], golden["pred"], strict=True):
        torch.testing.assert_close(apg(cond, uncond), pred, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", recipe.RUNS)
def test_gives_the_golden_samples(name):
    golden, (start, stop, scale) = witness.case("lab04", name), recipe.RUNS[name]
    plan = LAB.guidance_plan(8, start, stop, scale)
    steps = recipe.Steps(8)
    end = LAB.guided_sample(recipe.toy, steps, golden["x"], golden["cond"], golden["uncond"], plan)
    torch.testing.assert_close(end, golden["end"], atol=5e-5, rtol=5e-5)


# cfg


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("scale", [-1.0, 0.5, 3.0, 7.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_cfg_equals_diffusers_bit_for_bit(shape, scale, original):
    cond, uncond = normal(0, *shape), normal(1, *shape)
    guider = ClassifierFreeGuidance(scale, use_original_formulation=original)
    equal(LAB.cfg(cond, uncond, scale, original), guider.forward(cond, uncond).pred)


@pytest.mark.parametrize(("dtype", "tolerance"), HALF)
def test_cfg_in_half_precision(dtype, tolerance):
    cond, uncond = normal(2, 3, 64).to(dtype), normal(3, 3, 64).to(dtype)
    ours = LAB.cfg(cond, uncond, 7.5)
    equal(ours, ClassifierFreeGuidance(7.5).forward(cond, uncond).pred)
    exact = LAB.cfg(cond.float(), uncond.float(), 7.5).to(dtype)
    torch.testing.assert_close(ours, exact, atol=tolerance, rtol=tolerance)


def test_cfg_by_hand():
    cond, uncond = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 2.0]])
    assert LAB.cfg(cond, uncond, 7.5).tolist() == [[16.0, -13.0]]
    assert LAB.cfg(cond, uncond, 6.5, use_original_formulation=True).tolist() == [[16.0, -13.0]]
    assert LAB.cfg(cond, uncond, 1.0).tolist() == cond.tolist()
    assert LAB.cfg(cond, uncond, 0.0).tolist() == uncond.tolist()
    assert LAB.cfg(cond, uncond, 0.0, use_original_formulation=True).tolist() == cond.tolist()


# guided_prediction


def model_with_a_log(calls):
    def model(x, t, emb):
        calls.append((x.clone(), t.clone(), emb.clone()))
        return recipe.toy(x, t, emb)

    return model


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0])
def test_guidance_is_off_at_one_and_below(scale):
    x, t, cond, uncond = normal(0, 3, 4, 5), torch.tensor([3, 400, 900]), normal(1, 3, 2, 4), normal(2, 3, 2, 4)
    calls = []
    equal(LAB.guided_prediction(model_with_a_log(calls), x, t, cond, uncond, scale), recipe.toy(x, t, cond))
    assert [len(call[0]) for call in calls] == [3]
    # The pipelines' rule, from their source.
    pipeline = type("Pipeline", (), {"_guidance_scale": scale})()
    assert not recipe.method(recipe.STABLE_DIFFUSION, "do_classifier_free_guidance")(pipeline)


def test_both_halves_go_through_the_network_at_once():
    x, t, cond, uncond = normal(0, 3, 4, 5), torch.tensor([3, 400, 900]), normal(1, 3, 2, 4), normal(2, 3, 2, 4)
    calls = []
    guided = LAB.guided_prediction(model_with_a_log(calls), x, t, cond, uncond, 4.0)
    expected = -3 * recipe.toy(x, t, uncond) + 4 * recipe.toy(x, t, cond)
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)
    ((xs, ts, embs),) = calls
    equal(xs, torch.cat([x, x]))
    equal(ts, torch.tensor([3, 400, 900, 3, 400, 900]))
    equal(embs, torch.cat([uncond, cond]))


# build_cfg_embeds


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.001, 7.5])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("negative", [None, ["snow", "fog"]])
def test_batches_equal_the_pipeline(scale, images, negative):
    table = normal(5, 7, 4, 3)
    theirs = recipe.embeds(table, recipe.WORDS, ["cow", "cat"], negative, images, scale)
    ours = LAB.build_cfg_embeds(table[[3, 1]], table[[6, 4]] if negative else None, table[:1], images, scale)
    equal(ours, theirs)


def test_refuses_another_number_of_negative_prompts_as_the_pipeline_does():
    table = normal(5, 7, 4, 3)
    with pytest.raises(ValueError, match="batch size 1"):
        recipe.embeds(table, recipe.WORDS, ["cow", "cat"], ["fog"], 1, 7.5)
    with pytest.raises(ValueError, match="1 negative prompts were given for 2 prompts"):
        LAB.build_cfg_embeds(table[[3, 1]], table[4:5], table[:1], 1, 7.5)


def test_batches_by_hand():
    rows = [float(value) for value in LAB.build_cfg_embeds(
        torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([[[3.0]], [[4.0]]]), torch.zeros(1, 1, 1), 2, 7.5
    )]  # fmt: skip
    assert rows == [3, 3, 4, 4, 1, 1, 2, 2]


# rescale_guidance


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_rescaling_equals_diffusers_bit_for_bit(shape, phi):
    size = torch.tensor([0.5, 1.0, 2.0]).reshape(-1, *[1] * (len(shape) - 1))
    guided, cond = 3 * normal(0, *shape) * size + 0.4, normal(1, *shape) * size - 0.4
    ours = LAB.rescale_guidance(guided, cond, phi)
    equal(ours, rescale_noise_cfg(guided, cond, phi))
    axes = tuple(range(1, len(shape)))
    expected = phi * cond.std(axes) + (1 - phi) * guided.std(axes)
    torch.testing.assert_close(ours.std(axes), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), HALF)
def test_rescaling_in_half_precision(dtype, tolerance):
    guided, cond = (5 * normal(0, 3, 4, 8)).to(dtype), normal(1, 3, 4, 8).to(dtype)
    ours = LAB.rescale_guidance(guided, cond, 0.7)
    equal(ours, rescale_noise_cfg(guided, cond, 0.7))
    exact = LAB.rescale_guidance(guided.float(), cond.float(), 0.7).to(dtype)
    torch.testing.assert_close(ours, exact, atol=tolerance, rtol=tolerance)


def test_rescaling_by_hand():
    # Deviations 1 and 4 of ±: the factor is 1/4, and half of the way there leaves (1/4 + 1)/2.
    cond, guided = torch.tensor([[1.0, -1.0]]), torch.tensor([[4.0, -4.0]])
    assert LAB.rescale_guidance(guided, cond, 1.0).tolist() == [[1.0, -1.0]]
    assert LAB.rescale_guidance(guided, cond, 0.5).tolist() == [[2.5, -2.5]]


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_diffusers_still_divides_a_constant_prediction_by_zero(value):
    # Not our oracle there: page.md says so (issue 13425). If this fails, diffusers was mended.
    guided, cond = torch.full((2, 4, 3), value), normal(1, 2, 4, 3)
    guided[1] = normal(2, 4, 3)
    theirs, ours = rescale_noise_cfg(guided, cond, 0.7), LAB.rescale_guidance(guided, cond, 0.7)
    assert not theirs[0].isfinite().any()
    torch.testing.assert_close(ours[0], guided[0])
    torch.testing.assert_close(ours[1], theirs[1])


# guidance_plan


@pytest.mark.parametrize("n", [1, 7, 13, 20, 50])
@pytest.mark.parametrize(
    ("start", "stop"), [(0.0, 1.0), (0.1, 0.65), (0.25, 0.75), (0.5, 0.5), (0.0, 0.05), (0.9, 1.0)]
)
@pytest.mark.parametrize("scale", [1.0, 1.5, 7.5])
def test_plans_equal_diffusers(n, start, stop, scale):
    theirs, ours = recipe.plan(n, start, stop, scale), LAB.guidance_plan(n, start, stop, scale)
    equal(ours["scale"], theirs["scale"])
    assert ours["evaluations"] == theirs["evaluations"].item()


def test_plan_by_hand():
    # int(0.3·5) = 1 and int(0.7·5) = 3: steps 1 and 2 are guided.
    plan = LAB.guidance_plan(5, 0.3, 0.7, 4.0)
    assert plan["scale"].tolist() == [1.0, 4.0, 4.0, 1.0, 1.0]
    assert plan["evaluations"] == 7


def test_guiders_still_guide_below_one_where_pipelines_do_not():
    # page.md says so: two rules in one library. The lab's is that of the pipelines.
    assert recipe.plan(4, 0.0, 1.0, 0.5)["evaluations"] == 8
    assert LAB.guidance_plan(4, 0.0, 1.0, 0.5)["evaluations"] == 4


@pytest.mark.parametrize(("start", "stop"), [(0.6, 0.4), (-0.1, 0.5), (0.5, 1.1)])
def test_refuses_what_is_no_window_as_diffusers_does(start, stop):
    with pytest.raises(ValueError, match="Expected `st"):
        ClassifierFreeGuidance(7.5, start=start, stop=stop)
    with pytest.raises(ValueError, match="no window"):
        LAB.guidance_plan(10, start, stop, 7.5)


# guidance_embedding


@pytest.mark.parametrize("width", [4, 5, 9, 256, 257])
def test_embedding_equals_diffusers_bit_for_bit(width):
    scales = torch.tensor([1.0, 1.5, 7.5, 8.3, 14.0])
    theirs = recipe.method(recipe.LCM, "get_guidance_scale_embedding")(None, scales - 1, width)
    equal(LAB.guidance_embedding(scales, width), theirs)


def test_embedding_by_hand():
    # w = 0.002, so 1000·w = 2; four features have the frequencies 1 and 1/10000.
    features = LAB.guidance_embedding(torch.tensor([1.002]), 5)
    expected = torch.tensor([[math.sin(2), math.sin(0.0002), math.cos(2), math.cos(0.0002), 0.0]])
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    assert LAB.guidance_embedding(torch.tensor([1.0]), 6).tolist() == [[0, 0, 0, 1, 1, 1]]


# APG


@pytest.mark.parametrize("momentum", [None, -0.5, 0.3])
@pytest.mark.parametrize(("eta", "limit"), [(0.0, 0.0), (0.25, 2.5), (1.0, 4.0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_apg_equals_diffusers(shape, eta, limit, momentum):
    buffer = None if momentum is None else MomentumBuffer(momentum)
    apg = LAB.APG(5.0, eta, limit, momentum)
    for seed in range(3):
        cond, uncond = normal(seed, *shape), normal(seed + 10, *shape)
        theirs = normalized_guidance(cond, uncond, 5.0, buffer, eta, limit)
        torch.testing.assert_close(apg(cond, uncond), theirs, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), HALF)
def test_apg_in_half_precision(dtype, tolerance):
    buffer, apg = MomentumBuffer(-0.5), LAB.APG(5.0, 0.25, 2.5, -0.5)
    for seed in range(3):
        cond, uncond = normal(seed, 3, 4, 8).to(dtype), normal(seed + 10, 3, 4, 8).to(dtype)
        theirs = normalized_guidance(cond, uncond, 5.0, buffer, 0.25, 2.5)
        torch.testing.assert_close(apg(cond, uncond), theirs, atol=tolerance, rtol=tolerance)


def test_apg_with_nothing_of_its_own_is_cfg():
    cond, uncond = normal(0, 3, 4, 5), normal(1, 3, 4, 5)
    torch.testing.assert_close(
        LAB.APG(7.5, 1.0, 0.0, None)(cond, uncond), LAB.cfg(cond, uncond, 7.5), atol=1e-5, rtol=1e-5
    )


def test_apg_by_hand():
    # cond points along the first axis: of the difference (3, 4), length 5, the 3 is parallel and the 4 is not.
    cond, uncond = torch.tensor([[4.0, 0.0]]), torch.tensor([[1.0, -4.0]])
    torch.testing.assert_close(LAB.APG(2.0, 0.0, 0.0, None)(cond, uncond), torch.tensor([[1.0, 4.0]]))
    torch.testing.assert_close(LAB.APG(2.0, 0.5, 0.0, None)(cond, uncond), torch.tensor([[4.0, 4.0]]))
    torch.testing.assert_close(LAB.APG(2.0, 0.5, 2.5, None)(cond, uncond), torch.tensor([[2.5, 0.0]]))
    apg = LAB.APG(2.0, 0.5, 0.0, -0.5)
    apg(cond, uncond)
    # The second time the difference is (3, 4) − 0.5·(3, 4).
    torch.testing.assert_close(apg(cond, uncond), torch.tensor([[2.5, 0.0]]))


def test_apg_without_a_difference_changes_nothing():
    cond = normal(0, 2, 3, 4)
    equal(LAB.APG(7.5, 0.25, 2.5, None)(cond, cond), cond)


def test_two_pictures_of_apg_do_not_meet():
    pairs = [[(normal(s, 2, 3), normal(s + 10, 2, 3)) for s in range(k, k + 3)] for k in (0, 50)]
    alone = [[apg(*pair) for pair in run] for run, apg in zip(pairs, (made() for _ in pairs), strict=True)]
    first, second = made(), made()
    turns = [(first(*a), second(*b)) for a, b in zip(*pairs, strict=True)]
    assert all(torch.equal(a, x) and torch.equal(b, y) for (a, b), x, y in zip(turns, *alone, strict=True))


def made():
    return LAB.APG(5.0, 0.25, 2.5, -0.5)


def test_diffusers_default_has_no_momentum():
    # page.md says so.
    guider = AdaptiveProjectedGuidance()
    assert guider.adaptive_projected_guidance_momentum is None
    assert (guider.eta, guider.adaptive_projected_guidance_rescale) == (1.0, 15.0)


# guided_sample


def test_the_caller_keeps_what_is_his():
    x, cond, uncond = normal(0, 2, 4, 5), normal(1, 2, 3, 4), normal(2, 2, 3, 4)
    plan = LAB.guidance_plan(8, 0.2, 0.7, 7.5)
    kept = [value.clone() for value in (x, cond, uncond, plan["scale"])]
    LAB.guided_sample(recipe.toy, recipe.Steps(8), x, cond, uncond, plan)
    assert all(torch.equal(a, b) for a, b in zip((x, cond, uncond, plan["scale"]), kept, strict=True))
    assert plan.keys() == {"scale", "evaluations"}


def test_evaluations_are_those_of_the_plan():
    x, cond, uncond, calls = normal(0, 1, 4, 5), normal(1, 1, 3, 4), normal(2, 1, 3, 4), []
    plan = LAB.guidance_plan(8, 0.2, 0.7, 7.5)
    LAB.guided_sample(model_with_a_log(calls), recipe.Steps(8), x, cond, uncond, plan)
    assert [len(call[0]) for call in calls] == [2 if scale > 1 else 1 for scale in plan["scale"]]
    assert sum(len(call[0]) for call in calls) == plan["evaluations"]


@pytest.mark.parametrize("n", [1, 3, 7, 8])
def test_the_harness_steps_as_diffusers_does(n):
    ours, theirs = witness.scenarios("lab04").Steps(n), DDIMScheduler(clip_sample=True)
    theirs.set_timesteps(n)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    x = normal(0, 2, 3, 4)
    for t in ours.timesteps:
        eps = normal(int(t) + 1, 2, 3, 4)
        expected = theirs.step(eps, t, x).prev_sample
        torch.testing.assert_close(ours.step(eps, t, x), expected, atol=2e-5, rtol=2e-5)
        x = expected


def test_guiding_the_samples_is_the_same_only_where_steps_are_linear():
    # page.md says so: without clipping a DDIM step is linear in the prediction, with it it is not.
    x, cond, uncond = normal(0, 2, 3, 4), normal(1, 2, 3, 4), normal(2, 2, 3, 4)
    guided = LAB.cfg(cond, uncond, 5.0)
    for clip in (False, True):
        scheduler = DDIMScheduler(clip_sample=clip)
        scheduler.set_timesteps(10)
        right, one, other = (scheduler.step(eps, 500, x).prev_sample for eps in (guided, cond, uncond))
        assert torch.allclose(LAB.cfg(one, other, 5.0), right, atol=1e-4) is not clip


# Predictions, each with a witness that is not the number itself.


def test_prediction_of_the_weights():
    one = {name: torch.eye(3)[None, i] for i, name in enumerate(("prompt", "negative", "empty"))}
    guided = ClassifierFreeGuidance(8.0).forward(one["prompt"], one["negative"]).pred[0]
    assert LAB.checkpoint_weights() == dict(zip(one, guided.tolist(), strict=True))


def test_prediction_of_the_batch():
    table = normal(0, 7, 4, 3)
    rows = recipe.embeds(table, recipe.WORDS, ["cat", "dog", "cow"], None, 4, 7.5)
    assert LAB.checkpoint_batch_shape() == (len(rows), 4, 64, 64)


def test_prediction_of_the_evaluations():
    found = LAB.checkpoint_evaluations()
    assert found["guided"] == recipe.plan(20, 0.0, 1.0, 7.5)["evaluations"]
    assert found["window"] == recipe.plan(20, 0.25, 0.75, 7.5)["evaluations"]
    distilled = type("Pipeline", (), {"_guidance_scale": 7.5})()
    distilled.unet = type("UNet", (), {"config": type("Config", (), {"time_cond_proj_dim": 256})})
    assert recipe.method(recipe.STABLE_DIFFUSION, "do_classifier_free_guidance")(distilled) is False
    assert found["distilled"] == 20 * 1


def test_prediction_of_the_order():
    # The order in which the loop of StableDiffusionPipeline.__call__ comes to each of them, in its source.
    marks = {
        "double": "torch.cat([latents] * 2)",
        "predict": "noise_pred = self.unet(",
        "split": "noise_pred.chunk(2)",
        "guide": "self.guidance_scale * (noise_pred_text",
        "rescale": "rescale_noise_cfg(noise_pred, noise_pred_text",
        "step": "self.scheduler.step(noise_pred",
    }
    source = recipe.source(recipe.STABLE_DIFFUSION)
    assert tuple(sorted(marks, key=lambda name: source.index(marks[name]))) == LAB.checkpoint_step_order()
