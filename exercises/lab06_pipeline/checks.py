"""Checks of lab 06: the same code, graded under schedulers and models that hide and that show each mistake."""

from typing import Any

import numpy as np

from grader.kit import Recipe, array, check, dtype, part, tensor, witnessed

# Checkpoints. They are visible, and say whether a prediction is right; what is right they keep to themselves.


@check("checkpoint_shapes", visible=True, tells="Not yet. Who is given everything twice, and who is not?")
def test_prediction_of_the_shapes(compare):
    """Prediction: what denoiser and decoder are given for three prompts."""
    compare.checkpoint_shapes()


@check("checkpoint_calls", visible=True, tells="Not yet. Write down the list of timesteps of each walk, and count.")
def test_prediction_of_the_calls(compare):
    """Prediction: how often three walks call the denoiser."""
    compare.checkpoint_calls()


@check("checkpoint_units", visible=True, tells="Not yet. Ask of each reader which unit it was made for.")
def test_prediction_of_the_units(compare):
    """Prediction: what each of four tensors goes through before it is read."""
    compare.checkpoint_units()


@check("checkpoint_order", visible=True, tells="Not yet. Which action needs which other to have happened?")
def test_prediction_of_the_order(compare):
    """Prediction: what happens before, in and after the loop."""
    compare.checkpoint_order()


@check("checkpoint_modular", visible=True, tells="Not yet. What stays, what passes through, and what acts?")
def test_prediction_of_the_roles(compare):
    """Prediction: where loop, latents, weights and guidance scale live in Modular Diffusers."""
    compare.checkpoint_modular()


# read_pipeline

STABLE_DIFFUSION = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
DIT = {
    "_class_name": "DiTPipeline",
    "_diffusers_version": "0.42.1",
    "vae": ["diffusers", "AutoencoderKL"],
    "transformer": ["diffusers", "DiTTransformer2DModel"],
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
}


def configs(
    sample_size: Any,
    blocks: int,
    latent_channels: int,
    in_channels: int,
    denoiser: str = "unet",
    levels: int = 3,
    vae: dict[str, Any] | None = None,
    **scheduler: Any,
) -> dict[str, dict[str, Any]]:
    """Return the config files of a pipeline, with what is needed and what is only in the way."""
    # A transformer answers noise and variance, as DiT does: twice the latents' channels.
    out_channels = latent_channels if denoiser == "unet" else 2 * latent_channels
    network = {"sample_size": sample_size, "in_channels": in_channels, "out_channels": out_channels}
    unet = {"block_out_channels": [320, 640, 1280, 1280, 1280][:levels], "cross_attention_dim": 768}
    return {
        denoiser: {**network, **(unet if denoiser == "unet" else {"num_layers": 28, "patch_size": 2})},
        "vae": {
            "block_out_channels": [128, 256, 512, 512, 512][:blocks],
            "in_channels": 3,
            "latent_channels": latent_channels,
            "sample_size": 256,
            **(vae or {}),
        },
        "scheduler": {"beta_schedule": "scaled_linear", "num_train_timesteps": 1000, **scheduler},
    }


def read(compare: Any, keys: tuple[str, ...], *pipelines: tuple[dict[str, Any], dict[str, dict[str, Any]]]) -> None:
    """Compare some entries of what is read, for several pipelines."""
    for model_index, files in pipelines:
        compare.play("answer", view=part(*keys), function="read_pipeline", model_index=model_index, configs=files)


