"""Text files of the user: read whole, as UTF-8, with the line of whatever is not."""

from __future__ import annotations

from pathlib import Path

from tokenswarm.problems import BadInput


def read_file(path: str | Path, what: str, max_bytes: int) -> bytes:
    """The bytes of a file of at most `max_bytes`; `what` names its kind. Raises `BadInput` when it cannot be had."""
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput([f"{what} {path}: expected a readable file, got: {reason}"]) from error
    if len(data) > max_bytes:
        raise BadInput([f"{what} {path}: expected at most {max_bytes} bytes, got more"])
    return data


def decode_text(data: bytes, name: str) -> str:
    """UTF-8 text of a file without its byte order mark. Raises `BadInput` as "name:line: ..." for anything else."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput([f"{name}: expected UTF-8, got UTF-16 (save it as UTF-8)"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # From error.object: the decoder counts from after the byte order mark.
        raise BadInput([f"{name}:{_line(error.object, error.start)}: expected UTF-8, got other bytes"]) from error
    if "\0" in text:
        raise BadInput([f"{name}:{_line(data, data.index(0))}: expected text, got a NUL character"])
    return text


def _line(data: bytes, offset: int) -> int:
    before = data[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return before.count(b"\n") + 1
