"""Build the flat folder that Azure Load Testing takes: `make azure-bundle`, or this script.

    python deploy/azure-load-testing/bundle.py chat --scenario scenarios/paygo-gpt35-50rpm.conf
    python deploy/azure-load-testing/bundle.py rag --scenario scenarios/rag-peak.conf --engines 2

The names in the configuration (`AZURE_OPENAI_ENDPOINT`, `KEY_VAULT_NAME`, ...) come from the environment; all that are
missing are listed. No secret goes into the folder: the service reads them from Key Vault.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(PROJECT)]

from check_config import check_config  # noqa: E402

from tokenswarm.metrics.criteria import AZURE_METRICS, parse_criteria  # noqa: E402
from tokenswarm.redaction import write_line  # noqa: E402
from tokenswarm.userinput import BadInput  # noqa: E402

PACKAGES = (
    "locust",
    "gevent",
    "openai",
    "httpx2",
    "httptools",
    "jiter",
    "msgspec",
    "python-dotenv",
    "psutil",
    "rich",
    "jmespath",
    "websockets",
    "xxhash",
)
"""What the load generator imports; the analysis and its packages stay at home."""

ENTRA_PACKAGES = ("azure-identity",)
FILE_LIMIT = 50 * 1024 * 1024
"""Bytes from which the service wants a file zipped."""

LOCUST_OWN = ("users", "spawn-rate", "run-time")
"""Scenario keys that the service wants in the environment, to split them. A shape gives its own."""

ONE_ENGINE = ("shape", "search")
"""Scenario keys that decide the users of the whole test: every engine would start all of them."""


Metric = tuple[str, str]
"""Name and aggregation."""

FUNCTION_APP = "Microsoft.Web/sites"
CONTAINER_APP = "Microsoft.App/containerApps"
ORCHESTRATORS: dict[str, tuple[str, str, str, str | None, tuple[Metric, ...]]] = {
    "v1": (FUNCTION_APP, "ORCHESTRATOR_FUNCTION_KEY", "orchestrator-host--functionKey", "functionapp",
           (("HttpResponseTime", "Average"), ("Http5xx", "Total"), ("MemoryWorkingSet", "Average"))),
    "v2": (CONTAINER_APP, "ORCHESTRATOR_APP_APIKEY", "ORCHESTRATOR-APP-APIKEY", None,
           (("Requests", "Total"), ("UsageNanoCores", "Average"), ("WorkingSetBytes", "Average"))),
}  # fmt: skip
"""By contract: type of the resource, variable and secret of the key, kind, and metrics."""


class Problems(Exception):
    """What keeps the folder from being built, one line each."""


def read_scenario(path: Path) -> dict[str, str]:
    """Key and value of each line `key = value` of a scenario."""
    pairs = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";", "[")):
            pairs[key.strip()] = value.strip().strip("\"'")
    return pairs


def fill_in(template: str, values: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Replace each ${NAME}; a list item left empty goes. Raises `Problems` naming all that are missing."""
    for name in (name for name, value in values.items() if not value):
        template = re.sub(rf"^ *- \$\{{{name}\}}\n", "", template, flags=re.MULTILINE)
    names = list(dict.fromkeys(re.findall(r"\$\{(\w+)\}", template)))
    found = {name: values.get(name) or environment.get(name, "") for name in names}
    if missing := [name for name in names if not found[name]]:
        raise Problems([f"{name}: expected it in the environment, got none" for name in missing])
    return re.sub(r"\$\{(\w+)\}", lambda match: found[match[1]], template)


def load_entries(scenario: Mapping[str, str]) -> str:
    """Entries of the configuration's `env` for what Locust itself reads of the scenario."""
    given = [(f"LOCUST_{key.upper().replace('-', '_')}", scenario[key]) for key in LOCUST_OWN if key in scenario]
    return "\n  - ".join(f'name: {name}\n    value: "{value}"' for name, value in given)


