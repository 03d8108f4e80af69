"""The commands and their options. Each hands over to the module that does it."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

import click

from tokenswarm.cli import demo as demonstration
from tokenswarm.cli import init as setting_up
from tokenswarm.cli import option_pages
from tokenswarm.cli.hand_over import become_locust, run_part
from tokenswarm.cli.scenarios import find_scenario, known_scenarios, locust_arguments, purpose
from tokenswarm.cli.sweep import run_sweep
from tokenswarm.exit_codes import ExitCode
from tokenswarm.installation import command_name, version
from tokenswarm.redaction import accept_any_text, write_line
from tokenswarm.userinput import BadInput, file_problem

PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Of commands whose options belong to the program behind them, `--help` included."""


class Commands(click.Group):
    """The commands in the order in which they are used; a mistyped one is told the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.commands, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else "--help lists all"
            raise BadInput([f"command: expected one that {command_name()} has, got {args[0]!r} ({hint})"])
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but Ctrl-C ends with 130: click's 1 is Locust's "some requests failed"."""
        try:
            return super().invoke(ctx)
        except (click.Abort, KeyboardInterrupt):
            write_line("\nStopped.", sys.stderr)
            sys.exit(130)  # as a shell shows a program that Ctrl-C has ended


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(), prog_name="tokenswarm", message="%(prog)s %(version)s")
def cli() -> None:
    """Load-test LLM services with Locust: set up, run, read the results.

    Begin with `init`, then `run smoke`. Without a service of your own, `simulator` starts one here. Each command has
    its own --help.
    """


@cli.command(short_help="Ask for endpoint, key and model; write .env; copy scenarios.")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path("."))
@click.option("--endpoint", metavar="URL", help="Of the service. Without it you are asked.")
@click.option("--model", metavar="NAME", help="Model or deployment. Without it you are asked.")
@click.option("--force", is_flag=True, help="Write .env anew where there is one.")
@click.option("--test/--no-test", default=True, help="Send one small request at the end (default), or not.")
def init(directory: Path, endpoint: str | None, model: str | None, force: bool, test: bool) -> None:
    """Ask for endpoint, key and model, try them, write .env, copy scenarios and locustfiles.

    The key is asked for and never an option: a command line can be seen by everybody on the machine. Answers may also
    come from stdin, one a line: endpoint, key, model.
    """
    sys.exit(setting_up.set_up(directory, endpoint, model, force, test))


