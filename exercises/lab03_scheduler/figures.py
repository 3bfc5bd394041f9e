"""Pictures of lab 03. Runs in the judge; sees no torch."""

from __future__ import annotations

from grader.kit import Chart, figure, randn


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
