"""docs/instructors.md, typed in: every command of every shell block, and what the page says that it prints.

The first section makes a machine; each other one begins with that machine as it was left then, in the home folder.
What comes from elsewhere is made here: what an LMS exports, what students push. Stand-ins take the place of what is not
here: the hosts of repositories are folders, a new environment finds the libraries where this one has them, and Slurm
runs its jobs on this machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from grader.sandbox.launcher import probe
from tests.ci.acting import git
from tests.toy import ROOT

PAGE = ROOT / "docs" / "instructors.md"
START = "From zero"
SHELL, FILES = ("", "sh", "console"), ("toml", "text")
COPIED = ("grader", "exercises", "reference", "fixtures", "templates")
BESIDE = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "action.yml", ".gitignore")
HOSTS = ("https://git.example.org/", "https://github.com/")


# The page


@dataclass(frozen=True)
class Typed:
    """A command, in which line of the page its block begins, and what the page says that it prints, if it does."""

    line: int
    text: str
    prints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Written:
    """A file that the page says to write."""

    name: str
    text: str


Section = list[Typed | Written]


def sections(page: str) -> dict[str, Section]:
    """Return what is to be typed and written below each heading, in the page's order."""
    found: dict[str, Section] = {}
    heading = ""
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and after is not None:
            heading = after.content
        elif token.type in ("fence", "code_block"):
            steps = found.setdefault(heading, [])
            assert token.map is not None
            if token.info in FILES:
                first = token.content.splitlines()[0]
                named = re.fullmatch(r"# (\S+)", first)
                assert named, f"line {token.map[0] + 1}: a file begins with `# its name`, not with {first!r}"
                steps.append(Written(named[1], token.content))
            else:
                assert token.type == "fence" and token.info in SHELL, (
                    f"line {token.map[0] + 1}: what is {token.info!r}?"
                )
                steps += typed(token.content, token.map[0] + 1)
    return found


def typed(content: str, line: int) -> list[Typed]:
    lines = content.splitlines()
    if not any(one.startswith("$ ") for one in lines):
        return [Typed(line, one) for one in lines]
    assert lines[0].startswith("$ "), f"line {line}: something is printed before a command"
    steps: list[Typed] = []
    for one in lines:
        if one.startswith("$ "):
            steps.append(Typed(line, one[2:]))
        else:
            steps[-1].prints.append(one)
    return steps


def prints(expected: list[str], output: str) -> bool:
    """Tell whether `output` is what the page shows: `…` is any text of one line, `...` any lines, or none."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("…"))) + r"[ ]*\n" for line in expected
    )
    return re.fullmatch(pattern, output if output.endswith("\n") or not output else f"{output}\n") is not None


# The machine


@dataclass(frozen=True)
class Machine:
    """A home folder, programs that stand in for others, and a server with repositories."""

    home: Path
    programs: Path
    server: Path

    def environment(self) -> dict[str, str]:
        own = Path(sys.prefix).resolve()  # no command of this environment is found: the page installs its own
        path = [one for one in os.environ["PATH"].split(os.pathsep) if not Path(one).resolve().is_relative_to(own)]
        return {
            "HOME": str(self.home),
            "PATH": os.pathsep.join([str(self.programs), *path]),
            "LANG": "C.UTF-8",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # which means: without
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def complaints(self, steps: Section, replaced: Mapping[str, str], keep: bool = False) -> list[str]:
        """Type everything into one shell; return a sentence for each command that fails or prints something else.

        `keep`: what is exported at the end is there in every later shell.
        """
        command, output, state = (self.programs / name for name in ("typed.sh", "printed", "state.sh"))
        answers, told = os.pipe()
        shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=self.home,
            env=self.environment(),
            stdin=subprocess.PIPE,
            pass_fds=(told,),
            start_new_session=True,
            text=True,
        )
        os.close(told)
        assert shell.stdin is not None

        def run(text: str) -> tuple[str, Path, str]:
            """Return the exit code, the working directory afterwards, and what was printed."""
            command.write_text(f"{text}\n", encoding="utf-8")
            end = f'echo "$? $PWD" >&{told}'
            shell.stdin.write(f'{{ . "{command}"; }} >"{output}" 2>&1 </dev/null; {end}\n')  # type: ignore[union-attr]
            shell.stdin.flush()  # type: ignore[union-attr]
            code, _, where = codes.readline().strip().partition(" ")
            return code, Path(where), output.read_text(encoding="utf-8")

        found = []
        with os.fdopen(answers) as codes:
            where = run(f'[ ! -e "{state}" ] || . "{state}"; cd')[1]
            for step in steps:
                if isinstance(step, Written):
                    (where / step.name).write_text(step.text, encoding="utf-8")
                    continue
                text = step.text
                for old, new in replaced.items():
                    text = text.replace(old, new)
                code, where, said = run(text)
                if code != "0" or (step.prints and not prints(step.prints, said)):
                    found.append(f"line {step.line}: {text}\nends with {code or 'the shell itself'} and prints\n{said}")
            if keep:
                run(f'export -p >"{state}"')
            shell.stdin.close()
            shell.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # what a section has left running
        return found


# What comes from elsewhere


def submission(name: str) -> str:
    return (ROOT / "fixtures" / "submissions" / name / "lab01.py").read_text(encoding="utf-8")


RIGHT, LATE = submission("right"), submission("half_done")
KNOWN = submission("one_known_mistake").replace("return 0.6, 0.8", "return 0.605, 0.8")  # two digits are right
CLASS = [("Ann Lee", "S123", RIGHT), ("Bob Smith", "S124", KNOWN), ("Eve Evans", "S125", LATE)]
CANVAS = {
    "leeann_340936_2_lab01.py": RIGHT,
    "smithbob_340934_1_lab01-1.py": KNOWN,
    "evanseve_LATE_340938_3_lab01.py": LATE,
}
GRADEBOOK = """\
Student,ID,SIS User ID,SIS Login ID,Section,lab01 Forward noise process (12345)
    Points Possible,,,,,100
