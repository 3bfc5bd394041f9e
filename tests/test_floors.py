import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grader.digests import STAIR

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "grader"

FLOORS = {name: number for number, names in enumerate(STAIR) for name in names}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "_course" not in path.parts)

# Runs the real command, then says on stderr which of the slow libraries it has loaded.
PROBE = """
import json, sys
from grader.cli import main
sys.argv = ["grade", *sys.argv[1:]]
try:
    main()
finally:
    slow = {"torch", "numpy", "pytest", "diffusers", "ml_dtypes", "rich", "distributed"}
    print(json.dumps(sorted(slow & set(sys.modules))), file=sys.stderr)
"""


def imports(path: Path, package: list[str]) -> list[str]:
    """Every module that a file imports, also inside functions and under TYPE_CHECKING, as dotted names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from grader import kit` imports a module, `from grader.kit import check` a name.
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def floor_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    if parts[0] != "grader":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "__init__"


def loaded(cwd: Path, *words: str) -> tuple[int, set[str]]:
    environment = {**os.environ, "GRADE_COURSE": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    return done.returncode, set(json.loads(done.stderr.strip().splitlines()[-1]))


def test_the_stair_names_every_part_of_the_package():
    parts = {path.parts[0].removesuffix(".py") for path in MODULES}
    assert parts == set(FLOORS)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_lower_floors_or_its_own_folder_only(module):
    own = module.parts[0].removesuffix(".py")
    package = ["grader", *module.parts[:-1]]
    for dotted in imports(PACKAGE / module, package):
        target = floor_of(dotted)
        assert target in (None, own) or FLOORS[target] < FLOORS[own], f"grader/{module} imports {dotted}"


def test_the_pages_stair_is_this_one():
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    sentence = page[page.index("is the stair):") :].split("\n\n")[0]
    shown = [set(floor.split("`")[1].split()) for floor in sentence.split("<")]
    assert shown == [set(row) - {"__init__"} for row in STAIR]


@pytest.mark.parametrize("module", sorted((PACKAGE / "sandbox" / "worker").glob("*.py")), ids=lambda path: path.name)
def test_the_worker_imports_nothing_of_the_engine(module):
    package = ["grader", "sandbox", "worker"]
    inside = tuple(f"grader.sandbox.worker.{path.stem}" for path in module.parent.glob("*.py"))
    for dotted in imports(module, package):
        relative = dotted.startswith("grader.sandbox.worker.") and dotted.startswith(inside)
        assert not dotted.startswith("grader") or relative, f"{module.name} imports {dotted}"


def test_only_the_worker_and_nothing_of_the_judge_imports_torch():
    for module in MODULES:
        found = {dotted.split(".")[0] for dotted in imports(PACKAGE / module, ["grader", *module.parts[:-1]])}
        # The audit's stand-ins run in the worker too, as the end of a submission's text.
        if module.parts[:2] not in (("sandbox", "worker"), ("authoring", "stand_ins.py")):
            assert not found & {"torch", "diffusers"}, f"grader/{module}"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["list"], 0),
        ([], 0),
        (["start", "lab01", "new"], 0),
        (["hint", "lab02", "ddpm_step"], 0),
        (["cohort", "--help"], 0),
        (["cohort", "lab01", "nowhere", "-o", "out"], 2),
        (["schema"], 0),
        (["ci", "--help"], 0),
        (["ci", "nowhere"], 2),
        (["comment", "nowhere"], 2),
        (["lab99"], 2),
        (["lab01", "."], 3),
        (["lab01", "bad/lab01.py"], 3),
        (["lab01", "binary/lab01.py"], 3),
    ],
    ids=lambda value: (" ".join(value) or "alone") if isinstance(value, list) else "",
)
def test_what_grades_nothing_loads_no_slow_library(tmp_path, words, code):
    for name, source in (("bad", b"def add_noise(:\n"), ("binary", b"\x00\x01")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lab01.py").write_bytes(source)
    assert loaded(tmp_path, *words) == (code, set())


def test_the_judge_never_loads_torch(tmp_path):
    (tmp_path / "lab01.py").write_bytes((ROOT / "fixtures/submissions/right/lab01.py").read_bytes())
    code, modules = loaded(tmp_path, "lab01", "--task", "add_noise")
    assert code == 0 and "numpy" in modules and not modules & {"torch", "diffusers", "rich"}
