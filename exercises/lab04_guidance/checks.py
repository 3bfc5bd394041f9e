"""Checks of lab 04. The docstring of a check is the sentence that a student reads."""

from typing import Any

import numpy as np

from grader.kit import Draw, Recipe, array, check, entry, part, tensor, values, witnessed

HALF = ("float16", "bfloat16")

# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_weights", visible=True, tells="Not yet. From where does the arrow of guidance start here?")
def test_prediction_of_the_weights(compare):
    """Prediction: the weights of the three predictions."""
    compare.checkpoint_weights()


@check("checkpoint_batch_shape", visible=True, tells="Not yet. How many rows does one picture need?")
def test_prediction_of_the_shape(compare):
    """Prediction: the shape of the network's input."""
    compare.checkpoint_batch_shape()


@check("checkpoint_evaluations", visible=True, tells="Not yet. In which steps is the unconditional prediction used?")
def test_prediction_of_the_cost(compare):
    """Prediction: the evaluations that guidance costs."""
    compare.checkpoint_evaluations()


@check("checkpoint_step_order", visible=True, tells="Not yet. What is each of the six given, and what does it return?")
def test_prediction_of_the_order(compare):
    """Prediction: the order of one guided step."""
    compare.checkpoint_step_order()


# cfg


@check("cfg", visible=True)
def test_guides(compare, draw):
    """At scale 7.5 the prediction goes from uncond beyond cond."""
    compare.cfg(*draw.normals(2, 2, 4, 8, 8), 7.5)


@check("cfg", visible=True)
def test_original_formulation(compare, draw):
    """With the original formulation the prediction starts from cond, and the scale is w."""
    compare.cfg(*draw.normals(2, 2, 4, 8, 8), 6.5, use_original_formulation=True)


@check("cfg", visible=True)
def test_ends_of_the_arrow(compare, draw):
    """Scale 1 is the conditional prediction, scale 0 the unconditional one, 0.5 lies between."""
    cond, uncond = draw.normals(2, 3, 4, 6, 5)
    for scale in (1.0, 0.0, 0.5):
        compare.cfg(cond, uncond, scale)


@check("cfg", visible=True, property=True)
def test_one_arrow_in_two_conventions(student, draw):
    """A scale s and a weight w = s − 1 say the same."""
    cond, uncond = draw.normals(2, 2, 4, 6)
    s = draw.real(2.0, 9.0)
    by_scale = values(student.cfg(cond, uncond, s), 2, 4, 6)
    by_weight = values(student.cfg(cond, uncond, s - 1, use_original_formulation=True), 2, 4, 6)
    assert np.allclose(by_scale, by_weight, atol=1e-3), "Scale s and weight s − 1 give two different predictions."


@check("cfg", visible=True)
def test_guides_in_bfloat16(compare, draw):
    """Predictions in bfloat16 are guided to one in bfloat16."""
    cond, uncond = (one.to("bfloat16") for one in draw.normals(2, 2, 4, 8, 8))
    compare.cfg(cond, uncond, 3.0)


@check("cfg")
def test_every_channel(compare, draw):
    """Every channel is guided, however many a latent has."""
    for channels in (16, 5):
        compare.cfg(*draw.normals(2, 1, channels, 5, 7), draw.real(3.0, 12.0))


@check("cfg")
def test_away_from_the_prompt(compare, draw):
    """A negative scale leads away from the prompt: the formula has no limits."""
    compare.cfg(*draw.normals(2, 3, 2, 5, 7), draw.real(-3.0, -1.0))
    compare.cfg(*draw.normals(2, 2, 3, 4), draw.real(0.2, 0.4))


@check("cfg")
def test_any_number_of_axes(compare, draw):
    """Sequences, videos and single latents are guided like batches of latents."""
    for shape in ((4, 7, 4), (2, 3, 2, 5, 7), (1, 6)):
        compare.cfg(*draw.normals(2, *shape), draw.real(3.0, 12.0))


@check("cfg")
def test_swapped_axes(compare, draw):
    """A prediction that is not contiguous in memory is guided all the same."""
    compare.cfg(draw.normal(3, 5, 8, 4).transpose(1, 3), draw.normal(3, 4, 8, 5), draw.real(3.0, 12.0))


