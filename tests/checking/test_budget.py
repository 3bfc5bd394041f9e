"""What a submission may cost the judge itself: memory, time, and the size of what it keeps."""

import subprocess
import sys

import pytest

from grader.checking import session
from grader.checking.processes import Processes
from grader.grading import Job, grade, illustrate, open_bench
from grader.submission import parse
from tests import toy
from tests.toy import REFERENCE, ROOT

CALLS = """
from grader.kit import check


@check("jitter")
def test_alone(student, draw):
    \"\"\"It is called.\"\"\"
    student.jitter(draw.normal(3), draw.generator())


@check("scale", visible=True)
def test_plain(compare, draw):
    \"\"\"Every entry is multiplied.\"\"\"
    compare.scale(draw.normal(2, 3), 2.0)
"""
ONE = '''

@check("scale")
def test_{n}(compare, draw):
    """So it is {n}."""
    compare.scale(draw.normal({n}), 2.0)
'''
MANY = CALLS + "".join(ONE.format(n=n) for n in range(2, 12))

PEAK = """
import resource, sys
from pathlib import Path
from grader.grading import Job, grade, open_bench
from grader.submission import parse
from tests import toy

lab = toy.make(Path(sys.argv[1]), checks=sys.argv[2]).lab("lab01")
with open_bench(lab, "7") as bench:
    grade(Job(lab, parse(toy.REFERENCE.encode(), "lab01.py")), bench)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = grade(Job(lab, parse(sys.argv[3].encode(), "lab01.py")), bench)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, result.score.earned)
"""


def scaled(body, head=""):
    return head + REFERENCE.replace("    return x * factor\n", body)


@pytest.mark.parametrize(
    "body",
    [
        "    return torch.zeros(120 << 20, dtype=torch.uint8)\n",
        "    return [torch.zeros(1 << 20, dtype=torch.uint8) for _ in range(190)]\n",
        "    return torch.zeros(95 << 20, dtype=torch.bool), torch.zeros(95 << 19, dtype=torch.float16)\n",
        "    return torch.zeros(7 << 20, dtype=torch.uint8)\n",
        "    return {i: [None] * 20 for i in range(2000)}\n",
    ],
    ids=["one", "many", "bool", "within the room", "entries"],
)
def test_a_large_answer_takes_no_memory_of_the_judges(tmp_path, body):
    jitter = body.replace("    return x * factor\n", "")
    source = scaled(body).replace("    return x + torch.rand(x.shape, generator=generator)\n", jitter)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "toy"), MANY, source],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    mebibytes, earned = done.stdout.split()
    assert int(mebibytes) < 160 and float(earned) == 3


def test_a_large_answer_is_said_and_the_next_is_judged_in_the_same_process(grade_toy):
    source = scaled("    if len(x) == 2:\n        return torch.zeros(20 << 20)\n    return x * factor\n", "seen = []\n")
    result = grade_toy(source, checks=MANY)
    messages = {check.id.split(".")[-1]: check.message for check in result.checks}
    assert messages["plain"] == "It returns far more data than is expected; expected a tensor."
    assert [check.outcome for check in result.checks if check.task == "scale"].count("passed") == 9


def test_a_few_times_what_is_expected_has_room(grade_toy):
    checks = CALLS.replace("draw.normal(2, 3)", "draw.normal(1 << 20)")
    found = grade_toy(scaled("    return (x * factor).repeat(3)\n"), checks=checks)
    assert found.checks[0].message == "The shape is (3145728,); expected (1048576,)."
    found = grade_toy(scaled("    return (x * factor).repeat(5)\n"), checks=checks)
    assert found.checks[0].message == "It returns far more data than is expected; expected a tensor."


# Time


