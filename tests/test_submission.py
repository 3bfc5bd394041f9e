import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grader.errors import SubmissionError
from grader.submission import MAX_BYTES, find, load, parse

SIGNATURE = "add_noise(x0, noise, t, betas)"
RIGHT = b"def add_noise(x0, noise, t, betas):\n    return x0 + noise\n"


def refused(what, *args):
    with pytest.raises(SubmissionError) as caught:
        what(*args)
    return caught.value.kind, str(caught.value), caught.value.line


def unfit(source: str):
    return parse(source.encode(), "lab01.py").unfit({"add_noise": SIGNATURE})


# Which file


def test_the_file_or_the_folder_that_holds_it(tmp_path):
    file = tmp_path / "lab01.py"
    file.write_bytes(RIGHT)
    assert find(tmp_path, "lab01") == find(file, "lab01") == file
    assert load(file).source == RIGHT


def test_one_file_of_another_name_is_taken_and_several_are_not(tmp_path):
    (tmp_path / "my_lab01_final.py").write_bytes(RIGHT)
    (tmp_path / "notes.py").write_bytes(RIGHT)
    assert find(tmp_path, "lab01").name == "my_lab01_final.py"
    (tmp_path / "Lab01 (2).py").write_bytes(RIGHT)
    kind, says, _ = refused(find, tmp_path, "lab01")
    assert kind == "several" and "Lab01 (2).py, my_lab01_final.py" in says and "grade lab01 'Lab01 (2).py'" in says
    (tmp_path / "lab01.py").write_bytes(RIGHT)
    assert find(tmp_path, "lab01").name == "lab01.py"


def test_a_missing_file(tmp_path):
    (tmp_path / "lab01.py").write_bytes(RIGHT)
    kind, says, _ = refused(find, tmp_path / "lab1.py", "lab01")
    assert kind == "missing" and says.endswith("Did you mean lab01.py?")
    kind, says, _ = refused(find, tmp_path / "elsewhere" / "x.py", "lab01")
    assert kind == "missing" and "Did you mean" not in says
    kind, says, _ = refused(find, tmp_path, "lab02")
    assert kind == "missing" and says.endswith("`grade start lab02` writes one.")


def test_a_folder_named_like_the_file(tmp_path):
    folder = tmp_path / "lab01.py"
    folder.mkdir()
    assert refused(find, folder, "lab01")[:2] == ("not_a_file", "lab01.py is a folder; a Python file was expected.")
    kind, says, _ = refused(load, find(tmp_path, "lab01"))
    assert kind == "not_a_file" and "is a folder" in says


@pytest.mark.parametrize("target", ["real.py", "nowhere.py", "/etc/passwd", "."])
def test_a_symlink_is_never_followed(tmp_path, target):
    (tmp_path / "real.py").write_bytes(RIGHT)
    (tmp_path / "lab01.py").symlink_to(target)
    for path in (tmp_path, tmp_path / "lab01.py"):
        kind, says, _ = refused(lambda path=path: load(find(path, "lab01")))
        assert kind == "symlink" and says == "lab01.py is a symbolic link; hand in the file itself."


@pytest.mark.timeout(20)
def test_a_fifo_or_a_device_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "lab01.py")
    assert refused(load, find(tmp_path, "lab01"))[:2] == ("not_a_file", "lab01.py is not a plain file.")
    assert refused(load, Path("/dev/zero"))[0] == "not_a_file"