@check("cfg")
def test_half_precision_in_turn(compare, draw):
    """Two calls of other shapes and dtypes, one after the other, are both right."""
    for dtype, shape in zip(HALF, ((3, 4, 5, 7), (2, 9, 3)), strict=True):
        compare.cfg(*(one.to(dtype) for one in draw.normals(2, *shape)), draw.real(2.0, 4.0))


@check("cfg")
def test_original_formulation_everywhere(compare, draw):
    """The original formulation holds at any weight, shape and dtype; weight 0 is the conditional prediction."""
    compare.cfg(*draw.normals(2, 2, 3, 5), 0.0, True)
    compare.cfg(*(one.to("float16") for one in draw.normals(2, 1, 4, 7, 5)), draw.real(1.0, 3.0), True)
    compare.cfg(*draw.normals(2, 3, 2, 2, 5, 3), draw.real(-2.0, -0.5), True)


# guided_prediction


def given(answer: Any) -> list[dict[str, Any]]:
    """Return what each call of the network was given: the timestep and the embedding of each row."""
    return [{"t": np.ravel(call["t"].array).tolist(), "emb": call["emb"]} for call in answer["model"]]


def batch(draw: Draw, *shape: int, tokens: int = 5, dim: int = 4) -> dict[str, Any]:
    """Return a network whose calls are written down, latents of `shape` with a timestep each, and both conditions."""
    times = [draw.whole(100 * k, 100 * k + 90) for k in (0, 3, 6, 8)][: shape[0]]
    cond, uncond = draw.normals(2, shape[0], tokens, dim)
    latents = {"x": draw.normal(*shape), "t": tensor(times)}
    model = witnessed("toy", weight=draw.normal(shape[1], shape[1]))
    return {"model": model, **latents, "cond_emb": cond, "uncond_emb": uncond}


@check("guided_prediction", visible=True)
def test_guides_a_batch(compare, draw):
    """Each latent of a batch is guided by its own two conditions, at its own timestep."""
    compare.play("predict", **batch(draw, 3, 4, 6, 6), scale=7.5)


@check("guided_prediction", visible=True)
def test_guides_one_latent(compare, draw):
    """A batch of one latent is guided."""
    compare.play("predict", **batch(draw, 1, 4, 6, 6), scale=3.0)


@check("guided_prediction", visible=True)
def test_is_off_at_one(compare, draw):
    """At scale 1 the answer is the conditional prediction."""
    compare.play("predict", **batch(draw, 2, 4, 6, 6), scale=1.0)


@check("guided_prediction")
def test_is_off_below_one(compare, draw):
    """Below scale 1 guidance is off: the answer is the conditional prediction there, too."""
    for scale in (0.5, 0.0, -2.0):
        compare.play("predict", **batch(draw, 2, 3, 5), scale=scale)


@check("guided_prediction")
def test_is_on_just_above_one(compare, draw):
    """A scale little above 1 is guidance."""
    compare.play("predict", **batch(draw, 2, 4, 5, 7), scale=draw.real(1.1, 1.4))


@check("guided_prediction")
def test_batches_of_any_shape(compare, draw):
    """Two calls of other shapes, one after the other, are both right: videos, sequences, other numbers of tokens."""
    compare.play("predict", **batch(draw, 4, 2, 3, 5, 4, tokens=3, dim=6), scale=draw.real(3.0, 9.0))
    compare.play("predict", **batch(draw, 2, 5, 2, tokens=1, dim=2), scale=draw.real(3.0, 9.0))


@check("guided_prediction", visible=True, subject="The list of calls")
def test_one_call_for_both(compare, draw):
    """With guidance one call holds both halves, the unconditional one first, a timestep and an embedding a row."""
    compare.calls("predict", view=given, **batch(draw, 3, 4, 6, 6), scale=7.5)


@check("guided_prediction", subject="The list of calls")
def test_what_a_call_holds(compare, draw):
    """Where guidance is off the one call holds the prompts' half alone, and just above it both."""
    for scale in (1.0, 0.5, 0.0, draw.real(1.1, 1.4)):
        compare.calls("predict", view=given, **batch(draw, 2, 4, 5, tokens=3), scale=scale)


# build_cfg_embeds


