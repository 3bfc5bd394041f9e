"""Wheels: a zip file of modules with a list of their digests. Written here, so that no build tool is needed for one.

The format is that of the Python packaging specifications, "Binary distribution format" and "Core metadata".
"""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

WHEN = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel


@dataclass(frozen=True)
class Package:
    """What a wheel says of itself."""

    name: str
    version: str
    summary: str
    requires: Sequence[str] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    license: str = ""  # the text

    @property
    def stem(self) -> str:
        """How the wheel's files are named."""
        return f"{re.sub(r'[-_.]+', '_', self.name).lower()}-{self.version}"

    @property
    def metadata(self) -> str:
        """The file METADATA."""
        head = ["Metadata-Version: 2.4", f"Name: {self.name}", f"Version: {self.version}", f"Summary: {self.summary}"]
        head += ["License-Expression: MIT", "License-File: LICENSE"] if self.license else []
        head += ["Requires-Python: >=3.11", *(f"Requires-Dist: {need}" for need in self.requires)]
        return "\n".join(head) + "\n"


def build(edition: Path, folder: Path) -> Path:
    """Write the wheel of a student edition's folder, as its pyproject.toml describes it, into `folder`."""
    described = tomllib.loads((edition / "pyproject.toml").read_text(encoding="utf-8"))
    target = described["tool"]["hatch"]["build"]["targets"]["wheel"]
    files = {}
    for kind in target["only-include"]:
        where = target["sources"].get(kind, kind)
        for path in (edition / kind).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                files[f"{where}/{path.relative_to(edition / kind).as_posix()}"] = path.read_bytes()
    project = described["project"]
    package = Package(
        project["name"],
        project["version"],
        project["description"],
        project["dependencies"],
        project["scripts"],
        (edition / "LICENSE").read_text(encoding="utf-8"),
    )
    return write(folder, package, files)


def write(folder: Path, package: Package, files: Mapping[str, bytes]) -> Path:
    """Write the wheel of `files`, path -> content, into `folder`, and return its path."""
    info = f"{package.stem}.dist-info"
    described = {
        f"{info}/METADATA": package.metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: alphabar\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if package.commands:
        lines = "".join(f"{name} = {where}\n" for name, where in package.commands.items())
        described[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    if package.license:
        described[f"{info}/licenses/LICENSE"] = package.license.encode()
    everything = {**dict(sorted(files.items())), **described}
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in everything.items())
    everything[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{package.stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in everything.items():
            entry = zipfile.ZipInfo(name, WHEN)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
