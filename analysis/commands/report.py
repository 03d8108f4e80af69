"""`python -m analysis report RUN [RUN...]`: read, summarise, print, write."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.report import exports, junit, markdown
from analysis.report import terminal as text
from analysis.server import azure_monitor
from analysis.sources.loading import load_runs
from analysis.sources.newest import newest
from analysis.sources.run import Run
from tokenswarm.exit_codes import ExitCode
from tokenswarm.metrics.criteria import parse_criteria
from tokenswarm.metrics.prices import read_table
from tokenswarm.redaction import SECRETS, write_line
from tokenswarm.userinput import BadInput

NAMED_RUNS = "run directory, or another tool's results (default: the newest run)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help=NAMED_RUNS)
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="where to write (default: the run directory)")
    parser.add_argument("--failure-criteria", metavar="TEXT", help="judge by these instead of the run's own")
    parser.add_argument("--price-table", type=Path, metavar="FILE", help="TOML of prices by model, not the run's own")
    parser.add_argument("--no-azure", action="store_true", help="do not ask Azure Monitor about the run's resources")
    parser.add_argument("--no-html", action="store_true", help="leave out the HTML page")
    parser.add_argument(
        "--step-summary", action="store_true", help="append the Markdown report to $GITHUB_STEP_SUMMARY as well"
    )


def main(args: argparse.Namespace) -> int:
    """Report the runs. The exit code says whether a report could be made; `check` says the verdict."""
    if args.failure_criteria is not None:
        parse_criteria(args.failure_criteria)
    prices = None if args.price_table is None else read_table(args.price_table)
    runs = load_runs(args.runs or newest())
    said = (
        [] if args.no_azure else [line for run in runs for line in azure_monitor.complete(run, os.environ, time.time())]
    )
    directory = args.output or output_directory(runs)
    summaries = [summarise(run, args.failure_criteria, prices) for run in runs]
    text.print_report(summaries)
    for line in said:
        write_line(line)
    sys.stdout.flush()
    written = write(directory, runs, summaries, html=not args.no_html)
    if args.step_summary:
        append_step_summary(markdown.render_folded(summaries))
    write_line("\nwritten to " + str(directory) + ": " + ", ".join(path.name for path in written))
    return ExitCode.OK


def output_directory(runs: Sequence[Run]) -> Path:
    """A single run's own directory (beside a single file); for several runs, `report` in what they have in common."""
    if len(runs) == 1:
        path = runs[0].path
        return path if path.is_dir() else path.with_name(path.stem + "-report")
    common = Path(os.path.commonpath([run.path.resolve() for run in runs]))
    return (common if common.is_dir() else common.parent) / "report"


def write(directory: Path, runs: Sequence[Run], summaries: Sequence[Summary], html: bool = True) -> list[Path]:
    """Write every file of the report. Raises `BadInput` when the directory cannot be written to."""
    contents: dict[str, Callable[[], str | bytes]] = {
        "report.md": lambda: markdown.render(summaries),
        "summary.json": lambda: exports.summary_json(summaries),
        "summary.csv": lambda: exports.summary_csv(summaries),
        "minutes.csv": lambda: exports.minutes_csv(summaries),
        "junit.xml": lambda: junit.render(summaries),
        "report.xlsx": lambda: _render_workbook(summaries),
    }
    if html:
        contents["report.html"] = lambda: _render_html(runs, summaries)
    return write_files(directory, {name: make() for name, make in contents.items()})


def write_files(directory: Path, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write files, each as a whole or not at all; texts without secrets."""
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            part = directory / (name + ".part")
            if isinstance(content, bytes):
                part.write_bytes(content)
            else:
                shown = content if name.endswith(".html") else SECRETS.redact(content)  # a page escapes text by text
                part.write_text(shown, encoding="utf-8", errors="replace", newline="")
            os.replace(part, directory / name)
            written.append(directory / name)
    except OSError as error:
        raise BadInput([f"{directory}: expected a directory to write the report to, got {error.strerror}"]) from error
    return written


def append_step_summary(content: str) -> None:
    """Append to the summary page of a GitHub job. Raises `BadInput` outside of one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        raise BadInput(["--step-summary: expected GITHUB_STEP_SUMMARY in the environment, got none"])
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(SECRETS.redact(content))
    except OSError as error:
        raise BadInput([f"{path}: expected a file to append to, got {error.strerror}"]) from error


def _render_workbook(summaries: Sequence[Summary]) -> bytes:
    from analysis.report.workbook import render  # so is what writes Excel files

    return render(summaries)


def _render_html(runs: Sequence[Run], summaries: Sequence[Summary]) -> str:
    from analysis.report.html import render  # plotting is slow to import

    return render(list(runs), list(summaries))