@check("build_cfg_embeds", visible=True)
def test_empty_prompts(compare, draw):
    """Without a negative prompt the embedding of the empty prompt stands in the unconditional half."""
    compare.build_cfg_embeds(draw.normal(2, 4, 6), None, draw.normal(1, 4, 6), 1, 7.5)


@check("build_cfg_embeds", visible=True)
def test_negative_prompts(compare, draw):
    """With two pictures a prompt, every picture's two rows stand where the pipeline looks for them."""
    prompt, negative = draw.normals(2, 2, 4, 6)
    compare.build_cfg_embeds(prompt, negative, draw.normal(1, 4, 6), 2, 5.0)


@check("build_cfg_embeds", visible=True)
def test_without_guidance(compare, draw):
    """At scale 1 the prompts' half is all there is, in the same order."""
    prompt, negative = draw.normals(2, 2, 4, 6)
    compare.build_cfg_embeds(prompt, negative, draw.normal(1, 4, 6), 2, 1.0)


@check("build_cfg_embeds", visible=True)
def test_refuses_too_few_negative_prompts(compare, draw):
    """One negative prompt for two prompts is refused with a ValueError, and so are three."""
    for number in (1, 3):
        compare.build_cfg_embeds(draw.normal(2, 4, 6), draw.normal(number, 4, 6), draw.normal(1, 4, 6), 2, 7.5)


@check("build_cfg_embeds")
def test_three_prompts(compare, draw):
    """Three prompts with three pictures each, and embeddings of another size, are laid out alike."""
    prompt, negative = draw.normals(2, 3, 5, 7)
    compare.build_cfg_embeds(prompt, negative, draw.normal(1, 5, 7), 3, draw.real(2.0, 9.0))


@check("build_cfg_embeds")
def test_empty_prompts_of_many_pictures(compare, draw):
    """The embedding of the empty prompt stands beside every picture, whatever the dtype."""
    for dtype, (prompts, tokens, dim) in zip(HALF, ((1, 3, 5), (3, 2, 4)), strict=True):
        prompt, empty = draw.normal(prompts, tokens, dim).to(dtype), draw.normal(1, tokens, dim).to(dtype)
        compare.build_cfg_embeds(prompt, None, empty, draw.whole(2, 4), 3.0)


@check("build_cfg_embeds")
def test_where_guidance_begins(compare, draw):
    """Guidance is on above scale 1 only, with or without negative prompts."""
    prompt, negative = draw.normals(2, 2, 3, 4)
    for scale in (0.0, 0.5, draw.real(1.01, 1.4)):
        compare.build_cfg_embeds(prompt, negative, draw.normal(1, 3, 4), 2, scale)
        compare.build_cfg_embeds(prompt, None, draw.normal(1, 3, 4), 1, scale)


@check("build_cfg_embeds")
def test_embeddings_with_swapped_axes(compare, draw):
    """Embeddings that are not contiguous in memory are laid out alike."""
    prompt, negative = (one.transpose(1, 2) for one in draw.normals(2, 2, 6, 4))
    compare.build_cfg_embeds(prompt, negative, draw.normal(1, 6, 4).transpose(1, 2), 2, 4.0)


@check("build_cfg_embeds")
def test_negative_prompts_that_are_not_looked_at(compare, draw):
    """Where guidance is off negative prompts are not looked at, and no number of them is refused."""
    for number, scale in ((1, 1.0), (3, 0.5)):
        compare.build_cfg_embeds(draw.normal(2, 3, 4), draw.normal(number, 3, 4), draw.normal(1, 3, 4), 2, scale)


# rescale_guidance


def pair(draw: Draw, *shape: int) -> tuple[Recipe, Recipe]:
    """Return a guided prediction of large deviation and a conditional one, both with a mean that is not 0."""
    return draw.normal(*shape) * 3.0 + 0.4, draw.normal(*shape) + 0.4


@check("rescale_guidance", visible=True)
def test_rescales_all_the_way(compare, draw):
    """φ = 1 gives each sample the standard deviation of its conditional prediction."""
    compare.rescale_guidance(*pair(draw, 3, 4, 6, 6), 1.0)


@check("rescale_guidance", visible=True)
def test_rescales_part_of_the_way(compare, draw):
    """φ = 0.7 blends the rescaled prediction with the guided one."""
    compare.rescale_guidance(*pair(draw, 3, 4, 6, 6), 0.7)


