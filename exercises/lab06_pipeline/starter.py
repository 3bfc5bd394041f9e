"""Lab 06, the pipeline: write the parts that a diffusers pipeline is made of, and the loop between them.

Read page.md first. Fill in each function and run `grade lab06`. Let each function stand by itself: one that calls
another of yours also inherits its mistakes. (Small helpers of your own are fine.) Inputs stay the caller's: no tensor
that you are given is changed. A scheduler may be told its timesteps and its place, except where it says otherwise.

"One of diffusers' schedulers" is one that has `set_timesteps(steps)`, `timesteps`, `order`, `init_noise_sigma`,
`scale_model_input(x, t)`, `add_noise(x0, noise, timesteps)` and `step(prediction, t, x).prev_sample`, and draws nothing
in a step: DDIM, DPM-Solver++, Euler, Heun. Models answer with `.sample`: `unet(...).sample`, `vae.decode(...).sample`.
Tensors are float32 and on the CPU unless it says otherwise.

The grader sees this one file. It may import the standard library, torch, numpy and diffusers. What diffusers has ready
as an answer is closed while your code runs: `VaeImageProcessor.postprocess` and `DiTPipeline`.
"""

import torch

# Five predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_shapes() -> dict[str, tuple[int, ...]]:
    """Stable Diffusion 1.5 is asked for three prompts at once, 768 high and 512 wide, at guidance scale 7.5. Predict.

    Its VAE has 4 latent channels and block_out_channels = (128, 256, 512, 512); its text encoder makes 77 tokens of
    768 numbers of each prompt. Guidance is done as pipelines do it: in one call.

    Returns:
        {"sample": shape of the latents that the denoiser is given, "condition": shape of the embeddings that it is
        given, "decoder": shape of the latents that the decoder is given}, three tuples, batch first.
    """
    raise NotImplementedError


def checkpoint_calls() -> dict[str, int]:
    """Three walks of 20 steps, all at guidance scale 7.5. Predict how often each calls the denoiser.

    Returns:
        {"ddim": calls with DDIM from noise, "heun": calls with Heun from noise, "img2img": calls with DDIM from a
        picture at strength 0.3}, three ints.
    """
    raise NotImplementedError


def checkpoint_units() -> dict[str, str]:
    """Four tensors are about to be read in a walk with Euler. Predict what changes the size of each just before.

    Returns:
        {"noise": fresh noise, before it becomes the first latents, "denoiser": latents, before the denoiser reads
        them, "step": latents, before `scheduler.step` reads them, "decoder": the last latents, before the decoder
        reads them}. Each is one of "init_noise_sigma", "scale_model_input", "scaling_factor" (multiplied by it or
        divided, both count), "nothing".
    """
    raise NotImplementedError


def checkpoint_order() -> dict[str, tuple[str, ...]]:
    """Eight things happen in a text-to-image pipeline. Predict which happen before, in and after the loop.

    They are, by the alphabet: "decode", "denoiser", "encode_prompt", "guidance", "init_noise_sigma" (the noise is
    multiplied by it), "scale_model_input", "set_timesteps", "step". Each happens in one of the three parts.

    Returns:
        {"before": names, "loop": names, "after": names}, tuples in the order in which they happen. The prompt is
        encoded first.
    """
    raise NotImplementedError


def checkpoint_modular() -> dict[str, str]:
    """In Modular Diffusers a pipeline is put together of blocks. Predict where four things live.

    Returns:
        {"loop": whose code holds the `for` over the timesteps, "latents": where the latents are between one block and
        the next, "weights": where UNet and VAE are found, "guidance_scale": where the scale of guidance is found}.
        Each is one of "block", "state", "components", "pipeline". A pipeline holds the other three: name it only where
        none of them is the answer.
    """
    raise NotImplementedError


# Now the code.


def read_pipeline(model_index: dict, configs: dict[str, dict]) -> dict:
    """Say what a pipeline is, from its files alone.

    A VAE of four blocks makes a factor of 2³ = 8; sample_size 64 is then a picture of 512.

    Args:
        model_index: the content of model_index.json. A component is an entry [library, class]; [None, None] says that
            it is absent. There are no other lists; whatever is no list is a plain setting.
        configs: the content of the components' config files, by the component's name. "vae" and "scheduler" are there,
            and one denoiser: "unet" or "transformer". Of the VAE, block_out_channels and latent_channels are always
            said, of the denoiser sample_size. What is said is never None.

    Returns:
        "components": names of those that are there, sorted, a list. "vae_scale_factor": how many pixels lie beside one
        another for one latent, an int; each block of the VAE but the last halves the sides. "latent_shape":
        (channels, height, width) of one latent, as the VAE makes it and as large as the denoiser's sample_size, which
        is one number or a pair (height, width). "image_hw": (height, width) of the picture in pixels. "prediction_type"
        of the scheduler; the schedulers of such pipelines have the default "epsilon". "scaling_factor" of the VAE; its
        class's default is 0.18215. Shapes may be tuples or lists.
    """
    raise NotImplementedError


