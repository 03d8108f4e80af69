"""A run as an MLflow run: options as parameters, figures as metrics, the verdict as a tag, files as artifacts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.findings.summary import Summary
from tokenswarm.userinput import BadInput

FILES = ("run.json", "report.html", "report.md", "summary.json", "summary.csv", "minutes.csv")
LONGEST_VALUE = 6000
"""Characters that MLflow takes for the value of a parameter."""
_NAME = re.compile(r"[^\w\-./ :]")


def log_run(summary: Summary, uri: str | None, experiment: str) -> str:
    """Log one run and return its MLflow id. `uri`: as `MLFLOW_TRACKING_URI`, which is taken when it is `None`.
    Raises `BadInput` when MLflow is missing or its server cannot be reached."""
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise BadInput(["--mlflow: expected MLflow to be installed (pip install mlflow-skinny), got none"]) from error
    try:
        if uri is not None:
            mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(experiment)
        with mlflow.start_run(run_name=summary.label) as run:
            mlflow.log_params(parameters(summary))
            mlflow.log_metrics(dict(metrics(summary)))
            mlflow.set_tags({"tokenswarm.verdict": summary.judgement.state, "tokenswarm.path": summary.path})
            for path in _files(Path(summary.path)):
                mlflow.log_artifact(str(path))
            return str(run.info.run_id)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        where = uri or mlflow.get_tracking_uri()
        raise BadInput([f"--mlflow: expected a tracking server or folder at {where}, got {error}"]) from error


def parameters(summary: Summary) -> dict[str, str]:
    """The options that were given, by their names."""
    options = summary.settings.get("options")
    given = options if isinstance(options, Mapping) else {}
    return {
        _NAME.sub("_", str(key)): str(value)[:LONGEST_VALUE] for key, value in given.items() if value not in (None, "")
    }


def metrics(summary: Summary) -> Iterator[tuple[str, float]]:
    """Every figure of the whole run that has a value: `rpm`, `ttft_ms.p95`."""
    for name, value in summary.overall.values.items():
        if value is not None:
            yield name, float(value)
    for name, found in summary.overall.distributions.items():
        estimates: dict[str, Any] = {"avg": found.avg, **found.percentiles}
        yield from ((f"{name}.{key}", each.value) for key, each in estimates.items() if each.value is not None)


def _files(run: Path) -> list[Path]:
    return [run / name for name in FILES if (run / name).is_file()] if run.is_dir() else []
