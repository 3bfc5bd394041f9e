"""`grade release` a second time: what the first was told stays."""

from __future__ import annotations

from grader.root import edition
from tests import toy


def test_where_newer_editions_will_lie_is_kept_until_another_place_is_named(tmp_path):
    course = toy.make(tmp_path / "course").root
    (course / "fixtures").mkdir()

    def released(name, *words):
        done = toy.grade(tmp_path, "release", "-o", name, *words, course=course)
        assert done.returncode == 0, done.stderr
        return edition(tmp_path / name).updates, "as" if "where the last release said" in done.stderr else "new"

    assert released("first") == ("", "new")
    assert released("second", "--updates", "https://course.example/\x1b[31m") == (
        "https://course.example/\x1b[31m",
        "new",
    )
    assert released("third") == ("https://course.example/\x1b[31m", "as")
    assert released("fourth", "--updates", "") == ("", "new")
    assert released("fifth") == ("", "new")
