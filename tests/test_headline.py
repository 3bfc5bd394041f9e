import random

from grader.headline import headline, worst_first
from grader.results import CheckResult, Evidence, Frame


def check(name, outcome="failed", far=None, visible=True, **other):
    return CheckResult(
        id=name, task="f", title="It holds.", outcome=outcome, earned=0, possible=1, visible=visible,
        evidence=Evidence(max_error=1.0, in_tolerances=far) if far else None, **other,
    )  # fmt: skip


def test_the_worst_check_comes_first():
    wanted = [
        check("keeps", far=2.0, visible=False, keeps=True),
        check("crashed", "crashed", frames=[Frame(line=1, function="f", code="x")]),
        check("hidden crash", "timed_out", visible=False),
        check("another shape"),
        check("crashed elsewhere", "crashed"),
        check("far", far=900.0),
        check("near", far=2.0),
        check("hidden near", far=2.0, visible=False),
        check("ours", "grader_error"),
        check("skipped", "skipped"),
        check("passed", "passed", visible=False),
    ]
    mixed = wanted[:]
    same = {"another shape", "crashed elsewhere"}  # neither has a measure
    for seed in range(20):
        random.Random(seed).shuffle(mixed)
        found = [one.id for one in worst_first(mixed)]
        assert [name for name in found if name not in same] == [one.id for one in wanted if one.id not in same]
        assert set(found[3:5]) == same


def test_equal_ones_stay_in_order_and_of_hidden_ones_no_measure_is_used():
    hidden = [check("a", far=2.0, visible=False), check("b", far=900.0, visible=False), check("c", visible=False)]
    passed = [check("d", "passed", visible=False), check("e", "passed")]
    assert worst_first([*hidden, *passed]) == [*hidden, *passed]


def test_the_headline_says_where_and_what_and_what_fails():
    lines = [Frame(line=3, function="f", code="g()"), Frame(line=9, function="g", code="x")]
    raised = check("x", "crashed", message="KeyError: 'k'", frames=lines)
    assert headline(raised, "lab01.py", 5) == "lab01.py, line 9: KeyError: 'k'. What fails: It holds."
    differs = check("x", message="The shape is (1,); expected (2,).")
    assert headline(differs, "lab01.py", 5) == (
        "lab01.py, line 5: The shape is (1,); expected (2,). What fails: It holds."
    )
    assert headline(differs, "lab01.py", None).startswith("lab01.py: The shape")
    kept = check("x", message="Wrong after other calls: line 2.", keeps=True)
    assert headline(kept, "lab01.py", 5) == "lab01.py: Wrong after other calls: line 2. What fails: It holds."
    ended = check("x", "crashed", message="segmentation fault, at line 2\nand more")
    assert headline(ended, "lab01.py", 5) == "lab01.py: segmentation fault, at line 2. What fails: It holds."
