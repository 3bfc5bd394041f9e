"""What a student types: start, run, read, hint, report, repro, list, doctor, schema. Imports the engine when needed."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from grader import outputs
from grader.cli import written
from grader.cli.written import write_asked
from grader.errors import GraderError, SubmissionError, UsageError
from grader.root import edition, find_root, glance, newer, passed_over
from grader.text import clean_line

if TYPE_CHECKING:
    from grader.cli.interrupts import Interrupts
    from grader.course import Course, Lab
    from grader.reports.asked import Listening
    from grader.results import LabResult
    from grader.sandbox.launcher import Sandbox
    from grader.submission import Submission

UNUSABLE = 3  # the exit code where no line of the file could be graded

course_option = click.option(
    "--course", "course_dir", metavar="DIR", help="The course; default: $GRADE_COURSE, or the installed one."
)


def open_course(course_dir: str | None) -> Course:
    """Return the course to work on."""
    from grader.course import load

    return load(course_root(course_dir))


def refuse_broken_code(course: Course) -> None:
    """Raise CourseError where a file of any lab is no Python: a command that needs none of them says so last."""
    for lab in course.labs:
        lab.refuse_broken_code()


def course_root(course_dir: str | None) -> Path:
    """Return where the course lies; say so where there is another one here, which counts only when it is named."""
    root = find_root(course_dir)
    if found := newer(root):
        place, one = found
        click.echo(
            f"note: a newer edition, of {one.released:%d %B %Y}, lies in {clean_line(str(place))}: "
            f"grade update {clean_line(str(place))}",
            err=True,
        )
    elif course_dir is None and not os.environ.get("GRADE_COURSE") and (other := passed_over(root)) is not None:
        mine, theirs = edition(root), edition(other)
        if mine is None or theirs is None or mine.digest != theirs.digest:
            click.echo(
                f"note: the course in {clean_line(str(other))} is not used; --course or GRADE_COURSE names it.",
                err=True,
            )
    return root


@click.command("run")
@click.argument("lab_id", metavar="LAB")
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--task", "tasks", multiple=True, metavar="ID", help="Grade this task only; may be given several times.")
@click.option("--json", "json_path", metavar="FILE", help="Write the result as JSON; - for the terminal.")
@click.option("--html", "html_path", metavar="FILE", help="Write the page here too.")
@written.write_option
@click.option(
    "--sandbox", type=click.Choice(["auto", "none"]), default="auto", help="Isolate the code (default), or not."
)
@click.option("--require-sandbox", is_flag=True, help="Run nothing unless every isolation layer is active.")
@click.option("--start-method", type=click.Choice(["fork", "spawn"]), default=None, help="Default: fork on Linux.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    help="cuda: after the verdict, measure the memory checks' calls on the GPU too, without isolation.",
)
@click.option("-v", "--verbose", count=True, help="Explain every failing check.")
@click.option("-q", "--quiet", is_flag=True, help="The last two lines only.")
@course_option
@click.pass_context
def run_command(
    ctx: click.Context,
    lab_id: str,
    path: Path,
    tasks: tuple[str, ...],
    json_path: str | None,
    html_path: str | None,
    writes: tuple[str, ...],
    sandbox: Literal["auto", "none"],
    require_sandbox: bool,
    start_method: Literal["fork", "spawn"] | None,
    device: Literal["cpu", "cuda"],
    verbose: int,
    quiet: bool,
    course_dir: str | None,
) -> None:
    """Grade LAB. PATH is the file, or the folder that holds it; default: here."""
    from grader.submission import find, load

    written.check(writes, json_path)
    if device == "cuda" and require_sandbox:
        raise UsageError(
            "--device cuda runs your file without isolation, which --require-sandbox forbids. Leave one out."
        )
    root = course_root(course_dir)
    seen = glance(root, lab_id)
    file = path / f"{lab_id}.py"
    submission: Submission | None = None
    problem: SubmissionError | None = None
    if seen is not None:
        try:
            file = find(path, lab_id)
            submission = load(file)
        except SubmissionError as error:
            problem = error
    early = None
    method: Literal["fork", "spawn"] = start_method or ("fork" if sys.platform == "linux" else "spawn")
    if seen is not None and submission is not None:
        wanted = [task for task in seen.tasks if not tasks or task in tasks]
        if any(submission.unfit(seen.tasks[task]) is None for task in wanted):
            from grader.sandbox.launcher import Sandbox

            early = Sandbox(
                seen.libraries,
                isolation=sandbox,
                start_method=method,
                require=require_sandbox,
                meta_device=seen.uses_meta_device,
            )
    try:
        result = _graded(
            root, lab_id, tasks, submission, file, problem, early, json_path, html_path, writes, device, verbose, quiet
        )
    finally:
        if early is not None:
            early.close()
    ctx.exit(exit_code(result))


def _graded(
    root: Path,
    lab_id: str,
    tasks: tuple[str, ...],
    submission: Submission | None,
    file: Path,
    problem: SubmissionError | None,
    sandbox: Sandbox | None,
    json_path: str | None,
    html_path: str | None,
    writes: tuple[str, ...],
    device: Literal["cpu", "cuda"],
    verbose: int,
    quiet: bool,
) -> LabResult:
    from grader.course import load
    from grader.results import Problem, for_student

    course = load(root)
    lab = course.lab(lab_id)
    for task in tasks:
        lab.task(task)
    if submission is None:
        from grader.scoring import problem_result
        from grader.seeds import fingerprint

        if problem is None:
            raise UsageError(f"{lab_id} could not be read.")
        said = Problem(kind=problem.kind, message=str(problem), line=problem.line)
        result = problem_result(lab, fingerprint(course.seed), file.name, said)
        tell(result, file, json_path, writes, verbose, quiet)
        if html_path is not None:
            write_asked(html_path, page_of(course, lab, result))
        return result
    from grader.cli.interrupts import Interrupts
    from grader.grading import Job, drawable, grade, illustrate, open_bench, open_figure_bench
    from grader.reports import html
    from grader.reports.asked import Listening

    html.prepare(course.templates)  # now, while torch is still being imported on the other core

    job = Job(lab, submission, tasks or None)
    with contextlib.ExitStack() as benches:
        bench = benches.enter_context(open_bench(lab, course.seed, sandbox))
        if device == "cuda":
            bench = benches.enter_context(contextlib.closing(Listening(bench)))
        figure_bench = None
        seen = html_path is not None or not tasks
        if seen and sandbox is not None and lab.figures_path.is_file():  # without a sandbox nothing of the file runs
            with _noted():
                figure_bench = benches.enter_context(open_figure_bench(bench))
        result = for_student(grade(job, bench))
        interrupts = Interrupts()
        tell(result, file, json_path, writes, verbose, quiet)
        # The verdict is on the screen. It is kept first; pictures may take their time, and may be given up.
        chatty = json_path != "-" and not quiet and not any(text.endswith("=-") for text in writes)
        # Else the last whole result stays what the status and the report show, as with a file that is not Python.
        kept = not tasks and exit_code(result) != UNUSABLE
        report = _put_away(course, lab, result, html_path, kept)
        if isinstance(bench, Listening) and result.problem is None:
            _measure(lab, result, bench, file, interrupts, to_stderr=not chatty)
        if figure_bench is not None and drawable(result, job):
            if chatty:
                click.echo("drawing pictures (Ctrl-C is safe)", err=True)
            try:
                with interrupts.stoppable(), _noted():
                    result = illustrate(result, job, figure_bench, _note)
            except KeyboardInterrupt:
                click.echo(err=True)  # the terminal has written ^C
                _note("you stopped the pictures.")
            else:
                report = _put_away(course, lab, result, html_path, kept)
        if report is not None and chatty:
            click.echo(f"report: {_near(report)}", err=True)
    return result


def _measure(
    lab: Lab, result: LabResult, bench: Listening, file: Path, interrupts: Interrupts, *, to_stderr: bool
) -> None:
    """Print what the visible memory checks' calls take on the GPU, or why that cannot be told."""
    from grader.reports.physical import physical_peaks

    asked = {check.id: bench.asked[check.id] for check in result.checks if check.visible and check.id in bench.asked}
    try:
        with interrupts.stoppable():
            lines = physical_peaks(asked, file, lab.scenarios_path)
    except KeyboardInterrupt:
        click.echo(err=True)  # the terminal has written ^C
        _note("you stopped the measurement on the GPU.")
    else:
        click.echo("\n".join(lines), err=to_stderr)


