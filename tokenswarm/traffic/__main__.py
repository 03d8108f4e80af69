"""From a log to a load test: `python -m tokenswarm.traffic import | anonymise | describe`."""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tokenswarm.exit_codes import ExitCode
from tokenswarm.redaction import write_line
from tokenswarm.traffic.anonymise import Anonymiser
from tokenswarm.traffic.bodies import BadLine
from tokenswarm.traffic.describe import as_text, describe
from tokenswarm.traffic.index import MAX_FILE_BYTES, SHOWN_PROBLEMS, entries_of, load_index, numbered_lines
from tokenswarm.traffic.logs import READERS, LoggedRequest
from tokenswarm.userinput import BadInput, counted, open_file, parse_json

USERS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except BadInput as error:
        write_line("\n".join(error.problems), sys.stderr)
        return ExitCode.BAD_INPUT
    except OSError as error:
        write_line(f"{error.filename}: expected a file that can be written, got {error.strerror}", sys.stderr)
        return ExitCode.BAD_INPUT
    return ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tokenswarm.traffic", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    importing = commands.add_parser("import", help="make requests, or a trace of lengths, of a log")
    importing.add_argument("format", choices=sorted(READERS))
    importing.add_argument("file", type=Path)
    importing.add_argument("--anonymise", action="store_true", help="replace texts and ids before anything is written")
    importing.add_argument("--sample", type=float, default=1.0, help="share of the sessions to keep, 0 to 1")
    importing.add_argument("--seed", type=int, default=1, help="of the sample")
    importing.add_argument("--scale", type=float, default=1.0, help="factor on max_tokens, and on lengths of a trace")
    importing.set_defaults(run=_import)
    anonymising = commands.add_parser("anonymise", help="replace texts and ids of recorded requests")
    anonymising.add_argument("file", type=Path)
    anonymising.set_defaults(run=_anonymise)
    for command in (importing, anonymising):
        command.add_argument("-o", "--output", type=Path, required=True)
        command.add_argument("--scenario", type=Path, help="write a scenario that sends them")
        command.add_argument("--skip-bad", type=int, default=0, help="lines that may be left out")
    describing = commands.add_parser("describe", help="say what recorded requests are like")
    describing.add_argument("file", type=Path)
    describing.add_argument("--json", action="store_true", help="as JSON")
    describing.add_argument("--skip-bad", type=int, default=0, help="lines that may be left out")
    describing.set_defaults(run=_describe)
    return parser


def _import(given: argparse.Namespace) -> None:
    if not 0 < given.sample <= 1 or not 0.001 <= given.scale <= 1000:
        raise BadInput(["import: expected --sample above 0 up to 1 and --scale from 0.001 to 1000, got others"])
    found = sorted(read_log(given.file, given.format, given.skip_bad), key=lambda request: request.at_s)
    found = _sampled(found, given.sample, given.seed)
    if not found:
        raise BadInput([f"{given.file}: expected at least one model call, got none"])
    asked = [request for request in found if request.body]
    if asked:
        anonymiser = Anonymiser(secrets.token_bytes(32)) if given.anonymise else None
        _write(given.output, _lines(asked, given.scale, anonymiser))
        write_line(
            f"{given.output}: {counted(len(asked), 'request')}, {len(found) - len(asked)} without what was asked"
        )
    else:
        _write(given.output, _trace_lines(found, given.scale))
        write_line(f"{given.output}: the lengths of {counted(len(found), 'request')}: the log has no messages")
    if given.scenario is not None:
        write_scenario(given.scenario, "requests" if asked else "trace", given.output)


def read_log(path: Path, form: str, skip_bad: int) -> Iterator[LoggedRequest]:
    """The requests of a log. Raises `BadInput` with the lines that are none, where there are more than `skip_bad`."""
    problems = []
    with open_file(path, "log", MAX_FILE_BYTES) as file:
        for number, _, data in numbered_lines(file):
            try:
                yield from READERS[form](data)
            except BadLine as error:
                problems.append(f"{path}:{number}: {error}")
            except (ValueError, TypeError, AttributeError):
                problems.append(f"{path}:{number}: expected what {form} writes, got something else")
    if len(problems) > skip_bad:
        more = [f"{path}: and {len(problems) - SHOWN_PROBLEMS} more"] if len(problems) > SHOWN_PROBLEMS else []
        raise BadInput([*problems[:SHOWN_PROBLEMS], *more])


def _sampled(found: list[LoggedRequest], share: float, seed: int) -> list[LoggedRequest]:
    """Whole sessions: what is left of one would be none."""
    if share == 1:
        return found
    return [
        request
        for number, request in enumerate(found)
        if random.Random(f"{seed}:{request.session or number}").random() < share
    ]


def _lines(found: Iterable[LoggedRequest], scale: float, anonymiser: Anonymiser | None) -> Iterator[str]:
    for number, request in enumerate(found, start=1):
        body = dict(request.body or {})
        if (limit := body.get("max_tokens") or request.max_tokens) is not None:
            body["max_tokens"] = max(1, round(limit * scale))
        entry = {"custom_id": f"request-{number}", "method": "POST", "url": request.url, "timestamp": request.at_s}
        entry |= {"session_id": request.session} if request.session else {}
        entry |= {"body": body}
        yield json.dumps(entry if anonymiser is None else anonymiser.line(entry), ensure_ascii=False)


def _trace_lines(found: Iterable[LoggedRequest], scale: float) -> Iterator[str]:
    yield "TIMESTAMP,ContextTokens,GeneratedTokens"
    for request in found:
        at = datetime.fromtimestamp(request.at_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        context, answer = (
            max(1, round((tokens or 1) * scale)) for tokens in (request.context_tokens, request.max_tokens)
        )
        yield f"{at},{context},{answer}"


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def write_scenario(path: Path, option: str, file: Path) -> None:
    """A scenario that sends what was imported, at its instants."""
    text = f"""# Made by python -m tokenswarm.traffic.
locustfile = locustfiles/chat_completions.py
{option} = {file}
trace-speed = 1
users = {USERS}
spawn-rate = {USERS}
stop-timeout = 60
failure-criteria = percentage(dropped) > 0; percentage(error) > 1; percentage(throttled) > 1
"""
    path.write_text(text, encoding="utf-8")
    write_line(f"{path}: run it with locust --config {path}")


def _anonymise(given: argparse.Namespace) -> None:
    load_index(given.file, "chat", given.skip_bad)  # names what is no request
    anonymiser = Anonymiser(secrets.token_bytes(32))
    with open_file(given.file, "requests", MAX_FILE_BYTES) as file:
        entries = (entry for _, _, data in entries_of(file) if isinstance(entry := _parsed(data), dict))
        _write(given.output, (json.dumps(anonymiser.line(entry), ensure_ascii=False) for entry in entries))
    write_line(f"{given.output}: texts and ids are replaced")
    if given.scenario is not None:
        write_scenario(given.scenario, "requests", given.output)


def _parsed(data: bytes) -> object:
    try:
        return parse_json(data)
    except ValueError:
        return None  # a bad line that may be left out


def _describe(given: argparse.Namespace) -> None:
    found = describe(load_index(given.file, "chat", given.skip_bad))
    write_line(json.dumps(found, indent=2) if given.json else "\n".join(as_text(found)))


if __name__ == "__main__":
    sys.exit(main())
