"""`python -m analysis compare`: two sides in one table, and gates that fail a build.

compare A B                         one run each, a run directory or the directory of a test (its latest run)
compare A1 A2 vs B1 B2              repeats
compare --baseline main.json B      a baseline file (or run directory) as A
compare --save-baseline new.json B  write the last side as a baseline file
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from analysis.compare.comparison import Comparison, compare
from analysis.compare.conclusion import key_figures, to_json
from analysis.compare.gate import parse_gates
from analysis.compare.measures import Side, load_side, measure, save_side
from analysis.compare.text import to_markdown, to_text
from analysis.sources.loading import load_runs
from analysis.sources.newest import newest
from tokenswarm.exit_codes import ExitCode
from tokenswarm.redaction import write_line
from tokenswarm.userinput import BadInput

SIDES_WORD = "vs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m analysis compare`."""
    parser.description = (
        "Every figure of B beside A with the interval of the difference; exit code 3 when a gate fails."
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help=f"A B, or repeats: A1 A2 {SIDES_WORD} B1 B2 (default: the last two runs of the test that ran last)",
    )
    parser.add_argument(
        "--baseline", action="append", default=[], metavar="FILE|RUN", help="side A; all RUNs are side B"
    )
    parser.add_argument("--save-baseline", type=Path, metavar="FILE", help="write the last side as a baseline file")
    parser.add_argument("--fail-if", action="append", default=[], metavar="GATE", help='"p95(ttft_ms) worse > 10 %%"')
    parser.add_argument("--vary", default="", metavar="OPTIONS", help="options that differ on purpose: rate,deployment")
    parser.add_argument("--force", action="store_true", help="compare unlike runs; what differs is said")
    parser.add_argument("--confidence", type=float, default=95.0, metavar="PERCENT", help="of each interval (95)")
    parser.add_argument("--seed", type=int, default=1, help="of the resampling (1)")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("--all", action="store_true", help="every figure, not only the key ones (json has every one)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with overlaid plots")


def main(args: argparse.Namespace) -> int:
    """Compare, print, and return the exit code. Raises `BadInput` with all problems."""
    gates = parse_gates(args.fail_if)
    if not 50 <= args.confidence < 100:
        raise BadInput([f"--confidence: expected a percentage from 50 to below 100, got {args.confidence:g}"])
    first, second = _sides(args)
    if args.save_baseline is not None:
        save_side(second, args.save_baseline)
    if first is None:
        if gates:
            raise BadInput(["--fail-if: expected two sides to judge, got one"])
        write_line(f"{args.save_baseline}: baseline of {', '.join(second.runs)}")
        return ExitCode.OK
    comparison = compare(
        first,
        second,
        gates=gates,
        vary=[key.strip() for key in args.vary.split(",") if key.strip()],
        force=args.force,
        confidence=args.confidence / 100,
        seed=args.seed,
    )
    if args.html is not None:
        from analysis.compare.page import render_comparison  # plotting is heavy: only when it is asked for

        args.html.write_text(render_comparison(comparison), encoding="utf-8")
    write_line(_printed(comparison, args.format, args.all))
    return comparison.exit_code


def _printed(comparison: Comparison, form: str, every: bool) -> str:
    if form == "json":
        return json.dumps(to_json(comparison), indent=2)
    figures = comparison.figures if every else key_figures(comparison)
    return to_markdown(comparison, figures) if form == "markdown" else to_text(comparison, figures)


def _sides(args: argparse.Namespace) -> tuple[Side | None, Side]:
    """Side A (`None` when only a baseline is to be written) and side B."""
    one_side = bool(args.baseline or args.save_baseline)
    runs = args.runs or [str(run) for run in newest(1 if one_side else 2)]
    a_paths, b_paths = _split(runs, args.baseline, args.save_baseline is not None)
    problems: list[str] = []
    sides = []
    for label, paths in (("A", a_paths), ("B", b_paths)):
        try:
            sides.append(_side(label, paths) if paths else None)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    first, second = sides
    assert second is not None
    return first, second


def _split(runs: Sequence[str], baseline: Sequence[str], saving: bool) -> tuple[list[str], list[str]]:
    sides = _between(runs, SIDES_WORD)
    if baseline and len(sides) == 1:
        return list(baseline), sides[0]
    if not baseline and len(sides) == 2 and all(sides):
        return sides[0], sides[1]
    if not baseline and len(sides) == 1 and len(runs) == 2:
        return [runs[0]], [runs[1]]
    if not baseline and len(sides) == 1 and saving:
        return [], list(runs)
    expected = f"A B, A1 A2 {SIDES_WORD} B1 B2, or --baseline A with the runs of B"
    raise BadInput(
        [f"compare: expected two sides ({expected}), got {' '.join([*runs, *(f'--baseline {b}' for b in baseline)])}"]
    )


def _between(words: Sequence[str], separator: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _side(label: str, paths: Sequence[str]) -> Side:
    files = [path for path in paths if path.endswith(".json") and Path(path).is_file()]
    if not files:
        return measure(label, load_runs(paths))
    if len(paths) > 1:
        raise BadInput([f"{label}: expected one baseline file or run directories, got {', '.join(paths)}"])
    return load_side(Path(files[0]))
