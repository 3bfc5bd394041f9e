import re

import pytest

from grader.reports import words
from grader.reports.html import student_page
from grader.results import Evidence
from tests.reports.lint import Page, faults
from tests.reports.samples import HINTS, SAMPLES, XSS, check, half_right, result, task


def page(record, templates, hints=HINTS, page_url="lab01.html"):
    return student_page(record, page_url=page_url, hints=hints, templates_dir=templates)


def text(html):
    return " ".join(" ".join(Page(html).text).split())


@pytest.mark.parametrize("name", SAMPLES)
def test_every_page_keeps_its_promises(name, templates):
    assert faults(page(SAMPLES[name](), templates)) == []
    assert faults(page(SAMPLES[name](), templates, hints={}, page_url=None)) == []


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_record_gives_the_same_bytes(name, templates):
    record = SAMPLES[name]()
    again = type(record).model_validate_json(record.model_dump_json())
    assert page(record, templates) == page(again, templates)


def _hidden(field, payload):
    """Return a record with `payload` in one of the fields that a student or an author can fill."""
    plain = check("add_noise", "x", "Title.", "crashed", message="RuntimeError: no")
    fields = {"message": payload} if field == "message" else {"output": payload} if field == "output" else {}
    if field == "title":
        fields = {"title": payload}
    if field == "evidence":
        fields = {"evidence": Evidence(call=payload, where=payload, yours=payload, expected=payload)}
    if field == "frame":
        frame = SAMPLES["half_right"]().checks[7].frames[0]
        fields = {"frames": [frame.model_copy(update={"code": payload, "function": payload})]}
    checks = [plain.model_copy(update=fields)]
    told = {"says": payload, "facts": [payload], "see": [payload]}
    diagnosis = {"misconceptions": [[payload]], **told} if field == "diagnosis" else None
    tasks = [task("add_noise", "Jump", checks, "crashed", 3, diagnosis=diagnosis)]
    problem = {"kind": payload, "message": payload} if field == "problem" else None
    filename = payload if field == "filename" else "lab01.py"
    return result(tasks, checks, filename=filename, problem=problem)


FIELDS = ("filename", "output", "message", "frame", "evidence", "title", "diagnosis", "problem")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("payload", XSS)
def test_text_is_data_everywhere(field, payload, templates):
    html = page(_hidden(field, payload), templates)
    assert faults(html) == []
    plain = page(_hidden(field, "plain"), templates)
    # The payload makes no element and no attribute.
    names = lambda html: [(tag, sorted(attrs)) for tag, attrs in Page(html).elements]  # noqa: E731
    expected = names(plain)
    seen = [name for name in names(html) if name != ("code", [])]
    assert seen == [name for name in expected if name != ("code", [])]
    for harmful in "\x1b\x00\x07\x9b\u202e\u2066":
        assert harmful not in html


def test_the_payload_is_shown_as_it_was(templates):
    html = page(_hidden("output", XSS[1]), templates)
    assert XSS[1] in "".join(Page(html).text)
    assert "&lt;/pre&gt;" in html


def test_templates_and_program_do_not_know_each_others_language(templates):
    assert "{{ 7*7 }}" in text(page(_hidden("message", "{{ 7*7 }}"), templates))


def test_hidden_checks_are_named_but_show_nothing_measured(templates):
    secret = check(
        "add_noise", "secret", "What must hold.", "failed", visible=False, message="The values differ.",
        evidence=Evidence(call="CANARY1", yours="CANARY2", expected="CANARY3"), output="CANARY4",
    )  # fmt: skip
    html = page(result([task("add_noise", "Jump", [secret], "not_yet")], [secret]), templates)
    assert "CANARY" not in html
    assert "What must hold." in html and "The values differ." in html and "hidden" in html


def test_the_title_begins_with_the_score(templates):
    assert "<title>8/19 · lab01 Forward noise process · lab01.py</title>" in page(half_right(), templates)


def test_fix_first_is_the_tried_task_with_most_to_gain(templates):
    shown = text(page(half_right(), templates))
    assert "Fix this first (+4 points) 2. Jump to any noise level" in shown
    assert "Start here (+3 points) 1. Linear noise schedule" in text(page(SAMPLES["not_started"](), templates))
    assert "Every check of this lab passes" in text(page(SAMPLES["all_passed"](), templates))


def test_with_nothing_left_to_mend_the_task_that_draws_is_open(templates):
    shown = page(SAMPLES["all_passed"](), templates)
    assert "See what your code draws ." in text(shown)
    opened = [
        part.split('"')[0]
        for part in shown.split('<section class="card task is-pass" id="')[1:]
        if "<details open>" in part
    ]
    assert opened == ["task-add_noise"]
    record = SAMPLES["all_passed"]()
    named = [
        one.model_copy(update={"rows": [(f"there, {label}", images) for label, images in one.rows]})
        for one in record.pictures
    ]
    assert "what your code draws" in page(record.model_copy(update={"pictures": named}), templates)
    without = page(SAMPLES["all_passed"]().model_copy(update={"pictures": []}), templates)
    assert "what your code draws" not in without and "<details open>" not in without


def test_several_explanations_are_one_of(templates):
    shown = text(page(half_right(), templates))
    assert "Behaves like one of these" in shown
    assert "clips_from_below together with gamma_squared" in shown
    assert "Behaves like alpha_not_alpha_bar . A right solution with this mistake" in shown


def test_what_no_known_mistake_explains_is_headed_by_its_worst_check(templates):
    shown = text(page(half_right(), templates))
    headed = shown[shown.index("What fails first") :]
    assert headed.startswith("What fails first lab01.py, line 64: RuntimeError: The size of tensor a (1000) must match")
    told = "What fails: The shape is (T,) . No known mistake gives your answers. It works for inputs of four axes only."
    assert told in headed and "Behaves like" not in headed[: headed.index(told)]


