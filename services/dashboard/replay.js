// What if: the last week's alerts under another budget.

import { request } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { moment } from "./words.js";

const BUDGETS = [0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64];
const SHOWN = 30;

export class WhatIf {
  constructor({ nameOf, onAlert }) {
    this.nameOf = nameOf;
    this.onAlert = onAlert;
    this.slider = byId("replay-budget");
    this.slider.max = String(BUDGETS.length - 1);
    this.slider.addEventListener("input", () => this.showBudget());
    byId("replay-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    this.showBudget();
  }

  get budget() {
    return BUDGETS[Number(this.slider.value)];
  }

  showBudget() {
    const text = `${this.budget} alerts a day and camera`;
    setText(byId("replay-chosen"), text);
    this.slider.setAttribute("aria-valuetext", text);
  }

  async ask() {
    const button = byId("replay-ask");
    button.disabled = true;
    byId("replay-list").replaceChildren();
    setText(byId("replay-note"), "Going through the last seven days …");
    const budget = this.budget;
    try {
      const answer = await request("POST", "/replay", { alerts_per_day: budget });
      const { now, then, appeared, vanished } = answer.total;
      setText(byId("replay-note"), `With ${budget} a day ${then} alerts instead of ${now}: ${appeared} would have come, ${vanished} gone. ${answer.notes.join(" ")}`);
      const changed = answer.alerts.filter((alert) => alert.fate !== "kept");
      byId("replay-list").replaceChildren(...changed.slice(0, SHOWN).map((alert) => this.row(alert)));
    } catch (problem) {
      setText(byId("replay-note"), problem.message);
    } finally {
      button.disabled = false;
    }
  }

  row(alert) {
    const open = alert.alert_id && element("button", { class: "chip", type: "button", onclick: () => this.onAlert(alert.alert_id) }, "Alert");
    const why = alert.cause || Object.entries(alert.shares).sort((a, b) => b[1] - a[1])[0]?.[0] || "";
    return element(
      "li",
      { class: `model replayed ${alert.fate}` },
      element("span", { class: "card-head" }, element("span", { class: "card-feed" }, this.nameOf(alert.feed_id)), element("time", {}, moment(alert.start_s)), open),
      element("span", { class: "moment-why" }, `${alert.fate === "appeared" ? "would have come" : "would be gone"} · ${alert.severity} · ${why}`),
    );
  }
}
