"""The normal moments of an alert over HTTP: what is told, what is shown, what is refused."""

from __future__ import annotations

import httpx
import pytest

from mmstream.types import Alert, NormalMoment
from tests.services.running import FakeSite, make_jpeg

ALERTS = "/api/v1/alerts"
FOLDER = "alerts/gate-3_1700000000250"


@pytest.fixture
def alert(site: FakeSite) -> Alert:
    site.media.put(f"{FOLDER}/normal-1.jpg", make_jpeg(10))
    site.media.put(f"{FOLDER}/normal-2.jpg", make_jpeg(200))
    normal = (
        NormalMoment(at_s=1.0, channel="motion", picture=f"{FOLDER}/normal-1.jpg"),
        NormalMoment(at_s=2.0, channel="sound", picture=f"{FOLDER}/normal-2.jpg"),
        NormalMoment(at_s=3.0, channel="sound"),
        NormalMoment(at_s=4.0, channel="sound", picture=f"{FOLDER}/normal-4.jpg"),
    )
    return site.raise_alert(
        regions={"motion": (0.1, 0.2, 0.3, 0.4)},
        band_hz=(300.0, 900.0),
        normal=normal,
        sentences={"en": "Unusual.", "zh": "异常。"},
    )


def test_an_alert_tells_where_in_which_words_and_beside_what(alert: Alert, http: httpx.Client) -> None:
    told = http.get(f"{ALERTS}/{alert.alert_id}").json()
    assert told["sentences"] == {"en": "Unusual.", "zh": "异常。"}
    assert told["regions"] == {"motion": [0.1, 0.2, 0.3, 0.4]}
    assert told["band_hz"] == [300.0, 900.0]
    assert told["normal"][1] == {"at_s": 2.0, "channel": "sound", "picture": f"{FOLDER}/normal-2.jpg"}


@pytest.mark.parametrize(("number", "shade"), [(1, 10), (2, 200)])
def test_every_picture_is_served_by_its_number(alert: Alert, http: httpx.Client, number: int, shade: int) -> None:
    answer = http.get(f"{ALERTS}/{alert.alert_id}/normal/{number}.jpg")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.content == make_jpeg(shade)
    assert "private" in answer.headers["Cache-Control"]
    assert http.head(f"{ALERTS}/{alert.alert_id}/normal/{number}.jpg").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        pytest.param("normal/3.jpg", 404, "no_normal_moment", id="no picture was kept"),
        pytest.param("normal/4.jpg", 404, "no_normal_moment", id="the picture has expired"),
        pytest.param("normal/5.jpg", 404, "no_normal_moment", id="no such moment"),
        pytest.param("normal/0.jpg", 422, "wrong_request", id="counted from 1"),
        pytest.param("normal/x.jpg", 422, "wrong_request", id="not a number"),
    ],
)
def test_what_is_not_there_is_a_plain_sentence(
    alert: Alert, http: httpx.Client, path: str, status: int, code: str
) -> None:
    answer = http.get(f"{ALERTS}/{alert.alert_id}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_pictures_are_for_those_who_have_the_key_only(alert: Alert, http: httpx.Client) -> None:
    path = f"{ALERTS}/{alert.alert_id}/normal/1.jpg"
    assert httpx.get(f"{http.base_url}{path}", trust_env=False).status_code == 401


def test_the_openapi_page_documents_the_pictures(http: httpx.Client) -> None:
    page = http.get("/openapi.json").json()
    route = page["paths"][f"{ALERTS}/{{alert_id}}/normal/{{number}}.jpg"]["get"]
    assert route["operationId"] == "get_normal_moment"
    assert "image/jpeg" in route["responses"]["200"]["content"]
    assert {"sentences", "regions", "band_hz", "normal"} <= page["components"]["schemas"]["Alert"]["properties"].keys()
