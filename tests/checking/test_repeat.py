"""Checks that are asked again: what a file keeps between calls, and what merely does not repeat."""

import pytest

from grader.checking import plugin
from grader.checking.processes import Processes
from grader.checking.repeat import KEEPS, settle
from grader.checking.session import Bench, Verdict
from grader.errors import InternalError
from grader.grading import Job, grade, open_bench
from grader.sandbox.client import Budget
from grader.submission import parse
from tests import toy
from tests.toy import CHECKS, REFERENCE

TWICE = (
    CHECKS
    + '''

@check("scale")
def test_both(compare, draw):
    """One call after another."""
    compare.scale(draw.normal(3), 3.0)
    compare.scale(draw.normal(3), 4.0)
'''
)


def scaled(body, before=""):
    return before + REFERENCE.replace("    return x * factor\n", body)


def outcomes(result):
    return {check.id.split("/")[1]: check.outcome for check in result.checks}


def message(result, name="scale.secret"):
    return next(check.message for check in result.checks if check.id == f"lab01/{name}")


KEEPERS = {
    "global": (
        scaled("    global F\n    if F is None:\n        F = factor\n    return x * F\n", "F = None\n"),
        "the global `F` is set on line 9",
    ),
    "default": (
        REFERENCE.replace("x, factor):\n", "x, factor, kept={}):\n    factor = kept.setdefault('f', factor)\n"),
        "the default of `kept` on line 5 is made once, for all calls",
    ),
    "module": (
        scaled("    return x * KEPT.setdefault('f', factor)\n", "KEPT = {}\n"),
        "`KEPT` of line 1 is changed on line 7",
    ),
    "attribute": (
        scaled("    scale.f = getattr(scale, 'f', factor)\n    return x * scale.f\n"),
        "`scale.f` is set on line 6",
    ),
    "cache": (
        scaled(
            "    AT.append(factor)\n    return x * first()\n\n\n@functools.cache\ndef first():\n    return AT[-1]\n",
            "import functools\nAT = []\n",
        ),
        "`AT` of line 2 is changed on line 8, or line 12 keeps the answers of `first`",
    ),
    "setting": (
        scaled(
            "    y = x.to(torch.get_default_dtype()) * factor\n    torch.set_default_dtype(torch.half)\n    return y\n"
        ),
        "`set_default_dtype` on line 7 holds for the whole process",
    ),
}


@pytest.mark.parametrize("name", KEEPERS)
def test_what_is_right_only_when_called_first_fails_and_says_what_is_kept(grade_toy, name):
    source, says = KEEPERS[name]
    result = grade_toy(source)
    assert outcomes(result)["scale.plain"] == "passed" and outcomes(result)["scale.secret"] == "failed"
    assert message(result) == f"{KEEPS}: {says}."
    assert not any(check.unstable for check in result.checks)
    assert result.tasks[0].earned == 2


def test_what_the_text_does_not_show_is_not_made_up(grade_toy):
    source = scaled("    return x * vars(torch).setdefault('kept', factor)\n")
    assert message(grade_toy(source)) == f"{KEEPS}."


def test_a_state_that_ends_the_process_is_kept_too(grade_toy):
    body = "    N.append(1)\n    if len(N) > 1:\n        import os\n        os._exit(0)\n    return x * factor\n"
    result = grade_toy(scaled(body, "N = []\n"))
    assert outcomes(result)["scale.secret"] == "crashed" and message(result).startswith(KEEPS)


def test_by_ending_nothing_is_forgotten(grade_toy):
    # What it is asked first it does right, for good; where it would be wrong it ends.
    body = "    KEPT.setdefault('f', factor)\n    if KEPT['f'] != factor:\n        {}\n    return x * factor\n"
    another = CHECKS[CHECKS.index('@check("scale")\n') : CHECKS.index('@check("jitter"')]
    checks = CHECKS + "".join(another.replace("test_secret", f"test_{n}") for n in ("more", "most"))
    seen = [
        outcomes(grade_toy(scaled(body.format(wrong), "import os\nKEPT = {}\n"), checks=checks))
        for wrong in ("return x", "os._exit(0)")
    ]
    assert [one["scale.plain"] for one in seen] == ["passed", "passed"]
    for name in ("scale.secret", "scale.more", "scale.most"):
        assert [one[name] for one in seen] == ["failed", "crashed"]


def test_what_ends_on_its_way_to_where_it_ended_is_not_run(bench, monkeypatch):
    source = scaled("    if factor < 0:\n        os._exit(1)\n    return x * factor\n", "import os\n")
    plain = CHECKS[CHECKS.index('@check("scale", visible') : CHECKS.index('@check("scale")\n')]
    bench.lab.checks_path.write_text(CHECKS + plain.replace('", visible=True', '"').replace("test_plain", "test_later"))
    assert outcomes(graded(bench, source))["scale.later"] == "passed"
    for led, says in (("ended", plugin.LOST), ("spent", plugin.LOST_LONG)):
        monkeypatch.setattr(Bench, "lead", lambda self, trail, task, led=led: led)
        result = graded(bench, source)
        assert (outcomes(result)["scale.later"], message(result, "scale.later")) == ("crashed", says)


