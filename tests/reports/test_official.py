"""Why an official result is not the student's own: the reasons, each from a pair of records that has it."""

import re

import pytest

from grader.reports import html, terminal
from grader.reports.official import HIDDEN_ONLY, LOCAL, differences, fails_hidden_only
from grader.results import CheckResult, Environment, LabResult, Problem, Score, TaskResult
from tests.toy import ROOT


def check(name, outcome="passed", visible=True):
    earned = 1.0 if outcome == "passed" else 0.0
    return CheckResult(
        id=f"lab01/f.{name}", task="f", title="It holds.", outcome=outcome, earned=earned, possible=1.0, visible=visible
    )


def result(*checks, **other):
    earned, possible = sum(one.earned for one in checks), float(len(checks))
    task = TaskResult(
        id="f", title="F", function="f", line=1, earned=earned, possible=possible,
        state="passed" if earned == possible else "partly",
    )  # fmt: skip
    known = {
        "lab": "lab01", "title": "Noise", "seed": None, "submission": "abc", "filename": "lab01.py", "source": "s1",
        "score": Score(earned=earned, possible=possible), "tasks": [task], "checks": list(checks),
    }  # fmt: skip
    return LabResult(**known | other)


MINE = result(check("one"), check("two"), edition="e1")


def test_the_same_points_need_no_reason():
    assert list(differences(MINE, result(check("one"), check("two"), submission="other"))) == []


@pytest.mark.parametrize(
    ("official", "reason"),
    [
        (result(check("one"), check("two"), check("h", "failed", False)), None),
        (
            result(check("one"), check("h", "failed", False)),
            "Hidden checks hold other inputs, and 1 of them does not pass",
        ),
        (result(check("one"), check("two", "failed")), "Visible checks came out otherwise: two."),
        (result(check("one"), check("h", "failed", False), submission="xyz"), "Another file was graded"),
        (
            result(check("one"), check("h", "failed", False), source="s2"),
            "Your edition is of another state of this lab",
        ),
        (
            result(check("one", "skipped"), problem=Problem(kind="interrupted", message="Interrupted.")),
            "The official run ended early: Interrupted.",
        ),
    ],
)
def test_each_reason_is_told(official, reason):
    told = list(differences(MINE, official))
    assert reason is None or any(reason in says for says in told), told
    assert all(re.fullmatch(r"[A-Zf].*\.", says) for says in told)


def test_other_libraries_are_a_reason_too():
    def on(torch):
        return Environment(
            grader="1", python="3.12", platform="Linux", libraries={"torch": torch}, start_method="fork", sandbox={},
            isolation="none", graded_at="2026-11-28T00:00:00+00:00", durations={},
        )  # fmt: skip

    mine = MINE.model_copy(update={"environment": on("2.13.0")})
    same = result(check("one"), check("two", "failed"), environment=on("2.13.0"))
    other = result(check("one"), check("two", "failed"), environment=on("2.6.0"))
    assert not any("libraries" in says for says in differences(mine, same))
    assert any("libraries" in says for says in differences(mine, other))


def test_a_task_whose_visible_checks_pass_while_a_hidden_one_fails_says_so_on_the_official_page_alone():
    hidden = [check("one"), check("h", "failed", False)]
    assert fails_hidden_only(hidden)
    for other in (
        [check("one", "failed"), hidden[1]],
        [hidden[1]],
        [hidden[0]],
        [hidden[0], check("h", visible=False)],
    ):
        assert not fails_hidden_only(other)
    page = html.student_page(result(*hidden), page_url=None, hints={}, templates_dir=ROOT / "templates")
    assert HIDDEN_ONLY in page and LOCAL not in page


def test_a_result_of_the_student_edition_says_what_it_is():
    page = html.student_page(MINE, page_url=None, hints={}, templates_dir=ROOT / "templates")
    assert LOCAL in page and HIDDEN_ONLY not in page
    shown = terminal.render(MINE, color=False, ascii=False, width=100, verbose=0)
    assert " ".join(LOCAL.split()) in " ".join(shown.split())
    assert "student edition" not in terminal.render(
        result(check("one")), color=False, ascii=False, width=100, verbose=0
    )