# Without scaling_factor, as the first releases of Stable Diffusion are; and one that says everything.
FIRST = (STABLE_DIFFUSION, configs(64, 4, 4, 4))
SAYS_ALL = (
    {**STABLE_DIFFUSION, "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]},
    configs([96, 64], 3, 16, 16, vae={"scaling_factor": 1.5305}, prediction_type="v_prediction"),
)


@check("read_pipeline", visible=True)
def test_components(compare):
    """The components that are there, sorted by name."""
    read(compare, ("components",), FIRST, SAYS_ALL)


@check("read_pipeline", visible=True)
def test_spatial_factor(compare):
    """How many pixels lie beside one another for one latent."""
    read(compare, ("vae_scale_factor",), FIRST, SAYS_ALL)


@check("read_pipeline", visible=True)
def test_sizes(compare):
    """The shape of one latent, and the size of the picture in pixels."""
    read(compare, ("latent_shape", "image_hw"), FIRST, SAYS_ALL)


@check("read_pipeline", visible=True)
def test_constants(compare):
    """What the network predicts, and the factor of its latents, said or not."""
    read(compare, ("prediction_type", "scaling_factor"), FIRST, SAYS_ALL)


@check("read_pipeline")
def test_components_of_others(compare):
    """Components of other pipelines: other names, others that are absent, other plain values among them."""
    xl = {
        "_class_name": "StableDiffusionXLPipeline",
        "_name_or_path": "somebody/some-model",
        "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "force_zeros_for_empty_prompt": True,
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "boundary_ratio": 0.9,
        "expand_timesteps": None,
    }
    read(compare, ("components",), (xl, configs(128, 4, 4, 4)), (DIT, configs(32, 4, 4, 4, "transformer")))


@check("read_pipeline")
def test_factor_of_other_vaes(compare, draw):
    """The factor is the VAE's, however many blocks it has and however many levels the denoiser."""
    read(
        compare,
        ("vae_scale_factor",),
        (STABLE_DIFFUSION, configs(32, draw.choice([2, 3]), 4, 4, levels=4)),
        (STABLE_DIFFUSION, configs(32, 1, 4, 4, levels=2)),
        (STABLE_DIFFUSION, configs(16, 5, 4, 4, levels=3)),
    )


@check("read_pipeline")
def test_size_of_an_inpainting_model(compare, draw):
    """A denoiser may be given more channels than latents have."""
    channels = draw.choice([8, 16])
    files = configs([draw.whole(40, 60), draw.whole(65, 90)], 3, channels, 2 * channels + 1)
    read(compare, ("latent_shape", "image_hw"), (STABLE_DIFFUSION, files))


@check("read_pipeline", visible=True)
def test_size_of_a_transformer(compare, draw):
    """The denoiser may be a transformer, and its latents as large as it says."""
    files = configs(draw.whole(20, 40), 5, draw.whole(5, 12), 4, "transformer")
    tall = configs([draw.whole(50, 60), draw.whole(20, 40)], 2, 6, 6, "transformer")
    read(compare, ("latent_shape", "image_hw"), (DIT, files), (DIT, tall))


@check("read_pipeline")
def test_constants_of_others(compare, draw):
    """What a config says counts, and where it says nothing the class's default."""
    said = {"scaling_factor": draw.choice([1.0, 0.13025, 0.3611])}
    read(
        compare,
        ("prediction_type", "scaling_factor"),
        (DIT, configs(32, 4, 4, 4, "transformer", vae=said)),
        (STABLE_DIFFUSION, configs(32, 4, 4, 4, prediction_type="sample")),
        (STABLE_DIFFUSION, configs(32, 4, 4, 4, vae=said, prediction_type="epsilon")),
    )


# prepare_latents


@check("prepare_latents", visible=True)
def test_two_pictures(compare):
    """The noise of two pictures, as DDIM begins with it."""
    compare.prepare_latents((2, 4, 64, 96), [3, 11], 1.0, 8, dtype("float32"))


@check("prepare_latents", visible=True)
def test_sigma_of_the_start(compare):
    """The noise of one picture, as Euler begins with it."""
    compare.prepare_latents((1, 4, 48, 64), [7], 14.6146, 8, dtype("float32"))


@check("prepare_latents", visible=True, property=True)
def test_too_few_seeds(compare):
    """As many seeds as pictures, or a ValueError."""
    compare.prepare_latents((3, 4, 32, 32), [1, 2], 1.0, 8, dtype("float32"))


@check("prepare_latents", visible=True)
def test_leaves_the_global_generator(compare):
    """torch's global generator stays where it was."""
    given = {"shape": (2, 4, 32, 48), "seeds": [5, 6], "init_noise_sigma": 2.0, "vsf": 8, "dtype": dtype("float32")}
    compare.play("latents_and_the_global_state", seed=1, **given)


@check("prepare_latents", property=True)
def test_too_many_seeds(compare, draw):
    """One seed too many is refused, too."""
    compare.prepare_latents((1, 4, 32, 32), [draw.whole(1, 99), 0], 1.0, 8, dtype("float32"))


@check("prepare_latents")
def test_seeds_in_another_order(compare, draw):
    """Each picture's noise hangs on its own seed and on nothing else in the batch."""
    first, second, third = draw.whole(10, 99), draw.whole(200, 999), draw.whole(2000, 9999)
    sigma = draw.real(2.0, 9.0)
    for seeds in ([first, second, third], [third, first, second], [second], [first, first]):
        compare.prepare_latents((len(seeds), 4, 24, 40), seeds, sigma, 8, dtype("float32"))


@check("prepare_latents", visible=True)
def test_other_vaes(compare, draw):
    """Other factors, other channels, and sizes that do not divide: what is left over is dropped."""
    sigma = draw.real(1.5, 3.0)
    compare.prepare_latents((2, 16, 47, 31), [draw.whole(1, 50), 0], sigma, 4, dtype("float32"))
    compare.prepare_latents((1, 3, 5, 9), [draw.whole(1, 50)], sigma, 1, dtype("float32"))
    compare.prepare_latents((3, 8, 79, 33), [1, 2, draw.whole(3, 9)], sigma, 16, dtype("float32"))


@check("prepare_latents")
def test_noise_in_half_precision(compare, draw):
    """The noise has the dtype that is asked for; the next call asks for another."""
    for name in ("float16", "bfloat16", "float32"):
        compare.prepare_latents((2, 4, 32, 24), [draw.whole(1, 99), 4], draw.real(1.5, 3.0), 8, dtype(name))


@check("prepare_latents", visible=True)
def test_noise_in_float64(compare, draw):
    """In float64 the numbers are drawn as float64."""
    compare.prepare_latents((2, 4, 32, 24), [draw.whole(1, 99), 4], draw.real(1.5, 3.0), 8, dtype("float64"))


# denoise_loop


def run(play: Any, draw: Any, scheduler: str, scale: float, steps: int, size: tuple[int, ...], **more: Any) -> None:
    """Run the loop by `play`. `size`: batch, height, width, tokens, dim; `more` goes to the UNet, or is the `view`."""
    batch, height, width, tokens, dim = size
    cond, uncond = draw.normals(2, batch, tokens, dim)
    noise = draw.normal(batch, 4, height, width)
    views = {"view": more.pop("view")} if "view" in more else {}
    unet = witnessed("make_unet", calls=20, channels=4, context_dim=dim, seed=draw.seed(), **more)
    given = {"noise": noise, "cond": cond, "uncond": uncond, "guidance_scale": scale, "steps": steps}
    play("sample", unet=unet, scheduler=scheduler, **given, **views)


def calls(answer: Any) -> Any:
    """Return each call of the network as (batch size, timestep as text: "751", "749.25", or all where they differ)."""
    return [(call["sample"].shape[0], plain_timestep(call["timestep"])) for call in answer["unet"]]


def plain_timestep(timestep: Any) -> str:
    """Write a timestep as text, which compares exactly."""
    values = [f"{float(t):.7g}" for t in np.ravel(getattr(timestep, "array", timestep))]
    return values[0] if len(set(values)) == 1 else ", ".join(values)


def graphs(answer: Any) -> Any:
    """Return of each call whether the latents that it was given hung on a gradient graph."""
    return [call["sample"].requires_grad for call in answer["unet"]]


@check("denoise_loop", visible=True)
def test_runs_ddim(compare, draw):
    """With DDIM, the loop makes the steps that were asked for, guided, and ends at the right latents."""
    run(compare.play, draw, "ddim", 7.5, 3, (2, 8, 6, 5, 12))


@check("denoise_loop", visible=True)
def test_runs_euler(compare, draw):
    """With Euler, whose latents live in another unit, the same loop still ends at the right latents."""
    run(compare.play, draw, "euler", 5.0, 3, (1, 8, 8, 5, 12))


@check("denoise_loop", visible=True, subject="The list of calls")
def test_calls_once_a_step(compare, draw):
    """Guided, the network is called once a step, with both conditions as one batch and the scheduler's timestep."""
    run(compare.calls, draw, "euler", 5.0, 3, (2, 4, 4, 3, 8), view=calls)


@check("denoise_loop", visible=True, subject="The list of calls")
def test_skips_the_unconditional_branch(compare, draw):
    """At guidance scale 1 the network sees the conditional batch only."""
    run(compare.calls, draw, "dpm", 1.0, 2, (2, 6, 8, 3, 8), view=calls)


@check("denoise_loop", visible=True, subject="What hangs on a graph")
def test_keeps_no_graph(compare, draw):
    """Sampling learns nothing: no step hands a gradient graph to the next, even from trainable weights."""
    run(compare.calls, draw, "ddim", 3.0, 2, (1, 4, 4, 3, 8), view=graphs, trainable=True)


@check("denoise_loop")
def test_serves_a_multistep_solver(compare, draw):
    """With DPM-Solver++, which remembers earlier predictions, the loop still ends at the right latents."""
    run(compare.play, draw, "dpm", 4.0, 4, (2, 6, 10, 7, 12))


@check("denoise_loop", visible=True)
def test_serves_a_second_order_solver(compare, draw):
    """With Heun, which takes two looks for a step, the loop still ends at the right latents."""
    run(compare.play, draw, "heun", 6.0, 2, (1, 10, 6, 4, 8))


@check("denoise_loop")
def test_serves_velocity_prediction(compare, draw):
    """With a network that predicts v and another spacing of the timesteps, the same loop is still right."""
    run(compare.play, draw, "euler_v", 2.5, 2, (3, 6, 8, 6, 12))


@check("denoise_loop")
def test_does_not_guide_below_one(compare, draw):
    """Guidance is on above scale 1 only: below it, and at it, the conditional prediction is all that counts."""
    for scale in (0.5, 1.0):
        run(compare.play, draw, "ddim", scale, 2, (3, 4, 6, 4, 8))


@check("denoise_loop", subject="The list of calls")
def test_sees_one_batch_below_one(compare, draw):
    """Below scale 1, too, the network sees the conditional batch alone."""
    run(compare.calls, draw, "ddim", draw.real(0.2, 0.8), 2, (3, 4, 6, 4, 8), view=calls)


@check("denoise_loop")
def test_guides_just_above_one(compare, draw):
    """A scale little above 1 is guidance already."""
    run(compare.play, draw, "ddim", 1.25, 2, (2, 4, 4, 3, 8))


@check("denoise_loop")
def test_serves_timesteps_that_are_not_whole(compare, draw):
    """Where the scheduler's timesteps are no whole numbers, the loop still ends at the right latents."""
    run(compare.play, draw, "euler_linspace", 9.0, 3, (1, 4, 8, 2, 8))


@check("denoise_loop", subject="The list of calls")
def test_passes_timesteps_that_are_not_whole(compare, draw):
    """The network gets the scheduler's own timesteps, also where they are no whole numbers."""
    run(compare.calls, draw, "euler_linspace", 9.0, 3, (1, 4, 8, 2, 8), view=calls)


@check("denoise_loop", property=True)
def test_refuses_conditions_that_do_not_match(compare, draw):
    """Conditions of different shapes are refused with a ValueError, whether there is guidance or not."""
    unet = witnessed("make_unet", calls=20, channels=4, context_dim=8, seed=draw.seed())
    cond, noise = draw.normal(2, 3, 8), draw.normal(2, 4, 4, 4)
    for uncond, scale in ((draw.normal(1, 3, 8), 5.0), (draw.normal(2, 5, 8), 5.0), (draw.normal(1, 3, 8), 1.0)):
        given = {"noise": noise, "cond": cond, "uncond": uncond, "guidance_scale": scale, "steps": 2}
        compare.play("sample", unet=unet, scheduler="ddim", **given)


@check("denoise_loop")
def test_serves_other_channels(compare, draw):
    """Latents need not have four channels, and one run leaves nothing for the next."""
    for scheduler, channels in (("euler", 16), ("ddim", 3)):
        cond, uncond = draw.normals(2, 2, 3, 8)
        given = {"cond": cond, "uncond": uncond, "guidance_scale": draw.real(2.0, 6.0), "steps": 2}
        unet = witnessed("make_unet", calls=20, channels=channels, context_dim=8, seed=draw.seed())
        compare.play("sample", unet=unet, scheduler=scheduler, noise=draw.normal(2, channels, 4, 6), **given)


# img2img_start


def begin(compare: Any, draw: Any, scheduler: str, strength: float, steps: int, shape: tuple[int, ...]) -> None:
    """Compare how a walk from a picture begins."""
    x0, noise = draw.normals(2, *shape)
    compare.play("begun", scheduler=scheduler, x0_latent=x0, noise=noise, strength=strength, steps=steps)


@check("img2img_start", visible=True)
def test_begins_with_ddim(compare, draw):
    """The timesteps that are left, and the picture's latents at the first of them."""
    begin(compare, draw, "ddim", 0.5, 10, (2, 4, 6, 8))


@check("img2img_start", visible=True)
def test_begins_with_euler(compare, draw):
    """The same with Euler, whose latents live in another unit."""
    begin(compare, draw, "euler", 0.75, 8, (2, 4, 6, 8))


@check("img2img_start", visible=True)
def test_whole_walk(compare, draw):
    """At strength 1 no step is left out, and the picture is noised to the first level."""
    begin(compare, draw, "ddim", 1.0, 5, (1, 4, 4, 4))


@check("img2img_start", visible=True)
def test_cuts_off_fractions(compare, draw):
    """Where strength·steps is no whole number, the fraction is dropped."""
    begin(compare, draw, "ddim", 0.55, 10, (1, 4, 4, 6))


@check("img2img_start", visible=True, property=True)
def test_strength_outside(compare, draw):
    """A strength below 0 or above 1 is refused with a ValueError."""
    for strength in (-0.5, 1.5):
        begin(compare, draw, "ddim", strength, 10, (1, 4, 2, 2))


@check("img2img_start", property=True)
def test_no_step_left(compare, draw):
    """A strength that leaves no step is refused with a ValueError."""
    for strength, steps in ((0.0, 10), (draw.real(0.13, 0.24), 4)):
        begin(compare, draw, "euler", strength, steps, (1, 4, 2, 2))


@check("img2img_start", visible=True)
def test_begins_with_heun(compare, draw):
    """A second-order scheduler begins with a whole step, for even and odd counts."""
    for strength, steps in ((0.5, 10), (0.4, 5), (0.75, 9)):
        begin(compare, draw, "heun", strength, steps, (2, 4, 3, 5))


@check("img2img_start")
def test_begins_with_one_step(compare, draw):
    """With a single step left, the walk begins at the last level."""
    for scheduler in ("ddim", "euler_linspace", "dpm"):
        begin(compare, draw, scheduler, draw.real(0.11, 0.19), 10, (1, 4, 3, 5))


@check("img2img_start")
def test_fractions_of_other_walks(compare, draw):
    """The fraction is dropped for other counts of steps, too, one after the other."""
    for scheduler, steps in (("euler", 7), ("dpm", 11), ("ddim_trailing", 9)):
        begin(compare, draw, scheduler, (draw.whole(2, steps - 3) + 0.8) / steps, steps, (2, 3, 2, 5))


@check("img2img_start")
def test_comes_back_to_the_picture(compare, draw):
    """A model that knows the noise leads every kind of walk back to the picture, from low strength and from high."""
    for scheduler, strength, steps in (("ddim", 0.1, 10), ("euler", 0.6, 5), ("heun", 0.5, 6), ("dpm", 1.0, 4)):
        x0, noise = draw.normals(2, 2, 4, 3, 5)
        given = {"x0_latent": x0, "noise": noise, "strength": strength, "steps": steps}
        compare.play("walked_from_a_picture", scheduler=scheduler, **given)


@check("img2img_start", visible=True)
def test_walks_on_from_its_place(compare, draw):
    """Where a walk lists one timestep several times, it goes on from the place at which it began."""
    for strength in (0.035, 0.055):
        x0, noise = draw.normals(2, 1, 4, 3, 5)
        given = {"x0_latent": x0, "noise": noise, "strength": strength, "steps": 100}
        compare.play("walked_from_a_picture", scheduler="dpm_karras", **given)


# latents_to_image


def levels(draw: Any, shape: tuple[int, ...], scaling_factor: float, shift: float, beyond: int = 0) -> Recipe:
    """Return latents of the exact VAE whose levels lie well away from the middle between two, up to `beyond` outside.

    So right code agrees in every level, whatever the order of its operations.
    """
    rng = np.random.default_rng(draw.seed())
    level = rng.integers(-beyond, 256 + beyond, size=shape) + rng.uniform(-0.4, 0.4, size=shape)
    z = (level / 127.5 - 1 - shift) * scaling_factor
    return array(z.astype(np.float32))


def decode(compare: Any, z: Recipe, scaling_factor: float, shift_factor: float | None) -> None:
    """Compare the pictures of the exact VAE."""
    exact = {"scaling_factor": scaling_factor, "shift_factor": shift_factor}
    compare.play("decoded", z=z, exact=exact)


def as_numbers(answer: Any) -> Any:
    """Return a picture's shape, dtype and levels, the levels as numbers that compare with tolerance."""
    return {
        "shape": list(answer.shape),
        "dtype": answer.dtype,
        "levels": [float(level) for level in answer.array.ravel()],
    }


@check("latents_to_image", visible=True)
def test_decodes_with_a_factor(compare, draw):
    """Pictures of latents with a factor alone, as in Stable Diffusion 1.5."""
    decode(compare, levels(draw, (2, 4, 3, 5), 0.18215, 0.0), 0.18215, None)


@check("latents_to_image", visible=True)
def test_decodes_with_a_shift(compare, draw):
    """Pictures of latents with a factor above 1 and a shift, as in Stable Diffusion 3."""
    decode(compare, levels(draw, (2, 16, 3, 5), 1.5305, 0.0609), 1.5305, 0.0609)


@check("latents_to_image", visible=True)
def test_levels_beyond_the_range(compare, draw):
    """What lies beyond the range is black or white."""
    decode(compare, levels(draw, (1, 4, 6, 4), 0.5, 0.0, beyond=90), 0.5, None)


@check("latents_to_image", visible=True)
def test_decodes_with_a_real_vae(compare, draw):
    """Pictures of a tiny AutoencoderKL; a level more or less does not matter here."""
    vae = {"latent_channels": 4, "blocks": 2, "scaling_factor": 0.18215}
    compare.play("decoded", view=as_numbers, z=draw.normal(2, 4, 3, 5), vae=vae)


@check("latents_to_image")
def test_any_factor_and_any_shift(compare, draw):
    """Factor and shift are those of the config, from one VAE to the next."""
    for channels, sign in ((3, 1.0), (8, -1.0)):
        factor, shift = draw.real(0.3, 0.8), sign * draw.real(0.2, 0.6)
        decode(compare, levels(draw, (2, channels, 4, 3), factor, shift, beyond=20), factor, shift)


@check("latents_to_image")
def test_square_pictures(compare, draw):
    """Square pictures of as many rows as channels; a shape does not tell which axis is which."""
    decode(compare, levels(draw, (3, 3, 3, 3), 0.7, 0.0), 0.7, None)


@check("latents_to_image", visible=True)
def test_half_precision_of_the_decoder(compare, draw):
    """A decoder in bfloat16 is given bfloat16; it costs its own digits, and the change of range none."""
    rng = np.random.default_rng(draw.seed())
    # Powers of two as factors lose nothing; 0 lies exactly between two levels.
    y = rng.uniform(0.1, 1.1, size=(2, 4, 4, 6)) * rng.choice([-1.0, 1.0], size=(2, 4, 4, 6))
    for factor in (0.5, 4.0):
        decode(compare, array((y * factor).astype(np.float32)).to("bfloat16"), factor, None)


@check("latents_to_image")
def test_real_vae_with_a_shift(compare, draw):
    """Pictures of a tiny AutoencoderKL with many channels and a shift; then of another."""
    vae = {"latent_channels": 16, "blocks": 2, "scaling_factor": 1.5305, "shift_factor": 0.0609, "seed": 1}
    compare.play("decoded", view=as_numbers, z=draw.normal(1, 16, 5, 3), vae=vae)
    vae = {"latent_channels": 3, "blocks": 1, "scaling_factor": 0.4, "seed": 2}
    compare.play("decoded", view=as_numbers, z=draw.normal(2, 3, 4, 7), vae=vae)


@check("latents_to_image")
def test_strided_latents_of_the_decoder(compare, draw):
    """Latents that are not contiguous in memory are decoded all the same, and stay what they were."""
    decode(compare, levels(draw, (2, 5, 3, 4), 0.6, 0.3).transpose(1, 3), 0.6, 0.3)


# swap_scheduler

TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def swap(compare: Any, view: Any, old: str, options: dict[str, Any], *swaps: tuple[str, dict[str, Any]]) -> None:
    """Compare what comes of one swap after another."""
    compare.play("swapped", view=view, old=old, options=options, swaps=[list(one) for one in swaps])


def new(*keys: str) -> Any:
    """Return a view of the last scheduler: some of its entries."""
    return lambda answer: {key: answer["new"][key] for key in keys}


WALK = new("class", "timesteps", "config")


@check("swap_scheduler", visible=True)
def test_another_class(compare):
    """A DDIM scheduler of Stable Diffusion becomes Euler, with the walk and the options that it then has."""
    swap(compare, WALK, "DDIM", {**TRAINED, "clip_sample": False}, ("Euler", {}))


@check("swap_scheduler", visible=True)
def test_noise_levels_stay(compare):
    """The noise levels that the model was trained on stay what they are."""
    swap(compare, new("alphas_cumprod"), "Euler", TRAINED, ("DPM", {}))


@check("swap_scheduler", visible=True)
def test_overrides(compare):
    """An option that is asked for is set, also where the old scheduler had another."""
    options = {**TRAINED, "use_karras_sigmas": False, "timestep_spacing": "trailing"}
    swap(compare, WALK, "Euler", options, ("DPM", {"use_karras_sigmas": True}))


@check("swap_scheduler", visible=True)
def test_old_scheduler_stays(compare):
    """The old scheduler is what it was."""
    swap(compare, part("old"), "Euler", TRAINED, ("DDIM", {"timestep_spacing": "trailing"}))


@check("swap_scheduler")
def test_prediction_type_stays(compare, draw):
    """What the network predicts stays, for every class."""
    options = {**TRAINED, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    for swap_to in ("DDIM", "DPM", "Heun"):
        swap(compare, WALK, "Euler", options, (swap_to, {}))


@check("swap_scheduler")
def test_other_noise_levels(compare, draw):
    """Other betas stay as well, one model after the other."""
    for schedule, end in (("linear", draw.real(0.015, 0.03)), ("scaled_linear", draw.real(0.008, 0.011))):
        options = {"beta_start": 0.0005, "beta_end": end, "beta_schedule": schedule}
        swap(compare, new("alphas_cumprod", "config"), "DDIM", options, ("Heun", {}))
    swap(compare, new("alphas_cumprod"), "DPM", {"beta_schedule": "squaredcos_cap_v2"}, ("DDIM", {}))


@check("swap_scheduler")
def test_defaults_are_the_new_class_s(compare, draw):
    """What nobody chose for the old scheduler is not carried over: the new class has defaults of its own."""
    swap(compare, WALK, "Euler", TRAINED, ("DDIM", {}))
    swap(compare, WALK, "DDIM", TRAINED, ("Heun", {}))


@check("swap_scheduler")
def test_overrides_of_a_default(compare, draw):
    """An option that is asked for is set, also where the old scheduler had its class's default."""
    end = draw.real(0.011, 0.014)
    swap(compare, WALK, "Euler", {**TRAINED, "beta_end": end}, ("DPM", {"use_karras_sigmas": True}))
    swap(compare, WALK, "DPM", {**TRAINED, "beta_end": end}, ("Euler", {"prediction_type": "v_prediction"}))


@check("swap_scheduler")
def test_overrides_that_only_the_new_class_knows(compare, draw):
    """An option that is asked for is set, also where the old class has no such option."""
    options = {**TRAINED, "beta_end": draw.real(0.011, 0.014)}
    swap(compare, WALK, "DDIM", options, ("Euler", {"use_karras_sigmas": True}))


@check("swap_scheduler")
def test_noise_levels_that_are_asked_for(compare, draw):
    """An option that is asked for counts in what the new scheduler computes, too."""
    levels_and_config = new("alphas_cumprod", "config")
    swap(compare, levels_and_config, "DDIM", TRAINED, ("Euler", {"beta_end": draw.real(0.014, 0.02)}))
    swap(compare, levels_and_config, "Euler", TRAINED, ("DPM", {"beta_schedule": "linear"}))


@check("swap_scheduler", visible=True)
def test_another_of_the_same_class(compare, draw):
    """A scheduler of the class that it has already becomes a new one, with what was asked for."""
    given = {**TRAINED, "beta_end": draw.real(0.011, 0.014)}
    for name in ("DDIM", "Euler"):
        swap(compare, WALK, name, given, (name, {"timestep_spacing": "trailing"}))


@check("swap_scheduler")
def test_there_and_back(compare, draw):
    """An option that the class in between does not know is there again after the way back."""
    options = {**TRAINED, "use_karras_sigmas": True, "timestep_spacing": "leading"}
    swap(compare, WALK, "DPM", options, ("DDIM", {}), ("DPM", {}))


# dit_sample


def drive(
    play: Any,
    draw: Any,
    scheduler: str,
    scale: float,
    steps: int,
    labels: list[int],
    classes: int,
    channels: int = 4,
    **more: Any,
) -> None:
    """Run the transformer's loop by `play`. `more` goes to the model, or is the `view`."""
    views = {"view": more.pop("view")} if "view" in more else {}
    size = more.get("size", 4)
    model = witnessed("make_dit", calls=20, channels=channels, classes=classes, seed=draw.seed(), **more)
    noise = draw.normal(len(labels), channels, size, size)
    given = {"noise": noise, "labels": tensor(labels), "guidance_scale": scale, "steps": steps}
    play("dit_walk", model=model, scheduler=scheduler, **given, **views)


def labelled(answer: Any) -> Any:
    """Return each call of the transformer as (batch size, its timesteps as texts, its labels in order of size)."""
    return [
        (
            call["hidden_states"].shape[0],
            [plain_timestep(t) for t in np.ravel(getattr(call["timestep"], "array", call["timestep"]))],
            sorted(int(label) for label in np.ravel(call["class_labels"].array)),
        )
        for call in answer["model"]
    ]


def graphs_of_the_transformer(answer: Any) -> Any:
    """Return of each call whether the latents that it was given hung on a gradient graph."""
    return [call["hidden_states"].requires_grad for call in answer["model"]]


@check("dit_sample", visible=True)
def test_samples_two_classes(compare, draw):
    """Two pictures of two classes of ImageNet's thousand, guided, end at the right latents."""
    drive(compare.play, draw, "ddim", 4.0, 3, [207, 360], 1000)


@check("dit_sample", visible=True)
def test_samples_without_guidance(compare, draw):
    """At scale 1 the loop ends at the right latents, too."""
    drive(compare.play, draw, "ddim", 1.0, 3, [3, 1, 4], 10)


@check("dit_sample", visible=True, subject="The list of calls")
def test_transformer_sees_both_labels(compare, draw):
    """Guided, the transformer is called once a step, with each class and the null class, each with its timestep."""
    drive(compare.calls, draw, "ddim", 4.0, 3, [207, 360], 1000, view=labelled)


@check("dit_sample", visible=True, subject="What hangs on a graph")
def test_transformer_keeps_no_graph(compare, draw):
    """No step hands a gradient graph to the next, even from trainable weights."""
    drive(compare.calls, draw, "ddim", 2.0, 3, [1, 2], 10, view=graphs_of_the_transformer, trainable=True)


@check("dit_sample", visible=True)
def test_samples_with_other_solvers(compare, draw):
    """Other schedulers serve as well, in either unit, one after the other."""
    for scheduler, scale in (("dpm", draw.real(2.0, 6.0)), ("euler", draw.real(2.0, 6.0))):
        drive(compare.play, draw, scheduler, scale, 3, [draw.whole(0, 9), 4], 10)


@check("dit_sample")
def test_samples_in_two_looks(compare, draw):
    """With Heun, whose timesteps are no whole numbers, the loop ends at the right latents, larger ones."""
    drive(compare.play, draw, "heun", draw.real(2.0, 5.0), 2, [draw.whole(0, 30), 12, 5], 40, size=6)


@check("dit_sample")
def test_number_of_classes(compare, draw):
    """The null class hangs on the model: other models have other numbers of classes."""
    for classes in (10, 37):
        drive(compare.play, draw, "ddim", 3.0, 2, [draw.whole(1, 9), 5], classes)


@check("dit_sample")
def test_model_without_variance(compare, draw):
    """A model may answer the noise alone, or have another number of channels."""
    drive(compare.play, draw, "ddim", 3.0, 2, [draw.whole(0, 9)], 10, learned_variance=False)
    drive(compare.play, draw, "ddim", 5.0, 2, [draw.whole(0, 9), 3], 10, channels=6)


@check("dit_sample", visible=True, subject="The list of calls")
def test_transformer_sees_one_batch(compare, draw):
    """At scale 1 and below, the transformer sees the classes alone."""
    for scale in (1.0, draw.real(0.2, 0.8)):
        drive(compare.calls, draw, "dpm", scale, 2, [3, 1, 4], 10, view=labelled)


@check("dit_sample")
def test_just_above_and_below_one(compare, draw):
    """A scale little above 1 guides, one below does not."""
    for scale in (1.25, 0.5):
        drive(compare.play, draw, "ddim", scale, 2, [draw.whole(0, 9), 8], 10)


@check("dit_sample", subject="The list of calls")
def test_transformer_sees_fractions(compare, draw):
    """The transformer gets the scheduler's own timesteps, also where they are no whole numbers."""
    drive(compare.calls, draw, "euler_linspace", 3.0, 3, [draw.whole(0, 9)], 10, view=labelled)


# inpaint_step: two functions, inpaint_start and inpaint_step


def holes(draw: Any, *shape: int) -> Recipe:
    """Return a mask (B, 1, H, W) of zeros and ones, each pixel drawn for itself."""
    rng = np.random.default_rng(draw.seed())
    return array(rng.integers(0, 2, size=shape).astype(np.float32))


def repaint(
    compare: Any, draw: Any, scheduler: str, place: int | None, size: tuple[int, ...], factor: int, steps: int = 4
) -> None:
    """Compare one step with a mask of `factor` pixels a latent."""
    batch, channels, h, w = size
    latents, image, noise = draw.normals(3, batch, channels, h, w)
    mask = holes(draw, batch, 1, h * factor, w * factor)
    given = {"latents": latents, "image_latents": image, "mask": mask, "noise": noise}
    compare.play("one_inpaint_step", scheduler=scheduler, steps=steps, place=place, **given)


def repaint_all(compare: Any, draw: Any, scheduler: str, steps: int, begin: int) -> None:
    """Compare a whole walk with given predictions, from step `begin` on."""
    image, noise = draw.normals(2, 2, 4, 3, 5)
    predictions = draw.normal(steps - begin, 2, 4, 3, 5)
    given = {"image_latents": image, "mask": holes(draw, 2, 1, 12, 20), "noise": noise, "predictions": predictions}
    compare.play("inpainted", scheduler=scheduler, begin=begin, **given)


@check("inpaint_step", visible=True)
def test_keeps_at_the_level_reached(compare, draw):
    """After a step the kept places are the picture at the level that the step has reached."""
    repaint(compare, draw, "ddim", 2, (2, 4, 3, 5), 8)


@check("inpaint_step", visible=True)
def test_keeps_the_picture_at_the_end(compare, draw):
    """After the last step the kept places are the picture itself."""
    repaint(compare, draw, "ddim", None, (2, 4, 3, 5), 8)


@check("inpaint_step", visible=True)
def test_keeps_in_other_units(compare, draw):
    """With Euler, whose latents live in another unit, the kept places do as well."""
    repaint(compare, draw, "euler", 1, (2, 4, 3, 5), 8)


@check("inpaint_step", visible=True)
def test_begins_from_noise(compare, draw):
    """At strength 1 nothing of the picture is in the latents that the walk begins with."""
    image, noise = draw.normals(2, 2, 4, 3, 5)
    for scheduler in ("ddim", "euler"):
        given = {"scheduler": scheduler, "steps": 5, "begin": 0, "strength": 1.0}
        compare.play("inpaint_begun", image_latents=image, noise=noise, **given)


@check("inpaint_step", visible=True)
def test_begins_from_the_picture(compare, draw):
    """Below strength 1 the walk begins with the picture at its first level."""
    image, noise = draw.normals(2, 2, 4, 3, 5)
    for scheduler in ("ddim", "euler"):
        given = {"scheduler": scheduler, "steps": 5, "begin": 2, "strength": 0.6}
        compare.play("inpaint_begun", image_latents=image, noise=noise, **given)


@check("inpaint_step")
def test_begins_at_any_strength(compare, draw):
    """Just below strength 1 the picture is in the latents still."""
    image, noise = draw.normals(2, 1, 6, 4, 4)
    for scheduler in ("dpm", "euler_linspace", "heun"):
        given = {"scheduler": scheduler, "steps": 10, "begin": 0, "strength": draw.real(0.96, 0.999)}
        compare.play("inpaint_begun", image_latents=image, noise=noise, **given)


@check("inpaint_step")
def test_level_of_timestep_zero(compare, draw):
    """A step that reaches timestep 0 is not the last one: the kept places lie at that level."""
    repaint(compare, draw, "euler_linspace", -1, (1, 4, 3, 5), 8)
    repaint(compare, draw, "heun", -1, (1, 4, 3, 5), 8)


@check("inpaint_step")
def test_masks_of_other_sizes(compare, draw):
    """The mask is as large as the pictures, whatever the VAE's factor, and its values stay zeros and ones."""
    for factor, size in ((4, (2, 16, 5, 3)), (1, (3, 4, 4, 4)), (16, (1, 4, 2, 3))):
        repaint(compare, draw, "dpm", 1, size, factor)
        repaint(compare, draw, "dpm", None, size, factor)


@check("inpaint_step")
def test_one_mask_for_all(compare, draw):
    """One mask may serve the whole batch."""
    latents, image, noise = draw.normals(3, 3, 4, 3, 5)
    given = {"latents": latents, "image_latents": image, "mask": holes(draw, 1, 1, 24, 40), "noise": noise}
    compare.play("one_inpaint_step", scheduler="euler", steps=4, place=3, **given)


@check("inpaint_step")
def test_inpaints_from_noise(compare, draw):
    """Whole walks at strength 1, in either unit, end with the picture around the hole."""
    repaint_all(compare, draw, "ddim", 4, 0)
    repaint_all(compare, draw, "euler", 3, 0)


@check("inpaint_step", visible=True)
def test_inpaints_from_the_picture(compare, draw):
    """Whole walks that begin late, with solvers that remember and that look twice."""
    repaint_all(compare, draw, "dpm", 5, 2)
    repaint_all(compare, draw, "heun", 4, 1)