"Smith, Bob",340934,S124,bsmith,1,
"Lee, Ann",340936,S123,alee,1,
"Evans, Eve",340938,S125,eevans,1,
"Kim, Zoë",340939,S126,zkim,1,
"""
ROSTER = """\
Name,ID,Email
Ann Lee,S123,a@x.example
Bob Smith,S124,b@x.example
Eve Evans,S125,e@x.example
Zoë Kim,S126,z@x.example
"""
TIMES = ("2026-11-22 18:04:12 Z", "2026-11-22 22:10:00 Z", "2026-11-24 09:30:00 Z")


def zipped(path: Path, files: Mapping[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def repository(folder: Path, source: str) -> None:
    """A repository in which `lab01.py` is the newest commit."""
    if not folder.exists():
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main")
        git(folder, "commit", "-q", "--allow-empty", "-m", "begin")
    (folder / "lab01.py").write_text(source, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "lab01")


def handed_in(home: Path) -> None:
    """Lay what the page speaks of where it says that it lies."""
    downloads = home / "Downloads"
    downloads.mkdir()
    zipped(downloads / "submissions.zip", CANVAS)
    (downloads / "gradebook.csv").write_bytes(GRADEBOOK.replace("\n", "\r\n").encode())
    (downloads / "class.csv").write_text(ROSTER, encoding="utf-8")
    zipped(downloads / "one.zip", {"ann/lab01.py": RIGHT})
    about, files = "", {}
    for number, ((name, sid, source), at) in enumerate(zip(CLASS, TIMES, strict=True), 101):
        about += f"submission_{number}:\n  :submitters:\n  - :name: {name}\n    :sid: {sid}\n  :created_at: {at}\n"
        files[f"export/submission_{number}/lab01.py"] = source
    zipped(downloads / "gradescope.zip", {"export/submission_metadata.yml": about, **files})
    (home / "students.token").write_text("a-token\n")
    (home / "path" / "to").mkdir(parents=True)
    (home / "path" / "to" / "lab01.py").write_text(KNOWN, encoding="utf-8")
    (home / "lab01.py").write_text(RIGHT, encoding="utf-8")
    repository(home / "submission", RIGHT)


# What stands in for what is not here

PYTHON3 = """\
#!/bin/sh
# A new environment downloads nothing: it finds the libraries, and pip, where the tests' own has them.
case "$*" in
"-m venv "*)
  "{python}" -m venv --without-pip "$3"
  for place in "$3"/lib/python*/site-packages; do printf '%s\\n' {libraries} >"$place/libraries.pth"; done
  printf '#!/bin/sh\\nexec "${{0%%/*}}/python" -m pip "$@"\\n' >"$3/bin/pip"
  chmod +x "$3/bin/pip"
  ;;
