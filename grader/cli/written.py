"""The option `--write FORMAT=FILE`: one result, or several, as other programs take them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader import outputs
from grader.errors import UsageError

if TYPE_CHECKING:
    from grader.reports.told import Graded

write_option = click.option(
    "--write",
    "writes",
    metavar="FORMAT=FILE",
    multiple=True,
    help="Write junit, sarif, gradescope, csv ... too; - for the terminal. May be given several times.",
)


def check(writes: Sequence[str], json_path: str | None = None) -> None:
    """Refuse a format that there is not, before anything is graded."""
    if not writes:
        return
    from grader.reports import formats

    targets = [json_path]
    for text in writes:
        name, _, file = text.partition("=")
        formats.find(name)
        if not file:
            raise UsageError(f"--write {text}: a file is missing; --write {name}=FILE was expected.")
        targets.append(file)
    if targets.count("-") > 1:
        raise UsageError("only one thing can be written to the terminal.")


def write(writes: Sequence[str], graded: Sequence[Graded]) -> None:
    """Write what was asked for; `check` has seen it."""
    if not writes:
        return
    from grader.reports import formats

    for text in writes:
        name, _, file = text.partition("=")
        content = formats.find(name).written(graded, os.environ)
        if file == "-":
            click.echo(content, nl=False)
        else:
            write_asked(file, content)


def write_asked(path: str, text: str) -> None:
    """Write a file that the command was asked for."""
    try:
        outputs.write(Path(path), text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
