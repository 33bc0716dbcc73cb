from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.config import FeedConfig
from mmstream.sources.captions import CaptionSource, parse_captions, read_captions
from mmstream.types import Status, TextSpan

SRT = "1\n00:00:01,500 --> 00:00:03,000\nÉteignez le café\n\n2\n01:00:00,000 --> 01:00:02,250\nzwei\nZeilen\n"
CUES = [(1.5, 3.0, "Éteignez le café"), (3600.0, 3602.25, "zwei\nZeilen")]
FEED = FeedConfig(id="hall", url="push:")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"", "cp1252"),
        (b"", "latin-1"),
    ],
)
def test_every_usual_encoding_is_read(tmp_path: Path, mark: bytes, encoding: str, newline: str) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(mark + SRT.replace("\n", newline).encode(encoding))
    assert read_captions(str(path)) == CUES


def test_bytes_that_windows_1252_does_not_know_are_still_read(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\nodd \x81 byte \xe9\n")
    assert read_captions(str(path))[0][2].endswith("é")


A_SRT, B_SRT = "00:00:01,000 --> 00:00:02,000\na\n", "00:00:03,000 --> 00:00:04,000\nb\n"
VTT_BLOCKS = "WEBVTT - t\nX: 1\n\nNOTE\n00:09.000 no\n\nSTYLE\n::cue {}\n\n"
A_VTT, B_VTT = "00:01.000 --> 00:02.000 line:0 align:left\na\n", "00:03.000 --> 00:04.000\nb\n"


@pytest.mark.parametrize(
    ("text", "cues"),
    [
        pytest.param(f"1\n{A_SRT}\n2\n{B_SRT}", "ab", id="SRT"),
        pytest.param(f"{A_SRT}\n{B_SRT}", "ab", id="no indexes"),
        pytest.param(f"1\n{A_SRT}2\n{B_SRT}".replace(",", "."), "ab", id="no empty lines, points"),
        pytest.param(f"WEBVTT\n\n{A_VTT}\nname\n{B_VTT}", "ab", id="WebVTT"),
        pytest.param(f"{VTT_BLOCKS}{A_VTT}", "a", id="other WebVTT blocks"),
        pytest.param("\n\n\n1\n0:0:1,0 --> 0:0:2,0\na\n\n\n\n", "a", id="short fields, empty lines"),
        pytest.param(f"2\n{B_SRT}\n1\n{A_SRT}", "ab", id="out of order"),
        pytest.param("", "", id="empty"),
        pytest.param("no captions in here\nat all", "", id="prose"),
    ],
)
def test_layouts(text: str, cues: str) -> None:
    starts = {"a": (1.0, 2.0, "a"), "b": (3.0, 4.0, "b")}
    assert parse_captions(text) == ([starts[letter] for letter in cues], 0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<i>it</i> <font color='red'>red</font>", "it red"),
        ("<v Fred>Hi <00:00:01.500>there</v>", "Hi there"),
        ("{\\an8}above {b}bold{/b}", "above bold"),
        ("R&amp;D &lt;now&gt;", "R&D <now>"),
        ("5 < 6 and 7 > 6", "5 < 6 and 7 > 6"),
        ("a line\n42", "a line\n42"),
    ],
)
def test_tags_are_taken_out_and_words_stay(body: str, words: str) -> None:
    assert parse_captions(f"1\n00:00:01,000 --> 00:00:02,000\n{body}\n")[0][0][2] == words


def test_damaged_captions_are_skipped_and_counted() -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\na\n\n"
        "2\n00:00:xx,000 --> 00:00:04,000\nlost\n\n"
        "3\n00:00:09,000 --> 00:00:04,000\nends before it starts\n\n"
        "4\n00:00:05,000 --> 00:00:06,000\n\n"
        "5\n00:00:07,000 --> 00:00:08,000\nb\n"
    )
    assert parse_captions(text) == ([(1.0, 2.0, "a"), (7.0, 8.0, "b")], 2)


@given(st.text(alphabet=st.sampled_from("01:,.->\n a<{}é\\&;W")))
def test_no_text_breaks_the_parser(text: str) -> None:
    cues, num_damaged = parse_captions(text)
    assert all(start <= end and words for start, end, words in cues)
    assert num_damaged >= 0


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), max_size=20))
def test_what_is_written_is_read_back(times_ms: list[tuple[int, int]]) -> None:
    def stamp(ms: int) -> str:
        return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"

    text = "".join(f"{n}\n{stamp(at)} --> {stamp(at + long)}\nw{n}\n\n" for n, (at, long) in enumerate(times_ms))
    cues, num_damaged = parse_captions(text)
    assert num_damaged == 0
    wanted = sorted(round(at / 1000, 3) for at, _ in times_ms)
    assert [round(start, 3) for start, _, _ in cues] == wanted


def test_the_source_gives_words_on_the_clock_of_the_feed_and_then_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(SRT + "\n\n3\nbroken --> times\nx\n", encoding="utf-8")
    source = CaptionSource(FEED, path=str(path), epoch_s=1000.0)
    *spans, status = list(source)
    assert [(span.start_s, span.end_s) for span in spans] == [(1001.5, 1003.0), (4600.0, 4602.25)]
    assert all(isinstance(span, TextSpan) and span.origin == "caption" and span.feed_id == "hall" for span in spans)
    assert isinstance(status, Status)
    assert (status.state, status.code) == ("ended", "")
    assert source.num_damaged == 1
    assert "2 read, 1 damaged" in status.sentence


def test_a_missing_file_is_told_and_does_not_raise(tmp_path: Path) -> None:
    (status,) = list(CaptionSource(FEED, path=str(tmp_path / "none.srt"), epoch_s=0.0))
    assert isinstance(status, Status)
    assert (status.state, status.code) == ("failed", "not_found")
    assert "No such file" in status.sentence


def test_stop_ends_the_iteration(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(SRT, encoding="utf-8")
    source = CaptionSource(FEED, path=str(path), epoch_s=0.0)
    items = iter(source)
    next(items)
    source.stop()
    assert list(items) == []


@pytest.mark.footage
@pytest.mark.parametrize(
    ("name", "count", "words"),
    [
        ("bom-utf-16-le.srt", 7, "About 2 months ago I found myself on"),
        ("no-indexes.srt", 7, "About 2 months ago I found myself on"),
        ("utf-8.srt", 1332, "CE FILM RELATE DES ÉVÉNEMENTS"),
        ("windows-1252.srt", 1332, "CE FILM RELATE DES ÉVÉNEMENTS"),
    ],
)
def test_real_files_are_read_whole(footage: Path, name: str, count: int, words: str) -> None:
    path = footage / "subtitles" / name
    cues = read_captions(str(path))
    assert len(cues) == count
    assert any(words in text for _, _, text in cues)
    assert not any("-->" in text or "�" in text for _, _, text in cues)
