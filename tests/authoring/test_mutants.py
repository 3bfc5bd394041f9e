import textwrap

import pytest

from grader.authoring import mutants as m
from tests import toy


def changed(operator, source):
    """What an operator makes of a source: the changed texts, in order."""
    text = m.Text(textwrap.dedent(source))
    found = [slip for node in m.ast.walk(text.tree) if hasattr(node, "lineno") for slip in operator(node, text)]
    return [text.replaced(node, put) for node, put in found]


# What each operator must make, among other things, of one line.
CASES = [
    (m.arithmetic, "y = a + b", "y = (a - b)"),
    (m.arithmetic, "y = (a + b) * (c - d)", "y = ((a + b) / (c - d))"),
    (m.arithmetic, "y += b", "y -= b"),
    (m.arithmetic, "y = a ** b", "y = (a * b)"),
    (m.dropped_term, "y = a - b", "y = (-(b))"),
    (m.dropped_term, "y = a * b", "y = (b)"),
    (m.dropped_term, "y = a / b", "y = (1 / (b))"),
    (m.dropped_term, "y = -a", "y = (a)"),
    (m.swapped_operands, "y = a - b * c", "y = ((b * c) - (a))"),
    (m.comparison, "y = t >= 0", "y = (t > 0)"),
    (m.comparison, "y = t == 0", "y = (t <= 0)"),
    (m.comparison, "y = t == 0", "y = (t >= 0)"),
    (m.comparison, "y = kind == 'linear'", "y = (kind != 'linear')"),
    (m.comparison, "y = t is None", "y = (t is not None)"),
    (m.condition, "if t:\n    y = 1", "if False:\n    y = 1"),
    (m.condition, "y = a and b", "y = (a or b)"),
    (m.condition, "y = not a", "y = (a)"),
    (m.constant, "y = x[3]", "y = x[(2)]"),
    (m.constant, "y = 0.5 * x", "y = 1.0 * x"),
    (m.constant, "y = x.clamp(max=0.999)", "y = x.clamp(max=0.998)"),
    (m.constant, "y = x + 2.5e-5", "y = x + 2.4e-05"),
    (m.constant, "y = x + 1e-4", "y = x + 0.0002"),
    (m.constant, "y = 0.0 * x", "y = 0.1 * x"),
    (m.constant, "y = 1_000.0 * x", "y = 999.9 * x"),
    (m.constant, "y = f(True)", "y = f(False)"),
    (m.off_by_one, "y = x[i]", "y = x[i - 1]"),
    (m.off_by_one, "y = x[i:j]", "y = x[i:j + 1]"),
    (m.off_by_one, "for i in range(n): pass", "for i in range(n - 1): pass"),
    (m.off_by_one, "for t in ts: pass", "for t in list(ts)[1:]: pass"),
    (m.backwards, "for t in ts: pass", "for t in list(ts)[::-1]: pass"),
    (m.swapped_arguments, "y = f(a, b)", "y = f(b, a)"),
    (m.swapped_arguments, "y = cat([a, b])", "y = cat([b, a])"),
    (m.dim, "y = x.softmax(dim=-1)", "y = x.softmax(dim=-2)"),
    (m.dim, "y = torch.cat([a], 1)", "y = torch.cat([a], 2)"),
    (m.dim, "y = x.sum((1, 2))", "y = x.sum((0, 2))"),
    (m.keepdim, "y = x.mean(dim=1)", "y = x.mean(dim=1, keepdim=True)"),
    (m.keepdim, "y = x.mean(1, keepdim=True)", "y = x.mean(1, keepdim=False)"),
    (m.dropped_call, "y = torch.sqrt(a)", "y = (a)"),
    (m.dropped_call, "y = x.detach()", "y = (x)"),
    (m.dropped_call, "y = x.clamp(-1, 1)", "y = (x)"),
    (m.dropped_keyword, "y = randn(s, generator=g, dtype=d)", "y = randn(s, dtype=d)"),
    (m.dtype, "y = torch.float32", "y = torch.float64"),
    (m.dtype, "y = x.float()", "y = x.half()"),
    (m.in_place, "def f(x):\n    return x * 2", "def f(x):\n    return x.mul_(2)"),
    (m.in_place, "def f(x):\n    return x.clamp(0)", "def f(x):\n    return x.clamp_(0)"),
    (m.reversed_shape, "y = x.reshape(-1, 1)", "y = x.reshape(1, -1)"),
    (m.reversed_shape, "y = x[:, None]", "y = x[None, :]"),
    (m.related_function, "y = torch.cumprod(a, 0)", "y = torch.cumsum(a, 0)"),
    (m.related_function, "y = x.exp()", "y = x.expm1()"),
    (m.related_function, "y = x.reshape(2)", "y = x.view(2)"),
    (
        m.related_name,
        "def f(sigma_t, sigma_s):\n    return sigma_t",
        "def f(sigma_t, sigma_s):\n    return sigma_s",
    ),
    (m.dropped_statement, "def f(x):\n    x = g(x)", "def f(x):\n    pass"),
    (m.dropped_statement, "self.i += 1", "pass"),
    (m.dropped_statement, "with no_grad(): pass", "with __import__('contextlib').nullcontext(): pass"),
]