def prepare_latents(
    shape: tuple[int, int, int, int], seeds: list[int], init_noise_sigma: float, vsf: int, dtype: torch.dtype
) -> torch.Tensor:
    """Draw the noise that a walk begins with: one generator a picture, so that each can be made again alone.

    For shape (2, 4, 64, 96) and vsf 8 the latents are (2, 4, 8, 12); init_noise_sigma 14.6 is their deviation.

    Args:
        shape: (B, C, H, W): how many pictures, channels of the latents, height and width of the pictures in pixels.
        seeds: one seed a picture; a ValueError if there are not B of them. Picture i is drawn in one draw of shape
            (C, H/vsf, W/vsf), from a `torch.Generator` of the CPU with seeds[i], whatever else is in the batch. Equal
            seeds make equal pictures.
        init_noise_sigma: the scheduler's; a standard deviation.
        vsf: the VAE's spatial factor. Where it does not divide, the rest is dropped: round down.
        dtype: of the result; the numbers are drawn in it, and multiplied. float16, bfloat16, float32 or float64.

    Returns:
        (B, C, H/vsf, W/vsf) in `dtype`, on the CPU. torch's global generator is not touched: neither drawn from nor
        seeded.
    """
    raise NotImplementedError


def denoise_loop(
    unet,
    scheduler,
    noise: torch.Tensor,
    cond: torch.Tensor,
    uncond: torch.Tensor,
    guidance_scale: float,
    steps: int,
) -> torch.Tensor:
    """Turn noise into latents, the way StableDiffusionPipeline does between the prompt's encoding and the decoding.

    Nothing is handed to you ready: the scheduler comes without timesteps, the noise at unit variance. The same code
    has to work with each of diffusers' schedulers, whatever its own units are; never ask for its class.

    Guidance (Ho & Salimans 2022), on the prediction:
        eps~ = eps_uncond + guidance_scale * (eps_cond - eps_uncond)
    It is on when `guidance_scale > 1`; then one call of the network takes both conditions as one batch of 2B.
    Otherwise only `cond` is used, and the network sees a batch of B. With predictions 2 and 5 and scale 3: 11.

    Args:
        unet: a UNet2DConditionModel; `unet(sample, t, encoder_hidden_states=...).sample`. No walk that is graded needs
            more than 20 calls; the grader stops one that makes more.
        scheduler: one of diffusers' schedulers, not yet told how many steps to make.
        noise: (B, C, h, w), standard normal. It stays the caller's: leave it as it is.
        cond: (B, L, D), the prompt's embeddings.
        uncond: (B, L, D), the embeddings of the empty or negative prompt. If its shape is not that of `cond`, raise a
            ValueError, also where there is no guidance: one negative prompt for a batch is repeated by the caller.
        guidance_scale: diffusers' scale; 1 means no guidance.
        steps: number of inference steps.

    Returns:
        The latents (B, C, h, w) after the last step, without a gradient graph. No step keeps one for the next either,
        also where the weights of `unet` want gradients.
    """
    raise NotImplementedError


def img2img_start(
    scheduler, x0_latent: torch.Tensor, noise: torch.Tensor, strength: float, steps: int
) -> dict[str, torch.Tensor]:
    """Enter a walk late, from a picture: of `steps` steps the last int(steps·strength) are made, as Python computes it.

    Ten steps at strength 0.55: five are made, the last five of the ten. The latents are the picture's, at the noise
    level of the first timestep that is left: with ᾱ = 0.64 there, x0 = 2 and noise 1 give 0.8·2 + 0.6·1 = 2.2 in DDIM.

    Args:
        scheduler: one of diffusers' schedulers, not yet told how many steps to make. Afterwards it is ready for `step`:
            one that has `set_begin_index` has been told at which entry of its timesteps the walk begins, since in some
            walks a timestep stands in the list more than once. Tell it before you call `add_noise`, which then takes
            the level of that entry; else it looks the timestep up and may find another.
        x0_latent: (B, C, h, w), the picture's latents, already multiplied by the VAE's factor.
        noise: (B, C, h, w), standard normal.
        strength: in [0, 1]. Outside of it, and where no step would be left, raise a ValueError; what has become of the
            scheduler by then does not matter.
        steps: number of steps of the whole walk.

    Returns:
        "timesteps": what is left of the scheduler's timesteps. A scheduler of order 2 lists two entries a step, for the
        last step one, and a walk never begins inside a step; `scheduler.order` says it. "latents": (B, C, h, w).
    """
    raise NotImplementedError


def latents_to_image(vae, z: torch.Tensor) -> torch.Tensor:
    """Turn the denoiser's latents into pictures.

    Encoding has made z = (y − b)·s of the VAE's own latents y: undo it before you decode. The decoder answers in
    [−1, 1]: −1 is level 0, −0.6 is level 51, 1 is level 255, and what lies outside is limited.

    Args:
        vae: an AutoencoderKL, or a class that looks like one: `vae.decode(y).sample`, `vae.config.scaling_factor` (s),
            `vae.config.shift_factor` (b, or None where there is none; both are always there).
        z: (B, C, h, w), in the dtype of the VAE: float32 or bfloat16. So is what you hand to `decode`: layers take no
            other dtype than their weights'.

    Returns:
        (B, H, W, 3) uint8, each value at the nearest level (in the middle between two, either). Compute in float32 from
        the decoder's answer on, whatever dtype that has. In which precision you undo s and b is yours to choose.
    """
    raise NotImplementedError


