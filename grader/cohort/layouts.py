"""How submissions lie in a folder or an archive, by who exported them: which files are whose, and when they came."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from grader.cohort.archives import MAX_INNER_BYTES, Member
from grader.cohort.records import Layout
from grader.cohort.roster import Person
from grader.errors import SubmissionError, UsageError
from grader.text import clean_name

METADATA = "submission_metadata.yml"
MAX_METADATA = 64 << 20  # Gradescope puts every result of every attempt into it

_CANVAS = re.compile(
    r"(?P<name>[^_]+)_(?:(?P<late>LATE)_)?(?P<uid>\d+)_(?P<sub>\d+)_(?P<stem>.+?)(?:-(?P<again>\d+))?(?P<ext>\.\w+)?"
)
_CANVAS_ANONYMOUS = re.compile(
    r"(?P<name>anon)_(?:(?P<late>LATE)_)?(?P<uid>\w{5})_(?P<sub>\d+)_(?P<stem>.+?)(?:-(?P<again>\d+))?(?P<ext>\.\w+)?"
)
_MOODLE = re.compile(r"(?P<name>.+)_(?P<pid>\d+)_assignsubmission_(?P<plugin>file|onlinetext)_?(?P<rest>.*)", re.S)
_BRIGHTSPACE = re.compile(
    r"(?P<uid>\d+)-(?P<rest>\d+) - (?P<name>.+) - (?P<when>\w{3,9} \d{1,2}, \d{4} \d{1,2}:?\d{2} [AP]M)"
)
_TAG = re.compile(
    r"submit/(\d{4})-?(\d\d)-?(\d\d)T(\d\d)[-:]?(\d\d)[-:]?(\d\d)(?:\.\d+)?Z?-(?P<commit>[0-9a-f]{7,40})\Z"
)


@dataclass(frozen=True, slots=True)
class File:
    """A file of an attempt. `order`: the LMS's own, newest largest; 0 where there is none."""

    member: Member
    filename: str
    order: tuple[int, ...] = (0,)
    whole: str = ""  # the member's full name, where one file is one submission
    shown: str = ""


@dataclass(slots=True)
class Attempt:
    """What was handed in at one time."""

    whole: str  # the name in full; feedback goes back under it
    shown: str  # the same without the person's name
    files: list[File] = field(default_factory=list)
    submitted_at: datetime | None = None
    late: bool = False
    order: tuple[int, ...] = (0,)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Handed:
    """Everything that one student, or one group, handed in."""

    identity: str
    people: list[Person]
    attempts: list[Attempt]
    label: str = ""  # a folder's name, which may be any of a student's identifiers
    earlier: int = 0  # attempts that the LMS counts but did not export


@dataclass
class Sorted:
    """All of it, and what belongs to nobody."""

    layout: Layout
    handed: list[Handed]
    ignored: list[str]


def sort(members: Sequence[Member], path: Path, layout: str, lab_id: str, zone: tzinfo | None) -> Sorted:
    """Detect the layout where it is "auto", and group the members by student.

    `zone` is the time zone of times that an LMS writes without one (Brightspace's folder names).
    """
    ignored = [str(m.refused) for m in members if m.leads_out]
    members = [m for m in members if not m.leads_out]
    members, wrapper = _unwrapped(members)
    root = path.joinpath(*wrapper) if path.is_dir() else None
    ignored += sorted({clean_name(m.parts[0]) for m in members if m.below_top_junk})
    # Junk inside a student's folder is left out without a word: nobody wants 300 lines about .DS_Store. Where there is
    # nothing else, the folder stays: a student without a file.
    members = [m.marker() if m.is_junk else m for m in members if not m.below_top_junk]
    tops = {m.parts[0] for m in members}
    found = _detected(members, tops, root, lab_id) if layout == "auto" else layout
    match found:
        case "canvas":
            handed = _canvas(members)
        case "moodle":
            handed = _moodle(members, ignored)
        case "gradescope":
            handed = _gradescope(members, ignored)
        case "brightspace":
            handed = _brightspace(members, ignored, zone)
        case "classroom" | "git":
            handed = _repositories(members, root, lab_id, wrapper, ignored, found == "classroom")
        case "folders":
            handed = _folders(members, ignored)
        case _:
            raise UsageError(f"there is no layout {layout!r}.")
    return Sorted(found, handed, ignored)


