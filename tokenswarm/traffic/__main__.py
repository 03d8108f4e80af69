"""From a log to a load test: `python -m tokenswarm.traffic import | anonymise | describe`."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tokenswarm.apis.named import NAMES
from tokenswarm.exit_codes import ExitCode
from tokenswarm.installation import module_command, parts, python_path
from tokenswarm.logs.access import access_reader
from tokenswarm.logs.azure import CATEGORIES, read_azure
from tokenswarm.logs.litellm import read_litellm
from tokenswarm.logs.logged import BYTES_PER_TOKEN, STREAMED_BYTES_PER_TOKEN, LoggedRequest, Reader
from tokenswarm.logs.reading import read_log
from tokenswarm.logs.recorded import read_recorded
from tokenswarm.logs.spans import KINDS, read_otel
from tokenswarm.logs.spool import Fact, Spool
from tokenswarm.recordings.bodies import asks_of
from tokenswarm.recordings.index import load_index
from tokenswarm.recordings.scan import MAX_FILE_BYTES, entries_of
from tokenswarm.redaction import write_line
from tokenswarm.traffic.anonymise import Anonymiser
from tokenswarm.traffic.describe import as_text, describe
from tokenswarm.userinput import BadInput, counted, open_file, parse_json

READERS: dict[str, Reader] = {
    "otel": read_otel,
    "litellm": read_litellm,
    "azure": read_azure,
    "requests": read_recorded,
}
USERS = 100
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_LEAST_OUTPUT_TOKENS = 16
"""The least that the responses API takes."""


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
    importing.add_argument("format", choices=sorted([*READERS, "access"]))
    importing.add_argument("file", type=Path)
    importing.add_argument("--anonymise", action="store_true", help="replace texts and ids before anything is written")
    importing.add_argument("--sample", type=float, default=1.0, help="share of the sessions to keep, 0 to 1")
    importing.add_argument("--seed", type=int, default=1, help="of the sample")
    importing.add_argument("--scale", type=float, default=1.0, help="factor on max_tokens, and on lengths of a trace")
    kinds = [*NAMES, *CATEGORIES, *KINDS]
    importing.add_argument("--only", choices=kinds, help="take calls of one API, or records of one category")
    importing.add_argument("--log-format", help="of an access log: nginx's log_format or Apache's LogFormat")
    importing.add_argument(
        "--answer-bytes",
        type=float,
        help="bytes of an answer for one token, where a log has bytes only (default: 4; 300 where it says streamed)",
    )
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
    describing.add_argument("--html", type=Path, help="write a page with plots, too")
    describing.add_argument("--skip-bad", type=int, default=0, help="lines that may be left out")
    describing.set_defaults(run=_describe)
    return parser


def _import(given: argparse.Namespace) -> None:
    answer_bytes = BYTES_PER_TOKEN if given.answer_bytes is None else given.answer_bytes
    if not 0 < given.sample <= 1 or not 0.001 <= given.scale <= 1000 or not 1 <= answer_bytes <= 10_000:
        expected = "--sample above 0 up to 1, --scale from 0.001 to 1000 and --answer-bytes from 1 to 10000"
        raise BadInput([f"import: expected {expected}, got others"])
    if given.log_format is not None and given.format != "access":
        raise BadInput([f"import: expected --log-format with access, got it with {given.format}"])
    _check_output(given)
    reader = access_reader(given.log_format) if given.format == "access" else READERS[given.format]
    with Spool(given.output.absolute().parent) as spool:
        for found in read_log(given.file, given.format, reader, given.skip_bad):
            spool.others += not found
            for request in found:
                if request is not None and given.only in (None, request.source, asks_of(request.url)):
                    spool.add(request)
                else:
                    spool.others += 1
        spool.leave_out_twice()
        _check_one_kind(given.file, spool)
        if not len(spool):
            others = f" among {counted(spool.others, 'record')}" if spool.others else ""
            raise BadInput([f"{given.file}: expected at least one model call, got none{others}"])
        option = _write_imported(given, spool)
    if given.scenario is not None:
        write_scenario(given.scenario, option, given.output)


def _check_one_kind(path: Path, spool: Spool) -> None:
    """Raises `BadInput` for a log that tells of a call twice, or whose requests one file cannot have."""
    if len(spool.sources) > 1:
        got = " and ".join(sorted(source or "others" for source in spool.sources))
        raise BadInput([f"{path}: expected records of one category, as a call has one of each; got {got} (see --only)"])
    if "/v1/messages" in spool.urls and len(spool.urls) > 1:
        raise BadInput([f"{path}: expected calls of the messages API alone or of others, got both (see --only)"])


def _write_imported(given: argparse.Namespace, spool: Spool) -> str:
    """Returns the option that the file is for."""
    found, asked = _sampled(spool.in_order(), given.sample, given.seed), spool.count(Fact.ASKED)
    if asked:
        anonymiser = Anonymiser(secrets.token_bytes(32)) if given.anonymise else None
        count = _write(given.output, _lines(found, given.scale, anonymiser))
        left_out, without = len(spool) - asked, "what was asked"
        said = counted(count, "request")
    else:
        if not (measured := spool.count(Fact.MEASURED)):
            expected = "calls with what was asked, or with the lengths of prompt and answer"
            raise BadInput([f"{given.file}: expected {expected}, got {counted(len(spool), 'call')} without"])
        count = _write(given.output, _trace_lines(found, given.scale, given.answer_bytes)) - 1
        left_out, without = len(spool) - measured, "an answer or its length"
        said = f"the lengths of {counted(count, 'request')}"
    if not count:
        raise BadInput([f"sample: expected a share that keeps at least one session, got {given.sample:g}"])
    without = f"{counted(left_out, 'call')} without {without}"
    write_line(f"{given.output}: {said}; left out: {without}, and {spool.others} that are about something else")
    _say_estimates(spool, given.answer_bytes)
    return "requests" if asked else "trace"


def _say_estimates(spool: Spool, answer_bytes: float | None) -> None:
    asked, in_bytes, streamed, short, ends = map(
        spool.count, (Fact.ASKED, Fact.IN_BYTES, Fact.STREAMED, Fact.SHORT, Fact.ENDS)
    )
    if not asked and in_bytes:
        is_known = answer_bytes is None and streamed > 0
        has = f"{STREAMED_BYTES_PER_TOKEN} for {counted(streamed, 'streamed one')}"
        has = has if is_known else "a streamed answer has about 300"
        taken = f"{answer_bytes or BYTES_PER_TOKEN:g} are taken for a token (--answer-bytes; {has})"
        write_line(f"{in_bytes} of the answers have lengths in bytes: {taken}")
    if asked and short:
        lacks = "the log may lack tools or other parts of what was asked"
        write_line(f"{short} of the prompts are shorter than the tokens that the log has for them: {lacks}")
    if ends:
        write_line(f"{ends} of the instants are those of ends: the log does not say how long a request took")
    if spool.twice:
        write_line(f"{counted(spool.twice, 'span')} left out: their calls have another one")
    if spool.alike > spool.twice:
        what = "if two instrumentations have recorded each call, leave one of them out of the log"
        write_line(f"Some requests ask what another does that began within 0.25 s: {what}")


def _sampled(found: Iterable[LoggedRequest], share: float, seed: int) -> Iterator[LoggedRequest]:
    """Whole sessions: what is left of one would be none."""
    for number, request in enumerate(found):
        if share == 1 or random.Random(f"{seed}:{request.session or number}").random() < share:
            yield request


def _lines(found: Iterable[LoggedRequest], scale: float, anonymiser: Anonymiser | None) -> Iterator[str]:
    for number, request in enumerate((request for request in found if request.body), start=1):
        body = {**(request.body or {}), **_limit(request, scale)}
        entry = {"custom_id": f"request-{number}", "method": "POST", "url": request.url, "timestamp": request.at_s}
        entry |= {"session_id": request.session} if request.session else {}
        entry |= {"body": body}
        yield _json(entry if anonymiser is None else anonymiser.line(entry))


def _limit(request: LoggedRequest, scale: float) -> dict[str, int]:
    """The limit of the answer, as the request had it or as long as the answer was, under the name that its API has."""
    body, asks = request.body or {}, asks_of(request.url)
    if asks == "embeddings":
        return {}
    name = next(
        (name for name in LIMITS if body.get(name)), "max_output_tokens" if asks == "responses" else "max_tokens"
    )
    limit = body.get(name) or request.max_tokens
    least = _LEAST_OUTPUT_TOKENS if name == "max_output_tokens" else 1
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return {}  # none, or what the service has refused
    return {name: max(least, round(limit * scale))}


def _trace_lines(found: Iterable[LoggedRequest], scale: float, answer_bytes: float | None) -> Iterator[str]:
    yield "TIMESTAMP,ContextTokens,GeneratedTokens"
    for request in (request for request in found if request.is_measured):
        at = datetime.fromtimestamp(request.at_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        generated = request.max_tokens
        if generated is None:
            known = STREAMED_BYTES_PER_TOKEN if request.is_streamed else BYTES_PER_TOKEN
            generated = math.ceil((request.answer_bytes or 0) / (answer_bytes or known))
        context, answer = (max(1, round((tokens or 0) * scale)) for tokens in (request.context_tokens, generated))
        yield f"{at},{context},{answer}"


def _write(path: Path, lines: Iterable[str]) -> int:
    """Write lines down, each as it comes; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count


