"""Conversations that a later request may refer to by the id of an answer (`previous_response_id`)."""

from __future__ import annotations

import contextlib
import re
from array import array
from collections import OrderedDict
from pathlib import Path

from simulator.apis.tokens import PER_MESSAGE, Prompt

RESPONSE_ID = re.compile(r"resp_[0-9a-f]{1,64}")


class Conversations:
    """The latest `capacity` answers of this process; with a `shared_dir`, the other processes' as well."""

    def __init__(self, shared_dir: Path | None = None, capacity: int = 5_000) -> None:
        self._shared_dir = shared_dir
        self._capacity = capacity
        self._kept: OrderedDict[str, tuple[array[int], int]] = OrderedDict()

    def keep(self, response_id: str, prompt: Prompt, answer: str) -> None:
        """Keep a prompt with the answer to it."""
        whole = Prompt(prompt.vocabulary, prompt.ids, prompt.frames + PER_MESSAGE)
        whole.add_text(answer)
        self._kept[response_id] = (whole.ids, whole.frames)
        if self._shared_dir is not None:
            header = array("I", [whole.frames])
            self._path(response_id, self._shared_dir).write_bytes(header.tobytes() + whole.ids.tobytes())
        while len(self._kept) > self._capacity:
            forgotten, _ = self._kept.popitem(last=False)
            if self._shared_dir is not None:
                self._path(forgotten, self._shared_dir).unlink(missing_ok=True)

    def recall(self, response_id: str) -> tuple[array[int], int] | None:
        """Token ids and frames of a conversation up to an answer, or None."""
        found = self._kept.get(response_id)
        if found is not None or self._shared_dir is None or not RESPONSE_ID.fullmatch(response_id):
            return found
        with contextlib.suppress(FileNotFoundError):
            ids = array("I")
            ids.frombytes(self._path(response_id, self._shared_dir).read_bytes())
            return ids[1:], ids[0]
        return None

    @staticmethod
    def _path(response_id: str, directory: Path) -> Path:
        return directory / f"{response_id}.conversation"