def _unwrapped(members: Sequence[Member]) -> tuple[list[Member], tuple[str, ...]]:
    """Step into a folder that holds everything else: `assignment_9100_export/`, `lab01-submissions/`.

    The only student's own folder is no wrapper: a wrapper holds folders, or files whose names an LMS made.
    """
    members = list(members)
    wrapper: tuple[str, ...] = ()
    while True:
        real = [m for m in members if not m.is_junk]
        tops = {m.parts[0] for m in real}
        if len(tops) != 1 or any(len(m.parts) < 2 for m in real) or _of_an_lms(next(iter(tops))):
            return members, wrapper
        inside = [m.parts[1] for m in real if len(m.parts) == 2 and m.parts[1]]
        if not all(name == METADATA or _of_an_lms(name) or name.endswith(".zip") for name in inside):
            return members, wrapper
        if len({m.parts[1] for m in real}) < 2 and not any(_of_an_lms(m.parts[1]) for m in real):
            return members, wrapper  # s017/mine/lab01.py: one folder in one folder
        top = next(iter(tops))
        wrapper += (top,)
        members = [m.below(1) for m in members if m.parts[0] == top and len(m.parts) > 1]


def _of_an_lms(name: str) -> bool:
    patterns = (_CANVAS, _CANVAS_ANONYMOUS, _MOODLE, _BRIGHTSPACE)
    return any(pattern.fullmatch(name) for pattern in patterns) or bool(re.fullmatch(r"submission_\d+", name))


def _detected(members: Sequence[Member], tops: set[str], root: Path | None, lab_id: str) -> str:
    files = {m.parts[0] for m in members if len(m.parts) == 1}

    def most(names: Iterable[str], *patterns: re.Pattern[str]) -> bool:
        names = list(names)
        return 2 * sum(any(p.fullmatch(n) for p in patterns) for n in names) > len(names)

    if METADATA in files:
        return "gradescope"
    if tops and most(tops, _MOODLE):
        return "moodle"
    if tops and most(tops, _CANVAS, _CANVAS_ANONYMOUS):
        return "canvas"
    if tops - files and most(tops - files, _BRIGHTSPACE):
        return "brightspace"
    folders = tops - files
    prefixed = [name for name in folders if re.match(rf".*{lab_id}[^-]*-.", name, re.IGNORECASE)]
    if folders and len(prefixed) == len(folders):
        return "classroom"
    if root is not None and 2 * sum((root / name / ".git").is_dir() for name in folders) > len(folders) > 0:
        return "git"
    return "folders"


def _by_top(members: Iterable[Member]) -> dict[str, list[Member]]:
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(member.parts[0], []).append(member)
    return dict(sorted(groups.items()))


def _inside(members: Iterable[Member]) -> list[File]:
    """The files of a student's folder; of a file that lies loose, the file."""
    below = [m if len(m.parts) == 1 else m.below(1) for m in members]
    return [File(m, m.name) for m in below if not m.is_folder]


def _folders(members: Sequence[Member], ignored: list[str]) -> list[Handed]:
    """One student a folder or a file; beside folders, what is neither code nor an archive is the instructor's."""
    groups = _by_top(members)
    alone = {top for top, group in groups.items() if len(group[0].parts) == 1}
    handed = []
    for top, group in groups.items():
        code = re.search(r"\.(py|ipynb|zip)\Z", top, re.IGNORECASE)
        if top in alone and len(alone) < len(groups) and not code and group[0].refused is None:
            ignored.append(clean_name(top))
        else:
            handed.append(_folder(top, group))
    return handed


def _folder(name: str, members: list[Member], note: str = "") -> Handed:
    attempt = Attempt(name, clean_name(name), _inside(members), notes=[note] if note else [])
    label = re.sub(r"\.(py|zip)\Z", "", name) if len(members[0].parts) == 1 else name
    return Handed(f"folder:{name}", [Person()], [attempt], label)


def _canvas(members: Sequence[Member]) -> list[Handed]:
    handed: dict[str, Handed] = {}
    for top, group in _by_top(members).items():
        found = _CANVAS.fullmatch(top) or _CANVAS_ANONYMOUS.fullmatch(top)
        if found is None:
            handed[f"folder:{top}"] = _folder(top, group, "Its name is not one that Canvas gives.")
            continue
        uid, again = found["uid"], int(found["again"] or 0)
        named = found["name"] != "anon"
        person = Person(name=found["name"] if named else "", lms=f"canvas:{uid}")
        one = handed.setdefault(uid, Handed(f"canvas:{uid}", [person], [Attempt(top, uid)]))
        attempt = one.attempts[0]
        attempt.late = attempt.late or found["late"] is not None
        one.earlier = max(one.earlier, again)
        name = clean_name(found["stem"] + (found["ext"] or ""))
        whole = f"{uid}_{found['sub']}_{clean_name(found['stem'])}{f'-{again}' if again else ''}{found['ext'] or ''}"
        for member in group:
            if not member.is_folder:
                filename = name if len(member.parts) == 1 else member.name
                attempt.files.append(File(member, filename, (again, int(found["sub"])), top, whole))
    return list(handed.values())


