"""The notebook runs from top to bottom in a real kernel, and is committed without outputs."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.analysis.synthetic import make_records, write_run

NOTEBOOK = Path(__file__).parents[2] / "analysis" / "benchmark_analysis.ipynb"


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_committed_without_outputs():
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_notebook_is_valid():
    nbformat.validate(read())


def test_notebook_runs_from_its_own_folder(tmp_path, monkeypatch):
    slow = write_run(tmp_path / "slow", list(make_records(seed=2, slower=1.6, throttled=0.05)), quota={"tpm": 240_000})
    fast = write_run(tmp_path / "fast", list(make_records(seed=1)))
    monkeypatch.setenv("TOKENSWARM_RUNS", os.pathsep.join([str(fast), str(slow)]))
    notebook = read()
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources).execute()
    found = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert "synthetic/fast" in found["runs"][0]["data"]["text/plain"]
    assert "TPM" in found["figures"][0]["data"]["text/html"]
    assert sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in found["trends"]) >= 6
    pages = [
        output["data"]["text/html"] for output in found["trends"] if "application/vnd.plotly.v1+json" in output["data"]
    ]
    assert all("Plotly.newPlot" in page for page in pages), "an exported page shows the figures, too"
    assert "worse" in found["compare"][0]["text"]
