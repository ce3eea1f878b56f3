"""The table of `semcorr.annotation.formats.table` as a Parquet file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semcorr.annotation.formats.table import COLUMNS, NUMBERS, from_rows, to_rows
from semcorr.annotation.records import Annotation
from semcorr.data.records import Record, shorten
from semcorr.errors import DataError

_MOST_ROWS = 20_000_000


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read a table that has at least the columns picture, point, x and y."""
    pyarrow, parquet = _pyarrow()
    try:
        file = parquet.ParquetFile(path)
        known = [name for name in file.schema_arrow.names if name in COLUMNS]
        rows = file.read(known).to_pylist() if file.metadata.num_rows <= _MOST_ROWS else None
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a Parquet file that can be read: {shorten(str(error), 120)}") from None
    if rows is None:
        raise DataError(f"{path} has {file.metadata.num_rows} rows; expected {_MOST_ROWS} at most")
    return from_rows([Record({str(k): v for k, v in row.items()}, f"{path} row {i}") for i, row in enumerate(rows)])


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return the file, compressed."""
    pyarrow, parquet = _pyarrow()
    rows = to_rows(annotations)
    columns = {}
    for i, name in enumerate(COLUMNS):
        whole = name in ("object", "width", "height", "v")
        kind = (pyarrow.int32() if whole else pyarrow.float64()) if name in NUMBERS else pyarrow.string()
        cells = [row[i] if name in NUMBERS or row[i] is None else str(row[i]) for row in rows]
        columns[name] = pyarrow.array(cells, kind)
    data = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), data, compression="zstd")
    return {path: data.getvalue()}


def _pyarrow() -> tuple[Any, Any]:
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet
