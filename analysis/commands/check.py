"""`python -m analysis check RUN`: the failure criteria judged on the rows; the exit code is the verdict."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from analysis.commands.report import NAMED_RUNS, append_step_summary, write_files
from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.findings.warnings import doubtful
from analysis.report import junit, markdown
from analysis.sources.loading import load_runs
from analysis.sources.newest import newest
from tokenswarm.exit_codes import gravest
from tokenswarm.metrics.criteria import parse_criteria
from tokenswarm.metrics.criterion_words import criterion_lines
from tokenswarm.metrics.verdict import described
from tokenswarm.redaction import write_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help=NAMED_RUNS)
    parser.add_argument(
        "--failure-criteria", metavar="TEXT", help="as in a scenario, true means failed; default: the run's own"
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, one test case for each criterion")
    parser.add_argument("--step-summary", action="store_true", help="append a report to $GITHUB_STEP_SUMMARY")


def main(args: argparse.Namespace) -> int:
    """Judge each run and print why. Returns the gravest exit code. Raises `BadInput`."""
    if args.failure_criteria is not None:
        parse_criteria(args.failure_criteria)
    summaries = [summarise(run, args.failure_criteria) for run in load_runs(args.runs or newest())]
    for summary in summaries:
        print_verdict(summary)
    if args.junit is not None:
        write_files(args.junit.parent, {args.junit.name: junit.render(summaries)})
    if args.step_summary:
        append_step_summary(markdown.render_folded(summaries))
    return worst(summaries)


def worst(summaries: Sequence[Summary]) -> int:
    """The gravest exit code (see `exit_codes.gravest`)."""
    return gravest(summary.judgement.exit_code for summary in summaries)


def print_verdict(summary: Summary) -> None:
    """One line for the verdict, one for each criterion, for each other reason, and for what is doubtful of answers."""
    judgement = summary.judgement
    aside = " (no failure criteria)" if judgement.state == "none" else ""
    aside = ", and failed" if judgement.state == "untrusted" and judgement.has_failed else aside
    aside += f", {described(judgement.replaced)}" if judgement.replaced else ""
    write_line(f"{judgement.state}{aside}: {summary.label}")
    for item in judgement.criteria:
        for line in criterion_lines(item.result):
            write_line(line)
    for replacement in judgement.replaced:
        write_line(f"  not judged: {replacement}")
    for reason in judgement.other_reasons:
        write_line(f"  {reason}")
    for doubt in doubtful(summary):
        write_line(f"  warning: {doubt}")