def _put_away(course: Course, lab: Lab, result: LabResult, html_path: str | None, kept: bool) -> Path | None:
    """Keep the result on the desk, and write the page where an option asks for it; return the desk's page."""
    report = keep(course, lab, result) if kept else None
    if html_path is not None:
        write_asked(html_path, page_of(course, lab, result))
    return report


@contextlib.contextmanager
def _noted() -> Iterator[None]:
    """Say what keeps all pictures from being drawn, and go on without them."""
    try:
        yield
    except GraderError as error:
        _note(f"there are no pictures: {error}")


def _note(says: str) -> None:
    click.echo(f"note: {says} The verdict does not depend on it.", err=True)


def tell(
    result: LabResult, file: Path, json_path: str | None, writes: tuple[str, ...], verbose: int, quiet: bool
) -> None:
    """Print the verdict; write JSON and other formats where they were asked for."""
    from grader.reports import json, terminal

    if json_path == "-":
        click.echo(json.dumps(result), nl=False)
    elif not any(text.endswith("=-") for text in writes):
        color, ascii_only, width = terminal_facts()
        text = terminal.render(result, color=color, ascii=ascii_only, width=width, verbose=-1 if quiet else verbose)
        click.echo(text, nl=False)
    if json_path not in (None, "-"):
        write_asked(json_path, json.dumps(result))
    if writes:
        from grader.reports.told import Graded

        written.write(writes, [Graded.of(result, _near(file).as_posix())])


