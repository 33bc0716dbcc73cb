// The column of alerts, newest first, kept up to date by live events.

import { mediaUrl, request } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { MODALITIES, ago, expected, moment, percent, spoken } from "./words.js";

const VERDICTS = { true: "true alarm", false_alarm: "false alarm", unsure: "unsure" };

export const isToDo = (alert) => alert.state !== "closed" || alert.verdict === null;

export function stateWord(alert) {
  if (alert.verdict) return VERDICTS[alert.verdict];
  return alert.state === "closed" ? "over, no verdict yet" : alert.state;
}

// What is wrong with a camera itself is not rare or common: it is to be mended.
export function rarityOf(alert) {
  if (alert.kind === "health") return "the camera itself";
  if (alert.kind === "rule" && !alert.expected_every_s) return `words of the rule ${alert.cause}`;
  return alert.provisional ? "too little history to say how rare" : expected(alert.expected_every_s);
}

// Shares of the surprise as one bar, with the numbers in words beneath it.
export function sharesBar(shares) {
  const parts = MODALITIES.filter((name) => shares[name] > 0.005).map((name) => [name, shares[name]]);
  if (!parts.length) return null;
  const label = parts.map(([name, share]) => `${name} ${percent(share)}`).join(", ");
  return element(
    "span",
    { class: "shares" },
    element(
      "span",
      { class: "shares-bar", role: "img", "aria-label": label },
      parts.map(([name, share]) => element("span", { class: `part ${name}`, style: { "flex-grow": String(share) } })),
    ),
    element(
      "span",
      { class: "shares-legend", "aria-hidden": "true" },
      parts.map(([name, share]) => element("span", { class: `key ${name}` }, `${name} ${percent(share)}`)),
    ),
  );
}

export class AlertColumn {
  constructor({ nameOf, onOpen, onChange }) {
    this.alerts = new Map();
    this.streamed = new Set();
    this.cards = new Map();
    this.filter = "todo";
    this.feedId = null;
    this.cursor = null;
    this.nameOf = nameOf;
    this.onOpen = onOpen;
    this.onChange = onChange;
    this.list = byId("alert-list");
    byId("older").addEventListener("click", () => this.loadOlder());
    for (const button of document.querySelectorAll("[data-filter]")) {
      button.addEventListener("click", () => this.setFilter(button.dataset.filter));
    }
    setInterval(() => this.renewAges(), 10000);
  }

  async load() {
    this.alerts.clear();
    this.streamed.clear();
    this.cursor = null;
    await this.loadOlder();
  }

  async loadOlder() {
    const feed = this.feedId ? `&feed=${encodeURIComponent(this.feedId)}` : "";
    const cursor = this.cursor ? `&cursor=${encodeURIComponent(this.cursor)}` : "";
    const page = await request("GET", `/alerts?limit=100${feed}${cursor}`);
    for (const alert of page.alerts) {
      // what came over the stream meanwhile is newer
      if (!this.streamed.has(alert.alert_id)) this.alerts.set(alert.alert_id, alert);
    }
    this.cursor = page.next_cursor;
    this.draw();
  }

  upsert(alert) {
    const isNew = !this.alerts.has(alert.alert_id);
    this.streamed.add(alert.alert_id);
    this.alerts.set(alert.alert_id, alert);
    this.draw(isNew ? alert.alert_id : null);
    this.onChange(alert);
    if (isNew) setText(byId("announcer"), `New alert on ${this.nameOf(alert.feed_id)}: ${spoken(alert).sentence}`);
  }

  setFilter(filter) {
    this.filter = filter;
    for (const button of document.querySelectorAll("[data-filter]")) {
      button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
    }
    this.draw();
  }

  setFeed(feedId) {
    this.feedId = feedId;
    const chip = byId("only-feed");
    chip.hidden = feedId === null;
    setText(chip, feedId === null ? "" : this.nameOf(feedId));
    chip.setAttribute("aria-label", `Only ${feedId}; show all feeds`);
    return this.load();
  }

  shown() {
    return [...this.alerts.values()]
      .filter((alert) => this.feedId === null || alert.feed_id === this.feedId)
      .filter((alert) => this.filter === "all" || isToDo(alert))
      .sort((a, b) => b.start_s - a.start_s || b.alert_id.localeCompare(a.alert_id));
  }

  draw(newId = null) {
    const shown = this.shown();
    const focused = document.activeElement?.closest?.("[data-alert]")?.dataset.alert;
    const ids = new Set(shown.map((alert) => alert.alert_id));
    for (const [alertId, card] of this.cards) {
      if (!ids.has(alertId)) {
        card.root.remove();
        this.cards.delete(alertId);
      }
    }
    shown.forEach((alert, index) => this.place(alert, index, alert.alert_id === newId));
    if (focused && !this.list.contains(document.activeElement)) this.cards.get(focused)?.root.querySelector("button").focus();
    this.summarise(shown.length);
  }

  place(alert, index, isNew) {
    const known = this.cards.get(alert.alert_id);
    const name = this.nameOf(alert.feed_id);
    let root = known?.root;
    if (known?.alert !== alert || known?.name !== name) {
      root = this.card(alert, name, isNew);
      known?.root.replaceWith(root);
      this.cards.set(alert.alert_id, { alert, name, root });
    }
    if (this.list.children[index] !== root) this.list.insertBefore(root, this.list.children[index] ?? null);
  }

  summarise(numShown) {
    const numToDo = [...this.alerts.values()].filter(isToDo).length;
    setText(byId("tab-alerts"), numToDo ? String(numToDo) : "");
    document.title = `${numToDo ? `(${numToDo}) ` : ""}${byId("site-name").textContent}`;
    byId("older").hidden = this.cursor === null;
    const empty = byId("alerts-empty");
    empty.hidden = numShown > 0;
    setText(empty, this.filter === "todo" ? "Nothing to do. Everything looks as it usually does." : "No alerts yet.");
  }

  renewAges() {
    for (const { alert, root } of this.cards.values()) setText(root.querySelector("time"), ago(alert.start_s));
  }

  card(alert, name, isNew) {
    const text = (className, value) => (value ? element("span", { class: className }, value) : null);
    const { lang, sentence } = spoken(alert);
    const thumbnail = alert.thumbnail
      ? element("img", { src: mediaUrl(alert.alert_id, "thumbnail.jpg", Math.round(alert.end_s)), alt: "", loading: "lazy" })
      : text("blank", "no picture");
    const button = element(
      "button",
      { type: "button", class: "card", onclick: () => this.onOpen(alert.alert_id) },
      element("span", { class: "card-picture" }, thumbnail),
      element(
        "span",
        { class: "card-body" },
        element(
          "span",
          { class: "card-head" },
          text("card-feed", name),
          element("time", { datetime: new Date(alert.start_s * 1000).toISOString(), title: moment(alert.start_s) }, ago(alert.start_s)),
        ),
        sentence ? element("span", { class: "card-sentence", lang }, sentence) : null,
        sharesBar(alert.shares),
        element(
          "span",
          { class: "chips" },
          alert.severity === "critical" && text("chip critical", "critical"),
          text(`chip state-${alert.state}`, stateWord(alert)),
          alert.provisional && text("chip provisional", "provisional"),
          alert.suppressed && text("chip", "kept silent"),
          text("chip-note", rarityOf(alert)),
        ),
      ),
    );
    const classes = `alert ${alert.severity} ${isToDo(alert) ? "" : "done"} ${isNew ? "fresh" : ""}`;
    return element("li", { class: classes, "data-alert": alert.alert_id }, button);
  }
}
