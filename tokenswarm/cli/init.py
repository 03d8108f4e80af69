"""`tokenswarm init`: asks for endpoint, key and model, tries them, writes `.env` and copies what a user edits."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tokenswarm.cli.env_file import env_text, env_values, write_env
from tokenswarm.cli.one_request import Answer, send_one
from tokenswarm.config.environment import AZURE_KEY_NAMES, ENDPOINT_NAMES, endpoint_problems
from tokenswarm.exit_codes import ExitCode
from tokenswarm.installation import command_name, parts
from tokenswarm.redaction import SECRETS, write_line
from tokenswarm.userinput import BadInput, counted

COPIED = ("scenarios", "locustfiles")


@dataclass(frozen=True, slots=True)
class Answers:
    """What the user said; the key is never shown."""

    endpoint: str
    key: str
    model: str


def set_up(folder: Path, endpoint: str | None, model: str | None, force: bool, test: bool) -> int:
    """The whole of it. Returns the exit code: 2 when the request was not answered. Raises `BadInput`."""
    env_file = folder / ".env"
    if env_file.exists() and not force:
        write_line(f"{env_file} is there already and stays as it is; --force asks anew.")
    else:
        answers = ask(endpoint, model)
        SECRETS.add(answers.key)
        folder.mkdir(parents=True, exist_ok=True)
        write_env(env_file, env_text(env_values(answers.endpoint, answers.key, answers.model)))
        write_line(f"Written: {env_file} (readable by you only)")
    _keep_out_of_git(folder)
    _copy(folder)
    code = _try(env_file) if test else int(ExitCode.OK)
    if code == ExitCode.OK:
        go = "" if folder.resolve() == Path.cwd() else f"cd {folder}; "
        write_line(f"Next: {go}{command_name()} run smoke")
    return code


def ask(endpoint: str | None, model: str | None) -> Answers:
    """Ask for what was not given: at a terminal, or from the lines of stdin."""
    url = endpoint or _ask("Endpoint (https://RESOURCE.openai.azure.com, http://HOST:PORT/v1)", value_proc=_url)
    hidden = sys.stdin.isatty()
    key = _ask("Key (empty for none; it is not shown)", default="", show_default=False, hide_input=hidden)
    return Answers(url.strip(), key, model or _ask("Model or deployment"))


def _url(text: str) -> str:
    if problems := endpoint_problems(text.strip(), "endpoint"):
        raise click.UsageError(problems[0])
    return text.strip()


def _ask(question: str, **how: Any) -> str:
    """One answer. Raises `BadInput` where nobody gives any: stdin is at its end."""
    try:
        answer: str = click.prompt(question, **how)
    except click.Abort:
        if sys.stdin.isatty():  # Ctrl-C
            raise
        expected = "expected endpoint, key and model as lines of stdin, or at a terminal"
        raise BadInput(
            [f"init: {expected}, got no answer to {question.partition(' (')[0]!r}; nothing was written"]
        ) from None
    return answer


def _keep_out_of_git(folder: Path) -> None:
    path = folder / ".gitignore"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    missing = [line for line in (".env", "results/") if line not in lines]
    if missing:
        path.write_text("\n".join([*lines, *missing]) + "\n", encoding="utf-8")


def _copy(folder: Path) -> None:
    """Copy scenarios and locustfiles; what is there already stays as it is."""
    copied = 0
    for name in COPIED:
        source = parts() / name
        for path in (path for path in sorted(source.rglob("*")) if path.is_file() and "__pycache__" not in path.parts):
            to = folder / name / path.relative_to(source)
            if not to.exists():
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to)
                copied += 1
    write_line(f"Copied: {counted(copied, 'file')} to {folder / COPIED[0]} and {folder / COPIED[1]}")


def _try(env_file: Path) -> int:
    write_line("Sending one small request ...")
    without = dict.fromkeys((*ENDPOINT_NAMES, *AZURE_KEY_NAMES, "AZURE_OPENAI_DEPLOYMENT", "AOAI_DEPLOYMENT"), "")
    answer = send_one("chat", without, [env_file])
    again = f"Correct {env_file} and type {command_name()} doctor, or answer anew: {command_name()} init --force"
    for line in [*describe_answer(answer), *([again] if answer.problems else [])]:
        write_line(line, sys.stderr if answer.problems else sys.stdout)
    return int(ExitCode.BAD_INPUT) if answer.problems else int(ExitCode.OK)


def describe_answer(answer: Answer) -> list[str]:
    """What became of the one request, in a line or in one for each problem."""
    record = answer.record
    if answer.problems or record is None:
        return ["It was not answered:", *(f"  - {problem}" for problem in answer.problems)]
    ttft = f"first token after {record.ttft_ms:.0f} ms" if record.ttft_ms is not None else "answered whole"
    tokens = f"{record.prompt_tokens} prompt and {record.completion_tokens} completion tokens"
    usage = tokens if record.prompt_tokens is not None else "the server reports no token counts"
    return [f"Answered: {ttft}, {usage}, model {record.model or 'not named'}"]
