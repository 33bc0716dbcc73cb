"""From windows to an alert that shows where, beside what, and says so in two languages."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmstream import moments
from mmstream.config import BudgetSection, EncoderSection, SiteConfig
from mmstream.encoders.appearance import GRID
from mmstream.fusing import FusionCore
from mmstream.moments import MomentArchive
from mmstream.shard import FuseBatch
from mmstream.storage.media import FolderMediaStore
from mmstream.testing import make_embedding, make_encoded
from mmstream.types import Alert, Channel, EncodedWindow

SITE = SiteConfig(
    budget=BudgetSection(alerts_per_camera_per_day=600, block_s=5, warmup_s=60),
    encoders=EncoderSection(edge=("appearance",), replicas=()),
)
CHANNELS = {"appearance": Channel(name="appearance", modality="picture")}
HISTORY_S, EVENT, END_S = 600, range(630, 638), 700


def make_picture(second: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 36), (second % 256, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def make_window(second: int, random: np.random.Generator) -> EncodedWindow:
    """An ordinary scene with sensor noise; in the event something stands in the lower right."""
    cells = np.linspace(-1, 1, GRID[0] * GRID[1]).reshape(GRID) + random.normal(0, 0.05, GRID)
    if second in EVENT:
        cells[6:9, 12:15] += 3.0
    vector = [*cells.ravel(), 7.0, 5.0, 0.0, 0.0]
    embedding = make_embedding(float(second), vector=vector, model="thumbnail@1")
    return make_encoded(float(second), [embedding], history=second < HISTORY_S)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Alert], FolderMediaStore]:
    """What was told of one event, and the media that it was told with."""
    media = FolderMediaStore(tmp_path_factory.mktemp("media"))
    archive = MomentArchive("cam", media)
    core = FusionCore(SITE, channels=CHANNELS, media=media, tracker_of=lambda _: None, now=lambda: 1000.0)
    core.begin("cam")
    random = np.random.default_rng(5)
    alerts: list[Alert] = []
    for second in range(END_S):
        if archive.due(float(second), awake=True):
            archive.push(float(second), make_picture(second))
        _, commits = core.push(FuseBatch(items=[make_window(second, random)]))
        alerts += [alert for commit in commits for alert in commit.alerts]
    return [alert for alert in alerts if alert.end_s >= EVENT[0]], media


def test_the_alert_shows_where_it_is(told: tuple[list[Alert], FolderMediaStore]) -> None:
    region = told[0][0].regions["appearance"]
    np.testing.assert_allclose(region, (12 / 16, 6 / 9, 15 / 16, 1.0), atol=0.01)


def test_the_sentence_is_said_in_both_languages(told: tuple[list[Alert], FolderMediaStore]) -> None:
    sentences = told[0][0].sentences
    assert "lower right in the picture" in sentences["en"]
    assert "画面右下方" in sentences["zh"]
    assert told[0][0].sentence == sentences["en"]


def test_three_normal_moments_a_minute_apart_have_their_pictures_with_the_alert(
    told: tuple[list[Alert], FolderMediaStore],
) -> None:
    alerts, media = told
    for name in media.keys(moments.folder("cam")):
        media.delete(name)  # as they will be, one day
    for alert in alerts:
        times_s = sorted(moment.at_s for moment in alert.normal)
        assert len(times_s) == 3
        assert np.diff([*times_s, alert.start_s]).min() >= 58
        for moment in alert.normal:
            assert not EVENT[0] <= moment.at_s <= EVENT[-1]
            picture = media.get(moment.picture)
            assert picture is not None
            with Image.open(io.BytesIO(picture)) as image:
                shade = np.asarray(image)[..., 0].mean()
            assert abs(shade - moment.at_s % 256) < 12, "the picture must be of that moment"


def test_the_shard_is_asked_to_frame_it(told: tuple[list[Alert], FolderMediaStore]) -> None:
    media = told[1]
    core = FusionCore(SITE, channels=CHANNELS, media=media, tracker_of=lambda _: None, now=lambda: 1000.0)
    core.begin("cam")
    random = np.random.default_rng(5)
    wanted = [
        request
        for second in range(EVENT[0] + 4)
        for request in core.push(FuseBatch(items=[make_window(second, random)]))[0].wanted
    ]
    assert wanted[-1].region == told[0][0].regions["appearance"]
