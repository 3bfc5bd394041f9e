"""Pictures of lab 03. Runs in the judge; sees no torch."""

from __future__ import annotations

from fixtures.minisd import stack
from grader.kit import Chart, ImageGrid, error_images, figure, randn, to_images

STEPS = 6
PROMPTS = [
    "a red circle",
    "a blue cross",
    "a yellow ring left of a green square",
    "a white triangle above an orange circle",
]


@figure("DPMpp2M")
def few_steps(play):
    """Draw four prompts in few steps: DDIM, the reference, and the student's solver."""
    yours, reference = play.scenario("drawings", stack=stack(), prompts=PROMPTS, steps=STEPS, x=randn(5, 4, 4, 8, 8))
    right = reference["second_order"].array
    rows = [
        ("first order (DDIM)", to_images(reference["first_order"].array)),
        ("reference", to_images(right)),
    ]
    if yours is not None and yours["second_order"].shape == reference["second_order"].shape:
        found = yours["second_order"].array
        rows.append(("yours", to_images(found)))
        rows.append(("|difference|, 0 to 1", error_images(found, right, 1.0)))
    return ImageGrid(
        title=f"{STEPS} steps from noise to a picture",
        caption=f"A small trained model draws four prompts at guidance scale 3 in {STEPS} steps: with DDIM, with the "
        "reference's DPM-Solver++(2M), and with yours. The same noise and as many model calls in each column.",
        alt="Four small pictures of sprites, drawn by DDIM, by the reference and by your solver.",
        columns=[prompt.replace("a ", "", 1) for prompt in PROMPTS],
        rows=rows,
    )


@figure("DPMpp2M")
def convergence(play):
    """Draw the error of the sampled points against the number of steps."""
    yours, reference = play.scenario(
        "error_by_steps", step_counts=[5, 7, 10, 14, 20, 28, 40, 56, 80], x=randn(7, 48, 2)
    )

    def line(answer, key):
        return list(zip(answer["steps"], answer[key], strict=True))

    series = [
        ("first order (DDIM)", "other", line(reference, "first_order")),
        ("reference", "reference", line(reference, "error")),
    ]
    if yours is not None:
        series.append(("yours", "yours", line(yours, "error")))
    return Chart(
        title="What the second order buys",
        caption=(
            "Mean distance of 48 sampled points from the exact solution, on a mixture of five Gaussians whose noise "
            "prediction is known exactly, so all of the error is the solver's. Each doubling of the steps halves the "
            "first-order error and quarters the second-order one, at the same number of model calls."
        ),
        alt="Error against number of steps on a logarithmic axis: first order, the reference, and your solver.",
        x_label="steps (model calls)",
        y_label="mean error",
        series=series,
        log_y=True,
    )