@check("rescale_guidance", visible=True)
def test_leaves_it_at_nought(compare, draw):
    """φ = 0 leaves the guided prediction as it is."""
    compare.rescale_guidance(*pair(draw, 2, 4, 6, 6), 0.0)


@check("rescale_guidance", visible=True)
def test_nothing_to_rescale(compare, draw):
    """A batch in which one guided prediction is nought everywhere comes back finite."""
    guided = np.random.default_rng(draw.seed()).normal(0.4, 3.0, (2, 3, 4, 4)).astype(np.float32)
    guided[1] = 0.0
    compare.rescale_guidance(array(guided), draw.normal(2, 3, 4, 4), 0.7)


@check("rescale_guidance", visible=True, property=True)
def test_deviation_is_that_of_cond(student, draw):
    """After φ = 1 the standard deviation of every sample is that of its conditional prediction."""
    guided, cond = pair(draw, 3, 2, 5, 5)
    rescaled = values(student.rescale_guidance(guided, cond, 1.0), 3, 2, 5, 5)
    wanted = values(student.rescale_guidance(cond, cond, 0.0), 3, 2, 5, 5)
    close = np.allclose(rescaled.std(axis=(1, 2, 3)), wanted.std(axis=(1, 2, 3)), rtol=1e-3)
    assert close, "The standard deviations of guided and conditional prediction still differ."


@check("rescale_guidance")
def test_rescales_any_shape(compare, draw):
    """Sequences, videos and single latents are rescaled, each sample by its own deviation."""
    for shape in ((4, 7, 4), (2, 3, 2, 5, 7), (1, 4, 5, 7), (5, 9)):
        compare.rescale_guidance(*pair(draw, *shape), draw.real(0.3, 0.9))


@check("rescale_guidance")
def test_rescales_small_predictions(compare, draw):
    """Predictions with a small standard deviation are rescaled, too, and brought up where cond has the larger one."""
    guided, cond = pair(draw, 3, 4, 5, 7)
    compare.rescale_guidance(guided * 0.02, cond * 0.01, draw.real(0.3, 0.9))
    compare.rescale_guidance(guided * 0.02, cond * 0.7, draw.real(0.3, 0.9))


@check("rescale_guidance")
def test_rescales_swapped_axes(compare, draw):
    """A prediction that is not contiguous in memory is rescaled all the same."""
    guided = draw.normal(3, 5, 8, 4).transpose(1, 3) * 4.0 + 0.5
    compare.rescale_guidance(guided, draw.normal(3, 5, 8, 4).transpose(1, 3) + 0.5, draw.real(0.3, 0.9))


@check("rescale_guidance")
def test_rescales_half_precision(compare, draw):
    """Two calls of other shapes and dtypes, one after the other, are both right."""
    for dtype, shape in zip(HALF, ((3, 4, 5, 7), (2, 9, 5)), strict=True):
        rng = np.random.default_rng(draw.seed())
        size = np.array([0.5, 1.0, 2.0][-shape[0] :]).reshape(-1, *[1] * (len(shape) - 1))
        guided = array((rng.normal(0.4, 3.0, shape) * size).astype(np.float32))
        compare.rescale_guidance(guided.to(dtype), draw.normal(*shape).to(dtype), draw.real(0.3, 0.9))


@check("rescale_guidance")
def test_constant_sample_among_others(compare, draw):
    """A constant guided prediction comes back as it is, and its neighbours in the batch are rescaled."""
    rng = np.random.default_rng(draw.seed())
    guided = rng.normal(0.4, 3.0, (3, 2, 4, 4)).astype(np.float32)
    guided[draw.whole(0, 2)] = 2.0
    compare.rescale_guidance(array(guided), draw.normal(3, 2, 4, 4), draw.real(0.3, 0.9))


@check("rescale_guidance")
def test_constants_that_no_sum_meets(compare, draw):
    """Constants whose mean has rounding errors come back as they are, too, in a batch and alone."""
    rng = np.random.default_rng(draw.seed())
    # torch.std adds up one sample alone in another order than several: it is 0 for these three, and not for this one.
    for samples in (3, 1):
        for value in (0.7, 3.3):
            guided = rng.normal(0.4, 3.0, (samples, 4, 9, 11)).astype(np.float32)
            guided[draw.whole(0, samples - 1)] = value
            compare.rescale_guidance(array(guided), draw.normal(samples, 4, 9, 11), draw.real(0.3, 0.9))