def test_loading_has_one_budget_for_all_checks(assess_toy, monkeypatch):
    monkeypatch.setattr(session, "LOAD_CPU_S", 0.5)
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end:\n    pass\n"
    started = []
    start = Processes.start
    monkeypatch.setattr(Processes, "start", lambda self, *args: started.append(1) or start(self, *args))
    result, _ = assess_toy(scaled("    return x + factor\n", burn), checks=MANY)
    assert 2 <= len(started) <= 4  # not two for each of eleven checks
    assert {check.outcome for check in result.checks if check.task == "scale"} == {"failed"}
    started.clear()
    result, _ = assess_toy(scaled("    import os\n    os._exit(1)\n", burn), checks=MANY)
    assert 2 <= len(started) <= 4
    told = {check.message for check in result.checks if check.outcome == "timed_out"}
    assert told == {"The time ran out."}
    started.clear()
    right, _ = assess_toy(scaled("    return x * factor\n", burn), checks=MANY)
    assert len(started) == 1 and {c.outcome for c in right.checks if c.task == "scale"} == {"passed"}


FIGURES = """
from grader.kit import Chart, figure, ones
""" + "\n".join(
    f"""

@figure("scale")
def lines{n}(play):
    yours, reference = play.call("scale", ones(3 + {n}), 2.0)
    points = [] if yours is None else [(0.0, float(yours.array[0]))]
    return Chart(title="Lines", caption="c", alt="a", x_label="x", y_label="y", series=[("l", "yours", points)])
"""
    for n in range(6)
)


def test_pictures_have_one_budget_together(tmp_path):
    root = toy.make(tmp_path / "toy", lab=toy.LAB.replace("cpu_s = 10", "cpu_s = 0.5")).root
    (root / "exercises" / "lab01_toy" / "figures.py").write_text(FIGURES)
    lab = toy.load(root).lab("lab01")
    burn = "    import time\n    end = time.process_time() + 0.8\n    while time.process_time() < end:\n        pass\n"
    with open_bench(lab, "7") as bench:
        honest = Job(lab, parse(REFERENCE.encode(), "lab01.py"))
        result = grade(honest, bench)
        slow = Job(lab, parse(scaled(burn + "    return x * factor\n").encode(), "lab01.py"))
        drawn = illustrate(result, slow, bench, print).pictures
        assert 1 <= sum(bool(picture.series[0].points) for picture in drawn) <= 3 and len(drawn) == 6
        says = "c Yours is left out: your code used up the 2 s that pictures have."
        assert all(picture.caption == ("c" if picture.series[0].points else says) for picture in drawn)
        drawn = illustrate(result, honest, bench, print).pictures
        assert all(picture.series[0].points for picture in drawn) and len(drawn) == 6


RAGGED = """
from grader.kit import Chart, figure, ones

@figure("scale")
def lines(play):
    answers = [play.call("scale", ones(3 + n), 2.0)[0] for n in range(6)]
    if answers[0] is not None and answers[-1] is None:
        raise ValueError("six lines were expected")
    points = [] if answers[0] is None else [(0.0, 1.0)]
    return Chart(title="Lines", caption="c", alt="a", x_label="x", y_label="y", series=[("l", "yours", points)])
"""


def test_a_picture_that_is_drawn_anew_without_the_student_says_why(tmp_path):
    root = toy.make(tmp_path / "toy", lab=toy.LAB.replace("cpu_s = 10", "cpu_s = 0.5")).root
    (root / "exercises" / "lab01_toy" / "figures.py").write_text(RAGGED)
    lab = toy.load(root).lab("lab01")
    burn = "    import time\n    end = time.process_time() + 0.8\n    while time.process_time() < end:\n        pass\n"
    with open_bench(lab, "7") as bench:
        result = grade(Job(lab, parse(REFERENCE.encode(), "lab01.py")), bench)
        slow = Job(lab, parse(scaled(burn + "    return x * factor\n").encode(), "lab01.py"))
        (drawn,) = illustrate(result, slow, bench, print).pictures
    assert not drawn.series[0].points
    assert drawn.caption == "c Yours is left out: your code used up the 2 s that pictures have."


# The record

