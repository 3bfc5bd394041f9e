"""What a worker may see of the file system: an allow-list, for bwrap and for Landlock. Runs in the judge.

The interpreter, its standard library, shared libraries, the private folder with the worker's own files, and the folders
of torch (and diffusers) and of what they require, found in their metadata. Never a whole `site-packages`.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Literal

Profile = Literal["torch", "diffusers"]

# Never shown, whoever requires them: the answers lie in them, or the grader does.
NEVER = frozenset(
    {"grader", "alphabar", "peft", "transformers", "accelerate", "pytest", "_pytest", "pip", "setuptools"}
)
ROOTS: dict[Profile, tuple[str, ...]] = {"torch": ("torch", "numpy"), "diffusers": ("torch", "numpy", "diffusers")}
ALSO = {"torch": ("torchgen", "functorch")}
PACKAGE_FOLDERS = ("site-packages", "dist-packages")
SYSTEM_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")


@dataclass(frozen=True)
class View:
    """The allow-list, resolved."""

    interpreter: Path
    standard: tuple[Path, ...]  # folders of the standard library
    shared: tuple[Path, ...]  # folders that hold shared libraries, and maybe Python's packages, which stay hidden
    entries: tuple[Path, ...]  # folders and files of the libraries
    places: dict[str, str]  # top-level module -> the file that importing it runs
    distributions: dict[str, str]  # name -> version


def find_view(profile: Profile) -> View:
    """Locate everything along this process's own `sys.path`."""
    places: dict[str, str] = {}
    entries: dict[Path, None] = {}
    distributions: dict[str, str] = {}
    for found in _required(ROOTS[profile]):
        distributions[found.name] = found.version
        for module in _modules(found):
            for path in _locate(module, places):
                entries[path] = None
    for path in list(entries):
        for companion in (path.parent / f"{path.name}.libs", path.parent / f"{path.name.lower()}.libs"):
            if companion.is_dir():
                entries[companion] = None
    if "PIL" in places and (libs := Path(places["PIL"]).parent.parent / "pillow.libs").is_dir():
        entries[libs] = None
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return View(interpreter, _standard(), _shared(), tuple(entries), places, distributions)


def _search_path() -> list[str]:
    # Not the working directory: a student's `torch.py` lying there is not the library.
    here = Path.cwd()
    return [entry for entry in sys.path if entry and Path(entry).is_absolute() and Path(entry) != here]


def _required(roots: tuple[str, ...]) -> Iterator[importlib.metadata.Distribution]:
    path = _search_path()
    waiting, seen = list(roots), set[str]()
    while waiting:
        name = _normal(waiting.pop())
        if name in seen or name in NEVER:
            continue
        seen.add(name)
        found = next(iter(importlib.metadata.Distribution.discover(name=name, path=path)), None)
        if found is None:
            continue
        yield found
        for requirement in found.requires or ():
            wanted, _, marker = requirement.partition(";")
            if "extra" not in marker and (match := re.match(r"[\w.-]+", wanted)):
                waiting.append(match[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _modules(found: importlib.metadata.Distribution) -> list[str]:
    usual = _normal(found.name)
    if _spec(usual) is not None:
        return [usual, *ALSO.get(usual, ())]
    named = found.read_text("top_level.txt")
    if named is not None:
        names = set(named.split())
    else:
        names = {path.parts[0].split(".")[0] for path in found.files or () if path.suffix in (".py", ".so")}
    return sorted(names - NEVER - {".."})


def _spec(module: str) -> ModuleSpec | None:
    return PathFinder.find_spec(module, _search_path())


def _locate(module: str, places: dict[str, str]) -> list[Path]:
    spec = _spec(module)
    if spec is None or module in NEVER:
        return []
    if spec.origin is None:  # a namespace package: shared libraries of CUDA, nothing to import
        return [Path(place).resolve() for place in spec.submodule_search_locations or ()]
    file = Path(spec.origin).resolve()
    places[module] = str(file)
    return [file.parent if spec.submodule_search_locations is not None else file]


def _standard() -> tuple[Path, ...]:
    found = [Path(sysconfig.get_path("stdlib")).resolve()]
    extensions = sysconfig.get_config_var("DESTSHARED")
    if extensions and Path(extensions).is_dir() and found[0] not in Path(extensions).resolve().parents:
        found.append(Path(extensions).resolve())
    return tuple(found)


def _shared() -> tuple[Path, ...]:
    candidates = [*SYSTEM_FOLDERS, f"{sys.base_prefix}/lib"]
    return tuple(dict.fromkeys(Path(folder).resolve() for folder in candidates if Path(folder).is_dir()))


def bwrap_arguments(view: View, private: Path) -> list[str]:
    """Return bwrap's mounts: an empty read-only root with the allow-list bound into it."""
    mounts: list[str] = []
    masks: list[Path] = []
    for name in SYSTEM_FOLDERS:
        if Path(name).is_symlink():
            mounts += ["--symlink", str(Path(name).readlink()), name]
    for folder in view.shared:
        mounts += ["--ro-bind", str(folder), str(folder)]
        masks += [entry for entry in sorted(folder.glob("python*")) if entry.is_dir() and not entry.is_symlink()]
    mounts += _masked(masks)
    for folder in view.standard:
        packages = [folder / name for name in PACKAGE_FOLDERS if (folder / name).is_dir()]
        mounts += ["--ro-bind", str(folder), str(folder), *_masked(packages)]
        masks += packages
    for path in (*view.entries, view.interpreter, private):
        mounts += ["--ro-bind", str(path), str(path)]
    for name in ("/etc/ld.so.cache", "/etc/alternatives"):
        mounts += ["--ro-bind-try", name, name]
    mounts += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    for folder in masks:
        mounts += ["--remount-ro", str(folder)]
    return [*mounts, "--remount-ro", "/"]


def _masked(folders: list[Path]) -> list[str]:
    return [word for folder in folders for word in ("--tmpfs", str(folder))]


def landlock_rules(view: View, private: Path) -> Iterator[tuple[Path, bool]]:
    """Yield (path, may be read); what may not be read may still be listed."""
    for folder in view.standard:
        hidden = [name for name in PACKAGE_FOLDERS if (folder / name).is_dir()]
        if hidden:
            yield folder, False
            for path in folder.iterdir():
                if path.name not in hidden:
                    yield path, True
        else:
            yield folder, True
    for folder in view.shared:
        for path in folder.iterdir():
            if ".so" in path.name or "-linux-" in path.name:
                yield path, True
    for path in (*view.entries, private):
        yield path, True
    for device in (Path("/dev/null"), Path("/dev/urandom")):
        yield device, True
