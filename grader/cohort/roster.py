"""Who is who: the class list as the LMS exports it, and the key file that alone joins pseudonyms to people."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from grader.cohort.sheets import Sheet, plain
from grader.errors import UsageError
from grader.results import Model

# What a heading means, by its letters and digits: Canvas's and Moodle's exports, and what people type themselves.
_HEADINGS = {
    "lms": ["id", "canvasid", "canvasuserid", "identifier", "userid", "participant"],
    "sid": ["sisuserid", "sid", "studentid", "studentnumber", "idnumber", "orgdefinedid", "matriculation"],
    "login": ["sisloginid", "login", "loginid", "username", "user", "github", "githubusername"],
    "email": ["email", "emailaddress", "mail"],
    "name": ["student", "name", "fullname", "studentname"],
    "first": ["firstname", "givenname"],
    "last": ["lastname", "surname", "familyname"],
    "extension": ["extension", "due", "deadline"],
    "team": ["team", "teamname"],  # not "group": Moodle's groups are tutorials as often as teams
    "group": ["group", "groups", "section", "sections", "tutorial", "class"],  # what an LMS puts before a name
}
# Participant 657721, in any language; not S123, nor canvas:340934.
_PARTICIPANT = re.compile(r"([^\d:]{5,}|[^\x00-\x7f:]{2,}\s*)(?P<number>\d+)")
MAX_LINES = 50_000  # of a class list
MAX_LIST = 32 << 20  # bytes
_STRONG = ("lms", "sid", "login", "email")
_SYSTEMS = ("canvas", "moodle", "brightspace")


class Person(Model):
    """What identifies one student, as far as the LMS or the roster says."""

    name: str = ""
    lms: str = Field(default="", description="canvas:340934, moodle:657721; a bare number may be any system's.")
    sid: str = ""
    login: str = ""
    email: str = ""

    def joined(self, other: Person) -> Person:
        """Return this person with what only `other` knows."""
        return Person(**{key: mine or getattr(other, key) for key, mine in self})


class Known(Model):
    """One line of the key file."""

    identity: str = Field(description="What the same student is recognised by in the next run.")
    also: list[str] = Field(default=[], description="Every other identity that it has had, newest first.")
    submission: str = Field(default="", description="Name in full, as found: feedback goes back under it.")
    others: list[str] = Field(default=[], description="The names under which the others of a team handed in.")
    people: list[Person] = Field(default=[], description="Several: a group.")


class Key(Model):
    """The key file: pseudonym -> who it is."""

    format_version: int = 1
    lab: str = Field(default="", description="What was graded here.")
    students: dict[str, Known] = Field(default={}, description="By pseudonym.")


@dataclass(frozen=True)
class Enrolled:
    """One student of the class list."""

    person: Person
    due: datetime | None = None  # an extension
    team: str = ""  # who hands in one work for all
    groups: tuple[str, ...] = ()
    lines: int = 1  # of the list; several where somebody is in two sections
    number: int = 0  # among those whom nothing but the name identifies, from the second on

    @property
    def identity(self) -> str:
        """What the key file recognises this student by."""
        own = next(f"{kind}:{value}" for kind in (*_STRONG, "name") if (value := getattr(self.person, kind)))
        return f"{own} ({self.number + 1})" if self.number else own


@dataclass(frozen=True)
class Match:
    """Who of a directory somebody is. `sure`: an identifier says so, not only a name."""

    number: int | None
    sure: bool = False
    several: bool = False  # more than one fits


class Directory:
    """People, and every way to find one of them."""

    def __init__(self, people: Iterable[Person]) -> None:
        """Note every identifier; the answers are places in `people`."""
        self._people = list(people)
        self._by: dict[tuple[str, str], set[int]] = {}
        for number, person in enumerate(self._people):
            for key in _keys(person):
                self._by.setdefault(key, set()).add(number)

    def find(self, person: Person, label: str = "") -> int | None:
        """Return who `person` is, or who a folder named `label` belongs to; None where none or several fit."""
        return self.match(person, label).number

    def match(self, person: Person, label: str = "") -> Match:
        """Return who `person` is, or who a folder named `label` belongs to.

        Identifiers come first, and all that are known have to say the same. A name does not count against an
        identifier that differs: there are two Jane Does in a large class. A part of a name is no name.
        """
        wanted = _keys(person)
        if label:
            bare = label.strip().casefold()
            wanted += [*(("lms", f"{system}:{bare}") for system in _SYSTEMS), *((kind, bare) for kind in _STRONG[1:])]
            wanted += [("local", bare), ("name", plain(label))]
        by_name = ("local", "name")
        strong = [self._by[key] for key in wanted if key[0] not in by_name and key in self._by]
        sure = {number for found in strong if len(found) == 1 for number in found}
        if sure or strong:
            return Match(next(iter(sure)), True) if len(sure) == 1 else Match(None, several=True)
        several = False
        for kind in by_name:
            found = {n for key in wanted if key[0] == kind for n in self._by.get(key, ())}
            found = {number for number in found if not _contradict(person, self._people[number])}
            if len(found) == 1:
                return Match(next(iter(found)))
            several = several or len(found) > 1
        return Match(None, several=several)


class Roster(Directory):
    """The class list."""

    def __init__(self, rows: Sequence[Enrolled]) -> None:
        """Keep the rows in the file's order."""
        rows = _people_of(rows)
        super().__init__(row.person for row in rows)
        self.rows = rows
        self._groups = {plain(name) for row in rows for name in (row.team, *row.groups) if name}
        self._teams: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            if row.team:
                self._teams.setdefault(plain(row.team), []).append(number)

    def team(self, names: Iterable[str], members: Iterable[int]) -> list[int]:
        """Return everybody in the team that is called one of `names` or has one of `members`; nobody where none is."""
        called = [plain(name) for name in (*names, *(self.rows[number].team for number in members))]
        return next((self._teams[name] for name in called if name in self._teams), [])

    def is_group(self, name: str) -> bool:
        """Tell whether this is a group's name, of which the list knows; no first name has a digit either."""
        return plain(name) in self._groups or any(char.isdecimal() for char in name)


