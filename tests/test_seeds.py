import pytest

from grader import seeds
from grader.course import load
from grader.errors import CourseError
from tests import toy


def test_the_environments_seed_goes_before_the_courses(tmp_path, monkeypatch):
    root = toy.make(tmp_path / "toy").root
    assert load(root).seed == "7"
    file = tmp_path / "seed"
    file.write_text("F00D" * 16 + "\n")
    monkeypatch.setenv(seeds.VARIABLE, str(file))
    assert load(root).seed == "f00d" * 16


@pytest.mark.parametrize(
    ("text", "says"), [("", "holds no seed"), ("not hexadecimal", "holds no seed"), (None, "read")]
)
def test_a_seed_file_that_is_none_is_said(tmp_path, monkeypatch, text, says):
    file = tmp_path / "seed"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv(seeds.VARIABLE, str(file))
    with pytest.raises(CourseError, match=f"^{seeds.VARIABLE} names .*{says}"):
        load(toy.make(tmp_path / "toy").root)


def test_check_seeds_have_64_bits_and_follow_course_and_check():
    many = [seeds.of_check(secret, f"lab01/f.{k}") for secret in ("1", "2", "f" * 100) for k in range(200)]
    assert len(set(many)) == len(many)
    assert max(many).bit_length() == 64 and all(seed.bit_length() <= 64 for seed in many)
    assert seeds.of_visible("lab01/f.a") not in many and seeds.of_visible("lab01/f.a") != seeds.of_visible("lab01/f.b")


def test_a_fingerprint_tells_seeds_apart_and_holds_none():
    marks = {seeds.fingerprint(str(secret)) for secret in range(50)}
    assert len(marks) == 50 and "1234" not in seeds.fingerprint("1234")
