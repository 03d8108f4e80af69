"""Turns a JMeter plan into a scenario: `python -m tokenswarm.jmx loadtest.jmx user.properties > scenario.conf`.

Given the `config.yaml` of Azure Load Testing, its plan, properties, criteria and auto-stop are taken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tokenswarm.jmx.load_test_config import read_config
from tokenswarm.jmx.plan import TestPlan, parse_properties, read_plan
from tokenswarm.jmx.scenario import MAX_FILE_BYTES, Scenario, apply_config, scenario_of, write_scenario
from tokenswarm.redaction import write_line
from tokenswarm.userinput import BadInput, decode_text, read_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with every problem on standard error."""
    options = _parser().parse_args(arguments)
    try:
        scenario = _read(options.plan, options.properties, options.dataset)
        if scenario.files and options.output is None:
            raise BadInput([f"output: expected --output FILE, as {', '.join(scenario.files)} is written beside it"])
        for name, content in scenario.files.items():
            _write(options.output.with_name(name), content)
            scenario.values["requests"] = str(options.output.with_name(name))
        text = write_scenario(scenario, [path.name for path in (options.plan, options.properties) if path])
        if options.output is None:
            write_line(text, end="")
        else:
            _write(options.output, text)
    except BadInput as error:
        write_line("\n".join(error.problems), sys.stderr)
        return 2
    for warning in scenario.warnings:
        write_line(f"warning: {warning}", sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tokenswarm.jmx", description=__doc__.split("\n\n")[1])
    parser.add_argument(
        "plan", type=Path, help="JMeter plan (.jmx), or the config.yaml of Azure Load Testing that names it"
    )
    parser.add_argument("properties", type=Path, nargs="?", help="user.properties of the run")
    parser.add_argument("--dataset", type=Path, help="questions, where the plan's own file is elsewhere")
    parser.add_argument("-o", "--output", type=Path, help="scenario file to write; standard output when not given")
    return parser


def _read(path: Path, properties_path: Path | None, dataset: Path | None) -> Scenario:
    """The scenario of a plan, or of the configuration that names one."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return _read_plan(path, properties_path, dataset)[0]
    config = read_config(decode_text(read_file(path, "configuration", MAX_FILE_BYTES), str(path)), str(path))
    if properties_path is None and config.properties is not None:
        properties_path = path.parent / config.properties
    scenario, plan = _read_plan(path.parent / config.plan, properties_path, dataset)
    apply_config(scenario, plan, config)
    return scenario


def _read_plan(plan_path: Path, properties_path: Path | None, dataset: Path | None) -> tuple[Scenario, TestPlan]:
    xml = read_file(plan_path, "plan", MAX_FILE_BYTES)
    properties: dict[str, str] = {}
    if properties_path is not None:
        data = read_file(properties_path, "properties", MAX_FILE_BYTES)
        properties = parse_properties(decode_text(data, str(properties_path)))
    plan = read_plan(xml, properties, str(plan_path))
    beside = plan_path.parent / plan.data_files[0].filename if plan.data_files and plan.data_files[0].filename else None
    if dataset is None and beside is not None and "\0" not in str(beside) and beside.is_file():
        dataset = beside
    return scenario_of(plan, dataset), plan


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput([f"output {path}: expected a file that can be written, got: {error}"]) from error


if __name__ == "__main__":
    sys.exit(main())
