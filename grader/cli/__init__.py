"""The command `grade`. Each command's module is imported when it is called, so that `--help` costs nothing."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

import click

from grader import __version__
from grader.errors import CourseError, GraderError
from grader.text import clean_line

# command -> (module, what it is for)
COMMANDS = {
    "run": ("student", "Grade a submission; `grade lab01` is short for it."),
    "list": ("student", "List the labs with their tasks and points."),
    "start": ("student", "Write a lab's starter file; never overwrites."),
    "read": ("student", "Read a lab's page, or one of the handbook."),
    "hint": ("student", "Show the next hint for a task."),
    "report": ("student", "Write the last result's page again, and open it."),
    "repro": ("student", "Write a small script with a visible check's inputs, to debug."),
    "update": ("update", "Bring a newer student edition, and say what it changes."),
    "doctor": ("student", "Say what this machine has: versions, isolation layers."),
    "schema": ("student", "Print the JSON Schema of results."),
    "new": ("author", "Write the files of a new lab, to start from."),
    "cohort": ("instructor", "Grade a class: a folder or a zip file of submissions."),
    "who": ("term", "Say who a pseudonym is, or everybody; names are shown."),
    "diff": ("instructor", "Say whose score moves between two gradings, and by which check."),
    "export": ("export", "Fill in a gradebook of Canvas or Moodle, write feedback and Gradescope results."),
    "ci": ("ci", "Grade what a pull request touches: summary, annotations, JUnit, JSON, pages."),
    "comment": ("ci", "Write a pull request's comment from what `grade ci` left; runs nothing."),
    "merge": ("term", "Join sections of a class that were graded in folders of their own."),
    "term": ("term", "Join the labs of a term: one gradebook, one page."),
    "audit": ("author", "Prove that a lab's checks reject wrong code and accept right code."),
    "release": ("author", "Build the student edition: no reference, no hidden checks."),
}


class Grade(click.Group):
    """A group whose commands are loaded late, and for which a lab's name is a command too."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a course's day, not the alphabet's."""
        return [name for name in COMMANDS if _is_here(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        if not _is_here(cmd_name):
            raise CourseError(f"this is a student edition: `grade {cmd_name}` is for who holds the whole course.")
        module = importlib.import_module(f"grader.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Let `grade lab03 …` mean `grade run lab03 …`."""
        word = args[0]
        if word not in COMMANDS and not word.startswith("-"):
            if re.fullmatch(r"lab[0-9]+", word):
                return "run", self.get_command(ctx, "run"), args
            near = difflib.get_close_matches(word, [*COMMANDS, *(f"lab{n:02}" for n in range(1, 11))], 1)
            meant = f"Did you mean {near[0]}?" if near else "`grade --help` lists the commands, `grade list` the labs."
            raise click.UsageError(f"there is no command or lab {word!r}. {meant}", ctx)
        return super().resolve_command(ctx, args)


def _is_here(command: str) -> bool:
    return Path(__file__).with_name(f"{COMMANDS[command][0]}.py").is_file()


@click.group(
    cls=Grade,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="grade")
@click.pass_context
def grade(ctx: click.Context) -> None:
    """Grade the labs of a course on diffusion models.

    `grade start lab01` writes the file to fill in, `grade lab01` says what is right, what is wrong, and which known
    mistake it looks like. `grade` alone shows where you stand.
    """
    if ctx.invoked_subcommand is None:
        from grader.cli.student import status

        status()


def main() -> None:
    """Run `grade`; every error becomes a sentence and an exit code, never a traceback of ours."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a question mark, not an error.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what numpy thinks of a student's numbers is nobody's to read
    try:
        code: Any = grade.main(standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        click.echo("grade: interrupted.", err=True)
        code = 130
    except GraderError as error:
        click.echo(f"grade: {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        code = 0
    except Exception as error:
        # On one line: a job's log takes what begins a line for a command, and the text may be a student's.
        says = clean_line(f"{type(error).__name__}: {error}")
        click.echo(f"grade: a bug of ours, not yours ({says}). {_keep(error)}", err=True)
        code = 70
    sys.exit(code if isinstance(code, int) else 0)


def _keep(error: Exception) -> str:
    """Write the traceback where it can be sent to us, and say where that is."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="grade-", suffix=".txt", delete=False, encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
        return f"The details are in {Path(file.name)}; please send them to us."
    except OSError:
        return "Please tell us what you did."
