"""Write the tables of the guides from the code: options, scenarios, metrics, criteria, exit codes.

    python scripts/docs_tables.py [--check]

A table stands between `<!-- NAME -->` and `<!-- end of NAME -->`. With --check nothing is written, and the exit code
is 1 when a table is out of date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.figures.metrics import markdown_table  # noqa: E402
from tokenswarm.apps.mapping import PRESETS, preset_names  # noqa: E402
from tokenswarm.apps.template import PLACEHOLDERS  # noqa: E402
from tokenswarm.cli.scenarios import purpose  # noqa: E402
from tokenswarm.config.environment import NAMES, OPTION_NAMES, SECRET_NAMES  # noqa: E402
from tokenswarm.config.option_docs import doc_of, find  # noqa: E402
from tokenswarm.config.options import OPTIONS  # noqa: E402
from tokenswarm.exit_codes import ExitCode  # noqa: E402
from tokenswarm.metrics.criteria import AZURE_METRICS, METRICS  # noqa: E402
from tokenswarm.record import COLUMNS  # noqa: E402
from tokenswarm.results.column_docs import COLUMN_DOCS  # noqa: E402

PAGES = (
    "README.md",
    "docs/app.md",
    "docs/scenarios.md",
    "docs/options.md",
    "docs/architecture.md",
    "docs/metrics.md",
    "docs/criteria.md",
)
EXIT_CODES = {
    ExitCode.OK: "the criteria held, or there were none and every request succeeded",
    ExitCode.LOCUST: "Locust's own: some requests failed (only where no criteria are given)",
    ExitCode.BAD_INPUT: "bad input; nothing was sent",
    ExitCode.CRITERIA_FAILED: "a criterion failed or had no data, nothing was answered, or auto-stop ended the run",
    ExitCode.INTERNAL_ERROR: "an exception that nobody handled, in Tokenswarm, Locust or the locustfile: see the log",
    ExitCode.UNTRUSTED: "not to be trusted: load not delivered, load generator saturated, rows lost, not written",
    ExitCode.INTERRUPTED: "interrupted before its end; what was judged until then held",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def options() -> str:
    """All options, a table a group: meaning, default, unit, one example."""
    groups = dict.fromkeys(option.group for option in OPTIONS)
    return "\n\n".join(f"### {group.capitalize()}\n\n{_options_of(group)}" for group in groups)


def _options_of(group: str) -> str:
    named = {option: " or ".join(f"`{name}`" for name in names) for option, names in OPTION_NAMES.items()}
    rows = []
    for option in find(None):
        if option.group == group:
            doc = doc_of(option)
            meaning = option.help + (f" ({named[option.name]})" if option.name in named else "")
            rows.append((f"`{option.name}`", meaning, _code(doc.default), doc.unit, _code(doc.example)))
    return table(("option", "meaning", "default", "unit", "example"), rows)


def _code(value: str) -> str:
    return f"`{value}`" if value else ""


def names() -> str:
    """What is read from the environment and from env files."""
    rows = [(f"`{name}`", meaning, "secret" if name in SECRET_NAMES else "") for name, meaning in NAMES.items()]
    return table(("name", "meaning", ""), rows)


def scenarios() -> str:
    """Each scenario file with its first comment."""
    return table(("scenario", "what it is for"), [(f"`{path.stem}`", purpose(path)) for path in _scenario_files()])


def _scenario_files() -> list[Path]:
    return sorted((ROOT / "scenarios").glob("*.conf"))


def criteria() -> str:
    """Metrics of criteria."""
    rows = [
        (
            f"`{name}`",
            ", ".join(f"`{aggregation}`" for aggregation in metric.aggregations),
            ", ".join(metric.units),
            "yes" if name in AZURE_METRICS else "",
        )
        for name, metric in METRICS.items()
    ]
    return table(("metric", "aggregations", "unit", "on Azure Load Testing, too"), rows)


def exit_codes() -> str:
    """What a headless run, and `analysis check`, end with."""
    return table(("exit code", "meaning"), [(str(int(code)), EXIT_CODES[code]) for code in ExitCode])


def placeholders() -> str:
    """What may stand in the template of a question."""
    return table(
        ("placeholder", "stands for"), [(f"`{{{{{n}}}}}`", meaning) for n, (meaning, _) in PLACEHOLDERS.items()]
    )


def presets() -> str:
    """The files of the presets."""
    return "\n\n".join(f"### {name}\n\n{_preset(name)}" for name in preset_names())


def _preset(name: str) -> str:
    lines = (PRESETS / f"{name}.conf").read_text(encoding="utf-8").splitlines()
    said = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    return said + "\n\n```\n" + "\n".join(line for line in lines if not line.startswith("#")) + "\n```"


def columns() -> str:
    """The columns of requests.csv."""
    return table(("column", "meaning"), [(f"`{name}`", COLUMN_DOCS[name]) for name in COLUMNS])


def metrics() -> str:
    """The metrics of reports."""
    return markdown_table().strip()


def rooms() -> str:
    """The folders of the packages, with what each `__init__.py` says of it."""
    rows = []
    for package in ("tokenswarm", "analysis", "simulator"):
        for path in sorted((ROOT / package).glob("*/__init__.py")):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            what, _, imports = " ".join(said.split()).partition(" May import: ")
            rows.append((f"`{path.parent.relative_to(ROOT)}`", what, imports.partition(".")[0] or "nothing of ours"))
    return table(("folder", "what it is", "may import"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "options": options,
    "names": names,
    "scenarios": scenarios,
    "criteria": criteria,
    "exit codes": exit_codes,
    "rooms": rooms,
    "placeholders": placeholders,
    "presets": presets,
    "columns": columns,
    "metrics": metrics,
}


def updated(text: str) -> str:
    """A page with all its tables as the code has them."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            text = before + begin + "\n\n" + make() + "\n\n" + end + rest.partition(end)[2]
    return text


def main() -> int:
    stale = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        if (new := updated(text)) != text:
            stale.append(page)
            if "--check" not in sys.argv:
                path.write_text(new, encoding="utf-8")
    print("\n".join(f"{page}: {'out of date' if '--check' in sys.argv else 'written'}" for page in stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