def _moodle(members: Sequence[Member], ignored: list[str]) -> list[Handed]:
    handed: dict[str, Handed] = {}
    for top, group in _by_top(members).items():
        found = _MOODLE.fullmatch(top)
        if found is None:
            handed[f"folder:{top}"] = _folder(top, group, "Its name is not one that Moodle gives.")
            continue
        if found["plugin"] == "onlinetext":
            ignored.append(f"{found['pid']}_assignsubmission_onlinetext: text typed into Moodle is not graded")
            continue
        pid, rest = found["pid"], found["rest"]
        blind = re.fullmatch(r"\S+", found["name"]) is not None  # Participant_657721_…, in Moodle's language
        folder, bare = top, found.group()[found.end("name") + 1 :]
        if rest and all(len(m.parts) == 1 for m in group):  # flat: the file's name follows
            folder, bare = top[: found.start("rest")], bare[: len(bare) - len(rest)]
        person = Person(name="" if blind else found["name"], lms=f"moodle:{pid}")
        # Team work, and what was exported for one group: "Group A-Ricky Dindial".
        grouped = re.fullmatch(r".*-(?P<name>[^-]+ .+)", found["name"])
        label = grouped["name"] if grouped else ""
        one = handed.setdefault(pid, Handed(f"moodle:{pid}", [person], [Attempt(folder, clean_name(bare))], label))
        for file in _inside(group):
            one.attempts[0].files.append(
                File(file.member, clean_name(rest) if rest and folder != top else file.filename)
            )
    return list(handed.values())


def _gradescope(members: Sequence[Member], ignored: list[str]) -> list[Handed]:
    groups = _by_top(members)
    ignored.append(METADATA)
    metadata = _metadata(groups.pop(METADATA, []))
    handed: list[Handed] = []
    for top, about in metadata.items():
        people = [
            Person(name=str(one.get(":name") or ""), sid=str(one.get(":sid") or ""), email=str(one.get(":email") or ""))
            for one in _dicts(about.get(":submitters"))
        ] or [Person()]
        # A new attempt has a new number; the group stays the group.
        identity = "+".join(sorted(p.email or p.sid or p.name for p in people)) or top
        attempt = Attempt(top, clean_name(top), _inside(groups.pop(top, [])), _moment(about.get(":created_at")))
        handed.append(Handed(f"gradescope:{identity}", people, [attempt]))
        handed[-1].earlier = max(0, len(_dicts(about.get(":history"))))
    return handed + [_folder(top, group, f"{METADATA} does not know it.") for top, group in groups.items()]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain data; a Ruby object's tag is read past, its content kept."""


