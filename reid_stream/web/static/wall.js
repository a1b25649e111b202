// The newest pictures of all cameras in view, one answer after the other: a slow connection gets fewer, a hidden tab none.
import { api, shownTime } from "./console.js";

const figures = [...document.querySelectorAll("[data-camera]")];
const pause = (ms) => new Promise((next) => setTimeout(next, ms));
const inView = (figure) => {
  const { top, bottom } = figure.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
};

async function show(figure, picture) {
  const image = figure.querySelector("img");
  const old = image.src;
  image.src = URL.createObjectURL(picture);
  await image.decode().catch(() => {});
  URL.revokeObjectURL(old);
  figure.dataset.shownAt = Date.now();
  state(figure, "good", shownTime(Number(picture.name)));
}

function state(figure, kind, text) {
  figure.querySelector(".dot").className = `dot ${kind}`;
  figure.querySelector("[data-state]").textContent = text;
}

let after = 0;
for (;;) {
  if (document.hidden) { await new Promise((next) => document.addEventListener("visibilitychange", next, { once: true })); continue; }
  const shown = figures.filter(inView);
  if (!shown.length) { await pause(500); continue; }
  const asked = new URLSearchParams([...shown.map((figure) => ["cameras", figure.dataset.camera]), ["after", after]]);
  try {
    const answer = await fetch(`${api}/previews?${asked}`);
    if (answer.status === 200) {
      const pictures = await answer.formData();
      after = Number(answer.headers.get("X-Position"));
      await Promise.all(shown.filter((figure) => pictures.has(figure.dataset.camera)).map((figure) => show(figure, pictures.get(figure.dataset.camera))));
    } else if (answer.status === 401) {
      location.assign("/login");
      break;
    } else if (answer.status !== 204) {
      const busy = answer.status === 429;
      for (const figure of shown) state(figure, "warn", busy ? "too many walls are open: waiting" : `HTTP ${answer.status}`);
      await pause(1000 * Number(answer.headers.get("Retry-After") ?? 3));
      continue;
    }
    for (const figure of shown) {
      if (Date.now() - (figure.dataset.shownAt ?? 0) > 6000) state(figure, "warn", "no picture");
    }
  } catch {
    for (const figure of shown) state(figure, "bad", "not reachable");
    await pause(3000);
  }
}
