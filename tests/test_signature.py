import pytest

from grader.signature import parameters, signatures

SOURCE = """
def add_noise(x0: Tensor, noise: "Tensor", t: int = 3, *, betas: Tensor | None = None) -> Tensor: ...


class Solver:
    def __init__(self, sigmas: Tensor, order: int = 2) -> None: ...

    def step(self, x): ...


class Plain:
    def step(self, x): ...


class Odd:
    def __init__(self, a, /, b): ...
"""


def test_functions_and_classes_are_called_as_the_starter_has_them():
    assert signatures(SOURCE) == {
        "add_noise": "add_noise(x0, noise, t=3, *, betas=None)",
        "Solver": "Solver(sigmas, order=2)",
        "Plain": "Plain()",
        "Odd": "Odd(a, /, b)",
    }


@pytest.mark.parametrize(
    ("name", "expected"), [("add_noise", ["x0", "noise", "t"]), ("Plain", []), ("Odd", ["a", "b"])]
)
def test_positional_parameters_in_order(name, expected):
    assert list(parameters(signatures(SOURCE)[name])) == expected
