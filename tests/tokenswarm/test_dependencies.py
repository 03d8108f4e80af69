"""The dependency rule, read off the sources: who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PURE = ("record", "sse", "chat", "rag", "arrivals", "stages", "prompts", "dataset", "criteria", "samples", "lengths")
NETWORK = {"locust", "gevent", "socket", "ssl", "requests", "httpx2", "openai"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_know_no_network(module: str) -> None:
    assert not packages(ROOT / "tokenswarm" / f"{module}.py") & NETWORK


def test_the_record_needs_the_standard_library_only() -> None:
    assert packages(ROOT / "tokenswarm" / "record.py") <= sys.stdlib_module_names


@pytest.mark.parametrize("module", ["transport", "connecting", "client", "answer", "attempt", "request", "sdk"])
def test_the_client_knows_nothing_of_locust(module: str) -> None:
    assert "locust" not in packages(ROOT / "tokenswarm" / f"{module}.py")


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=lambda path: path.name)
def test_analysis_takes_pure_modules_only(path: Path) -> None:
    allowed = re.compile(r"tokenswarm\.(record|criteria|samples|problems|quantity|server_metrics)(\.|$)|tokenswarm$")
    assert not {name for name in imports(path) if name.startswith("tokenswarm") and not allowed.match(name)}
    assert not packages(path) & {"locust", "gevent", "simulator"}


@pytest.mark.parametrize("path", sorted((ROOT / "simulator").rglob("*.py")), ids=lambda path: path.name)
def test_the_simulator_is_an_oracle_of_its_own(path: Path) -> None:
    assert not packages(path) & {"tokenswarm", "analysis", "locust", "gevent"}


def test_analysis_does_not_load_locust() -> None:
    code = "import sys, analysis.__main__; print(sorted({'locust', 'gevent'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_locustfile_carries_a_packages_name() -> None:
    packages_here = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert not packages_here & {path.stem for path in (ROOT / "locustfiles").glob("*.py")}


def test_the_package_itself_is_empty() -> None:
    assert (ROOT / "tokenswarm" / "__init__.py").read_text() == ""