def test_no_permission(tmp_path):
    file = tmp_path / "lab01.py"
    file.write_bytes(RIGHT)
    file.chmod(0)
    if os.geteuid() != 0:
        kind, says = refused(load, file)[:2]
    else:
        # Permission bits do not bind root: an ordinary user has to try. Its folders must let it through.
        setpriv = shutil.which("setpriv")
        assert setpriv is not None, "setpriv (util-linux) is needed to try this as root"
        tmp_path.chmod(0o755)
        source = Path(__file__).parents[1] / "grader"
        code = (
            "import os, sys\n"
            "from grader.submission import load\n"  # while still root: the checkout may be closed to others
            "from grader.errors import SubmissionError\n"
            "from pathlib import Path\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try:\n    load(Path('lab01.py'))\n"
            "except SubmissionError as error:\n    print(error.kind + '|' + str(error))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(source.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        kind, says = done.stdout.strip().split("|")
    assert kind == "unreadable" and says == "lab01.py may not be read (no permission); change its mode."


# What is in it


@pytest.mark.parametrize("source", [b"", b" \n\t\n"])
def test_an_empty_file(source):
    assert refused(parse, source, "lab01.py")[:2] == ("empty", "lab01.py is empty.")


def test_a_nul_byte():
    kind, says, line = refused(parse, RIGHT + b"x = 1\nprint('\0')\n", "lab01.py")
    assert (kind, line) == ("not_text", 4) and "NUL byte on line 4" in says


def test_text_that_is_not_utf8():
    kind, says, line = refused(parse, RIGHT + "# é\n".encode("latin-1"), "lab01.py")
    assert (kind, line) == ("not_text", 3) and "Save it as UTF-8" in says
    assert refused(parse, "x = 1\n".encode("utf-16"), "lab01.py")[0] == "not_text"


def test_fifty_megabytes_are_not_even_read(tmp_path):
    file = tmp_path / "lab01.py"
    with file.open("wb") as whole:
        whole.write(RIGHT)
        whole.truncate(50 << 20)  # sparse: what is looked at is the size, before the content
    assert refused(load, file)[:2] == ("too_large", "lab01.py is larger than 1 MiB; a submission is source code only.")


def test_the_largest_source_that_is_taken(tmp_path):
    file = tmp_path / "lab01.py"
    file.write_bytes(RIGHT + b"#" * (MAX_BYTES - len(RIGHT)))
    assert load(file).unfit({"add_noise": SIGNATURE}) is None
    file.write_bytes(RIGHT + b"#" * (MAX_BYTES - len(RIGHT) + 1))
    assert refused(load, file)[0] == "too_large"


@pytest.mark.parametrize(
    "source",
    ["x = " + "(" * 400 + ")" * 400, "x = " + "-" * 200_000 + "1", "x = " + "[" * 90 + "]" * 90 + "()" * 100_000,
     "\n".join(" " * n + "if x:" for n in range(120)), "x" + ".a" * 100_000],
    ids=["parentheses", "minus signs", "calls", "blocks", "attributes"],
)  # fmt: skip
def test_deeply_nested_source_is_a_sentence(source):
    # Where exactly Python's parser gives up differs between versions; that it is said, and how, does not.
    kind, says, _ = refused(parse, source.encode(), "lab01.py")
    assert kind in ("too_nested", "syntax_error") and len(says) < 300


def test_a_syntax_error_shows_the_place():
    kind, says, line = refused(parse, RIGHT + b"y = (1 +\n", "lab01.py")
    assert (kind, line) == ("syntax_error", 3)
    sentence, code, caret = says.split("\n")
    assert sentence == "SyntaxError: '(' was never closed" and code.strip() == "y = (1 +"
    assert code[caret.index("^")] == "("


def test_mixed_tabs_are_a_tab_error():
    kind, says, line = refused(parse, b"def f():\n        x = 1\n\treturn x\n", "lab01.py")
    assert (kind, line) == ("syntax_error", 3) and says.startswith("TabError:")


def test_a_wrong_encoding_line_is_a_sentence():
    kind, says, _ = refused(parse, b"# coding: nonsense\n" + RIGHT, "lab01.py")
    assert kind == "syntax_error" and "nonsense" in says


@pytest.mark.parametrize(
    "line", ["# -*- coding: latin-1 -*-\n", "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n"]
)
def test_a_declared_encoding_is_read_as_python_reads_it(line):
    found = parse(line.encode() + "name = 'Zoë'\n".encode("latin-1") + RIGHT, "lab01.py")
    assert "name" in found.definitions and "Zoë" in found.lines()[line.count("\n")]
    kind, says, _ = refused(parse, b"# coding: ascii\n# \xff\n" + RIGHT, "lab01.py")
    assert kind == "not_text" and says.startswith("lab01.py is not ascii: a wrong byte on line 2.")


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbf" + RIGHT,
        RIGHT.replace(b"    ", b"\t"),
        RIGHT.replace(b"\n", b"\r\n"),
        b'x = "\\d"\n' + RIGHT,  # a SyntaxWarning, which is not an error
    ],
    ids=["BOM", "tabs", "CRLF", "warning"],
)
def test_what_python_reads_is_taken(source):
    assert parse(source, "lab01.py").unfit({"add_noise": SIGNATURE}) is None


def test_the_digest_is_that_of_the_bytes():
    # sha256 of "x = 1\n", by coreutils' sha256sum
    assert parse(b"x = 1\n", "any.py").digest == "9e26bf369911c45c"


