"""Whose is what: joins what was handed in with the class list.

Two people are never one row unless an identifier says so, and what is not certain is left to a person: a name that two
have, or that another's number speaks against, finds nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from grader.cohort.layouts import Handed
from grader.cohort.roster import Match, Person, Roster, own_pseudonym
from grader.cohort.sheets import plain

NOBODY = "Nobody on the roster fits it: look whose it is, and give the roster its number, address or folder's name."
SEVERAL = "Two people of this name: look whose it is, and give the roster a number or an address for them."
TWICE = "On the roster twice; it is one person, and the later deadline counts."
ANOTHER = "Its number is on the roster, with another name: look whose it is."
UNCERTAIN = (NOBODY, SEVERAL, ANOTHER)


def matched(handed: Sequence[Handed], roster: Roster | None) -> list[Handed]:
    """Join what the roster says is one student's, or one team's; `rows` then says who of it that is."""
    for one in handed:
        one.known_as = [one.identity]
    if roster is None:
        return list(handed)
    matches = [[roster.match(person, _label(one, roster)) for person in one.people] for one in handed]
    _leave_uncertain(handed, matches)
    result: list[Handed] = []
    owners: dict[int, Handed] = {}
    for one, found in zip(handed, matches, strict=True):
        one.rows = {match.number for match in found if match.number is not None}
        team = roster.team([_label(one, roster), *(person.name for person in one.people)], sorted(one.rows))
        if team:
            one.rows = set(team)
            one.people = [roster.rows[number].person for number in team]
            one.identity = f"team:{plain(roster.rows[team[0]].team)}"
        else:
            _join(one, found, roster)
        owner = next((owners[number] for number in one.rows if number in owners), None)
        if owner is not None and (team or len(one.people) == 1):
            owner.attempts += one.attempts
            owner.earlier += one.earlier
            owner.known_as += one.known_as
            owner.parts += 1
        else:
            result.append(one)
            owner = one
        owners |= dict.fromkeys(one.rows, owner)
    for one in result:
        identities = [one.identity, *one.known_as]
        # A folder that is called by a pseudonym stays what it is called.
        own = [name for name in one.known_as if own_pseudonym(name)]
        one.known_as = list(dict.fromkeys([*own, *identities]))
        if any(roster.rows[number].lines > 1 for number in one.rows):
            one.attempts[-1].notes.append(TWICE)
    return result


def _label(one: Handed, roster: Roster) -> str:
    """Return what else a submission is called by. What stands before a name is left out only where it is a group's."""
    return "" if one.group and not roster.is_group(one.group) else one.label


def _leave_uncertain(handed: Sequence[Handed], matches: list[list[Match]]) -> None:
    """Let a name find nobody where a second submission claims the same person, by an identifier or by a name."""
    claims: dict[int, list[tuple[int, int, Match]]] = {}
    for place, found in enumerate(matches):
        for position, match in enumerate(found):
            if match.number is not None:
                claims.setdefault(match.number, []).append((place, position, match))
    for own in claims.values():
        numbers = {handed[place].people[position].lms for place, position, _ in own} - {""}
        certain = [match.sure for _, _, match in own]
        if len({place for place, _, _ in own}) == 1 or (all(certain) and len(numbers) < 2):
            continue
        for place, position, match in own:
            if not match.sure or (len(numbers) > 1 and all(certain)):
                matches[place][position] = Match(None, several=True)


def _join(one: Handed, found: Sequence[Match], roster: Roster) -> None:
    handed_name = one.people[0].name
    one.people = [
        person if match.number is None else _with_listed(person, roster.rows[match.number].person)
        for person, match in zip(one.people, found, strict=True)
    ]
    if not one.rows:
        says = SEVERAL if any(match.several for match in found) else NOBODY
        for attempt in one.attempts:
            attempt.notes.append(says)
    elif len(one.people) == 1:
        row = roster.rows[next(iter(one.rows))]
        if is_another(handed_name, row.person.name):
            one.attempts[-1].notes.append(ANOTHER)
        one.identity = row.identity


def _with_listed(person: Person, listed: Person) -> Person:
    """Return a person with what the list knows; Canvas makes smithbob of Smith, Bob, so the list's name is shown."""
    name = person.name if is_another(person.name, listed.name) else listed.name or person.name
    return person.joined(listed).model_copy(update={"name": name})


def is_another(name: str, listed: str) -> bool:
    """Tell whether two names have no word in common; Canvas writes smithbob for Smith, Bob."""
    return bool(name and listed) and not any(plain(word) in plain(name) for word in re.split(r"[\s,]+", listed) if word)
