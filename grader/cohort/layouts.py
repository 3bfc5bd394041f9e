"""How submissions lie in a folder or an archive, by who exported them: which files are whose, and when they came."""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from grader.cohort import archives
from grader.cohort.archives import MAX_INNER_BYTES, Member
from grader.cohort.git import ask
from grader.cohort.records import Layout
from grader.cohort.roster import Person
from grader.errors import SubmissionError, UsageError
from grader.text import clean_name

METADATA = "submission_metadata.yml"
MAX_METADATA = 64 << 20  # Gradescope puts every result of every attempt into it

# Canvas takes numbers that stand between two underscores out of a file's name, so the last two in a row are its own:
# the user's, or the group's, and the file's. Whatever stands before them is the name, which may hold numbers.
_CANVAS = re.compile(
    r"(?P<name>.+?)(?P<late>_LATE)?_(?P<uid>\d+)_(?P<sub>\d+)_(?P<stem>(?!(?:.*_)?\d+_\d+_)(?!\d+_).+?)(?:-(?P<again>\d+))?"
    r"(?P<ext>\.\w+)?"
)
_CANVAS_ANONYMOUS = re.compile(
    r"(?P<late>LATE_)?(?P<name>anon)(?P<late2>_LATE)?_(?P<uid>[A-Za-z0-9]{5})_(?P<sub>\d+)_(?P<stem>.+?)"
    r"(?:-(?P<again>\d+))?(?P<ext>\.\w+)?"
)
_CANVAS_TYPED = re.compile(
    r"(?P<late0>LATE_)?(?P<name>.+?)(?P<late>_LATE)?_(?P<uid>\d+|(?<=anon_)[A-Za-z0-9]{5})_(?P<kind>text|link)\.html"
)
# From the left: what follows the first of these is a file's name, and the student's own word.
_MOODLE = re.compile(r"(?P<name>.+?)_(?P<pid>\d+)_assignsubmission_(?P<plugin>file|onlinetext)_?(?P<rest>.*)", re.S)
# What Moodle calls somebody whose name is not shown.
_PARTICIPANT = re.compile(
    r"(participa?nte?|partecipante|teilnehmer(/-?in)?|teilnehmende|deelnemer|deltager|deltagare|deltaker|osallistuja"
    r"|uczestnik|ú?u?častník|účastník|résztvevő|katılımcı|участник|учасник|参加者|参与者|參與者|참가자)",
    re.IGNORECASE,
)
_GROUP = re.compile(r"(?P<group>.+)-(?P<name>[^-]+ .+)")
# The time is in the teacher's language, with a clock of 12 or 24 hours; what all have is a year.
_BRIGHTSPACE = re.compile(r"(?P<uid>\d+)-(?P<rest>\d+) - (?P<name>.+) - (?P<when>(?=.*\b\d{4}\b).+)")
_SAKAI = re.compile(r"(?P<name>[^()]+)\((?P<eid>[^()]+)\)")
_ATTACHED = "submission attachment(s)"
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
    group: str = ""  # what stands before the label, where that may be a group and may be the first half of a name
    parts: int = 1  # how many handed in, of a team
    rows: set[int] = field(default_factory=set)  # of the class list, once that is known
    known_as: list[str] = field(default_factory=list)  # what else the key file may know it by
    earlier: int = 0  # attempts that the LMS counts but did not export


@dataclass
class Sorted:
    """All of it, and what belongs to nobody."""

    layout: Layout
    handed: list[Handed]
    ignored: list[str]
    notes: list[str] = field(default_factory=list)


