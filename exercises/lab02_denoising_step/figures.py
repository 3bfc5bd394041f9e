"""Pictures of lab 02, drawn in the judge from answers of public scenarios."""

from typing import Any

import numpy as np

from fixtures.minisd import stack
from fixtures.sprites import sprite
from grader.kit import ImageGrid, array, error_images, figure, linear_betas, scaled_linear_betas, to_images

PICTURE_SEED = 7
TIMESTEPS = [999, 800, 600, 400, 200, 0]
PROMPT = "a green triangle above a purple ring"
CHAIN = list(range(975, -1, -25))  # 40 steps
SHOWN = list(range(0, 40, 6))


def comparable(yours: Any, reference: Any, names: list[str]) -> bool:
    """Say whether the student's answer holds tensors of the reference's shapes, so that it can be drawn."""
    return yours is not None and all(yours[name].shape == reference[name].shape for name in names)


@figure("ddpm_step")
def a_prompt_drawn_by_your_step(play) -> ImageGrid:
    """A trained model predicts, the student's step walks: forty steps from noise to a prompt."""
    yours, reference = play.scenario(
        "drawing",
        stack=stack(),
        prompt=PROMPT,
        timesteps=CHAIN,
        shown=SHOWN,
        betas=scaled_linear_betas(1000),
        seed=PICTURE_SEED,
    )
    right = reference["film"].array
    rows = [("reference", to_images(right))]
    if comparable(yours, reference, ["film"]):
        rows.append(("yours", to_images(yours["film"].array)))
        rows.append(("|error|, 0 to 1", error_images(yours["film"].array, right, 1.0)))
    return ImageGrid(
        title=f"“{PROMPT}”, drawn by your step",
        caption="Forty steps with a small trained model in latent space; each picture is x_t, decoded. The model "
        "predicts from your own x_t, so a small slip in the step grows on the way.",
        alt="Noise that turns into a green triangle above a purple ring, by the reference and by your ddpm_step.",
        columns=[*(f"t = {CHAIN[i]}" for i in SHOWN), "end"],
        rows=rows,
    )


@figure("ddpm_step")
def mean_and_noise_of_one_step(play) -> ImageGrid:
    """One step taken 64 times: the average shows the mean, one draw shows the sample, their difference the noise."""
    x0 = array(sprite("ring", "purple")[None])
    yours, reference = play.scenario(
        "many_draws", x0=x0, t=250, t_prev=150, betas=linear_betas(1000), draws=64, seed=PICTURE_SEED
    )
    panels = [parts(reference)]
    rows = [("reference", to_images(panels[0]))]
    if comparable(yours, reference, ["average", "first"]):
        panels.append(parts(yours))
        rows.append(("yours", to_images(panels[1])))
        rows.append(("|error|, 0 to 1", error_images(panels[1], panels[0], 1.0)))
    return ImageGrid(
        title="One step from t = 250 to 150: mean, sample, noise",
        caption="One x_t, 64 steps from it. Their average is nearly the mean; one draw minus it is the noise.",
        alt="A noisy ring, the cleaner average of 64 steps from it, one single step, and the noise it added.",
        columns=["x_t", "average of 64", "one draw", "noise"],
        rows=rows,
    )


def parts(answer: Any) -> np.ndarray:
    """Return the four panels: x_t, the average, one draw, and what that draw added to the average."""
    x_t, average, first = (answer[name].array for name in ("x_t", "average", "first"))
    return np.concatenate([x_t, average, first, first - average])


@figure("ddpm_step")
def the_whole_chain(play) -> ImageGrid:
    """Six steps from pure noise to the sprite, with perfect noise predictions."""
    x0 = array(sprite("ring", "purple")[None])
    yours, reference = play.scenario(
        "chain", x0=x0, timesteps=TIMESTEPS, betas=linear_betas(1000), clip=True, seed=PICTURE_SEED
    )
    right = reference["samples"].array[:, 0]
    rows = [("reference", to_images(right))]
    if comparable(yours, reference, ["samples"]):
        samples = yours["samples"].array[:, 0]
        rows.append(("yours", to_images(samples)))
        rows.append(("|error|, 0 to 1", error_images(samples, right, 1.0)))
    return ImageGrid(
        title="Six steps from noise to a sprite",
        caption="The model is perfect here, so what differs is your step alone. Errors are on a fixed scale.",
        alt="Pure noise that turns into a purple ring in six steps, by the reference and by your ddpm_step.",
        columns=["start", *(f"after t = {t}" for t in TIMESTEPS)],
        rows=rows,
    )
