// The grid of feeds: last picture, state, how far it has learned, how much of its budget is used.

import { feedPath, picture, request } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { duration, percent, siteNowS } from "./words.js";

const REFRESH_MS = 3000;
const PICTURE_MS = 2000;
const NO_PICTURE_MS = 15000;
const STATE_WORDS = { retrying: "retrying", connecting: "connecting", failed: "needs attention", ended: "ended" };
const PHASES = { provisional: "provisional", calibrated: "watching" };
const TONES = { live: "good", retrying: "warn", connecting: "warn", failed: "bad" };

export class FeedGrid {
  constructor({ onPick }) {
    this.tiles = new Map();
    this.feeds = [];
    this.picked = null;
    this.onPick = onPick;
    this.grid = byId("feed-grid");
    this.visible = new Set();
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) this.visible.add(target.dataset.feed);
        else this.visible.delete(target.dataset.feed);
      }
    });
    byId("feed-search").addEventListener("input", () => this.draw());
  }

  start() {
    this.running = true;
    this.refreshForEver();
    this.picturesForEver();
  }

  stop() {
    this.running = false;
  }

  async refreshForEver() {
    while (this.running) {
      await this.refresh().catch(() => {});
      await pause(REFRESH_MS);
    }
  }

  async refresh() {
    let feeds = [];
    let cursor = "";
    do {
      const page = await request("GET", `/feeds?cursor=${encodeURIComponent(cursor)}`);
      feeds = feeds.concat(page.feeds);
      cursor = page.next_cursor;
    } while (cursor);
    this.feeds = feeds;
    this.draw();
  }

  nameOf(feedId) {
    return this.feeds.find((feed) => feed.feed_id === feedId)?.name ?? feedId;
  }

  pick(feedId) {
    this.picked = feedId;
    this.draw();
  }

  draw() {
    const wanted = byId("feed-search").value.trim().toLowerCase();
    const shown = this.feeds.filter((feed) => `${feed.feed_id} ${feed.name}`.toLowerCase().includes(wanted));
    const ids = new Set(shown.map((feed) => feed.feed_id));
    for (const [feedId, tile] of this.tiles) {
      if (!ids.has(feedId)) this.remove(feedId, tile);
    }
    shown.forEach((feed, index) => {
      const tile = this.tiles.get(feed.feed_id) ?? this.add(feed.feed_id);
      if (this.grid.children[index] !== tile.root) this.grid.insertBefore(tile.root, this.grid.children[index] ?? null);
      this.fill(tile, feed);
    });
    this.summarise(shown.length);
  }

  summarise(numShown) {
    const numLive = this.feeds.filter((feed) => toneOf(feed) === "good").length;
    setText(byId("summary"), this.feeds.length ? `${numLive} of ${this.feeds.length} feeds live` : "");
    setText(byId("tab-feeds"), String(this.feeds.length));
    const empty = byId("feeds-empty");
    empty.hidden = numShown > 0;
    setText(empty, this.feeds.length ? "No feed is called that." : "No feeds yet. Add one: mmstream feeds add gate rtsp://…");
  }

  add(feedId) {
    const part = (tag, name, ...children) => element(tag, { class: name }, ...children);
    const tile = {
      image: element("img", { alt: "", hidden: true }),
      blank: part("span", "blank", "no picture yet"),
      state: part("span", "state"),
      name: part("span", "tile-name"),
      sentence: part("p", "tile-sentence"),
      phase: part("span", "phase"),
      meter: part("span", "meter-fill"),
      budget: part("span", "budget"),
      etag: null,
      notBefore: 0,
    };
    tile.meterBox = element("span", { class: "meter", hidden: true }, tile.meter);
    tile.button = element(
      "button",
      { type: "button", class: "tile", onclick: () => this.onPick(this.picked === feedId ? null : feedId) },
      part("span", "screen", tile.image, tile.blank, tile.state),
      tile.name,
    );
    tile.root = element(
      "li",
      { class: "tile-box", "data-feed": feedId },
      tile.button,
      tile.sentence,
      part("div", "tile-foot", tile.phase, tile.meterBox, tile.budget),
    );
    this.tiles.set(feedId, tile);
    this.observer.observe(tile.root);
    return tile;
  }

  remove(feedId, tile) {
    this.observer.unobserve(tile.root);
    this.visible.delete(feedId);
    URL.revokeObjectURL(tile.image.src);
    tile.root.remove();
    this.tiles.delete(feedId);
  }

  fill(tile, feed) {
    setText(tile.name, feed.name);
    tile.root.dataset.tone = toneOf(feed);
    setText(tile.state, stateOf(feed));
    setText(tile.sentence, sentenceOf(feed));
    const phase = phaseOf(feed);
    setText(tile.phase, phase.label);
    tile.meterBox.hidden = phase.progress === null;
    tile.meter.style.width = `${Math.round((phase.progress ?? 0) * 100)}%`;
    setText(tile.budget, budgetOf(feed));
    tile.button.setAttribute("aria-pressed", String(this.picked === feed.feed_id));
    tile.button.setAttribute("aria-label", `${feed.name}, ${stateOf(feed)}, show only its alerts`);
  }

  async picturesForEver() {
    while (this.running) {
      if (!document.hidden) await Promise.allSettled([...this.visible].map((feedId) => this.loadPicture(feedId)));
      await pause(PICTURE_MS);
    }
  }

  async loadPicture(feedId) {
    const tile = this.tiles.get(feedId);
    if (!tile || Date.now() < tile.notBefore) return;
    const found = await picture(feedPath(feedId, "/frame.jpg"), tile.etag);
    // a feed without pictures (a microphone, a sensor) is asked rarely
    if (found === "none") tile.notBefore = Date.now() + NO_PICTURE_MS;
    if (found === "none" || found === "same" || !this.tiles.has(feedId)) return;
    const old = tile.image.src;
    tile.image.src = URL.createObjectURL(found.blob);
    await tile.image.decode().catch(() => {});
    if (old) URL.revokeObjectURL(old);
    tile.etag = found.etag;
    tile.image.hidden = false;
    tile.blank.hidden = true;
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function toneOf(feed) {
  if (feed.paused) return "off";
  if (feed.stale) return "bad";
  return TONES[feed.status?.state] ?? "off";
}

function stateOf(feed) {
  if (feed.paused) return "paused";
  if (!feed.status) return "starting";
  if (feed.stale) return `no news for ${duration(siteNowS() - feed.status.updated_s)}`;
  return STATE_WORDS[feed.status.state] ?? feed.status.state;
}

function sentenceOf(feed) {
  const sentence = feed.paused ? "Not watched until it is resumed." : (feed.status?.sentence ?? "Waiting for its first report.");
  const prefix = `${feed.feed_id}: `;
  const bare = sentence.startsWith(prefix) ? sentence.slice(prefix.length) : sentence;
  return bare.charAt(0).toUpperCase() + bare.slice(1);
}

function phaseOf(feed) {
  const analysis = feed.status?.analysis ?? {};
  const progress = feed.status?.learning ?? (analysis.phase === "warmup" ? analysis.progress : null);
  if (feed.paused || !feed.status) return { label: "", progress: null };
  if (typeof progress === "number") return { label: `learning ${percent(progress)}`, progress };
  if (analysis.phase === "warmup") return { label: `learning, ${duration(analysis.learned_s ?? 0)} so far`, progress: null };
  return { label: PHASES[analysis.phase] ?? "", progress: null };
}

function budgetOf(feed) {
  const analysis = feed.status?.analysis ?? {};
  const budget = analysis.budget_per_day ?? feed.settings.budget_alerts_per_day;
  if (typeof analysis.alerts_today !== "number") return budget ? `budget ${budget} a day` : "";
  return budget ? `${analysis.alerts_today} of ${budget} today` : `${analysis.alerts_today} today`;
}
