import pytest

from grader.course import apply_edits, definition_span, load
from grader.errors import CourseError, UsageError
from grader.manifest import Edit, Replacement
from grader.root import find_root, glance
from tests import toy

SOURCE = '''"""A module that mentions f and x twice: x + y."""

import torch


@torch.no_grad()
def f(x, y):
    """ᾱ: more bytes than characters."""
    z = x + y
    return z * 2


def g(x, y):
    return x + y
'''


def edit(find=None, put=None, task="f", name="e", **other):
    return Edit(**{"functions": (task,), **other}, task=task, id=name, find=find, put=put)


# Edits


def test_an_edit_touches_its_own_function_only():
    assert apply_edits(SOURCE, [edit("x + y", "x - y")]) == SOURCE.replace("z = x + y", "z = x - y")
    assert apply_edits(SOURCE, [edit("x + y", "x - y", task="g")]) == SOURCE.replace("return x + y", "return x - y")


@pytest.mark.parametrize(("find", "count"), [("nowhere", 0), ("z", 2), ("return x", 0)])
def test_what_is_found_must_be_there_exactly_once(find, count):
    with pytest.raises(CourseError) as caught:
        apply_edits(SOURCE, [edit(find, "!")], "ref.py")
    assert f"must occur exactly once in f of ref.py, but it occurs {count} times" in str(caught.value)


def test_a_task_that_the_reference_lacks_is_said():
    with pytest.raises(CourseError, match=r"ref.py defines no h, which lab.toml lists as a task"):
        apply_edits(SOURCE, [edit("x", "y", task="h")], "ref.py")


def test_several_places_are_found_in_the_original_text():
    # The second place stands before the first, and what the first puts in would be found by the second.
    both = edit(edits=[Replacement(find="z * 2", put="z = x"), Replacement(find="z = x", put="w = z * 2 + x")])
    changed = apply_edits(SOURCE, [both])
    assert changed == SOURCE.replace("z = x + y", "w = z * 2 + x + y").replace("return z * 2", "return z = x")


def test_two_edits_combine_unless_they_overlap():
    one, other = edit("x + y", "x - y"), edit("z * 2", "z * 3", name="o")
    assert apply_edits(SOURCE, [one, other]) == apply_edits(SOURCE, [other, one])
    assert apply_edits(SOURCE, [one, other]) == SOURCE.replace("z = x + y", "z = x - y").replace("z * 2", "z * 3")
    assert apply_edits(SOURCE, [one, edit("z = x", "z = y", name="o")]) is None
    assert apply_edits(SOURCE, [one, edit("x + y", "y", name="o")]) is None
    # Side by side is not overlapping.
    assert apply_edits(SOURCE, [edit("x +", "x -"), edit(" y\n", " x\n", name="o")]) is not None


def test_code_replaces_the_whole_function_with_its_decorators():
    start, end = definition_span(SOURCE, "f", "ref.py")
    assert SOURCE[start:end].startswith("@torch.no_grad()") and SOURCE[start:end].endswith("return z * 2\n")
    changed = apply_edits(SOURCE, [edit(code="def f(x, y):\n    return 0")])
    assert changed == SOURCE[:start] + "def f(x, y):\n    return 0\n" + SOURCE[end:]
    assert apply_edits(SOURCE, [edit(code="def f(): pass"), edit("x + y", "y", name="o")]) is None


def test_an_edit_of_two_functions_finds_its_places_in_both():
    both = edit(edits=[Replacement(find="z * 2", put="z"), Replacement(find="return x + y", put="return x")])
    both = both.model_copy(update={"functions": ("f", "g")})
    assert apply_edits(SOURCE, [both]) == SOURCE.replace("return z * 2", "return z").replace("return x + y", "return x")
    with pytest.raises(CourseError, match=r"exactly once in f and g of ref.py, but it occurs 2 times"):
        apply_edits(SOURCE, [edit("x + y", "x", functions=("f", "g"))], "ref.py")
    code = edit(code="def g(x, y):\n    return 0\n\n\ndef f(x, y):\n    return 1", functions=("f", "g"))
    changed = apply_edits(SOURCE, [code])
    assert (
        changed is not None and changed.count("def f") == changed.count("def g") == 1 and "x + y\n" not in changed[60:]
    )


# The root


def test_the_root_is_what_was_asked_for_then_the_environments_then_the_one_above(tmp_path, monkeypatch):
    roots = {name: toy.make(tmp_path / name).root for name in ("asked", "environment", "above")}
    below = roots["above"] / "exercises" / "lab01_toy"
    monkeypatch.chdir(below)
    monkeypatch.setenv("GRADE_COURSE", str(roots["environment"]))
    assert find_root(str(roots["asked"])) == roots["asked"]
    assert find_root() == roots["environment"]
    monkeypatch.delenv("GRADE_COURSE")
    assert find_root() == roots["above"]
    monkeypatch.chdir(tmp_path)
    assert find_root() == toy.ROOT  # the course that came with the engine


def test_a_folder_that_is_no_course_is_said(tmp_path):
    with pytest.raises(CourseError, match=r"is not a course: it has no exercises/course.toml"):
        find_root(str(tmp_path))


def test_a_glance_sees_what_the_manifest_says_or_nothing(tmp_path):
    root = toy.make(tmp_path / "toy").root
    seen = glance(root, "lab01")
    assert seen is not None and seen.libraries == "torch"
    assert seen.tasks == {"scale": {"scale": "scale(x, factor)"}, "jitter": {"jitter": "jitter(x, generator)"}}
    for name in ("lab02", "lab0*", "/etc", "..", ""):
        assert glance(root, name) is None
    (root / "exercises" / "lab01_toy" / "lab.toml").write_text("id = ")
    assert glance(root, "lab01") is None
    assert glance(tmp_path, "lab01") is None


def test_every_lab_of_the_course_can_be_glanced_at():
    for lab in load(toy.ROOT).labs:
        seen = glance(toy.ROOT, lab.id)
        assert seen is not None and seen.libraries == lab.manifest.libraries
        assert seen.uses_meta_device == lab.manifest.uses_meta_device
        assert seen.tasks == {task.id: lab.signatures_of(task) for task in lab.tasks}


# Names


@pytest.mark.parametrize("word", ["lab1", "1", "lab001", "lba01"])
def test_the_lab_that_was_meant(tmp_path, word):
    course = toy.make(tmp_path / "toy")
    with pytest.raises(UsageError, match=r"Did you mean lab01\?$"):
        course.lab(word)


def test_a_lab_far_from_all_is_not_guessed(tmp_path):
    with pytest.raises(UsageError, match=r"there is no lab 'xyz'. `grade list` shows the labs.$"):
        toy.make(tmp_path / "toy").lab("xyz")


def test_the_task_that_was_meant(tmp_path):
    lab = toy.make(tmp_path / "toy").lab("lab01")
    assert lab.task("scale").points == 4
    with pytest.raises(UsageError, match=r"lab01 has no task 'scal'; did you mean scale\?"):
        lab.task("scal")
    with pytest.raises(UsageError, match=r"its tasks: scale, jitter\."):
        lab.task("xyz")


def test_two_labs_of_one_id_are_refused(tmp_path):
    root = toy.make(tmp_path / "toy").root
    (root / "exercises" / "lab02_twin").mkdir()
    (root / "exercises" / "lab02_twin" / "lab.toml").write_text(toy.LAB)
    (root / "exercises" / "course.toml").write_text(toy.COURSE.replace('"lab01_toy"', '"lab01_toy", "lab02_twin"'))
    with pytest.raises(CourseError, match="two labs have the same id"):
        load(root)
