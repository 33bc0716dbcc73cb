// One alert in full: clip, sound picture, why, and the operator's answer.

import { alertPath, mediaUrl, request } from "./api.js";
import { rarityOf, sharesBar, stateWord } from "./alerts.js";
import { byId, element, setText } from "./dom.js";
import { duration, moment, rarity, spoken, timeBeside } from "./words.js";

export class Detail {
  constructor({ nameOf, onAnswer }) {
    this.nameOf = nameOf;
    this.onAnswer = onAnswer;
    this.alert = null;
    this.dialog = byId("detail");
    this.dialog.addEventListener("close", () => this.clear());
    // a click beside the dialog lands on the dialog itself
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  open(alert) {
    this.alert = alert;
    this.draw();
    this.dialog.showModal();
    this.answers.querySelector("button:not([disabled])")?.focus({ preventScroll: true });
  }

  // The alert changed while it is shown: the clip goes on playing unless it is another clip.
  update(alert) {
    if (this.alert?.alert_id !== alert.alert_id) return;
    const before = this.alert;
    this.alert = alert;
    setText(this.said, spoken(alert).sentence);
    if (before.text !== alert.text || before.narration !== alert.narration) this.drawTold();
    this.facts.replaceWith((this.facts = this.factList()));
    this.drawAnswers();
    if (before.clip !== alert.clip || before.spectrogram !== alert.spectrogram || before.end_s !== alert.end_s || before.thumbnail !== alert.thumbnail) {
      if (!this.video || this.video.paused) this.media.replaceWith((this.media = this.mediaBox()));
    }
  }

  clear() {
    this.video?.pause();
    this.alert = null;
    this.dialog.replaceChildren();
  }

  draw() {
    const { alert } = this;
    const { lang, sentence } = spoken(alert);
    this.said = element("p", { class: "detail-sentence", lang }, sentence);
    this.told = element("div", { class: "told" });
    this.drawTold();
    this.media = this.mediaBox();
    this.facts = this.factList();
    this.note = element("textarea", { id: "note", rows: 2, maxlength: 2000, placeholder: "Note (optional)", "aria-label": "Note" });
    this.note.value = alert.note;
    this.answers = element("div", { class: "answers" });
    this.error = element("p", { class: "detail-error", role: "alert" });
    const head = element(
      "header",
      { class: "detail-head" },
      element("div", {}, element("h2", { id: "detail-title" }, this.nameOf(alert.feed_id)), element("p", {}, moment(alert.start_s))),
      element("button", { type: "button", class: "button quiet", onclick: () => this.dialog.close() }, "Close"),
    );
    const why = element(
      "div",
      { class: "detail-why" },
      this.said,
      sharesBar(alert.shares),
      this.told,
      this.facts,
      channelTable(alert.channels),
      element("div", { class: "detail-answer" }, this.note, this.answers, this.error),
    );
    this.dialog.replaceChildren(element("div", { class: "detail-frame" }, head, element("div", { class: "detail-body" }, this.media, why)));
    this.drawAnswers();
  }

  // What was heard or read, and what a model wrote about it: both may come later than the alert.
  drawTold() {
    const { alert } = this;
    const { texts } = spoken(alert);
    const words = alert.text ? element("blockquote", {}, alert.text) : null;
    const narration = alert.narration
      ? element(
          "figure",
          { class: "narration" },
          element("p", {}, alert.narration),
          element("figcaption", {}, `${texts.writtenBy} ${alert.narrated_by}`),
        )
      : null;
    this.told.replaceChildren(...[words, narration].filter(Boolean));
  }

  mediaBox() {
    const { alert } = this;
    const version = Math.round(alert.end_s);
    const url = (file) => mediaUrl(alert.alert_id, file, version);
    this.video = alert.clip
      ? element("video", { controls: true, playsinline: true, preload: "metadata", src: url("clip.mp4"), poster: alert.thumbnail ? url("thumbnail.jpg") : null })
      : null;
    const missing = alert.state === "closed" ? "No clip was kept of this alert." : "The clip is being cut; it appears here by itself.";
    const sound = alert.spectrogram
      ? element(
          "figure",
          { class: "spectrogram" },
          element("img", { src: url("spectrogram.png"), alt: "Spectrogram: time to the right, pitch upwards" }),
          element("figcaption", {}, "Sound: time to the right, pitch upwards"),
        )
      : null;
    // first what tells more: what was seen, or what was heard
    const told = alert.shares.picture >= 0.5 ? [this.normalMoments(url), sound] : [sound, this.normalMoments(url)];
    return element("div", { class: "detail-media" }, this.video ?? element("p", { class: "no-clip" }, missing), told);
  }

  // The alert's own picture beside those of the most similar normal moments: what differs, one sees.
  normalMoments(url) {
    const { alert } = this;
    if (!alert.normal?.length) return null;
    const { lang, texts } = spoken(alert);
    const figure = (className, src, label, atS) => {
      const blank = element("span", { class: "blank" }, texts.noPicture);
      const picture = src ? element("img", { src, alt: "", loading: "lazy", onerror: () => picture.replaceWith(blank) }) : blank;
      const when = element("time", { datetime: new Date(atS * 1000).toISOString(), title: moment(atS) }, timeBeside(atS, alert.start_s));
      return element("figure", { class: className }, element("div", { class: "still" }, picture), element("figcaption", {}, label, when));
    };
    const own = alert.thumbnail ? [figure("still-alert", url("thumbnail.jpg"), element("b", {}, texts.alert), alert.peak_s)] : [];
    const others = alert.normal.map((other, index) => figure("still-normal", other.picture && url(`normal/${index + 1}.jpg`), null, other.at_s));
    return element(
      "section",
      { class: "normal", lang, "aria-labelledby": "normal-title" },
      element("h3", { id: "normal-title" }, texts.normal),
      element("p", {}, texts.normalNote),
      element("div", { class: "stills" }, own, others),
    );
  }

  factList() {
    const { alert } = this;
    const facts = [
      ["State", stateWord(alert)],
      ["Severity", alert.severity],
      [alert.kind === "health" ? "About" : "Rarity", rarityOf(alert)],
      ["Lasted", duration(Math.max(1, alert.end_s - alert.start_s))],
      ["Peak", moment(alert.peak_s)],
      ["Verdict", alert.verdict && [alert.verdict.replace("_", " "), alert.verdict_by && `by ${alert.verdict_by}`].filter(Boolean).join(" ")],
      ["Judged by", Object.entries(alert.versions).map(([channel, model]) => `${channel}: ${model}`).join(", ") || alert.models.join(", ")],
      ["Id", alert.alert_id],
    ];
    const rows = facts.filter(([, value]) => value).map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
    return element("dl", { class: "facts" }, rows);
  }

  drawAnswers() {
    const { alert } = this;
    const button = (label, className, path, body, method = "POST") =>
      element("button", { type: "button", class: `button ${className}`, onclick: () => this.answer(path, body, method) }, label);
    const close = (verdict) => ({ verdict });
    const chosen = (verdict) => (alert.verdict === verdict ? "chosen" : "");
    this.answers.replaceChildren(
      ...(alert.state === "open" ? [button("Acknowledge", "primary", "/ack")] : []),
      button("True alarm", chosen("true"), "/close", close("true")),
      button("False alarm", chosen("false_alarm"), "/close", close("false_alarm")),
      button("Unsure", chosen("unsure"), "/close", close("unsure")),
      ...(alert.verdict ? [button("Undo", "quiet", "/verdict", undefined, "DELETE")] : []),
    );
  }

  async answer(path, body, method) {
    const { alert_id: alertId } = this.alert;
    for (const button of this.answers.children) button.disabled = true;
    setText(this.error, "");
    try {
      const alert = await request(method, alertPath(alertId, path), body && { ...body, note: this.note.value });
      this.onAnswer(alert);
      if (path === "/close" && this.alert?.alert_id === alertId) this.dialog.close();
    } catch (problem) {
      setText(this.error, problem.message);
      this.drawAnswers();
    }
  }
}

function channelTable(channels) {
  const rows = Object.entries(channels).sort((a, b) => a[1] - b[1]);
  if (!rows.length) return null;
  return element(
    "table",
    { class: "channels" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Channel"), element("th", { scope: "col" }, "At the peak, this rare"))),
    element(
      "tbody",
      {},
      rows.map(([name, p]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, p < 1 ? `${rarity(p)} windows` : "ordinary"))),
    ),
  );
}
