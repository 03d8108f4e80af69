"""A sample of the answers' texts, for people who want to read what was answered under load. Off unless asked for."""

from __future__ import annotations

import contextlib
import json
import logging
import random
from pathlib import Path

from tokenswarm.record import RequestRecord
from tokenswarm.redaction import SECRETS

logger = logging.getLogger(__name__)


class AnswersSample:
    """Writes `share_pct` percent of the answers beside the journal: `answers.jsonl`, of a worker `answers-w1.jsonl`."""

    def __init__(self, share_pct: float, journal: Path) -> None:
        worker = journal.stem.removeprefix("journal-") if journal.stem.startswith("journal-") else ""
        self._share = share_pct / 100
        self._path = journal.with_name(f"answers-{worker}.jsonl" if worker else "answers.jsonl")
        self._file = self._path.open("w", encoding="utf-8")

    def offer(self, record: RequestRecord, text: str) -> None:
        """An answer has ended. One without text is not kept. A disk that is full ends the sample, not the run."""
        if not text or self._file.closed or random.random() >= self._share:
            return
        line = {
            "call_id": record.call_id,
            "question_id": record.question_id,
            "outcome": record.outcome.value,
            "answer_check": record.answer_check,
            "answer": SECRETS.redact_values(text),
        }
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            logger.warning("%s: no more answers are kept: %s", self._path, error)
            self.close()

    def close(self) -> None:
        """The run is over."""
        with contextlib.suppress(OSError):  # what could not be flushed was said
            self._file.close()
