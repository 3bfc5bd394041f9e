"""Results and rows made by hand, for what judges and stores do with them."""

from collections.abc import Iterator, Sequence
from typing import Literal

from grader.cohort.records import Entry, Found, Row
from grader.cohort.sources import Sources
from grader.executors import Done, Work
from grader.results import CheckResult, Diagnosis, Environment, Evidence, LabResult, Outcome, Problem, Score, TaskResult

TASKS = {"scale": ("plain", "secret"), "jitter": ("draws",)}
POINTS = {"plain": 2.0, "secret": 2.0, "draws": 3.0}
SOURCES = Sources()  # of all entries made here


def result(
    outcomes: dict[str, Outcome] | None = None,
    *,
    tasks: Sequence[str] = ("scale", "jitter"),
    digest: str = "0123456789abcdef",
    named: dict[str, list[list[str]]] | None = None,
    yours: str = "1.0",
    problem: Problem | None = None,
    seconds: float = 0.25,
    unstable: Sequence[str] = (),
    isolation: Literal["full", "partial", "none"] = "full",
) -> LabResult:
    """A result of the toy course's lab; checks that are not mentioned pass."""
    made_tasks, checks = [], []
    for task in tasks:
        own = []
        for name in TASKS[task]:
            outcome = (outcomes or {}).get(name, "passed")
            passed = outcome == "passed"
            own.append(
                CheckResult(
                    id=f"lab01/{task}.{name}",
                    task=task,
                    title=f"{name} holds.",
                    outcome=outcome,
                    earned=POINTS[name] if passed else 0.0,
                    possible=0.0 if outcome == "grader_error" else POINTS[name],
                    visible=name != "secret",
                    message=None if passed else f"{name} does not hold.",
                    evidence=None if passed else Evidence(where="[0]", max_error=0.5, in_tolerances=50.0, yours=yours),
                    unstable=name in unstable,
                )
            )
        good = sum(check.outcome == "passed" for check in own)
        ids = (named or {}).get(task)
        wrong = good < len(own)
        made_tasks.append(
            TaskResult(
                id=task,
                title=task.capitalize(),
                function=task,
                earned=sum(check.earned for check in own),
                possible=sum(check.possible for check in own),
                state="passed" if not wrong else "partly" if good else "not_yet",
                diagnosis=Diagnosis(misconceptions=ids or [], says=f"{task} is off.") if wrong else None,
            )
        )
        checks += own
    environment = Environment(
        grader="0",
        python="3",
        platform="x",
        libraries={},
        start_method="fork",
        sandbox={"bwrap": isolation == "full" or "bwrap is not installed", "seccomp": isolation != "none" or "why"},
        isolation=isolation,
        graded_at="2026-11-22T12:00:00+00:00",
        durations={"total": seconds, **{f"task {task}": seconds for task in tasks}},
    )
    return LabResult(
        lab="lab01",
        title="Toys",
        seed="7",
        submission=digest,
        filename="lab01.py",
        score=Score(earned=sum(t.earned for t in made_tasks), possible=sum(t.possible for t in made_tasks)),
        tasks=made_tasks,
        checks=checks,
        problem=problem,
        environment=environment,
    )


def graded(id: str, source: bytes) -> LabResult:
    """What every made-up judge finds in a file."""
    return result({"plain": "failed"} if len(source) % 2 else {}, digest=id[:16])


def entry(number: int, source: bytes | None = b"x = 1\n", problem: Problem | None = None, **more: object) -> Entry:
    facts = {"filename": "lab01.py", "submitted_at": None, "late": False, "attempts": 1, "notes": []} | more
    name = f"s{number:03}"
    kept = None if source is None else SOURCES.keep(source)
    return Entry.model_validate(
        {"submission": f"folder {number}", "student": name, "source": kept, "problem": problem, **facts}
    )


def row(number: int, graded: LabResult, **more: object) -> Row:
    return Row.of(entry(number, **more), graded)


def found(*entries: Entry, unmatched: Sequence[str] = ()) -> Found:
    return Found(layout="folders", entries=list(entries), unmatched=list(unmatched), ignored=[])


class Told:
    """An executor that answers from a table (source -> result or fault), and remembers what it was asked."""

    jobs = 1

    def __init__(self, answers: dict[bytes, LabResult | str] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[Work] = []

    def run(self, works: Sequence[Work]) -> Iterator[Done]:
        for work in works:
            self.asked.append(work)
            answer = self.answers.get(work.source, result())
            if isinstance(answer, str):
                yield Done(id=work.id, fault=answer)
            else:
                tasks = [task for task in answer.tasks if task.id in work.tasks]
                checks = [check for check in answer.checks if check.task in work.tasks]
                yield Done(id=work.id, result=answer.model_copy(update={"tasks": tasks, "checks": checks}))

    def close(self) -> None:
        pass
