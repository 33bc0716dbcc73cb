// Numbers and times as people say them.

export const MODALITIES = ["picture", "sound", "words", "sensor"];

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
  return everyS > 0 && Number.isFinite(everyS) ? `expected once in ${duration(everyS)}` : "";
}

export function rarity(p) {
  const windows = Math.round(1 / p);
  return windows <= 1 ? "ordinary" : `1 in ${windows.toLocaleString("en").replaceAll(",", "\u202f")}`;
}
