"""What a workflow may not do where strangers' code is near: rules over its parsed text, each a sentence when broken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

# Commits as the actions' own repositories have them under these tags.
PINS = {
    "actions/checkout": ("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1"),
    "actions/setup-python": ("ece7cb06caefa5fff74198d8649806c4678c61a1", "v6.3.0"),
    "actions/cache/restore": ("27d5ce7f107fe9357f9df03efb73ab90386fccae", "v5.0.5"),
    "actions/cache/save": ("27d5ce7f107fe9357f9df03efb73ab90386fccae", "v5.0.5"),
    "actions/upload-artifact": ("bbbca2ddaa5d8feaa63e36b76fdaad77386f024f", "v7.0.0"),
    "actions/download-artifact": ("3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1"),
}
SEED = "COURSE_SEED"  # the one secret that the judge itself needs

_USES = re.compile(r"^\s*(?:- )?uses:\s*(\S+?)@(\S+)(?:\s+#\s*(\S+))?\s*$", re.MULTILINE)
_GRADES = re.compile(r"\bgrade (ci|cohort|run|lab)\b|\bgrade\" (ci|cohort)\b")
_FETCHES = re.compile(r"gh pr checkout|git (-C \S+ )?(fetch|pull|clone)|clone\.sh")


def complaints(text: str) -> list[str]:
    """Return what is wrong with a workflow, or with a composite action."""
    data = yaml.safe_load(text)
    if "runs" in data:
        return [*_unpinned(text), *_composite(data)]
    triggers = data.get("on", data.get(True))  # YAML 1.1 reads `on` as true
    names = {triggers} if isinstance(triggers, str) else set(triggers)
    return [*_unpinned(text), *_workflow(data, names)]


def _unpinned(text: str) -> Iterator[str]:
    for name in re.findall(r"^\s*(?:- )?uses:\s*(\S+)", text, re.MULTILINE):
        if "@" not in name and not name.startswith("./"):
            yield f"{name} has no version"
    for name, version, comment in _USES.findall(text):
        if not re.fullmatch(r"[0-9a-f]{40}", version):
            yield f"{name}@{version} is not pinned to a commit"
        elif PINS.get(name) != (version, comment):
            yield f"{name}@{version} # {comment} is not the commit that was looked up"


def _composite(data: dict[str, Any]) -> Iterator[str]:
    for step in data["runs"]["steps"]:
        yield from _step(step)
        if "token" in str(step).lower() or "secrets." in str(step):
            yield "the action handles a token or a secret"


def _step(step: dict[str, Any]) -> Iterator[str]:
    if "${{" in step.get("run", ""):
        yield "an expression stands within `run:`; its value would be code"
    if (
        step.get("uses", "").startswith("actions/checkout@")
        and step.get("with", {}).get("persist-credentials") is not False
    ):
        yield "a checkout leaves its token behind"


def _workflow(data: dict[str, Any], triggers: set[str]) -> Iterator[str]:
    if "pull_request_target" in triggers:
        yield "pull_request_target runs with the base's token and secrets"
    if "permissions" not in data:
        yield "no permissions are set, so the token may do what the repository's default lets it"
    if "env" in data and re.search(r"token|secrets\.", str(data["env"]), re.IGNORECASE):
        yield "a token or a secret is given to every job"
    for job in data["jobs"].values():
        yield from _job(job, job.get("permissions", data.get("permissions")), triggers)


def _job(job: dict[str, Any], permissions: Any, triggers: set[str]) -> Iterator[str]:
    steps = job["steps"]
    for step in steps:
        yield from _step(step)
    grades = [step for step in steps if _GRADES.search(step.get("run", "")) or step.get("uses", "").startswith("./")]
    strange = [step for step in steps if _brings_strangers(step, triggers)]
    writes = permissions == "write-all" or (isinstance(permissions, dict) and "write" in permissions.values())
    if writes and (grades or strange):
        yield "a token that may write stands beside what was handed in"
    if "workflow_run" in triggers and strange:
        yield "workflow_run checks out what was handed in"
    for step in grades:
        secrets = set(re.findall(r"secrets\.(\w+)", str(step))) - {SEED}
        if secrets or "github.token" in str(step) or "GITHUB_TOKEN" in str(step):
            yield "the step that grades is given a token or a secret"
    if grades and re.search(r"token|secrets\.", str(job.get("env", "")), re.IGNORECASE):
        yield "a job that grades is given a token or a secret"


def _brings_strangers(step: dict[str, Any], triggers: set[str]) -> bool:
    """Whether a step brings what was handed in onto the runner, to be looked at as files."""
    given = step.get("with", {})
    if step.get("uses", "").startswith("actions/checkout@"):
        if "ref" in given:
            return "base" not in given["ref"]
        return "pull_request" in triggers or "repository" in given
    return bool(_FETCHES.search(step.get("run", "")))
