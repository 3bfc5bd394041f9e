"""A second witness for the stack: diffusers' own pipelines draw the same latents from the same embeddings and noise."""

import numpy as np
import pytest
import torch

from fixtures import minisd, scenes
from fixtures.recipes.minisd import measure

pytest.importorskip("transformers", reason="needs the oracle extra: pip install 'alphabar[oracle]'")
pytest.importorskip("peft", reason="needs the oracle extra: pip install 'alphabar[oracle]'")

pytestmark = pytest.mark.oracle

PROMPTS = ["a red circle", "a blue square above a white ring"]
# The pipelines scale and guide in another order of operations; twenty steps add that up.
CLOSE = {"atol": 2e-3, "rtol": 0.0}


@pytest.fixture(scope="module")
def stack():
    return minisd.load()


def drawn(pipeline, stack, **more):
    """Run a pipeline as our own loops run: the same noise, twenty DDIM steps, guidance 3."""
    pipeline.set_progress_bar_config(disable=True)
    given = {"prompt_embeds": stack.embed(PROMPTS), "negative_prompt_embeds": stack.embed([""] * len(PROMPTS))}
    walk = {"num_inference_steps": measure.STEPS, "guidance_scale": 3.0, "output_type": "latent"}
    return pipeline(**given, **walk, latents=measure.noise(len(PROMPTS)), **more).images


@pytest.fixture
def pipeline():
    from diffusers import StableDiffusionPipeline

    absent = {"text_encoder": None, "tokenizer": None}  # ours: the pipeline is given embeddings
    return StableDiffusionPipeline.from_pretrained(minisd.FOLDER, dtype=torch.float32, **absent)


def test_stable_diffusion_s_pipeline_draws_what_the_stack_draws(pipeline, stack):
    ours = stack.sample(PROMPTS, measure.noise(len(PROMPTS)))
    assert torch.allclose(drawn(pipeline, stack), ours, **CLOSE)


def test_peft_reads_the_adapter_and_adds_what_ours_adds(pipeline, stack):
    pipeline.load_lora_weights(minisd.FOLDER / "lora", weight_name=minisd.FILES["lora"])
    with minisd.load_lora(stack.unet).applied(stack.unet):
        ours = stack.sample(PROMPTS, measure.noise(len(PROMPTS)))
    assert torch.allclose(drawn(pipeline, stack), ours, **CLOSE)
    assert not torch.allclose(ours, stack.sample(PROMPTS, measure.noise(len(PROMPTS))), **CLOSE)


def test_the_controlnet_pipeline_draws_what_our_loop_draws(pipeline, stack):
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    some = scenes.sample(len(PROMPTS), np.random.default_rng(2))
    edges = torch.from_numpy(scenes.edges(some))[:, None].expand(-1, 3, -1, -1).contiguous()
    controlnet = ControlNetModel.from_pretrained(minisd.FOLDER / "controlnet", dtype=torch.float32)
    other = StableDiffusionControlNetPipeline(
        **pipeline.components, controlnet=controlnet, requires_safety_checker=False
    )
    ours = measure.controlled(stack, minisd.load_controlnet(), PROMPTS, edges, measure.noise(len(PROMPTS)))
    assert torch.allclose(drawn(other, stack, image=edges), ours, **CLOSE)