def terminal_facts() -> tuple[bool, bool, int]:
    """Return (colour?, ASCII only?, width) for what stdout is."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    colour = colour or bool(os.environ.get("FORCE_COLOR"))
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        columns = 100
    return colour, encoding not in ("utf8", "utf16", "utf32"), max(40, min(columns, 100))


def page_of(course: Course, lab: Lab, result: LabResult, page_url: str | None = None) -> str:
    """Return the result as a page; `page_url` is where the lab's own page lies, if it can be linked to."""
    from grader.reports import html

    headings = {}
    if page_url is not None and any(task.diagnosis and task.diagnosis.see for task in result.tasks):
        from grader.reports import page

        headings = page.headings(lab.page)
    return html.student_page(
        result, page_url=page_url, headings=headings, hints=lab.hints, templates_dir=course.templates
    )


def keep(course: Course, lab: Lab, result: LabResult) -> Path | None:
    """Keep the result and its page on the student's desk, beside the pages it links to; None where nothing can be."""
    from grader.cli import desk
    from grader.reports import json

    try:
        folder = desk.folder(lab.id)
        write_pages(course)
        outputs.write(folder / "result.json", json.dumps(result))
        outputs.write(folder / "report.html", page_of(course, lab, result, f"../pages/{lab.id}.html"))
    except OSError as error:
        click.echo(f"note: the result could not be kept in .grade/ ({error.strerror}).", err=True)
        return None
    return folder / "report.html"


def exit_code(result: LabResult) -> int:
    """Return the command's exit code for a result."""
    kind = result.problem.kind if result.problem else None
    if kind == "interrupted":
        return 130
    if kind == "grader_error" or any(check.outcome == "grader_error" for check in result.checks):
        return 70
    if kind is not None:
        return UNUSABLE
    return 0 if result.score.earned >= result.score.possible else 1


@click.command("list")
@course_option
def list_command(course_dir: str | None) -> None:
    """List the labs with their tasks and points."""
    from grader.cli import desk

    course = open_course(course_dir)
    for lab in course.labs:
        last = desk.last_result(lab.id)
        possible = sum(task.points for task in lab.tasks)
        score = f"{last.score.earned:g}/{possible}" if last else f"-/{possible}"
        click.echo(f"{lab.id}  {lab.manifest.title:<36} {score:>8} points")
        for task in lab.tasks:
            click.echo(f"       {task.id:<28} {task.points:>2}  {task.title}")
    refuse_broken_code(course)


@click.command("start")
@click.argument("lab_id", metavar="LAB")
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@course_option
def start_command(lab_id: str, folder: Path, course_dir: str | None) -> None:
    """Write LAB's starter file into FOLDER; never overwrites."""
    lab = open_course(course_dir).lab(lab_id)
    target = folder / f"{lab_id}.py"
    try:
        if folder != Path():
            outputs.folder(folder)
        outputs.create(target, lab.starter)
    except FileExistsError:
        raise UsageError(
            f"{target} is already there and stays as it is. Give another folder: grade start {lab_id} DIR"
        ) from None
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from None
    names = ", ".join(task.id for task in lab.tasks)
    click.echo(f"Wrote {target}. To write in it: {names}.")
    click.echo(f"Next: grade read {lab_id}   then, as often as you like: grade {lab_id}")


