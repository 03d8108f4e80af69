"""The dependency rule: which room may import which, read off the sources and off what is really loaded."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.rooms import circles, module_arrows, sources

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tokenswarm", "analysis", "simulator")
NETWORK = {"locust", "gevent", "socket", "requests", "httpx2", "openai"}
IMPORTS = re.compile(r"\s*May import: ([^.]+)\.", re.DOTALL)

ROOMS: dict[str, str] = {
    "tokenswarm.workload": "userinput",
    "tokenswarm.payload": "record",
    "tokenswarm.apis": "record payload",
    "tokenswarm.apps": "record userinput payload apis",
    "tokenswarm.recordings": "installation userinput apis",
    "tokenswarm.logs": "userinput apis recordings",
    "tokenswarm.traffic": "installation redaction userinput exit_codes workload apis recordings logs",
    "tokenswarm.transport": "",
    "tokenswarm.client": "record payload apis transport",
    "tokenswarm.metrics": "record userinput exit_codes",
    "tokenswarm.config": "redaction record userinput exit_codes workload apis apps recordings traffic transport "
    "metrics",
    "tokenswarm.keys": "userinput config",
    "tokenswarm.results": "redaction installation record metrics",
    "tokenswarm.generator": "record transport metrics",
    "tokenswarm.preflight": "redaction record userinput workload apis apps transport client config keys results",
    "tokenswarm.sender": "record workload payload apis recordings traffic client config results generator",
    "tokenswarm.control": "lease record userinput exit_codes workload apis transport metrics config results generator",
    "tokenswarm.runner": "redaction record userinput exit_codes workload metrics config results preflight sender "
    "control",
    "tokenswarm.live": "redaction installation record userinput exit_codes workload metrics config generator control "
    "runner",
    "tokenswarm.telemetry": "redaction record userinput",
    "tokenswarm.jmx": "redaction userinput exit_codes workload config",
    "tokenswarm.selfcheck": "redaction installation users record exit_codes transport metrics generator",
    "tokenswarm.cli": "redaction installation lease sweep_file userinput exit_codes record workload transport config "
    "results preflight selfcheck",
    "analysis.sources": "redaction analysis.statistics record userinput metrics",
    "analysis.figures": "analysis.statistics analysis.sources record userinput metrics",
    "analysis.sizing": "userinput metrics",
    "analysis.findings": "analysis.statistics analysis.sources analysis.figures analysis.sizing record userinput "
    "exit_codes workload metrics",
    "analysis.server": "record userinput exit_codes metrics analysis.statistics analysis.sources analysis.figures "
    "analysis.findings",
    "analysis.plots": "metrics analysis.statistics analysis.sources analysis.figures analysis.findings analysis.server",
    "analysis.report": "redaction record exit_codes metrics analysis.statistics analysis.sources analysis.figures "
    "analysis.findings analysis.plots",
    "analysis.compare": "record userinput exit_codes metrics analysis.statistics analysis.sources analysis.figures "
    "analysis.findings analysis.plots analysis.report",
    "analysis.history": "record userinput exit_codes metrics analysis.statistics analysis.sources analysis.figures "
    "analysis.findings analysis.report analysis.compare",
    "analysis.export": "record userinput analysis.statistics analysis.sources analysis.figures analysis.findings",
    "analysis.commands": "lease sweep_file redaction record userinput exit_codes metrics analysis.statistics "
    "analysis.sources analysis.figures analysis.findings analysis.server analysis.plots analysis.report "
    "analysis.compare analysis.history analysis.export analysis.sizing",
    "simulator.config": "",
    "simulator.truth": "simulator.config",
    "simulator.wire": "simulator.config",
    "simulator.apis": "simulator.config simulator.wire",
    "simulator.service": "simulator.config simulator.truth simulator.wire simulator.apis",
    "simulator.rag": "simulator.config simulator.truth simulator.wire",
    "simulator.apps": "simulator.config simulator.truth simulator.wire simulator.service simulator.rag",
    "simulator.known_timing": "",
    "simulator.server": "simulator.config simulator.truth simulator.wire simulator.apis simulator.service "
    "simulator.rag simulator.apps",
}
"""Room -> rooms and top modules it may import; a name without a package is of `tokenswarm`. Every room stands below
those that it may import: the order has no arrow upwards."""

TOP: dict[str, str] = {
    "tokenswarm.record": "",
    "tokenswarm.redaction": "record",
    "tokenswarm.userinput": "",
    "tokenswarm.exit_codes": "",
    "tokenswarm.lease": "",
    "tokenswarm.sweep_file": "userinput",
    "tokenswarm.installation": "",
    "tokenswarm.__main__": "redaction cli",
    "tokenswarm.plugin": "redaction userinput exit_codes preflight config control runner live telemetry",
    "tokenswarm.users": "record workload apis traffic client config sender runner plugin",
    "analysis.statistics": "metrics",
    "analysis.__main__": "redaction userinput exit_codes analysis.commands",
    "simulator.__main__": "simulator.config simulator.server",
}
"""The modules that stand beside the rooms."""

NO_NETWORK = ("tokenswarm.workload", "tokenswarm.payload", "tokenswarm.apis", "tokenswarm.metrics")


def allowed(room: str) -> set[str]:
    names = {**ROOMS, **TOP}[room].split()
    return {room} | {name if "." in name else f"tokenswarm.{name}" for name in names}


def room_of(module: str) -> str:
    """`tokenswarm.config` of `tokenswarm.config.options`; a top module is its own room."""
    return ".".join(module.split(".")[:2])


def modules(package: str) -> list[str]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.name != "__init__.py"]


MODULES = [module for package in PACKAGES for module in modules(package)]


def path_of(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_what_it_may(module: str) -> None:
    ours = {room_of(name) for name in imports(path_of(module)) if name.partition(".")[0] in PACKAGES}
    assert ours <= allowed(room_of(module))


def test_every_room_is_in_the_table() -> None:
    assert {room_of(module) for module in MODULES} == {*ROOMS, *TOP}


def test_the_table_has_no_arrow_upwards() -> None:
    stdlib_only = ("record", "userinput", "exit_codes", "installation", "lease", "redaction", "sweep_file")
    above: set[str] = {f"tokenswarm.{name}" for name in stdlib_only} | {"analysis.statistics"}
    late = {"tokenswarm.users"}  # the self-check's locustfile is a user's: it derives from what users derive from
    for room in ROOMS:
        assert allowed(room) - {room} - late <= above, room
        above.add(room)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(module_arrows(sources(None))) == []


def test_no_two_classes_have_one_name() -> None:
    """The simulator, an oracle of its own, is left out."""
    texts = [text for module, text in sources(None).items() if not module.startswith("simulator.")]
    names = [node.name for text in texts for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_of_a_size_to_be_seen_at_once(room: str) -> None:
    assert len([module for module in MODULES if room_of(module) == room]) <= 13


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_and_what_it_may_import(room: str) -> None:
    tree = ast.parse(ROOT.joinpath(*room.split("."), "__init__.py").read_text())
    text = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1  # no code
    found = IMPORTS.search(text)
    names = set() if found is None else set(found.group(1).replace(",", " ").split()) - {"and", "nothing", "of", "ours"}
    assert names == set(ROOMS[room].replace("analysis.", "").replace("simulator.", "").split())


@pytest.mark.parametrize("room", ROOMS)
def test_what_is_really_loaded(room: str) -> None:
    """Loading all modules of a room loads no room that the table, followed to its end, does not lead to."""
    names = [module for module in MODULES if room_of(module) == room and not module.endswith("locustfile")]
    code = f"import sys, {', '.join(names)}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    reached, todo = set(), [room]
    while todo:
        if (one := todo.pop()) not in reached:
            reached.add(one)
            todo += allowed(one)
    ours = {room_of(name) for name in loaded if name.count(".") and name.partition(".")[0] in PACKAGES}
    assert ours <= reached
    if room in NO_NETWORK:
        assert not {name.partition(".")[0] for name in loaded} & (NETWORK - {"socket"})
        assert not {name for module in names for name in packages(path_of(module))} & NETWORK


def test_the_settings_load_no_gevent() -> None:
    """Options become settings without a network library; identities and vaults are other modules of that room."""
    code = "import sys, tokenswarm.config.settings; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & (NETWORK - {"socket"})


@pytest.mark.parametrize(
    ("module", "not_needed"),
    [
        ("tokenswarm.users", "openai httpx2 pydantic anthropic azure pandas numpy plotly jsonschema"),
        ("tokenswarm.cli.main", "openai httpx2 pydantic locust gevent flask pandas numpy plotly"),
        ("analysis.commands.check", "openai pydantic locust gevent flask plotly azure openpyxl mlflow"),
        ("simulator.__main__", "openai pydantic locust gevent pandas plotly azure"),
    ],
)
def test_a_start_does_without_what_only_some_runs_need(module: str, not_needed: str) -> None:
    """Each is paid by every process that is started, in CPU time before its first line."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(not_needed.split())


def test_the_record_needs_the_standard_library_only() -> None:
    assert packages(path_of("tokenswarm.record")) <= sys.stdlib_module_names


@pytest.mark.parametrize("room", ["payload", "apis", "transport", "client"])
def test_the_client_knows_nothing_of_locust(room: str) -> None:
    files = (ROOT / "tokenswarm" / room).glob("*.py")
    assert not {name for path in files for name in packages(path)} & {"locust"}


def test_analysis_does_not_load_locust() -> None:
    names = [module for module in MODULES if module.startswith("analysis.")]
    code = f"import sys, {', '.join(names)}; print(sorted({{'locust', 'gevent'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_locustfile_carries_a_packages_name() -> None:
    packages_here = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert not packages_here & {path.stem for path in (ROOT / "locustfiles").glob("*.py")}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_itself_is_empty(package: str) -> None:
    assert importlib.import_module(package).__doc__ is None
    assert (ROOT / package / "__init__.py").read_text() == ""
