"""Pictures of lab 10. Runs in the judge; sees no torch."""

from __future__ import annotations

from fixtures.minisd import stack
from grader.kit import Chart, ImageGrid, error_images, figure, randn, to_images

PROMPTS = ["a red circle", "a blue cross", "a yellow ring left of a green square"]


@figure("query_chunked_attention")
def a_model_with_your_attention(play):
    """Put the student's function into every attention of a trained UNet, and draw."""
    yours, reference = play.scenario("drawings", stack=stack(), prompts=PROMPTS, chunk=5, noise=randn(5, 3, 4, 8, 8))
    right = reference["usual"].array
    rows = [("its own attention", to_images(right)), ("reference, in chunks", to_images(reference["chunked"].array))]
    if yours is not None and yours["chunked"].shape == reference["chunked"].shape:
        found = yours["chunked"].array
        rows.append(("yours, in chunks", to_images(found)))
        rows.append(("|yours - its own|, 0 to 1", error_images(found, right, 1.0)))
    return ImageGrid(
        title="A model with your attention in it",
        caption="A small trained UNet draws three prompts, with its own attention and with your function in every "
        "layer, five queries at a time. Chunks change what lives in memory, not what comes out: the rows should "
        "look the same.",
        alt="Three small pictures of sprites, drawn with the model's own attention, the reference's and yours.",
        columns=[prompt.replace("a ", "", 1) for prompt in PROMPTS],
        rows=rows,
    )


@figure("query_chunked_attention")
def memory_timeline(play):
    """Draw the bytes alive after each operation, chunked against all at once, with the bound."""
    heads, n, d, chunk = 2, 256, 16, 32
    q, k, v = (randn(21 + i, 1, heads, n, d) for i in range(3))
    yours, reference = play.scenario("timelines", q=q, k=k, v=v, chunk=chunk)

    def kib(timeline):
        """Stretch each timeline over the same axis: share of the operations done."""
        last = max(index for index, _ in timeline) or 1
        return [(100 * index / last, bytes_ / 1024) for index, bytes_ in timeline]

    out, block = 4 * heads * n * d, 4 * heads * chunk * n
    series = [
        ("all at once", "other", kib(reference["full"])),
        ("reference", "reference", kib(reference["query_chunked_attention"])),
    ]
    if yours is not None:
        series.append(("yours", "yours", kib(yours["query_chunked_attention"])))
    return Chart(
        title="Bytes alive while attention runs",
        caption=(
            f"{heads} heads, {n} queries and keys, chunks of {chunk}. All at once, the scores and their softmax live "
            "together. In chunks, each tooth is one block of scores that dies before the next, on top of the growing "
            "output; the last step is the copy that joins the pieces. Inputs are not counted."
        ),
        alt="Memory over the course of the computation: one tall peak for attention all at once, low teeth for chunks.",
        x_label="operations done (%)",
        y_label="KiB alive",
        series=series,
        limits=[("bound: 2 outputs + 6 blocks", (2 * out + 6 * block) / 1024)],
    )