@click.command("read")
@click.argument("name", metavar="[PAGE]", required=False)
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser instead.")
@course_option
def read_command(name: str | None, open_it: bool, course_dir: str | None) -> None:
    """Read a PAGE: a lab's, or one of the handbook. Without PAGE: list what there is to read."""
    from grader.reports import page

    course = open_course(course_dir)
    if name is None:
        if open_it:
            raise UsageError("which page? `grade read` lists them.")
        for one in course.pages:
            click.echo(f"{one.name:<22} {one.title}")
        refuse_broken_code(course)
        return
    chosen = course.page(name)
    if any(lab.id == chosen.name for lab in course.labs):
        course.lab(chosen.name)  # which looks whether its files are Python
    if open_it:
        show(write_pages(course) / f"{chosen.name}.html")
    elif sys.stdout.isatty():
        click.echo_via_pager(page.page_text(chosen.text, course.links(chosen)))
    else:
        click.echo(page.page_text(chosen.text, course.links(chosen)), nl=False)


def write_pages(course: Course) -> Path:
    """Bring `.grade/pages/` up to date and return it: all pages, so that the links between them lead somewhere."""
    from grader.cli import desk
    from grader.reports import page

    folder = desk.folder("pages")
    for one in course.pages:
        target = folder / f"{one.name}.html"
        if not target.exists() or target.lstat().st_mtime < one.path.stat().st_mtime:
            title = f"{one.name}: {one.title}"
            html = page.lab_page(title, one.text, course.templates, course.links(one), course.drawings(one))
            outputs.write(target, html)
    return folder


@click.command("hint")
@click.argument("lab_id", metavar="LAB")
@click.argument("task_id", metavar="TASK", required=False)
@course_option
def hint_command(lab_id: str, task_id: str | None, course_dir: str | None) -> None:
    """Show the next hint for TASK; they rise in strength and cost nothing."""
    from grader.cli import desk

    lab = open_course(course_dir).lab(lab_id)
    if task_id is None and len(lab.tasks) > 1:
        raise UsageError(f"which task? {lab_id} has: " + ", ".join(task.id for task in lab.tasks) + ".")
    task = lab.task(task_id) if task_id else lab.tasks[0]
    hints = lab.hints.get(task.id, [])
    if not hints:
        click.echo(f"There are no hints for {task.id}. Try `grade read {lab_id}`.")
        return
    number = desk.next_hint(lab_id, task.id, len(hints))
    click.echo(f"Hint {number} of {len(hints)} for {task.id}: {hints[number - 1]}")
    if number < len(hints):
        click.echo("(Again for the next one; hints are not counted against you.)")


@click.command("report")
@click.argument("lab_id", metavar="LAB")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@click.option(
    "--official", metavar="FILE", type=click.Path(path_type=Path), help="Say why this official record differs from it."
)
@course_option
def report_command(lab_id: str, open_it: bool, official: Path | None, course_dir: str | None) -> None:
    """Write the page of LAB's last result again and print its path."""
    from grader.cli import desk
    from grader.reports.official import differences

    course = open_course(course_dir)
    lab = course.lab(lab_id)
    result = desk.last_result(lab_id)
    if result is None:
        raise UsageError(f"there is no result of {lab_id} here yet. Run: grade {lab_id}")
    if official is not None:
        theirs = desk.read_result(official)
        if theirs is None or theirs.lab != result.lab:
            raise UsageError(f"{clean_line(str(official))} holds no result of {lab_id}, as --json writes it.")
        for says in list(differences(result, theirs)) or ["The official result is your own, task by task."]:
            click.echo(clean_line(says))
        return
    path = keep(course, lab, result)
    if path is not None:
        click.echo(str(_near(path)))
        if open_it:
            show(path)


