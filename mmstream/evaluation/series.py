"""``mmstream eval series``: the sensor model on series in NAB's format, beside the controls.

The format: a folder of CSV files with the columns ``timestamp`` and ``value``, and a JSON object
that gives each file (by its path inside the folder) the list of its labelled windows,
``[[from, to], ...]``. Times without a zone are UTC.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.errors import ConfigError
from mmstream.evaluation.nab import STANDARD, NabResult, ScoredSeries, WindowedGaussian, nab_score, probation_rows
from mmstream.normality.sensor import SensorModel
from mmstream.types import Float64

Progress = Callable[[str, int, int], None]
"""Called before each series with its name, its number from 0 and how many there are."""

OURS, UNHELD, CONTROL = "sensor_model", "without_hold", "windowed_gaussian"
MIN_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledSeries:
    """One sensor's readings and the intervals in which something is known to be wrong."""

    name: str
    at_s: Float64
    """(n,) Unix seconds, as they stand in the file."""
    values: Float64
    """(n,) finite."""
    windows: tuple[tuple[int, int], ...]
    """First and last row of each window."""


def _say_nothing(name: str, number: int, total: int) -> None:
    del name, number, total


def evaluate_series(folder: Path, windows_file: Path, *, progress: Progress = _say_nothing) -> dict[str, Any]:
    """Judge every series in ``folder`` with the same parameters, and score all with one threshold each detector.

    The report: ``nab_score`` and ``threshold`` of the sensor model, ``controls`` (the scores of
    NAB's windowed Gaussian and of the model without its hold), and ``series`` by name.

    Raises:
        ConfigError: a file or folder is missing, is no CSV or JSON of this format, or labels nothing.
    """
    series = read_folder(folder, windows_file)
    scored: dict[str, list[ScoredSeries]] = {OURS: [], UNHELD: [], CONTROL: []}
    for number, one in enumerate(series):
        progress(one.name, number, len(series))
        for detector, scores in detect(one).items():
            scored[detector].append(ScoredSeries(name=one.name, scores=scores, windows=one.windows))
    results = {detector: nab_score(parts) for detector, parts in scored.items()}
    return _report(series, results)


def detect(series: LabelledSeries) -> dict[str, Float64]:
    """What each detector says to each row, having seen only the rows before it: name -> (n,)."""
    model, control = SensorModel(), WindowedGaussian()
    scores = {detector: np.zeros(len(series.values)) for detector in (OURS, UNHELD, CONTROL)}
    for row, (at_s, value) in enumerate(zip(series.at_s.tolist(), series.values.tolist(), strict=True)):
        scores[OURS][row] = model.push(at_s, value)
        scores[UNHELD][row] = model.surprise
        scores[CONTROL][row] = control.push(value)
    return scores


def read_folder(folder: Path, windows_file: Path) -> list[LabelledSeries]:
    """Every CSV below ``folder`` with its windows, by name. Raises ConfigError."""
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}: --data wants the folder of CSV files in NAB's format")
    windows = _read_windows(windows_file)
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.csv"))}
    if not paths:
        raise ConfigError(f"no .csv file in {folder}: --data wants the folder of CSV files in NAB's format")
    unknown = next((name for name in paths if name not in windows), None)
    if unknown is not None:
        raise ConfigError(
            f"{windows_file} says nothing about {unknown!r}: give --data the folder that its names start from, "
            f"or add the name with an empty list if nothing is wrong in it"
        )
    series = [_read_series(name, path, windows[name]) for name, path in paths.items()]
    if not any(one.windows for one in series):
        raise ConfigError(f"{windows_file} labels no window in any file of {folder}: there is nothing to find")
    return series


def _read_windows(path: Path) -> dict[str, list[tuple[float, float]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; --windows wants a JSON file of windows") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ConfigError(f"{path} is no JSON ({error}); --windows wants a JSON file of windows") from None
    if not isinstance(content, Mapping):
        raise ConfigError(f'{path} holds no object: want {{"folder/name.csv": [["from", "to"], ...], ...}}')
    return {name: _parse_windows(path, name, pairs) for name, pairs in content.items()}


def _parse_windows(path: Path, name: str, pairs: Any) -> list[tuple[float, float]]:
    try:
        parsed = sorted((_unix_s(start), _unix_s(end)) for start, end in pairs)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{path}: the windows of {name!r} are {pairs!r}; want a list of "
            f'["2014-04-10 07:15:00", "2014-04-11 16:45:00"]'
        ) from None
    return parsed


def _unix_s(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_series(name: str, path: Path, windows: list[tuple[float, float]]) -> LabelledSeries:
    at_s, values = _read_rows(path)
    if len(at_s) < MIN_ROWS:
        raise ConfigError(f"{path} has {len(at_s)} rows: a series needs at least {MIN_ROWS} to be judged")
    rows = tuple(_rows_of(path, at_s, start_s, end_s) for start_s, end_s in windows)
    overlap = next((pair for pair in pairwise(rows) if pair[1][0] <= pair[0][1]), None)
    if overlap is not None:
        raise ConfigError(f"windows of {name!r} overlap (rows {overlap[0]} and {overlap[1]}): join them into one")
    return LabelledSeries(name=name, at_s=at_s, values=values, windows=rows)


def _read_rows(path: Path) -> tuple[Float64, Float64]:
    at_s: list[float] = []
    values: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"timestamp", "value"} <= set(reader.fieldnames or ()):
                raise ConfigError(f"{path} has the columns {reader.fieldnames}: want timestamp and value")
            for row in reader:
                moment, value = _parse_row(row, f"{path} line {reader.line_num}")
                at_s.append(moment)
                values.append(value)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {path} as CSV: {error}") from None
    return np.array(at_s), np.array(values)


def _parse_row(row: Mapping[str, str | None], where: str) -> tuple[float, float]:
    moment, value = row["timestamp"], row["value"]
    try:
        parsed = _unix_s(moment or ""), float(value or "")
    except ValueError:
        parsed = math.nan, math.nan
    if not math.isfinite(parsed[1]):
        raise ConfigError(f"{where} reads {moment!r}, {value!r}: want a time such as 2014-04-10 07:15:00 and a number")
    return parsed


def _rows_of(path: Path, at_s: Float64, start_s: float, end_s: float) -> tuple[int, int]:
    rows = np.flatnonzero((at_s >= start_s) & (at_s <= end_s))
    if len(rows) < 2:
        raise ConfigError(
            f"{path} has {len(rows)} rows in its window from {datetime.fromtimestamp(start_s, UTC):%Y-%m-%d %H:%M:%S} "
            f"to {datetime.fromtimestamp(end_s, UTC):%Y-%m-%d %H:%M:%S}: a window must hold at least two"
        )
    return int(rows[0]), int(rows[-1])


def _report(series: list[LabelledSeries], results: Mapping[str, NabResult]) -> dict[str, Any]:
    ours = results[OURS]
    return {
        "nab_score": round(ours.score, 2),
        "threshold": ours.threshold if math.isfinite(ours.threshold) else None,
        "profile": asdict(STANDARD),
        "controls": {name: round(results[name].score, 2) for name in (CONTROL, UNHELD)},
        "num_series": len(series),
        "num_windows": sum(len(one.windows) for one in series),
        "series": {
            one.name: {
                "num_rows": len(one.values),
                "num_probation_rows": probation_rows(len(one.values)),
                "interval_s": float(np.median(np.diff(one.at_s))),
                **asdict(ours.series[one.name]),
                "controls": {name: round(results[name].series[one.name].score, 2) for name in (CONTROL, UNHELD)},
            }
            for one in series
        },
    }
