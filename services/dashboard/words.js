// Numbers and times as people say them.

// Texts beside an alert's sentence, in the languages that sentences come in.
const TEXTS = {
  en: {
    normal: "What is normal here",
    normalNote: "The normal moments of this camera that are most like the alert",
    alert: "The alert",
    noPicture: "no picture of it was kept",
    writtenBy: "Generated: written by",
  },
  zh: {
    normal: "这里的正常情况",
    normalNote: "该摄像机与本次告警最相似的正常时刻",
    alert: "本次告警",
    noPicture: "未保留画面",
    writtenBy: "自动生成，模型：",
  },
};

export const MODALITIES = ["picture", "sound", "words", "sensor", "agreement"];

let siteAheadS = 0;

export function setSiteClock(nowS) {
  siteAheadS = nowS - Date.now() / 1000;
}

export const siteNowS = () => Date.now() / 1000 + siteAheadS;

export const percent = (share) => `${Math.round(share * 100)}\u202f%`;

export function duration(seconds) {
  const units = [[86400 * 365, "year"], [86400, "day"], [3600, "hour"], [60, "minute"]];
  for (const [size, name] of units) {
    if (seconds >= size) {
      const count = Math.round(seconds / size);
      return `${count} ${name}${count === 1 ? "" : "s"}`;
    }
  }
  const count = Math.max(0, Math.round(seconds));
  return `${count} second${count === 1 ? "" : "s"}`;
}

export function ago(atS) {
  const passedS = siteNowS() - atS;
  if (passedS < 10) return "just now";
  if (passedS < 60) return `${Math.round(passedS)} s ago`;
  if (passedS < 3600) return `${Math.floor(passedS / 60)} min ago`;
  const at = new Date(atS * 1000);
  const today = new Date(siteNowS() * 1000).toDateString() === at.toDateString();
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return today ? clock : `${at.toLocaleDateString([], { day: "numeric", month: "short" })}, ${clock}`;
}

export function moment(atS) {
  return new Date(atS * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
}

export function expected(everyS) {
  if (!(everyS > 0)) return "";
  // no history of two weeks can tell once in ten years from once in a hundred
  return everyS > 365 * 86400 ? "rarer than once a year" : `expected once in ${duration(everyS)}`;
}

export function rarity(p) {
  const windows = Math.round(1 / p);
  return windows <= 1 ? "ordinary" : `1 in ${windows.toLocaleString("en").replaceAll(",", "\u202f")}`;
}

// The reader's first language that this alert speaks -> {lang, sentence, texts}.
export function spoken(alert) {
  const wanted = navigator.languages.map((tag) => tag.toLowerCase().split("-")[0]);
  const lang = wanted.find((name) => alert.sentences?.[name]) ?? "en";
  return { lang, sentence: alert.sentences?.[lang] ?? alert.sentence, texts: TEXTS[lang] ?? TEXTS.en };
}

// Short, for under a picture: the time, with its day unless that is the alert's own.
export function timeBeside(atS, alertS) {
  const [at, beside] = [new Date(atS * 1000), new Date(alertS * 1000)];
  const clock = at.toLocaleTimeString([], { timeStyle: "medium" });
  const sameDay = at.toDateString() === beside.toDateString();
  return sameDay ? clock : `${at.toLocaleDateString([], { day: "numeric", month: "short" })}, ${clock}`;
}
