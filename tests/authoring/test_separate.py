from grader.authoring.separate import separate, variations
from grader.checking.calls import function_call
from grader.kit import generator, rand, randn, tensor
from grader.sandbox.client import Answer


def shown(call):
    return [str(one) for one in variations(call, ["bfloat16"])]


def test_variations_change_one_thing_and_nothing_else():
    call = function_call("f", (randn(1, 2, 3), tensor([4]), 0.5), {"flag": True, "generator": generator(7)})
    made = shown(call)
    assert made[0] == str(call)
    for expected in [
        "f(randn(102, 2, 3), tensor([4]), 0.5, flag=True, generator=generator(108))",
        "f(randn(1, 2, 3).to('bfloat16'), tensor([4]), 0.5, flag=True, generator=generator(7))",
        "f(randn(1, 3, 3), tensor([4]), 0.5, flag=True, generator=generator(7))",
        "f(randn(1, 2, 1), tensor([4]), 0.5, flag=True, generator=generator(7))",
        "f(randn(1, 2, 3), tensor([4]), 0.5, flag=False, generator=generator(7))",
        "f(randn(1, 2, 3), tensor([4]), -0.5, flag=True, generator=generator(7))",
    ]:
        assert expected in made


def test_sizes_that_belong_together_change_together():
    assert "f(randn(1, 5, 3), rand(2, 5))" in shown(function_call("f", (randn(1, 4, 3), rand(2, 4)), {}))


def test_inner_recipes_change_too():
    assert "f(randn(102, 2, 3).transpose(0, 1))" in shown(function_call("f", (randn(1, 2, 3).transpose(0, 1),), {}))


class Both:
    """An oracle whose reference answers 0 and whose other source answers 0, or 1 where the call says -2."""

    def __init__(self):
        self.asked = []

    def answer(self, call):
        self.asked.append(str(call))
        return Answer(0.0, {}, {}, False, None, "", 0.0)

    def run(self, source, call, budget):
        return Answer(1.0 if "-2" in str(call) else 0.0, {}, {}, False, None, "", 0.0)


def test_dtypes_are_tried_that_some_check_uses():
    plain, half = function_call("f", (randn(1, 2),), {}), function_call("f", (randn(1, 3).to("float16"),), {})
    oracle = Both()
    separate(oracle, "source", [plain])
    assert not any(".to(" in one for one in oracle.asked)
    separate(oracle, "source", [plain, half])
    assert "f(randn(1, 2).to('float16'))" in oracle.asked
    assert not any("float64" in one for one in oracle.asked)


def test_the_first_call_that_separates_is_said_with_its_distance():
    found = separate(Both(), "source", [function_call("f", (2.0,), {})])
    assert found.says.startswith("f(-2.0): 5e+04 tolerances")
    assert found.tried == 4  # 2, 4, 1 and -2


def test_a_search_without_a_find_says_how_many_calls_were_tried():
    oracle = Both()
    found = separate(oracle, "source", [function_call("f", (3.0,), {})])
    assert found.says is None
    assert found.tried == len(set(oracle.asked)) == len(oracle.asked)
    assert found.distance == 0.0
