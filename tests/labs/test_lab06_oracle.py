"""Lab 06's reference against diffusers' own pipelines: recorded always, and live, some with transformers alone."""

import ast
import inspect
import sys
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler
from diffusers.image_processor import VaeImageProcessor

from tests.labs import witness
from tests.labs.witness import normal

# diffusers' schedulers hand torch tensors to numpy in a way that numpy 2 deprecates; transformers has news of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*"),
]

reference, scenarios, recipe = witness.reference("lab06"), witness.scenarios("lab06"), witness.recipe("lab06")
golden = witness.golden("lab06")

# From lab.toml: what moves between machines is a third of it.
TOLERANCE = {"atol": 2e-4, "rtol": 1e-3}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", recipe.CASES)
def test_agrees_with_the_recorded_pipeline(case):
    outcome = recipe.run(case, reference)
    torch.testing.assert_close(outcome["latents"], golden[f"{case}/latents"], **TOLERANCE)
    assert torch.equal(outcome["calls"], golden[f"{case}/calls"])


@pytest.mark.oracle
@pytest.mark.parametrize("case", recipe.CASES)
def test_agrees_with_the_live_pipeline_to_the_bit(case):
    pytest.importorskip("transformers", reason="StableDiffusionPipeline needs transformers: install the oracle extra")
    library, ours = recipe.run(case, recipe.LibraryPipeline()), recipe.run(case, reference)
    assert torch.equal(ours["latents"], library["latents"])
    assert torch.equal(ours["calls"], library["calls"])


def test_guidance_between_equal_conditions_is_no_guidance():
    given = recipe.inputs("euler")
    given["uncond"] = given["cond"]
    guided = scenarios.sample(reference, **given)
    plain = scenarios.sample(reference, **{**given, "guidance_scale": 1.0})
    torch.testing.assert_close(guided, plain, **TOLERANCE)


def test_a_sample_does_not_depend_on_its_batch():
    given = recipe.inputs("dpm")
    one = scenarios.sample(reference, **given)
    doubled = {name: torch.cat([given[name], given[name]]) for name in ("noise", "cond", "uncond")}
    two = scenarios.sample(reference, **{**given, **doubled})
    torch.testing.assert_close(two, torch.cat([one, one]), **TOLERANCE)


def test_a_used_scheduler_starts_afresh():
    given = recipe.inputs("heun")
    scheduler = scenarios.make_scheduler("heun")
    unet = scenarios.make_unet(4, 8, seed=0).requires_grad_(False)
    rest = [given[name] for name in ("noise", "cond", "uncond", "guidance_scale")]
    first = reference.denoise_loop(unet, scheduler, *rest, 2)
    assert torch.equal(reference.denoise_loop(unet, scheduler, *rest, 2), first)


def test_one_euler_step_by_hand():
    """From sigma to 0 in one step the latents become x - sigma * eps; here eps is 0.5 everywhere."""
    scheduler = scenarios.make_scheduler("euler_linspace")
    noise = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    seen = []

    def half(sample, t, encoder_hidden_states):
        seen.append(sample)
        return SimpleNamespace(sample=torch.full_like(sample, 0.5))

    latents = reference.denoise_loop(half, scheduler, noise, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), 1.0, 1)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = torch.cumprod(1 - betas, dim=0)[0]  # one step, spaced by linspace, is timestep 0
    sigma = float(((1 - alpha_bar) / alpha_bar).sqrt())
    start = noise * float(scheduler.init_noise_sigma)
    torch.testing.assert_close(seen[0], start / (sigma**2 + 1) ** 0.5)
    torch.testing.assert_close(latents, start - 0.5 * sigma)


def test_the_harness_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    scenarios.filled(scenarios.build_unet(4, 8), 0)
    scenarios.filled(scenarios.build_dit(4, 10, 4, True), 0)
    assert torch.equal(torch.get_rng_state(), before)