# guidance_plan. No edge of a window lies so near to a whole step that rounding in `start * n` decides.


@check("guidance_plan", visible=True)
def test_guides_every_step(compare):
    """From 0 to 1 every step is guided."""
    compare.guidance_plan(10, 0.0, 1.0, 7.25)


@check("guidance_plan", visible=True)
def test_guides_the_middle(compare):
    """From a quarter to three quarters the steps between are guided."""
    compare.guidance_plan(20, 0.25, 0.75, 3.75)


@check("guidance_plan", visible=True)
def test_edges_between_steps(compare):
    """An edge that falls between two steps is cut down to the first of them."""
    compare.guidance_plan(13, 0.2, 0.65, 6.25)


@check("guidance_plan", visible=True)
def test_plan_at_scale_one(compare):
    """At scale 1 there is nothing to guide, and every step costs one evaluation."""
    compare.guidance_plan(8, 0.0, 1.0, 1.0)


@check("guidance_plan", visible=True)
def test_refuses_what_is_no_window(compare):
    """A window that ends before it begins, or reaches beyond the steps, is refused with a ValueError."""
    for start, stop in ((0.6, 0.4), (-0.2, 0.5), (0.5, 1.2)):
        compare.guidance_plan(10, start, stop, 7.5)


@check("guidance_plan", weight=2)
def test_other_windows(compare, draw):
    """Windows at either end, and with edges anywhere between two steps, are right."""
    for n, start, stop in ((7, 0.25, 0.9), (11, 0.33, 0.7), (17, 0.0, 0.38), (9, 0.74, 1.0), (30, 0.125, 0.625)):
        compare.guidance_plan(n, start, stop, draw.real(2.0, 12.0))


@check("guidance_plan")
def test_empty_windows(compare, draw):
    """A window that holds no step guides nothing."""
    for n, start, stop in ((12, 0.5, 0.5), (4, 0.3, 0.45), (1, 0.0, 0.5)):
        compare.guidance_plan(n, start, stop, draw.real(2.0, 12.0))


@check("guidance_plan")
def test_plan_of_one_step(compare, draw):
    """One step can be guided."""
    compare.guidance_plan(1, 0.0, 1.0, draw.real(2.0, 12.0))


@check("guidance_plan")
def test_plan_below_one(compare):
    """A scale below 1 switches guidance off, and one little above it on."""
    for scale in (0.5, 0.0, -2.0, 1.25):
        compare.guidance_plan(6, 0.2, 0.75, scale)


# guidance_embedding


@check("guidance_embedding", visible=True)
def test_features_of_three_scales(compare):
    """Three scales have their features, sines first."""
    compare.guidance_embedding(tensor([2.0, 7.5, 8.5]), 8)


@check("guidance_embedding", visible=True)
def test_features_of_no_guidance(compare):
    """Scale 1 is w = 0: all sines are 0, all cosines 1."""
    compare.guidance_embedding(tensor([1.0, 1.0]), 12)


@check("guidance_embedding", visible=True)
def test_odd_number_of_features(compare):
    """An odd number of features ends with a 0."""
    compare.guidance_embedding(tensor([4.25]), 7)


@check("guidance_embedding")
def test_features_of_other_scales(compare, draw):
    """Two calls of other numbers of scales and features, one after the other, are both right."""
    compare.guidance_embedding(draw.uniform(5) * 6.0 + 1.5, 16)
    compare.guidance_embedding(draw.uniform(3) * 3.0 + 1.5, 5)


@check("guidance_embedding")
def test_wide_features(compare, draw):
    """As many features as networks use are right."""
    compare.guidance_embedding(draw.uniform(2) * 10.0 + 1.0, 256)


@check("guidance_embedding")
def test_smallest_features(compare, draw):
    """Four features, two frequencies, are the smallest case; a batch as long as it changes nothing."""
    compare.guidance_embedding(draw.uniform(4) * 6.0 + 1.5, 4)


# APG


