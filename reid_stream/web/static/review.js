// Pairs, one after the other: S same, D different, U unsure, Z undoes the last answer.
import { call, element, shownTime, toast } from "./console.js";

const root = document.querySelector("#pair");
const answers = document.querySelector("#answers");
const state = document.querySelector("#state");
const reason = document.querySelector("#why");
const pathOf = (track) => [track.camera, track.run, track.track].map(encodeURIComponent).join("/");
const mayAnswer = root.dataset.may === "yes";
let waiting = [], shown = null, reviewed = 0, busy = false;
const past = [];

async function load() {
  const found = await call("GET", "/review?limit=20");
  const open = new Set(past.map((one) => one.pair.pair));
  waiting = found.pairs.filter((pair) => !open.has(pair.pair));
  reviewed = found.reviewed;
  next();
}

function next() {
  shown = waiting.shift() ?? null;
  state.textContent = `${reviewed} reviewed`;
  answers.hidden = !shown || !mayAnswer;
  if (!shown) { root.replaceChildren(element("p", "soft", "No pair is in doubt now.")); return; }
  const why = shown.kind === "doubtful"
    ? "One person by the matcher. Is it?"
    : "Two people by the matcher. Are they one?";
  const sure = shown.probability === null ? "" : ` P(same) ${(100 * shown.probability).toFixed(0)} %.`;
  const pair = element("div", "pair");
  pair.append(side(shown.left), side(shown.right));
  root.replaceChildren(element("p", "soft", why + sure), pair);
  reason.href = `/explain/${pathOf(shown.left.track)}/${pathOf(shown.right.track)}`;
}

function side(one) {
  const made = element("div");
  const shot = element("div", "shot");
  const pictures = [...one.track.pictures].sort((a, b) => b.quality - a.quality);
  const large = element("img");
  large.src = pictures[0]?.url ?? "/static/person.svg";
  large.alt = `${one.person.person} on ${one.track.camera}`;
  shot.append(large);
  const strip = element("div", "strip");
  strip.tabIndex = 0;
  strip.setAttribute("role", "group");
  strip.setAttribute("aria-label", `more pictures of ${one.person.person}`);
  for (const picture of pictures.slice(1, 7)) {
    const crop = element("span", "crop");
    const image = element("img");
    image.src = `${picture.url}?width=128`;
    image.alt = "";
    image.addEventListener("mouseenter", () => { large.src = picture.url; });
    crop.append(image);
    strip.append(crop);
  }
  const link = element("a", "name", one.person.label || one.person.person);
  link.href = `/people/${encodeURIComponent(one.person.person)}`;
  const text = element("p");
  text.append(link, element("span", "soft", ` ${one.track.camera}, ${shownTime(one.track.first_at)}`));
  made.append(shot, text, strip);
  return made;
}

async function answer(word) {
  if (!shown || busy || !mayAnswer) return;
  busy = true;
  const pair = shown;
  try {
    const kept = await call("POST", "/review", { pair: pair.pair, answer: word });
    past.push({ pair, review: kept.review });
    reviewed += 1;
    if (kept.outcome) {
      toast(kept.outcome.text, kept.outcome.outcome === "refused");
      // People have changed: waiting pairs may no longer exist.
      await load();
    } else if (waiting.length) next();
    else await load();
  } catch (error) {
    toast(error.message, true);
    await load().catch(() => {});
  }
  busy = false;
}

async function undo() {
  const last = past.pop();
  if (!last || busy) return;
  busy = true;
  try {
    const outcome = await call("DELETE", `/review/${last.review}`);
    toast(outcome.text, outcome.outcome === "refused");
    reviewed -= 1;
    if (shown) waiting.unshift(shown);
    waiting.unshift(last.pair);
    next();
  } catch (error) {
    toast(error.message, true);
  }
  busy = false;
}

const keys = { s: () => answer("same"), d: () => answer("different"), u: () => answer("unsure"), z: undo, w: () => shown && reason.click() };
for (const button of document.querySelectorAll("[data-key]")) button.addEventListener("click", () => keys[button.dataset.key]());
addEventListener("keydown", (key) => {
  if (key.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (key.ctrlKey || key.metaKey || key.altKey || key.target.matches("input, select, textarea")) return;
  keys[key.key.toLowerCase()]?.();
});
load().catch((error) => toast(error.message, true));