def sort(
    members: Sequence[Member],
    path: Path,
    layout: str,
    lab_id: str,
    zone: tzinfo | None,
    stack: contextlib.ExitStack,
    trust_tags: bool = False,
) -> Sorted:
    """Detect the layout where it is "auto", and group the members by student.

    `zone` is the time zone of times that an LMS writes without one (Brightspace's folder names). `trust_tags`: a server
    makes the `submit/` tags of clones, and no student can. An export inside an export stays open as long as `stack`.
    """
    ignored = [str(m.refused) for m in members if m.leads_out]
    ignored += [f"{clean_name(m.parts[-2])}: results that `grade cohort` wrote" for m in members if m.ours]
    members = [m for m in members if not m.ours]
    members, wrapper = _unwrapped([m for m in members if not m.leads_out], lab_id, ignored, stack)
    notes = [f"looked through {'/'.join(clean_name(name) for name in wrapper)}"] if wrapper else []
    root = path.joinpath(*wrapper) if path.is_dir() and not any(name.endswith(".zip") for name in wrapper) else None
    ignored += sorted({clean_name(m.parts[0]) for m in members if m.below_top_junk})
    # Junk inside a student's folder is left out without a word: nobody wants 300 lines about .DS_Store. Where there is
    # nothing else, the folder stays: a student without a file.
    members = [m.marker() if m.is_junk else m for m in members if not m.below_top_junk]
    tops = {m.parts[0] for m in members}
    slug = _slug(tops, [*reversed(wrapper), path.stem if path.is_file() else path.name], lab_id)
    found = _detected(members, tops, root, slug) if layout == "auto" else layout
    match found:
        case "canvas":
            handed = _canvas(members, ignored)
        case "moodle":
            handed = _moodle(members, ignored)
        case "gradescope":
            handed = _gradescope(members, ignored)
        case "brightspace":
            handed = _brightspace(members, ignored, zone)
        case "classroom" | "git":
            handed = _repositories(members, root, (slug or "") if found == "classroom" else "", ignored, trust_tags)
        case "sakai":
            handed = _sakai(members, ignored)
        case "folders":
            handed = _folders(members, ignored)
        case _:
            raise UsageError(f"there is no layout {layout!r}.")
    return Sorted(found, handed, ignored, notes)


# What people and systems call a folder or an archive of a whole class.
_OF_A_CLASS = re.compile(
    r"(all[ _-]?)?(bulk[ _-]?)?(submissions?|downloads?|exports?|assignments?|uploads?|abgaben?|entregas?|rendus?)"
    r"([ _-]?\d+|\(\d+\))?",
    re.IGNORECASE,
)


def _unwrapped(
    members: Sequence[Member], lab_id: str, ignored: list[str], stack: contextlib.ExitStack
) -> tuple[list[Member], tuple[str, ...]]:
    """Step into a folder or a zip file that holds everything else: `assignment_9100_export/`, `submissions/`.

    The only student's own folder is no wrapper: a wrapper holds folders, or files whose names an LMS made.
    """
    members = list(members)
    wrapper: tuple[str, ...] = ()
    while True:
        real = [m for m in members if not m.is_junk]
        # What lies beside it and is nobody's work, a list or a page of the LMS, does not count.
        beside = {m.parts[0] for m in real if len(m.parts) == 1 and not m.is_work and m.parts[0] != METADATA}
        tops = {m.parts[0] for m in real} - beside
        if len(tops) != 1 or _of_an_lms(top := next(iter(tops))):
            return members, wrapper
        own = [m for m in real if m.parts[0] == top]
        if len(own) == 1 and len(own[0].parts) == 1:
            inside = archives.wrapped(own[0], stack) if own[0].is_archive else None
            if inside is None or not _holds_class(inside, top, lab_id):
                return members, wrapper
        else:
            inside = [m.below(1) for m in members if m.parts[0] == top and len(m.parts) > 1]
            if any(len(m.parts) == 1 for m in own) or not _is_class(inside, top, lab_id):
                return members, wrapper
        ignored += sorted(clean_name(name) for name in beside)
        wrapper += (top,)
        ignored += [str(m.refused) for m in inside if m.leads_out]
        members = [m for m in inside if not m.leads_out]


def _holds_class(inside: Sequence[Member], top: str, lab_id: str) -> bool:
    """Tell whether an archive within an archive is a class, or a folder that is one."""
    tops = {m.parts[0] for m in inside if not m.below_top_junk}
    if len(tops) == 1 and all(len(m.parts) > 1 for m in inside) and not _is_class(inside, top, lab_id):
        return _is_class([m.below(1) for m in inside], next(iter(tops)), lab_id)
    return _is_class(inside, top, lab_id)


