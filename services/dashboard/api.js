// The one place that talks to the site: key, session cookie, requests, live events.

const API = "/api/v1";
const STORED_KEY = "mmstream.key";
let key = null;
let onLockedOut = () => {};

export class Problem extends Error {
  constructor(status, code, sentence) {
    super(sentence);
    this.status = status;
    this.code = code;
  }
}

// A link such as http://host:8000/#key=... opens the dashboard; the key leaves the address bar at once.
export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    sessionStorage.setItem(STORED_KEY, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(STORED_KEY);
}

export async function logIn(candidate) {
  const response = await fetch(`${API}/session`, { method: "POST", headers: { Authorization: `Bearer ${candidate}` } });
  if (!response.ok) throw await problemOf(response);
  key = candidate;
  sessionStorage.setItem(STORED_KEY, candidate);
}

export function whenLockedOut(action) {
  onLockedOut = action;
}

export async function logOut() {
  const headers = { Authorization: `Bearer ${key}` };
  forgetKey();
  await fetch(`${API}/session`, { method: "DELETE", headers }).catch(() => {});
}

export function forgetKey() {
  key = null;
  sessionStorage.removeItem(STORED_KEY);
}

export async function request(method, path, body) {
  const response = await send(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) throw await problemOf(response);
  return response.status === 204 ? null : response.json();
}

// -> {etag, blob}, "none" when there is no picture, "same" when it is still the one called `etag`.
export async function picture(path, etag) {
  const response = await send(path, {});
  if (!response.ok) return "none";
  const newEtag = response.headers.get("ETag");
  if (newEtag && newEtag === etag) {
    await response.body?.cancel();
    return "same";
  }
  return { etag: newEtag, blob: await response.blob() };
}

export const feedPath = (feedId, rest = "") => `/feeds/${encodeURIComponent(feedId)}${rest}`;
export const alertPath = (alertId, rest = "") => `/alerts/${encodeURIComponent(alertId)}${rest}`;
export const mediaUrl = (alertId, file, version) => `${API}${alertPath(alertId, `/${file}`)}?v=${version}`;

// Calls onAlert(alert) for each event and onState("live" | "waiting"); returns a function that ends it.
export function follow(onAlert, onState) {
  let source = null;
  let timer = 0;
  let lastId = "";
  const connect = () => {
    source = new EventSource(`${API}/alerts/stream${lastId ? `?last_event_id=${lastId}` : ""}`);
    source.onopen = () => onState("live");
    source.addEventListener("alert", (event) => {
      lastId = event.lastEventId;
      onAlert(JSON.parse(event.data));
    });
    source.onerror = () => {
      onState("waiting");
      // The browser tries again by itself, except when it was refused (no cookie, no free stream).
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(() => logIn(key).catch(lockOutIfRefused).then(() => key && connect()), 4000);
    };
  };
  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}

async function send(path, options) {
  const response = await fetch(API + path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${key}` } });
  if (response.status === 401) lockOutIfRefused(await problemOf(response.clone()));
  return response;
}

function lockOutIfRefused(problem) {
  if (problem.status !== 401 || key === null) return;
  forgetKey();
  onLockedOut(problem.message);
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const sentence = body.detail ?? `The site answered ${response.status}.`;
  return new Problem(response.status, body.code ?? "unknown", sentence);
}
