"""What the server says about itself: one sample is one value of one metric of one resource over one interval.

Azure Monitor (after a run) and Prometheus endpoints (during it) end up in the same `server_metrics.csv` in the run
directory. Values are converted to the units of this project when they are stored: ms, MiB, percent, cores; the
service's own unit stays beside them, because criteria are written in it. An interval without a value has no row.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tokenswarm.userinput import BadInput, read_duration

FILE_NAME = "server_metrics.csv"

AGGREGATIONS = ("average", "minimum", "maximum", "total", "count")

_CONVERSIONS: dict[str, tuple[str, float]] = {
    "seconds": ("ms", 1000.0),
    "milliseconds": ("ms", 1.0),
    "bytes": ("MiB", 1 / 2**20),
    "bytespersecond": ("MiB/s", 1 / 2**20),
    "percent": ("%", 1.0),
    "ratio": ("%", 100.0),
    "nanocores": ("cores", 1e-9),
    "cores": ("cores", 1.0),
    "count": ("count", 1.0),
    "countpersecond": ("count/s", 1.0),
    "unspecified": ("", 1.0),
    "": ("", 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSample:
    """One row of `server_metrics.csv`.

    `at` is the Unix s at which the interval of `interval_s` seconds begins; `dimensions` are name=value pairs joined
    by ';', names in lower case; `value` is in `unit`, and was in `service_unit` when the service gave it.
    """

    at: float
    interval_s: float
    source: str
    resource: str
    metric: str
    dimensions: str
    aggregation: str
    value: float
    unit: str
    service_unit: str

    def dimension(self, name: str) -> str | None:
        """Value of one dimension; `None` when the sample is not split by it."""
        for pair in self.dimensions.split(";"):
            key, _, value = pair.partition("=")
            if key == name.lower() and value:
                return value
        return None


COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(ServerSample))
_NUMBERS = ("at", "interval_s", "value")


def convert(value: float, service_unit: str) -> tuple[float, str]:
    """`value` in this project's unit, and that unit; an unknown unit passes unchanged."""
    unit, factor = _CONVERSIONS.get(service_unit.lower(), (service_unit, 1.0))
    return value * factor, unit


def write_samples(path: Path, samples: Iterable[ServerSample]) -> None:
    """Write the file anew, ordered by instant; a reader never sees half of it."""
    rows = sorted(samples, key=lambda sample: (sample.at, sample.resource, sample.metric, sample.aggregation))
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_row(sample) for sample in rows)
    part.replace(path)


def append_samples(path: Path, samples: Iterable[ServerSample]) -> None:
    """Add rows, with a header in a new file. No rows, no file."""
    samples = list(samples)
    if not samples:
        return
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        writer.writerows(_row(sample) for sample in samples)


def read_samples(path: Path) -> list[ServerSample]:
    """All rows of the file; none when there is no file. Raises `BadInput` naming each line that cannot be read."""
    if not path.exists():
        return []
    problems: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            samples = list(_parsed(csv.DictReader(file), path, problems))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput([f"server metrics: expected a CSV file in UTF-8, got {error} ({path})"]) from error
    if problems:
        raise BadInput(problems)
    return samples


def _row(sample: ServerSample) -> list[str]:
    return [f"{value:.12g}" if isinstance(value, float) else str(value) for value in dataclasses.astuple(sample)]


def _parsed(rows: csv.DictReader[str], path: Path, problems: list[str]) -> Iterator[ServerSample]:
    if missing := [column for column in COLUMNS if column not in (rows.fieldnames or ())]:
        problems.append(f"columns: expected {', '.join(COLUMNS)}, got no {', '.join(missing)} ({path}:1)")
        return
    for row in rows:
        try:
            numbers = {name: float(row[name]) for name in _NUMBERS}
        except (TypeError, ValueError):
            problems.append(f"row: expected numbers in {', '.join(_NUMBERS)}, got {row} ({path}:{rows.line_num})")
            continue
        texts = {name: row[name] or "" for name in COLUMNS if name not in _NUMBERS}
        yield ServerSample(**numbers, **texts)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class ServerMetric:
    """One metric to ask for: its name at the service, the aggregation, and a dimension to split it by, if any."""

    name: str
    aggregation: str = "average"
    split_by: str | None = None


@dataclass(frozen=True, slots=True)
class AzureResource:
    """An Azure resource whose metrics are wanted. No metrics given: those of its type in `analysis`."""

    name: str
    resource_id: str
    region: str
    metrics: tuple[ServerMetric, ...] = ()

    @property
    def namespace(self) -> str:
        """Metric namespace, such as Microsoft.CognitiveServices/accounts."""
        parts = self.resource_id.split("/")
        provider = len(parts) - 1 - [part.lower() for part in reversed(parts)].index("providers")
        return "/".join([parts[provider + 1], *parts[provider + 2 :: 2]])


@dataclass(frozen=True, slots=True)
class PrometheusEndpoint:
    """A /metrics address to read during the run, every `interval_s` seconds."""

    name: str
    url: str
    interval_s: float = 5.0
    metrics: tuple[ServerMetric, ...] = ()
    credential: tuple[str, str] | None = None
    """How it authenticates, and with what: `("bearer", "${NAME}")`; the names are of the environment."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What the credential stands for, in the process that sends it."""