def _is_class(inside: Sequence[Member], top: str, lab_id: str) -> bool:
    """Tell whether what lies in the folder or archive `top` is a class, and not one student's work."""
    real = [m for m in inside if not m.is_junk and m.parts != ("",)]
    tops = {m.parts[0] for m in real}
    if any(name == METADATA or _of_an_lms(name) for name in tops):
        return True
    loose = [m for m in real if len(m.parts) == 1]
    folders = tops - {m.parts[0] for m in loose}
    code = [m for m in loose if m.is_work and not (m.is_archive or m.is_other_archive)]
    packed = {m.parts[0] for m in loose if m.is_archive or m.is_other_archive}
    if code:  # one student's files, unless the name says that they are a class's
        named = any(lab_id in m.parts[0].lower() for m in code)
        stem = re.sub(r"\.\w+\Z", "", top)
        return len(code) + len(packed) + len(folders) > 1 and not named and _OF_A_CLASS.fullmatch(stem) is not None
    if loose and not packed:  # beside a README or a table of grades: folders with work in them
        folders = {m.parts[0] for m in real if len(m.parts) > 1 and m.is_work}
    if len(folders) + len(packed) == 1 and not packed:
        return any(_SAKAI.fullmatch(name) for name in folders)
    return len(folders) + len(packed) > 1


def _of_an_lms(name: str) -> bool:
    patterns = (_CANVAS, _CANVAS_ANONYMOUS, _CANVAS_TYPED, _MOODLE, _BRIGHTSPACE)
    return any(pattern.fullmatch(name) for pattern in patterns) or bool(re.fullmatch(r"submission_\d+", name))


def _slug(tops: set[str], names: Sequence[str], lab_id: str) -> str | None:
    """Return what GitHub Classroom put before every user's name, with its hyphen; None where these are not its folders.

    It is believed only where all folders share it and each has another name behind it.
    """
    folders = {top for top in tops if lab_id in top.lower()}
    if not folders:
        return None
    candidates = [f"{name.removesuffix('-submissions')}-" for name in names]
    if found := re.match(rf".*?{re.escape(lab_id)}[^-]*-", min(folders), re.IGNORECASE):
        candidates.append(found[0])
    for slug in candidates:
        if all(name.casefold().startswith(slug.casefold()) and len(name) > len(slug) for name in folders):
            return slug
    return None


def _detected(members: Sequence[Member], tops: set[str], root: Path | None, slug: str | None) -> str:
    files = {m.parts[0] for m in members if len(m.parts) == 1}

    def most(names: Iterable[str], *patterns: re.Pattern[str]) -> bool:
        names = list(names)
        return 2 * sum(any(p.fullmatch(n) for p in patterns) for n in names) > len(names)

    if METADATA in files:
        return "gradescope"
    if tops and most(tops, _MOODLE):
        return "moodle"
    if tops and most(tops, _CANVAS, _CANVAS_ANONYMOUS, _CANVAS_TYPED):
        return "canvas"
    if tops - files and most(tops - files, _BRIGHTSPACE):
        return "brightspace"
    folders = tops - files
    if folders and slug is not None and all(name.casefold().startswith(slug.casefold()) for name in folders):
        return "classroom"
    attached = {m.parts[0] for m in members if len(m.parts) > 2 and m.parts[1].casefold() == _ATTACHED}
    if attached and most(folders, _SAKAI):
        return "sakai"
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
        if top in alone and len(alone) < len(groups) and not group[0].is_work and group[0].refused is None:
            ignored.append(clean_name(top))
        else:
            handed.append(_folder(top, group))
    return handed


def stem(name: str) -> str:
    """Return a file's name without what says its kind: s001.tar.gz and s001.py are s001's."""
    return re.sub(r"\.(py(\.txt)?|ipynb|zip|tar(\.\w+)?|tgz|rar|7z|gz)\Z", "", name, flags=re.IGNORECASE)


def _folder(name: str, members: list[Member], note: str = "") -> Handed:
    attempt = Attempt(name, clean_name(name), _inside(members), notes=[note] if note else [])
    label = stem(name) if len(members[0].parts) == 1 else name
    return Handed(f"folder:{name}", [Person()], [attempt], label)


