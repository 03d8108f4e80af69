"""What an error quotes of a recorded request, left out of it. No I/O, no clock.

Services quote what they refuse: whole, cut, escaped for JSON or a page, in other case. A quote is told by letters and
digits alone: ten in a row that the request has, too, four of a script without spaces. Besides, a word that may be a
name or an id (with a capital or a digit) and a whole value of the request are left out by themselves.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from itertools import chain, compress, count
from typing import Any, NamedTuple
from urllib.parse import unquote

LEFT_OUT = "[left out]"
_MARKS = " \t\r\n.,:;'\"\\"
"""With nothing else between them, two quotes are one."""
_RUN, _WIDE_RUN = 10, 4
_GRAM, _STEP = 5, 6
"""A run is ten bytes or more in UTF-8: five in a row of them begin at a multiple of six of any text that has it."""
_GRAMS = struct.Struct(f"{_GRAM}s{_STEP - _GRAM}x" * 100)
"""Many of these at a time: a third of the cost of slices."""
_WIDE_FROM = "\u1100"
"""From here on a character is three bytes or more."""
_LONGEST_VALUE = 60
_LOOKED_AT = 200
"""Places in a text where a word is looked at more closely."""
_ENDS = tuple(".!?:")
"""Behind these any word has a capital."""
_OPEN_KEYS = frozenset({"model", "role", "type", "object"})
"""Their values are words of the API."""
_API_KEY = re.compile(r"[a-z][a-z0-9_]*(?:[A-Z][a-z0-9]*)*")
"""How APIs name members; what is written otherwise may be a name or an id."""
_ESCAPE = re.compile(
    r"[\\%&](?:(?<=\\)\\*(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[nrtbf/\"'])"
    r"|(?<=%)[0-9a-fA-F]{2}(?:%[0-9a-fA-F]{2})*|(?<=&)(?:#\d+|#x[0-9a-fA-F]+|\w+);)"
)
"""That each begins with one of a set of characters makes a long text a fifth of the cost."""
_OPENING = re.compile(r"(HTTP \d{3}(?:: |$))?(?:([a-z]+(?:_[a-z]+)+|(?:[A-Z][a-z]+){2,}): )?")
"""The status and a code, which stay."""
_TOKEN = re.compile(r"[^\W_](?:[\w@.+-]*\w)?")
_NO_LETTERS = re.compile(r"[\W_]+")
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_NOT_ASCII_WORDS = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_COMMON_TEXT = (
    "a an and api azure bad been body but can cannot check code content context error exceeded expected failed "
    "field for found go got have http https id if in input internal invalid is it json key length limit make "
    "maximum max message messages missing model must no not of on only openai or our param parameter please post "
    "rate request requests response retry see server service set should that the this to token tokens too try "
    "type unable unauthorized unknown unsupported url use utf value was we when with you your"
)
_COMMON = frozenset(_COMMON_TEXT.split())
"""Words of any error: they begin sentences."""


@dataclass(slots=True)
class _Texts:
    """What a request says: texts, and words that everybody may know."""

    texts: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)

    def add(self, value: Any) -> None:
        if isinstance(value, str):
            if not value.startswith("data:"):  # an image
                self.texts.append(value)
        elif isinstance(value, list):
            for each in value:
                self.add(each)
        elif isinstance(value, dict):
            for key, each in value.items():
                if _API_KEY.fullmatch(key):
                    self.open.add(key.casefold())
                else:
                    self.texts.append(key)
                if key in _OPEN_KEYS and isinstance(each, str):
                    self.open.add(each.casefold())
                else:
                    self.add(each)

    def is_open(self, word: str) -> bool:
        """Whether a word says nothing of this request."""
        return word.casefold() in self.open or word.casefold() in _COMMON or (word.isdecimal() and len(word) < 5)


def without_quotes(error: str, said: Any) -> str:
    """An error without what stands in a request's JSON, too."""
    found = _Texts()
    found.add(said)
    opening = _OPENING.match(error)
    assert opening is not None  # it matches the empty text
    begin = max(0, opening.end(1 if opening[2] in found.texts else 0))
    text = error[begin:]
    plain = [_plain(each) for each in found.texts]
    spans = [*_runs(text, plain), *_values(text, found), *_words(text, plain, found)]
    return error[:begin] + _cut(text, sorted(spans))


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    """A text without what stands in some spans, in their order."""
    parts: list[str] = []
    at = 0
    for begin, end in spans:
        if not parts or text[at:begin].strip(_MARKS):
            parts += [text[at:begin], LEFT_OUT]
        at = max(at, end)
    return "".join([*parts, text[at:]])


def _runs(text: str, plain: list[str]) -> Iterator[tuple[int, int]]:
    """Where letters and digits stand in a row that a request has in the same row."""
    spelled, found = _spelled(text), set()
    said = b"\0".join([bytes(_STEP), *map(_bare, plain)])
    grams = chain.from_iterable(_GRAMS.iter_unpack(said + bytes(-len(said) % _GRAMS.size)))
    for gram_at in compress(count(0, _STEP), map(spelled.grams.__contains__, grams)):
        for at in range(gram_at - _STEP + 1, gram_at + 1):
            for run in spelled.by_head.get(said[at : at + _RUN], ()):
                if run not in found and said.startswith(run, at):
                    found.add(run)
    return chain.from_iterable(spelled.spans[run] for run in found)


