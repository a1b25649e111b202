// Draw a camera's zones, lines, region and ignored areas over its frame; they are saved through the API, or copied as text.
import { call, element, pictureOf, toast } from "./console.js";

const draw = document.querySelector("#draw");
const board = document.querySelector("#board");
const frame = document.querySelector("#frame");
const name = document.querySelector("#place-name");
const yaml = document.querySelector("#yaml");
const camera = draw.dataset.camera;
const given = JSON.parse(draw.dataset.places);
// Only zones and lines have names; there is one region at most.
const hasName = (kind) => kind === "zone" || kind === "line";
const places = [
  ...Object.entries(given.zones).map(([key, points]) => ({ kind: "zone", name: key, points })),
  ...Object.entries(given.lines).map(([key, points]) => ({ kind: "line", name: key, points })),
  ...(given.region ? [{ kind: "region", name: "", points: given.region }] : []),
  ...given.ignore.map((points) => ({ kind: "ignore", name: "", points })),
];
const near = 0.02;
const [save, state] = [document.querySelector("#save-places"), document.querySelector("#places-state")];
const named = (kind) => Object.fromEntries(places.filter((one) => one.kind === kind).map((one) => [one.name, one.points]));
const all = (kind) => places.filter((one) => one.kind === kind).map((one) => one.points);
// null takes a key out of the entry.
const asSaved = () => ({
  zones: named("zone"), lines: named("line"),
  region: all("region")[0] ?? null, ignore: all("ignore").length ? all("ignore") : null,
});
let saved = JSON.stringify(asSaved());
let points = [];
let cross = [0.5, 0.5];
let usesKeys = false;
let dragged = null;

