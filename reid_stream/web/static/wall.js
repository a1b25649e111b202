// One picture after the other from each camera: a slow connection gets fewer, and a hidden tab none.
import { api, shownTime } from "./console.js";

async function follow(figure) {
  const camera = encodeURIComponent(figure.dataset.camera);
  const image = figure.querySelector("img");
  const dot = figure.querySelector(".dot");
  const state = figure.querySelector("[data-state]");
  let after = 0;
  for (;;) {
    if (document.hidden) { await new Promise((next) => document.addEventListener("visibilitychange", next, { once: true })); continue; }
    try {
      const answer = await fetch(`${api}/cameras/${camera}/preview?after=${after}`);
      if (answer.status === 200) {
        after = Number(answer.headers.get("X-Captured-At"));
        const old = image.src;
        image.src = URL.createObjectURL(await answer.blob());
        await image.decode().catch(() => {});
        URL.revokeObjectURL(old);
        dot.className = "dot good";
        state.textContent = shownTime(after);
      } else {
        if (answer.status === 401) { location.assign("/login"); return; }
        dot.className = "dot warn";
        state.textContent = answer.status === 204 ? "no picture" : `HTTP ${answer.status}`;
        if (answer.status !== 204) await new Promise((next) => setTimeout(next, 3000));
        after = 0;
      }
    } catch {
      dot.className = "dot bad";
      state.textContent = "not reachable";
      await new Promise((next) => setTimeout(next, 3000));
    }
  }
}
for (const figure of document.querySelectorAll("[data-camera]")) follow(figure);
