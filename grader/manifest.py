"""The course's own files, read and checked: course.toml, lab.toml, misconceptions, equivalents, hints.

A wrong manifest raises `CourseError` naming the file, the key and what was expected. Pure data, runs anywhere.
"""

from __future__ import annotations

import gzip
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from grader.errors import CourseError
from grader.seeds import canonical

FORMAT_VERSION = 2


def _refuse_format_1(version: Any) -> Any:
    if version == 1:
        raise ValueError(
            "format 1 is not read any more; CHANGELOG.md says what is new in format 2, and docs/authors.md shows it"
        )
    return version


Format = Annotated[Literal[2], BeforeValidator(_refuse_format_1)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
LabId = Annotated[str, StringConstraints(pattern=r"^lab[0-9]{2}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+(\.py)?$")]
Sentence = Annotated[str, StringConstraints(min_length=8, strip_whitespace=True)]


class Manifest(BaseModel):
    """Base of all manifests: an unknown key is an error, so a typo cannot silently do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Edition(Manifest):
    """The table [edition] in a student edition's course.toml: which one it is, and what it was released from."""

    digest: str
    released: datetime
    labs: dict[LabId, str]  # lab -> `course.Lab.source`
    updates: str = ""  # where newer ones are to be found: a folder, or an address to be read


class CourseManifest(Manifest):
    """course.toml."""

    format_version: Format
    title: str
    version: str
    seed: Annotated[str, BeforeValidator(canonical)]  # a whole number or hexadecimal digits; for marks, a secret
    labs: list[FileName] = Field(min_length=1)
    edition: Edition | None = None


class Limits(Manifest):
    """What one task may use."""

    cpu_s: float = Field(default=10.0, gt=0, le=600)
    memory_mib: int = Field(default=1024, ge=64)


class Task(Manifest):
    """One thing a student writes: a function or class of the name `id`, or the `functions` that are listed."""

    id: Identifier
    title: str
    points: int = Field(ge=1)
    see: str = ""
    functions: list[Identifier]
    tolerance: dict[str, tuple[float, float]] = {}

    @model_validator(mode="before")
    @classmethod
    def _is_a_function_of_its_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "functions" not in data and "id" in data:
            return {**data, "functions": [data["id"]]}
        return data

    @model_validator(mode="after")
    def _has_functions(self) -> Task:
        if not self.functions or len(set(self.functions)) != len(self.functions):
            raise ValueError("`functions` lists the names of what a student writes, each once")
        return self


class LabManifest(Manifest):
    """lab.toml."""

    format_version: Format
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
        functions = [function for task in self.task for function in task.functions]
        if len(functions) != len(set(functions)):
            raise ValueError("two tasks have a function of the same name")
        return self


class Replacement(Manifest):
    """One place of the reference's text and what stands there instead."""

    find: str = Field(min_length=1)
    put: str


class Edit(Manifest):
    """An edit of a task's functions in the reference: one place (`find`, `put`), several (`edits`), or all (`code`).

    `task`, `id` and `functions` come from the tables' names and from lab.toml, see `read_edits`.
    """

    task: Identifier
    id: Identifier
    functions: tuple[Identifier, ...]
    find: str | None = None
    put: str | None = None
    edits: list[Replacement] = []
    code: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Edit:
        if (self.find is None) != (self.put is None):
            raise ValueError("`find` and `put` go together")
        if sum(self._forms()) != 1:
            raise ValueError("give exactly one of: `find` with `put`, `edits`, `code`")
        return self

    def _forms(self) -> list[bool]:
        return [self.find is not None, bool(self.edits), self.code is not None]

    @property
    def key(self) -> str:
        """What recorded answers and reports call it: `task/id`."""
        return f"{self.task}/{self.id}"

    @property
    def replacements(self) -> list[Replacement]:
        """The places to replace; empty when the edit replaces the whole function (`code`)."""
        if self.find is not None and self.put is not None:
            return [Replacement(find=self.find, put=self.put)]
        return self.edits


class Misconception(Edit):
    """A known mistake: an edit, further spellings of the same idea (`also`), and the sentence a student reads.

    `recorded` counts the spellings in a student edition, which carries what they answer and not the edits.
    """

    says: Sentence
    see: str = ""
    also: list[list[Replacement]] = []
    recorded: int = Field(default=0, ge=0)
    spelling: int = Field(default=0, exclude=True)  # which of `spellings` this is

    @model_validator(mode="after")
    def _combines(self) -> Misconception:
        if self.code is not None:
            raise ValueError("a misconception is a `find`/`put` edit, so that two can be combined")
        if not all(self.also):
            raise ValueError("a spelling in `also` is a list of at least one { find, put }")
        return self

    def _forms(self) -> list[bool]:
        return [*super()._forms(), self.recorded > 0]

    @property
    def key(self) -> str:
        """`task/id`, and for a further spelling its number."""
        return super().key + (f"#{self.spelling}" if self.spelling else "")

    @property
    def spellings(self) -> list[Misconception]:
        """This mistake in each of its spellings, itself first."""
        plain: dict[str, Any] = {"find": None, "put": None, "also": []}
        others = [
            self.model_copy(update={**plain, "edits": edits, "spelling": number})
            for number, edits in enumerate(self.also, 1)
        ]
        others += [self.model_copy(update={"spelling": number}) for number in range(1, self.recorded)]
        return [self, *others]


class Equivalent(Edit):
    """Right code in another form, and why it is right."""

    why: Sentence


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
E = TypeVar("E", bound=Edit)


def read(path: Path, model: type[M]) -> M:
    """Read a TOML file as `model`; CourseError names the file, the key and what was expected."""
    return _validate(path, model, _parse(path))


def read_hints(path: Path) -> dict[str, list[str]]:
    """Read hints.toml: task id -> hints."""
    return {task: _validate(path, Hints, table, task).hints for task, table in _parse(path).items()}


def read_edits(path: Path, model: type[E], functions: Mapping[str, Sequence[str]]) -> list[E]:
    """Read misconceptions.toml or equivalents.toml: tables `[task.id]`. `functions` are those of each task."""
    data = _parse(path)
    where = f"{path.parent.name}/{path.name}"
    old = [key for key in ("misconception", "equivalent") if isinstance(data.get(key), list)]
    if old:
        raise CourseError(
            f"{where} is written in format 1, as [[{old[0]}]] with `task` and `id`, which is not read any more. "
            "In format 2 each one is a table [task.id]; docs/authors.md shows it."
        )
    found = []
    for task, entries in data.items():
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise CourseError(f"{where}: {task} should hold tables [{task}.id], one for each {model.__name__.lower()}.")
        for name, entry in entries.items():
            given = {"task": task, "id": name, "functions": functions.get(task, (task,))}
            if own := sorted(entry.keys() & {*given, "spelling"}):
                raise CourseError(f"{where}: {task}.{name}.{own[0]} is not a key; the table's name says it.")
            found.append(_validate(path, model, {**entry, **given}, f"{task}.{name}"))
    return found


def _parse(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
        return tomllib.loads((gzip.decompress(data) if path.suffix == ".gz" else data).decode())
    except FileNotFoundError:
        raise CourseError(f"{path.parent.name}/{path.name} is missing; a lab needs it.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
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
