"""`python -m analysis traffic`: a page from a description of recorded requests."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from analysis.plots.traffic_plots import traffic_plots
from analysis.report.html_page import figure, listed, page, section
from tokenswarm.exit_codes import ExitCode
from tokenswarm.redaction import write_line
from tokenswarm.userinput import BadInput, parse_json, read_file

MAX_BYTES = 10_000_000
SHOWN_LINES = 4
"""Of the text: the rest is drawn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("description", type=Path, help="what python -m tokenswarm.traffic describe --json has written")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the page, an HTML file")


def main(args: argparse.Namespace) -> int:
    """Write the page."""
    found = _read(args.description)
    try:
        args.output.write_text(_page(found), encoding="utf-8")
    except OSError as error:
        raise BadInput([f"output: expected a file that can be written, got {str(args.output)!r} ({error})"]) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput([f"{args.description}: expected what describe --json writes, got something else"]) from error
    write_line(f"{args.output}: written")
    return ExitCode.OK


def _page(found: dict[str, Any]) -> str:
    plots = traffic_plots(found)
    lines = [str(line) for line in found.get("text", [])][:SHOWN_LINES]
    body = section("Recorded requests", listed(lines), *map(figure, plots))
    return page("Recorded requests", body, plots)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(read_file(path, "description", MAX_BYTES))
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        found = None
    if not isinstance(found, dict):
        raise BadInput(
            [f"{path}: expected what python -m tokenswarm.traffic describe --json writes, got something else"]
        )
    return found