def _values(text: str, found: _Texts) -> Iterator[tuple[int, int]]:
    """Where whole values of a request stand."""
    folded = text.casefold()
    if len(folded) != len(text):
        folded = text.lower()[: len(text)]
    values = {
        value for each in found.texts if len(each) <= _LONGEST_VALUE and len(value := each.strip().casefold()) > 2
    }
    for value in values:
        if value in folded and not found.is_open(value):
            for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", folded):
                yield match.span()


def _words(text: str, plain: list[str], found: _Texts) -> Iterator[tuple[int, int]]:
    """Where words stand that may be names or ids and that a request has, too; the last one of what was cut may be the
    beginning of one."""
    whole = "\n".join(plain)
    folded = whole.lower()
    if len(folded) != len(whole):
        folded = whole
    is_cut = len(text) > 400 or text.rstrip("\"'`)").endswith(("...", "\u2026"))
    tokens = list(_TOKEN.finditer(text))
    for token in tokens:
        word, is_last = token.group(), is_cut and token is tokens[-1]
        if len(word) > 1 and not found.is_open(word) and _names_something(word, whole, folded, is_last):
            yield token.span()


def _names_something(word: str, whole: str, folded: str, is_cut: bool) -> bool:
    """Whether a text has a word, or with `is_cut` one that begins so, and writes it as names and ids are. `folded`: the
    text in small letters."""
    wanted, at = word.lower(), -1
    for _ in range(_LOOKED_AT):
        at = folded.find(wanted, at + 1)
        if at < 0:
            break
        found, end = whole[at : at + len(word)], at + len(word)
        is_word = not whole[max(0, at - 1) : at].isalnum() and (is_cut or not whole[end : end + 1].isalnum())
        begins = at == 0 or whole[max(0, at - 3) : at].strip()[-1:] in _ENDS
        is_written_so = any(each.isupper() or each.isdigit() for each in found)
        if is_word and (is_cut or (is_written_so and (found == word or not begins))):
            return True
    return False


class _Spelled(NamedTuple):
    """The runs of an error as `_bare` has them. `spans`: where each stands in the error, [begin, end); `by_head`: the
    same by their first bytes; `grams`: all that may stand in one."""

    spans: dict[bytes, list[tuple[int, int]]]
    by_head: dict[bytes, set[bytes]]
    grams: set[bytes]


@lru_cache(maxsize=64)
def _spelled(text: str) -> _Spelled:
    """A service says the same again and again."""
    letters, places = _letters(text)
    data = letters.encode("utf-8")
    spelled = _Spelled({}, {}, {data[at : at + _GRAM] for at in range(len(data) - _GRAM + 1)})
    has_wide = max(letters, default="") >= _WIDE_FROM
    for at, (begin, _) in enumerate(places):
        is_wide = has_wide and min(letters[at : at + _WIDE_RUN]) >= _WIDE_FROM
        last = at + (_WIDE_RUN if is_wide else _RUN) - 1
        if last < len(places):
            run = letters[at : last + 1].encode("utf-8")
            spelled.spans.setdefault(run, []).append((begin, places[last][1]))
            spelled.by_head.setdefault(run[:_RUN], set()).add(run)
    return spelled


def _letters(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The letters and digits of an error as `_bare` has them, and where each stands in it: [begin, end)."""
    letters, places, at = [], [], 0
    escapes = [(match.start(), match.end(), _unescaped(match)) for match in _ESCAPE.finditer(text)]
    for begin, end, meant in [*escapes, (len(text), len(text), "")]:
        pieces = [(place, place + 1, text[place]) for place in range(at, begin)]
        for first, last, piece in [*pieces, (begin, end, _plain(meant))]:
            for letter in piece.lower() if piece.isascii() and piece.isalnum() else _bare(piece).decode("utf-8"):
                letters.append(letter)
                places.append((first, last))
        at = end
    return "".join(letters), places


def _bare(text: str) -> bytes:
    """A text's letters and digits in UTF-8, without case and accents."""
    data = text.encode("utf-8", "surrogatepass").lower().translate(None, _NOT_ASCII_WORDS)
    return data if data.isascii() else _NOT_ASCII.sub(_bare_others, data)


def _bare_others(match: re.Match[bytes]) -> bytes:
    data = match.group()
    return _bare_letter(data) if len(data) <= 4 else _bare_letter.__wrapped__(data)


@lru_cache(maxsize=1024)
def _bare_letter(data: bytes) -> bytes:
    text = unicodedata.normalize("NFKD", data.decode("utf-8", "surrogatepass")).casefold()
    return _NO_LETTERS.sub("", text).encode("utf-8")


def _plain(text: str) -> str:
    return _ESCAPE.sub(_unescaped, text) if "\\" in text or "%" in text or "&" in text else text


def _unescaped(match: re.Match[str]) -> str:
    text = match.group()
    if text.startswith("%"):
        return unquote(text)
    if text.startswith("&"):
        return unescape(text)
    code = text.lstrip("\\")
    return chr(int(code[1:], 16)) if code[0] in "ux" and len(code) > 1 else " "