@click.command("repro")
@click.argument("lab_id", metavar="LAB")
@click.argument("check_id", metavar="CHECK")
@click.argument("path", default=".", type=click.Path(path_type=Path))
@course_option
def repro_command(lab_id: str, check_id: str, path: Path, course_dir: str | None) -> None:
    """Write a small script that makes the calls of a visible CHECK, to be run with a debugger.

    CHECK is an id from the report (lab01/add_noise.one_timestep) or its last part.
    """
    from grader.grading import Job, grade, open_bench
    from grader.reports import repro
    from grader.reports.asked import Listening, checks_of
    from grader.submission import find, load

    course = open_course(course_dir)
    lab = course.lab(lab_id)
    file = find(path, lab_id)
    submission = load(file)
    with open_bench(lab, course.seed) as bench:
        checks = checks_of(lab, bench.sandbox)
        chosen = [one for one in checks if check_id in (one.id, one.id.split("/", 1)[-1], one.id.rsplit(".", 1)[-1])]
        visible = [one.id.rsplit(".", 1)[-1] for one in checks if one.mark.visible]
        if not chosen:
            near = difflib.get_close_matches(check_id, visible, 1)
            meant = f"Did you mean {near[0]}?" if near else f"Visible ones: {', '.join(visible)}."
            raise UsageError(f"{lab_id} has no check {check_id!r}. {meant}")
        if not chosen[0].mark.visible:
            own = [
                one.id.rsplit(".", 1)[-1] for one in checks if one.mark.visible and one.mark.task == chosen[0].mark.task
            ]
            raise UsageError(
                f"{check_id} is a hidden check; its inputs are not given away. "
                f"Visible ones of its task: {', '.join(own)}."
            )
        with contextlib.closing(Listening(bench)) as listening:
            result = grade(Job(lab, submission, [chosen[0].mark.task]), listening)
    calls = [one.call for one in listening.asked.get(chosen[0].id, [])]
    if not calls:
        said = next((one.message for one in result.checks if one.id == chosen[0].id), None)
        why = result.problem.message if result.problem else said or "it asks nothing of your code."
        raise UsageError(f"{check_id} made no call: {why}")
    name = chosen[0].id.rsplit(".", 1)[-1]
    target = Path.cwd() / f"repro_{lab_id}_{name}.py"
    write_asked(str(target), repro.script(chosen[0].id, chosen[0].title, calls, file, lab.scenarios_path))
    click.echo(f"Wrote {target.name}. Run it: python {target.name}   (put breakpoint() where you want to look)")


@click.command("doctor")
def doctor_command() -> None:
    """Say what this machine has: versions, and which isolation layers work here or why not."""
    import platform
    from importlib import metadata

    from grader import __version__
    from grader.sandbox.launcher import probe

    click.echo(f"alphabar {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    missing = False
    for name in ("torch", "diffusers", "numpy", "pytest", "pydantic", "jinja2"):
        try:
            click.echo(f"  ok  {name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing = True
            click.echo(f"  --  {name} is not installed: pip install {name}")
    click.echo("Isolation of a submission's code:")
    layers = probe()
    for layer, active in layers.items():
        click.echo(f"  ok  {layer}" if active is True else f"  --  {layer}: {active}")
    if not any(active is True for active in layers.values()):
        click.echo(
            "No isolation works here. Grade only code that you trust; marks that count come from a Linux machine."
        )
    broken = _name_the_course()
    click.get_current_context().exit(5 if missing else broken)


def _name_the_course() -> int:
    """Say which course is graded by, and what is wrong with it; return the exit code for that."""
    from grader.seeds import EXAMPLE, WARNING

    try:
        course = open_course(None)
        refuse_broken_code(course)
    except GraderError as error:
        click.echo(f"  --  {error}")
        return error.exit_code
    click.echo(f"Course: {course.mark}, in {course.root}")
    if one := edition(course.root):
        click.echo(f"  ok  student edition {one.digest} of {one.released:%d %B %Y, %H:%M} UTC")
        return 0
    click.echo(f"  --  {WARNING}" if course.seed == EXAMPLE else "  ok  a seed of this course's own")
    return 0


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of results."""
    from grader.reports import json

    click.echo(json.schema(), nl=False)


def status() -> None:
    """Show where the student stands, lab by lab."""
    from grader.cli import desk
    from grader.reports import terminal

    course = open_course(None)
    rows: list[tuple[str, str, float | None, float, str]] = []
    for lab in course.labs:
        possible = float(sum(task.points for task in lab.tasks))
        last = desk.last_result(lab.id)
        if last is None:
            rows.append((lab.id, lab.manifest.title, None, possible, "not started"))
        else:
            states = {task.id: task.state for task in last.tasks}  # after `--task` fewer than the lab has
            left = sum(states.get(task.id) != "passed" for task in lab.tasks)
            note = "done" if left == 0 else f"{left} {'task' if left == 1 else 'tasks'} to do"
            rows.append((lab.id, lab.manifest.title, last.score.earned, possible, note))
    color, ascii_only, width = terminal_facts()
    heading = course.manifest.title
    click.echo(terminal.render_status(rows, color=color, ascii=ascii_only, width=width, heading=heading), nl=False)
    refuse_broken_code(course)


def show(path: Path) -> None:
    """Open a page in the browser; over SSH or without a screen its path has to do."""
    remote = "SSH_CONNECTION" in os.environ or (
        sys.platform == "linux" and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY")
    )
    if remote or not webbrowser.open(path.as_uri()):
        click.echo(str(_near(path)))


def _near(path: Path) -> Path:
    try:
        return path.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        return path
