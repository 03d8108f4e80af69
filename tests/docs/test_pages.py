"""Guides that cannot be out of date: tables are the code's, links lead somewhere, files that are named exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tokenswarm.config.options import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.conf"))


def test_tables_are_those_of_the_code() -> None:
    command = [sys.executable, "scripts/docs_tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_file_names_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"\b(?:scenarios|locustfiles|scripts|deploy)/[\w./-]+\.(?:conf|csv|jsonl|py|toml|yaml)", text)
    assert [name for name in named if not re.search("[A-Z]{4}", name) and not (ROOT / name).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_names_no_target_and_no_key(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    keys = {line.partition("=")[0].strip() for line in lines}
    assert not keys & {"host", "deployment", "api", "api-version", "rag-host", "env-file", "headless"}
    assert keys - {option.name for option in OPTIONS} <= {
        "locustfile",
        "users",
        "spawn-rate",
        "run-time",
        "stop-timeout",
    }


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_nothing_in_a_scenario_is_cut_off_as_a_comment(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            assert not re.search(r"\s[;#]", line), line


def test_every_package_that_is_imported_is_required() -> None:
    distributions = {
        "dotenv": "python-dotenv",
        "zmq": "pyzmq",
        "prometheus_client": "prometheus-client",
        "yaml": "pyyaml",
    }
    optional = {"azure", "opentelemetry", "pyarrow", "mlflow"}
    of_locust = {"flask", "flask_login", "configargparse"}  # whichever versions it takes
    required = {
        re.split(r"[^\w-]", line)[0].lower() for line in (ROOT / "requirements.txt").read_text().splitlines() if line
    }
    local = {"tokenswarm", "analysis", "simulator", "locustfiles"}
    for path in (path for package in local for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names = {module.partition(".")[0] for module in imported}
            for name in names - sys.stdlib_module_names - local - optional - of_locust:
                assert distributions.get(name, name).lower() in required, f"{path}: {name}"


def test_the_functions_that_the_architecture_walks_through_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walks = text.partition("## Four walks")[2]
    named = re.findall(r"`((?:tokenswarm|analysis|simulator)(?:\.\w+){2,})`", walks)
    assert walks.count("\n### ") == 4 and len(named) > 30
    assert [name for name in named if not _exists(name)] == []


def _exists(name: str) -> bool:
    """Whether a dotted name is a class or function of the sources, or a method of one; nothing is imported."""
    parts = name.split(".")
    for length in (len(parts) - 1, len(parts) - 2):
        path = ROOT.joinpath(*parts[:length]).with_suffix(".py")
        if path.is_file():
            body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
            for part in parts[length:]:
                found = [node for node in body if getattr(node, "name", None) == part]
                if not found:
                    return False
                body = getattr(found[0], "body", [])
            return True
    return False


def test_a_function_that_does_not_exist_would_be_noticed() -> None:
    assert _exists("tokenswarm.config.build.build_settings") and _exists("tokenswarm.users.ApiUser.ask")
    assert not _exists("tokenswarm.config.settings.build") and not _exists("tokenswarm.users.ApiUser.beg")


def test_the_table_of_folders_is_that_of_the_dependency_test() -> None:
    from tests.test_dependencies import ROOMS

    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w/]+)` \| .* \| ([\w, /]+) \|$", text, re.MULTILINE))
    listed = {folder.replace("/", "."): set(re.findall(r"\w+", names)) for folder, names in rows.items()}
    expected = {room: {name.rpartition(".")[2] for name in names.split()} for room, names in ROOMS.items()}
    assert {room: names - {"nothing", "of", "ours", "and"} for room, names in listed.items()} == expected
