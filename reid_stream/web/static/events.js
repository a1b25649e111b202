// Live events, the newest first; the list is bounded, and can be paused.
import { element, listen, shownTime } from "./console.js";

const list = document.querySelector("#events");
const none = document.querySelector("#no-events");
const kinds = document.querySelector("#kinds");
const camera = document.querySelector("#camera");
const hold = document.querySelector("#hold");
const most = 300;
const kept = JSON.parse(document.querySelector("#recent").textContent);

function details(data) {
  const parts = [];
  const add = (text) => parts.push(text);
  if (data.camera) add(data.camera);
  if (data.state) add(data.state);
  if (typeof data.probability === "number") add(`P ${data.probability.toFixed(2)}`);
  if (data.previous) add(`was ${data.previous}`);
  if (data.into) add(`into ${data.into}`);
  for (const name of ["label", "do", "outcome", "text", "reason"]) if (data[name]) add(data[name]);
  if (data.by) add(`by ${data.by}`);
  if (data.people !== undefined && data.cameras_up !== undefined) add(`${data.people} in view, ${data.cameras_up} cameras up`);
  return parts.join(" · ");
}

function isWanted(event) {
  const wanted = kinds.value;
  if (wanted === "changes" && /^(identity\.seen|daemon\.heartbeat)$/.test(event.kind)) return false;
  if (wanted && wanted !== "changes" && event.kind.split(".")[0] !== wanted) return false;
  return !camera.value || event.data.camera === camera.value;
}

function snapshot(name) {
  const link = element("a", "", "picture");
  link.href = `/api/v1/snapshots/${name.split("/").map(encodeURIComponent).join("/")}`;
  link.target = "_blank";
  link.rel = "noopener";
  return link;
}

function row(event) {
  const item = element("li");
  const time = element("time", "soft", shownTime(Date.parse(event.time) / 1000));
  time.dateTime = event.time;
  const subject = element(event.kind.startsWith("identity.") ? "a" : "span", "", event.subject);
  if (event.kind.startsWith("identity.")) subject.href = `/people/${encodeURIComponent(event.subject)}`;
  const detail = element("span", "soft detail", details(event.data));
  if (event.data.snapshot) detail.append(" ", snapshot(event.data.snapshot));
  item.append(time, element("span", "what", event.kind), subject, detail);
  return item;
}

function render() {
  list.replaceChildren(...kept.filter(isWanted).slice(0, most).map(row));
  none.hidden = list.children.length > 0;
}

for (const event of kept) event.kind = event.type.replace(/^io\.reid-stream\./, "").replace(/\.v\d+$/, "");
render();
kinds.addEventListener("change", render);
camera.addEventListener("change", render);
hold.addEventListener("change", () => { if (!hold.checked) render(); });
listen((event) => {
  kept.unshift(event);
  kept.length = Math.min(kept.length, 2000);
  if (hold.checked || !isWanted(event)) return;
  list.prepend(row(event));
  none.hidden = true;
  while (list.children.length > most) list.lastChild.remove();
});
