import pytest

from grader.errors import CourseError
from grader.manifest import CourseManifest, Equivalent, LabManifest, Misconception, read, read_edits, read_hints
from tests import toy

COURSE = 'format_version = 2\ntitle = "T"\nversion = "1"\nseed = 1\nlabs = ["lab01_toy"]\n'
MISTAKE = '[f.m]\nsays = "A sentence to read."\n'
EQUIVALENT = '[f.e]\nwhy = "Because it is the same."\n'


@pytest.fixture
def said(tmp_path):
    """Read `text` as `model` and return the sentence of the CourseError."""

    def run(model, text, name="some.toml"):
        folder = tmp_path / "lab01_toy"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(CourseError) as caught:
            if model in (Misconception, Equivalent):
                read_edits(path, model, {})
            else:
                read_hints(path) if model is None else read(path, model)
        return str(caught.value)

    return run


@pytest.mark.parametrize(
    ("model", "text", "key", "expectation"),
    [
        (CourseManifest, COURSE.replace("= 2\ntitle", "= 3\ntitle"), "format_version", "Input should be 2 (found 3)"),
        (CourseManifest, COURSE.replace("= 2\ntitle", "= 1\ntitle"), "format_version", "format 1 is not read any more"),
        (CourseManifest, COURSE.replace("seed = 1", "seed = -1"), "seed", "a whole number, or hexadecimal digits"),
        (CourseManifest, COURSE.replace("seed = 1", 'seed = "my secret"'), "seed", "(found 'my secret')"),
        (CourseManifest, COURSE.replace("seed = 1", "seed = true"), "seed", "a whole number"),
        (CourseManifest, COURSE.replace('"lab01_toy"', '"../out"'), "labs.0", "should match pattern"),
        (CourseManifest, COURSE + 'sead = 3\n', "sead", "Extra inputs are not permitted (found 3)"),
        (CourseManifest, COURSE.replace('title = "T"\n', ""), "title", "Field required"),
        (LabManifest, toy.LAB.replace('"lab01"', '"first"'), "id", "should match pattern"),
        (LabManifest, toy.LAB.replace("points = 4", "points = 0"), "task.0.points", "greater than or equal to 1"),
        (LabManifest, toy.LAB.replace("points = 4", 'points = "4x"'), "task.0.points", "valid integer"),
        (LabManifest, toy.LAB.replace("cpu_s = 10", "cpu_s = 0"), "limits.cpu_s", "greater than 0 (found 0)"),
        (LabManifest, toy.LAB.replace('id = "jitter"', 'id = "scale"'), "the file", "two tasks have the same id"),
        (LabManifest, toy.LAB.replace("points = 4", 'points = 4\nkind = "f"'), "task.0.kind", "Extra inputs"),
        (LabManifest, toy.LAB.replace('points = 4', 'points = 4\nfunctions = []'), "task.0", "lists the names of what"),
        (LabManifest, toy.LAB.replace("points = 4", 'points = 4\nfunctions = ["jitter"]'), "the file",
         "function of the same name"),
        (Misconception, MISTAKE + 'find = "x"\n', "f.m", "`find` and `put` go together"),
        (Misconception, MISTAKE, "f.m", "give exactly one of: `find` with `put`, `edits`, `code`"),
        (Misconception, MISTAKE + 'find = "x"\nput = "y"\nedits = [{find = "a", put = "b"}]\n', "f.m",
         "give exactly one of"),
        (Misconception, MISTAKE + 'code = "def f(): pass"\n', "f.m", "so that two can be combined"),
        (Misconception, MISTAKE + 'edits = [{find = "", put = "b"}]\n', "f.m.edits.0.find",
         "at least 1 character"),
        (Misconception, MISTAKE.replace("A sentence to read.", "Hm") + 'find = "x"\nput = "y"\n',
         "f.m.says", "at least 8 characters (found 'Hm')"),
        (Equivalent, EQUIVALENT.replace("f.e", 'f."two words"') + 'code = "x"\n', "f.two words.id",
         "should match pattern"),
        (Misconception, MISTAKE + 'find = "x"\nput = "y"\nalso = [[]]\n', "f.m", "at least one { find, put }"),
        (Misconception, MISTAKE + 'find = "x"\nput = "y"\nspelling = 2\n', "f.m.spelling", "is not a key"),
        (Misconception, MISTAKE + 'find = "x"\nput = "y"\ntask = "g"\n', "f.m.task", "is not a key"),
        (None, '[f]\nhints = []\n', "f.hints", "at least 1 item"),
        (None, '[f]\nhints = ["12345678", "12345678", "12345678", "12345678"]\n', "f.hints", "at most 3 items"),
        (None, '[f]\nhint = ["12345678"]\n', "f.hint", "Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_a_wrong_manifest_names_file_key_and_expectation(said, model, text, key, expectation):
    sentence = said(model, text)
    assert sentence.startswith("lab01_toy/some.toml: ") and sentence.endswith(".")
    assert f" {key}" in sentence and expectation in sentence


def test_all_that_is_wrong_is_said_at_once(said):
    sentence = said(CourseManifest, COURSE.replace("seed = 1", "seed = -1").replace('version = "1"', "version = 1"))
    assert " seed: " in sentence and " version: " in sentence


@pytest.mark.parametrize(
    "text", ['[[misconception]]\ntask = "f"\nid = "m"\n', '[[equivalent]]\ntask = "f"\nid = "m"\n']
)
def test_format_1_is_refused_with_a_way_out(said, text):
    assert "is written in format 1" in said(Misconception, text) and "docs/authors.md" in said(Equivalent, text)


@pytest.mark.parametrize("text", ["[f]\nsays = 'A sentence.'\n", "f = 3\n"])
def test_a_table_without_an_id_is_said(said, text):
    assert "f should hold tables [f.id], one for each misconception." in said(Misconception, text)


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
    (edit,) = read_edits(path, Equivalent, {"f": ["f", "g"]})
    assert (edit.task, edit.id, edit.functions, edit.key) == ("f", "e", ("f", "g"), "f/e")
    assert [(place.find, place.put) for place in edit.replacements] == [("a", "b"), ("c", "d")]


def test_all_spellings_of_a_mistake_are_edits_of_one_id(tmp_path):
    path = tmp_path / "misconceptions.toml"
    other = (
        'find = "x"\nput = "y"\nalso = [[{find = "a", put = "b"}], [{find = "c", put = "d"}, {find = "e", put = ""}]]\n'
    )
    path.write_text(MISTAKE + other)
    (edit,) = read_edits(path, Misconception, {})
    assert [spelling.key for spelling in edit.spellings] == ["f/m", "f/m#1", "f/m#2"]
    assert [[p.find for p in spelling.replacements] for spelling in edit.spellings] == [["x"], ["a"], ["c", "e"]]
    assert {spelling.id for spelling in edit.spellings} == {"m"}


def test_a_seed_is_a_whole_number_or_hexadecimal_of_any_length(tmp_path):
    path = tmp_path / "course.toml"
    for written, read_as in (("1234", "1234"), ('"0xAB12"', "ab12"), (f'"{"f0" * 40}"', "f0" * 40)):
        path.write_text(COURSE.replace("seed = 1", f"seed = {written}"))
        assert read(path, CourseManifest).seed == read_as
