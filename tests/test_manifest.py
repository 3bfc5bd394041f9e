import pytest

from grader.errors import CourseError
from grader.manifest import CourseManifest, Equivalents, LabManifest, Misconceptions, read, read_hints
from tests import toy

COURSE = 'format_version = 1\ntitle = "T"\nversion = "1"\nseed = 1\nlabs = ["lab01_toy"]\n'
MISTAKE = '[[misconception]]\ntask = "f"\nid = "m"\nsays = "A sentence to read."\n'
EQUIVALENT = '[[equivalent]]\ntask = "f"\nid = "e"\nwhy = "Because it is the same."\n'


@pytest.fixture
def said(tmp_path):
    """Read `text` as `model` and return the sentence of the CourseError."""

    def run(model, text, name="some.toml"):
        folder = tmp_path / "lab01_toy"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(CourseError) as caught:
            read_hints(path) if model is None else read(path, model)
        return str(caught.value)

    return run


@pytest.mark.parametrize(
    ("model", "text", "key", "expectation"),
    [
        (CourseManifest, COURSE.replace("= 1\ntitle", "= 2\ntitle"), "format_version", "Input should be 1 (found 2)"),
        (CourseManifest, COURSE.replace("seed = 1", "seed = -1"), "seed", "greater than or equal to 0 (found -1)"),
        (CourseManifest, COURSE.replace('"lab01_toy"', '"../out"'), "labs.0", "should match pattern"),
        (CourseManifest, COURSE + 'sead = 3\n', "sead", "Extra inputs are not permitted (found 3)"),
        (CourseManifest, COURSE.replace('title = "T"\n', ""), "title", "Field required"),
        (LabManifest, toy.LAB.replace('"lab01"', '"first"'), "id", "should match pattern"),
        (LabManifest, toy.LAB.replace("points = 4", "points = 0"), "task.0.points", "greater than or equal to 1"),
        (LabManifest, toy.LAB.replace("points = 4", 'points = "4x"'), "task.0.points", "valid integer"),
        (LabManifest, toy.LAB.replace("cpu_s = 10", "cpu_s = 0"), "limits.cpu_s", "greater than 0 (found 0)"),
        (LabManifest, toy.LAB.replace('id = "jitter"', 'id = "scale"'), "the file", "two tasks have the same id"),
        (LabManifest, toy.LAB.replace("(x, factor)", "(x, factor"), "task.0.signature", "signature"),
        (Misconceptions, MISTAKE + 'find = "x"\n', "misconception.0", "`find` and `put` go together"),
        (Misconceptions, MISTAKE, "misconception.0", "give exactly one of: `find` with `put`, `edits`, `code`"),
        (Misconceptions, MISTAKE + 'find = "x"\nput = "y"\nedits = [{find = "a", put = "b"}]\n', "misconception.0",
         "give exactly one of"),
        (Misconceptions, MISTAKE + 'code = "def f(): pass"\n', "misconception.0", "so that two can be combined"),
        (Misconceptions, MISTAKE + 'edits = [{find = "", put = "b"}]\n', "misconception.0.edits.0.find",
         "at least 1 character"),
        (Misconceptions, MISTAKE.replace("A sentence to read.", "Hm") + 'find = "x"\nput = "y"\n',
         "misconception.0.says", "at least 8 characters (found 'Hm')"),
        (Equivalents, EQUIVALENT.replace('"e"', '"two words"') + 'code = "x"\n', "equivalent.0.id",
         "should match pattern"),
        (None, '[f]\nhints = []\n', "f.hints", "at least 1 item"),
        (None, '[f]\nhints = ["12345678", "12345678", "12345678", "12345678"]\n', "f.hints", "at most 3 items"),
        (None, '[f]\nhint = ["12345678"]\n', "f.hint", "Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_a_wrong_manifest_names_file_key_and_expectation(said, model, text, key, expectation):
    sentence = said(model, text)
    assert sentence.startswith("lab01_toy/some.toml: ") and sentence.endswith(".")
    assert f" {key}: " in sentence and expectation in sentence


def test_all_that_is_wrong_is_said_at_once(said):
    sentence = said(CourseManifest, COURSE.replace("seed = 1", "seed = -1").replace('version = "1"', "version = 1"))
    assert " seed: " in sentence and " version: " in sentence


@pytest.mark.parametrize("text", ["labs = [", b"title = '\xff'", "a = 1\na = 2\n"], ids=["open", "latin-1", "twice"])
def test_what_is_no_toml_is_said_as_such(said, text):
    assert said(CourseManifest, text).startswith("lab01_toy/some.toml is not valid TOML: ")


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"^lab01_toy/hints.toml is missing"):
        read_hints(tmp_path / "lab01_toy" / "hints.toml")


def test_what_is_right_is_read(tmp_path):
    path = tmp_path / "lab.toml"
    path.write_text(toy.LAB)
    manifest = read(path, LabManifest)
    assert [task.id for task in manifest.task] == ["scale", "jitter"] and manifest.libraries == "torch"
    path.write_text(EQUIVALENT + 'edits = [{find = "a", put = "b"}, {find = "c", put = "d"}]\n')
    (edit,) = read(path, Equivalents).equivalent
    assert [(place.find, place.put) for place in edit.replacements] == [("a", "b"), ("c", "d")]