def swap_scheduler(old_scheduler, new_cls: type, **overrides):
    """Make a scheduler of another class for the same trained model.

    What the old scheduler was told (betas, prediction_type, timestep_spacing, ...) is told to the new one. What it was
    not told, and has only by its own class's default, is not: there the new class's default counts. So an Euler
    scheduler that was told nothing of timestep_spacing has "linspace", and a DDIM scheduler made of it "leading".
    Options of the old one that the new class does not know are no error; they come back when one swaps back.

    Args:
        old_scheduler: one of diffusers' schedulers. It stays what it is.
        new_cls: the class of the new one. It may be the class of the old one.
        overrides: options that the new class knows. They count, whatever the old one had, as if it were made with them.

    Returns:
        A new scheduler of class `new_cls`, never the old one.
    """
    raise NotImplementedError


def dit_sample(
    model, scheduler, noise: torch.Tensor, labels: torch.Tensor, guidance_scale: float, steps: int
) -> torch.Tensor:
    """Turn noise into latents with a transformer that is conditioned on class labels (Peebles & Xie 2023).

    The same loop as denoise_loop, with four differences: the condition is a number, the unconditional one is the null
    class, the model wants a timestep for each sample, and it may answer more channels than it was given. With ε = 5 for
    the class, 2 for the null class and scale 3: 11.

    Args:
        model: a DiTTransformer2DModel, in eval mode; `model(sample, timestep=..., class_labels=...).sample`, where
            timestep is a tensor of one entry for each sample that the call is given, as the scheduler has it, fraction
            included. `model.config.num_embeds_ada_norm` is its number of classes; they are counted from 0, and the null
            class is the number after the last. No walk that is graded needs more than 20 calls.
        scheduler: one of diffusers' schedulers, in any unit, not yet told how many steps to make.
        noise: (B, C, h, w), standard normal.
        labels: (B,) int64, the classes.
        guidance_scale: guidance is on when it is above 1; then one call takes 2B samples, each latent once with its
            class and once with the null class, in any order of yours. Otherwise a call takes B.
        steps: number of inference steps.

    Returns:
        The latents (B, C, h, w) after the last step. Of the model's answer the first C channels are ε, all of them
        guided alike; what follows is the learned variance and is not used. No step keeps a gradient graph.
    """
    raise NotImplementedError


# The last task is two functions: how inpainting begins, and what it does after each step.


def inpaint_start(
    image_latents: torch.Tensor, noise: torch.Tensor, scheduler, strength: float, t_first: torch.Tensor
) -> torch.Tensor:
    """Make the latents that inpainting begins with.

    At strength 1 they are noise alone, as text to image begins: the picture's old content must not reach the hole.
    Below 1 they are the picture's latents at the noise level of `t_first`; strength alone decides, also where `t_first`
    is the first timestep of all. Euler with spacing "linspace", whose walk begins at σ = 14.6, noise 1, picture 2: 14.6
    at strength 1, 16.6 just below.

    Args:
        image_latents: (B, C, h, w), the picture's latents.
        noise: (B, C, h, w), standard normal.
        scheduler: one of diffusers' schedulers, told how many steps to make.
        strength: in (0, 1]; nothing else is asked for.
        t_first: the first timestep that will be walked, an entry of scheduler.timesteps: a tensor without axes.

    Returns:
        (B, C, h, w).
    """
    raise NotImplementedError


def inpaint_step(
    latents: torch.Tensor,
    image_latents: torch.Tensor,
    mask: torch.Tensor,
    noise: torch.Tensor,
    scheduler,
    t_next: torch.Tensor | None,
) -> torch.Tensor:
    """Put the picture back around the hole, right after `scheduler.step`, each call of it.

    The hole keeps what the step has made. Everywhere else the picture's latents stand, at the noise level of the
    timestep that the step has *reached*; after the last step, the picture's latents themselves. A mask of 8 × 8 pixels
    a latent of which only the upper left one is 1 makes that latent a hole.

    Args:
        latents: (B, C, h, w), what `scheduler.step` has just returned.
        image_latents: (B, C, h, w).
        mask: (B, 1, H, W) or (1, 1, H, W) float32, as large as the pictures: 1 in the hole, 0 where the picture stays,
            nothing between. A latent's value is that of the upper left one of its pixels, as `interpolate` with mode
            "nearest" takes it.
        noise: (B, C, h, w), the noise of the start: the same after every step.
        scheduler: the one whose `step` was called; `scheduler.add_noise(x0, noise, timesteps)` takes timesteps (1,) or
            (B,). The level that it takes for `t_next` is right, also where a timestep stands in the list twice: it
            counts its steps.
        t_next: the next entry of the scheduler's timesteps, a tensor without axes; None after the last. 0 is a timestep
            like any other.

    Returns:
        (B, C, h, w).
    """
    raise NotImplementedError