@check("APG", visible=True)
def test_is_guidance_without_options(compare, draw):
    """With η = 1, no limit and no momentum, APG is plain guidance."""
    cond, uncond = draw.normals(2, 1, 2, 4, 6, 6)
    compare.play("apg", options=[7.5, 1.0, 0.0, None], cond=cond, uncond=uncond, sizes=tensor([1.0, 1.0]))


@check("APG", visible=True)
def test_projects(compare, draw):
    """The part along cond is weighted by η, sample by sample."""
    cond, uncond = draw.normals(2, 1, 3, 4, 6, 6)
    for eta in (0.0, 0.25):
        compare.play("apg", options=[5.0, eta, 0.0, None], cond=cond, uncond=uncond, sizes=tensor([1.0, 0.2, 2.0]))


@check("APG", visible=True)
def test_limits_the_norm(compare, draw):
    """Only updates longer than the limit are shortened to it, sample by sample."""
    cond, uncond = draw.normals(2, 1, 3, 4, 6, 6)
    compare.play("apg", options=[5.0, 1.0, 9.0, None], cond=cond, uncond=uncond, sizes=tensor([1.0, 0.2, 3.0]))


@check("APG", visible=True)
def test_momentum(compare, draw):
    """Momentum carries each step's update on to the next."""
    cond, uncond = draw.normals(2, 4, 2, 4, 6, 6)
    compare.play("apg", options=[5.0, 1.0, 0.0, -0.5], cond=cond, uncond=uncond, sizes=tensor([1.0, 1.0]))


@check("APG")
def test_all_together(compare, draw):
    """Momentum, limit and projection act in their order, over several steps."""
    for shape, sizes in (((4, 3, 4, 5, 7), [0.3, 1.0, 2.5]), ((3, 2, 2, 2, 3, 5), [1.0, 0.4])):
        cond, uncond = draw.normals(2, *shape)
        options = [draw.real(3.0, 9.0), draw.real(0.1, 0.6), draw.real(5.0, 8.0), draw.real(-0.75, -0.3)]
        compare.play("apg", options=options, cond=cond, uncond=uncond, sizes=tensor(sizes))


@check("APG")
def test_positive_momentum(compare, draw):
    """Momentum of the other sign, under a limit that one sample always reaches and one never, is right."""
    cond, uncond = draw.normals(2, 4, 2, 7, 2)
    options = [4.0, draw.real(0.2, 0.8), draw.real(0.4, 0.9), draw.real(0.3, 0.7)]
    compare.play("apg", options=options, cond=cond, uncond=uncond, sizes=tensor([1.5, 0.02]))


@check("APG")
def test_no_difference(compare, draw):
    """Where both predictions are the same there is nothing to guide, and nothing is divided by nought."""
    cond = draw.normal(2, 2, 3, 5)
    compare.play("apg", options=[7.5, 0.5, 2.0, -0.5], cond=cond, uncond=cond, sizes=tensor([1.0, 2.0]))
    compare.play("apg", options=[7.5, 0.5, 2.0, None], cond=cond * 0.0, uncond=cond, sizes=tensor([1.0, 2.0]))


@check("APG")
def test_two_pictures_in_turns(compare, draw):
    """Two instances that are used in turns, for predictions of other shapes and dtypes, do not disturb each other."""
    for first, second, dtype in (
        ((2, 3, 2, 4, 5), (2, 3, 1, 7, 3), "bfloat16"),
        ((2, 3, 2, 6), (2, 3, 2, 6), "float32"),
    ):
        options = [[draw.real(5.0, 8.0), 0.5, 4.0, -0.5], [draw.real(1.3, 1.7), 0.2, 3.0, 0.4]]
        compare.play("apg_in_turns", options=options, first=draw.normal(*first), second=draw.normal(*second).to(dtype))


@check("APG")
def test_apg_in_half_precision(compare, draw):
    """Predictions in half precision come back in it."""
    for dtype in HALF:
        cond, uncond = (one.to(dtype) for one in draw.normals(2, 3, 2, 4, 5, 5))
        compare.play("apg", options=[1.5, 0.3, 6.0, -0.4], cond=cond, uncond=uncond, sizes=tensor([1.0, 0.5]))


@check("APG")
def test_large_predictions_in_half_precision(compare, draw):
    """Of predictions of a usual size, too, the sums of squares are finite."""
    cond, uncond = (one.to("float16") for one in draw.normals(2, 2, 2, 4, 40, 40))
    compare.play("apg", options=[1.5, 0.3, 60.0, -0.4], cond=cond, uncond=uncond, sizes=tensor([4.0, 0.5]))