def orchestrator_values(contract: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What the configuration says of an orchestrator of contract v1 (a function app) or v2 (a container app)."""
    if contract not in ORCHESTRATORS:
        raise Problems([f"rag-contract: expected v1 or v2, got {contract!r}"])
    kind_of_resource, key_name, secret, kind, metrics = ORCHESTRATORS[contract]
    lines = [f"kind: {kind}"] if kind else []
    lines += ["metrics:"]
    for name, aggregation in metrics:
        lines += [f"  - name: {name}", f"    namespace: {kind_of_resource}", f"    aggregation: {aggregation}"]
    return {
        "CONTRACT": "" if contract == "v1" else f"name: LOCUST_RAG_CONTRACT\n    value: {contract}",
        "ORCHESTRATOR_TYPE": kind_of_resource,
        "ORCHESTRATOR_KEY_NAME": key_name,
        "ORCHESTRATOR_KEY_SECRET": environment.get("ORCHESTRATOR_KEY_SECRET") or secret,
        "ORCHESTRATOR_METRICS": "\n    ".join(lines),
    }


def criteria_entries(scenario: Mapping[str, str], scenario_path: Path) -> str:
    """The scenario's criteria that the service can judge, as entries of `failureCriteria`. Raises `Problems`."""
    try:
        criteria = parse_criteria(scenario.get("failure-criteria", ""))
    except BadInput as error:
        raise Problems([f"{problem} ({scenario_path})" for problem in error.problems]) from error
    known = [str(criterion) for criterion in criteria if criterion.metric in AZURE_METRICS]
    if not known:
        names = ", ".join(sorted(AZURE_METRICS))
        raise Problems([f"failure-criteria: expected one of a metric of {names}, got none ({scenario_path})"])
    return "\n  - ".join(known)


def requirement_lines(entra: bool) -> list[str]:
    """The lines of the project's requirements that an engine needs."""
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines += (PROJECT / "requirements-azure.txt").read_text(encoding="utf-8").splitlines() if entra else []
    wanted = PACKAGES + (ENTRA_PACKAGES if entra else ())
    by_name = {re.split(r"[^\w-]", line, maxsplit=1)[0].lower(): line.partition("#")[0].strip() for line in lines}
    return [by_name[name] for name in wanted if name in by_name]


def zip_package(path: Path) -> None:
    """Our package as an archive that Python can import; dated alike, so that equal sources give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((PROJECT / "tokenswarm").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                entry = zipfile.ZipInfo(str(file.relative_to(PROJECT)), (2026, 1, 1, 0, 0, 0))
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def data_files(scenario: dict[str, str], scenario_path: Path) -> dict[str, Path]:
    """Name in the folder to the file. A CSV becomes .txt: the service cuts CSVs, and engines take their own rows."""
    files = {}
    for option in ("dataset", "trace"):
        if option in scenario:
            candidates = [PROJECT / scenario[option], scenario_path.parent / scenario[option], Path(scenario[option])]
            source = next((path for path in candidates if path.is_file()), None)
            if source is None:
                raise Problems([f"{option}: expected a file, got {scenario[option]!r} ({scenario_path})"])
            suffix = ".txt" if source.suffix.lower() == ".csv" else source.suffix
            files[f"{option}{suffix}"] = source
    return files


def flat_scenario(scenario: dict[str, str]) -> str:
    """The scenario without what holds a path or what the service sets itself."""
    dropped = {"locustfile", "dataset", "trace", "headless", "master", "worker", "processes", "env-file", "results-dir"}
    kept = {key: value for key, value in scenario.items() if key not in dropped and key not in LOCUST_OWN}
    return "".join(f"{key} = {value}\n" for key, value in kept.items())


def build(kind: str, scenario_path: Path, engines: int, output: Path, environment: Mapping[str, str]) -> list[Path]:
    """Write the folder anew and return its files. Raises `Problems` before anything is written."""
    scenario = read_scenario(scenario_path)
    locustfile = PROJECT / scenario.get("locustfile", "")
    files = data_files(scenario, scenario_path)
    if not locustfile.is_file():
        raise Problems([f"locustfile: expected a file, got {scenario.get('locustfile')!r} ({scenario_path})"])
    if engines > 1 and (whole := [key for key in ONE_ENGINE if key in scenario]):
        raise Problems([f"{key}: expected --engines 1, got {engines} ({scenario_path})" for key in whole])
    values = {
        "ENGINES": str(engines),
        "LOCUSTFILE": f"{locustfile.name}\n  - locustfile.txt",
        "DATA_FILES": "\n  - ".join([*files, "engine.csv"]),
        "LOAD": load_entries(scenario),
        "FAILURE_CRITERIA": criteria_entries(scenario, scenario_path),
    }
    contract = environment.get("ORCHESTRATOR_CONTRACT") or scenario.get("rag-contract") or "v1"
    values |= orchestrator_values(contract, environment)
    config = fill_in((HERE / f"{kind}.yaml").read_text(encoding="utf-8"), values, environment)
    if problems := check_config(yaml.safe_load(config)):
        raise Problems(problems)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / "config.yaml").write_text(config, encoding="utf-8")
    (output / "scenario.conf").write_text(flat_scenario(scenario), encoding="utf-8")
    (output / "locustfile.txt").write_text(locustfile.stem + "\n", encoding="utf-8")
    (output / "engine.csv").write_text("".join(f"{index}\n" for index in range(engines)), encoding="utf-8")
    requirements = requirement_lines(entra=scenario.get("auth") == "entra")
    (output / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    shutil.copyfile(HERE / "load_test.py", output / "load_test.py")
    shutil.copyfile(locustfile, output / locustfile.name)
    for name, source in files.items():
        shutil.copyfile(source, output / name)
    zip_package(output / "tokenswarm.pyz")
    written = sorted(output.iterdir())
    if large := [path for path in written if path.stat().st_size > FILE_LIMIT]:
        raise Problems([f"{path.name}: expected at most 50 MB, got {path.stat().st_size} bytes" for path in large])
    return written


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="build the folder that Azure Load Testing takes")
    parser.add_argument("kind", choices=["chat", "rag"], help="which configuration")
    parser.add_argument("--scenario", type=Path, required=True, help="scenario file")
    parser.add_argument("--engines", type=int, default=1, help="engine instances; users and rate are split over them")
    parser.add_argument("--output", type=Path, help="folder to write; default build/azure-load-testing/KIND")
    options = parser.parse_args(arguments)
    output = options.output or PROJECT / "build" / "azure-load-testing" / options.kind
    try:
        written = build(options.kind, options.scenario, options.engines, output, os.environ)
    except (Problems, OSError) as error:
        problems = error.args[0] if isinstance(error, Problems) else [str(error)]
        write_line("\n".join(problems), sys.stderr)
        return 2
    write_line(f"{output}: {', '.join(path.name for path in written)}")
    config = output / "config.yaml"
    write_line(f"az load test create --load-test-config-file {config} --test-id ... (see docs/azure.md)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