def test_fix_this_first_has_the_headline_and_below_it_the_facts(templates):
    record = half_right()
    (crashed,) = (task for task in record.tasks if task.id == "cosine_schedule")
    shown = text(page(record.model_copy(update={"tasks": [crashed]}), templates))
    first = shown[shown.index("Fix this first") : shown.index("See the evidence")]
    assert "lab01.py, line 64: RuntimeError" in first
    assert first.rstrip().endswith("No known mistake gives your answers. It works for inputs of four axes only.")


def test_a_function_of_another_name_is_suggested(templates):
    says = "lab01.py defines no velocity. Did you mean velocities on line 9? Rename it to velocity."
    missing = [check("velocity", "x", "T.", "skipped", message=says)]
    record = result([task("velocity", "Velocity target", missing, "not_started")], missing)
    shown = text(page(record, templates))
    assert f"{says} This is what must hold when it is:" in shown and "is not filled in yet" not in shown


def test_what_was_measured_is_shown_for_visible_checks(templates):
    shown = text(page(half_right(), templates))
    for piece in ("143,500 times the tolerance", "[0, 0, 0, 0]", "tensor([500, 500])", "2.87"):
        assert piece in shown


def test_our_fault_is_never_theirs(templates):
    ours = [check("add_noise", "x", "T.", "grader_error", 0)]
    nothing = text(page(result([task("add_noise", "Jump", ours, "ungraded")], ours), templates))
    assert "Nothing for you to fix" in nothing and "Full marks" not in nothing
    shown = text(page(half_right(), templates))
    assert "Our fault, not yours" in shown and "costs you no point" in shown


@pytest.mark.parametrize("level", ["none", "partial", "full"])
def test_missing_isolation_is_plain_to_see(level, templates):
    html = page(half_right(level), templates)
    banner = re.search(r'<p class="note part">(.*?)</p>', html, re.DOTALL)
    assert (banner is None) is (level == "full")
    assert level != "none" or "<strong>No isolation.</strong>" in html
    assert level != "partial" or "user namespaces are forbidden here" in banner[1]


def test_a_problem_is_said_with_line_and_code(templates):
    shown = text(page(SAMPLES["problem"](), templates))
    assert "The file is not valid Python" in shown
    assert "lab01.py, line 52" in shown and "x = torch.randn((2, 3)" in shown
    assert "Not run" in shown and "Not started" not in shown


def test_an_error_that_repeats_is_told_once(templates):
    html = page(half_right(), templates)
    checks = html[html.index("<h4>Checks</h4>") :]
    assert checks.count('<span class="er">RuntimeError: The size of tensor a') == 1
    assert "The same as in “The shape is <code>(T,)</code>”." in html


def test_long_output_is_cut_and_says_so(templates):
    lines = [check("add_noise", "x", "T.", "failed", output="line\n" * 1_512)]
    html = page(result([task("add_noise", "Jump", lines, "not_yet")], lines), templates)
    assert "… 1,312 lines more" in html and "What your code printed (1,512 lines)" in html
    wide = [check("add_noise", "x", "T.", "failed", output="w" * 100_000)]
    assert len(page(result([task("add_noise", "Jump", wide, "not_yet")], wide), templates)) < 40_000


def test_deep_recursion_is_cut_in_the_middle(templates):
    frame = half_right().checks[7].frames[0]
    deep = [check("add_noise", "x", "T.", "crashed", message="RecursionError", frames=[frame] * 990)]
    html = page(result([task("add_noise", "Jump", deep, "crashed")], deep), templates)
    assert html.count("return ratios(f)") == 8 and "982 calls more" in html


def test_hints_are_closed_and_only_where_something_is_open(templates):
    html = page(half_right(), templates, hints={task.id: ["a hint"] for task in half_right().tasks})
    assert html.count("a hint") == 4
    assert '<details class="hint"><summary>' in html and '<details class="hint" open' not in html


def test_links_to_the_labs_page_need_a_page(templates):
    assert '<a href="lab01.html#add-noise" rel="noopener">add-noise</a>' in page(half_right(), templates)
    known = {"add-noise": "add_noise & its <factors>"}
    named = student_page(half_right(), page_url="lab01.html", headings=known, hints={}, templates_dir=templates)
    assert '<a href="lab01.html#add-noise" rel="noopener">add_noise &amp; its &lt;factors&gt;</a>' in named
    assert "On the lab’s page" not in page(half_right(), templates, page_url=None)


def test_words():
    assert words.points(2.5) == "2.5" and words.points(10.0) == "10" and words.points(1.666) == "1.67"
    assert words.number(143500.0) == "143,500" and words.number(2.98e-7) == "2.98e-07"
    assert words.number(float("nan")) == "NaN" and words.number(float("inf")) == "infinite"
    assert words.joined(["a", "b", "c"]) == "a, b and c" and words.joined([]) == ""
    assert words.when("2026-11-22T18:04:11Z") == "22 Nov 2026, 18:04 UTC" and words.when("soon") == "soon"


@pytest.mark.parametrize(
    ("message", "where", "shown"),
    [
        ("The values at ['mean'] differ.", "['mean']", None),
        ("The values differ.", "['mean'][3]", "['mean'][3]"),
        ("The shape differs.", "the shape", None),
    ],
)
def test_where_an_answer_differs_is_said_once(message, where, shown):
    one = check("add_noise", "x", "T.", "failed", message=message, evidence=Evidence(where=where))
    assert words.where(one) == shown
