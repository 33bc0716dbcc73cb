"""The dashboard in a real browser: what a guard sees, clicks and types, and what must not happen."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmstream.replay.answering import Answer
from mmstream.replay.whatif import WhatIf
from mmstream.storage.base import Commit
from mmstream.training.registry import Lineage
from mmstream.types import Alert, NormalMoment
from tests.services.running import KEY, FakeSite, make_jpeg, serving

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NASTY = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    site = FakeSite(tmp_path, now_s=time.time())
    yield site
    site.close()


@pytest.fixture
def url(site: FakeSite) -> Iterator[str]:
    with serving(site.app()) as url:
        yield url


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """A page that fails the test on a script error, a blocked resource or a request to anywhere else."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
    page.on("request", lambda request: None if is_local(request.url, url) else complaints.append(request.url))
    yield page
    context.close()
    assert complaints == []


def is_local(address: str, url: str) -> bool:
    return address.startswith((url, "blob:" + url))


def add_feeds(site: FakeSite) -> None:
    analysis = {"phase": "calibrated", "alerts_today": 1, "budget_per_day": 2}
    statuses = {}
    for feed_id in ("gate-3", "quay"):
        site.add_feed(feed_id, name=f"Feed {feed_id}")
        site.media.put(f"feeds/{feed_id}/last.jpg", make_jpeg())
        sentence = f"{feed_id}: receiving pictures and sound."
        statuses[feed_id] = {"state": "live", "sentence": sentence, "updated_s": site.now_s, "analysis": analysis}
    statuses["quay"] |= {"state": "failed", "sentence": "quay: the camera refuses the password."}
    statuses["gate-3"] |= {"learning": 0.62}
    site.store.put_statuses(statuses)


def enter(page: Any, url: str) -> None:
    page.goto(f"{url}/#key={KEY}")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def test_the_page_asks_for_the_key_and_says_when_it_is_wrong(page: Any, url: str) -> None:
    page.goto(url)
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_contain_text("not the site's key")
    page.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Harbour <b>east</b>")).to_be_visible()


def test_a_key_in_the_link_opens_the_page_and_leaves_the_address_bar(page: Any, url: str) -> None:
    enter(page, url)
    assert "key" not in page.url
    page.reload()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def test_logging_out_forgets_the_key(page: Any, url: str) -> None:
    enter(page, url)
    with page.expect_response(lambda answer: answer.url.endswith("/session")):
        page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Key")).to_be_visible()
    assert page.context.cookies() == []


