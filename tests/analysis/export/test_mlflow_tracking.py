"""What MLflow itself reads back of a run that was logged to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from tests.analysis.synthetic import make_records, write_run


@pytest.fixture
def mlflow() -> Any:
    """Loaded by the process that needs it: it takes a second, and each process of pytest reads all files of tests."""
    return pytest.importorskip("mlflow")


@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_options_figures_and_verdict(
    mlflow: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", list(make_records()))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs more than mlflow-skinny
    uri = (tmp_path / "mlruns").as_uri()
    assert main(["export", str(run), "--mlflow", uri, "--experiment", "nightly"]) == 0
    found = mlflow.MlflowClient(uri).get_run(capsys.readouterr().out.split()[-1])
    assert found.data.params["rate"] == "50"
    assert found.data.tags["tokenswarm.verdict"] == "none"
    assert found.data.metrics["rpm"] > 40
    assert 300 < found.data.metrics["ttft_ms.p50"] < 1500
    assert "run.json" in {each.path for each in mlflow.MlflowClient(uri).list_artifacts(found.info.run_id)}


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_is_not_there_is_named(
    mlflow: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = write_run(tmp_path / "run", list(make_records(minutes=0.5)))
    assert main(["export", str(run), "--mlflow", "http://127.0.0.1:9"]) == 2
    assert "--mlflow: expected a tracking server" in capsys.readouterr().err
