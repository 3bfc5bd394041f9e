"""Trained weights in a wheel of their own: found, told apart from another edition's, and missed with a sentence."""

import hashlib
import importlib
import shutil
import sys
import types

import numpy as np
import pytest

from fixtures import minisd
from grader import weights
from grader.checking import drawing, record
from grader.checking.calls import function_call
from grader.checking.oracle import RecordedOracle
from grader.errors import InternalError
from grader.reports import html
from grader.results import LabResult, Picture, Score, TaskResult
from grader.sandbox.client import Answer
from tests.toy import ROOT


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A folder as pip leaves it, on the path; empty but for the package itself."""
    folder = tmp_path / "site" / weights.PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder.parent))
    importlib.invalidate_caches()
    return folder


def test_without_the_wheel_there_is_no_folder_and_a_sentence():
    assert weights.folder() is None
    with pytest.raises(weights.MissingWeightsError, match=r"^Not drawn, for want of the wheel alphabar-weights: "):
        weights.file("minisd/unet/x", "0")


def test_a_file_of_the_wheel_is_known_by_its_digest(wheel):
    assert weights.folder() == wheel
    with pytest.raises(weights.MissingWeightsError, match="for want of"):
        weights.file("a", "0")
    (wheel / "a").write_bytes(b"weights")
    assert weights.file("a", hashlib.sha256(b"weights").hexdigest()) == wheel / "a"
    with pytest.raises(weights.MissingWeightsError, match="is of another edition"):
        weights.file("a", hashlib.sha256(b"others").hexdigest())


def test_the_miniature_stack_takes_them_from_the_wheel_where_its_folder_has_none(wheel, tmp_path, monkeypatch):
    bare = tmp_path / "minisd"
    shutil.copytree(minisd.FOLDER, bare, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    kept = minisd.weights("lora")
    name = f"lora/{minisd.FILES['lora']}"
    source = minisd.FOLDER / name
    monkeypatch.setattr(minisd, "FOLDER", bare)
    with pytest.raises(weights.MissingWeightsError):
        minisd.weights("lora")
    (wheel / "minisd" / "lora").mkdir(parents=True)
    shutil.copyfile(source, wheel / "minisd" / name)
    found = minisd.weights("lora")
    assert found.keys() == kept.keys()
    assert all(np.array_equal(found[key], kept[key]) for key in kept)


def answer(value):
    return Answer(
        value=value, changed={}, next_draw={}, global_rng_moved=False, error=None, output="", seconds=0.0, calls={}
    )


@pytest.mark.parametrize(("source", "lacks"), [("s1", ""), ("s2", weights.OF_ANOTHER), (None, weights.ABSENT)])
def test_answers_to_pictures_belong_to_the_lab_that_they_were_recorded_from(wheel, tmp_path, source, lacks):
    shown, drawn = function_call("f", (1,), {}), function_call("g", (2,), {})
    lab = types.SimpleNamespace(id="lab01", misconceptions=[], answers_path=tmp_path / "answers.bin")
    record.write(lab.answers_path, {((), shown.key): answer(1)}, "s1")
    if source is not None:
        (wheel / weights.ANSWERS).mkdir()
        record.write(wheel / weights.ANSWERS / "lab01.bin", {((), drawn.key): answer(2)}, source)
    oracle = RecordedOracle(lab)
    assert oracle.answer(shown).value == 1 and oracle.lacks(shown) == ""
    assert oracle.lacks(drawn) == lacks
    if not lacks:
        assert oracle.answer(drawn).value == 2
    else:  # a check's call would be a fault of ours
        with pytest.raises(InternalError, match="holds no answer"):
            oracle.answer(drawn)


def test_a_picture_says_what_it_lacks_and_others_are_drawn(tmp_path):
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "__init__.py").write_text('HERE = "mine"\n', encoding="utf-8")
    figures = tmp_path / "figures.py"
    figures.write_text(
        "import fixtures\n"
        "from grader.kit import Chart, figure\n"
        "from grader.weights import file\n\n\n"
        "@figure('f')\ndef trained(play):\n    \"\"\"Sprites from noise.\"\"\"\n    return file('minisd/x', '0')\n\n\n"
        '@figure(\'f\')\ndef plain(play):\n    """A line."""\n'
        "    series = [(fixtures.HERE, 'reference', [(0, 1.0), (1, 2.0)])]\n"
        "    return Chart('A line', 'c', 'a', 'x', 'y', series)\n",
        encoding="utf-8",
    )
    limits = types.SimpleNamespace(cpu_s=1.0)
    lab = types.SimpleNamespace(
        id="lab01", root=tmp_path, folder=tmp_path, figures_path=figures, tasks=[types.SimpleNamespace(id="f")],
        manifest=types.SimpleNamespace(limits=limits),
    )  # fmt: skip
    faults = []
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "fixtures"}
    try:
        pictures = drawing.draw(types.SimpleNamespace(lab=lab), ["f"], faults.append)
    finally:
        sys.modules.update(before)
    assert faults == []
    missing, drawn = sorted(pictures, key=lambda picture: picture.missing == "")
    assert (missing.title, missing.missing) == ("Sprites from noise", weights.ABSENT)
    assert drawn.series[0].label == "mine"  # the fixtures of the lab's own course, whichever were imported before


def test_the_page_shows_the_sentence_in_the_pictures_place():
    task = TaskResult(id="f", title="F", function="f", line=1, earned=1, possible=1, state="passed")
    picture = Picture(task="f", title="Sprites", caption="", alt="", missing="Not <drawn>.")
    result = LabResult(
        lab="lab01", title="Noise", seed=None, submission="a", filename="lab01.py", score=Score(earned=1, possible=1),
        tasks=[task], checks=[], pictures=[picture],
    )  # fmt: skip
    page = html.student_page(result, page_url=None, hints={}, templates_dir=ROOT / "templates")
    assert '<h4>Sprites</h4>\n<p class="muted">Not &lt;drawn&gt;.</p>' in page
    assert "<figcaption></figcaption>" not in page
