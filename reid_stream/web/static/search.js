// Search by a picture that is chosen, dropped or pasted.
import { call, element, shownTime, toast } from "./console.js";

const drop = document.querySelector("#drop");
const input = document.querySelector("#picture");
const preview = document.querySelector("#preview");
const list = document.querySelector("#results");
const about = document.querySelector("#about");

async function search(file) {
  if (!file || !/^image\/(jpeg|png|webp)$/.test(file.type)) { toast("a JPEG, PNG or WebP picture is needed", true); return; }
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.hidden = false;
  about.textContent = "Searching… (the first search loads the network)";
  list.replaceChildren();
  try {
    show(await call("POST", "/search?limit=24", file));
  } catch (error) {
    about.textContent = "";
    toast(error.message, true);
  }
}

function show(result) {
  const part = result.box ? "the surest person in the picture, " : "";
  about.textContent = result.compared
    ? `${part}compared with ${result.compared} tracks in ${result.seconds.toFixed(2)} s`
    : "No track is stored yet that could be compared: tracks are, some seconds after their end.";
  list.replaceChildren(...result.candidates.map(row));
}

function row(candidate) {
  const link = element("a", "person card result");
  link.href = `/people/${encodeURIComponent(candidate.person.person)}`;
  const shot = element("span", "shot");
  const picture = element("img");
  const best = candidate.track.pictures.reduce((a, b) => (b.quality > a.quality ? b : a), candidate.track.pictures[0]);
  picture.src = best ? `${best.url}?width=128` : "/static/person.svg";
  picture.alt = "";
  shot.append(picture);
  const text = element("span");
  const sure = candidate.probability === null ? `cosine ${candidate.similarity.toFixed(2)}` : `P(same) ${(100 * candidate.probability).toFixed(1)} %`;
  text.append(element("span", "name", `${candidate.rank}. ${candidate.person.label || candidate.person.person}`), element("br"), element("span", "small", sure), element("br"));
  text.append(element("span", "soft small", `${candidate.track.camera}, ${shownTime(candidate.track.last_at)}`));
  link.append(shot, text);
  const item = element("li");
  item.append(link);
  return item;
}

input.addEventListener("change", () => search(input.files[0]));
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); search(event.dataTransfer.files[0]); });
addEventListener("paste", (event) => { const file = [...event.clipboardData.files][0]; if (file) search(file); });
