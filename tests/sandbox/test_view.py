"""The allow-list: what is found, along which paths, and what never is."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from grader.sandbox import view
from grader.sandbox.launcher import PACKAGE

from .users import python_for_everyone, user_who_is_nobody

WORKER = Path(view.__file__).parent / "worker"


@pytest.mark.parametrize("profile", ["torch", "diffusers"])
def test_what_is_never_shown_is_not_found(profile: view.Profile) -> None:
    found = view.find_view(profile)
    assert not view.NEVER & set(found.places)
    assert ("diffusers" in found.places) is (profile == "diffusers")
    names = {path.name for path in found.entries}
    assert {"torch", "numpy"} <= names
    assert not {"site-packages", "dist-packages", "grader", "pytest"} & names


def test_no_mount_and_no_rule_shows_a_package_folder_whole(tmp_path: Path) -> None:
    found = view.find_view("torch")
    packages = {Path(entry).resolve() for entry in sys.path if entry.endswith(view.PACKAGE_FOLDERS)}
    packages |= {folder / name for folder in found.standard for name in view.PACKAGE_FOLDERS}
    for path, readable in view.landlock_rules(found, tmp_path):
        assert not (readable and any(path == folder or path in folder.parents for folder in packages)), path
    words = view.bwrap_arguments(found, tmp_path)
    assert not {str(folder) for folder in packages if words.count(str(folder))} & {
        words[i + 1] for i, word in enumerate(words) if word == "--ro-bind"
    }


def test_package_folders_inside_the_standard_library_are_masked(tmp_path: Path) -> None:
    library, entry = tmp_path / "lib/python3.11", tmp_path / "lib/python3.11/site-packages/torch"
    entry.mkdir(parents=True)
    (library / "json").mkdir()
    found = view.View(tmp_path / "bin/python", (library,), (tmp_path / "lib",), (entry,), {}, {})
    words = view.bwrap_arguments(found, tmp_path / "private")
    mask = words.index("--tmpfs", words.index("--ro-bind", words.index(str(library))))
    assert words[mask + 1] == str(library / "site-packages")
    assert words.index(str(entry)) > mask
    rules = dict(view.landlock_rules(found, tmp_path / "private"))
    assert rules[library] is False
    assert rules[library / "json"] is True
    assert rules[entry] is True
    assert library / "site-packages" not in rules


def test_a_torch_in_the_working_directory_is_not_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('not me')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    assert "torch.py" not in view.find_view("torch").places["torch"]


def test_the_workers_own_files_import_nothing_of_the_grader() -> None:
    files = sorted(WORKER.glob("*.py"))
    assert len(files) > 8
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("grader", PACKAGE)], file


BATTERY = """
import sys
from pathlib import Path
from grader.sandbox.client import Budget
from grader.sandbox.launcher import Limits, Sandbox, probe

with Sandbox("torch") as sandbox:
    sandbox.ready()
    assert sandbox.layers == probe(), sandbox.layers
    print({name: value is True for name, value in sandbox.layers.items()})
    for file in sys.argv[1:]:
        worker = sandbox.worker(Path(file).read_bytes(), "lab01.py", scenarios=None, limits=Limits(30, 512))
        answer = worker.load()
        if answer.error is None:
            worker.ask({"op": "call", "function": "step", "args": [2.0], "kwargs": {}})
            answer = worker.answer(Budget(5))
        print(answer.error.message if answer.error else answer.value)
        worker.close()
"""
ATTACKS = (
    "reads_files",
    "forks",
    "kills_everyone",
    "traces_the_parent",
    "fills_the_disk",
    "calls_home",
    "runs_programs",
    "sets_times_and_attributes",
    "cuts_its_bonds",
    "starts_small_threads",
)


@pytest.mark.parametrize("with_bwrap", [True, False], ids=["bwrap", "landlock"])
def test_an_ordinary_user_is_held_as_well(with_bwrap: bool, tmp_path: Path, no_programs: Path) -> None:
    repository = Path(__file__).parents[2]
    # No virtual environment here: the libraries are found along a plain sys.path.
    path = os.pathsep.join([str(repository), sysconfig.get_path("purelib")])
    attacks = [str(repository / "tests/attacks" / f"{name}.py") for name in ATTACKS]
    honest = tmp_path / "honest.py"
    honest.write_text("def step(x):\n    return x * 0.5 + 1\n")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    environment = {"PYTHONPATH": path, "PATH": os.environ["PATH"] if with_bwrap else str(no_programs)}
    done = subprocess.run(
        [*user_who_is_nobody(), python_for_everyone(), "-P", "-B", "-c", BATTERY, *attacks, str(honest)],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    layers, *answers = done.stdout.splitlines()
    assert ast.literal_eval(layers)["bwrap"] is (with_bwrap and ast.literal_eval(layers)["bwrap"])
    assert answers == ["denied"] * (len(ATTACKS) - 1) + ["your code started more than 64 threads", "2.0"]