KEPT = {
    "unet": (
        lambda **more: scenarios.make_unet(4, 8, **more),
        lambda: scenarios.build_unet(4, 8),
        {"sample": normal(0, 2, 4, 4, 6), "timestep": 5, "encoder_hidden_states": normal(1, 2, 3, 8)},
    ),
    "transformer": (
        lambda **more: scenarios.make_dit(4, 10, **more),
        lambda: scenarios.build_dit(4, 10, 4, True),
        {
            "hidden_states": normal(0, 2, 4, 4, 4),
            "timestep": torch.tensor([5, 5]),
            "class_labels": torch.tensor([1, 10]),
        },
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_model_that_another_play_had_is_as_new(name):
    make, build, given = KEPT[name]
    used = make(seed=1, trainable=True)
    used(**given)
    again, new = make(seed=2), scenarios.filled(build(), 2)
    assert again is used  # what is kept is what is filled anew
    assert not again.training and not new.training
    state, fresh = again.state_dict(), new.state_dict()
    assert state.keys() == fresh.keys() and all(torch.equal(state[key], fresh[key]) for key in fresh)
    held, made = dict(again.named_buffers()), dict(new.named_buffers())
    assert held.keys() == made.keys() and all(torch.equal(held[key], made[key]) for key in made)
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert all(parameter.grad is None for parameter in again.parameters())
    assert torch.equal(again(**given).sample, new(**given).sample)


@pytest.mark.parametrize("name", KEPT)
def test_a_model_leaves_the_convolutions_of_others_as_they_are(name):
    make, _, given = KEPT[name]
    make()(**given)
    assert torch.backends.mkldnn.enabled
    with pytest.raises(TypeError):
        make()(**given, no_such_argument=1)
    assert torch.backends.mkldnn.enabled


def test_no_parameter_of_the_harness_model_is_left_at_zero():
    unet = scenarios.make_unet(4, 8, seed=0)
    assert all(float(parameter.detach().abs().min()) > 0 for parameter in unet.parameters() if parameter.numel() < 64)
    assert all(float(parameter.detach().std()) > 0 for parameter in unet.parameters())


# Predictions, each with a witness that is not the formula itself


def test_prediction_of_the_shapes():
    """Three prompts through real classes on the meta device: nothing is computed, and shapes are what they are."""
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        )
        latents = vae.encode(torch.empty(3, 3, 768, 512)).latent_dist.mean
        given = []

        def unet(sample, t, encoder_hidden_states):
            given.append((tuple(sample.shape), tuple(encoder_hidden_states.shape)))
            return SimpleNamespace(sample=sample)

        embeddings = torch.empty(3, 77, 768)
        scheduler = SimpleNamespace(
            set_timesteps=lambda steps: None,
            init_noise_sigma=1.0,
            timesteps=[1],
            scale_model_input=lambda sample, t: sample,
            step=lambda prediction, t, sample: SimpleNamespace(prev_sample=prediction),
        )
        last = reference.denoise_loop(unet, scheduler, latents, embeddings, embeddings, 7.5, 1)
    ((sample, condition),) = given
    assert reference.checkpoint_shapes() == {"sample": sample, "condition": condition, "decoder": tuple(last.shape)}


@pytest.mark.parametrize(("key", "scheduler"), [("ddim", "ddim"), ("heun", "heun"), ("img2img", "ddim")])
def test_prediction_of_the_calls(key, scheduler):
    made = scenarios.make_scheduler(scheduler)
    if key == "img2img":
        made.set_timesteps(20)
        timesteps, _ = recipe.function(recipe.SD_IMG2IMG, "get_timesteps")(
            SimpleNamespace(scheduler=made), 20, 0.3, "cpu"
        )
        assert reference.checkpoint_calls()[key] == len(timesteps)
    else:
        calls = []

        def unet(sample, t, encoder_hidden_states):
            calls.append(t)
            return SimpleNamespace(sample=sample * 0.1)

        noise, condition = normal(0, 1, 4, 2, 2), torch.zeros(1, 1, 1)
        reference.denoise_loop(unet, made, noise, condition, condition, 7.5, 20)
        assert reference.checkpoint_calls()[key] == len(calls)


# What StableDiffusionPipeline writes for each of the eight actions.
WRITTEN = {
    "encode_prompt": "self.encode_prompt(",
    "set_timesteps": "retrieve_timesteps(",
    "init_noise_sigma": "self.prepare_latents(",
    "scale_model_input": "self.scheduler.scale_model_input(",
    "denoiser": "self.unet(",
    "guidance": "noise_pred_uncond + self.guidance_scale * (noise_pred_text - noise_pred_uncond)",
    "step": "self.scheduler.step(",
    "decode": "self.vae.decode(",
}


def test_prediction_of_the_order():
    tree = recipe.source(recipe.SD)
    (call,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__call__")
    (loop,) = (n for n in ast.walk(call) if isinstance(n, ast.For) and ast.unparse(n.iter) == "enumerate(timesteps)")
    found = {"before": [], "loop": [], "after": []}
    lines = ast.unparse(call).split("\n")
    inside = ast.unparse(loop).split("\n")
    begin = next(i for i, line in enumerate(lines) if line.strip() == inside[0])
    places = []
    for name, text in WRITTEN.items():
        (place,) = (i for i, line in enumerate(lines) if text in line)
        places.append((place, name))
    for place, name in sorted(places):
        part = "before" if place < begin else "loop" if place < begin + len(inside) else "after"
        found[part].append(name)
    assert reference.checkpoint_order() == {part: tuple(names) for part, names in found.items()}


def test_prediction_of_the_units():
    """In a walk with Euler each tensor goes through what the prediction says, and no other number makes it right."""
    scheduler = scenarios.make_scheduler("euler")
    scheduler.set_timesteps(4)
    factors = {"init_noise_sigma": float(scheduler.init_noise_sigma), "nothing": 1.0, "scaling_factor": 1 / 0.18215}
    x0, noise = normal(1, 1, 4, 8, 8), normal(2, 1, 4, 8, 8)
    t = scheduler.timesteps[0]
    said = reference.checkpoint_units()
    # The first latents are noise as large as add_noise would make it.
    start = noise * factors[said["noise"]]
    torch.testing.assert_close(start, scheduler.add_noise(x0, noise, t[None]) - x0, atol=0.7, rtol=0.03)
    # The denoiser expects variance 1; step expects what makes one Euler step of a perfect prediction a step.
    assert said["denoiser"] == "scale_model_input"
    assert scheduler.scale_model_input(x0 + start, t).std().item() == pytest.approx(1, abs=0.1)
    stepped = scheduler.step(noise, t, (x0 + scheduler.sigmas[0] * noise) * factors[said["step"]]).prev_sample
    torch.testing.assert_close(stepped, x0 + scheduler.sigmas[1] * noise, atol=1e-5, rtol=1e-5)
    # The pipeline's own line before the decoder.
    config = SimpleNamespace(scaling_factor=0.18215)
    decoded = recipe.before_decode(recipe.SD, x0, config)
    torch.testing.assert_close(decoded, x0 * factors[said["decoder"]])


def test_prediction_of_the_roles():
    """Read in the source of SDXL's modular pipeline, and of what it is made of."""
    modular = recipe.MODULAR
    said = reference.checkpoint_modular()
    denoise = (modular / "stable_diffusion_xl" / "denoise.py").read_text(encoding="utf-8")
    (wrapper,) = (
        n
        for n in ast.parse(denoise).body
        if isinstance(n, ast.ClassDef) and n.name == "StableDiffusionXLDenoiseLoopWrapper"
    )
    # The class that holds `for i, t in enumerate(block_state.timesteps)` is a block.
    assert said["loop"] == "block"
    assert [ast.unparse(base) for base in wrapper.bases] == ["LoopSequentialPipelineBlocks"]
    assert "for i, t in enumerate(block_state.timesteps)" in ast.unparse(wrapper)
    core = (modular / "modular_pipeline.py").read_text(encoding="utf-8")
    classes = {n.name: n for n in ast.parse(core).body if isinstance(n, ast.ClassDef)}
    assert ast.unparse(classes["LoopSequentialPipelineBlocks"].bases[0]) == "ModularPipelineBlocks"
    # The pipeline's own call loops over no timesteps; blocks are handed the components and the state.
    (call,) = (n for n in classes["ModularPipeline"].body if getattr(n, "name", "") == "__call__")
    assert "timesteps" not in ast.unparse(call)
    assert said["latents"] == "state"
    assert "used to pass data between pipeline blocks" in (ast.get_docstring(classes["PipelineState"]) or "")
    # UNet and guider, with the scale in its config, are expected components.
    assert said["weights"] == said["guidance_scale"] == "components"
    (expected,) = (n for n in wrapper.body if getattr(n, "name", "") == "loop_expected_components")
    assert "ComponentSpec('unet', UNet2DConditionModel)" in ast.unparse(expected)
    assert "'guider', ClassifierFreeGuidance, config=FrozenDict({'guidance_scale': 7.5})" in ast.unparse(expected)


# read_pipeline


@pytest.mark.oracle
@pytest.mark.parametrize("case", recipe.READ)
def test_reads_what_the_library_has_put_together(case):
    pytest.importorskip("transformers", reason="StableDiffusionPipeline needs transformers: install the oracle extra")
    model_index, files, found = recipe.components(case)
    assert reference.read_pipeline(model_index, files) == found


@pytest.mark.parametrize("case", recipe.READ)
def test_gives_the_golden_numbers(case):
    sample_size, in_channels, blocks, latent_channels = recipe.READ[case]
    model_index = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    size = list(sample_size) if isinstance(sample_size, tuple) else sample_size
    files = {
        "unet": {"sample_size": size, "in_channels": in_channels},
        "vae": {"block_out_channels": list(blocks), "latent_channels": latent_channels},
        "scheduler": {},
    }
    answer = reference.read_pipeline(model_index, files)
    numbers = [answer["vae_scale_factor"], *answer["latent_shape"], *answer["image_hw"]]
    assert numbers == golden[f"read_{case}/numbers"].tolist()
    assert answer["scaling_factor"] == pytest.approx(golden[f"read_{case}/scaling"].item())


def test_defaults_are_those_of_the_classes():
    answer = reference.read_pipeline(
        {"transformer": ["diffusers", "DiTTransformer2DModel"]},
        {
            "transformer": {"sample_size": 32},
            "vae": {"block_out_channels": [1], "latent_channels": 4},
            "scheduler": {},
        },
    )
    default = inspect.signature(AutoencoderKL.__init__).parameters["scaling_factor"].default
    assert answer["scaling_factor"] == default
    for scheduler_class in scenarios.CLASSES.values():
        default = inspect.signature(scheduler_class.__init__).parameters["prediction_type"].default
        assert answer["prediction_type"] == default


# prepare_latents


@pytest.mark.parametrize("case", recipe.NOISE)
def test_draws_what_the_pipeline_draws(case):
    latents = reference.prepare_latents(*recipe.NOISE[case])
    assert torch.equal(latents, recipe.prepared(case))
    torch.testing.assert_close(latents, golden[f"noise_{case}/latents"])


def test_refuses_as_the_pipeline_does():
    shape, _, sigma, factor, dtype = recipe.NOISE["unit"]
    with pytest.raises(ValueError):
        reference.prepare_latents(shape, [1], sigma, factor, dtype)
    pipeline = SimpleNamespace(vae_scale_factor=factor, scheduler=SimpleNamespace(init_noise_sigma=sigma))
    with pytest.raises(ValueError):
        recipe.function(recipe.SD, "prepare_latents")(
            pipeline, 2, 4, 32, 48, dtype, "cpu", [torch.Generator().manual_seed(1)]
        )


def test_a_picture_s_noise_does_not_depend_on_the_batch():
    three = reference.prepare_latents((3, 4, 32, 48), [7, 8, 9], 2.0, 8, torch.float32)
    one = reference.prepare_latents((1, 4, 32, 48), [8], 2.0, 8, torch.float32)
    assert torch.equal(three[1:2], one)


# img2img_start


@pytest.mark.parametrize("case", recipe.STARTS)
def test_begins_where_the_pipeline_begins(case):
    scheduler, strength, steps = recipe.STARTS[case]
    kept = witness.case("lab06", f"start_{case}")
    for found in (kept, recipe.started(case)):
        answer = reference.img2img_start(
            scenarios.make_scheduler(scheduler), found["x0"], found["noise"], strength, steps
        )
        assert torch.equal(answer["timesteps"], found["timesteps"])
        torch.testing.assert_close(answer["latents"], found["latents"], atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("scheduler", ["euler", "heun", "dpm", "dpm_karras", "euler_linspace"])
@pytest.mark.parametrize(("strength", "steps"), [(0.1, 10), (0.5, 7), (1.0, 4), (0.035, 100)])
def test_a_model_that_knows_the_noise_comes_back_to_the_picture(scheduler, strength, steps):
    x0, noise = normal(1, 2, 4, 3, 5), normal(2, 2, 4, 3, 5)
    seen = scenarios.walked_from_a_picture(
        reference, scheduler=scheduler, x0_latent=x0, noise=noise, strength=strength, steps=steps
    )
    torch.testing.assert_close(seen[-1], x0, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("strength", "steps"), [(-0.1, 10), (1.01, 10), (0.0, 10), (0.09, 10)])
def test_refuses_a_strength_without_a_walk(strength, steps):
    x0 = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError):
        reference.img2img_start(scenarios.make_scheduler("ddim"), x0, x0, strength, steps)


# latents_to_image


@pytest.mark.parametrize("case", recipe.PICTURES)
def test_gives_the_pictures_of_the_image_processor(case):
    _, factor, shift, _ = recipe.PICTURES[case]
    kept = witness.case("lab06", f"picture_{case}")
    vae = scenarios.ExactVAE(factor, shift, kept["z"].dtype)
    picture = reference.latents_to_image(vae, kept["z"])
    assert torch.equal(picture, kept["picture"])
    assert torch.equal(picture, recipe.pictured(case, vae, kept["z"]))


@pytest.mark.parametrize("case", recipe.PICTURES)
def test_gives_the_pictures_of_a_real_vae(case):
    shape, factor, shift, _ = recipe.PICTURES[case]
    vae = scenarios.make_vae(shape[1], 2, factor, shift)
    z = normal(3, *shape)
    ours, theirs = reference.latents_to_image(vae, z), recipe.pictured(case, vae, z)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_a_level_by_hand():
    vae = scenarios.ExactVAE(0.5, 0.1, torch.float32)
    z = (torch.tensor([-1.0, -0.6, 1.7]).reshape(1, 3, 1, 1) - 0.1) * 0.5
    assert reference.latents_to_image(vae, z)[0, 0, 0].tolist() == [0, 51, 255]


# swap_scheduler


@pytest.mark.parametrize("new", scenarios.CLASSES)
@pytest.mark.parametrize("old", scenarios.CLASSES)
def test_what_was_told_is_told_again(old, new):
    """The new scheduler is the one that a constructor makes of what the old one was told, and of nothing else."""
    told = {**scenarios.TRAINING, "prediction_type": "v_prediction"}
    made = reference.swap_scheduler(scenarios.CLASSES[old](**told), scenarios.CLASSES[new])
    plain = scenarios.CLASSES[new](**told)
    found, expected = scenarios.described(made), scenarios.described(plain)
    assert found["class"] == expected["class"]
    assert torch.equal(found["timesteps"], expected["timesteps"])
    assert torch.equal(found["alphas_cumprod"], expected["alphas_cumprod"])
    for key, value in expected["config"].items():
        assert value is None or found["config"][key] == value, key


def test_overrides_win_over_defaults_and_over_what_was_told():
    old = EulerDiscreteScheduler(**scenarios.TRAINING, timestep_spacing="leading")
    new = reference.swap_scheduler(old, scenarios.CLASSES["DPM"], use_karras_sigmas=True, timestep_spacing="trailing")
    assert new.config.use_karras_sigmas is True
    assert new.config.timestep_spacing == "trailing"
    assert old.config.timestep_spacing == "leading"


# dit_sample


@pytest.mark.parametrize("case", recipe.LABELLED)
def test_samples_what_the_dit_pipeline_samples(case):
    scheduler, labels, guidance_scale, steps, channels = recipe.LABELLED[case]
    for found in (witness.case("lab06", f"label_{case}"), recipe.labelled(case)):
        latents = scenarios.dit_walk(
            reference,
            model=scenarios.make_dit(channels, 1000),
            scheduler=scheduler,
            noise=found["noise"],
            labels=torch.tensor(labels),
            guidance_scale=guidance_scale,
            steps=steps,
        )
        torch.testing.assert_close(latents, found["latents"], **TOLERANCE)


def test_the_null_class_is_one_more_than_the_classes():
    model = scenarios.make_dit(4, 37)
    tables = [part for part in model.modules() if type(part).__name__ == "LabelEmbedding"]
    assert tables and all(table.embedding_table.num_embeddings == 37 + 1 for table in tables)
    assert all(table.num_classes == 37 for table in tables)  # what LabelEmbedding puts in for a dropped label


@pytest.mark.parametrize("name", ["euler_linspace", "heun"])
def test_a_transformer_that_knows_the_noise_leaves_nothing_of_it(name):
    """From noise alone to nothing, in the unit of σ; on the way the transformer sees deviation 1."""
    noise, seen = normal(2, 2, 4, 8, 8), []

    class Knows:
        config = SimpleNamespace(num_embeds_ada_norm=10)

        def __call__(self, sample, timestep, class_labels):
            seen.append(sample.std().item())
            return SimpleNamespace(sample=torch.cat([noise, noise]).repeat(1, 2, 1, 1))

    scheduler = scenarios.make_scheduler(name)
    latents = reference.dit_sample(Knows(), scheduler, noise, torch.tensor([1, 2]), 5.0, 4)
    assert seen[0] == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(latents, torch.zeros_like(latents), atol=1e-5, rtol=0)


# inpaint_step


@pytest.mark.parametrize("case", recipe.HOLES)
def test_repaints_as_the_inpainting_pipeline_does(case):
    scheduler, _, begin, _ = recipe.HOLES[case]
    for found in (witness.case("lab06", f"hole_{case}"), recipe.repainted(case)):
        seen = scenarios.inpainted(
            reference,
            scheduler=scheduler,
            image_latents=found["image"],
            mask=found["mask"].float(),
            noise=found["noise"],
            predictions=found["predictions"],
            begin=begin,
        )
        torch.testing.assert_close(torch.stack(seen), found["latents"], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "heun", "dpm"])
def test_the_kept_places_end_as_the_picture(scheduler):
    image, noise = normal(1, 2, 4, 3, 5), normal(2, 2, 4, 3, 5)
    mask = torch.zeros(2, 1, 12, 20)
    mask[:, :, :, :8] = 1
    seen = scenarios.inpainted(
        reference,
        scheduler=scheduler,
        image_latents=image,
        mask=mask,
        noise=noise,
        predictions=normal(3, 4, 2, 4, 3, 5),
    )
    assert torch.equal(seen[-1][..., 2:], image[..., 2:])
    assert not torch.equal(seen[-1][..., :2], image[..., :2])


def test_at_strength_one_the_hole_s_old_content_is_gone():
    noise, mask = normal(2, 1, 4, 3, 5), torch.zeros(1, 1, 12, 20)
    mask[:, :, 4:] = 1
    image = normal(1, 1, 4, 3, 5)
    other = image.clone()
    other[:, :, 1:] = 9.0  # differs in the hole only
    given = {"scheduler": "euler", "mask": mask, "noise": noise, "predictions": normal(3, 4, 1, 4, 3, 5)}
    one = scenarios.inpainted(reference, image_latents=image, **given)
    two = scenarios.inpainted(reference, image_latents=other, **given)
    assert torch.equal(one[-1], two[-1])


# The fence


def test_what_is_closed_says_so_and_is_open_again():
    with scenarios.fenced():
        with pytest.raises(RuntimeError, match="this is what the task asks you to write"):
            VaeImageProcessor.denormalize(torch.zeros(1))
        with pytest.raises(RuntimeError, match="this is what the task asks you to write"):
            VaeImageProcessor().postprocess(torch.zeros(1, 3, 2, 2))
        with pytest.raises(RuntimeError, match="this is what the task asks you to write"):
            recipe.DiTPipeline.__call__(None, [1])
    assert VaeImageProcessor.denormalize(torch.zeros(1)).item() == 0.5
    assert VaeImageProcessor().postprocess(torch.zeros(1, 3, 2, 2), output_type="pt").mean().item() == 0.5


def test_a_pipeline_that_nobody_loaded_is_closed_too(monkeypatch):
    monkeypatch.delitem(sys.modules, scenarios.DIT_PIPELINE)
    with scenarios.fenced(), pytest.raises(RuntimeError, match="this is what the task asks you to write"):
        from diffusers.pipelines.dit.pipeline_dit import DiTPipeline  # noqa: F401
    assert scenarios.DIT_PIPELINE not in sys.modules
