"""Other people's formats: each is what its readers take, tells nothing of hidden checks, carries nothing that acts."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from grader.cohort.records import Adjustment
from grader.errors import UsageError
from grader.reports import classroom50, formats, github, gradescope, junit, sarif
from grader.reports.inert import inert, prose, span
from grader.reports.told import Graded, findings, sentence
from grader.results import OUR_FAULT, CheckResult, LabResult, Problem
from tests.cohort.rows import check as row_check
from tests.cohort.rows import row
from tests.reports.samples import SAMPLES, XSS, half_right
from tests.toy import ROOT

# What Classroom 50's runner sets.
RUNNER = {
    "CLASSROOM": "diffusion",
    "ASSIGNMENT": "lab01",
    "ASSIGNMENT_TYPE": "individual",
    "OWNER": "ada",
    "SUBMISSION_TAG": "submit/2026-11-22T18-04-11Z-a1b2c3d",
    "COMMIT_URL": "https://github.example/o/r/commit/a1b2c3d",
    "RELEASE_URL": "https://github.example/o/r/releases/tag/x",
    "SUBMITTED_AT": "2026-11-22T17:59:00Z",
}


def written(name: str, *results: LabResult, paths: tuple[str, ...] = ()) -> str:
    graded = [
        Graded.of(result, path)
        for result, path in zip(results, paths or (f"work/{results[0].lab}.py",) * len(results), strict=True)
    ]
    return formats.FORMATS[name].written(graded, RUNNER)


# Small schemas, written from what each format's specification says.


def gradescope_is_valid(data: dict[str, Any]) -> None:
    """https://gradescope-autograders.readthedocs.io/en/latest/specs/ (what run_autograder leaves behind)."""
    known = {
        "score", "execution_time", "output", "output_format", "test_output_format", "test_name_format", "visibility",
        "stdout_visibility", "extra_data", "tests", "leaderboard",
    }  # fmt: skip
    assert data.keys() <= known and ("score" in data or data["tests"])
    assert {data["output_format"], data["test_output_format"], data["test_name_format"]} == {"text"}
    assert data["stdout_visibility"] in ("hidden", "after_due_date", "after_published", "visible")
    of_test = {"score", "max_score", "status", "name", "name_format", "number", "output", "output_format", "tags",
               "visibility", "extra_data"}  # fmt: skip
    for test in data["tests"]:
        assert test.keys() <= of_test and test["status"] in ("passed", "failed")
        assert all(isinstance(test[key], str) for key in ("name", "number", "output"))
        assert all(isinstance(test[key], (int, float)) for key in ("score", "max_score"))
        assert test["visibility"] in ("hidden", "after_due_date", "after_published", "visible")
        assert isinstance(test["tags"], list)