def _canvas(members: Sequence[Member], ignored: list[str]) -> list[Handed]:
    handed: dict[str, Handed] = {}
    for top, group in _by_top(members).items():
        typed = _CANVAS_TYPED.fullmatch(top)
        found = _CANVAS_ANONYMOUS.fullmatch(top) or typed or _CANVAS.fullmatch(top)
        if found is None:
            handed[f"folder:{top}"] = _folder(top, group, "Its name is not one that Canvas gives.")
            continue
        told, uid = found.groupdict(), found["uid"]
        anonymous = found["name"].startswith("anon") and not uid.isdecimal()
        person = Person(name="" if anonymous else found["name"], lms=f"canvas:{uid}")
        one = handed.setdefault(uid, Handed(f"canvas:{uid}", [person], [Attempt(top, uid)]))
        attempt = one.attempts[0]
        attempt.late = attempt.late or any(told.get(name) for name in ("late", "late2", "late0"))
        if typed is not None:
            what = "text typed into Canvas" if typed["kind"] == "text" else "a link"
            ignored.append(f"{uid}_{typed['kind']}.html: {what} is not graded")
            attempt.notes.append(f"It is {what}, or that came beside the files; only files are graded.")
            continue
        again = int(found["again"] or 0)
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
    names: dict[str, set[str]] = {}  # a name -> the numbers of all who have it
    for top in {m.parts[0] for m in members}:
        if found := _MOODLE.fullmatch(top):
            names.setdefault(found["name"], set()).add(found["pid"])
    for top, group in _by_top(members).items():
        found = _MOODLE.fullmatch(top)
        if found is None:
            handed[f"folder:{top}"] = _folder(top, group, "Its name is not one that Moodle gives.")
            continue
        if found["plugin"] == "onlinetext":
            ignored.append(f"{found['pid']}_assignsubmission_onlinetext: text typed into Moodle is not graded")
            continue
        pid, rest = found["pid"], found["rest"]
        # Participant_657721_…, in Moodle's language: one word, and the same for everybody.
        blind = _PARTICIPANT.fullmatch(found["name"]) is not None or (
            len(names) == 1 and len(names[found["name"]]) > 1 and re.fullmatch(r"\S+", found["name"]) is not None
        )
        unread = archives.is_unread(found["name"])
        folder, bare = top, found.group()[found.end("name") + 1 :]
        if rest and all(len(m.parts) == 1 for m in group):  # flat: the file's name follows
            folder, bare = top[: found.start("rest")], bare[: len(bare) - len(rest)]
        person = Person(name="" if blind or unread else found["name"], lms=f"moodle:{pid}")
        # Team work, and what was exported for one group: "Group A-Ricky Dindial". Or a first name with a hyphen.
        grouped = _GROUP.fullmatch(found["name"])
        label, before = (grouped["name"], grouped["group"]) if grouped else ("", "")
        if pid not in handed:
            handed[pid] = Handed(f"moodle:{pid}", [person], [Attempt(folder, clean_name(bare))], label, before)
            if unread:
                handed[pid].attempts[0].notes.append("The name in the export cannot be read; its number counts.")
        one = handed[pid]
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
        # A name alone is nobody's own: then the number has to do.
        certain = all(p.email or p.sid for p in people)
        identity = "+".join(sorted(p.email or p.sid for p in people)) if certain else top
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
        try:
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
        except OverflowError:  # at the calendar's end
            return None
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
        if local is None:
            attempt.notes.append("Brightspace's time could not be read; whether it is late is not known.")
        one = handed.setdefault(
            uid, Handed(f"brightspace:{uid}", [Person(name=found["name"].strip(), lms=f"brightspace:{uid}")], [])
        )
        one.attempts.append(attempt)
    return list(handed.values())


# The months' beginnings in English, German, French, Spanish, Portuguese, Italian, Dutch, Swedish and Polish.
_MONTHS = [
    "jan ene gen sty",
    "feb fev lut",
    "mar mae maa mrt",
    "apr avr abr kwi",
    "may mai mei mag maj",
    "jun juin giu cze",
    "jul juil lug lip",
    "aug aou ago sie",
    "sep set wrz",
    "oct okt ott out paz",
    "nov lis",
    "dec dez dic des gru",
]


