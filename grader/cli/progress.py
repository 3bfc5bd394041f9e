"""How far a class is: a bar on a terminal, one line a file elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from grader.cohort.run import Progress


@contextlib.contextmanager
def shown(what: str, files: int, judges: int) -> Iterator[Callable[[Progress], None]]:
    """Yield what is to be told of each of the `files` when it is done; `what` is happening to them."""

    def text(one: Progress) -> str:
        return f"{' '.join(one.students)} {one.says}"

    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda one: click.echo(f"[{one.done}/{one.total}] {text(one)}", err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    one_line = Column(no_wrap=True, overflow="ellipsis")
    with Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(f"{judges} {'judge' if judges == 1 else 'judges'}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", markup=False, table_column=one_line),  # a folder's name is no markup
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=files, last="")
        yield lambda one: bar.update(task, completed=one.done, last=text(one))