def classroom50_is_valid(data: dict[str, Any]) -> None:
    """`classroom50/result/v1`, and the rules beside it that its validators hold in code."""
    required = {
        "schema", "classroom", "assignment", "assignment_type", "owner", "submission", "commit", "release", "review",
        "datetime", "score", "max-score", "tests",
    }  # fmt: skip
    assert required <= data.keys() <= required | {"graded_at", "submitted_by"}
    assert data["schema"] == "classroom50/result/v1" and data["assignment_type"] in ("individual", "group")
    assert data["submission"].startswith("submit/")
    for key in ("datetime", "graded_at"):
        assert datetime.strptime(data[key], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert all(isinstance(data[key], str) and data[key] for key in required - {"score", "max-score", "tests"})
    for part in (data, *data["tests"]):
        assert type(part["score"]) is int and type(part["max-score"]) is int
        assert 0 <= part["score"] <= part["max-score"]
    for test in data["tests"]:
        assert isinstance(test["passed"], bool) and test["test-name"]
    assert data["score"] == sum(test["score"] for test in data["tests"])
    assert data["max-score"] == sum(test["max-score"] for test in data["tests"])


# element -> (attributes, children in any order), as GitLab's, Jenkins's and pytest's readers know them
JUNIT = {
    "testsuites": ({"name", "tests", "failures", "errors", "skipped"}, {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped"}, {"properties", "testcase"}),
    "testcase": ({"name", "classname", "file", "line"}, {"properties", "failure", "error", "skipped"}),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "failure": ({"message", "type"}, set()),
    "error": ({"message", "type"}, set()),
    "skipped": ({"message"}, set()),
}


def junit_is_valid(text: str) -> ElementTree.Element:
    top = ElementTree.fromstring(text)
    assert top.tag == "testsuites"
    for element in top.iter():
        attributes, children = JUNIT[element.tag]
        assert element.attrib.keys() <= attributes and {child.tag for child in element} <= children
    cases = list(top.iter("testcase"))
    for group in (top, *top.iter("testsuite")):
        mine = list(group.iter("testcase"))
        assert int(group.attrib["tests"]) == len(mine)
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(group.attrib[attribute]) == sum(case.find(tag) is not None for case in mine)
    names = [(case.attrib["classname"], case.attrib["name"]) for case in cases]
    assert len(set(names)) == len(names), "GitLab drops what has a name that it has seen"
    assert all(sum(case.find(tag) is not None for tag in ("failure", "error", "skipped")) <= 1 for case in cases)
    return top


def sarif_is_valid(data: dict[str, Any]) -> None:
    """SARIF 2.1.0 (OASIS, 2020), and what GitHub's code scanning asks for beyond it."""
    assert data["version"] == "2.1.0" and len(data["runs"]) == 1
    run = data["runs"][0]
    assert run.keys() == {"tool", "columnKind", "results"} and run["columnKind"] == "unicodeCodePoints"
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert result["level"] in ("none", "note", "warning", "error")
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"] and result["partialFingerprints"]
        (where,) = result["locations"]
        place = where["physicalLocation"]
        assert re.fullmatch(r"[\w.%/~-]+", place["artifactLocation"]["uri"])
        assert place["region"]["startLine"] >= 1


ANNOTATION = re.compile(r"::(error|warning|notice) file=([^,:]+),(?:line=([0-9]+),)?title=([^,:]+)::(.*)")


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_format_of_every_sample_is_what_its_readers_take(sample):
    result = SAMPLES[sample]()
    gradescope_is_valid(json.loads(written("gradescope", result)))
    classroom50_is_valid(json.loads(written("classroom50", result)))
    junit_is_valid(written("junit", result))
    sarif_is_valid(json.loads(written("sarif", result)))
    for line in written("github-annotations", result).splitlines():
        assert ANNOTATION.fullmatch(line), line
    table = list(csv.DictReader(io.StringIO(written("csv", result))))
    assert [line["outcome"] for line in table] == [check.outcome for check in result.checks]
    assert all(written(name, result).endswith("\n") or not written(name, result) for name in formats.FORMATS)


# What they say.


def test_what_half_right_code_gets_in_junit():
    top = junit_is_valid(written("junit", half_right()))
    cases = {case.attrib["name"].split()[0]: case for case in top.iter("testcase")}
    failed = cases["lab01/add_noise.one_timestep"]
    assert failed.attrib["line"] == "44" and failed.attrib["file"] == "work/lab01.py"
    told = failed.find("failure").attrib
    assert told["type"] == "failed" and told["message"].endswith("The task behaves like alpha_not_alpha_bar.")
    assert cases["lab01/posterior.mean"].find("error").attrib["message"].startswith("Our fault, not yours")
    assert cases["lab01/velocity.definition"].find("skipped") is not None
    assert cases["lab01/add_noise.half_precision"].attrib["name"].endswith("(hidden)")
    points = {one.attrib["name"]: one.attrib["value"] for one in cases["lab01/predict_x0.inverts"].iter("property")}
    assert points == {"earned": "3", "possible": "3"}


def test_what_half_right_code_gets_as_annotations():
    lines = written("github-annotations", half_right()).splitlines()
    found = [ANNOTATION.fullmatch(line).groups() for line in lines]
    assert [(kind, line, title.split()[0]) for kind, _, line, title, _ in found] == [  # what costs most comes first
        ("warning", "44", "lab01/add_noise"),
        ("error", "64", "lab01/cosine_schedule"),
        ("warning", "80", "lab01/snr_weight"),
        ("notice", "101", "lab01/posterior"),
    ]
    assert found[0][3] == "lab01/add_noise 1/5 behaves like alpha_not_alpha_bar"
    assert found[0][4].endswith("So the picture hardly gets noisier as t grows.")


def test_an_annotation_is_one_line_and_points_into_the_file():
    result = half_right()
    text = written("github-annotations", result, paths=("a b/100%,x:y.py",))
    assert text.count("\n") == len(findings([Graded.of(result, "x")]))
    assert "file=a b/100%25%2Cx%3Ay.py," in text


def test_github_shows_ten_of_a_kind_and_gets_no_more():
    one = half_right()
    text = written("github-annotations", *[one] * 30)
    assert [text.count(f"::{kind} ") for kind in ("error", "warning", "notice")] == [10, 10, 10]


def test_the_summary_has_points_states_mistakes_and_what_to_do_next():
    text = written("github-summary", half_right())
    assert text.startswith("## lab01 Forward noise process: 8 of 19 points\n")
    row_of = next(line for line in text.splitlines() if line.startswith("| Jump to any noise level"))
    assert "| Partly | alpha\\_not\\_alpha\\_bar |" in row_of
    assert "Next: " in text and "`grade hint lab01 " in text
    assert "![" not in text and "<img" not in text
    bare = github.summary([Graded.of(half_right(), "lab01.py")], with_points=False)
    assert "points" not in bare and "Partly" in bare and not re.search(r"\d/\d", bare)


def test_a_summary_stays_below_what_github_shows():
    many = [Graded.of(half_right(), f"s{n}/lab01.py") for n in range(1_200)]
    text = github.summary(many)
    assert len(text.encode()) < github.MOST_BYTES + 1_000 < 1 << 20
    assert re.search(r"Not shown here: [0-9,]+ more files\.$", text.rstrip())


def test_classroom50_rounds_down_and_keeps_what_was_earned():
    rows = {one["test-name"].split()[0]: one for one in json.loads(written("classroom50", half_right()))["tests"]}
    for task in half_right().tasks:
        got = rows[f"lab01/{task.id}"]
        assert got["exact"] == task.earned and got["score"] == int(task.earned)
        assert got["passed"] == (task.state == "passed")
    assert rows["lab01/add_noise"]["behaves-like"] == "alpha_not_alpha_bar"
    assert "alpha\\_not\\_alpha\\_bar" in written("classroom50-release", half_right())
    assert classroom50.RULE in written("classroom50-release", half_right())


def test_classroom50_is_written_where_its_runner_runs():
    with pytest.raises(UsageError, match="COMMIT_URL is not set here"):
        classroom50.result([Graded.of(half_right(), "x")], {k: v for k, v in RUNNER.items() if k != "COMMIT_URL"})
    found = json.loads(written("classroom50", half_right()))
    assert found["datetime"] == "2026-11-22T17:59:00Z" and found["graded_at"] == "2026-11-22T18:04:11Z"


def test_one_pull_request_may_bring_a_lab_twice():
    both = (half_right(), half_right())
    top = junit_is_valid(written("junit", *both, paths=("a/lab01.py", "b/lab01.py")))
    assert {case.attrib["file"] for case in top.iter("testcase")} == {"a/lab01.py", "b/lab01.py"}
    prints = [
        one["partialFingerprints"]["alphabar/v1"]
        for one in json.loads(written("sarif", *both, paths=("a/lab01.py", "b/lab01.py")))["runs"][0]["results"]
    ]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("name", ["gradescope", "classroom50", "classroom50-release"])
def test_a_lab_counts_once_where_a_submission_is_one(name):
    with pytest.raises(UsageError, match="is for one submission, and several files of lab01 were graded"):
        written(name, half_right(), half_right())


def test_the_record_makes_the_same_bytes_again():
    for name in formats.FORMATS:
        assert written(name, half_right()) == written(name, half_right())


# Gradescope, from a class as well.

STAFF = Adjustment(by="staff", item="scale", before=7, after=9, why="The page was wrong. (mk, 2026-11-24)")


def test_gradescope_gets_points_and_sentences_and_nothing_hidden():
    checks = [
        row_check("plain", "scale", 6, 6, "passed"),
        row_check("secret", "scale", 0, 6, "failed", visible=False, message="It is off.", output="peeked 0.123"),
        row_check("draws", "jitter", 0, 8, "timed_out"),
    ]
    one = row(earned=6, checks=checks, final=8, adjustments=[STAFF])
    told = gradescope.results([Graded.of(one, "lab01.py")], one.final, ["Adjusted by staff: scale 7 -> 9."])
    gradescope_is_valid(told)
    assert told["score"] == 8 and told["stdout_visibility"] == "hidden"
    assert told["output"] == "Adjusted by staff: scale 7 -> 9."
    assert [(t["number"], t["score"], t["max_score"], t["status"], t["output"]) for t in told["tests"]] == [
        ("lab01/scale.plain", 6, 6, "passed", ""),
        ("lab01/scale.secret", 0, 6, "failed", ""),
        ("lab01/jitter.draws", 0, 8, "failed", "It took too long."),
    ]
    assert "0.123" not in str(told)


@pytest.mark.parametrize(
    ("kind", "message", "shown"),
    [("grader_error", "lab01/scale.secret: hidden detail", OUR_FAULT), ("syntax_error", "SyntaxError: here", None)],
)
def test_gradescope_gets_the_problem_but_not_what_failed_on_our_side(kind, message, shown):
    told = gradescope.results([Graded.of(row(earned=0, checks=[], problem=Problem(kind=kind, message=message)), "x")])
    assert told["output"] == (shown or message) and told["tests"] == []


# Hidden checks.

SECRET = "SECRET 0.1234 of a hidden check"


def with_secrets() -> LabResult:
    """Every hidden check that does not pass has a message, and one is the only one of its task."""

    def of(check: CheckResult) -> CheckResult:
        return check if check.visible else check.model_copy(update={"message": SECRET})

    found = half_right()
    only = row_check("alone", "predict_x0", 0, 1, "failed", visible=False, message=SECRET, title="A hidden title.")
    checks = [*map(of, found.checks), only]
    tasks = [
        task.model_copy(
            update={
                "state": "partly",
                "earned": 3.0,
                "possible": 4.0,
                "diagnosis": found.tasks[3].diagnosis.model_copy(update={"says": SECRET}),  # what `headline` would say
            }
        )
        if task.id == "predict_x0"
        else task
        for task in found.tasks
    ]
    return found.model_copy(update={"checks": checks, "tasks": tasks})


@pytest.mark.parametrize("name", formats.FORMATS)
def test_no_hidden_check_carries_a_message(name):
    result = with_secrets()
    assert SECRET in result.model_dump_json()
    text = written(name, result)
    assert text and "SECRET" not in text and "0.1234" not in text


def test_where_only_hidden_checks_fail_their_titles_are_said():
    result = with_secrets()
    task = next(task for task in result.tasks if task.id == "predict_x0")
    assert sentence(result, task) == ("What visible checks ask for holds; hidden checks do not pass: A hidden title.")


def test_where_a_visible_check_fails_too_it_is_the_one_that_is_quoted():
    found = half_right()
    task = next(task for task in found.tasks if task.id == "cosine_schedule")
    assert sentence(found, task) == task.diagnosis.says and "line 64" in task.diagnosis.says
    hidden_first = task.model_copy(
        update={"diagnosis": task.diagnosis.model_copy(update={"says": f"{SECRET} What fails: β is clipped at 0.999."})}
    )
    assert sentence(found, hidden_first).startswith("lab01.py, line 64: RuntimeError: The size of tensor a")


# Nothing that acts.

ACTS = [
    "::error file=x::owned",
    "\n::set-output name=x::y",
    "a:::::b",
    "##[error]owned",
    "::stop-commands::token",
    "[click](https://evil.example)",
    "![x](//evil.example/y.png)",
    "<https://evil.example>",
    "https://evil.example/x",
    "www.evil.example",
    "`](https://evil.example)`",
    "``` \n# heading\n```",
    "| a | b |",
    "<!-- hidden -->",
    "<details><summary>x</summary>",
    "@everyone and @org/team",
    "=cmd|' /C calc'!A0",
    "\x1b[31m \u202e \u200b \x00 \ufffe \uffff \ud800",
    "]]><x>",
    "&#60;script&#62;",
    "javascript:alert(1)",
    *XSS,
]


def poisoned(text: str) -> LabResult:
    """Everything that a student chooses says `text`."""
    found = half_right()
    checks = [
        check.model_copy(
            update={
                "message": text if check.outcome not in ("passed", "skipped") else None,
                "output": text,
                "frames": [frame.model_copy(update={"code": text, "function": text}) for frame in check.frames],
            }
        )
        for check in found.checks
    ]
    tasks = [
        task.model_copy(update={"diagnosis": task.diagnosis.model_copy(update={"says": text})})
        if task.diagnosis is not None
        else task
        for task in found.tasks
    ]
    return found.model_copy(update={"checks": checks, "tasks": tasks, "filename": text})


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.items() for text in strings(list(part))]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


def values(name: str, text: str) -> list[str]:
    """Return every text that a reader of the format shows."""
    if name in ("gradescope", "classroom50", "sarif"):
        data = json.loads(text)
        known = {data.get("$schema"), *RUNNER.values()}
        return [one for one in strings(data) if one not in known]
    if name == "junit":
        return [one for e in ElementTree.fromstring(text).iter() for one in (*e.attrib.values(), e.text or "")]
    if name == "csv":
        return [cell for line in csv.reader(io.StringIO(text)) for cell in line]
    if name == "github-annotations":
        return [part for line in text.splitlines() for part in ANNOTATION.fullmatch(line).groups() if part]
    return [text]


TAG = re.compile(r"<[A-Za-z/!?]")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@pytest.mark.parametrize("text", ACTS, ids=range(len(ACTS)))
def test_no_text_of_a_student_acts_in_any_format(text):
    results = (
        poisoned(text),
        half_right().model_copy(
            update={"tasks": [], "checks": [], "problem": Problem(kind="syntax_error", message=text, line=3)}
        ),
    )
    for name in formats.FORMATS:
        for result in results:
            content = written(name, result, paths=(f"work/{text}.py",))
            content.encode()  # no lone surrogate
            for shown in values(name, content):
                assert not TAG.search(shown), (name, shown)
                assert not CONTROL.search(shown.replace("\r", "")), (name, shown)
                assert "::" not in shown and "##[" not in shown and "](" not in shown, (name, shown)
                assert "://" not in shown and "javascript:a" not in shown.lower(), (name, shown)
            if name == "github-annotations":
                assert all(ANNOTATION.fullmatch(line) for line in content.splitlines())
            if name == "csv":
                assert not re.search(r"(?m)(^|,)\"?[=+@-]", content)
            if name in ("github-summary", "classroom50-release"):
                is_plain_markdown(content)


def is_plain_markdown(text: str) -> None:
    """No link, image, HTML, and no heading or table but ours, whatever is read into it."""
    reader = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])
    tokens = [one for token in reader.parse(text) for one in (token, *(token.children or []))]
    kinds = {token.type for token in tokens}
    assert not kinds & {"link_open", "image", "html_block", "html_inline", "fence", "code_block", "s_open", "em_open"}
    headings = [token for token in tokens if token.type == "heading_open"]
    assert len(headings) == 1 and headings[0].tag == "h2"
    # Nor what GitHub makes a link or a mention without being asked.
    for token in tokens:
        if token.type == "text":
            assert not re.search(r"(?i)://|www\.|@\w", token.content), token.content


