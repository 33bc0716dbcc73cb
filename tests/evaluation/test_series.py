"""A folder in NAB's format goes in, a report comes out; what is wrong with a file is said in a sentence."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from mmstream.errors import ConfigError
from mmstream.evaluation.series import detect, evaluate_series, read_folder

START = datetime(2024, 3, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)


def make_time(row: int) -> str:
    return (START + row * STEP).strftime("%Y-%m-%d %H:%M:%S")


def make_csv(path: Path, values: list[float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{make_time(row)},{value}" for row, value in enumerate(values)]
    path.write_text("\n".join(["timestamp,value", *rows]) + "\n")


def make_benchmark(folder: Path) -> tuple[Path, Path]:
    """A daily wave with noise, once with a plateau in its fourth day and once without."""
    random = np.random.default_rng(0)
    wave = 50.0 + 20.0 * np.sin(np.arange(1500) * 2.0 * np.pi / 288.0) + random.normal(0.0, 2.0, 1500)
    make_csv(folder / "data" / "hall" / "calm.csv", wave.tolist())
    odd = wave.copy()
    odd[1050:1080] = 130.0
    make_csv(folder / "data" / "hall" / "odd.csv", odd.tolist())
    windows = {"hall/calm.csv": [], "hall/odd.csv": [[make_time(1040) + ".000000", make_time(1100)]]}
    (folder / "windows.json").write_text(json.dumps(windows))
    return folder / "data", folder / "windows.json"


def test_a_plateau_is_found_once_and_the_calm_twin_left_alone(tmp_path: Path):
    seen: list[tuple[str, int, int]] = []
    report = evaluate_series(*make_benchmark(tmp_path), progress=lambda *step: seen.append(step))
    assert report["nab_score"] > 90.0
    assert report["series"]["hall/odd.csv"]["num_found"] == 1
    assert report["series"]["hall/calm.csv"]["num_false_rows"] == 0
    assert report["series"]["hall/odd.csv"]["interval_s"] == 300.0
    assert set(report["controls"]) == {"windowed_gaussian", "without_hold"}
    assert (report["num_series"], report["num_windows"]) == (2, 1)
    assert seen == [("hall/calm.csv", 0, 2), ("hall/odd.csv", 1, 2)]
    json.dumps(report, allow_nan=False)


def test_windows_are_given_as_the_rows_inside_them(tmp_path: Path):
    calm, odd = read_folder(*make_benchmark(tmp_path))
    assert calm.windows == ()
    assert odd.windows == ((1040, 1100),)
    assert odd.at_s[0] == START.timestamp()


def test_a_row_is_judged_by_those_before_it_alone(tmp_path: Path):
    _, odd = read_folder(*make_benchmark(tmp_path))
    cut = type(odd)(name="cut", at_s=odd.at_s[:900], values=odd.values[:900], windows=())
    whole, start = detect(odd), detect(cut)
    for detector in whole:
        np.testing.assert_array_equal(whole[detector][:900], start[detector])


def test_names_in_the_windows_file_without_a_csv_are_left_out(tmp_path: Path):
    data, windows = make_benchmark(tmp_path)
    content = json.loads(windows.read_text()) | {"elsewhere/more.csv": []}
    windows.write_text(json.dumps(content))
    assert [series.name for series in read_folder(data, windows)] == ["hall/calm.csv", "hall/odd.csv"]


def test_a_missing_folder_is_named(tmp_path: Path):
    _, windows = make_benchmark(tmp_path)
    with pytest.raises(ConfigError, match=r"no folder .*nowhere"):
        evaluate_series(tmp_path / "nowhere", windows)


def test_a_folder_without_csv_is_named(tmp_path: Path):
    _, windows = make_benchmark(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no \.csv file in .*empty"):
        evaluate_series(tmp_path / "empty", windows)


def test_the_wrong_level_of_folder_is_explained(tmp_path: Path):
    data, windows = make_benchmark(tmp_path)
    with pytest.raises(ConfigError, match=r"says nothing about 'data/hall/calm\.csv': give --data the folder"):
        evaluate_series(data.parent, windows)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(None, "cannot read .*windows.json: No such file", id="missing"),
        pytest.param("{", "is no JSON", id="cut"),
        pytest.param("[1]", "holds no object", id="a list"),
        pytest.param('{"hall/odd.csv": 7}', "the windows of 'hall/odd.csv' are 7; want a list", id="a number"),
        pytest.param('{"hall/odd.csv": [["soon", "later"]]}', "want a list of", id="no times"),
        pytest.param('{"hall/odd.csv": [], "hall/calm.csv": []}', "labels no window", id="nothing labelled"),
    ],
)
def test_a_bad_windows_file_is_explained(tmp_path: Path, content: str | None, sentence: str):
    data, windows = make_benchmark(tmp_path)
    windows.unlink()
    if content is not None:
        windows.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        evaluate_series(data, windows)


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        pytest.param([(5000, 5010)], "has 0 rows in its window from 2024-03-18", id="outside"),
        pytest.param([(100, 200), (150, 250)], "overlap", id="overlapping"),
    ],
)
def test_windows_that_do_not_fit_the_series_are_explained(tmp_path: Path, pairs: list[tuple[int, int]], sentence: str):
    data, windows = make_benchmark(tmp_path)
    times = [[make_time(first), make_time(last)] for first, last in pairs]
    windows.write_text(json.dumps({"hall/calm.csv": [], "hall/odd.csv": times}))
    with pytest.raises(ConfigError, match=sentence):
        evaluate_series(data, windows)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param("time,reading\n1,2\n", "want timestamp and value", id="other columns"),
        pytest.param("", "want timestamp and value", id="empty"),
        pytest.param("timestamp,value\n2024-03-01 00:00:00,1\n", "has 1 rows: a series needs at least 20", id="short"),
        pytest.param("timestamp,value\n2024-03-01 00:00:00,warm\n", "line 2 reads .*'warm'", id="no number"),
        pytest.param("timestamp,value\n2024-03-01 00:00:00,nan\n", "line 2 reads .*'nan'", id="not finite"),
        pytest.param("timestamp,value\nnoon,1\n", "line 2 reads 'noon'", id="no time"),
        pytest.param("timestamp,value\n2024-03-01 00:00:00\n", "line 2 reads", id="too few cells"),
    ],
)
def test_a_bad_csv_is_explained(tmp_path: Path, content: str, sentence: str):
    data, windows = make_benchmark(tmp_path)
    (data / "hall" / "calm.csv").write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        evaluate_series(data, windows)


def test_a_csv_that_is_no_text_is_explained(tmp_path: Path):
    data, windows = make_benchmark(tmp_path)
    (data / "hall" / "calm.csv").write_bytes(b"\xff\xfe\x00\x81" * 40)
    with pytest.raises(ConfigError, match=r"cannot read .*calm\.csv as CSV"):
        evaluate_series(data, windows)


@pytest.mark.footage
def test_on_the_benchmark_the_control_has_its_known_score_and_ours_is_past_55(footage: Path):
    nab = footage / "nab"
    report = evaluate_series(nab / "data", nab / "labels" / "combined_windows.json")
    assert (report["num_series"], report["num_windows"]) == (24, 39)
    assert report["controls"]["windowed_gaussian"] == pytest.approx(28.0, abs=1.0)
    assert report["nab_score"] >= 57.0
    assert report["nab_score"] - report["controls"]["without_hold"] > 5.0
