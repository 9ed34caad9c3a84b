"""Traces in folders of parquet files, cut up in any way."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

OPERATIONS = ["read", "write", "delete"]

# Few instants, half of them exact in binary: ties in time and ages equal to a TTL are common.
_INSTANTS = st.one_of(
    st.integers(0, 24).map(lambda halves: halves / 2), st.integers(0, 40).map(lambda n: n / 10)
)
_NUMBERS = st.integers(0, 5)
KEYS = st.sampled_from(
    [
        _NUMBERS.map(lambda n: n - 2),
        _NUMBERS.map(lambda n: 2**64 - 1 - n),
        _NUMBERS.map(lambda n: f"trigger-{n}"),
        _NUMBERS.map(lambda n: "ключ" * n),
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw a trace as its rows are recorded: in no order, by any kind of key."""
    keys = draw(KEYS)
    rows = draw(st.lists(st.tuples(_INSTANTS, keys, st.sampled_from(OPERATIONS)), max_size=40))
    time_s, key, op = zip(*rows, strict=True) if rows else ((), (), ())
    hashes = bool(key) and not isinstance(key[0], str) and max(key) > 2**63
    columns: dict[str, Any] = {
        "time_s": pa.array(time_s, pa.float64()),
        "key": pa.array(
            key,
            pa.uint64()
            if hashes
            else pa.string()
            if key and isinstance(key[0], str)
            else pa.int64(),
        ),
        "op": pa.array(op, pa.string()),
    }
    if draw(st.booleans()):
        columns["size"] = pa.array(range(len(rows)), pa.int32())
    if draw(st.booleans()):
        late = draw(
            st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=len(rows), max_size=len(rows))
        )
        columns["armed_s"] = pa.array(np.add(time_s, late), pa.float64())
    return pa.table(columns)


def write_folder(folder: Path, table: pa.Table, cuts: list[int], row_group: int) -> None:
    """Write the rows to files, cut where asked; file names ascend."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    for number, (start, end) in enumerate(pairwise(edges)):
        part = table.slice(start, end - start)
        if number % 2 and "op" in table.schema.names:  # as AccessRecorder writes them
            place = part.schema.get_field_index("op")
            part = part.set_column(place, "op", part["op"].dictionary_encode())
        pq.write_table(part, folder / f"part-{number:04d}.parquet", row_group_size=row_group)
