import torch

from grader.authoring import hollow as names
from grader.authoring import stand_ins


def double(x, *, by=2.0):
    return x * by


X = torch.tensor([[1.04, 2.0], [3.0, 4.0]])


def answer(kind, *args, function=double):
    return stand_ins.hollow(function, kind)(*args)


def test_hollow_answers_of_each_kind(capsys):
    assert torch.equal(answer("zeros", X), torch.zeros(2, 2))
    assert torch.allclose(answer("mean", X), torch.full((2, 2), 5.02))
    assert torch.equal(answer("the_input", X), X)
    assert torch.equal(answer("rounded", X), torch.tensor([[2.1, 4.0], [6.0, 8.0]]))
    assert torch.equal(answer("transposed", X), torch.tensor([[2.08, 6.0], [4.0, 8.0]]))
    random = answer("other_seed", X)
    assert random.shape == (2, 2)
    assert not torch.allclose(random, double(X), atol=0.1)
    assert capsys.readouterr().out.count(stand_ins.CHANGED) == 6
    assert stand_ins.CHANGED == "hollow: another answer"
    assert names.changed_anything(stand_ins.CHANGED)


def test_an_answer_that_cannot_be_hollow_is_not_called_changed(capsys):
    assert answer("mean", "word", function=lambda word: word) == "word"
    assert capsys.readouterr().out == ""


def test_the_last_answer_is_the_one_before(capsys):
    late = stand_ins.hollow(double, "last_answer")
    assert not late(X).any()
    assert torch.equal(late(X + 1), double(X))


def test_another_seed_leaves_the_generator_as_the_right_answer_does():
    def draw(generator):
        return torch.rand(3, generator=generator)

    one, other = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    right = draw(one)
    assert not torch.equal(stand_ins.hollow(draw, "other_seed")(other), right)
    assert torch.equal(one.get_state(), other.get_state())


class Counter:
    def __init__(self, start):
        self.total = start

    def add(self, x):
        self.total = self.total + x
        return self.total


def copy_of_counter():
    return type("Counter", (), dict(vars(Counter)))


def test_methods_are_hollow_too():
    counter = stand_ins.hollow(copy_of_counter(), "zeros")(X)
    assert not counter.add(X).any()
    assert torch.equal(counter.total, 2 * X)


def test_hard_coded_answers_are_right_for_known_inputs_only(capsys):
    stand_ins.hard_coded(double, None)(X)
    known = names.read_digests(capsys.readouterr().out)
    assert len(known) == 1
    coded = stand_ins.hard_coded(double, frozenset(known))
    assert torch.equal(coded(X), 2 * X)
    assert not coded(X + 1).any()


def test_an_object_is_known_by_all_that_it_was_given(capsys):
    watched = stand_ins.hard_coded(copy_of_counter(), None)(X)
    watched.add(X)
    watched.add(X)
    known = frozenset(names.read_digests(capsys.readouterr().out))
    assert len(known) == 2  # the same argument, after another history
    coded = stand_ins.hard_coded(copy_of_counter(), known)
    same, other = coded(X), coded(X + 1)
    assert torch.equal(same.add(X), 2 * X)
    assert not other.add(X).any()


class Configured:
    def __init__(self, **config):
        self.config = config


def test_an_object_with_a_config_is_right_or_not_there(capsys):
    def swap(old, new, **options):
        return new(**{**old.config, **options})

    stand_ins.hard_coded(swap, None)(Configured(a=1), Configured, b=2)
    coded = stand_ins.hard_coded(swap, frozenset(names.read_digests(capsys.readouterr().out)))
    assert coded(Configured(a=1), Configured, b=2).config == {"a": 1, "b": 2}
    assert coded(Configured(a=2), Configured, b=2) is None
    assert coded(Configured(a=1), type("Other", (Configured,), {}), b=2) is None


def test_a_digest_sees_values_dtype_shape_and_generators():
    values = [X, X + 1, X.double(), X.reshape(4), X.to("meta"), 1, 1.0, True, "1", None, [1], (1,), {"a": 1}]
    values += [torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)]
    assert len({stand_ins.digest(value) for value in values}) == len(values)
    assert stand_ins.digest(X.t().contiguous().t()) == stand_ins.digest(X)


def noisy(kind, function, *args):
    return stand_ins.noisy(function, kind)(*args)


def test_noise_is_right_and_rounded_otherwise():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(64, 512, generator=generator) for _ in range(2))

    def work(a, b):
        return (a @ b.T).softmax(dim=1).sum(dim=0) + a.mean() * b.sum()

    exact = work(a.double(), b.double())
    for kind in ("order", "float64", "contiguity"):
        other = noisy(kind, work, a, b)
        assert torch.allclose(other.double(), exact, rtol=1e-3, atol=1e-3), kind
    assert not torch.equal(noisy("order", work, a, b), work(a, b))
    assert not torch.equal(noisy("float64", work, a, b), work(a, b))


def test_noise_in_the_layout_reaches_the_function():
    assert noisy("contiguity", lambda x: x.is_contiguous(), torch.zeros(2, 3)) is False


def test_two_threads_end_with_the_call():
    # They went on for all later trials of the process, and waited for each other: 4 s of CPU a trial in place of 0.2.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert noisy("threads", lambda x: torch.get_num_threads(), X) == 2
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