def _people_of(lines: Sequence[Enrolled]) -> list[Enrolled]:
    """Join the lines of one person, who is in two sections, say; the later deadline counts.

    One person: an identifier is the same, none contradicts, and the names are not two.
    """
    result: list[Enrolled] = []
    places: dict[tuple[str, str], int] = {}
    for line in lines:
        strong = [key for key in _keys(line.person) if key[0] in _STRONG]
        for place in dict.fromkeys(places[key] for key in strong if key in places):
            before = result[place]
            names = {plain(name) for name in (before.person.name, line.person.name) if name}
            if len(names) < 2 and not _contradict(before.person, line.person):
                result[place] = Enrolled(
                    before.person.joined(line.person),
                    max((due for due in (before.due, line.due) if due), default=None),
                    before.team or line.team,
                    (*before.groups, *line.groups),
                    before.lines + line.lines,
                )
                break
        else:
            place = len(result)
            result.append(line)
        places |= dict.fromkeys((key for key in strong if key not in places), place)
    seen: dict[str, int] = {}
    for place, one in enumerate(result):
        number = seen[one.identity] = seen.get(one.identity, -1) + 1
        if number:
            result[place] = replace(one, number=number)
    return result


def _keys(person: Person) -> list[tuple[str, str]]:
    """Return what a person can be found by, the surest first."""
    lms = person.lms.strip().casefold()
    found = [("lms", one) for one in ([lms] if ":" in lms else [f"{system}:{lms}" for system in _SYSTEMS]) if lms]
    found += [(kind, value.strip().casefold()) for kind in _STRONG[1:] if (value := getattr(person, kind))]
    if "@" in person.email:
        found.append(("local", person.email.split("@")[0].casefold()))
    names = {plain(person.name)}
    if "," in person.name:
        last, first = person.name.split(",", 1)
        names.add(plain(first + last))
    elif len(words := person.name.split()) > 1:
        names.add(plain(words[-1] + "".join(words[:-1])))  # Canvas writes smithbob
    return found + [("name", name) for name in sorted(names) if name]


def called(person: Person) -> set[str]:
    """Return what somebody is called: the name in every order of its words, the login, what an address begins with."""
    found = {value for kind, value in _keys(person) if kind in ("name", "local", "login")}
    return {plain(value) for value in found} - {""}


def certainly_two(one: Person, other: Person) -> bool:
    """Tell whether a number that one institution or one system gives says that these are two people."""
    same_system = _system(one.lms) == _system(other.lms)
    numbers = [(one.sid, other.sid), *([(one.lms, other.lms)] if same_system else [])]
    return any(mine and theirs and mine.casefold() != theirs.casefold() for mine, theirs in numbers)


def _system(number: str) -> str:
    return number.partition(":")[0] if ":" in number else ""


def _contradict(one: Person, other: Person) -> bool:
    for kind in _STRONG:
        mine, theirs = (getattr(person, kind).strip().casefold() for person in (one, other))
        if kind == "lms" and _system(mine) != _system(theirs):
            continue  # two systems' numbers say nothing about each other
        if mine and theirs and mine != theirs:
            return True
    return False


