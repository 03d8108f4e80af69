"""`python -m analysis history DIR`: the runs below a directory in order, what changed for good, and gates."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.compare.comparison import Comparison, compare
from analysis.compare.gate import Gate, parse_gates
from analysis.compare.measures import measure
from analysis.history import text
from analysis.history.collecting import collect
from analysis.history.past_run import PastRun
from analysis.history.trend import TestHistory, histories
from analysis.report.terminal import print_table
from analysis.sources.loading import load_runs
from analysis.sources.newest import RESULTS
from tokenswarm.exit_codes import ExitCode, gravest
from tokenswarm.redaction import write_line
from tokenswarm.userinput import BadInput, counted

DEFAULT_AGAINST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "directory", nargs="?", type=Path, default=RESULTS, metavar="DIR",
        help="where runs are, or the directory of one test (default: results)",
    )  # fmt: skip
    parser.add_argument("--test", metavar="NAME", help="only the runs of this test")
    parser.add_argument("--last", type=int, metavar="N", help="list only the last N runs of each test")
    parser.add_argument(
        "--fail-if", action="append", default=[], metavar="GATE",
        help='judge the latest run of each test against the runs before it: "p95(ttft_ms) worse > 10 %%"',
    )  # fmt: skip
    parser.add_argument(
        "--against", type=int, default=DEFAULT_AGAINST, metavar="K",
        help=f"how many trusted runs before the latest one the gates compare with ({DEFAULT_AGAINST})",
    )  # fmt: skip
    parser.add_argument("--vary", default="", metavar="OPTIONS", help="options that may differ: deployment,model")
    parser.add_argument("--force", action="store_true", help="let gates compare unlike runs")
    parser.add_argument("--rebuild", action="store_true", help="measure each run again, whatever the cache holds")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")


def main(args: argparse.Namespace) -> int:
    """List, say what changed, judge the gates. Returns the gravest exit code. Raises `BadInput`."""
    gates = parse_gates(args.fail_if)
    problems = [
        f"--{name}: expected a whole number from 1, got {value}"
        for name, value in (("last", args.last), ("against", args.against))
        if value is not None and value < 1
    ]
    if problems:
        raise BadInput(problems)
    found = collect(args.directory, args.rebuild)
    runs = [run for run in found.runs if args.test in (None, run.test_name)]
    for line in (*found.notes, *(f"left out: {problem}" for problem in found.unreadable)):
        write_line(line, sys.stderr)
    if not runs:
        raise BadInput([_expected_runs(args, found.runs)])
    tests = histories(runs)
    judged = [_judge(args, history, gates) for history in tests] if gates else []
    _print(args, tests, judged)
    return gravest(code for code, _ in judged)


def _expected_runs(args: argparse.Namespace, found: Sequence[PastRun]) -> str:
    if args.test is None or not found:
        return f"{args.directory}: expected run directories (with a run.json) below it, got none that can be read"
    names = ", ".join(sorted({run.test_name for run in found}))
    return f"--test: expected one of the tests below {args.directory} ({names}), got {args.test}"


def _judge(args: argparse.Namespace, history: TestHistory, gates: Sequence[Gate]) -> tuple[int, list[str]]:
    """Exit code and lines of the gates. A test without a trusted run to compare with has not passed."""
    latest = history.runs[-1]
    before = [run for run in history.runs[:-1] if run.is_trusted][-args.against :]
    if not before:
        return ExitCode.UNTRUSTED, [f"{history.test_name}: no trusted run before {latest.path} to compare it with"]
    sides = [
        measure(label, load_runs([args.directory / run.path for run in of]))
        for label, of in (("before", before), ("latest", [latest]))
    ]
    vary = [key.strip() for key in args.vary.split(",") if key.strip()]
    return _outcome(history, len(before), compare(*sides, gates=gates, vary=vary, force=args.force))


def _outcome(history: TestHistory, before: int, comparison: Comparison) -> tuple[int, list[str]]:
    lines = [f"{history.runs[-1].path} against {counted(before, 'trusted run')} before it"]
    lines += [f"  ! {warning}" for warning in comparison.warnings]
    lines += [f"  {'held  ' if gate.state == 'held' else 'FAILED'}  {gate}" for gate in comparison.gates]
    return comparison.exit_code, lines


def _print(args: argparse.Namespace, tests: Sequence[TestHistory], judged: Sequence[tuple[int, list[str]]]) -> None:
    lines = [line for _, of_test in judged for line in of_test]
    if args.format == "json":
        write_line(json.dumps({"tests": text.to_json(tests), "gates": lines}, indent=2))
    elif args.format == "markdown":
        write_line("\n\n".join(filter(None, (text.to_markdown(tests, args.last), "\n".join(f"- {x}" for x in lines)))))
    else:
        for history in tests:
            print_table(text.table_of(history, args.last))
        if lines:
            write_line("\n".join(lines))