@pytest.mark.parametrize(("operator", "source", "expected"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_an_operator_makes_its_slip(operator, source, expected):
    assert expected in changed(operator, source)


def test_every_operator_has_a_case():
    assert {operator for operator, _, _ in CASES} == set(m.OPERATORS)


@pytest.mark.parametrize(
    ("operator", "source"),
    [
        (m.in_place, "def f(x):\n    y = x + 1\n    return y * 2"),  # y * 2: nobody reads y again; x + 1 is x's
        (m.in_place, "def f(x):\n    y = 2 * g(x)\n    y = y.clamp(0)\n    return y"),
        (m.in_place, "def f(x):\n    y = g(x)\n    if x:\n        return y / 2\n    return y"),
        (m.related_function, "y = (x + 1).reshape(2)"),
        (m.arithmetic, "y = [1] * n"),
        (m.swapped_arguments, "y = x.transpose(1, 2)"),
        (m.constant, "y = x.sum(dim=1)"),
        (m.dropped_statement, "def f(x):\n    y = g(x)"),
    ],
)
def test_an_operator_leaves_alone_what_cannot_be_wrong(operator, source):
    assert not [text for text in changed(operator, source) if "x.add_" not in text]


def test_words_are_not_ordered():
    assert changed(m.comparison, "y = kind == 'linear'") == ["y = (kind != 'linear')"]


def lab(tmp_path, reference):
    return toy.make(tmp_path, reference=textwrap.dedent(reference)).lab("lab01")


REFERENCE = '''
import torch


def half(x):
    return x / 2


def unused(x):
    return x + 7


def scale(x: "1 + 1", factor) -> "2 * 2":
    """√ᾱ: 3 + 4."""
    ᾱ = half(x)  # 5 + 6
    if factor is None:
        raise ValueError(f"{x + 1}" + "no factor")
    return ᾱ * factor


def jitter(x, generator):
    return half(x) + torch.rand(x.shape, generator=generator) * 2**2 + 3 * 3
'''


def test_mutants_compile_differ_and_come_in_the_same_order(tmp_path):
    one = lab(tmp_path, REFERENCE)
    made = m.mutants(one, "jitter")
    assert made == m.mutants(one, "jitter")
    codes = [m._bytecode(mutant.source) for mutant in made]
    assert None not in codes
    assert len(set(codes)) == len(codes)
    assert m._bytecode(one.reference) not in codes
    assert len({mutant.id for mutant in made}) == len(made)
    sources = [mutant.source for mutant in made]
    assert not any("(2*2)" in source for source in sources)  # which is 2**2
    assert sum(" 4 * 3" in source or "3 * 4" in source for source in sources) == 1  # made twice


def test_prose_and_annotations_are_no_place_for_a_slip(tmp_path):
    for mutant in m.mutants(lab(tmp_path, REFERENCE), "scale"):
        removed = [line for line in m.diff(REFERENCE, mutant.source).splitlines() if line.startswith("-")]
        assert len(removed) == 1
        assert "def " not in removed[0]
        assert '"""' not in removed[0]
        assert "ValueError" not in removed[0]


def test_text_beside_a_character_of_two_bytes_stays_whole(tmp_path):
    sources = [mutant.source for mutant in m.mutants(lab(tmp_path, REFERENCE), "scale")]
    assert any("return (ᾱ / factor)\n" in source for source in sources)
    assert all('"""√ᾱ: 3 + 4."""' in source and "# 5 + 6" in source for source in sources)


def test_a_helper_belongs_to_its_first_user_and_meets_the_checks_of_all(tmp_path):
    one = lab(tmp_path, REFERENCE)
    helpers = [mutant for mutant in m.mutants(one, "scale") if mutant.line == 6]
    assert helpers
    assert all(mutant.tasks == ("scale", "jitter") for mutant in helpers)
    assert all(mutant.line > 6 and mutant.tasks == ("jitter",) for mutant in m.mutants(one, "jitter"))
    made = [mutant for task in ("scale", "jitter") for mutant in m.mutants(one, task)]
    assert made and all("x + 7" in mutant.source for mutant in made)


def test_ids_survive_an_edit_elsewhere(tmp_path):
    before = {mutant.id for mutant in m.mutants(lab(tmp_path / "a", REFERENCE), "jitter")}
    edited = REFERENCE.replace("import torch\n", "import torch\nimport math\n").replace("ᾱ * factor", "factor * ᾱ")
    assert before == {mutant.id for mutant in m.mutants(lab(tmp_path / "b", edited), "jitter")}


def test_equal_slips_in_several_places_have_ids_of_their_own(tmp_path):
    twice = "first = ᾱ * factor.abs()\n    return first + ᾱ * factor.abs()"
    ids = [mutant.id for mutant in m.mutants(lab(tmp_path, REFERENCE.replace("return ᾱ * factor", twice)), "scale")]
    assert "arithmetic: ᾱ * factor.abs() -> (ᾱ / factor.abs())" in ids
    assert "arithmetic: ᾱ * factor.abs() -> (ᾱ / factor.abs()) #2" in ids
