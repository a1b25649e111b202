// Shared by all pages: theme, times in the browser's zone, calls of the API, live parts, keys.
export const api = "/api/v1";

export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  const csrf = document.querySelector('meta[name="csrf"]')?.content;
  if (csrf) headers["X-CSRF-Token"] = csrf;
  let sent;
  if (body instanceof Blob) {
    headers["Content-Type"] = body.type;
    sent = body;
  } else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    sent = JSON.stringify(body);
  }
  const answer = await fetch(api + path, { method, headers, body: sent });
  if (answer.status === 401 && location.pathname !== "/login") location.assign("/login");
  if (answer.status === 204) return null;
  const found = await answer.json().catch(() => ({ detail: `HTTP ${answer.status}` }));
  if (!answer.ok) throw new Error(found.detail || found.title);
  return found;
}

// An address of a JPEG that the API gave as base64.
export function pictureOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
}

let toastTimer;
export function toast(text, isBad = false) {
  document.querySelector(".toast")?.remove();
  const shown = document.createElement("div");
  shown.className = isBad ? "toast bad" : "toast";
  shown.setAttribute("role", isBad ? "alert" : "status");
  shown.textContent = text;
  document.body.append(shown);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => shown.remove(), isBad ? 9000 : 5000);
}

export async function correct(body) {
  try {
    const outcome = await call("POST", "/instructions", body);
    toast(outcome.outcome === "done" ? outcome.text : `${outcome.outcome}: ${outcome.text}`, outcome.outcome === "refused");
    return outcome;
  } catch (error) {
    toast(error.message, true);
    return null;
  }
}

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
export function shownTime(seconds) {
  const at = new Date(seconds * 1000);
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}
export function localTimes(root = document) {
  for (const label of root.querySelectorAll("[data-tick]")) label.textContent = shownTime(Number(label.dataset.tick));
  for (const time of root.querySelectorAll("time[data-at]")) {
    const at = Number(time.dataset.at);
    time.textContent = shownTime(at);
    time.title = new Date(at * 1000).toString();
  }
}

// One stream of events per page; `listen` adds to it.
const listeners = new Set();
let source, position, awayTimer;
export function listen(call) {
  listeners.add(call);
  if (!source && !document.hidden) follow();
}
// A hidden tab closes its connection: browsers have six per server.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { source?.close(); source = null; }
  else if (!source && listeners.size) follow();
});
function follow() {
  const light = document.querySelector("#live");
  const show = (kind, text) => {
    if (light) { light.className = `dot ${kind}`; light.title = text; light.setAttribute("aria-label", text); }
  };
  source = new EventSource(position ? `${api}/events?start=${position}` : `${api}/events`);
  const away = document.querySelector("#away");
  source.onopen = () => { show("good", "live"); clearTimeout(awayTimer); awayTimer = null; if (away) away.hidden = true; };
  source.onerror = () => {
    show("bad", "not live: reconnecting");
    awayTimer ??= setTimeout(() => { if (away && source?.readyState !== EventSource.OPEN) away.hidden = false; }, 4000);
    // Browsers try again by themselves, but not after an answer such as 429, or a proxy's 503.
    if (source.readyState !== EventSource.CLOSED) return;
    source = null;
    setTimeout(async () => {
      await call("GET", "/session").catch(() => {});
      if (!source && !document.hidden) follow();
    }, 3000);
  };
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    position = event.position = message.lastEventId;
    event.kind = event.type.replace(/^io\.reid-stream\./, "").replace(/\.v\d+$/, "");
    for (const one of listeners) one(event);
  };
}
addEventListener("pagehide", () => source?.close());

// Cameras by name, where there are many.
const filter = document.querySelector("[data-filter]");
function filterCameras() {
  if (!filter) return;
  const all = [...document.querySelectorAll(filter.dataset.filter)];
  for (const one of all) one.hidden = !one.dataset.camera.toLowerCase().includes(filter.value.trim().toLowerCase());
  const count = all.filter((one) => !one.hidden).length;
  document.querySelector("[data-filtered]").textContent = `${count} of ${all.length}`;
}
filter?.addEventListener("input", filterCameras);
filter?.form.addEventListener("submit", (event) => event.preventDefault());
filterCameras();

// Whether the daemon runs: there is an event at each heartbeat at least, and one when it stops; killed, it is silent.
const down = document.querySelector("#daemon");
if (down) {
  let timer;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (source?.readyState === EventSource.OPEN) down.hidden = false; else wait(); }, 1000 * Number(down.dataset.silent));
  };
  if (down.hidden) wait();
  listen((event) => {
    down.hidden = event.kind !== "daemon.stopped";
    if (down.hidden) wait();
    else clearTimeout(timer);
  });
}

// A part with data-live="identity camera" is rendered again by the server after such an event.
const parts = [...document.querySelectorAll("[data-live]")];
if (parts.length) {
  let waiting = null, last = 0, least = 2000;
  const kinds = new Set(parts.flatMap((part) => part.dataset.live.split(" ")));
  const refresh = async () => {
    waiting = null;
    if (document.hidden || document.querySelector("dialog[open]")) { waiting = setTimeout(refresh, 1500); return; }
    last = Date.now();
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // A page of many cameras, or a slow connection, is asked less often.
    least = Math.min(60_000, Math.max(2000, 10 * (Date.now() - last)));
    for (const part of parts) {
      const next = page.getElementById(part.id);
      if (!next || part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) continue;
      if (next.innerHTML === part.dataset.was) continue;
      part.dataset.was = next.innerHTML;
      const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      part.replaceChildren(...next.childNodes);
      localTimes(part);
      filterCameras();
      if (focused) part.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
    }
  };
  for (const part of parts) part.dataset.was = part.innerHTML;
  listen((event) => {
    if (!kinds.has(event.kind.split(".")[0]) || event.kind === "identity.seen") return;
    waiting ??= setTimeout(refresh, Math.max(400, least - (Date.now() - last)));
  });
}

document.querySelector("#theme")?.addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
});
document.querySelector("#sign-out")?.addEventListener("click", async () => {
  await call("DELETE", "/session").catch(() => {});
  location.assign("/login");
});
for (const button of document.querySelectorAll("[data-undo]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    const outcome = await correct({ do: "undo", instruction: button.dataset.undo });
    if (outcome?.outcome === "done") location.reload();
    button.disabled = false;
  });
}
for (const form of document.querySelectorAll("form[data-auto]")) {
  form.addEventListener("change", (change) => change.target.matches("select, input[type=checkbox]") && form.requestSubmit());
}

// g then a letter goes to a page, / to the filter, ? lists the keys.
const places = Object.fromEntries([...document.querySelectorAll(".nav [data-key]")].map((one) => [one.dataset.key, one.href]));
const keys = document.querySelector("#keys");
document.querySelector("#help")?.addEventListener("click", () => keys.showModal());
let goes = false;
addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey || key.target.matches("input, select, textarea")) return;
  if (document.querySelector("dialog[open]")) return;
  // Taken: on Review the same letters are answers.
  if (goes && places[key.key]) { key.preventDefault(); location.assign(places[key.key]); return; }
  goes = key.key === "g";
  if (key.key === "?") keys?.showModal();
  if (key.key === "/") { const field = document.querySelector("input[type=search]"); if (field) { key.preventDefault(); field.focus(); } }
});
// The page's own link, where the row of links is wider than a phone.
const here = document.querySelector(".nav [aria-current]");
if (here) here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - 24;
localTimes();
