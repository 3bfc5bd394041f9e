"""What fixtures/submissions/README.md says of each sample, held to it."""

import re

import pytest

from grader.course import apply_edits, load
from grader.errors import SubmissionError
from grader.grading import Job, grade, open_bench
from grader.results import for_student
from grader.submission import find, parse
from grader.submission import load as read
from tests.toy import ROOT

SAMPLES = ROOT / "fixtures" / "submissions"


@pytest.fixture(scope="module")
def graded(sandbox):
    course = load(ROOT)
    lab = course.lab("lab01")
    with open_bench(lab, course.seed, sandbox) as bench:
        yield lambda name: grade(Job(lab, read(find(SAMPLES / name, "lab01"))), bench)


def named(result):
    """What the diagnosis names, by task; tasks where it names nothing are left out."""
    diagnosed = {task.id: task.diagnosis.misconceptions for task in result.tasks if task.diagnosis}
    return {task: [sorted(one) for one in found] for task, found in diagnosed.items() if found}


def states(result):
    return {task.id: task.state for task in result.tasks}


def test_the_readme_describes_every_sample():
    described = re.findall(r"^\| `(\w+)` \|", (SAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", ["right", "right_another_style"])
def test_right_earns_full_marks(graded, name):
    result = graded(name)
    assert {check.outcome for check in result.checks} == {"passed"}
    assert result.score.earned == result.score.possible == sum(task.points for task in load(ROOT).lab("lab01").tasks)


def test_half_done_earns_what_is_done_and_is_told_where_it_stands(graded):
    result = graded("half_done")
    found = states(result)
    assert {task for task, state in found.items() if state == "passed"} == {
        "checkpoint_factors",
        "checkpoint_factor_shape",
        "noise_levels",
    }
    assert {task for task, state in found.items() if state == "partly"} == {"make_betas", "add_noise"}
    assert found["checkpoint_calls"] == "not_yet"
    assert {task for task, state in found.items() if state == "not_started"} == {
        "checkpoint_denoiser_inputs",
        "training_target",
        "zero_terminal_snr",
        "flow_matching_pair",
        "min_snr_weights",
        "training_loss",
    }
    assert named(result) == {"checkpoint_calls": [["forward_at_inference"]], "add_noise": [["four_axes_only"]]}
    wrong = {check.id.rsplit(".", 1)[-1] for check in result.checks if check.outcome in ("failed", "crashed")}
    assert "any_number_of_axes" in wrong
    told = {task.id: task.diagnosis for task in result.tasks if task.diagnosis}
    (right,) = (says for says in told["make_betas"].facts if says.startswith("Right already: "))
    # It asks for the cosine schedule too and asserts what must hold of each: no answer differs from the reference's.
    assert "ramps of other lengths" in right and "betas are variances" not in right
    assert told["make_betas"].says.startswith("lab01.py, line 26: ValueError: cosine: later. What fails: ")


@pytest.mark.parametrize(
    ("name", "mistakes"),
    [
        ("one_known_mistake", ["alpha_not_alpha_bar"]),
        ("two_known_mistakes", ["no_sqrt_on_noise", "t_minus_1"]),
    ],
)
def test_known_mistakes_are_named_and_nothing_else_is(graded, name, mistakes):
    result = graded(name)
    assert named(result) == {"add_noise": [mistakes]}
    lost = {task.id for task in result.tasks if task.earned < task.possible}
    assert lost == {"add_noise"}


FIVE_MISTAKES = {
    "lab02": [
        "split_prediction.returns_float32",
        "ddpm_step.levels_in_half",
        "ddim_step.no_noise",
        "ddim_sample.model_is_told_t_prev",
        "dynamic_threshold.no_cap",
    ],
    "lab03": [
        "swap_config.drops_defaulted_last",
        "flow_sigmas.no_stretch",
        "img2img_window.counts_entries",
        "spaced_timesteps.stride_at_least_one",
        "heun_sample.looks_up_by_value",
    ],
    "lab04": [
        "cfg.changes_its_input",
        "guidance_embedding.pads_front",
        "guided_sample.one_step_late",
        "build_cfg_embeds.guides_below_one",
        "guided_prediction.guides_below_one",
    ],
    "lab05": [
        "posterior.kl_sign",
        "latent_budget.keeps_the_moments",
        "image_codec.decodes_in_half",
        "fit_latent_norm.statistics_of_pictures",
        "img2img_latents.noise_from_elsewhere",
    ],
    "lab06": [
        "read_pipeline.always_epsilon",
        "swap_scheduler.carries_defaults_from_config",
        "inpaint_step.hole_inverted",
        "denoise_loop.step_per_branch",
        "prepare_latents.takes_any_number_of_seeds",
    ],
    "lab07": [
        "cross_attention.mask_multiplied",
        "rope_axial.halves_paired",
        "joint_attention.mask_without_the_image",
        "timestep_embedding.frequencies_on_the_cpu",
        "two_backbones.encodes_for_each_backbone",
    ],
    "lab08": [
        "lora_linear.returns_float32",
        "inject_lora.first_hit_only",
        "merge_unmerge.merge_alpha_not_divided",
        "dora_linear.norm_not_rooted",
        "convert_kohya.missing_alpha_from_the_others",
    ],
    "lab09": [
        "control_residuals.drops_in_silence",
        "ip_adapter_attention.one_softmax",
        "control_image.levels_as_they_are",
        "control_window.strict_edges",
        "unet_with_control.skips_first_in_first_out",
    ],
    "lab10": [
        "online_softmax_attention.answers_in_float32",
        "groupnorm_fp16.statistics_in_half",
        "memory_plan.casting_stores_full_width",
        "query_chunked_attention.softmax_over_queries",
        "step_cache.never_reuses",
    ],
}


@pytest.mark.parametrize("lab_id", FIVE_MISTAKES)
def test_five_known_mistakes_are_named_in_every_lab(lab_id):
    lab = load(ROOT).lab(lab_id)
    planted = dict(one.split(".") for one in FIVE_MISTAKES[lab_id])
    known = {(edit.task, edit.id): edit for edit in lab.misconceptions}
    source = apply_edits(lab.reference, [known[one] for one in planted.items()], lab.manifest.reference)
    with open_bench(lab, load(ROOT).seed) as bench:
        result = grade(Job(lab, parse(source.encode(), f"{lab_id}.py")), bench)
    assert named(result) == {task: [[mistake]] for task, mistake in planted.items()}
    assert {task.id for task in result.tasks if task.earned < task.possible} == planted.keys()


def test_a_syntax_error_names_the_line():
    with pytest.raises(SubmissionError) as caught:
        read(find(SAMPLES / "syntax_error", "lab01"))
    assert (caught.value.kind, caught.value.line) == ("syntax_error", 6)


def test_a_crash_at_import_names_the_line(graded):
    result = graded("crash_at_import")
    assert result.problem is not None and (result.problem.kind, result.problem.line) == ("import_error", 5)
    assert "out of bounds" in result.problem.message and "alpha_bar[1000]" in result.problem.message
    assert result.score.earned == 0


def test_an_endless_loop_times_out_and_the_class_goes_on(graded):
    result = graded("endless_loop")
    assert {check.outcome for check in result.checks if check.task == "add_noise"} == {"timed_out"}
    assert {task for task, state in states(result).items() if state == "passed"} == {
        "noise_levels",
        "flow_matching_pair",
    }
    after = graded("right")
    assert after.score.earned == after.score.possible


def test_reading_files_and_patching_comparisons_earns_nothing(graded):
    result = for_student(graded("reads_files_and_patches_allclose"))
    assert result.score.earned == 0 and named(result) == {}  # zeros are no known mistake
    tried = {check.task for check in result.checks if check.outcome in ("failed", "crashed")}
    assert tried == {"add_noise", "zero_terminal_snr", "checkpoint_factors"}
    assert all(check.outcome == "skipped" for check in result.checks if check.task not in tried)
