"""What a file's text shows of what it keeps between calls."""

import pytest

from grader.checking.keeps import keeps


def kept(source, *functions):
    return [(one.name, one.line) for one in keeps(source.encode(), functions or ("f",))]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("T = None\ndef f(x):\n    global T\n    if T is None:\n        T = x\n    T = T\n", [("T", 5)]),
        ("def f(x, seen=[]):\n    seen.append(x)\n", [("seen", 1)]),
        ("def f(x, *, seen=dict()):\n    seen[0] = x\n", [("seen", 1)]),
        ("def f(x, seen=None):\n    seen = seen or []\n    seen.append(x)\n", []),
        ("def f(x, seen=()):\n    return x\n", []),
        ("C = {}\ndef f(x):\n    C[x] = 1\n    C.update(x)\n", [("C", 3)]),
        ("C = {}\ndef f(x):\n    C = {}\n    C[x] = 1\n", []),
        ("C = {}\ndef f(x):\n    return C[x]\n", []),
        ("B = torch.ones(3)\ndef f(x):\n    return B.mul_(x)\n", [("B", 3)]),
        ("def f(x):\n    f.table = x\n", [("table", 2)]),
        ("import functools\n@functools.lru_cache(maxsize=None)\ndef f(x):\n    return x\n", [("f", 2)]),
        ("def f(x):\n    torch.set_default_dtype(torch.float64)\n", [("set_default_dtype", 2)]),
        ("def f(x):\n    torch.set_grad_enabled(False)\n", [("set_grad_enabled", 2)]),
        ("def f(x):\n    with torch.set_grad_enabled(False):\n        return x\n", []),
        ("class f:\n    seen = []\n    def step(self, x):\n        self.seen.append(x)\n", [("self.seen", 2)]),
        ("class f:\n    seen = []\n    def step(self, x):\n        self.seen = []\n        self.seen.append(x)\n", []),
        ("class f:\n    def step(self, x):\n        self.seen.append(x)\n", []),
        ("def f(x):\n    return x\n", []),
    ],
)
def test_what_is_kept(source, found):
    assert kept(source) == found


def test_what_the_task_itself_uses_goes_first():
    source = (
        "A, B, C = {}, {}, {}\n"
        "def helper(x):\n    A[x] = 1\n"
        "def f(x):\n    return helper(x)\n"
        "def g(x):\n    B[x] = 1\n"
        "def h(x):\n    return x\n"
    )
    assert kept(source, "f") == [("A", 3)]
    assert kept(source, "g") == [("B", 7)]
    assert kept(source, "h") == [("A", 3), ("B", 7)]  # another task's can be it: the process is one


def test_of_too_many_none_is_named():
    assert kept("A, B, C = {}, {}, {}\ndef f(x):\n    A[x] = B[x] = C[x] = 1\n") == []


def test_a_task_that_is_not_there_keeps_nothing():
    assert kept("x = 1\n", "missing") == []