def test_every_feed_shows_its_picture_state_and_progress(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    enter(page, url)
    gate, quay = page.locator("[data-feed=gate-3]"), page.locator("[data-feed=quay]")
    expect(gate).to_contain_text("Receiving pictures and sound.")
    expect(gate).to_contain_text(re.compile(r"learning 62\s%"))
    expect(gate).to_contain_text("1 of 2 today")
    expect(quay).to_contain_text("needs attention")
    expect(quay).to_contain_text("The camera refuses the password.")
    expect(page.locator("#summary")).to_have_text("1 of 2 feeds live")
    expect(gate.locator("img")).to_have_js_property("naturalWidth", 64)
    before = gate.locator("img").get_attribute("src")
    site.media.put("feeds/gate-3/last.jpg", make_jpeg(200))
    expect(gate.locator("img")).not_to_have_attribute("src", before)


def test_an_alert_appears_by_itself_and_the_answer_is_stored(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    enter(page, url)
    expect(page.get_by_text("Nothing to do.")).to_be_visible()
    site.media.put("clips/a.jpg", make_jpeg())
    alert = site.raise_alert(ago_s=5, severity="critical", provisional=True, thumbnail="clips/a.jpg")
    card = page.locator(f'[data-alert="{alert.alert_id}"]')
    for words in ("Feed gate-3", alert.sentence, "critical", "provisional", "too little history"):
        expect(card).to_contain_text(words)
    expect(card.get_by_role("img", name=re.compile(r"picture 30\s%, sound 70\s%"))).to_be_visible()
    expect(card.locator(".card-picture img")).to_have_js_property("naturalWidth", 64)
    expect(page).to_have_title(re.compile(r"^\(1\) "))

    card.get_by_role("button").click()
    expect(page.get_by_role("dialog")).to_contain_text("being cut")
    expect(page.get_by_role("row", name="sound 1 in 5\u202f000 windows")).to_be_visible()
    page.keyboard.press("Enter")  # the first answer has the focus
    expect(page.get_by_role("button", name="Acknowledge", exact=True)).to_have_count(0)
    expect(page.get_by_role("dialog")).to_contain_text("acknowledged")
    page.get_by_label("Note").fill("the sweeper")
    page.get_by_role("button", name="False alarm").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(card).to_have_count(0)
    page.get_by_role("button", name="All", exact=True).click()
    expect(card).to_contain_text("false alarm")
    stored = site.store.alert(alert.alert_id)
    assert stored is not None
    assert (stored.state, stored.verdict, stored.note) == ("closed", "false_alarm", "the sweeper")


def test_a_clip_that_is_cut_later_appears_in_the_open_dialog(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    alert = site.raise_alert(ago_s=5)
    enter(page, url)
    page.locator(".card").click()
    expect(page.get_by_text("being cut")).to_be_visible()
    site.media.put("clips/a.mp4", b"not a film, but bytes")
    site.store.update_alert(alert.alert_id, {"clip": "clips/a.mp4"})
    expect(page.locator("video")).to_have_attribute("src", re.compile(r"/clip\.mp4\?v=\d+$"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_words_and_a_narration_that_come_later_appear_in_the_open_dialog(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    alert = site.raise_alert(ago_s=5)
    enter(page, url)
    page.locator(".card").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    site.store.commit(Commit(feed_id=alert.feed_id, alerts=[replace(alert, text="help, over here")]))
    expect(page.locator("blockquote")).to_have_text("help, over here")
    site.store.update_alert(alert.alert_id, {"narration": "Somebody calls for help.", "narrated_by": "tiny@1"})
    expect(page.locator(".narration")).to_contain_text("Somebody calls for help.")
    expect(page.locator(".narration figcaption")).to_have_text("Generated: written by tiny@1")


def test_words_from_the_world_stay_words(site: FakeSite, page: Any, url: str) -> None:
    site.add_feed("gate-3", name=NASTY)
    status = {"state": "live", "sentence": NASTY, "updated_s": site.now_s, "analysis": {"phase": NASTY}}
    site.store.put_statuses({"gate-3": status})
    narration = {"narration": NASTY, "narrated_by": NASTY}
    site.raise_alert(
        ago_s=5, sentence=NASTY, text=NASTY, note=NASTY, channels={NASTY: 0.1}, models=(NASTY,), **narration
    )
    enter(page, url)
    page.locator(".card").click()
    expect(page.get_by_role("dialog").locator("blockquote")).to_have_text(NASTY)
    expect(page.get_by_role("dialog").locator(".narration p")).to_have_text(NASTY)
    assert page.locator("main b, dialog b, main img[src=x], dialog img[src=x]").count() == 0
    assert "owned" not in page.title()


def test_a_feed_that_is_picked_shows_only_its_alerts(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    site.raise_alert("gate-3", ago_s=50)
    site.raise_alert("quay", ago_s=60)
    enter(page, url)
    expect(page.locator(".card")).to_have_count(2)
    page.get_by_role("button", name=re.compile("^Feed quay")).click()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card")).to_contain_text("Feed quay")
    page.get_by_role("button", name="Only quay; show all feeds").click()
    expect(page.locator(".card")).to_have_count(2)


def test_older_alerts_are_fetched_on_demand(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    for number in range(120):
        site.raise_alert(ago_s=10.0 + number)
    enter(page, url)
    expect(page.locator(".card")).to_have_count(100)
    page.get_by_role("button", name="Show older alerts").click()
    expect(page.locator(".card")).to_have_count(120)


@pytest.mark.parametrize("width_px", [360, 390, 768, 1440])
def test_nothing_is_wider_than_the_screen(site: FakeSite, page: Any, url: str, width_px: int) -> None:
    add_feeds(site)
    shares = {"picture": 0.4, "sound": 0.25, "words": 0.2, "sensor": 0.15}
    normal = tuple(NormalMoment(at_s=1e9 + number, channel="motion") for number in range(3))
    sentence = "An uncommonly long sentence. " * 5 + "x" * 80
    site.raise_alert(ago_s=50, shares=shares, sentence=sentence, thumbnail="clips/none.jpg", normal=normal)
    page.set_viewport_size({"width": width_px, "height": 800})
    enter(page, url)
    expect(page.locator(".card")).to_be_visible()
    wider = "[...document.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).length"
    assert page.evaluate(wider) == 0
    page.locator(".card").click()
    assert page.evaluate(wider) == 0


SENTENCES = {"en": "Unusual movement at gate-3, lower left.", "zh": "gate-3 画面左下方出现异常移动。"}


def raise_explained(site: FakeSite) -> Alert:
    """An alert with its picture, three normal moments, and a picture for two of them."""
    site.media.put("alerts/a/final.jpg", make_jpeg(30))
    for number in (1, 2):
        site.media.put(f"alerts/a/normal-{number}.jpg", make_jpeg(60 * number))
    start_s = site.now_s - 60
    normal = tuple(
        NormalMoment(
            at_s=start_s - 90.0 * number, channel="motion", picture=f"alerts/a/normal-{number}.jpg" * (number < 3)
        )
        for number in (1, 2, 3)
    )
    return site.raise_alert(
        sentence=SENTENCES["en"], sentences=SENTENCES, thumbnail="alerts/a/final.jpg", normal=normal
    )


@pytest.mark.parametrize(("locale", "lang"), [("en-GB", "en"), ("zh-CN", "zh"), ("fr-FR", "en")])
def test_the_sentence_is_in_the_readers_language(
    site: FakeSite, browser: Any, url: str, locale: str, lang: str
) -> None:
    add_feeds(site)
    raise_explained(site)
    context = browser.new_context(locale=locale)
    page = context.new_page()
    enter(page, url)
    expect(page.locator(".card-sentence")).to_have_text(SENTENCES[lang])
    expect(page.locator(".card-sentence")).to_have_attribute("lang", lang)
    page.locator(".card").click()
    expect(page.locator(".detail-sentence")).to_have_text(SENTENCES[lang])
    heading = {"en": "What is normal here", "zh": "这里的正常情况"}[lang]
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    context.close()


def test_the_normal_moments_stand_beside_the_alert_with_pictures_and_times(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    alert = raise_explained(site)
    enter(page, url)
    page.locator(".card").click()
    moments = page.get_by_role("region", name="What is normal here")
    expect(moments.locator("figure")).to_have_count(4)
    expect(moments.locator(".still-alert img")).to_have_js_property("naturalWidth", 64)
    for number in (0, 1):
        expect(moments.locator(".still-normal img").nth(number)).to_have_js_property("naturalWidth", 64)
    expect(moments.locator(".still-normal").nth(2)).to_contain_text("no picture of it was kept")
    times = moments.locator(".still-normal time")
    shown_s = [
        page.evaluate("(text) => Date.parse(text) / 1000", times.nth(n).get_attribute("datetime")) for n in range(3)
    ]
    assert shown_s == pytest.approx([moment.at_s for moment in alert.normal], abs=0.002)


def test_a_picture_that_has_expired_leaves_words_in_its_place(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    raise_explained(site)
    site.media.delete("alerts/a/normal-2.jpg")
    enter(page, url)
    page.locator(".card").click()
    expect(page.locator(".still-normal").nth(1)).to_contain_text("no picture of it was kept")
    expect(page.locator(".still-normal img")).to_have_count(1)


def test_a_fault_of_the_camera_itself_claims_no_rarity_and_no_shares(site: FakeSite, page: Any, url: str) -> None:
    add_feeds(site)
    site.raise_alert(ago_s=5, kind="health", cause="black", shares={}, channels={}, sentence="The picture is black.")
    enter(page, url)
    expect(page.locator(".card")).to_contain_text("the camera itself")
    expect(page.locator(".card")).not_to_contain_text("expected once")
    expect(page.locator(".card .shares")).to_have_count(0)
    page.locator(".card").click()
    expect(page.get_by_role("dialog")).to_contain_text("the camera itself")
    expect(page.get_by_role("dialog")).not_to_contain_text("Rarity")


@pytest.mark.parametrize(
    ("every_s", "words"), [(11 * 86_400.0, "expected once in 11 days"), (4e9, "rarer than once a year")]
)
def test_the_card_says_how_rare_it_is_as_far_as_that_can_be_known(
    site: FakeSite, page: Any, url: str, every_s: float, words: str
) -> None:
    add_feeds(site)
    site.raise_alert(ago_s=5, expected_every_s=every_s)
    enter(page, url)
    expect(page.locator(".card")).to_contain_text(words)


class Slower:
    """Answers every replay with one alert that would have come and one that would be gone."""

    budgets: tuple[float | None, ...] = ()

    def run(self, question: WhatIf, own: Mapping[str, float | None], alerts: Sequence[Alert]) -> dict[str, Any]:
        self.budgets += (question.alerts_per_day,)
        (gone,) = alerts
        assert gone.feed_id in own
        about = {"kind": "unusual", "cause": "", "feed_id": gone.feed_id, "end_s": gone.end_s, "surprise": 4.0}
        about |= {"severity": "alert", "shares": {"sound": 0.9, "picture": 0.1}, "provisional": False}
        come = about | {"fate": "appeared", "alert_id": None, "start_s": gone.start_s - 60.0}
        numbers = dict.fromkeys(("now", "then", "appeared", "vanished"), 1) | {"kept": 0, "over_budget": 0}
        return Answer(notes=[NASTY]).to_json() | {
            "total": numbers,
            "alerts": [come, about | {"fate": "vanished", "alert_id": gone.alert_id, "start_s": gone.start_s}],
        }

    def report(self, model: str) -> str:
        raise AssertionError(model)


@pytest.fixture
def replays(site: FakeSite) -> Slower:
    site.replays = replays = Slower()
    return replays


def test_what_if_shows_what_would_come_and_go_under_another_budget(
    site: FakeSite, replays: Slower, page: Any, url: str
) -> None:
    add_feeds(site)
    gone = site.raise_alert()
    enter(page, url)
    page.get_by_text("What if?").click()
    page.get_by_label("Last week with").fill("6")
    expect(page.locator("#replay-chosen")).to_have_text("8 alerts a day and camera")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#replay-note")).to_contain_text("1 alerts instead of 1: 1 would have come, 1 gone. <img")
    assert replays.budgets == (8.0,)
    rows = page.locator("#replay-list > li")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("would have come · alert · sound")
    rows.nth(1).get_by_role("button", name="Alert").click()
    expect(page.get_by_role("dialog")).to_contain_text(gone.alert_id)
    assert page.title() != "owned"


def test_the_models_in_use_are_shown_and_one_can_be_taken_back(site: FakeSite, page: Any, url: str) -> None:
    made = [site.registry.add("site", {"a": b"%d" % n}, Lineage(code="1"), made_s=1e9 + n).version for n in (1, 2)]
    for version in made:
        site.registry.promote("site", version, reason=f"Finds more. {NASTY}", at_s=site.now_s)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{url}/#key={KEY}")
    page.locator("#models > summary").click()
    row = page.locator(".model")
    expect(row).to_contain_text(made[1])
    expect(row).to_contain_text("Finds more. <img")
    row.get_by_role("button", name="Roll back").click()
    deadline_s = time.monotonic() + 60
    while not site.commands.swaps:
        assert time.monotonic() < deadline_s
        page.wait_for_timeout(50)
    assert site.commands.swaps == [("roll back", "site", "", "Rolled back on the dashboard.")]


def test_a_site_that_has_trained_nothing_shows_no_models(site: FakeSite, page: Any, url: str) -> None:
    site.add_feed()
    page.goto(f"{url}/#key={KEY}")
    expect(page.locator("#feed-grid")).to_contain_text("gate-3")
    expect(page.locator("#models")).to_be_hidden()