@cli.command(
    short_help="Run a scenario; the exit code is the verdict.",
    context_settings={**PASSED_ON, "help_option_names": ["-h", "--help"]},
)
@click.argument(
    "scenario", required=False, metavar="SCENARIO", shell_complete=lambda _context, _parameter, text: _names(text)
)
@click.option("--web", is_flag=True, help="Open Locust's web UI at http://127.0.0.1:8089 instead of starting at once.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def run(scenario: str | None, web: bool, options: tuple[str, ...]) -> None:
    """Run a SCENARIO: a name that `list` shows, or a .conf file. All further options go to Locust.

    Uses .env of this folder when there is one. `tokenswarm options` shows what can be set; Locust's own options are in
    `locust --help`. The exit code is the verdict.
    """
    become_locust(locust_arguments(find_scenario(scenario), options, web))


def _names(text: str) -> list[str]:
    return [name for name in known_scenarios() if name.startswith(text)]


@cli.command(
    short_help="Run a scenario at each of several levels; resumable.",
    context_settings={**PASSED_ON, "help_option_names": ["-h", "--help"]},
)
@click.argument(
    "scenario", required=False, metavar="SCENARIO", shell_complete=lambda _context, _parameter, text: _names(text)
)
@click.option(
    "--sweep", "axes", multiple=True, metavar="AXIS=VALUES", help="users=1,2,4 or rate=60..600 by 60; two at most"
)
@click.option("--into", type=click.Path(path_type=Path), metavar="DIR", help="Default: results/SCENARIO-sweep.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sweep(scenario: str | None, axes: tuple[str, ...], into: Path | None, options: tuple[str, ...]) -> None:
    """Run a SCENARIO once for each level of one or two axes, then write their table, knee and plots.

    Axes: users, rate, sessions, context-tokens, max-tokens, deployment. Values: 1,2,4 or 10..100 by 10 or 1..64x2. All
    further options go to Locust. The same command again goes on where it was interrupted.
    """
    sys.exit(run_sweep(find_scenario(scenario), axes, into, options))


@cli.command("list")
def list_scenarios() -> None:
    """List the scenarios and what each is for."""
    for name, path in known_scenarios().items():
        write_line(f"{name:<20} {purpose(path)}")


@cli.command(short_help="Show what can be set: all options, or those about a word.")
@click.argument("word", required=False)
def options(word: str | None) -> None:
    """Show the options of a run, with default, unit and an example: all, or those that have WORD in them."""
    write_line(option_pages.terminal_text(word))


_OF_ANALYSIS = (
    ("report", "Write the report of the newest run, or of those named.",
     "Write the report of one or several RUNs; without any, of the newest run."),
    ("check", "Judge the newest run once more, or those named.",
     "Judge RUNs by their criteria; without any, the newest run. The exit code is the verdict."),
    ("compare", "Compare the last two runs of a test, or those named.",
     "Compare two RUNs; without any, the last two of the test that ran last."),
    ("history", "List all runs in order, and what changed for good.",
     "List the runs in DIR (default: results) in order, and what changed for good."),
    ("export", "Write a run as Parquet, or to MLflow.",
     "Write the rows of a RUN as Parquet, or its figures to MLflow; without a RUN, of the newest."),
    ("recover", "Rebuild the rows of a run that was cut by a crash.",
     "Rebuild the rows of a RUN that was cut by a crash, from what each process had written."),
    ("azure-metrics", "Fetch what Azure Monitor counted during a run.",
     "Fetch what Azure Monitor counted during a RUN."),
    ("sizing", "Work out rates and units for a number of users.",
     "Work out requests and tokens per minute, and provisioned units, for a number of users."),
)  # fmt: skip
"""Commands that `python -m analysis` has under the same name, what each does in short, and in full."""

for _name, _short, _help in _OF_ANALYSIS:

    @cli.command(_name, short_help=_short, help=_help, context_settings=PASSED_ON)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def _analyse(context: click.Context, arguments: tuple[str, ...]) -> None:
        sys.exit(run_part("analysis.__main__", [str(context.command.name), *arguments], prog=command_name()))


@cli.command(short_help="Show what a run would use, try it, say what to do.")
@click.option(
    "--env-file", "env_files", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
    help="May be given several times. Default: .env, when there is one.",
)  # fmt: skip
@click.option("--request/--no-request", default=True, help="Send one small request (default), or not.")
def doctor(env_files: tuple[Path, ...], request: bool) -> None:
    """Show what is inferred (endpoint, API, key, model, proxy, limits, clock), send one request, say what to do."""
    from tokenswarm.cli import doctor as diagnosis  # loads all settings, which others need not

    sys.exit(diagnosis.examine(env_files, request))


@cli.command(short_help="Show everything against the simulator, in under four minutes.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results/demo"), show_default=True)
@click.option("--chat-seconds", type=int, default=60, show_default=True, help="Of the chat benchmarks.")
@click.option("--rag-seconds", type=int, default=30, show_default=True, help="Of the RAG test.")
def demo(results: Path, chat_seconds: int, rag_seconds: int) -> None:
    """Run both exercises, shortened, against the simulator: verdicts and two reports in under four minutes."""
    sys.exit(demonstration.run_demo(results.resolve(), chat_seconds, rag_seconds))


@cli.command(short_help="Start stand-in services on this machine.", context_settings=PASSED_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def simulator(options: tuple[str, ...]) -> None:
    """Start stand-in Azure OpenAI and GPT-RAG targets on this machine; no account is needed."""
    sys.exit(run_part("simulator.__main__", options))


@cli.command(short_help="Find out what this machine measures exactly.", context_settings=PASSED_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def selfcheck(options: tuple[str, ...]) -> None:
    """Find out how many streams this machine measures exactly, in under a minute."""
    from tokenswarm.selfcheck.__main__ import main as check_machine  # loads the measuring side, which others need not

    sys.exit(check_machine(list(options)))


@cli.command(short_help="Print what makes a shell complete commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and scenarios: eval "$(tokenswarm completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        write_line(kind(cli, {}, "tokenswarm", "_TOKENSWARM_COMPLETE").source())


def main() -> None:
    """Mistakes of the user are printed without a traceback, exit code 2."""
    accept_any_text()
    try:
        cli.main(prog_name=command_name())
    except BadInput as error:
        write_line("\n".join(error.problems), sys.stderr)
        sys.exit(int(ExitCode.BAD_INPUT))
    except OSError as error:  # a file or folder that cannot be read or written
        write_line(file_problem(error), sys.stderr)
        sys.exit(int(ExitCode.BAD_INPUT))
