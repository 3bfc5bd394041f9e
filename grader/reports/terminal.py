"""What `grade` prints: one line a passed task, the first failing check explained, what to do next."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import click

from grader.reports import words
from grader.reports.official import LOCAL
from grader.results import CheckResult, LabResult, TaskResult
from grader.text import clean, clean_line

# state or outcome -> (symbol, ASCII symbol, colour)
SYMBOLS = {
    "passed": ("✓", "ok", "green"),
    "partly": ("◐", "~", "yellow"),
    "not_yet": ("✗", "x", "red"),
    "failed": ("✗", "x", "red"),
    "crashed": ("!", "!", "magenta"),
    "timed_out": ("!", "!", "magenta"),
    "not_started": ("·", "-", None),
    "skipped": ("·", "-", None),
    "ungraded": ("?", "?", "cyan"),
    "grader_error": ("?", "?", "cyan"),
}

MOST_WIDTH = 100

# What the field writes, for terminals that cannot show it.
_ASCII = {
    "ᾱ": "alpha_bar", "α": "alpha", "β": "beta", "β̃": "beta_tilde", "γ": "gamma", "ε": "eps", "σ": "sigma",
    "θ": "theta", "μ": "mu", "λ": "lambda", "τ": "tau", "η": "eta", "√": "sqrt", "∏": "prod", "Σ": "sum", "∞": "inf",
    "·": "*", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≠": "!=",
    "≈": "~", "∈": "in", "“": '"', "”": '"', "‘": "'", "’": "'", "²": "^2", "₀": "_0", "₁": "_1", "ₜ": "_t", "ₓ": "_x",
    "█": "#", "░": ".", "\ufffd": "?",
}  # fmt: skip


def to_ascii(text: str) -> str:
    """Spell a text in ASCII; what has no spelling becomes an escape."""
    table = {ord(key): value for key, value in _ASCII.items() if len(key) == 1}
    return text.translate(table).encode("ascii", "backslashreplace").decode("ascii")


class _Page:
    """Lines being written, with the reader's choices of colour, symbols and width."""

    def __init__(self, color: bool, ascii: bool, width: int) -> None:
        self.color, self.ascii = color, ascii
        self.width = max(40, min(width, MOST_WIDTH))
        self.lines: list[str] = []

    def style(self, text: str, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
        if not self.color or not text:
            return text
        return click.style(text, fg=fg, bold=bold or None, dim=dim or None)

    def symbol(self, state: str) -> str:
        shown, plain, fg = SYMBOLS[state]
        return self.style(f"{plain:<2}" if self.ascii else shown, fg=fg, bold=True)

    def add(self, *parts: str) -> None:
        self.lines.append("".join(parts).rstrip())

    def spread(self, left: str, right: str, bold: bool = False) -> None:
        """Write one text at the left and one at the right edge."""
        gap = max(2, self.width - len(left) - len(right))
        self.add(self.style(left, bold=bold), " " * gap, self.style(right, dim=True))

    def wrap(self, text: str, indent: str, fg: str | None = None, dim: bool = False, most: int = 12) -> None:
        """Write a text of one or several lines, wrapped between words; ids and paths are never broken."""
        written = 0
        for line in clean(text).strip("\n").split("\n"):
            for part in textwrap.wrap(
                line, self.width - len(indent), break_long_words=False, break_on_hyphens=False
            ) or [""]:
                if written == most:
                    self.add(indent, "…")
                    return
                self.add(indent, self.style(part, fg=fg, dim=dim))
                written += 1

    def text(self) -> str:
        whole = "\n".join(self.lines) + "\n"
        if not self.ascii:
            return whole
        return "\x1b".join(to_ascii(part) for part in whole.split("\x1b"))


def _plain(text: str) -> str:
    """Return author's text without the backticks that mark code."""
    return clean(text).replace("`", "")


def _score(task: TaskResult) -> str:
    return f"{words.points(task.earned)}/{words.points(task.possible)}" if task.possible else "–"


def render(result: LabResult, *, color: bool, ascii: bool, width: int, verbose: int) -> str:
    """Return the text of one result.

    `verbose`: -1 the last two lines only; 0 explains the first check of a task that does not pass; 1 all of them;
    2 adds what was measured in full, all frames and what the code printed.
    """
    page = _Page(color, ascii, width)
    if verbose < 0:
        _ending(page, result, say_isolation=True)
        return page.text()
    filename = clean_line(result.filename)
    page.spread(f"{clean_line(result.lab)}  {clean_line(result.title)}", filename, True)
    page.add()
    if words.unusable(result):
        _problem(page, result, filename)
    else:
        _tasks(page, result, filename, verbose)
    page.add()
    if result.problem is not None and not words.unusable(result):
        page.wrap(f"{words.STOPPED[result.problem.kind]}. {clean(result.problem.message)}", "  ", fg="cyan")
        page.add()
    _isolation(page, result)
    if result.course:
        page.add("  ", page.style(clean_line(result.course), dim=True))
    if result.edition:
        page.wrap(LOCAL, "  ", dim=True)
    _ending(page, result)
    return page.text()


def _tasks(page: _Page, result: LabResult, filename: str, verbose: int) -> None:
    titles = {task.id: _plain(task.title).replace("\n", " ") for task in result.tasks}
    column = min(max((len(title) for title in titles.values()), default=0), page.width - 40)
    scores = max((len(_score(task)) for task in result.tasks), default=0)
    for n, task in enumerate(result.tasks, 1):
        title = titles[task.id] if len(titles[task.id]) <= column else titles[task.id][: column - 1] + "…"
        place = ""
        if task.state != "passed":
            place = clean_line(task.function) + (f", line {task.line}" if task.line else "")
        page.add(
            "  ",
            page.symbol(task.state),
            f" {n:>2} {title:<{column}}  {_score(task):>{scores}}",
            page.style(f"   {place}" if place else "", dim=True),
        )
        if task.state in ("partly", "not_yet", "crashed", "ungraded"):
            _explain(page, result, task, filename, verbose)
        elif task.state == "not_started" and "Did you mean" in (why := words.why_not_started(result, task)):
            page.wrap(why, " " * 8, dim=True)


def _explain(page: _Page, result: LabResult, task: TaskResult, filename: str, verbose: int) -> None:
    indent = " " * 8
    found = task.diagnosis
    if found is not None and found.misconceptions:
        page.wrap(_plain(found.says), indent, most=6)
        likes = words.explanations(found)
        lead = "behaves like " if len(likes) == 1 else "behaves like one of: "
        page.wrap(lead + (likes[0] if len(likes) == 1 else "; ".join(likes)), indent, dim=True)
    open_checks = [check for check in words.checks_of(result, task) if check.outcome not in ("passed", "skipped")]
    told = open_checks if verbose > 0 else open_checks[:1]
    before: set[tuple[object, ...]] = set()
    for check in told:
        _check(page, check, filename, verbose, before)
    if found is not None and found.facts:  # what the worst check says stands above
        page.wrap(_plain(" ".join(found.facts)), indent, dim=True, most=6)
    if len(open_checks) > len(told):
        more = words.count(len(open_checks) - len(told), "more check")
        page.add(indent, page.style(f"and {more}; -v shows all", dim=True))


def _check(page: _Page, check: CheckResult, filename: str, verbose: int, before: set[tuple[object, ...]]) -> None:
    indent, inner = " " * 8, " " * 10
    symbol = page.symbol(check.outcome)
    head = textwrap.wrap(
        _plain(check.title).replace("\n", " ") + ("" if check.visible else " (hidden check)"),
        page.width - len(inner) - 1,
        break_long_words=False,
    ) or [""]
    page.add(indent, symbol, " " if not page.ascii else "", head[0])
    for line in head[1:]:
        page.add(inner, line)
    if check.outcome == "grader_error":
        page.wrap(words.OUR_FAULT, inner, fg="cyan")
        page.add(inner, page.style(clean_line(check.id), dim=True))
        return
    message = words.shorten(clean(check.message or ""), 1200)
    told = (message, tuple((frame.line, frame.code) for frame in check.frames))
    if message and told in before:
        page.add(inner, page.style("the same as above", dim=True))
    else:
        before.add(told)
        shown = check.frames if verbose > 1 else check.frames[-1:]
        if len(shown) > 12:
            shown = [*shown[:6], *shown[-6:]]
        for frame in shown:
            page.add(
                inner,
                page.style(f"{filename}:{frame.line}", fg="magenta"),
                f"  {words.shorten(clean_line(frame.code), 160)}",
            )
        if message:
            page.wrap(message, inner, fg="magenta" if check.outcome in ("crashed", "timed_out") else None)
    if check.visible:
        _evidence(page, check, inner, verbose)
    if check.unstable:
        page.wrap("Run twice, this check gave two verdicts; the second counts.", inner, dim=True)
    if verbose > 0:
        page.add(inner, page.style(clean_line(check.id), dim=True))
    if verbose > 1 and check.visible and check.output.strip():
        page.add(inner, page.style("what your code printed:", dim=True))
        for line in words.cap(clean(check.output), 8_000, 40).split("\n"):
            page.add(inner, "| ", line)


def _evidence(page: _Page, check: CheckResult, indent: str, verbose: int) -> None:
    evidence = check.evidence
    if evidence is None:
        return
    found = []
    if evidence.in_tolerances is not None:
        found.append(f"{words.number(evidence.in_tolerances)} times the tolerance")
    if where := words.where(check):
        found.append(f"at {clean(where).replace(' ', '')}")
    if found:
        page.wrap(", ".join(found), indent, dim=True)
    if verbose > 0:
        for label, text in (
            ("called as ", evidence.call),
            ("yours     ", evidence.yours),
            ("expected  ", evidence.expected),
        ):
            if text:
                page.wrap(label + words.shorten(clean(text), 800), indent, dim=True)


def _problem(page: _Page, result: LabResult, filename: str) -> None:
    problem = result.problem
    if problem is None:
        return
    heading = words.PROBLEMS.get(problem.kind, clean_line(problem.kind).replace("_", " ").capitalize())
    page.add("  ", page.symbol("crashed"), " ", page.style(heading, bold=True), ", so nothing was graded.")
    sentence, _, code = words.shorten(clean(problem.message).strip("\n"), 2_000).partition("\n")
    if problem.line is not None:
        page.add(" " * 4, page.style(f"{filename}:{problem.line}", fg="magenta"))
    page.wrap(sentence, " " * 4)
    for line in code.rstrip().split("\n") if code.strip() else []:
        page.add(" " * 4, line)


def _isolation(page: _Page, result: LabResult) -> None:
    note = words.isolation(result.environment)
    if note is not None:
        page.wrap(f"{note[0]}. {note[1]}", "  ", fg="yellow")
        page.add()


def _ending(page: _Page, result: LabResult, say_isolation: bool = False) -> None:
    """Write the last two lines: the score, and what to do next."""
    total = f"{words.points(result.score.earned)} of {words.points(result.score.possible)} points"
    done = words.full_marks(result)
    seconds = result.environment.durations.get("total") if result.environment else None
    left = page.style(total, fg="green" if done else None, bold=True)
    states = "" if words.unusable(result) else words.summary(result)
    note = words.isolation(result.environment) if say_isolation else None
    if note is not None:
        states = ", ".join(part for part in (states, note[0].lower()) if part)
    room = page.width - 4 - len(total)
    if len(states) > room and note is None:
        states = f"{sum(task.state == 'passed' for task in result.tasks)} of {len(result.tasks)} tasks passed"
    tail = f"{seconds:.1f} s" if seconds is not None else ""
    room -= len(states)
    page.add(
        "  ", left, "  ", states, page.style(f"{tail:>{room}}" if tail and len(tail) + 2 <= room else "", dim=True)
    )
    lab = clean_line(result.lab)
    first = words.next_task(result) if result.problem is None else None
    if words.unusable(result):
        page.add("  ", f"Repair the file, then run it again: grade {lab}")
    elif result.problem is not None and result.problem.kind == "interrupted":
        page.add("  ", f"Run it again: grade {lab}")
    elif first is None:
        page.add("  ", "Every check passes." if done else "Nothing for you to fix; tell your instructor.")
    else:
        n = next(i for i, task in enumerate(result.tasks, 1) if task.id == first.id)
        gain = words.points(first.possible - first.earned)
        lead = f"Begin with task {n}" if first.state == "not_started" else f"Fix task {n} first"
        page.add("  ", page.style(f"{lead} (+{gain}).", bold=True), f"  grade hint {lab} {clean_line(first.id)}")


def render_status(
    rows: Sequence[tuple[str, str, float | None, float, str]],
    *,
    color: bool,
    ascii: bool,
    width: int,
    heading: str = "alphabar",
) -> str:
    """Return what `grade` alone prints: a bar for each lab. A row is (lab, title, earned or None, possible, note)."""
    page = _Page(color, ascii, width)
    total = sum(earned or 0.0 for _, _, earned, _, _ in rows)
    possible = sum(row[3] for row in rows)
    page.spread(heading, f"{words.points(total)} of {words.points(possible)} points", bold=True)
    column = max((len(clean_line(title)) for _, title, _, _, _ in rows), default=0)
    column = min(column, max(12, page.width - 44))
    shorten: Callable[[str], str] = lambda text: text if len(text) <= column else text[: column - 1] + "…"  # noqa: E731
    for lab, title, earned, most, note in rows:
        cells = 12
        full = int(cells * (earned or 0.0) / most + 1e-9) if most else 0
        bar = "█" * full + "░" * (cells - full)
        score = f"{'–' if earned is None else words.points(earned)}/{words.points(most)}"
        fg = "green" if earned is not None and earned >= most else "yellow" if earned else None
        page.add(
            f"  {clean_line(lab)}  {shorten(clean_line(title)):<{column}}  ",
            page.style(bar, fg=fg),
            f"  {score:>7}  ",
            page.style(clean_line(note), dim=True),
        )
    started = [row for row in rows if row[2] is not None and row[2] < row[3]]
    begun = started or [row for row in rows if row[2] is None]
    if begun:
        verb = "grade" if begun[0][2] is not None else "grade start"
        page.add(f"Next: {verb} {clean_line(begun[0][0])}")
    return page.text()
