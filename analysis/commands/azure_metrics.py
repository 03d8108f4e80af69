"""`python -m analysis azure-metrics RUN`: what Azure Monitor says about a run, beside what the client saw.

Asks for the metrics of the resources in the option `server-metrics` over the minutes of the run, to its last answer,
stores them in `server_metrics.csv` of the run directory (rows scraped during the run stay), compares both sides and
judges `server-failure-criteria`. Needs the role Monitoring Reader on the subscription.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from analysis.server.azure_monitor import check_run, metrics_clients, report_lines, store
from analysis.server.client_and_server import (
    ServerCriterion,
    judge,
    parse_server_criteria,
)
from analysis.sources.loading import load_run
from analysis.sources.run import Run
from tokenswarm.exit_codes import ExitCode
from tokenswarm.metrics.server_metrics import (
    FILE_NAME,
    AzureResource,
    parse_server_metrics,
    read_samples,
)
from tokenswarm.redaction import write_line
from tokenswarm.userinput import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--server-metrics", metavar="TEXT", help="resources; default: the scenario's own option")
    parser.add_argument("--server-failure-criteria", metavar="TEXT", help="criteria; default: the scenario's own")
    parser.add_argument("--endpoint", metavar="URL", help="another Azure Monitor, such as the simulator's address")


def main(arguments: argparse.Namespace) -> int:
    """Query, store, compare, judge, print. Returns an `ExitCode`. Raises `BadInput`."""
    run = load_run(arguments.run)
    resources, criteria = _asked(run, arguments)
    gathered = store(run, resources, criteria, metrics_clients(arguments.endpoint))
    results = judge(criteria, read_samples(run.path / FILE_NAME))
    write_line("\n".join(report_lines(gathered, check_run(run, now=time.time()), results)))
    if gathered.problems:
        raise BadInput(gathered.problems)
    return ExitCode.CRITERIA_FAILED if any(result.state != "held" for result in results) else ExitCode.OK


def _asked(run: Run, arguments: argparse.Namespace) -> tuple[list[AzureResource], list[ServerCriterion]]:
    text = arguments.server_metrics or run.setting("options", "server-metrics") or ""
    resources, endpoints = parse_server_metrics(str(text))
    criteria = parse_server_criteria(
        str(arguments.server_failure_criteria or run.setting("options", "server-failure-criteria") or "")
    )
    if not resources and not endpoints:
        raise BadInput(["server-metrics: expected resources in the scenario or in --server-metrics, got none"])
    return resources, criteria