def test_the_seeded_texts_would_act_if_they_were_not_broken():
    raw = "\n".join(ACTS)
    assert TAG.search(raw) and CONTROL.search(raw) and "::" in raw and "](" in raw and "://" in raw


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x[0] == 3 and y < 4, a % b: 5", "x[0] == 3 and y < 4, a % b: 5"),
        ("The size of tensor a (1000) must match", "The size of tensor a (1000) must match"),
        ("line one\nline two\ttab", "line one line two tab"),
        ("f[0](x)", "f[0] (x)"),
        ("<class 'float'>", "‹class 'float'>"),
        ("a:::b", "a: : :b"),
    ],
)
def test_what_does_nothing_stays_as_it_is(text, shown):
    assert inert(text) == shown


def test_each_medium_escapes_in_its_own_way():
    assert prose("a|b_c `d` #1") == "a\\|b\\_c d \\#1"
    assert span("``x`` y") == "`''x'' y`" and span("") == "`?`"
    assert inert("\ufffe\x00") == "\ufffd\\x00"
    assert inert("x" * 5_000).endswith("characters more)") and len(inert("x" * 5_000)) < 700


# The table, and the command.


def test_the_documents_have_the_table():
    page = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
    start = "<!-- made by grader/reports/formats.py -->\n"
    assert page.split(start)[1].split("\n\n")[0] + "\n" == formats.table()


def test_a_format_that_there_is_not_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"there is no format 'junitt'\. Did you mean junit\?"):
        formats.find("junitt")


def test_sarif_and_junit_name_the_program():
    assert json.loads(written("sarif", half_right()))["$schema"] == sarif.SCHEMA
    assert junit.render([]).startswith('<?xml version="1.0" encoding="UTF-8"?>')
