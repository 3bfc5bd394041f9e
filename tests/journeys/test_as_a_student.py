"""What a student lives through, typed as a student would, on a clean clone of the course."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .conftest import Clone, Desk, Fork, install

STEP = """\
def euler_step(model_output, x, sigma, sigma_next, prediction_type="epsilon", ancestral=False, generator=None):
    sample, output = x.float(), model_output.float()
    if prediction_type == "epsilon":
        clean = sample - sigma * output
    elif prediction_type == "v_prediction":
        clean = (sample - sigma * (sigma**2 + 1) ** 0.5 * output) / (sigma**2 + 1)
    elif prediction_type == "sample":
        clean = output
    else:
        raise ValueError(prediction_type)
    fresh = sigma_next * (1 - (sigma_next / sigma) ** 2) ** 0.5 if ancestral else 0.0
    ratio = (sigma_next**2 - fresh**2) ** 0.5 / sigma
    after = ratio * sample + (1 - ratio) * clean
    if ancestral:
        after = after + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return {"prev": after.to(x.dtype), "x0": clean.to(x.dtype)}
"""


@pytest.fixture
def ann(clone: Clone, tmp_path: Path) -> Desk:
    return clone.desk(tmp_path)


def fills_in(desk: Desk, name: str, function: str, code: str) -> None:
    """Put `code` in the place of a stub."""
    lines = desk.reads(name).splitlines(keepends=True)
    (stub,) = [node for node in ast.parse("".join(lines)).body if getattr(node, "name", None) == function]
    desk.writes(name, "".join([*lines[: stub.lineno - 1], code, *lines[stub.end_lineno :]]))


def test_from_the_stub_over_a_named_mistake_to_a_task_that_passes(ann: Desk) -> None:
    ann.types("grade list", "lab03 Scheduler reading -/54 points", "euler_step")
    ann.types("grade start lab03", "Wrote lab03.py.", "Next: grade read lab03 then, as often as you like: grade lab03")
    ann.types("grade read lab03", "euler_step")
    ann.types("grade lab03", "0 of 54 points 14 not started", "Begin with task", code=1)

    # The noise is added on top of a walk that has gone all the way.
    fills_in(ann, "lab03.py", "euler_step", STEP.replace("(sigma_next**2 - fresh**2) ** 0.5", "sigma_next"))
    ann.types(
        "grade lab03",
        "euler_step, line",
        "You walk to σ_next and add noise on top, so the sample is too noisy for its level.",
        "behaves like down_is_next",
        "1 partly, 13 not started",
        "grade hint lab03 euler_step",
        "report: .grade/lab03/report.html",
        code=1,
    )
    assert "../pages/lab03.html#ancestral-steps" in ann.reads(".grade/lab03/report.html")
    assert 'id="ancestral-steps"' in ann.reads(".grade/pages/lab03.html")
    ann.types("grade hint lab03 euler_step", "Hint 1 of 3 for euler_step:", "hints are not counted against you.")
    ann.types("grade hint lab03 euler_step", "Hint 2 of 3")
    ann.types("grade repro lab03 ancestral", "lab03 has no check 'ancestral'. Did you mean ancestral_step?", code=2)
    ann.types("grade repro lab03 ancestral_step", "Run it: python repro_lab03_ancestral_step.py")
    ann.types("python repro_lab03_ancestral_step.py", "tensor(")

    ann.edits("lab03.py", "ratio = sigma_next /", "ratio = (sigma_next**2 - fresh**2) ** 0.5 /")
    ann.types("grade lab03", "1 passed, 13 not started", code=1)
    ann.types("grade report lab03 --open", ".grade/lab03/report.html")
    page = ann.reads(".grade/lab03/report.html")
    assert "euler_step" in page and "down_is_next" not in page
    ann.types("grade", "lab03 Scheduler reading", "/54 13 tasks to do", "lab04 Classifier-free guidance", "not started")


@pytest.mark.sweep
def test_what_goes_wrong_with_a_file_is_a_sentence_with_its_line_and_nothing_is_lost(ann: Desk, clone: Clone) -> None:
    ann.writes("lab01.py", clone.sample("endless_loop"))
    said = ann.types("grade lab01 --task add_noise", "add_noise, line 16", "0 of 5 points 1 broke off", code=1)
    assert re.search("still running after 10 s of CPU time, at line (19|20|21) ", said), said  # the loop's lines
    # The factors are widened too, else the next mistake that is named is that they are rounded.
    products = "alpha_bar.sqrt() * x0[i]{0} + (1 - alpha_bar).sqrt() * noise[i]{0}\n"
    ann.edits("lab01.py", products.format(""), products.format(".float()") + "        i += 1\n")
    ann.types("grade lab01", "13 of 41 points 3 passed, 9 not started", code=1)

    ann.edits("lab01.py", "snr.log()", "srn.log()")
    ann.types(
        "grade lab01 --task noise_levels",
        'lab01.py:12 "log_snr": srn.log(),',
        "NameError: name 'srn' is not defined.",
        "0 of 4 points 1 broke off",
        code=1,
    )
    ann.edits("lab01.py", "srn.log()", "snr.log()")

    ann.edits("lab01.py", "def flow_matching_pair(", "def flow_pair(")
    ann.types(
        "grade lab01 --task flow_matching_pair",
        "lab01.py defines no flow_matching_pair. Did you mean flow_pair on line 26?",
        "Rename it to flow_matching_pair.",
        "0 of 4 points 1 not started",
        code=1,
    )
    ann.edits("lab01.py", "def flow_pair(", "def flow_matching_pair(")

    ann.edits("lab01.py", "(1 - s) * x0", "((1 - s) * x0")
    ann.types(
        "grade lab01",
        "The file is not valid Python, so nothing was graded. lab01.py:28 SyntaxError: '(' was never closed",
        "Repair the file, then run it again: grade lab01",
        code=3,
    )
    ann.types("grade", "lab01 Forward noise process", "13/41 9 tasks to do")  # the last whole result is still there
    ann.edits("lab01.py", "((1 - s) * x0", "(1 - s) * x0")
    ann.types(
        "grade lab01 --task noise_levels --task flow_matching_pair", "8 of 8 points 2 passed", "Every check passes."
    )


@pytest.mark.wheel
@pytest.mark.sweep
def test_a_mended_edition_comes_in_the_middle_of_the_term_and_the_own_file_stays(fork: Fork, tmp_path: Path) -> None:
    staff = fork.with_lab11_alone()
    published = tmp_path / "published"
    staff.types(f"grade release -o {tmp_path}/edition --wheels {tmp_path}/wheels --updates {published}")
    (wheel,) = (tmp_path / "wheels").glob("alphabar-*.whl")
    edition = install(wheel, tmp_path / "environment")
    ben = Desk(tmp_path / "ben", edition.python.parent)
    ben.folder.mkdir()

    ben.types("grade start lab11", "Wrote lab11.py.")
    fills_in(
        ben, "lab11.py", "scale_to_unit", "def scale_to_unit(x, low, high):\n    return (x - low) / (high - low)\n"
    )
    mine = ben.reads("lab11.py")
    ben.types("grade lab11", "Your result runs from 0 to 1.", "behaves like unit_interval", code=1)
    ben.types("grade update", "give the newer edition", f"This course publishes it at {published}", code=2)

    page = "exercises/lab11_unit_range/page.md"
    staff.edits(page, "What this lab is for, in two sentences.", "Networks like numbers around zero.")
    checks = "exercises/lab11_unit_range/checks.py"
    staff.edits(checks, '@check("scale_to_unit")\ndef test_any', '@check("scale_to_unit", visible=True)\ndef test_any')
    staff.types(f"grade release -o {published} --updates {published}", "Wrote the student edition of lab11")

    ben.types("grade list", "note: a newer edition, of", f"lies in {published}: grade update {published}")
    says = "lab11: visible checks of scale_to_unit; the page"
    ben.types("grade update --dry-run", "Would bring: edition", says)
    ben.types("grade read lab11", "What this lab is for")
    ben.types("grade update", "Now here: edition", says, "Your own files are as they were.")
    assert ben.reads("lab11.py") == mine
    assert "newer edition" not in ben.types("grade list", "lab11 Unit range 0/3 points")
    ben.types("grade read lab11", "Networks like numbers around zero.")
    ben.types("grade lab11 -v", "The ends may lie anywhere", "behaves like unit_interval", code=1)
    ben.edits("lab11.py", "(x - low) / (high - low)", "2 * (x - low) / (high - low) - 1")
    ben.types("grade lab11", "3 of 3 points 1 passed", "Every check passes.")
    ben.types("grade update", "This is the edition that you have")
