"""The files of a student edition that belong to no lab: engine, course, packaging; and its wheels."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from grader import __version__, weights, wheel
from grader.authoring.parts import engine_files
from grader.course import Course
from grader.manifest import FORMAT_VERSION
from grader.root import PACKAGE, Edition

NAME = "alphabar"
SEED = "0"  # of the edition; only hidden checks would use it
TRAINED = "*.safetensors"

_PYPROJECT = """[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "alphabar"
version = "{version}"
description = {description}
license = "MIT"
license-files = ["LICENSE"]
requires-python = ">=3.11"
dependencies = [
{dependencies}]

[project.scripts]
grade = "grader.cli:main"

[tool.hatch.build.targets.wheel]
only-include = ["grader", "exercises", "fixtures", "templates"]

[tool.hatch.build.targets.wheel.sources]
"exercises" = "grader/_course/exercises"
"fixtures" = "grader/_course/fixtures"
"templates" = "grader/_course/templates"
"""

TEACHING = ("edition", "ci", "cluster", "audit.*", "cohort.*")  # templates that no command of a student edition uses
# What lies at the top of the folder, and where it comes from: templates/edition/.
TOP = {
    "README.md": "README.md",
    "start.ipynb": "start.ipynb",
    ".devcontainer/devcontainer.json": "devcontainer.json",
    ".devcontainer/Dockerfile": "Dockerfile",
}


def write_course(course: Course, part: Path) -> None:
    """Write into the edition's folder all but its labs."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", TRAINED)
    for path in engine_files():
        copy = part / "grader" / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    shutil.copytree(course.templates, part / "templates", ignore=shutil.ignore_patterns(*TEACHING))
    (part / "fixtures").mkdir()
    for path in sorted((course.root / "fixtures").glob("*.py")):
        shutil.copyfile(path, part / "fixtures" / path.name)
    if (course.root / "fixtures" / "minisd").is_dir():
        shutil.copytree(course.root / "fixtures" / "minisd", part / "fixtures" / "minisd", ignore=ignore)
    handbook = course.root / "exercises" / "handbook"
    if handbook.is_dir():
        shutil.copytree(handbook, part / "exercises" / "handbook", ignore=ignore)
    texts = {
        **{name: (course.templates / "edition" / source).read_text(encoding="utf-8") for name, source in TOP.items()},
        "LICENSE": _license(),
        ".gitignore": "__pycache__/\n.grade/\n",
        "exercises/course.toml": _manifest(course),
    }
    texts["README.md"] = texts["README.md"].replace("{title}", course.manifest.title)
    for name, text in texts.items():
        (part / name).parent.mkdir(exist_ok=True)
        (part / name).write_text(text, encoding="utf-8")


def sign(course: Course, part: Path, updates: str) -> Edition:
    """Write down which edition it is, by a digest of all its files, when it was released, where newer ones will be."""
    digest = hashlib.sha256()
    for path in sorted(path for path in part.rglob("*") if path.is_file()):
        digest.update(path.relative_to(part).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC).replace(microsecond=0)
    # A letter first: a part of a version that is all digits would lose its zeros.
    edition = Edition(f"e{digest.hexdigest()[:10]}", now, {lab.id: lab.source for lab in course.labs}, updates)
    labs = "".join(f"{lab} = {quoted(source)}\n" for lab, source in edition.labs.items())
    manifest = f"{_manifest(course)}\n[edition]\ndigest = {quoted(edition.digest)}\n"
    manifest += f"released = {now.isoformat().replace('+00:00', 'Z')}\nupdates = {quoted(updates)}\n"
    manifest += f"\n[edition.labs]\n{labs}"
    (part / "exercises" / "course.toml").write_text(manifest, encoding="utf-8")
    project = _PYPROJECT.format(
        version=_version(edition),
        description=quoted(f"{course.manifest.title}: the student edition"),
        dependencies="".join(f"  {quoted(need)},\n" for need in _needs()),
    )
    (part / "pyproject.toml").write_text(project, encoding="utf-8")
    return edition


def build_wheels(
    course: Course, part: Path, edition: Edition, pictures: Mapping[str, bytes], folder: Path
) -> list[Path]:
    """Write the wheel of the edition, and where the course has trained weights that of them and their pictures."""
    built = [wheel.build(part, folder)]
    trained = course.root / "fixtures" / "minisd"
    if tensors := sorted(trained.rglob(TRAINED)):
        content = {f"{trained.name}/{path.relative_to(trained).as_posix()}": path.read_bytes() for path in tensors}
        content |= {**pictures, "__init__.py": b'"""The trained weights that the pictures are drawn with."""\n'}
        says = f"{course.manifest.title}: the trained weights that pictures are drawn with"
        theirs = wheel.Package(weights.WHEEL, _version(edition), says, license=_license())
        inside = {f"{weights.PACKAGE}/{name}": data for name, data in content.items()}
        built.append(wheel.write(folder, theirs, inside))
    return built


def quoted(text: str) -> str:
    """Return a text as TOML writes it: what JSON escapes, TOML escapes in the same way."""
    return json.dumps(text, ensure_ascii=False)


def _manifest(course: Course) -> str:
    labs = ", ".join(quoted(lab.folder.name) for lab in course.labs)
    title, version = course.manifest.title, course.manifest.version
    return (
        f"format_version = {FORMAT_VERSION}\ntitle = {quoted(title)}\nversion = {quoted(version)}\n"
        f"seed = {quoted(SEED)}\nlabs = [{labs}]\n"
    )


def _version(edition: Edition) -> str:
    return f"{__version__}+student.{edition.digest}"


def _license() -> str:
    return metadata.distribution(NAME).read_text("licenses/LICENSE") or ""


def _needs() -> list[str]:
    """Return what the engine requires, without its extras."""
    return [need for need in metadata.distribution(NAME).requires or [] if "extra ==" not in need]
