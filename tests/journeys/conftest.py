"""The course as strangers get it: two wheels, or a clone, in environments that know nothing of the checkout."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.toy import ROOT

SEED = 918273645
SECRET = "PLANTED-0f1e2d3c4b5a6978"
SECRETS = r"PLANTED-[0-9a-f]{16}"  # does not match itself


@dataclass(frozen=True)
class Edition:
    """An installed wheel, its environment, and where it lies there."""

    wheel: Path
    python: Path
    site: Path

    @property
    def course(self) -> Path:
        return self.site / "grader" / "_course"

    def run(self, cwd: Path, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run this environment's Python in `cwd`, with nothing of ours in the environment variables."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8", **options.pop("env", {})}
        return subprocess.run(
            [str(options.pop("python", self.python)), *map(str, words)],
            **{"cwd": cwd, "env": environment, "capture_output": True, "text": True, **options},
        )

    def grade(self, cwd: Path, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run this environment's command `grade` in `cwd`."""
        return self.run(cwd, self.python.with_name("grade"), *words, **options)

    def told(
        self, cwd: Path, sources: dict[str, dict[str, str]], *more: Path, drawn: Collection[str] = ()
    ) -> dict[str, Any]:
        """Grade many sources: lab -> name -> text, to lab -> name -> what `grade_many.py` prints.

        `more` are folders with packages that are installed beside it; of the labs `drawn` the right source's pictures
        are drawn.
        """
        env = {"PYTHONPATH": os.pathsep.join(map(str, more))} if more else {}
        asked = {"sources": sources, "drawn": list(drawn)}
        done = self.run(cwd, Path(__file__).with_name("grade_many.py"), input=json.dumps(asked), env=env)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@dataclass(frozen=True)