def test_two_solutions_in_one_file_are_one_try(grade_toy):
    # Wrong, until a process is asked `scale` first: that is what a second try in a fresh process looks like.
    body = "    CALLS.append(1)\n    return x * factor if len(CALLS) == 1 and ODD else x\n"
    source = scaled(body, "CALLS = []\nODD = True\n").replace(
        "return x + torch", "CALLS.append(0)\n    return x + torch"
    )
    checks = CHECKS.replace('@check("scale", visible=True)', '@check("scale")').replace(
        "multiplied", "multiplied twice"
    )
    result = grade_toy(source, checks=checks)
    # jitter's check is the visible one, so it comes first.
    assert outcomes(result) == {"jitter.draws": "passed", "scale.plain": "failed", "scale.secret": "failed"}
    assert result.tasks[0].earned == 0


def test_within_one_check_the_second_call_shows_what_is_kept(grade_toy):
    source = scaled("    return x * KEPT.setdefault('f', factor)\n", "KEPT = {}\n")
    only = TWICE[: TWICE.index('@check("scale", visible')] + TWICE[TWICE.index('@check("jitter"') :]
    result = grade_toy(source, checks=only)
    assert outcomes(result)["scale.both"] == "failed"
    assert message(result, "scale.both") == f"{KEEPS}: `KEPT` of line 1 is changed on line 7."
    # Wrong in both calls, however it is asked: then that is the news.
    wrong = grade_toy(source.replace("'f', factor)", "'f', 2 * factor)"), checks=only)
    assert message(wrong, "scale.both").startswith("The values")


def test_what_keeps_something_and_is_right_passes(grade_toy):
    source = scaled("    KEPT[factor] = factor\n    return x * KEPT[factor]\n", "KEPT = {}\n")
    assert grade_toy(source, checks=TWICE).score.earned == 7


def test_calls_of_other_tasks_are_among_those_that_lead_to_it(grade_toy):
    source = REFERENCE.replace("    return x * factor\n", "    return x * factor * FACTOR\n").replace(
        "    return x + torch", "    global FACTOR\n    FACTOR = 2.0\n    return x + torch"
    ) + "\nFACTOR = 1.0\n"  # fmt: skip
    result = grade_toy(source)
    assert outcomes(result) == {"scale.plain": "passed", "jitter.draws": "passed", "scale.secret": "failed"}
    assert message(result) == f"{KEEPS}: the global `FACTOR` is set on line 11."


# Which verdict counts


def verdicts(*found):
    """Answer each question with the next of these, and say what was asked."""
    left, asked = list(found), []

    def ask(what):
        def answer():
            asked.append(what)
            one = left.pop(0)
            return Verdict(one) if what != "lead" else one

        return answer

    return settle(Verdict(left.pop(0)), ask("fresh"), ask("lead"), ask("again")), asked


@pytest.mark.parametrize(
    ("found", "outcome", "unstable", "keeps", "asked"),
    [
        (["failed", "failed"], "failed", False, False, ["fresh"]),
        (["failed", "grader_error"], "grader_error", False, False, ["fresh"]),
        (["failed", "timed_out"], "timed_out", True, False, ["fresh"]),
        (["failed", "passed", "done", "failed"], "failed", False, True, ["fresh", "lead", "again"]),
        (["failed", "passed", "done", "passed"], "passed", True, False, ["fresh", "lead", "again"]),
        (["failed", "passed", "done", "crashed"], "failed", True, False, ["fresh", "lead", "again"]),
        (["failed", "passed", "done", "grader_error"], "grader_error", False, False, ["fresh", "lead", "again"]),
        (["crashed", "passed", "ended", "ended"], "crashed", True, False, ["fresh", "lead", "lead"]),
        (["crashed", "passed", "ended", "done", "passed"], "passed", True, False, ["fresh", "lead", "lead", "again"]),
        (["failed", "passed", "ended", "done", "failed"], "failed", False, True, ["fresh", "lead", "lead", "again"]),
        (["failed", "passed", "spent"], "failed", True, False, ["fresh", "lead"]),
        (["failed", "crashed", "done", "failed"], "crashed", False, False, ["fresh", "lead", "again"]),
        (["failed", "crashed", "done", "passed"], "crashed", True, False, ["fresh", "lead", "again"]),
    ],
)  # fmt: skip
def test_the_verdict_that_counts(found, outcome, unstable, keeps, asked):
    verdict, questions = verdicts(*found)
    assert (verdict.outcome, verdict.unstable, verdict.keeps) == (outcome, unstable, keeps)
    assert questions == asked


# What does not repeat


