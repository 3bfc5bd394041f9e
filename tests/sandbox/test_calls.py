"""Calls and scenarios: what an answer says besides its value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from grader import recipes
from grader.errors import CourseError, InternalError
from grader.recipes import Recipe, generator, randn, zeros
from grader.sandbox.client import Answer, Budget, Worker
from grader.sandbox.launcher import Sandbox

from .conftest import LIMITS, call, once, running


def load(sandbox: Sandbox, source: bytes) -> Answer:
    worker = sandbox.worker(source, "lab01.py", scenarios=None, limits=LIMITS)
    try:
        return worker.load()
    finally:
        worker.close()


def play(worker: Worker, scenario: str, **kwargs: object) -> Answer:
    worker.ask({"op": "play", "scenario": scenario, "kwargs": kwargs})
    return worker.answer(Budget(10))


def test_inputs_changed_in_place_come_back_by_the_judges_names(open_sandbox: Sandbox) -> None:
    source = "def f(mine, xs, *, d):\n    mine.add_(1)\n    xs[1].zero_()\n    d['k'].unsqueeze_(0)\n    return None\n"
    arguments = {"args": [randn(0, 2), [zeros(1), randn(1, 2)]], "kwargs": {"d": {"k": zeros(2), "l": zeros(1)}}}
    with running(open_sandbox, source) as worker:
        worker.ask({"op": "call", "function": "f", "names": ["x"], **arguments})
        answer = worker.answer(Budget(10))
    assert set(answer.changed) == {"x", "argument 2[1]", "d['k']"}
    assert np.array_equal(answer.changed["argument 2[1]"].array, [0, 0])
    assert answer.changed["d['k']"].shape == (1, 2)


def test_untouched_inputs_are_not_reported(open_sandbox: Sandbox) -> None:
    source = "def f(x, y):\n    return (x * y.detach()).sum()\n"
    nan = np.array([np.nan, 1], np.float32)
    assert once(open_sandbox, source, "f", nan, zeros(2).requires_grad_()).changed == {}


def test_the_next_draw_of_a_generator_shows_how_much_was_drawn(open_sandbox: Sandbox) -> None:
    source = "import torch\ndef f(n, g):\n    return torch.rand(n, generator=g)\n"
    with running(open_sandbox, source) as worker:
        drawn = call(worker, "f", 3, generator(5))
        more = call(worker, "f", 4, generator(5))
    assert set(drawn.next_draw) == {"argument 2"}
    assert drawn.next_draw["argument 2"] == pytest.approx(float(more.value.array[3]))


def test_the_global_random_state_is_watched_and_set(open_sandbox: Sandbox) -> None:
    source = "import torch\ndef draws():\n    return torch.rand(1)\ndef leaves():\n    return torch.ones(1)\n"
    with running(open_sandbox, source) as worker:
        first, second, third = call(worker, "draws"), call(worker, "leaves"), call(worker, "draws")
    assert (first.global_rng_moved, second.global_rng_moved) == (True, False)
    assert np.array_equal(first.value.array, third.value.array)


def test_setting_the_random_state_is_what_torch_does_without_the_accelerators(open_sandbox: Sandbox) -> None:
    source = (
        "import torch\n"
        "def f():\n"
        "    told = [torch.cuda._lazy_seed_tracker.manual_seed_all_cb is not None]\n"
        "    drawn = torch.rand(8)\n"
        "    torch.manual_seed(1234)\n"
        "    told.append(torch.cuda._lazy_seed_tracker.manual_seed_all_cb is not None)\n"
        "    return torch.equal(drawn, torch.rand(8)), told\n"
    )
    assert once(open_sandbox, source, "f").value == (True, [False, True])


def test_a_scenario_gets_the_module_and_made_inputs(open_sandbox: Sandbox) -> None:
    scenarios = "def twice(student, *, x):\n    return {'y': student.f(student.f(x))}\n"
    with running(open_sandbox, "def f(x):\n    return x.add_(1)\n", scenarios) as worker:
        answer = play(worker, "twice", x=zeros(2))
    assert np.array_equal(answer.value["y"].array, [2, 2])
    assert set(answer.changed) == {"x"}


def test_a_scenario_shows_only_the_students_lines(open_sandbox: Sandbox) -> None:
    scenarios = "def go(student):\n    return student.f(3)\n"
    with running(open_sandbox, "def f(x):\n    y = x\n    return y / 0\n", scenarios) as worker:
        error = play(worker, "go").error
    assert error is not None
    assert error.frames == ((3, "f", "return y / 0"),)
    assert (error.type, error.line, error.kind) == ("ZeroDivisionError", 3, "raised")


def test_scenarios_that_do_not_load_are_the_courses_fault(open_sandbox: Sandbox) -> None:
    worker = open_sandbox.worker(b"", "lab01.py", scenarios=b"import nowhere\n", limits=LIMITS)
    with pytest.raises(CourseError, match="nowhere"):
        worker.load()
    worker.close()


def test_an_undefined_function_is_said_so(open_sandbox: Sandbox) -> None:
    error = once(open_sandbox, "x = 1\n", "add_noise").error
    assert error is not None
    assert (error.type, error.message) == ("Undefined", "lab01.py defines no add_noise")


@pytest.mark.parametrize(
    ("source", "kind", "line"),
    [
        (b"x = 1\n\ndef f(:\n", "SyntaxError", 3),
        (b"def f():\n\treturn 1\n        return 2\n", "TabError", 3),
        (b"x = 1\nraise KeyboardInterrupt\n", "KeyboardInterrupt", 2),
        (b"import nowhere\n", "ModuleNotFoundError", 1),
    ],
)
def test_errors_at_import_name_the_line(open_sandbox: Sandbox, source: bytes, kind: str, line: int) -> None:
    error = load(open_sandbox, source).error
    assert error is not None
    assert (error.type, error.line, error.kind) == (kind, line, "raised")


@pytest.mark.parametrize("leaves", ["exit()", "quit(1)", "import sys; sys.exit(0)", "raise SystemExit"])
def test_leaving_at_the_top_level_ends_the_file_and_nothing_else(open_sandbox: Sandbox, leaves: str) -> None:
    with running(open_sandbox, f"def f():\n    return 1\n\n{leaves}\ndef g():\n    return 2\n") as worker:
        assert call(worker, "f").value == 1
        error = call(worker, "g").error
    assert error is not None
    assert (error.type, error.kind) == ("Undefined", "raised")
    assert error.message == "lab01.py defines no g: the file ends at line 4, before it"


def test_leaving_from_a_call_is_an_error(open_sandbox: Sandbox) -> None:
    with running(open_sandbox, "def f():\n    exit(0)\ndef g():\n    return 2\n") as worker:
        error = call(worker, "f").error
        assert error is not None
        assert (error.type, error.line, error.kind) == ("SystemExit", 2, "raised")
        assert call(worker, "g").value == 2


def test_scenarios_that_leave_are_the_courses_fault(open_sandbox: Sandbox) -> None:
    worker = open_sandbox.worker(b"", "lab01.py", scenarios=b"raise SystemExit\n", limits=LIMITS)
    with pytest.raises(CourseError, match="SystemExit"):
        worker.load()
    worker.close()


def test_what_an_exception_of_ones_own_is_derived_from_is_told(open_sandbox: Sandbox) -> None:
    source = (
        "class Own(ValueError):\n    pass\nclass Mixed(Own, LookupError):\n    pass\n"
        "def f(kind):\n    raise {'own': Own, 'mixed': Mixed, 'plain': UnicodeError}[kind]('no')\n"
    )
    with running(open_sandbox, source) as worker:
        found = [call(worker, "f", kind).error for kind in ("own", "mixed", "plain")]
    assert [(error.type, error.bases) for error in found if error is not None] == [
        ("Own", ("ValueError", "Exception", "BaseException", "object")),
        ("Mixed", ("ValueError", "LookupError", "Exception", "BaseException", "object")),
        ("UnicodeError", ()),  # one of Python's own stands for itself
    ]


def test_a_generator_that_nothing_was_drawn_from_is_told(open_sandbox: Sandbox) -> None:
    source = "import torch\ndef f(g, h):\n    return torch.rand(1, generator=g)\n"
    answer = once(open_sandbox, source, "f", generator(1), generator(2))
    assert answer.untouched == ("argument 2",)
    assert set(answer.next_draw) == {"argument 1", "argument 2"}


def test_a_flood_of_lines_arrives_whole_and_in_order(open_sandbox: Sandbox) -> None:
    source = (
        "import sys, os\n"
        "def f(n):\n    for i in range(n):\n        print(i, file=(sys.stdout, sys.stderr)[i % 2])\n"
        "def ends():\n    print('the last line')\n    os._exit(1)\n"
    )
    with running(open_sandbox, source) as worker:
        flood = call(worker, "f", 1_000_000)
        few = call(worker, "f", 3)
        end = call(worker, "ends")
    assert flood.error is None
    lines = flood.output.split("\n")
    assert lines[:10_000] == [str(i) for i in range(10_000)]
    assert flood.output.endswith(f"({sum(len(str(i)) + 1 for i in range(1_000_000)) - (64 << 10)} more bytes)")
    assert few.output == "0\n1\n2\n"
    assert end.output == "the last line\n"


def test_a_flood_costs_the_judge_little(open_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = 0

    def counted(worker: Worker, read: Callable[[Worker], None] = Worker._read_output) -> None:
        nonlocal woken
        woken += 1
        read(worker)

    monkeypatch.setattr(Worker, "_read_output", counted)
    assert once(open_sandbox, "def f():\n    for i in range(1_000_000):\n        print(i)\n", "f").error is None
    assert woken < 40_000  # a line woke it each, a million times


def test_long_tracebacks_and_texts_are_cut(open_sandbox: Sandbox) -> None:
    source = "def f(n):\n    return f(n + 1)\ndef g():\n    raise ValueError('x' * 10**6)\n"
    with running(open_sandbox, source) as worker:
        deep, long = call(worker, "f", 0).error, call(worker, "g").error
    assert deep is not None
    assert long is not None
    assert deep.type == "RecursionError"
    assert len(deep.frames) <= 16
    assert len(long.message) < 5000


def test_output_is_brought_with_the_answer_that_follows_it(open_sandbox: Sandbox) -> None:
    source = "import sys\nprint('loading')\ndef f(i):\n    print('call', i)\n    print('late', file=sys.stderr)\n"
    worker = open_sandbox.worker(source.encode(), "lab01.py", scenarios=None, limits=LIMITS)
    assert worker.load().output == "loading\n"
    assert call(worker, "f", 1).output == "call 1\nlate\n"
    assert call(worker, "f", 2).output == "call 2\nlate\n"
    worker.close()


def test_long_output_is_cut_and_counted(open_sandbox: Sandbox) -> None:
    output = once(open_sandbox, "def f():\n    print('x' * 100_000)\n", "f").output
    assert len(output) < 70_000
    assert output.endswith(" more bytes)")


def test_a_large_literal_and_a_busy_worker_do_not_block_each_other(open_sandbox: Sandbox) -> None:
    big = np.zeros(4 << 20, np.float32)
    with (
        running(open_sandbox, "def f(x):\n    return x + 1\n") as first,
        running(open_sandbox, "def f(x): return x") as second,
    ):
        for worker in (first, second):
            worker.ask({"op": "call", "function": "f", "args": [big], "kwargs": {}})
        assert first.answer(Budget(10)).value.array[-1] == 1
        assert second.answer(Budget(10)).value.array[-1] == 0


def test_dataclasses_and_annotations_of_a_submission_work(open_sandbox: Sandbox) -> None:
    source = (
        "from __future__ import annotations\nimport dataclasses, typing\n"
        "@dataclasses.dataclass\nclass Config:\n    steps: int = 3\n"
        "def f():\n    return typing.get_type_hints(Config)['steps'](Config().steps)\n"
    )
    assert once(open_sandbox, source, "f").value == 3


def test_asking_out_of_turn_is_our_own_bug(open_sandbox: Sandbox) -> None:
    with running(open_sandbox, "def f():\n    return 1\n") as worker:
        with pytest.raises(InternalError):
            worker.answer(Budget(1))
        worker.ask({"op": "call", "function": "f", "args": [], "kwargs": {}})
        with pytest.raises(InternalError):
            worker.ask({"op": "call", "function": "f", "args": [], "kwargs": {}})
        assert worker.answer(Budget(10)).value == 1


def test_another_source_can_take_the_place_of_the_first(open_sandbox: Sandbox) -> None:
    with running(open_sandbox, "def f():\n    return 1\n") as worker:
        assert worker.replace(b"def f():\n    return 2\n").error is None
        assert call(worker, "f").value == 2


def test_both_sides_know_the_same_recipes(open_sandbox: Sandbox) -> None:
    made: list[Recipe] = []
    x = recipes.randn(0, 2, 2)
    made += [x, recipes.rand(0, 2), recipes.tensor([1]), recipes.array(np.zeros(1)), recipes.zeros(1), recipes.ones(1)]
    made += [recipes.arange(0, 2), recipes.linspace(0, 1, 2), recipes.linear_betas(3), recipes.scaled_linear_betas(3)]
    made += [recipes.alphas_cumprod(recipes.linear_betas(3)), recipes.generator(0), recipes.dtype("float16")]
    made += [x.to("float16"), x.on("meta"), x.reshape(4), x.transpose(0, 1), x.expand(3, 2, 2), x.contiguous()]
    made += [x.clamp(0, 1), x.requires_grad_(), x[0], x * 2, x + 1]
    source = (
        "from alphabar_worker import recipes\n"
        "def known():\n    return recipes.operations()\n"
        "def kinds(*made):\n    return [type(m).__name__ for m in made]\n"
    )
    with running(open_sandbox, source) as worker:
        # The stack is made of diffusers classes, which this worker has not: tests/minisd makes one.
        assert sorted(["stack", *(recipe.op for recipe in made)]) == call(worker, "known").value
        assert set(call(worker, "kinds", *made).value) == {"Tensor", "Generator", "dtype"}


def test_the_schedules_are_the_papers(open_sandbox: Sandbox) -> None:
    with running(open_sandbox, "def f(x): return x") as worker:
        linear = call(worker, "f", recipes.linear_betas(1000)).value.array
        scaled = call(worker, "f", recipes.scaled_linear_betas(1000)).value.array
        bars = call(worker, "f", recipes.alphas_cumprod(recipes.linear_betas(1000))).value.array
    assert np.allclose(linear, np.linspace(1e-4, 0.02, 1000), atol=1e-7)
    assert np.allclose(scaled, np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, atol=1e-7)
    assert np.allclose(bars, np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)), atol=1e-6)
