"""The films of a CSV as a Daft dataframe of who does what when: `FilmDetector` as a class UDF.

    pip install tubelet daft
    python examples/daft_films.py films.csv found.parquet

The CSV has a column `path`. Daft loads the model once in each of its workers and hands out batches.
"""

from __future__ import annotations

import argparse

import daft
from daft import DataType, col

from tubelet.bulk import FilmDetector

ROW = {
    "video": DataType.string(),
    "time_ms": DataType.int64(),
    **dict.fromkeys(("x1", "y1", "x2", "y2"), DataType.float64()),
    "class_id": DataType.int64(),
    "score": DataType.float64(),
    "track_id": DataType.int64(),
    "error": DataType.string(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", help="a CSV with a column `path`")
    parser.add_argument("target", help="folder for the Parquet files")
    parser.add_argument("--model", default="jhmdb21_small")
    parser.add_argument("--min-score", type=float, default=0.1)
    options = parser.parse_args()
    rows = DataType.list(DataType.struct(ROW))
    detect = daft.udf(return_dtype=rows, batch_size=1)(FilmDetector)
    detect = detect.with_init_args(options.model, min_score=options.min_score, errors="rows")
    films = daft.read_csv(options.films)
    found = films.select(detect(col("path")).alias("row")).explode("row")
    flat = found.select(*(col("row").struct.get(name).alias(name) for name in ROW))
    flat.write_parquet(options.target)


if __name__ == "__main__":
    main()