_CREDENTIALS = {
    "bearer": re.compile(r"\$\{\w+\}", re.ASCII),
    "basic": re.compile(r"(?:(?:[^\s:${}]+|\$\{\w+\}):)?\$\{\w+\}", re.ASCII),
    "header": re.compile(r"[\w!#$%&'*+.^`|~-]+:\$\{\w+\}", re.ASCII),
}
"""What each may hold. No text of its own: options are stored in run.json."""
_CREDENTIAL_FORMS = {"bearer": "${NAME}", "basic": "USER:${NAME}", "header": "HEADER:${NAME}"}
_RESOURCE_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/[^/]+/[^/]+(/[^/]+/[^/]+)*", re.IGNORECASE
)
_EXPECTED = (
    "RESOURCE-ID region=REGION [name=NAME] [metrics=METRIC:aggregation,...] "
    "or http://HOST/metrics [every=DURATION] [name=NAME] [metrics=METRIC,...] [bearer=${NAME}]"
)


def parse_server_metrics(text: str) -> tuple[list[AzureResource], list[PrometheusEndpoint]]:
    """The option `server-metrics`: entries separated by ';' or line ends. Raises `BadInput` listing every problem."""
    resources: list[AzureResource] = []
    endpoints: list[PrometheusEndpoint] = []
    problems: list[str] = []
    for entry in filter(None, (part.strip() for part in re.split(r"[;\n]", text))):
        try:
            if entry.startswith(("http://", "https://")):
                endpoints.append(_endpoint(entry))
            else:
                resources.append(_resource(entry))
        except ValueError as error:
            problems.append(f"server-metrics: expected {error} ({_without_credentials(entry)})")
    names = [one.name for one in resources] + [one.name for one in endpoints]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"server-metrics: expected different names (name=...), got {name!r} {names.count(name)} times")
    if problems:
        raise BadInput(problems)
    return resources, endpoints


def _endpoint(entry: str) -> PrometheusEndpoint:
    url, settings = _settings(entry, {"every", "name", "metrics", *_CREDENTIALS})
    host = url.split("/")[2]
    if "@" in host:
        raise ValueError("a URL without credentials (give them as basic=USER:${NAME}), got one with")
    interval_s = read_duration(settings.get("every", "5s"))
    if interval_s is None or not 0.1 <= interval_s <= 3600:
        raise ValueError(f"every=DURATION from 100ms to 1h, got {settings['every']!r}")
    metrics = _metrics(settings.get("metrics", ""))
    return PrometheusEndpoint(settings.get("name", host), url, interval_s, metrics, _credential(settings))


def _credential(settings: dict[str, str]) -> tuple[str, str] | None:
    given = [kind for kind in _CREDENTIALS if kind in settings]
    if len(given) > 1:
        raise ValueError(f"one of {', '.join(_CREDENTIALS)}, got {' and '.join(given)}")
    for kind in given:
        if not _CREDENTIALS[kind].fullmatch(settings[kind]):  # not shown: it may be the secret itself
            raise ValueError(f"{kind}={_CREDENTIAL_FORMS[kind]}, a name of the environment, got something else")
        return kind, settings[kind]
    return None


def _without_credentials(entry: str) -> str:
    """An entry as a message may show it."""
    address, *words = entry.split()
    kept = [word for word in words if word.partition("=")[0] in ("every", "name", "metrics", "region")]
    return " ".join([re.sub(r"//[^/]*@", "//", address), *kept])


def _resource(entry: str) -> AzureResource:
    resource_id, settings = _settings(entry, {"region", "name", "metrics"})
    if not _RESOURCE_ID.fullmatch(resource_id):
        raise ValueError(f"{_EXPECTED}, got {resource_id!r}")
    region = re.sub(r"[\s-]", "", settings.get("region", "")).lower()
    if not region:
        raise ValueError("region=REGION of the resource (Azure Monitor answers per region), got none")
    name = settings.get("name", resource_id.rsplit("/", 1)[1])
    return AzureResource(name, resource_id, region, _metrics(settings.get("metrics", "")))


def _settings(entry: str, known: set[str]) -> tuple[str, dict[str, str]]:
    address, *words = entry.split()
    pairs = dict(word.partition("=")[::2] for word in words)
    if unknown := [word for word in words if word.partition("=")[0] not in known or not word.partition("=")[2]]:
        names = " ".join(word.partition("=")[0] for word in unknown)  # not the values: one may be a secret
        raise ValueError(f"{_EXPECTED}, got {names!r}")
    return address, pairs


def _metrics(text: str) -> tuple[ServerMetric, ...]:
    metrics = []
    for word in filter(None, text.split(",")):
        name, _, aggregation = word.rpartition(":")
        if aggregation.lower() not in AGGREGATIONS:  # Prometheus names have colons of their own
            name, aggregation = word, "average"
        metrics.append(ServerMetric(name, aggregation.lower()))
    return tuple(metrics)
