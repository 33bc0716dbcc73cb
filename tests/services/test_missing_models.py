"""A model that cannot be asked is told wherever somebody looks."""

from __future__ import annotations

import httpx

from mmstream.config import UnderstandingSection
from services.doctor import check_understanding
from tests.services.running import FakeSite
from tests.speakers import DESCRIBER, MISSING, SPEECH


def test_the_api_says_which_models_alerts_have_to_do_without(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed()
    asked = {"whisper": {"trouble": "there is no folder /models", "asked": 3}, "vlm": {"trouble": "", "asked": 1}}
    site.store.put_statuses({"gate-3": {"updated_s": site.now_s, "understanding": asked}})
    assert http.get("/api/v1/site").json()["missing_models"] == {"whisper": "there is no folder /models"}
    site.store.put_statuses({"gate-3": {"updated_s": site.now_s - 3600, "understanding": asked}})
    assert http.get("/api/v1/site").json()["missing_models"] == {}


def test_the_doctor_loads_every_model_and_names_those_that_cannot_do_what_is_wanted() -> None:
    section = UnderstandingSection(speech=SPEECH, captions=DESCRIBER, narration=MISSING)
    speech, captions, narration = check_understanding(section, elsewhere=False)
    assert (speech.ok, captions.ok, narration.ok) == ("ok", "ok", "failed")
    assert "there is no folder /models/nothing" in narration.sentence
    assert narration.cure == f"Mend understanding.options.{MISSING} in site.yaml."
    [wrong] = check_understanding(UnderstandingSection(speech=DESCRIBER), elsewhere=True)
    assert wrong.ok == "warning"
    assert "cannot write down speech" in wrong.sentence
