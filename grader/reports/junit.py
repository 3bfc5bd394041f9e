"""JUnit XML: a suite a task, a case a check. Read by GitLab, Forgejo, Jenkins and whatever else runs tests.

`failure` is the student's, `error` is ours, `skipped` was not run. Points stand in each case's properties.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from grader.reports import told, words
from grader.reports.inert import inert
from grader.reports.told import Graded
from grader.results import CheckResult, LabResult

_OUTCOMES = {"failed": "failure", "crashed": "failure", "timed_out": "failure", "grader_error": "error"}


def render(all_graded: Sequence[Graded]) -> str:
    """Return the whole file."""
    top = ElementTree.Element("testsuites", name="alphabar")
    seen: dict[str, int] = {}
    for graded in all_graded:
        lab = graded.result.lab
        seen[lab] = seen.get(lab, 0) + 1
        # Readers drop a case whose name they have seen, and one pull request may bring a lab twice.
        _suites(top, graded, lab if seen[lab] == 1 else f"{lab} ({seen[lab]})")
    _count(top, [case for case in top.iter("testcase")])
    ElementTree.indent(top, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(top, encoding="unicode") + "\n"


def _suites(top: ElementTree.Element, graded: Graded, lab: str) -> None:
    result = graded.result
    if result.problem is not None:
        suite = ElementTree.SubElement(top, "testsuite", name=inert(lab))
        case = _case(suite, f"{lab} can be graded", lab, graded.path, result.problem.line)
        kind = "error" if result.problem.kind in words.STOPPED else "failure"
        _say(case, kind, result.problem.kind, result.problem.message)
        _count(suite, suite.findall("testcase"))
    for task in result.tasks:
        suite = ElementTree.SubElement(top, "testsuite", name=inert(f"{lab} {task.id}"))
        if names := told.named(task):
            properties = ElementTree.SubElement(suite, "properties")
            ElementTree.SubElement(properties, "property", name="behaves_like", value=inert(names))
        for check in result.checks:
            if check.task == task.id:
                case = _case(suite, told.name(check), f"{lab}.{task.id}", graded.path, told.line(result, task))
                _check(case, check, result)
        _count(suite, suite.findall("testcase"))


def _case(suite: ElementTree.Element, name: str, classname: str, path: str, line: int | None) -> ElementTree.Element:
    case = ElementTree.SubElement(suite, "testcase", name=inert(name), classname=inert(classname), file=inert(path))
    if line is not None:
        case.set("line", str(line))
    return case


def _check(case: ElementTree.Element, check: CheckResult, result: LabResult) -> None:
    properties = ElementTree.SubElement(case, "properties")
    for key, value in (("earned", check.earned), ("possible", check.possible)):
        ElementTree.SubElement(properties, "property", name=key, value=words.points(value))
    if check.outcome == "skipped":
        ElementTree.SubElement(case, "skipped", message=inert(told.message(check) or "Not run."))
    elif check.outcome != "passed":
        task = next(task for task in result.tasks if task.id == check.task)
        names = told.named(task)
        like = f" The task behaves like {names}." if names and check.visible else ""
        _say(case, _OUTCOMES[check.outcome], check.outcome, (told.message(check) + like).strip())


def _say(case: ElementTree.Element, tag: str, kind: str, says: str) -> None:
    found = ElementTree.SubElement(case, tag, message=inert(says.split("\n")[0]), type=inert(kind))
    found.text = inert(says, 2_000) or None


def _count(suite: ElementTree.Element, cases: list[ElementTree.Element]) -> None:
    suite.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
