"""The requests of a log in the order of time, kept in a file meanwhile: a log may be out of order, and larger than
memory."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tokenswarm.logs.logged import LoggedRequest

SHORT_BYTES_PER_TOKEN = 3
"""Text with its JSON around it has more."""
_NO_TEXT = (b'"image', b'"input_', b'"file')


class Spool:
    """Takes requests as they come and gives them back by their instants: 24 bytes of memory a request. The file has no
    name, stands where the result will, and is gone when this is closed."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError`."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed at the end of the with
        self._instants_s = array("d")
        self._offsets = array("Q", [0])
        self.asked = self.measured = self.in_bytes = self.streamed = self.ends = self.short = self.others = 0
        """Requests of which the log has what was asked; has the lengths; has the answer's in bytes only, of a
        stream; has the instant of the end only; has less text than tokens. What is about something else."""
        self.sources: set[str] = set()
        self.urls: set[str] = set()
        """Kinds of records, and what was asked where the log says what."""

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._instants_s)

    def add(self, request: LoggedRequest) -> None:
        # Not asdict(): it copies all that is in the body.
        values = {item.name: getattr(request, item.name) for item in dataclasses.fields(request)}
        data = json.dumps(values).encode("ascii")
        self._file.write(data)
        self._offsets.append(self._offsets[-1] + len(data))
        self._instants_s.append(request.at_s)
        self.ends += request.is_end
        self.sources.add(request.source)
        if request.body:
            self.asked += 1
            self.urls.add(request.url)
            self.short += _is_short(data, request.context_tokens or 0)
        self.measured += request.is_measured
        in_bytes = request.is_measured and request.max_tokens is None
        self.in_bytes += in_bytes
        self.streamed += in_bytes and request.is_streamed

    def in_order(self) -> Iterator[LoggedRequest]:
        """All of them; those of one instant in the order in which they came."""
        for place in sorted(range(len(self)), key=self._instants_s.__getitem__):
            begin, end = self._offsets[place : place + 2]
            self._file.seek(begin)
            yield LoggedRequest(**json.loads(self._file.read(end - begin)))


def _is_short(data: bytes, context_tokens: int) -> bool:
    """Whether a prompt of text is shorter than the log counted it, as where the log lacks its tools."""
    return len(data) < context_tokens * SHORT_BYTES_PER_TOKEN and not any(kind in data for kind in _NO_TEXT)