def read_roster(path: Path) -> Roster:
    """Read a class list, or a gradebook as Canvas or Moodle exports it; UsageError says what it lacks."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the roster {path} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_LIST or data.count(b"\n") + data.count(b"\r") > 2 * MAX_LINES:
        raise UsageError(f"{path.name} has more than {MAX_LINES} lines or {MAX_LIST >> 20} MiB; that is no class list.")
    sheet = Sheet.parse(data, path.name)
    columns: dict[str, int] = {}
    for number, heading in enumerate(sheet.header()):
        for kind, headings in _HEADINGS.items():
            if plain(heading) in headings:
                columns.setdefault(kind, number)
    if not columns.keys() & {*_STRONG, "name", "last"}:
        found = ", ".join(sheet.header())
        raise UsageError(f"{path.name} has no column Student, Name, ID, Username or Email; its columns: {found}.")
    rows = []
    for number in range(1, len(sheet.rows)):
        cells = {kind: sheet.value(number, column).strip() for kind, column in columns.items()}
        name = cells.pop("name", "") or " ".join(filter(None, [cells.get("first"), cells.get("last")]))
        due = _extension(cells.get("extension", ""), path.name, number + 1)
        strong = {kind: cells.get(kind, "") for kind in _STRONG}
        if numbered := _PARTICIPANT.fullmatch(strong["lms"]):
            strong["lms"] = f"moodle:{numbered['number']}"
        if (name or any(strong.values())) and not is_no_student(name):
            groups = tuple(part.strip() for part in re.split(r"[,;]", cells.get("group", "")) if part.strip())
            rows.append(Enrolled(Person(name=name, **strong), due, cells.get("team", ""), groups))
    return Roster(rows)


def is_no_student(name: str) -> bool:
    """Tell whether a row of a Canvas export is not a student: maximum points, posting policy, the test student."""
    return plain(name) in ("pointspossible", "manualposting", "studenttest", "teststudent")


def _extension(text: str, name: str, line: int) -> datetime | None:
    if not text:
        return None
    try:
        due = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name}, line {line}: {text!r} is no date; write 2026-11-22T23:59+01:00.") from None
    if due.tzinfo is None:
        raise UsageError(f"{name}, line {line}: {text!r} has no time zone; write 2026-11-22T23:59+01:00.")
    try:
        return due.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"{name}, line {line}: {text!r} lies outside the calendar.") from None


def read_key(path: Path) -> Key:
    """Read the key file; an empty key where there is none yet."""
    try:
        return Key.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Key()
    except (OSError, ValidationError):
        raise UsageError(f"{path} is not a key file that this version reads; move it away or name another.") from None


def write_key(path: Path, key: Key) -> None:
    """Write the key file, readable by its owner only, at no moment half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".key")  # made with mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(key.model_dump(mode="json"), file, ensure_ascii=False, indent=1)
    Path(name).replace(path)


def in_order(student: str) -> tuple[int, str]:
    """Return what pseudonyms are sorted by: s1000 comes after s999."""
    return len(student), student


def pseudonyms(known: Key, people: Sequence[Sequence[str]], digests: Iterable[str]) -> list[str]:
    """Give everybody a pseudonym: the one they have had, their own where it is already one (s017), else the next free.

    `people`: each one's identities, the surest first. No two get the same, and nobody gets one that was another's.
    New ones are numbered in the order of a keyed hash, so that s001 says nothing about the alphabet. The key is made of
    `digests`, of the students' own work: the same class gets the same pseudonyms, and nobody else can compute them.
    """
    given: dict[int, str] = {}
    used: set[str] = set()

    def give(place: int, student: str | None) -> None:
        if student is not None and place not in given and student not in used:
            given[place] = student
            used.add(student)

    first = {line.identity: student for student, line in known.students.items()}
    later = {name: student for student, line in reversed(known.students.items()) for name in line.also}
    for memory in (first, later):
        for rank in range(max(map(len, people), default=0)):
            for place, identities in enumerate(people):
                if rank < len(identities):
                    give(place, memory.get(identities[rank]))
    for place, identities in enumerate(people):
        for identity in identities:
            if (own := own_pseudonym(identity)) and own not in known.students:
                give(place, own)
    key = hashlib.sha256(b"\0".join(sorted(map(bytes.fromhex, digests)))).digest()
    new = sorted(
        (place for place in range(len(people)) if place not in given),
        key=lambda place: hmac.digest(key, people[place][0].encode("utf-8", "surrogatepass"), "sha256"),
    )
    taken = {*known.students, *used}
    free = (name for number in range(1, len(taken) + len(new) + 1) if (name := f"s{number:03}") not in taken)
    given |= dict(zip(new, free, strict=False))
    return [given[place] for place in range(len(people))]


def own_pseudonym(identity: str) -> str | None:
    """Return the pseudonym that a folder or a file is called by already: folder:s017, folder:s017.zip."""
    own = re.fullmatch(r"folder:(s\d{3,})(\.[\w.]+)?", identity)
    return own[1] if own else None