const tool = () => document.querySelector("input[name=tool]:checked").value;
const rounded = (point) => point.map((value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000);
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const scaled = (point) => point.map((value) => value * 1000);
const path = (corners) => corners.map((point) => scaled(point).join(",")).join(" ");

// An arrow at the middle of a line points to the side that counts as `in`.
function arrow([a, b]) {
  const box = board.getBoundingClientRect();
  const [dx, dy] = [(b[0] - a[0]) * box.width, (b[1] - a[1]) * box.height];
  const length = Math.hypot(dx, dy) || 1;
  const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const tip = [middle[0] - (dy / length) * 26 / box.width, middle[1] + (dx / length) * 26 / box.height];
  return shape("polyline", { points: path([middle, tip]), class: "arrow", "vector-effect": "non-scaling-stroke" });
}

function render() {
  board.replaceChildren();
  for (const place of places) {
    // What is outside of the region is shaded.
    if (place.kind === "region") board.append(shape("path", { d: `M0 0H1000V1000H0ZM${path(place.points)}Z`, class: "outside", "fill-rule": "evenodd" }));
    const tag = place.kind === "line" ? "polyline" : "polygon";
    board.append(shape(tag, { points: path(place.points), class: place.kind, "vector-effect": "non-scaling-stroke" }));
    if (place.kind === "line") board.append(arrow(place.points));
    for (const point of place.points) dot(point);
  }
  if (points.length) board.append(shape("polyline", { points: path(points), class: "open", "vector-effect": "non-scaling-stroke" }));
  for (const point of points) dot(point);
  if (usesKeys) {
    const [x, y] = scaled(cross);
    board.append(shape("path", { d: `M${x - 25} ${y}H${x + 25}M${x} ${y - 25}V${y + 25}`, class: "open", "vector-effect": "non-scaling-stroke" }));
  }
  list();
}

function dot(point) {
  const [x, y] = scaled(point);
  const box = board.getBoundingClientRect();
  board.append(shape("ellipse", { cx: x, cy: y, rx: 5000 / (box.width || 1000), ry: 5000 / (box.height || 1000), class: "dot" }));
}

function list() {
  const drawn = document.querySelector("#drawn");
  drawn.replaceChildren(...places.map((place) => {
    const item = element("li", "form");
    const remove = element("button", "", "Remove");
    const title = place.name || (place.kind === "region" ? "people are followed in it only" : "people in it are left out");
    remove.setAttribute("aria-label", `Remove ${place.kind} ${place.name || number(place)}`.trim());
    remove.addEventListener("click", () => { places.splice(places.indexOf(place), 1); render(); });
    item.append(element("span", "chip", place.kind), element(place.name ? "strong" : "span", place.name ? "" : "soft", title), remove);
    if (place.kind === "line") {
      const turn = element("button", "", "Swap in and out");
      turn.addEventListener("click", () => { place.points.reverse(); render(); });
      item.append(turn);
    }
    return item;
  }));
  document.querySelector("#no-places").hidden = places.length > 0;
  const flow = (corners) => `[${corners.map((point) => `[${point.join(", ")}]`).join(", ")}]`;
  const part = (kind) => {
    const rows = places.filter((place) => place.kind === kind);
    return rows.length ? [`    ${kind}s:`, ...rows.map((place) => `      ${place.name}: ${flow(place.points)}`)] : [];
  };
  if (save) {
    const isNew = JSON.stringify(asSaved()) !== saved;
    save.disabled = !isNew || points.length > 0;
    state.textContent = points.length ? "not closed yet" : isNew ? "not saved yet" : "";
  }
  const lines = [...part("zone"), ...part("line"), ...all("region").map((one) => `    region: ${flow(one)}`)];
  if (all("ignore").length) lines.push("    ignore:", ...all("ignore").map((one) => `      - ${flow(one)}`));
  yaml.textContent = lines.join("\n") || "    zones: {}\n    lines: {}";
}

function close() {
  const kind = tool();
  const wanted = hasName(kind) ? name.value.trim() : "";
  const others = places.filter((place) => kind === "ignore" || !(place.kind === kind && place.name === wanted));
  places.splice(0, places.length, ...others, { kind, name: wanted, points });
  points = [];
  suggest();
}

const number = (place) => (place.kind === "ignore" ? places.filter((one) => one.kind === "ignore").indexOf(place) + 1 : "");

function suggest() {
  const kind = tool();
  name.hidden = !hasName(kind);
  if (name.hidden) return;
  let next = 1;
  while (places.some((place) => place.kind === kind && place.name === `${kind}-${next}`)) next += 1;
  name.value = `${kind}-${next}`;
}

function add(point) {
  if (!name.hidden && (!name.reportValidity() || !name.value.trim())) { name.focus(); return; }
  if (tool() !== "line" && points.length > 2 && distance(point, points[0]) < near) close();
  else {
    points.push(rounded(point));
    if (tool() === "line" && points.length === 2) {
      if (distance(points[0], points[1]) < 0.005) points.pop();
      else close();
    }
  }
  render();
}

function place(event) {
  const box = board.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

board.addEventListener("pointerdown", (event) => {
  const at = place(event);
  usesKeys = false;
  for (const one of places) {
    const index = one.points.findIndex((point) => distance(point, at) < near);
    if (index >= 0 && !points.length) { dragged = [one.points, index]; board.setPointerCapture(event.pointerId); return; }
  }
  add(at);
});
board.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  dragged[0][dragged[1]] = rounded(place(event));
  render();
});
board.addEventListener("pointerup", () => { dragged = null; });
board.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 0.1 : 0.01;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (moves[event.key]) cross = rounded([cross[0] + moves[event.key][0], cross[1] + moves[event.key][1]]);
  else if (event.key === "Enter") add([...cross]);
  else if (event.key === "Escape") points.pop();
  else return;
  usesKeys = true;
  event.preventDefault();
  event.stopPropagation();
  render();
});
document.querySelector("#undo-point").addEventListener("click", () => { points.pop(); render(); });
for (const radio of document.querySelectorAll("input[name=tool]")) radio.addEventListener("change", () => { points = []; suggest(); render(); });
document.querySelector("#copy").addEventListener("click", async () => {
  const status = document.querySelector("#copied");
  try {
    await navigator.clipboard.writeText(`${yaml.textContent}\n`);
    status.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(yaml);
    status.textContent = "selected: copy it with your browser";
  }
});

save?.addEventListener("click", async () => {
  const body = asSaved();
  save.disabled = true;
  try {
    await call("PATCH", `/cameras/${encodeURIComponent(camera)}`, body);
    saved = JSON.stringify(body);
    toast("saved: the daemon uses it within a second");
  } catch (error) {
    toast(error.message, true);
  }
  render();
});

// One frame is enough to draw on; it is requested until there is one.
async function look() {
  for (let tries = 0; tries < 20; tries += 1) {
    const answer = await fetch(`/api/v1/cameras/${encodeURIComponent(camera)}/preview`).catch(() => null);
    if (answer?.status === 200) {
      await show(URL.createObjectURL(await answer.blob()));
      return;
    }
    if (shoot) shoot.hidden = false;
    if (answer && answer.status !== 204) return;
  }
}

async function show(address) {
  frame.src = address;
  await frame.decode().catch(() => {});
  render();
}

// Without a preview: the camera is opened for a moment.
const shoot = document.querySelector("#shoot");
shoot?.addEventListener("click", async () => {
  shoot.disabled = true;
  try {
    const found = await call("POST", `/cameras/${encodeURIComponent(camera)}/test`, {});
    if (found.picture) await show(pictureOf(found.picture));
    else toast(`${found.cause}: ${found.reason}`, true);
  } catch (error) {
    toast(error.message, true);
  }
  shoot.disabled = false;
});

addEventListener("resize", render);
if (places.length) suggest();
render();
look();
