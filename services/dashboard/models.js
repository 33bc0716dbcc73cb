// Which versions of the site's own models are in use, why, and the way back.

import { request } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { moment } from "./words.js";

export class ModelList {
  async refresh() {
    const { models } = await request("GET", "/models");
    byId("models").hidden = !models.length;
    setText(byId("models-count"), String(models.length));
    byId("model-list").replaceChildren(...models.map((model) => this.row(model)));
  }

  row(model) {
    const back = model.version && element("button", { class: "chip", type: "button", onclick: () => this.rollBack(model) }, "Roll back");
    const since = model.since_s ? ` since ${moment(model.since_s)}` : "";
    return element(
      "li",
      { class: "model" },
      element("span", { class: "card-head" }, element("span", { class: "card-feed" }, model.name), back),
      element("span", { class: "model-version" }, (model.version || "as it is shipped") + since),
      [model.reason, model.look, swapSentence(model.swap)].filter(Boolean).map((text) => element("span", { class: "moment-why" }, text)),
    );
  }

  async rollBack(model) {
    const before = model.before[0] ?? "the site without it";
    if (!confirm(`Use ${before} again instead of ${model.name} ${model.version}?`)) return;
    const answer = await request("POST", `/models/${encodeURIComponent(model.name)}/rollback`, { reason: "Rolled back on the dashboard." }).catch((problem) => problem);
    await this.refresh();
    if (answer instanceof Error) setText(byId("models-note"), answer.message);
  }
}

function swapSentence(swap) {
  if (swap?.state === "running") return `Being swapped to ${swap.version || "the version before"} …`;
  if (swap?.state === "failed") return `The last swap failed: ${swap.sentence}`;
  return swap?.sentence;
}
