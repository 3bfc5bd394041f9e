"""The course's own files, read and checked: course.toml, lab.toml, misconceptions, equivalents, hints.

A wrong manifest raises `CourseError` naming the file, the key and what was expected. Pure data, runs anywhere.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from grader.errors import CourseError

FORMAT_VERSION = 1

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
LabId = Annotated[str, StringConstraints(pattern=r"^lab[0-9]{2}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+(\.py)?$")]
Sentence = Annotated[str, StringConstraints(min_length=8, strip_whitespace=True)]


class Manifest(BaseModel):
    """Base of all manifests: an unknown key is an error, so a typo cannot silently do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CourseManifest(Manifest):
    """course.toml."""

    format_version: Literal[1]
    title: str
    version: str
    seed: int = Field(ge=0, lt=2**31)
    labs: list[FileName] = Field(min_length=1)


class Limits(Manifest):
    """What one task may use."""

    cpu_s: float = Field(default=10.0, gt=0, le=600)
    memory_mib: int = Field(default=1024, ge=64)


class Task(Manifest):
    """One thing a student writes; `id` is the name of the function or class."""

    id: Identifier
    title: str
    points: int = Field(ge=1)
    see: str = ""
    signature: str
    tolerance: dict[str, tuple[float, float]] = {}

    @field_validator("signature")
    @classmethod
    def _is_a_signature(cls, signature: str) -> str:
        try:
            ast.parse(f"def {signature}: pass")
        except SyntaxError:
            raise ValueError("a signature is expected, as in add_noise(x0, noise, t, betas)") from None
        return signature

    @property
    def parameters(self) -> list[str]:
        """The names of the signature's positional parameters, in order."""
        node = ast.parse(f"def {self.signature}: pass").body[0]
        assert isinstance(node, ast.FunctionDef)
        return [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]


class LabManifest(Manifest):
    """lab.toml."""

    format_version: Literal[1]
    id: LabId
    title: str
    reference: FileName
    libraries: Literal["torch", "diffusers"] = "torch"
    figure_libraries: Literal["torch", "diffusers"] | None = None  # what scenarios of figures.py import; None: the same
    uses_meta_device: bool = False
    limits: Limits = Limits()
    task: list[Task] = Field(min_length=1)

    @model_validator(mode="after")
    def _task_ids_are_unique(self) -> LabManifest:
        ids = [task.id for task in self.task]
        if len(ids) != len(set(ids)):
            raise ValueError("two tasks have the same id")
        return self


class Replacement(Manifest):
    """One place of the reference's text and what stands there instead."""

    find: str = Field(min_length=1)
    put: str


class Edit(Manifest):
    """An edit of a task's function in the reference: one place (`find`, `put`), several (`edits`), or all (`code`).

    `recorded` stands for all of them in a student edition, which carries what the edit answers and not the edit.
    """

    task: Identifier
    id: Identifier
    find: str | None = None
    put: str | None = None
    edits: list[Replacement] = []
    code: str | None = None
    recorded: bool = False

    @model_validator(mode="after")
    def _one_form(self) -> Edit:
        single = self.find is not None and self.put is not None
        if (self.find is None) != (self.put is None):
            raise ValueError("`find` and `put` go together")
        if sum([single, bool(self.edits), self.code is not None, self.recorded]) != 1:
            raise ValueError("give exactly one of: `find` with `put`, `edits`, `code`")
        return self

    @property
    def replacements(self) -> list[Replacement]:
        """The places to replace; empty when the edit replaces the whole function (`code`)."""
        if self.find is not None and self.put is not None:
            return [Replacement(find=self.find, put=self.put)]
        return self.edits


class Misconception(Edit):
    """A known mistake: an edit, and the sentence a student reads."""

    says: Sentence
    see: str = ""

    @model_validator(mode="after")
    def _combines(self) -> Misconception:
        if self.code is not None:
            raise ValueError("a misconception is a `find`/`put` edit, so that two can be combined")
        return self


class Equivalent(Edit):
    """Right code in another form, and why it is right."""

    why: Sentence


class Misconceptions(Manifest):
    """misconceptions.toml."""

    misconception: list[Misconception] = []


class Equivalents(Manifest):
    """equivalents.toml."""

    equivalent: list[Equivalent] = []


class Waiver(Manifest):
    """One automatic mutant that the checks need not reject, and why: it is right, or no input can tell it apart."""

    task: Identifier
    mutant: str = Field(min_length=1)
    why: Sentence


class Waivers(Manifest):
    """waivers.toml."""

    waiver: list[Waiver] = []


class Hints(Manifest):
    """One table of hints.toml: up to three, rising in strength."""

    hints: list[Sentence] = Field(min_length=1, max_length=3)


M = TypeVar("M", bound=Manifest)


def read(path: Path, model: type[M]) -> M:
    """Read a TOML file as `model`; CourseError names the file, the key and what was expected."""
    return _validate(path, model, _parse(path))


def read_hints(path: Path) -> dict[str, list[str]]:
    """Read hints.toml: task id -> hints."""
    return {task: _validate(path, Hints, table, task).hints for task, table in _parse(path).items()}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{path.parent.name}/{path.name} is missing; a lab needs it.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path.parent.name}/{path.name} is not valid TOML: {error}.") from None


def _validate(path: Path, model: type[M], data: Any, table: str = "") -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            key = ".".join(str(part) for part in ([table] if table else []) + list(item["loc"])) or "the file"
            found = "" if item["type"] == "missing" else f" (found {item['input']!r:.80})"
            lines.append(f"{key}: {item['msg'].removeprefix('Value error, ')}{found}")
        raise CourseError(f"{path.parent.name}/{path.name}: " + "; ".join(lines) + ".") from None
