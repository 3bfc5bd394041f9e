import subprocess
import sys

import numpy as np
import pytest

from grader import kit
from grader.checking.calls import function_call, scenario_call
from grader.kit import array, generator, randn

# Evaluated here and in another process.
CALL = """function_call(
    "add_noise",
    (randn(3, 2, 4).transpose(0, 1).to("bfloat16"), tensor([0, 5]), array(np.arange(6.0).reshape(2, 3)), None, 0.1),
    {"betas": linear_betas(10), "generator": generator(7), "names": ["a", (1, 2)]},
)"""


def make():
    return eval(CALL, {**vars(kit), "np": np, "function_call": function_call})


def test_the_same_call_has_the_same_key_in_every_process():
    # Student editions look answers up by key: a salted hash or an address in it would find none.
    code = (
        "import numpy as np\nfrom grader.checking.calls import function_call\n"
        f"from grader.kit import array, generator, linear_betas, randn, tensor\nprint({CALL}.key)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert make().key == make().key == other and len(other) == 24
    assert hash(make()) == hash(make())


def test_the_order_of_keywords_does_not_matter():
    one = scenario_call("chain", {"a": 1, "b": randn(0, 2)})
    assert one.key == scenario_call("chain", {"b": randn(0, 2), "a": 1}).key


@pytest.mark.parametrize(
    "other",
    [
        function_call("g", (randn(0, 2),), {}),
        function_call("f", (randn(1, 2),), {}),
        function_call("f", (randn(0, 2, 1),), {}),
        function_call("f", (randn(0, 2).to("float16"),), {}),
        function_call("f", (randn(0, 2), None), {}),
        function_call("f", (), {"x": randn(0, 2)}),
        function_call("f", (array(np.zeros(2)),), {}),
        function_call("f", (array(np.ones(2)),), {}),
        function_call("f", (array(np.zeros(2, np.float32)),), {}),
        function_call("f", (array(np.zeros((2, 1))),), {}),
        scenario_call("f", {"x": randn(0, 2)}),
    ],
    ids=str,
)
def test_another_call_has_another_key(other):
    assert other.key != function_call("f", (randn(0, 2),), {}).key
    keys = {function_call("f", (array(np.zeros(shape)),), {}).key for shape in (2, (2, 1), (1, 2))}
    assert len(keys) == 3


def test_what_judges_the_answer_is_not_in_the_key():
    plain = function_call("f", (1,), {})
    assert plain.key == function_call("f", (1,), {}, tolerance={"float32": (1.0, 1.0)}).key
    assert scenario_call("s", {"x": 1}).key == scenario_call("s", {"x": 1}, view=len).key


def test_a_call_is_shown_as_its_author_wrote_it():
    call = function_call("f", (randn(3, 2, 4).transpose(0, 1) * 2.0, [1, None]), {"clip": True, "g": generator(7)})
    assert str(call) == "f(randn(3, 2, 4).transpose(0, 1) * 2.0, [1, None], clip=True, g=generator(7))"
    assert str(scenario_call("chain", {"x": randn(0, 2)[1]})) == "scenario chain(x=randn(0, 2)[1])"
    nested = {"w": {"q": randn(1, 2) * 0.5, "b": [randn(2, 3), (4.0,)]}}
    assert (
        str(scenario_call("layer", nested)) == "scenario layer(w={'q': randn(1, 2) * 0.5, 'b': [randn(2, 3), (4.0,)]})"
    )
    assert str(function_call("f", (array(np.zeros((50, 50))),), {})) == "f(array(array of shape (50, 50)))"


def test_what_is_neither_recipe_nor_plain_is_refused():
    with pytest.raises(TypeError, match="a call holds recipes and plain values, not object"):
        _ = function_call("f", (object(),), {}).key