# What it defines


def test_a_missing_function_and_the_one_that_was_meant():
    found = unfit("import torch\n\ndef addnoise(x0, noise, t, betas):\n    return x0\n")
    assert found.outcome == "skipped"
    assert found.says == ("lab01.py defines no add_noise. Did you mean addnoise on line 3? Rename it to add_noise.")
    found = unfit("import torch\n")
    assert found.says == f"lab01.py defines no add_noise; the task asks for {SIGNATURE}."


def test_what_is_suggested_is_a_function_that_is_no_task():
    def says(source, name="training_loss", tasks=("training_loss", "training_target")):
        return parse(source.encode(), "lab01.py").unfit({name: f"{name}(x)"}, tasks).says

    target = "def training_target(x):\n    return x\n"
    assert says(target) == "lab01.py defines no training_loss; the task asks for training_loss(x)."
    assert "Did you mean training_target on line 1?" in says(target, tasks=("training_loss",))
    assert "Did you mean trainingloss on line 3?" in says(target + "def trainingloss(x):\n    return x\n")
    assert "Did you mean trainingloss on line 3?" in says(target + "trainingloss = lambda x: x\n")
    assert "Did you mean Training_loss on line 1?" in says("class Training_loss:\n    x = 1\n")
    for variable in ("betas = 1\n", "from torch import betas\n", "import betas\n"):
        assert "Did you mean" not in says(variable, "make_betas")
        assert "Did you mean" in says(variable + "def betas(x):\n    return x\n", "make_betas")


@pytest.mark.parametrize(
    "body",
    ["raise NotImplementedError", "raise NotImplementedError('later')", "pass", "...", '"""Only words."""',
     '"""Words."""\n    raise NotImplementedError'],
)  # fmt: skip
def test_a_stub_is_not_run(body):
    found = unfit(f"import torch\n\ndef add_noise(x0, noise, t, betas):\n    {body}\n")
    assert found.outcome == "skipped" and found.says.startswith("add_noise is not written yet: line 3")


@pytest.mark.parametrize("body", ["return x0", "x = 1; raise NotImplementedError", "raise ValueError"])
def test_what_does_something_is_run(body):
    assert unfit(f"def add_noise(x0, noise, t, betas):\n    {body}\n") is None


@pytest.mark.parametrize("parameters", ["x0, noise, t", "x0, noise, t, betas, extra", ""])
def test_another_signature_is_a_failure_that_names_both(parameters):
    found = unfit(f"def add_noise({parameters}):\n    return 1\n")
    assert found.outcome == "failed"
    assert found.says == f"Line 1 defines add_noise({parameters}), but the task asks for {SIGNATURE}."


@pytest.mark.parametrize(
    "parameters",
    ["a, b, c, d", "x0, noise, t, betas, eta=0", "*args", "x0, noise, t, **rest", "x0, noise=1, t=2, betas=3"],
)
def test_a_signature_that_takes_the_call_is_run(parameters):
    assert unfit(f"def add_noise({parameters}):\n    return 1\n") is None


@pytest.mark.parametrize(
    "source",
    [
        "add_noise = lambda *a: a[0]\n",
        "from helpers import add_noise\n",
        "from helpers import mine as add_noise\n",
        "from helpers import *\n",
        "def __getattr__(name):\n    return print\n",
        "try:\n    from fast import add_noise\nexcept ImportError:\n    add_noise = None\n",
        "if True:\n    def add_noise(x0, noise, t, betas):\n        return 1\n",
        "a, (add_noise, b) = 1, (2, 3)\n",
    ],
)
def test_every_way_of_binding_the_name_counts(source):
    assert unfit(source) is None


def test_a_class_is_a_stub_while_a_method_of_the_starter_is():
    def of(body):
        source = (
            f"class Solver:\n    def __init__(self, s):\n        {body[0]}\n    def step(self, x):\n        {body[1]}\n"
        )
        return parse(source.encode(), "lab03.py").unfit({"Solver": "Solver(sigmas)"})

    assert of(["raise NotImplementedError", "raise NotImplementedError"]).outcome == "skipped"
    assert of(["self.s = s", "raise NotImplementedError"]).outcome == "skipped"
    assert of(["pass", "..."]).outcome == "skipped"
    assert of(["self.s = s", "return x"]) is None
    assert of(["pass", "return x"]) is None  # nothing to prepare is a choice, not a gap
