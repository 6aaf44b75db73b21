"""How many rows a table has and how many succeeded, read by other means than ours: `tables.py TABLE`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

csv.field_size_limit(1 << 24)


def statuses(path: Path) -> Iterator[str]:
    """The column `status`."""
    match path.suffix:
        case ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                yield from (row["status"] for row in csv.DictReader(file, strict=True))
        case ".jsonl":
            with path.open("rb") as file:
                yield from (json.loads(line)["status"] for line in file)
        case _:
            from pyarrow.parquet import ParquetFile

            for block in ParquetFile(path).iter_batches(columns=["status"]):
                yield from block.column(0).to_pylist()


if __name__ == "__main__":
    found = list(statuses(Path(sys.argv[1])))
    print(json.dumps({"rows": len(found), "succeeded": found.count("succeeded")}))
