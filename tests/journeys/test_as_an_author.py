"""What an author of labs lives through, typed as an author would, in a clone of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Fork

FOLDER = "exercises/lab11_unit_range"
UPPER_END = '''

@check("scale_to_unit", property=True)
def test_upper_end(student, draw):
    """The upper end becomes 1."""
    top = student.scale_to_unit(draw.uniform(3) * 0.0 + 1.0, 0.0, 1.0)
    assert (top.array == 1.0).all(), "The upper end does not become 1."
'''
UPSIDE_DOWN = """
[scale_to_unit.upside_down]
find = "2 * (x - low) / (high - low) - 1"
put = "1 - 2 * (x - low) / (high - low)"
says = "Your range is turned around: the lower end becomes 1."
see = "the-formula"
"""
HALF_WIDTHS = """
[scale_to_unit.half_widths]
find = "2 * (x - low) / (high - low) - 1"
put = "(x - low) / ((high - low) / 2) - 1"
"""
CLIPPED = """
[scale_to_unit.clipped]
find = "2 * (x - low) / (high - low) - 1"
put = "(2 * (x - low) / (high - low) - 1).clamp(-1, 1)"
"""


@pytest.mark.sweep
def test_a_check_that_nothing_fails_is_found_and_gets_its_mistake(fork: Fork) -> None:
    eve = fork.desk()
    eve.types(
        'grade new lab11 --title "Unit range"',
        f"wrote {FOLDER}/checks.py",
        "wrote README.md",
        "Next: grade audit lab11. Then replace the task by yours; docs/authors.md says how.",
    )
    eve.types("grade list", "lab11 Unit range -/3 points")
    eve.writes(f"{FOLDER}/checks.py", eve.reads(f"{FOLDER}/checks.py") + UPPER_END)
    eve.types(
        "grade audit lab11 --quick --jobs 1",
        "fault: lab11/scale_to_unit.upper_end: rejects no misconception",
        "1 fault",
        code=1,
    )
    eve.writes(f"{FOLDER}/misconceptions.toml", eve.reads(f"{FOLDER}/misconceptions.toml") + UPSIDE_DOWN)
    eve.types("grade audit lab11 --quick --jobs 1", "scale_to_unit 5 5/5 2/2", "clean")
    assert '"lab":"lab11"' in eve.reads("audits.jsonl")
    eve.types("git status --short", f"?? {FOLDER}/", "M audits.jsonl", "M exercises/course.toml")


@pytest.mark.sweep
def test_right_code_among_the_mistakes_and_wrong_code_among_the_right_are_told_apart(fork: Fork) -> None:
    eve = fork.desk()
    eve.types('grade new lab11 --title "Unit range"')
    wrong, right = f"{FOLDER}/misconceptions.toml", f"{FOLDER}/equivalents.toml"
    mistakes, forms = eve.reads(wrong), eve.reads(right)
    eve.writes(wrong, mistakes + HALF_WIDTHS + 'says = "You divided by half of the width."\nsee = "the-formula"\n')
    eve.writes(right, forms + CLIPPED + 'why = "Nothing lies outside of the range."\n')
    eve.types(
        "grade audit lab11 --quick --jobs 1",
        "fault: scale_to_unit/half_widths: no check rejects it",
        "fault: scale_to_unit/clipped: right code in another form fails lab11/scale_to_unit.any_range",
        code=1,
    )
    eve.writes(wrong, mistakes + CLIPPED + 'says = "You cut off what lies outside."\nsee = "the-formula"\n')
    eve.writes(right, forms + HALF_WIDTHS + 'why = "Twice a part of the width is that part of its half."\n')
    eve.types("grade audit lab11 --quick --jobs 1", "scale_to_unit 4 5/5 3/3", "clean")


def test_a_page_that_gives_the_answer_away_is_not_released(fork: Fork, tmp_path: Path) -> None:
    eve = fork.with_lab11_alone()
    page = f"{FOLDER}/page.md"
    text = eve.reads(page)
    eve.writes(page, f"{text}\n```\nreturn 2 * (x - low) / (high - low) - 1\n```\n")
    eve.types(
        f"grade release -o {tmp_path}/edition --wheels {tmp_path}/wheels",
        f"{FOLDER}/page.md would give away this line",
        "return 2 * (x - low) / (high - low) - 1",
        code=4,
    )
    assert not (tmp_path / "edition").exists() and not list(tmp_path.rglob("*.whl"))
    eve.writes(page, text)
    eve.types(
        f"grade release -o {tmp_path}/edition --wheels {tmp_path}/wheels",
        f"Wrote the student edition of lab11 to {tmp_path}/edition",
        f"Install it with: pip install {tmp_path}/wheels/alphabar-",
    )
    given = "".join(path.read_text("latin-1") for path in (tmp_path / "edition").rglob("*") if path.is_file())
    assert "(x - low)" not in given and "test_any_range" not in given and "test_bytes" in given
