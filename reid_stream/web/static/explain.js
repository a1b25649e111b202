// Ask for the explanation, then show its pictures: the first time it takes a second or two.
import { call } from "./console.js";

const state = document.querySelector("#state");
const percent = (share) => (share > 0.999 ? "above 99.9 %" : `${(100 * share).toFixed(share > 0.99 || share < 0.01 ? 1 : 0)} %`);
try {
  const found = await call("GET", state.dataset.path);
  for (const image of document.querySelectorAll("[data-picture]")) image.src = found.pictures[image.dataset.picture];
  state.textContent = `Cosine ${found.cosine.toFixed(2)}; of these two pictures alone P(same person) ${percent(found.probability)}.`;
  document.querySelector("#test").textContent =
    `Test: with the brightest fifth of both pictures covered the cosine is ${found.cosine_covered.toFixed(2)}; ` +
    `with regions of the same shape covered elsewhere it is ${found.cosine_covered_elsewhere.toFixed(2)}` +
    (found.cosine_covered < found.cosine_covered_elsewhere ? "." : ": here the regions do not account for the match.");
} catch (error) {
  state.textContent = error.message;
  state.classList.add("bad");
}