def _brightspace_time(text: str) -> datetime | None:
    """Read "Nov 22, 2026 604 PM" and "22 nov. 2026 18 04"; None where the month or the order is another."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    words = re.findall(r"[^\W\d_]+|\d+", bare)
    words = [word for word in words if word not in ("de", "del", "kl", "um", "at", "a", "h", "uhr", "om")]
    half = {"am": 0, "pm": 12}.get(words[-1]) if words else None
    words = words[:-1] if half is not None else words
    if len(words) > 1 and words[1].isdecimal():
        words[:2] = words[1::-1]  # the day first
    if len(words) not in (4, 5) or not all(word.isdecimal() for i, word in enumerate(words) if i != 1):
        return None
    month = [n for n, known in enumerate(_MONTHS, 1) if words[1].startswith(tuple(known.split()))]
    digits = "".join(word.zfill(2) for word in words[3:])
    if len(month) != 1 or len(digits) not in (3, 4):
        return None
    hour, minute = int(digits[:-2]), int(digits[-2:])
    if (half is not None and not 1 <= hour <= 12) or not 1990 < int(words[2]) < 2200:
        return None
    try:
        return datetime(int(words[2]), month[0], int(words[0]), hour if half is None else hour % 12 + half, minute)
    except ValueError:
        return None


def _sakai(members: Sequence[Member], ignored: list[str]) -> list[Handed]:
    """`Last, First(eid)/Submission attachment(s)/lab01.py`; beside it Sakai's own time, comments and feedback."""
    handed = []
    for top, group in _by_top(members).items():
        found = _SAKAI.fullmatch(top)
        if len(group[0].parts) == 1 and not group[0].is_work:
            ignored.append(clean_name(top))
        elif found is None or len(group[0].parts) == 1:
            handed.append(_folder(top, group, "Its name is not one that Sakai gives."))
        else:
            files = [m for m in group if len(m.parts) > 2 and m.parts[1].casefold() == _ATTACHED and not m.is_folder]
            attempt = Attempt(top, clean_name(found["eid"]), [File(m, m.name) for m in (m.below(2) for m in files)])
            person = Person(name=found["name"].strip(), login=found["eid"])
            handed.append(Handed(f"sakai:{found['eid']}", [person], [attempt], found["eid"]))
    return handed


def _repositories(
    members: Sequence[Member], root: Path | None, slug: str, ignored: list[str], trust_tags: bool
) -> list[Handed]:
    handed: dict[str, Handed] = {}
    for top, group in _by_top(members).items():
        if len(group[0].parts) == 1:
            if group[0].is_work:
                handed[top] = _folder(top, group, "It lies beside the repositories.")
            else:
                ignored.append(clean_name(top))
            continue
        user = top[len(slug) :] if slug and top.casefold().startswith(slug.casefold()) else top
        git = root / top / ".git" if root is not None else None
        attempts = [Attempt(top, clean_name(top), _inside(group))]
        if git is not None and git.is_dir() and not git.is_symlink():
            if why := _leads_elsewhere(git):
                attempts[0].notes.append(f"Its .git {why}; the files beside it were taken.")
            else:
                attempts = _attempts(git, top, trust_tags)
        # One user, one clone: a second folder of that name is somebody else until a person has looked.
        identity = f"git:{user}" if f"git:{user}" not in handed else f"folder:{top}"
        handed[identity] = Handed(identity, [Person(login=user)], attempts, user)
    return list(handed.values())


def _leads_elsewhere(git: Path) -> str | None:
    """Say why a handed-in .git is not read: git would follow what it names out of it, to other people's objects."""
    for name in ("objects/info/alternates", "objects/info/http-alternates", "commondir", "gitdir", "worktrees"):
        if os.path.lexists(git / name):
            return f"names another repository ({name})"
    folders, seen = [git], 0
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            return "cannot be read"
        seen += len(entries)
        if seen > archives.MAX_MEMBERS:
            return f"holds more than {archives.MAX_MEMBERS} files"
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                return "holds a link, or something that is no file"
    return None


def _attempts(git: Path, name: str, trust_tags: bool) -> list[Attempt]:
    """One attempt for each `submit/<UTC>-<commit>` tag where a server makes them, else what HEAD holds."""
    listed = ask(git, "for-each-ref", "--format=%(refname:short) %(objectname) %(*objectname)", "refs/tags/submit/")
    attempts, notes = [], []
    lines = listed.decode("utf-8", "replace").splitlines()
    if lines and not trust_tags:
        notes.append("It has submit tags, and nobody said who makes them (--submit-tags); they judge nothing.")
        lines = []
    for line in lines:
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
        head.notes.append("Its last commit was taken; when that was pushed is not known.")
        attempts = [head]
    for attempt in attempts:
        attempt.notes += notes
    return attempts


def _tree(git: Path, commit: str) -> list[File]:
    files = []
    for line in ask(git, "ls-tree", "-r", "-l", "-z", commit, "--").split(b"\0"):
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
            lambda blob=blob: BytesIO(ask(git, "cat-file", "blob", blob)),  # type: ignore[misc]
            refused,
        )
        if kind == "blob" and not member.is_junk:
            files.append(File(member, member.name))
    return files
