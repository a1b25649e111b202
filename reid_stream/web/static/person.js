// Corrections on a person's page.
import { correct, toast } from "./console.js";

const { person, tracks: all } = document.querySelector("[data-person]").dataset;
const dialogs = { merge: "#merge", erase: "#erase", name: "#rename" };
for (const [name, id] of Object.entries(dialogs)) {
  document.querySelector(`[data-open="${name}"]`)?.addEventListener("click", () => document.querySelector(id).showModal());
}
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
const field = (id) => document.querySelector(id).value.trim();
const busy = async (form, body, then) => {
  const button = form.querySelector("button.primary, button.danger");
  button.disabled = true;
  const outcome = await correct(body);
  button.disabled = false;
  if (outcome && outcome.outcome !== "refused") { form.closest("dialog")?.close(); then(outcome); }
};
document.querySelector("#rename form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.target, { do: "name", person, label: field("#label") }, () => location.reload());
});
document.querySelector("#merge form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const into = field("#into");
  busy(event.target, { do: "merge", gone: person, into, why: field("#merge-why"), duplicates: document.querySelector("#duplicates").checked }, () => location.assign(`/people/${encodeURIComponent(into)}`));
});
document.querySelector("#erase form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (field("#erase-id") !== person) { toast(`type ${person} to confirm`, true); return; }
  busy(event.target, { do: "erase", person, why: field("#erase-why"), wait_s: 60 }, () => location.assign("/people"));
});

const boxes = [...document.querySelectorAll("input[data-track]")];
const split = document.querySelector("#split");
const chosen = () => boxes.filter((box) => box.checked);
for (const box of boxes) {
  box.addEventListener("change", () => {
    split.hidden = chosen().length === 0;
    split.querySelector("span").textContent = `${chosen().length} of ${all} tracks`;
  });
}
split?.querySelector("button").addEventListener("click", async (event) => {
  if (chosen().length >= Number(all)) { toast("at least one track must stay", true); return; }
  event.target.disabled = true;
  const tracks = chosen().map((box) => { const [camera, run, track] = JSON.parse(box.dataset.track); return [camera, run, track]; });
  const outcome = await correct({ do: "split", person, tracks });
  event.target.disabled = false;
  if (outcome?.outcome === "done") location.reload();
});
