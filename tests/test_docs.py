"""What the documents promise: commands that exist, links that lead somewhere, numbers that are true."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from markdown_it import MarkdownIt

from fixtures.recipes import handbook
from grader.cli import COMMANDS, grade
from grader.course import load
from grader.reports.page import headings, parts
from tests.toy import ROOT

COURSE = load(ROOT)
FOLDERS = ("docs", "exercises", "fixtures")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))])
LAB = re.compile(r"lab[0-9]+")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tokens(path: Path) -> Iterator:
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        yield token
        yield from token.children or []


def lines(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (what is to be typed, whether it is complete): lines of code fences, and code within a sentence."""
    for token in tokens(path):
        if token.type == "fence" and token.info in ("", "sh", "console"):
            content = token.content.splitlines()
            if any(line.startswith("$ ") for line in content):  # a session: what is printed is nobody's to type
                content = [line.removeprefix("$ ") for line in content if line.startswith("$ ")]
            yield from ((line.strip(), True) for line in content)
        elif token.type == "code_inline":
            yield token.content, False


def typed(path: Path, program: str) -> list[tuple[list[str], bool]]:
    """Return the words after `program` of every command that a document names."""
    found = []
    for line, complete in lines(path):
        # What stands further right, or behind a "#", says what the command does.
        for part in re.split(r"&&|;|\|", re.split(r"\s{2,}|\s#", line)[0]):
            if re.match(rf"{program}( |$)", part.strip()):
                found.append((shlex.split(part.replace("…", ""))[1:], complete))
    return found


def complaint(words: list[str], complete: bool) -> str | None:
    """Return what `grade` would complain about, without running anything."""
    context = click.Context(grade, info_name="grade")
    if not words:
        return None
    try:
        if words[0].startswith("-"):
            return None if words[0] in {opt for p in grade.get_params(context) for opt in p.opts} else "no such option"
        called, command, rest = grade.resolve_command(context, words)
        assert command is not None
        if complete:
            command.make_context(called, list(rest), parent=context)
        known = {opt for parameter in command.get_params(context) for opt in parameter.opts}
        unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word not in known]
        if unknown:
            return f"no such option: {unknown[0]}"
    except click.UsageError as error:
        return error.format_message()
    labs = [word for word in words if LAB.fullmatch(word)]
    if called != "new" and not {lab.id for lab in COURSE.labs}.issuperset(labs):
        return f"no such lab: {labs}"
    return None


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_command_that_is_named_exists(path):
    wrong = [(" ".join(words), why) for words, full in typed(path, "grade") if (why := complaint(words, full))]
    assert wrong == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_make_target_that_is_named_exists(path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    wrong = [
        word
        for words, _ in typed(path, "make")
        for word in words
        if "=" not in word and not word.startswith("-") and word not in targets
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("grade lab01 --requires-sandbox", "No such option"),
        ("grade cohrt lab01", "there is no command"),
        ("grade hint", "Missing argument"),
        ("grade start lab99", "no such lab"),
    ],
)
def test_a_wrong_command_would_be_seen(line, why):
    assert why in (complaint(line.split()[1:], True) or "")


def test_the_documents_show_every_command():
    shown = {words[0] for path in DOCUMENTS for words, _ in typed(path, "grade") if words}
    assert set(COMMANDS) - {"run"} - shown == set(), "a command that no document shows how to type"


def links(path: Path) -> Iterator[str]:
    for token in tokens(path):
        for attribute in ("href", "src"):
            if token.attrGet(attribute):
                yield str(token.attrGet(attribute))
        if token.type in ("html_block", "html_inline"):
            yield from re.findall(r'(?:src|srcset|href)="([^"]+)"', token.content)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_relative_link_leads_somewhere(path):
    dead = []
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / unquote(file)).resolve() if file else path
        there = target.exists() and target.is_relative_to(ROOT)
        named = parts if target.suffix == ".svg" else headings  # what may stand behind the "#"
        if not there or (anchor and unquote(anchor) not in named(target.read_text(encoding="utf-8"))):
            dead.append(link)
    assert dead == []


def test_every_task_of_labs_07_to_09_is_a_part_of_their_drawing():
    drawn = parts((ROOT / "exercises" / "handbook" / "network.svg").read_text(encoding="utf-8"))
    labs = [COURSE.lab(name) for name in ("lab07", "lab08", "lab09")]
    tasks = {task.id for lab in labs for task in lab.tasks if not task.id.startswith("checkpoint_")}
    assert drawn == tasks | {lab.id for lab in labs} | {"ground", "muted"}


def test_the_readme_counts_right():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (lab[0-9]+) \| (.+?) \| ([0-9]+) \| ([0-9]+) \|$", readme, re.MULTILINE)
    assert rows == [
        (lab.id, lab.manifest.title, str(len(lab.tasks)), str(sum(task.points for task in lab.tasks)))
        for lab in COURSE.labs
    ]
    tasks = sum(len(lab.tasks) for lab in COURSE.labs)
    assert re.findall(r"([0-9]+) labs with ([0-9]+) tasks", readme) == [(str(len(COURSE.labs)), str(tasks))]


def test_the_readmes_pictures_are_small():
    pictures = [ROOT / link for link in links(ROOT / "README.md") if link.endswith(".png")]
    assert [picture.name for picture in pictures] == ["report-dark.png", "report-light.png", "minisd-prompts.png"]
    assert all(picture.stat().st_size <= 200_000 for picture in pictures)


def test_the_gathered_pages_are_what_the_labs_hold():
    folder = ROOT / "exercises" / "handbook"
    assert (folder / "traps.md").read_text(encoding="utf-8") == handbook.traps()
    assert (folder / "interview.md").read_text(encoding="utf-8") == handbook.interview()
    assert [len(rows) for _, rows in handbook.TRAPS] == [20, 6]
    assert [lab for lab, _, _ in handbook.TRAPS[0][1]] == [f"{n:02}" for n in range(1, 11) for _ in range(2)]
    pages = {path.stem for path in folder.glob("*.md")}
    assert pages == {*handbook.PAGES, "traps", "interview"}


COMPARING = [ROOT / "exercises" / "handbook" / f"{page}.md" for page in handbook.PAGES]


@pytest.mark.parametrize("path", COMPARING, ids=name)
def test_every_comparison_of_the_handbook_ends_with_what_it_costs(path):
    heads = re.findall(r"^(\|.+\|)\n\| ---", path.read_text(encoding="utf-8"), re.MULTILINE)
    last = [head.strip("|").split("|")[-1].strip() for head in heads]
    assert last and [head for head in last if not re.search(r"\b(cost|costs|constraint)\b", head)] == []
