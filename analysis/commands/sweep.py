"""`python -m analysis sweep-report DIR`: the levels of a sweep in one table, with knee, Pareto front and plots."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.commands.report import write_files
from analysis.findings.summarise import summarise
from analysis.findings.sweep import SweptRun, curves_of
from analysis.report import sweep_page
from analysis.report.terminal import print_table
from analysis.sources.loading import load_run
from tokenswarm.exit_codes import ExitCode
from tokenswarm.redaction import write_line
from tokenswarm.sweep_file import FINISHED, SweepFile, read_sweep
from tokenswarm.userinput import BadInput, counted

FILES = ("sweep.html", "sweep.md", "sweep_summary.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="the directory of a sweep, which has a sweep.json")


def main(args: argparse.Namespace) -> int:
    """Print the tables; write page, Markdown and JSON beside sweep.json. Raises `BadInput`."""
    directory: Path = args.directory
    sweep = read_sweep(directory)
    runs, problems = _load(sweep, directory)
    if not runs:
        raise BadInput(problems or [f"{directory}: expected a finished level, got none"])
    curves = curves_of(sweep.axes, runs)
    told = [each.sentence for each in curves] + _missing(sweep) + problems
    for line in told:
        write_line(line)
    for table in sweep_page.sweep_tables(curves):
        print_table(table)
    name = Path(sweep.scenario).stem
    facts = {"scenario": sweep.scenario, "axes": {axis: list(values) for axis, values in sweep.axes.items()}}
    made = (
        sweep_page.render_page(name, told, curves),
        sweep_page.render_markdown(name, told, curves),
        sweep_page.render_json(facts, told, curves),
    )
    write_files(directory, dict(zip(FILES, made, strict=True)))
    write_line(f"Report: {directory / FILES[0]}")
    return ExitCode.OK


def _load(sweep: SweepFile, directory: Path) -> tuple[list[SweptRun], list[str]]:
    """The runs of the finished levels, and what is wrong with those that cannot be read."""
    runs: list[SweptRun] = []
    problems: list[str] = []
    for level in sweep.levels:
        if level.state != FINISHED:
            continue
        try:
            run = load_run(directory / level.directory)
            runs.append(SweptRun(level.values, run, summarise(run)))
        except BadInput as error:
            problems += [f"{level.name}: {problem}" for problem in error.problems]
    return runs, problems


def _missing(sweep: SweepFile) -> list[str]:
    missing = [level.name for level in sweep.levels if level.state != FINISHED]
    if not missing:
        return []
    return [f"{counted(len(missing), 'level is', 'levels are')} missing: {'; '.join(missing)}. Run the sweep again."]