class Desk:
    """Somebody's folder, the programs of their machine's environment, and what they have set there."""

    folder: Path
    programs: Path
    variables: dict[str, str] = field(default_factory=dict)

    def types(self, command: str, *sentences: str, code: int = 0) -> str:
        """Run what is typed; it ends with `code`, says all sentences, and returns what it said, on one line."""
        done = subprocess.run(
            shlex.split(command), cwd=self.folder, env=self._environment(), capture_output=True, text=True
        )
        said = " ".join(f"{done.stdout} {done.stderr}".split())
        assert done.returncode == code, f"{command}: {done.returncode}\n{said}"
        missing = [sentence for sentence in sentences if sentence not in said]
        assert not missing, f"{command}: {missing}\n{said}"
        assert "Traceback" not in said, f"{command}: {said}"
        return said

    def starts(self, command: str) -> subprocess.Popen[str]:
        """Run what is typed, without waiting for it; what it notes can be read while it runs."""
        return subprocess.Popen(
            shlex.split(command),
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.programs), os.environ["PATH"]])
        own = {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", **self.variables}
        for role in ("AUTHOR", "COMMITTER"):
            own |= {f"GIT_{role}_NAME": "x", f"GIT_{role}_EMAIL": "x@example.org"}
        return own

    def reads(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def writes(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def edits(self, name: str, old: str, new: str) -> None:
        """Replace `old`, which stands in the file once."""
        text = self.reads(name)
        assert text.count(old) == 1, (name, old, text.count(old))
        self.writes(name, text.replace(old, new))


def build(source: Path, target: Path) -> Path:
    """Build the wheel of `source` with the tools of this environment."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel


def environment(folder: Path) -> tuple[Path, Path]:
    """Make a new environment with nothing in it, and return its Python and its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    return folder / "bin" / "python", site


def lend_libraries(site: Path) -> None:
    """Let an environment find the libraries where this one has them, but not our own editable install."""
    libraries = {entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")}
    (site / "libraries.pth").write_text("".join(f"{entry}\n" for entry in sorted(libraries)), encoding="utf-8")


def install(wheel: Path, folder: Path) -> Edition:
    """Install a wheel alone into a new environment, which finds the libraries where this one has them."""
    python, site = environment(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install"]
    options = ["--quiet", "--no-deps", "--no-index", "--no-cache-dir"]
    done = subprocess.run([*pip, *options, str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lend_libraries(site)  # only now: pip would take our own editable install for an older version
    return Edition(wheel, python, site)


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A folder that other users can enter; pytest's own they cannot."""
    with tempfile.TemporaryDirectory(prefix="alphabar-journeys-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def checkout(ground: Path) -> Path:
    """A copy of the checkout with a seed of its own, planted secrets, and caches that have no business in a wheel."""
    copy = ground / "checkout"
    for name in ("grader", "exercises", "reference", "fixtures", "templates", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, copy / name)
    manifest = copy / "exercises" / "course.toml"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("seed =") for line in lines) == 1
    lines = [f"seed = {SEED}" if line.startswith("seed =") else line for line in lines]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    for pattern in ("reference/*.py", "exercises/*/checks.py", "exercises/*/misconceptions.toml"):
        for path in copy.glob(pattern):
            path.write_text(f"{path.read_text(encoding='utf-8')}\n# {SECRET}\n", encoding="utf-8")
            (path.parent / "__pycache__").mkdir(exist_ok=True)
            (path.parent / "__pycache__" / "stale.cpython-311.pyc").write_bytes(b"stale")
    return copy


@pytest.fixture(scope="session")
def full(checkout: Path, ground: Path) -> Edition:
    """The whole course, installed."""
    return install(build(checkout, ground / "dist"), ground / "full")


@dataclass(frozen=True)
class Release:
    """What the installed command `grade release` wrote, and what it said."""

    folder: Path
    wheel: Path
    weights: Path  # the wheel of the trained weights
    repository: Path
    says: str


@pytest.fixture(scope="session")
def released(full: Edition, ground: Path) -> Release:
    """The student edition in all its forms."""
    folder, wheels, repository = ground / "released", ground / "released-wheels", ground / "released.git"
    done = full.grade(ground, "release", "-o", folder, "--wheels", wheels, "--git", repository)
    assert done.returncode == 0, done.stderr
    (wheel,), (weights,) = wheels.glob("alphabar-*.whl"), wheels.glob("alphabar_weights-*.whl")
    return Release(folder, wheel, weights, repository, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def student(released: Release, ground: Path) -> Edition:
    """The student edition, installed without the trained weights."""
    return install(released.wheel, ground / "student")


@pytest.fixture(scope="session")
def weights(released: Release, ground: Path) -> Path:
    """A folder in which pip has installed the wheel of the trained weights."""
    folder = ground / "weights"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "--target", str(folder), str(released.weights)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@dataclass(frozen=True)
class Clone:
    """The repository as a stranger clones it, and the environment that it is installed into."""

    folder: Path
    programs: Path

    def desk(self, folder: Path, **variables: str) -> Desk:
        return Desk(folder, self.programs, variables)

    def sample(self, name: str) -> str:
        """Return a sample submission of lab 01."""
        return (self.folder / "fixtures" / "submissions" / name / "lab01.py").read_text(encoding="utf-8")


def cloned(folder: Path) -> Path:
    """Clone what is committed here; what is not committed, nobody gets."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone of the repository, so it cannot be cloned")
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], env=own, check=True)
    return folder


@pytest.fixture(scope="session")
def clone(ground: Path) -> Clone:
    """A clean clone, installed as `make install` does it but for the libraries, which are found where we have them."""
    folder = cloned(ground / "clone")
    python, site = environment(ground / "clone-environment")
    lend_libraries(site)  # hatchling is among them
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-deps", "--no-index", "--no-cache-dir", "--no-build-isolation", "--ignore-installed"]
    done = subprocess.run([*pip, *options, "-e", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Clone(folder, python.parent)


@dataclass(frozen=True)
class Fork:
    """A clone that somebody works in, and the programs that grade with it."""

    folder: Path
    programs: Path

    def desk(self) -> Desk:
        return Desk(self.folder, self.programs, {"GRADE_COURSE": str(self.folder)})

    def with_lab11_alone(self) -> Desk:
        """Make it a course of one new lab, which is soon recorded."""
        desk = self.desk()
        desk.types('grade new lab11 --title "Unit range"')
        manifest = "exercises/course.toml"
        before, _, _ = desk.reads(manifest).partition("labs = [")
        desk.writes(manifest, f'{before}labs = ["lab11_unit_range"]\n')
        return desk


@pytest.fixture
def fork(clone: Clone, tmp_path: Path) -> Fork:
    return Fork(cloned(tmp_path / "fork"), clone.programs)