def _json(entry: object) -> str:
    """One line; what UTF-8 has no bytes for, as half of a surrogate pair, stays an escape."""
    text = json.dumps(entry, ensure_ascii=False)
    return text if text.isascii() or text.encode("utf-8", "ignore").decode("utf-8") == text else json.dumps(entry)


def _check_output(given: argparse.Namespace) -> None:
    """What is read is not written over."""
    if given.output.exists() and given.file.exists() and given.output.samefile(given.file):
        raise BadInput([f"output: expected another file than the one that is read, got {given.output}"])


def write_scenario(path: Path, option: str, file: Path) -> None:
    """A scenario that sends what was imported, at its instants."""
    locustfile = Path("locustfiles") / "chat_completions.py"
    text = f"""# Made by python -m tokenswarm.traffic.
locustfile = {locustfile if locustfile.exists() else parts() / locustfile}
{option} = {file}
trace-speed = 1
users = {USERS}
spawn-rate = {USERS}
stop-timeout = 60
failure-criteria = percentage(dropped) > 0; percentage(error) > 1; percentage(throttled) > 1
"""
    path.write_text(text, encoding="utf-8")
    write_line(f"{path}: run it with locust --config {shlex.quote(str(path))}")


def _anonymise(given: argparse.Namespace) -> None:
    _check_output(given)
    load_index(given.file, "chat", given.skip_bad)  # names what is no request
    anonymiser = Anonymiser(secrets.token_bytes(32))
    with open_file(given.file, "requests", MAX_FILE_BYTES) as file:
        entries = (entry for _, _, data in entries_of(file) if isinstance(entry := _parsed(data), dict))
        _write(given.output, (_json(anonymiser.line(entry)) for entry in entries))
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
    if given.html is not None:
        _write_page(found | {"text": list(as_text(found))}, given.html)


def _write_page(found: dict[str, object], page: Path) -> None:
    """Plots are made by `analysis`, in a process of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(found, file)
        file.flush()
        command = [*module_command("analysis"), "traffic", file.name, "-o", str(page)]
        made = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": python_path()}, capture_output=True, text=True, check=False
        )
    if made.returncode:
        raise BadInput(made.stderr.strip().splitlines()[-1:] or [f"{page}: expected a page, got none"])
    write_line(made.stdout.strip(), sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