CHECKS = CALLS + "".join(
    ONE.format(n=n).replace('@check("scale")', f'@check("scale", visible={n % 4 != 0})') for n in range(2, 90)
)
NOISE = """
from grader.kit import ImageGrid, figure, ones, to_images, error_images
""" + "\n".join(
    f"""

@figure("scale")
def noise{n}(play):
    yours, reference = play.call("scale", ones(4, 3, 48, 48), 2.0)
    return ImageGrid(title="Noise", caption="c", alt="a", columns=list("abcd"), rows=[
        ("yours", to_images(yours)), ("e", error_images(yours.array, reference.array, 1.0))
    ])
"""
    for n in range(6)
)
LARGEST = {
    "what it raises": (
        "    def deep{long}(n):\n        if n:\n            deep{long}(n - 1)\n"
        "        raise type('E' * 500, (ValueError,), {{}})('\\u200b\\U0001F600\"\\\\' * 2000)\n"
        "    print('\"\\n\\U0001F600\\x1b' * 30000)\n    deep{long}(30)\n"
    ),
    "what it returns": "    print('\\\\' * 90000)\n    return '\\U0001F600\"' * 40000\n",
    "its keys": "    return {{'\\u2060' * 90 + str(i): i for i in range(2000)}}\n",
    "its class": "    return type('\\U0001F600' * 5000, (), {{}})()\n",
    "its lines": "    if factor == 0:\n" + "        return x\n" * 5000 + "    return x * factor * 1.0000123456789\n",
    "its globals": "    global {long}1\n    {long}1 = {long}1 + 1\n    return x * factor * {long}1\n",
    "its end": "    print('x' * 65000)\n    import os\n    os._exit(3)\n",
}
LONG = "x" * 2000


@pytest.mark.parametrize("name", [*LARGEST, "its parameters", "its import"])
def test_a_record_is_never_larger_than_a_page_can_hold(tmp_path, name):
    source = scaled(LARGEST.get(name, "    return x * factor\n").format(long=LONG), f"{LONG}1 = 1\n")
    if name == "its parameters":
        names = ", ".join(f"{LONG}{n}" for n in range(100))
        source = source.replace("def scale(x, factor):", f"def scale(x, factor, {names}):")
    if name == "its import":
        source = "print('\\U0001F600' * 20000)\nraise ValueError('\\U0001F600\\u200b' * 9000)\n" + source
    # A picture drawn from noise is as large as a picture gets.
    source = source.replace("    return x + torch.rand", f"    {LONG} = 1\n    return x + torch.rand")
    drawn = "    if x.dim() == 4:\n        return torch.rand(x.shape) * 2 - 1\n"
    source = source.replace("factor):\n", f"factor):\n{drawn}", 1)
    root = toy.make(tmp_path / "toy", checks=CHECKS).root
    (root / "exercises" / "lab01_toy" / "figures.py").write_text(NOISE)
    lab = toy.load(root).lab("lab01")
    faults = []
    with open_bench(lab, "7") as bench:
        job = Job(lab, parse(source.encode(), "x" * 255 + ".py"))
        result = grade(job, bench)
        illustrated = illustrate(result, job, bench, faults.append)
    size = len(illustrated.model_dump_json(indent=1).encode())
    assert len(result.checks) == 90 and result.score.earned <= 3 + 4
    assert size < 300_000, size
    if name in ("its lines", "what it returns"):
        assert illustrated.pictures and any("left out" in fault for fault in faults), faults


def test_what_is_said_first_is_said_in_full(grade_toy):
    body = "    print('printed ' * 10)\n    raise ValueError('a sentence of the usual length, ' * 5)\n"
    result = grade_toy(scaled(body), checks=CHECKS)
    first = next(check for check in result.checks if check.visible and check.task == "scale")
    assert first.output == "printed " * 10 + "\n" and first.message.endswith("a sentence of the usual length,.")
    assert first.frames and first.evidence.call
