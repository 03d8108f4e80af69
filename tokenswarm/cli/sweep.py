"""`tokenswarm sweep`: a scenario once for each level, one after another; a finished level is kept.

Each level is an ordinary headless run in a process of its own: warmed up, held, drained, judged and written. The exit
code is the gravest of the levels'; it is that of an interruption where levels are missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tokenswarm.cli.hand_over import LOCUST, run_part
from tokenswarm.cli.scenarios import SHORT, has_option, locust_arguments, scenario_keys
from tokenswarm.cli.sweep_axes import levels_of, parse_axes
from tokenswarm.exit_codes import ExitCode, gravest
from tokenswarm.installation import version
from tokenswarm.lease import Lease
from tokenswarm.redaction import write_line
from tokenswarm.results.run_directory import read_run_json, safe_name
from tokenswarm.sweep_file import FILE_NAME, FINISHED, UNFINISHED, SweepFile, SweepLevel, read_sweep
from tokenswarm.userinput import BadInput, format_number, read_duration

OURS = ("--results-dir", "--test-name", "--config", "--headless", "--autostart", "--worker", "--web-host", "--web-port")
"""Options that a sweep sets itself, or cannot have."""

ENDING = ("run-time", "rate-stages", "trace", "requests")
"""Options one of which ends a level."""

VERDICTS = frozenset({ExitCode.OK, ExitCode.LOCUST, ExitCode.CRITERIA_FAILED, ExitCode.UNTRUSTED})
"""How a level ends that is finished, for good or bad."""

KEPT = ("run.json", "requests.csv")
WARM_UP_SHARE = 0.1
DRAIN_S = 60
CHUNK = 1 << 20


@dataclass(slots=True)
class Interruption:
    """A signal that was sent to the sweep: it goes to the level that is on, and no further one begins."""

    number: int = 0
    level: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        if self.level is not None and self.level.poll() is None:
            self.level.send_signal(number)


def run_sweep(scenario: Path, texts: Sequence[str], into: Path | None, options: Sequence[str]) -> int:
    """Run what is missing of a sweep, and write its report. Raises `BadInput`, before anything is sent."""
    axes = parse_axes(texts)
    keys = scenario_keys(scenario)
    if problems := _problems(axes, keys, options):
        raise BadInput(problems)
    directory = into if into is not None else Path("results") / f"{safe_name(scenario.stem)}-sweep"
    levels = [SweepLevel(values) for values in levels_of(axes)]
    planned = SweepFile(version(), str(scenario), _fingerprint(scenario, options), axes, levels)
    sweep = _open(directory, planned)
    lease = Lease(directory)
    try:
        lease.take()
    except OSError as error:
        raise BadInput([f"--into: expected a sweep that is not on, got {directory} ({error})"]) from error
    try:
        code = _run_levels(sweep, directory, scenario, [*options, *_defaults(keys, options)])
    finally:
        lease.release()
    if code != ExitCode.INTERRUPTED and any(level.state == FINISHED for level in sweep.levels):
        told = run_part("analysis.__main__", ["sweep-report", str(directory)])
        code = code if told == ExitCode.OK else gravest([code, ExitCode.UNTRUSTED])
    return int(code)


def _run_levels(sweep: SweepFile, directory: Path, scenario: Path, options: Sequence[str]) -> ExitCode:
    interruption = Interruption()
    before = {number: signal.signal(number, interruption) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for position, level in enumerate(sweep.levels, start=1):
            if level.state == FINISHED and _is_as_it_was(level, directory):
                write_line(f"Level {position} of {len(sweep.levels)}: {level.name}: finished before, kept")
                continue
            write_line(f"Level {position} of {len(sweep.levels)}: {level.name}")
            _run_level(level, directory, scenario, options, interruption)
            sweep.write(directory)
            if level.state != FINISHED:
                return _unfinished(level, interruption)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return gravest(level.exit_code if level.exit_code is not None else ExitCode.UNTRUSTED for level in sweep.levels)


def _run_level(
    level: SweepLevel, directory: Path, scenario: Path, options: Sequence[str], interruption: Interruption
) -> None:
    """Run one level; afterwards it says how it ended. A signal that has come meanwhile keeps it from beginning."""
    level.state, level.files = UNFINISHED, {}
    parent = directory / safe_name(level.name)
    before = set(_runs(parent))
    given = [*options, *level_options(level.values, options), "--results-dir", str(directory)]
    arguments = locust_arguments(scenario, [*given, "--test-name", parent.name], web=False)
    if interruption.number:
        return
    sys.stdout.flush()
    command = [sys.executable, "-c", LOCUST, *arguments]
    # In a session of its own: a Ctrl-C reaches it once, through us.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        interruption.level = process
        if interruption.number:
            process.send_signal(interruption.number)
        level.exit_code = process.wait()
    made = sorted(set(_runs(parent)) - before)
    if made:
        level.directory = str(made[-1].relative_to(directory))
        if level.exit_code in VERDICTS and _state_of(made[-1]) == "finished":
            level.state, level.files = FINISHED, {name: _digest(made[-1] / name) for name in KEPT}


def _unfinished(level: SweepLevel, interruption: Interruption) -> ExitCode:
    if level.exit_code == ExitCode.BAD_INPUT:
        return ExitCode.BAD_INPUT
    why = "interrupted" if interruption.number else f"ended with exit code {level.exit_code}"
    write_line(f"{level.name}: {why}. The same command goes on with this level.", sys.stderr)
    return ExitCode.INTERRUPTED if interruption.number else ExitCode.UNTRUSTED


def level_options(values: Mapping[str, str], given: Sequence[str]) -> list[str]:
    """The options of one level; users of a closed load come all at once where nothing else is said."""
    made: list[str] = []
    for axis, value in values.items():
        if axis == "sessions":
            made += ["--rate", value, "--arrivals-of", "sessions"]
        else:
            made += [f"--{axis}", value]
    if "users" in values and not has_option(given, "--spawn-rate"):
        made += ["--spawn-rate", values["users"]]
    return made


def _problems(axes: Mapping[str, Sequence[str]], keys: Mapping[str, str], options: Sequence[str]) -> list[str]:
    set_here = [name for name in OURS if has_option(options, name)]
    problems = [f"sweep: expected no {name}, which a sweep sets itself" for name in set_here]
    varied = ["rate" if axis == "sessions" else axis for axis in axes]
    problems += [
        f"--sweep {axis}: expected no --{axis} beside it, got both"
        for axis in varied
        if has_option(options, f"--{axis}")
    ]
    if not any(_given(name, keys, options) for name in ENDING):
        problems.append("run-time: expected how long each level is held (--run-time 60s), got none")
    alone = ["search", *(["shape"] if "users" in axes else [])]
    problems += [
        f"{name}: expected none in a sweep, which holds each level by itself"
        for name in alone
        if _given(name, keys, options)
    ]
    return problems


def _given(name: str, keys: Mapping[str, str], options: Sequence[str]) -> bool:
    variable = "LOCUST_" + name.replace("-", "_").upper()
    return has_option(options, f"--{name}") or bool(keys.get(name)) or bool(os.environ.get(variable))


def _defaults(keys: Mapping[str, str], options: Sequence[str]) -> list[str]:
    """A level is warmed up and drained where the scenario does not say how."""
    made = [] if _given("stop-timeout", keys, options) else ["--stop-timeout", str(DRAIN_S)]
    held_s = read_duration(_option(options, "--run-time") or keys.get("run-time") or "")
    if held_s and not _given("warm-up", keys, options):
        made += ["--warm-up", format_number(round(WARM_UP_SHARE * held_s, 3))]
    return made


def _option(options: Sequence[str], name: str) -> str | None:
    short = SHORT.get(name, name)
    for position, text in enumerate(options):
        if text in (name, short) and position + 1 < len(options):
            return options[position + 1]
        if text.startswith(f"{name}="):
            return text.partition("=")[2]
    return None


def _fingerprint(scenario: Path, options: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([scenario.read_text(encoding="utf-8"), *options]).encode()).hexdigest()


def _open(directory: Path, planned: SweepFile) -> SweepFile:
    """The sweep that this directory holds, or the planned one in a new directory. Raises `BadInput`."""
    if (directory / FILE_NAME).exists():
        found = read_sweep(directory)
        if any(level.directory for level in found.levels):
            if problems := _differences(found, planned, directory):
                raise BadInput(problems)
            return found
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BadInput(
            [f"--into: expected a new directory or one of a sweep, got {directory}, which holds something else"]
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        planned.write(directory)
    except OSError as error:
        raise BadInput([f"--into: expected a directory that can be written, got {error}"]) from error
    return planned


def _differences(found: SweepFile, planned: SweepFile, directory: Path) -> list[str]:
    """Why a sweep cannot be gone on with: its levels would not be alike."""
    elsewhere = f"in {directory}; name another directory by --into"
    checks = (
        ("version of Tokenswarm", found.version, planned.version),
        ("axes", _axes_text(found.axes), _axes_text(planned.axes)),
    )
    problems = [f"sweep: expected the {what} {was}, got {now} ({elsewhere})" for what, was, now in checks if was != now]
    if found.fingerprint != planned.fingerprint:
        problems.append(
            f"sweep: expected the scenario and the options that it was begun with, got others ({elsewhere})"
        )
    if [level.values for level in found.levels] != [level.values for level in planned.levels] and not problems:
        problems.append(f"sweep: expected the levels of its axes, got others in {directory / FILE_NAME}")
    return problems


def _axes_text(axes: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}={','.join(values)}" for name, values in axes.items())


def _is_as_it_was(level: SweepLevel, directory: Path) -> bool:
    """Whether the files of a finished level are those that it left."""
    run = directory / level.directory
    changed = [name for name in KEPT if _digest(run / name) != level.files.get(name)]
    if changed:
        write_line(f"{level.name}: {', '.join(changed)} in {run} is not as it was left: run again", sys.stderr)
    return not changed


def _runs(parent: Path) -> list[Path]:
    return [path.parent for path in parent.glob("*/run.json")]


def _state_of(run: Path) -> str:
    try:
        return str(read_run_json(run).get("state"))
    except (OSError, ValueError):
        return "unreadable"


def _digest(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
    except OSError:
        return ""
    return found.hexdigest()