def _untagged(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_Loader.add_multi_constructor("!", _untagged)


def _metadata(files: Sequence[Member]) -> dict[str, dict[str, Any]]:
    if not files:
        raise UsageError(f"there is no {METADATA}; Gradescope's export of submissions holds one.")
    try:
        data = yaml.load(files[0].small(MAX_METADATA).decode("utf-8"), Loader=_Loader)  # a SafeLoader
    except (SubmissionError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{METADATA} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{METADATA} lists no submissions.")
    return {str(name): about for name, about in data.items() if isinstance(about, dict)}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace(" UTC", "+00:00"))
        except ValueError:
            return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None


def _brightspace(members: Sequence[Member], ignored: list[str], zone: tzinfo | None) -> list[Handed]:
    handed: dict[str, Handed] = {}
    for top, group in _by_top(members).items():
        found = _BRIGHTSPACE.fullmatch(top)
        if found is None:
            if top == "index.html":
                ignored.append(top)
            else:
                handed[f"folder:{top}"] = _folder(top, group, "Its name is not one that Brightspace gives.")
            continue
        uid = found["uid"]
        local = _brightspace_time(found["when"])
        # The time has no zone: it is the deadline's, or it only orders attempts.
        at = local.replace(tzinfo=zone).astimezone(UTC) if local and zone else None
        order = (int(local.replace(tzinfo=UTC).timestamp()) if local else 0,)
        attempt = Attempt(top, f"{uid}-{found['rest']}", _inside(group), at, order=order)
        one = handed.setdefault(
            uid, Handed(f"brightspace:{uid}", [Person(name=found["name"].strip(), lms=f"brightspace:{uid}")], [])
        )
        one.attempts.append(attempt)
    return list(handed.values())


def _brightspace_time(text: str) -> datetime | None:
    found = re.fullmatch(r"(\w{3})\w* (\d+), (\d+) (\d{1,2}):?(\d\d) ([AP])M", text)
    months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    if found is None or found[1].lower() not in months:
        return None
    hour = int(found[4]) % 12 + (12 if found[6] == "P" else 0)
    try:
        return datetime(int(found[3]), months.index(found[1].lower()) + 1, int(found[2]), hour, int(found[5]))
    except ValueError:
        return None


def _repositories(
    members: Sequence[Member],
    root: Path | None,
    lab_id: str,
    wrapper: Sequence[str],
    ignored: list[str],
    classroom: bool,
) -> list[Handed]:
    slug = re.escape(wrapper[-1].removesuffix("-submissions")) if wrapper else rf".*?{lab_id}[^-]*"
    handed = []
    for top, group in _by_top(members).items():
        if len(group[0].parts) == 1:
            ignored.append(clean_name(top))
            continue
        user = re.sub(rf"\A(?:{slug}|.*?{lab_id}[^-]*)-", "", top, count=1, flags=re.IGNORECASE) if classroom else top
        git = root / top / ".git" if root is not None else None
        if git is not None and git.is_dir() and not git.is_symlink():
            attempts = _attempts(git, top)
        else:
            attempts = [Attempt(top, clean_name(top), _inside(group))]
        handed.append(Handed(f"git:{user}", [Person(login=user)], attempts, user))
    return handed


def _attempts(git: Path, name: str) -> list[Attempt]:
    """One attempt for each `submit/<UTC>-<commit>` tag, else what HEAD holds."""
    listed = _git(git, "for-each-ref", "--format=%(refname:short) %(objectname) %(*objectname)", "refs/tags/submit/")
    attempts, notes = [], []
    for line in listed.decode("utf-8", "replace").splitlines():
        tag, *commits = line.split()
        found = _TAG.match(tag)
        # The tag's name is the server's word; one that names another commit than its own was made by hand.
        if found is None or not commits[-1].startswith(found["commit"]):
            notes.append(f"The tag {clean_name(tag)} does not name the commit it is on; it was left out.")
            continue
        try:
            at = datetime(*(int(found[number]) for number in range(1, 7)), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            notes.append(f"The tag {clean_name(tag)} holds no date; it was left out.")
            continue
        attempts.append(Attempt(name, clean_name(name), _tree(git, commits[-1]), at))
    if not attempts:
        head = Attempt(name, clean_name(name), _tree(git, "HEAD"))
        head.notes.append("It has no submit tag: its last commit was taken; when that was pushed is not known.")
        attempts = [head]
    for attempt in attempts:
        attempt.notes += notes
    return attempts


def _tree(git: Path, commit: str) -> list[File]:
    files = []
    for line in _git(git, "ls-tree", "-r", "-l", "-z", commit, "--").split(b"\0"):
        if not line:
            continue
        about, _, raw = line.partition(b"\t")
        mode, kind, blob, size = about.decode().split()
        parts = tuple(raw.decode("utf-8", "backslashreplace").split("/"))
        refused = None
        if mode == "120000":
            refused = SubmissionError(
                "symlink", f"{clean_name(parts[-1])} is a symbolic link; hand in the file itself."
            )
        elif not size.isdecimal():
            refused = SubmissionError(
                "unreadable", f"{clean_name(parts[-1])} is missing from the clone; clone it again."
            )
        elif int(size) > MAX_INNER_BYTES:  # git would hand over all of it at once
            refused = SubmissionError(
                "too_large", f"{clean_name(parts[-1])} is larger than {MAX_INNER_BYTES >> 20} MiB."
            )
        member = Member(
            parts,
            lambda blob=blob: BytesIO(_git(git, "cat-file", "blob", blob)),  # type: ignore[misc]
            refused,
        )
        if kind == "blob" and not member.is_junk:
            files.append(File(member, member.name))
    return files


def _git(git: Path, *words: str) -> bytes:
    """Ask a clone; b"" when it cannot answer.

    Only commands that run no hooks are asked. An object that is missing is not fetched: that would run what the clone's
    configuration names.
    """
    command = ["git", f"--git-dir={git}", "-c", "protocol.allow=never", *words]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    clean |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, env=clean, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UsageError("git is not installed; it is needed to read clones of repositories.") from None
    except subprocess.TimeoutExpired:
        return b""
    return done.stdout if done.returncode == 0 else b""
