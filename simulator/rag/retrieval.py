"""Full-text search over the corpus: SQLite FTS5 in memory, porter stemming, ranked by bm25."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

TITLE_WEIGHT = 4.0
"""bm25 weight of a word in the title; a word in the text weighs 1."""

_WORD = re.compile(r"[^\W_]+")

_STOP_WORDS = """
    a about after all also am an and any are as at be been before but by can could did do does every for from get
    give had has have how i if in into is it its just long many may me mean much must my need no not of off on one or
    our out over please say should so some tell than that the their them then there these they this those to too up
    us was we what when where whether which while who whom whose why will with would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Passage:
    """One document of the corpus. `source` is its file name without the suffix."""

    source: str
    title: str
    text: str


def read_corpus(folder: Path = CORPUS) -> list[Passage]:
    """All `*.md` of `folder` by name; the first line is `# Title`."""
    return [_read_passage(path) for path in sorted(folder.glob("*.md"))]


def _read_passage(path: Path) -> Passage:
    title, _, text = path.read_text(encoding="utf-8").partition("\n")
    return Passage(path.stem, title.removeprefix("# ").strip(), text.strip())


def extract_terms(question: str) -> list[str]:
    """The words of `question` that can find something, lower case, each once, in their order."""
    words = (word.lower() for word in _WORD.findall(question))
    return list(dict.fromkeys(word for word in words if word not in STOP_WORDS and len(word) > 1))


class Index:
    """The searchable corpus. Searching takes well under a millisecond, so it runs on the caller's thread."""

    def __init__(self, passages: list[Passage]) -> None:
        self._passages = passages
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute("CREATE VIRTUAL TABLE passages USING fts5(title, text, tokenize='porter unicode61')")
        self._database.executemany(
            "INSERT INTO passages(rowid, title, text) VALUES (?, ?, ?)",
            [(position, passage.title, passage.text) for position, passage in enumerate(passages)],
        )

    def search(self, terms: list[str], count: int) -> list[Passage]:
        """The `count` best passages that hold at least one term, best first."""
        if not terms:
            return []
        rows = self._database.execute(
            "SELECT rowid FROM passages WHERE passages MATCH ? ORDER BY bm25(passages, ?, 1.0), rowid LIMIT ?",
            (" OR ".join(f'"{term}"' for term in terms), TITLE_WEIGHT, count),
        )
        return [self._passages[row[0]] for row in rows]

    def known_share(self, terms: list[str]) -> float:
        """Share of `terms` (0 to 1) that occur anywhere in the corpus; 0 without terms."""
        return sum(bool(self.search([term], 1)) for term in terms) / len(terms) if terms else 0.0

    def close(self) -> None:
        self._database.close()
