import json
import re

import pytest

from grader.reports.json import dumps, schema
from grader.reports.terminal import render, render_status
from grader.results import LabResult
from tests.reports.samples import SAMPLES, XSS, check, half_right, result, task

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def show(record, color=False, ascii=False, width=90, verbose=0):
    return render(record, color=color, ascii=ascii, width=width, verbose=verbose)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("verbose", [-1, 0, 1, 2])
def test_every_sample_renders_in_every_way(name, verbose):
    record = SAMPLES[name]()
    plain = show(record, verbose=verbose)
    assert "\x1b" not in plain and "\u202e" not in plain and "\x00" not in plain
    assert ANSI.sub("", show(record, color=True, verbose=verbose)) == plain
    assert show(record, color=True, ascii=True, verbose=verbose).isascii()
    assert plain.endswith("\n") and not re.search(r"[ \t]$", plain, re.MULTILINE)


@pytest.mark.parametrize("name", ["half_right", "not_started", "all_passed"])
@pytest.mark.parametrize("width", [60, 80, 100, 300])
def test_lines_keep_the_width(name, width):
    for line in show(SAMPLES[name](), width=width, verbose=1).splitlines():
        assert len(line) <= min(width, 100)


def test_a_passed_task_is_one_line_and_one_check_explains_a_failed_one():
    shown = show(half_right())
    assert len(re.findall(r"Linear noise schedule", shown)) == 1
    assert "x_t is sqrt(ᾱ_t)·x0 + sqrt(1-ᾱ_t)·ε at one timestep." in shown
    assert "Every sample of the batch" not in shown and "and 2 more checks; -v shows all" in shown
    assert "Every sample of the batch" in show(half_right(), verbose=1)
    assert "behaves like alpha_not_alpha_bar" in shown
    assert "behaves like one of: clamp_not_kept; clips_from_below together with gamma_squared" in shown


def test_their_line_can_be_clicked_and_repeats_are_short():
    shown = show(half_right(), verbose=1)
    assert "lab01.py:64  return 1 - f[1:] / f[: T + 1]" in shown
    assert shown.count("RuntimeError") == 1 and "the same as above" in shown
    assert "lab01/add_noise.one_timestep" in shown
    assert "t = tensor([500, 500])" in show(half_right(), verbose=2)


def test_what_no_known_mistake_explains_begins_with_the_worst_check_and_facts_follow():
    shown = show(half_right())
    told = shown[shown.index("Cosine schedule") : shown.index("Signal-to-noise")].split("\n")
    assert told[1].strip() == "! The shape is (T,)." and "lab01.py:64" in told[2]
    assert told[3].strip().startswith("RuntimeError: The size of tensor a")
    (facts,) = (n for n, line in enumerate(told) if "No known mistake gives your answers." in line)
    assert facts == 5 and "four axes only." in told[facts]
    assert shown.count("must match the size of tensor b") == 1  # the record's headline says it too


def test_a_function_of_another_name_is_suggested_and_nothing_else_is_said_of_what_is_not_started():
    says = "lab01.py defines no velocity. Did you mean velocities on line 9? Rename it to velocity."

    def shown(message):
        checks = [check("velocity", name, "T.", "skipped", message=message) for name in ("x", "y")]
        return show(result([task("velocity", "Velocity target", checks, "not_started")], checks))

    assert shown(says).count("Did you mean velocities on line 9?") == 1
    assert "still the starter's stub" not in shown("velocity is not written yet: line 3 is still the starter's stub.")


def test_hidden_checks_show_no_evidence():
    record = half_right()
    checks = [c.model_copy(update={"visible": False}) for c in record.checks]
    assert "tensor(" not in show(record.model_copy(update={"checks": checks}), verbose=2)


def test_quiet_is_the_last_two_lines():
    record = half_right()
    assert show(record, verbose=-1).splitlines() == show(record).splitlines()[-2:]
    assert show(record, verbose=-1).splitlines()[1] == "  Fix task 2 first (+4).  grade hint lab01 add_noise"


@pytest.mark.parametrize("verbose", [-1, 0, 1])
def test_missing_isolation_is_always_said(verbose):
    assert "no isolation" in show(half_right("none"), verbose=verbose).lower()
    assert "partly isolated" in show(half_right("partial"), verbose=verbose).lower()
    assert "isola" not in show(half_right(), verbose=verbose).lower()


def test_a_problem_names_file_line_and_code():
    shown = show(SAMPLES["problem"]())
    assert "The file is not valid Python, so nothing was graded." in shown
    assert "lab01.py:52" in shown and "        x = torch.randn((2, 3)\n" in shown
    assert "Repair the file" in shown
    assert "`grade start lab01` writes one." in show(SAMPLES["nothing_at_all"]())


def test_markup_of_a_terminal_is_taken_out():
    assert "evil" not in show(SAMPLES["nothing_at_all"]().model_copy(update={"title": XSS[-1]}))


def test_status():
    rows = [
        ("lab01", "Gaussians and noise", 20.0, 20.0, "done"),
        ("lab02", "Schedules", 7.0, 20.0, "2 tasks to do"),
        ("lab03", "The forward process", None, 20.0, ""),
    ]
    shown = render_status(rows, color=False, ascii=False, width=80)
    assert "27 of 60 points" in shown and "████████████    20/20  done" in shown
    assert "████░░░░░░░░     7/20" in shown and "–/20" in shown
    assert shown.endswith("Next: grade lab02\n")
    assert render_status(rows, color=True, ascii=True, width=80).isascii()
    assert "Next: grade start lab03" in render_status([rows[0], rows[2]], color=False, ascii=False, width=80)
    assert "Next" not in render_status(rows[:1], color=False, ascii=False, width=80)
    assert render_status([], color=False, ascii=False, width=80).startswith("alphabar")


@pytest.mark.parametrize("name", SAMPLES)
def test_json_comes_back(name):
    record = SAMPLES[name]()
    assert dumps(record).endswith("}\n")
    assert LabResult.model_validate_json(dumps(record)) == record


def test_schema_names_every_field():
    assert set(json.loads(schema())["properties"]) == set(LabResult.model_fields)
