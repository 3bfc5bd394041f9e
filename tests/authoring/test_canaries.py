import pytest

from grader.authoring.canaries import Canary
from grader.results import CheckResult, Evidence, Frame, LabResult, Score, TaskResult
from tests import toy

SUBMISSION = "def scale(x, factor):\n    return x\n"
LINE = "return x + torch.rand(x.shape, generator=generator)"
CALL = "scale(randn(4711, 5), -0.5)"


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    course = toy.make(tmp_path_factory.mktemp("course"))
    return Canary(course, course.lab("lab01"))


def result(
    message="The values differ from the expected ones.", *, visible=False, title="Other factors work.", frames=()
):
    check = CheckResult(
        id="lab01/scale.secret",
        task="scale",
        title=title,
        outcome="failed",
        earned=0,
        possible=2,
        visible=visible,
        message=message,
        evidence=Evidence(call=CALL, expected="-0.61803", yours="0.31415"),
        frames=list(frames),
        output="-0.61803",
    )
    task = TaskResult(id="scale", title="Scale", function="scale", earned=0, possible=2, state="not_yet")
    return LabResult(
        lab="lab01",
        title="Toys",
        seed="7",
        submission="0",
        filename="lab01.py",
        score=Score(earned=0, possible=2),
        tasks=[task],
        checks=[check],
    )


def test_what_a_student_gets_of_a_hidden_check_leaks_nothing(canary):
    assert canary.leaks(SUBMISSION, result()) == []


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (result(f"It is {LINE}."), f"shows a line of the reference: {LINE}"),
        (result(f"It is «{LINE}»."), f"shows a line of the reference: {LINE}"),
        (result("It is compare.scale(draw.normal(5), -0.5)."), "shows a line of a hidden check"),
        (result(f"The call was {CALL}."), "shows the inputs of lab01/scale.secret"),
        (result("-0.61803 was expected."), "the record of lab01/scale.secret shows a value: -0.61803"),
        (result(frames=[Frame(line=1, function="f", code=LINE)]), f"shows a line of the reference: {LINE}"),
    ],
    ids=["reference", "quoted", "check", "inputs", "value", "frame"],
)
def test_a_leak_is_found(canary, shown, says):
    found = canary.leaks(SUBMISSION, shown)
    assert any(says in one for one in found), found


def test_a_leak_is_found_in_the_record_the_terminal_and_the_page(canary):
    found = canary.leaks(SUBMISSION, result(f"It is {LINE}."))
    assert {one.split(" shows ")[0] for one in found} == {"the record", "the terminal", "the page"}


def test_what_the_student_wrote_or_may_see_is_no_secret(canary):
    assert canary.leaks(SUBMISSION + f"    {LINE}\n", result(f"It is {LINE}.")) == []
    assert canary.leaks(SUBMISSION, result(f"The call was {CALL}: -0.61803.", visible=True)) == []