@pytest.fixture
def bench(sandbox, tmp_path):
    with open_bench(toy.make(tmp_path / "course").lab("lab01"), "7", sandbox) as opened:
        yield opened


def graded(bench, source=REFERENCE):
    return grade(Job(bench.lab, parse(source.encode(), "lab01.py")), bench)


def killed(bench, monkeypatch, *when):
    """Kill the student's worker before the calls of these numbers."""
    calls = []
    ask = Bench.ask_student

    def counted(self, call, budget, memory_mib=None, **how):
        calls.append(call)
        if len(calls) in when:
            process = self.student_worker(budget)._process
            process.kill()
            assert process.exit(60) is not None
        return ask(self, call, budget, memory_mib, **how)

    monkeypatch.setattr(Bench, "ask_student", counted)


def test_a_process_that_something_else_killed_costs_nothing(bench, monkeypatch):
    killed(bench, monkeypatch, 2)
    result = graded(bench)
    assert result.score.earned == 7
    assert [check.id for check in result.checks if check.unstable] == ["lab01/jitter.draws"]
    assert result.tasks[1].diagnosis is None


def test_chance_does_not_help_again_and_again(bench, monkeypatch):
    monkeypatch.setattr(plugin, "MOST_SPARED", 0)
    killed(bench, monkeypatch, 2)
    result = graded(bench)
    [check] = [check for check in result.checks if check.outcome != "passed"]
    assert check.outcome == "crashed" and check.unstable


def test_a_fault_of_ours_on_the_way_is_ours(bench, monkeypatch):
    def breaks_off(self, trail, task):
        raise InternalError("The zygote has gone.")

    monkeypatch.setattr(Bench, "lead", breaks_off)
    result = graded(bench, KEEPERS["global"][0])
    assert result.problem is not None and result.problem.kind == "grader_error"


def test_an_interruption_on_the_way_keeps_what_was_found(bench, monkeypatch):
    def interrupted(self, trail, task):
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "lead", interrupted)
    result = graded(bench, KEEPERS["global"][0])
    assert result.problem is not None and result.problem.kind == "interrupted"
    assert outcomes(result) == {"scale.plain": "passed", "jitter.draws": "passed", "scale.secret": "skipped"}


def test_whoever_makes_the_way_long_is_not_the_better_for_it(grade_toy):
    # Each call burns most of the task's time, so that the calls cannot be made again in it.
    burns = "    end = time.process_time() + 0.35\n    while time.process_time() < end:\n        pass\n"
    source = scaled(
        burns + "    CALLS.append(1)\n    return x * factor if len(CALLS) == 1 else x\n", "import time\nCALLS = []\n"
    )
    source = source.replace("    return x + torch", burns + "    return x + torch")
    lab = toy.LAB.replace("cpu_s = 10", "cpu_s = 0.9")
    result = grade_toy(source, lab=lab)
    assert outcomes(result)["scale.secret"] in ("failed", "timed_out")
    assert result.tasks[0].earned == 2


def test_loading_again_spends_the_tasks_time(assess_toy):
    slow = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end:\n    pass\n"
    body = "    import os\n    os._exit(1)\n"
    result, seen = assess_toy(scaled(body, slow), lab=toy.LAB.replace("cpu_s = 10", "cpu_s = 0.7"))
    assert outcomes(result)["scale.secret"] == "timed_out" and outcomes(result)["jitter.draws"] == "passed"
    assert seen.spent["scale"] >= 0.7


def test_a_slow_file_is_not_loaded_again_until_nothing_is_left_for_the_other_checks(grade_toy):
    slow = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end:\n    pass\n"
    another = CHECKS[CHECKS.index('@check("scale", visible') : CHECKS.index('@check("scale")\n')]
    result = grade_toy(
        scaled("    return x if factor > 0 else x * factor\n", slow),
        checks=CHECKS + another.replace("test_plain", "test_again"),
        lab=toy.LAB.replace("cpu_s = 10", "cpu_s = 1"),
    )
    assert outcomes(result)["scale.plain"] == outcomes(result)["scale.again"] == "failed"
    assert outcomes(result)["scale.secret"] == "passed"


def test_a_right_file_is_loaded_once_and_asked_once(bench, monkeypatch):
    started, asked = [], []
    start, ask = Processes.start, Bench.ask_student
    monkeypatch.setattr(Processes, "start", lambda self, *args: started.append(1) or start(self, *args))
    monkeypatch.setattr(Bench, "ask_student", lambda self, *args, **kw: asked.append(1) or ask(self, *args, **kw))
    assert graded(bench).score.earned == 7
    assert (len(started), len(asked)) == (1, 3)
    started.clear()
    graded(bench, REFERENCE.replace("x * factor", "x + factor"))
    assert len(started) == 3  # and once more for each of two checks that fail


def test_a_budget_for_leading_is_the_submissions_own(bench):
    graded(bench)
    assert all(isinstance(budget, Budget) and budget.spent == 0 for budget in bench._leading.values())