*) exec "{python}" "$@" ;;
esac
"""
DASK = '#!/bin/sh\nexec python -m dask "$@"\n'  # pip leaves it out, since Dask is "installed" already
SUDO = '#!/bin/sh\necho "what needs root is not done here: $*"\n'
ID = "#!/bin/sh\necho 1000\n"  # nobody is root, so that isolation.sh asks sudo
SRUN = """\
#!/bin/bash
# A command a task, all of them here; whoever ends srun ends them.
if [[ $1 == --nodes=1 ]]; then shift; SLURM_NNODES=1; fi
trap 'kill $(jobs -p); wait; exit 143' TERM
for ((node = 0; node < SLURM_NNODES; node++)); do "$@" & done
code=0
for job in $(jobs -p); do wait "$job" || code=$?; done
exit $code
"""
SBATCH = """\
#!/bin/bash
# Runs a job to its end: as many nodes as it asks for, each of them this machine with one core. As Slurm does, it runs a
# copy of the script, in the folder from which it was submitted.
[[ $1 == --wait ]] || exit 2
spool=$(mktemp -d)
cp "$2" "$spool/slurm_script"
SLURM_NNODES=$(sed -n 's/^#SBATCH --nodes=//p' "$2")
export SLURM_NNODES SLURM_CPUS_PER_TASK=1 SLURMD_NODENAME=localhost
shift 2
echo "Submitted batch job 4711"
code=0
bash "$spool/slurm_script" "$@" >slurm-4711.out 2>&1 </dev/null || code=$?
rm -r "$spool"
exit $code
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, list[str]]:
    """The machine after the page's first section, and what was wrong with that."""
    root = tmp_path_factory.mktemp("instructor")
    machine = Machine(root / "home", root / "programs", root / "server")
    for folder in (machine.home, machine.programs, machine.server):
        folder.mkdir()
    libraries = " ".join(f"'{one}'" for one in sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    python = PYTHON3.format(python=getattr(sys, "_base_executable", sys.executable), libraries=libraries)
    programs = {"python3": python, "dask": DASK, "sudo": SUDO, "id": ID, "srun": SRUN, "sbatch": SBATCH}
    for name, text in programs.items():
        (machine.programs / name).write_text(text, encoding="utf-8")
        (machine.programs / name).chmod(0o755)
    hosts = "".join(f"\tinsteadOf = {host}\n" for host in HOSTS)
    own = f'[user]\n\tname = I\n\temail = i@x.example\n[url "file://{machine.server}/"]\n{hosts}'
    (machine.home / ".gitconfig").write_text(own, encoding="utf-8")
    copy = root / "alphabar"
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copyfile(ROOT / name, copy / name)
    git(copy, "init", "-q", "-b", "main")
    git(copy, "add", "-A")
    git(copy, "commit", "-q", "-m", "alphabar")
    git(machine.server, "clone", "-q", "--bare", str(copy), "OWNER/alphabar.git")
    for name in ("course", "student-edition"):
        git(machine.server, "init", "-q", "--bare", f"OWNER/{name}.git")
    wrong = machine.complaints(sections(PAGE.read_text(encoding="utf-8"))[START], {}, keep=True)
    for name, _, source in CLASS:  # students make theirs from the edition
        work = root / name
        git(root, "clone", "-q", str(machine.home / "student-edition.git"), str(work))
        repository(work, source)
        git(machine.server, "clone", "-q", "--bare", str(work), f"{name.split()[0].lower()}/diffusion")
    handed_in(machine.home)
    shutil.copytree(machine.home, root / "kept", symlinks=True)
    return machine, wrong


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


TYPED = sections(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("heading", TYPED)
def test_every_command_of_the_page_does_what_it_says(started: tuple[Machine, list[str]], heading: str) -> None:
    machine, wrong = started
    assert wrong == [], "\n\n".join(wrong)
    if heading == START:
        assert not (machine.home / "student-edition" / "templates" / "cluster").exists()
        return
    if "grade.sbatch" in str(TYPED[heading]) or "tls.sh" in str(TYPED[heading]):
        pytest.importorskip("distributed", reason="needs Dask: pip install 'alphabar[cluster]'")
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl, which makes the certificate")
    shutil.rmtree(machine.home)
    shutil.copytree(machine.home.parent / "kept", machine.home, symlinks=True)
    replaced = {":8786": f":{(port := free_port())}", "--port 8786": f"--port {port}"}
    if not all(state is True for state in probe().values()):
        replaced |= {" --require-sandbox": ""}  # a machine without every layer types the rest
    wrong = machine.complaints(TYPED[heading], replaced)
    assert wrong == [], "\n\n".join(wrong)


def test_the_three_ways_are_there_and_no_fence_is_left_out() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [heading.split(":")[0] for heading in TYPED][:4] == [START, "A lecture hall", "GitHub", "A Slurm cluster"]
    fences = len(re.findall(r"^ *```[a-z]*$", page, re.MULTILINE)) // 2
    blocks = {step.line for steps in TYPED.values() for step in steps if isinstance(step, Typed)}
    files = sum(isinstance(step, Written) for steps in TYPED.values() for step in steps)
    assert len(blocks) + files == fences
    commands = [step.text for steps in TYPED.values() for step in steps if isinstance(step, Typed)]
    assert set(re.findall(r"^ *\$ (.+)$", page, re.MULTILINE)) <= set(commands)


BAD = """\
## One

```console
$ echo one; echo two
one
...
$ cd /
$ pwd
/
$ false
$ echo "as it is"
as it … not
```
"""


def test_a_command_that_fails_or_prints_something_else_would_be_seen(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home", tmp_path / "programs", tmp_path)
    machine.home.mkdir()
    machine.programs.mkdir()
    wrong = machine.complaints(sections(BAD)["One"], {})
    assert wrong == [
        "line 3: false\nends with 1 and prints\n",
        'line 3: echo "as it is"\nends with 0 and prints\nas it is\n',
    ]


@pytest.mark.parametrize(
    ("shown", "output", "same"),
    [
        (["a", "b"], "a\nb\n", True),
        (["a"], "a\nb\n", False),
        (["..."], "", True),
        (["a", "...", "d"], "a\nb\nc\nd\n", True),
        (["a", "...", "d"], "a\nb\nc\n", False),
        (["took … s"], "took 1.5 s\n", True),
        (["took … s"], "took 1.5\n s\n", False),
        (["a.c"], "abc\n", False),
    ],
)
def test_what_the_page_shows_is_compared_by_lines(shown: list[str], output: str, same: bool) -> None:
    assert prints(shown, output) is same