@check("APG")
def test_apg_with_swapped_axes(compare, draw):
    """Predictions that are not contiguous in memory are guided all the same."""
    cond, uncond = (one.transpose(2, 4) for one in draw.normals(2, 2, 2, 5, 6, 4))
    compare.play("apg", options=[4.0, 0.3, 6.0, -0.4], cond=cond, uncond=uncond, sizes=tensor([1.0, 0.5]))


# guided_sample


def start(draw: Draw, *shape: int, tokens: int = 5, dim: int = 4) -> dict[str, Recipe]:
    """Return a network whose calls are written down, noise of `shape` and both conditions."""
    cond, uncond = draw.normals(2, shape[0], tokens, dim)
    model = witnessed("toy", weight=draw.normal(shape[1], shape[1]))
    return {"model": model, "x": draw.normal(*shape), "cond": cond, "uncond": uncond}


@check("guided_sample", visible=True)
def test_guides_the_whole_run(compare, draw):
    """With one scale in every step, every step is guided."""
    compare.play("sample", view=part("end"), **start(draw, 2, 4, 6, 6), scales=tensor([4.0] * 6))


@check("guided_sample", visible=True)
def test_follows_the_plan(compare, draw):
    """Each step has its own scale, and where that is 1 the prompt's prediction stands alone."""
    scales = tensor([1.0, 5.0, 5.0, 3.0, 1.0])
    compare.play("sample", view=part("end"), **start(draw, 2, 4, 6, 6), scales=scales)


@check("guided_sample", visible=True)
def test_runs_without_guidance(compare, draw):
    """A plan of ones is sampling without guidance."""
    compare.play("sample", view=part("end"), **start(draw, 1, 4, 6, 6), scales=tensor([1.0] * 4))


@check("guided_sample", visible=True, property=True)
def test_plan_stays(student, draw):
    """The plan is the caller's: after the run it holds what it held."""
    answer = student.play("sample", **start(draw, 1, 4, 6, 6), scales=tensor([1.0, 6.0, 2.0]))
    plan = entry(answer, "plan")
    kept = entry(plan, "evaluations") == 5 and (values(entry(plan, "scale"), 3) == [1, 6, 2]).all()
    assert kept, "The plan has changed."


@check("guided_sample", weight=2)
def test_other_plans(compare, draw):
    """Two runs of other shapes and plans, one after the other, are both right: videos, then sequences."""
    s = draw.real(3.0, 8.0)
    inputs = start(draw, 3, 2, 2, 5, 3, tokens=3, dim=6)
    compare.play("sample", view=part("end"), **inputs, scales=tensor([s, s, 1.0, 1.0, 1.2, s, s]))
    compare.play("sample", view=part("end"), **start(draw, 2, 5, 4, tokens=2), scales=tensor([1.0, s, s + 1]))


@check("guided_sample", weight=2)
def test_single_guided_step(compare, draw):
    """A run of one step, and one in which only the last step is guided, are right."""
    s = draw.real(3.0, 8.0)
    compare.play("sample", view=part("end"), **start(draw, 2, 3, 5, 7), scales=tensor([s]))
    compare.play("sample", view=part("end"), **start(draw, 1, 3, 5, 7), scales=tensor([1.0, 1.0, 1.0, s]))


@check("guided_sample", visible=True, subject="The list of calls")
def test_one_call_a_step(compare, draw):
    """Each step is one call: both halves where the plan guides, the prompts' half alone where its scale is 1."""
    compare.calls("sample", view=given, **start(draw, 2, 3, 4, 4), scales=tensor([1.0, 5.0, 5.0, 3.0, 1.0]))


@check("guided_sample", subject="The list of calls")
def test_what_other_plans_cost(compare, draw):
    """Other plans cost what they say: two evaluations a picture in a guided step, one in any other."""
    s = draw.real(3.0, 8.0)
    compare.calls("sample", view=given, **start(draw, 3, 2, 5, tokens=2), scales=tensor([s, 1.0, 1.2, s]))
    compare.calls("sample", view=given, **start(draw, 1, 2, 5, tokens=3), scales=tensor([1.0, 1.0, s]))
