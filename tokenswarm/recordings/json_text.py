"""JSON text that is changed in places and else left as it is, byte for byte. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_SPACE = re.compile(r"[ \t\r\n]*")
_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\r\n]*:[ \t\r\n]*')
"""A member's key and all up to its value, where the key has no escapes."""
_NEXT = re.compile(r'[ \t\r\n]*,[ \t\r\n]*(?=")')
SCAN: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder())["scan_once"]
"""The standard library's parser, which says where a value ends."""


class Member(NamedTuple):
    """One member of an object: its text is [key_begin, end), that of its value [begin, end)."""

    key: str
    key_begin: int
    begin: int
    end: int
    value: Any


Piece = str | tuple[int, int]
"""A text, or where it stands in another: [begin, end)."""


class ObjectText(NamedTuple):
    """An object's members in the order of the text, and its own text: [begin, end). `last`: by name the last member,
    which is the one that counts."""

    begin: int
    end: int
    members: list[Member]
    last: dict[str, Member]

    def value(self, key: str) -> Any:
        """Of the last member of that name; `None` without."""
        found = self.last.get(key)
        return None if found is None else found.value

    def find(self, key: str) -> Member | None:
        return self.last.get(key)


def read_object(text: str, begin: int = 0, within: str | None = None) -> ObjectText:
    """The object that begins in `text` at `begin`, blanks before it allowed; the value of its member `within`, where
    that is an object, is an `ObjectText`, too. Raises `ValueError` where there is none."""
    begin = at = _skip(text, begin)
    _expect(text, at, "{")
    members: list[Member] = []
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        if members:
            _expect(text, at, ",")
            at = _skip(text, at + 1)
        members.append(_member(text, at, within))
        while comma := _NEXT.match(text, members[-1].end):
            members.append(_member(text, comma.end(), within))
        at = _skip(text, members[-1].end)
    return ObjectText(begin, at + 1, members, {each.key: each for each in members})


def read_objects(text: str, begin: int, within: str) -> list[ObjectText]:
    """The objects of the list that begins in `text` at `begin`, each as of `read_object`. Raises `ValueError`."""
    _expect(text, begin, "[")
    found: list[ObjectText] = []
    at = _skip(text, begin + 1)
    while text[at : at + 1] != "]":
        if found:
            _expect(text, at, ",")
            at += 1
        found.append(read_object(text, at, within))
        at = _skip(text, found[-1].end)
    return found


def edited(text: str, found: ObjectText, changes: Mapping[str, str | None]) -> str:
    """An object's text with members put in (as JSON text) or taken out (`None`); all else stays as it is."""
    pieces = edited_pieces(found, changes)
    return "".join([piece if isinstance(piece, str) else text[piece[0] : piece[1]] for piece in pieces])


def edited_pieces(found: ObjectText, changes: Mapping[str, Piece | None]) -> list[Piece]:
    """The same in pieces: what stands in place of another value is a piece by itself."""
    pieces: list[Piece] = []
    at, missing, is_empty = found.begin + 1, {key: new for key, new in changes.items() if new is not None}, True
    for position, member in enumerate(found.members):
        new = changes.get(member.key)
        is_empty = is_empty and new is None and member.key in changes
        if member.key not in changes:
            continue
        missing.pop(member.key, None)
        if new is not None:
            pieces += [(at, member.begin), new]
            at = member.end
            continue
        begin, end = _with_comma(found, position)
        pieces.append((at, max(at, begin)))
        at = max(at, end)
    pieces.append((at, found.end))
    first = ",".join(f"{json.dumps(key)}:{value}" for key, value in missing.items())
    return ["{" + first + ("," if first and not is_empty else ""), *pieces]


def _with_comma(found: ObjectText, position: int) -> tuple[int, int]:
    """What is cut with a member: up to the next one, or from the one before."""
    members = found.members
    if position + 1 < len(members):
        return members[position].key_begin, members[position + 1].key_begin
    return members[position - 1].end if position else members[position].key_begin, members[position].end


def _member(text: str, at: int, within: str | None) -> Member:
    if plain := _KEY.match(text, at):
        key, begin = plain[1], plain.end()
    else:
        _expect(text, at, '"')
        key, end = SCAN(text, at)
        colon = _skip(text, end)
        _expect(text, colon, ":")
        begin = _skip(text, colon + 1)
    if key == within and text[begin : begin + 1] == "{":
        inner = read_object(text, begin)
        return Member(key, at, begin, inner.end, inner)
    try:
        value, end = SCAN(text, begin)
    except StopIteration:
        raise ValueError(f"expected a JSON value at column {begin + 1}") from None
    return Member(key, at, begin, end, value)


def _skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text


def _expect(text: str, at: int, character: str) -> None:
    if text[at : at + 1] != character:
        raise ValueError(f"expected {character} at column {at + 1}")
