"""`python -m analysis COMMAND ...`: what a run directory says. Each command is a module, imported when asked.

Exit codes are those of `tokenswarm.exit_codes.ExitCode`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tokenswarm.exit_codes import ExitCode
from tokenswarm.redaction import accept_any_text, write_line
from tokenswarm.userinput import BadInput, file_problem


class _Command(NamedTuple):
    module: str
    help: str


COMMANDS = {
    "report": _Command(
        "analysis.commands.report", "figures of one or several runs: terminal, Markdown, HTML, JSON, CSV, JUnit"
    ),
    "check": _Command("analysis.commands.check", "judge a run by its failure criteria; the exit code says the verdict"),
    "compare": _Command(
        "analysis.commands.compare", "what differs between two runs, and whether it is more than chance"
    ),
    "history": _Command("analysis.commands.history", "the runs of each test in order, and what changed for good"),
    "sweep-report": _Command("analysis.commands.sweep", "the levels of a sweep in one table, with knee and plots"),
    "export": _Command("analysis.commands.export", "rows as Parquet, figures to MLflow"),
    "sizing": _Command("analysis.commands.sizing", "RPM, TPM and provisioned units for a number of users"),
    "recover": _Command("analysis.commands.recover", "rebuild the rows of a run that was cut by a crash"),
    "azure-metrics": _Command("analysis.commands.azure_metrics", "what Azure Monitor counted during a run"),
    "traffic": _Command("analysis.commands.traffic", "a page from a description of recorded requests"),
    "metrics": _Command("analysis.commands.metrics", "the table of all metrics and their definitions"),
}


def main(argv: Sequence[str] | None = None, prog: str = "python -m analysis") -> int:
    """Run one command; `prog` is what was typed before its name. Mistakes of the user: no traceback, exit code 2."""
    accept_any_text()
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = _read_command(arguments[:1])
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    parser = argparse.ArgumentParser(prog=f"{prog} {name}", description=command.help)
    module.add_arguments(parser)
    try:
        return int(module.main(parser.parse_args(arguments[1:])))
    except BadInput as error:
        write_line("\n".join(error.problems), sys.stderr)
        return ExitCode.BAD_INPUT
    except BrokenPipeError:  # the reader of the output has seen enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:  # a file or folder that cannot be read or written
        write_line(file_problem(error), sys.stderr)
        return ExitCode.BAD_INPUT


def _read_command(arguments: Sequence[str]) -> str:
    listed = "\n".join(f"  {name:<15}{command.help}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        usage="python -m analysis COMMAND ...",
        description="Figures, verdicts and comparisons from run directories.",
        epilog=f"commands:\n{listed}\n\npython -m analysis COMMAND --help says more",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    return str(parser.parse_args(arguments).command)


if __name__ == "__main__":
    sys.exit(main())
