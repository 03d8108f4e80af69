"""The rows of a run as a Parquet file, by pyarrow: every column of requests.csv, numbers as numbers, empty as null."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from analysis.sources.loading import journals
from tokenswarm.record import COLUMN_TYPES, COLUMNS
from tokenswarm.userinput import BadInput

BLOCK_BYTES = 8 << 20
"""Read at a time: what is held in memory does not grow with the file."""


class Written(NamedTuple):
    """Rows that were written, and lines that are no rows (a last line cut by a crash)."""

    rows: int
    skipped_lines: int


def write_parquet(run: Path, path: Path) -> Written:
    """Write the rows of a run directory, or of a requests.csv. Raises `BadInput`."""
    source = _rows_file(run)
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ModuleNotFoundError as error:
        raise BadInput(["--parquet: expected pyarrow to be installed (pip install pyarrow), got none"]) from error
    skipped: list[Any] = []

    def skip(row: Any) -> str:
        skipped.append(row.number)
        return "skip"

    rows = 0
    try:
        with csv.open_csv(
            source,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=csv.ConvertOptions(
                column_types=_types(pa), null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True
            ),
        ) as reader:
            _check_columns(source, reader.schema.names)
            with parquet.ParquetWriter(path, reader.schema, compression="zstd") as writer:
                for batch in reader:
                    writer.write_batch(batch)
                    rows += batch.num_rows
    except pa.ArrowInvalid as error:
        raise BadInput([f"{source}: expected the rows of a run, got {error}"]) from error
    except OSError as error:
        raise BadInput([f"{path}: expected a file that can be written, got {error}"]) from error
    return Written(rows, len(skipped))


def _rows_file(run: Path) -> Path:
    source = run / "requests.csv" if run.is_dir() else run
    if run.is_dir() and (left := journals(run)):
        names = ", ".join(path.name for path in left)
        raise BadInput([f"{run}: expected a run that ended in order, got one with {names} (recover it first)"])
    if not source.is_file():
        raise BadInput([f"{source}: expected the rows of a run, got no such file"])
    return source


def _check_columns(source: Path, found: list[str]) -> None:
    if missing := [name for name in COLUMNS[:2] if name not in found]:
        raise BadInput([f"{source}: expected a requests.csv of Tokenswarm, got a file without {', '.join(missing)}"])


def _types(pa: Any) -> dict[str, Any]:
    kinds = {"float": pa.float64(), "int": pa.int64()}
    return {name: kinds.get(hint.removesuffix(" | None"), pa.string()) for name, hint in COLUMN_TYPES.items()}
