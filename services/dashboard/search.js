// Past moments: found by words or by example, in place of the alerts while there is a question.

import { request } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { moment } from "./words.js";

export class MomentSearch {
  constructor({ nameOf, onAlert }) {
    this.nameOf = nameOf;
    this.onAlert = onAlert;
    this.asked = 0;
    this.input = byId("moment-search");
    byId("moment-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask({ q: this.input.value.trim() });
    });
    // the cross of a search field, and emptying it
    this.input.addEventListener("input", () => this.input.value === "" && this.close());
  }

  close() {
    this.asked += 1;
    byId("moments").hidden = true;
  }

  async ask(question) {
    const number = (this.asked += 1);
    if (!question.q && !question.like) {
      this.close();
      return;
    }
    byId("moments").hidden = false;
    byId("moment-list").replaceChildren();
    setText(byId("moments-note"), "Searching …");
    try {
      const page = await request("GET", `/search?${new URLSearchParams({ ...question, limit: "30" })}`);
      if (number !== this.asked) return; // another question came meanwhile
      byId("moment-list").replaceChildren(...page.moments.map((found) => this.card(found)));
      setText(byId("moments-note"), page.moments.length ? "" : "Nothing like it was kept.");
    } catch (problem) {
      if (number === this.asked) setText(byId("moments-note"), problem.message);
    }
  }

  card(found) {
    const open = found.alert_id && element("button", { class: "chip", type: "button", onclick: () => this.onAlert(found.alert_id) }, "Alert");
    const like = element("button", { class: "chip", type: "button", onclick: () => this.ask({ like: found.moment_id }) }, "More like this");
    return element(
      "li",
      { class: `moment ${found.state}` },
      element("span", { class: "card-picture" }, found.picture_url && element("img", { src: found.picture_url, alt: "", loading: "lazy" })),
      element(
        "div",
        { class: "card-body" },
        element("span", { class: "card-head" }, element("span", { class: "card-feed" }, this.nameOf(found.feed_id)), element("time", {}, moment(found.start_s))),
        found.text && element("span", { class: "card-sentence" }, found.text),
        found.why.length > 0 && element("span", { class: "moment-why" }, found.why.join(" · ")),
        element("span", { class: "moment-actions" }, like, open),
      ),
    );
  }
}
