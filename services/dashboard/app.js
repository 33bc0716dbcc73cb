// Wires the page together: key, live events, feeds, alerts, detail.

import { AlertColumn } from "./alerts.js";
import { follow, forgetKey, logIn, logOut, request, takeKey, whenLockedOut } from "./api.js";
import { Detail } from "./detail.js";
import { byId, setText } from "./dom.js";
import { FeedGrid } from "./feeds.js";
import { ModelList } from "./models.js";
import { WhatIf } from "./replay.js";
import { MomentSearch } from "./search.js";
import { setSiteClock } from "./words.js";

const nameOf = (feedId) => feeds.nameOf(feedId);
const feeds = new FeedGrid({ onPick: pickFeed });
const alerts = new AlertColumn({ nameOf, onOpen: (alertId) => detail.open(alerts.alerts.get(alertId)), onChange: (alert) => detail.update(alert) });
const detail = new Detail({ nameOf, onAnswer: (alert) => alerts.upsert(alert) });
const onAlert = (alertId) => request("GET", `/alerts/${encodeURIComponent(alertId)}`).then((alert) => detail.open(alert)).catch(() => {});
new MomentSearch({ nameOf, onAlert });
new WhatIf({ nameOf, onAlert });
const models = new ModelList();
let unfollow = () => {};
let siteTimer;
const SITE_EVERY_MS = 15_000;

function pickFeed(feedId) {
  feeds.pick(feedId);
  if (feedId !== null) show("alerts");
  alerts.setFeed(feedId).catch(() => {});
}

function show(view) {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", String(button.dataset.show === view));
  }
}

function showConnection(state) {
  byId("connection").dataset.state = state;
  setText(byId("connection").querySelector(".label"), state === "live" ? "live" : "reconnecting");
}

function askForKey(sentence = "") {
  unfollow();
  clearInterval(siteTimer);
  feeds.stop();
  if (byId("detail").open) byId("detail").close();
  byId("site").hidden = true;
  byId("login").hidden = false;
  setText(byId("login-error"), sentence);
  byId("login-key").value = "";
  byId("login-key").focus();
}

// What the whole site has to do without; the feeds say for themselves how they are.
async function refreshSite() {
  const site = await request("GET", "/site");
  setSiteClock(site.now_s);
  setText(byId("site-name"), site.name);
  const troubles = Object.values(site.missing_encoders).map((reason) => `The site runs without one encoder: ${reason}.`);
  troubles.push(...Object.values(site.missing_models).map((reason) => `Alerts go without the words of one model: ${reason}.`));
  if (site.archive_trouble) troubles.push(`No moments are kept at present: ${site.archive_trouble}.`);
  setText(byId("site-trouble"), troubles.join(" "));
  byId("site-trouble").hidden = !troubles.length;
  models.refresh().catch(() => {});
}

async function enter(key) {
  await logIn(key);
  await refreshSite();
  clearInterval(siteTimer);
  siteTimer = setInterval(() => refreshSite().catch(() => {}), SITE_EVERY_MS);
  byId("login").hidden = true;
  byId("site").hidden = false;
  showConnection("waiting");
  await feeds.refresh().catch(() => {});
  unfollow = follow((alert) => alerts.upsert(alert), showConnection);
  feeds.start();
  await alerts.load();
}

async function tryToEnter(key) {
  try {
    await enter(key);
  } catch (problem) {
    if (problem.status === 401) forgetKey();
    askForKey(problem.message);
  }
}

byId("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  tryToEnter(byId("login-key").value.trim());
});
byId("logout").addEventListener("click", () => {
  askForKey();
  logOut();
});
byId("only-feed").addEventListener("click", () => pickFeed(null));
for (const button of document.querySelectorAll("[data-show]")) button.addEventListener("click", () => show(button.dataset.show));
whenLockedOut(askForKey);

const key = takeKey();
if (key) tryToEnter(key);
else askForKey();
