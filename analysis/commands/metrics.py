"""`python -m analysis metrics`: the table of metrics, for people and for the documentation."""

from __future__ import annotations

import argparse

from analysis.figures.metrics import METRICS, markdown_table
from tokenswarm.exit_codes import ExitCode
from tokenswarm.redaction import write_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--markdown", action="store_true", help="as the Markdown table of the documentation")


def main(args: argparse.Namespace) -> int:
    """Print the table."""
    if args.markdown:
        write_line(markdown_table(), end="")
        return ExitCode.OK
    for metric in METRICS.values():
        unit = f" [{metric.unit}]" if metric.unit else ""
        write_line(f"{metric.name}{unit}\n    {metric.definition}.\n    {metric.formula}")
    return ExitCode.OK
