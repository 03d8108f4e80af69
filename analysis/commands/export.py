"""`python -m analysis export RUN`: its rows as Parquet, its figures to MLflow."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.export.mlflow_tracking import log_run
from analysis.export.parquet import write_parquet
from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from analysis.sources.newest import newest
from tokenswarm.exit_codes import ExitCode
from tokenswarm.redaction import write_line
from tokenswarm.userinput import BadInput, counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="run directory (default: the newest run)")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write the rows as a Parquet file")
    parser.add_argument(
        "--mlflow", nargs="?", const="", metavar="URI", help="log the run to MLflow; default $MLFLOW_TRACKING_URI"
    )
    parser.add_argument("--experiment", default="tokenswarm", metavar="NAME", help="of MLflow (tokenswarm)")


def main(args: argparse.Namespace) -> int:
    """Write what is asked for. Raises `BadInput`."""
    if args.parquet is None and args.mlflow is None:
        raise BadInput(["export: expected --parquet FILE, --mlflow or both, got neither"])
    run = args.run or newest()[0]
    if args.parquet is not None:
        written = write_parquet(run, args.parquet)
        aside = f"; {counted(written.skipped_lines, 'line')} left out: no rows" if written.skipped_lines else ""
        write_line(f"{args.parquet}: {counted(written.rows, 'row')}{aside}")
    if args.mlflow is not None:
        found = log_run(summarise(load_run(run)), args.mlflow or None, args.experiment)
        write_line(f"MLflow run {found}")
    return ExitCode.OK
