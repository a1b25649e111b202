// The form of a camera: test an address, look at its picture, save what differs from the entry in cams.yaml.
import { call, element, pictureOf, toast } from "./console.js";

const form = document.querySelector("#camera");
const entry = JSON.parse(form.dataset.entry);
const path = entry ? `/cameras/${encodeURIComponent(entry.camera)}` : "/cameras";
const [test, save] = [document.querySelector("#test"), document.querySelector("#save")];
const [fault, busy] = [document.querySelector("#fault"), document.querySelector("#busy")];
const tested = document.querySelector("#tested");
const preset = { max_fps: 10, priority: 1, transport: "tcp", tls: "verified", enabled: true };
const numbers = ["max_fps", "priority"];
// Keys whose change opens the camera in another way; only these ask for a test.
const opening = ["url", "detect_url", "resize", "username", "password", "transport", "tls", "fingerprint"];
let tried = null;

function shown(key) {
  const input = form.elements[key];
  if (input.type === "checkbox") return input.checked;
  const text = key === "password" ? input.value : input.value.trim();
  if (text && key === "resize") return text.split(/[x×]/).map(Number);
  return text && numbers.includes(key) ? Number(text) : text || null;
}
const saved = (key) => (key === "detect_url" ? entry.detect_address : entry[key]);

// What is to be set: all that is filled in for a new camera, else what differs; null removes a key.
function wanted() {
  const keys = [...form.elements].map((one) => one.name).filter(Boolean);
  const body = {};
  for (const key of keys) {
    const value = shown(key);
    if (!entry) {
      if (value !== null && value !== preset[key]) body[key] = value;
    } else if (key === "url" || key === "password") {
      if (value !== null) body[key] = value;
    } else if (JSON.stringify(value) !== JSON.stringify(saved(key))) body[key] = value;
  }
  if (entry && body.username === null && entry.has_password) body.password = null;
  return body;
}

function fail(text) {
  fault.textContent = text;
  fault.hidden = !text;
}

async function during(text, call) {
  busy.textContent = text;
  test.disabled = save.disabled = true;
  fail("");
  try {
    return await call();
  } catch (error) {
    fail(error.message);
    return null;
  } finally {
    busy.textContent = "";
    test.disabled = save.disabled = false;
  }
}

function report(found) {
  const picture = document.querySelector("#picture");
  picture.hidden = !found.picture;
  URL.revokeObjectURL(picture.src);
  if (found.picture) picture.src = pictureOf(found.picture);
  const clock = { rtcp: "the camera's own clock", arrival: "stamped on arrival", file: "position in the file" }[found.clock];
  document.querySelector("#report").textContent = found.works
    ? `works: ${found.codec}, ${found.frame_size.join(" × ")}, ${found.fps.toFixed(1)} frames/s, ${clock}` +
      (found.main_size ? `; people are cut out of ${found.main_size.join(" × ")}` : "")
    : `does not work (${found.cause}): ${found.reason}`;
  tested.classList.toggle("bad", !found.works);
  tested.hidden = false;
}

const asked = (body) => JSON.stringify(opening.map((key) => body[key]));

async function look() {
  const body = wanted();
  const found = await during("opening the camera…", () => call("POST", entry ? `${path}/test` : "/cameras/test", body));
  if (!found) return null;
  if (found.url) { form.elements.url.value = found.url; body.url = found.url; }
  tried = asked(body);
  report(found);
  return found;
}

// Cameras that answer on the local networks; one that is chosen is filled in.
const discover = document.querySelector("#discover");
discover?.addEventListener("click", async () => {
  const looking = document.querySelector("#looking");
  looking.textContent = "looking for three seconds…";
  discover.disabled = true;
  try {
    const found = await call("POST", "/cameras/discover", {});
    looking.textContent = found.length ? "" : "No ONVIF camera answered in web.camera_networks.";
    document.querySelector("#discovered").replaceChildren(...found.map((one) => {
      const item = element("li", "form");
      const use = element("button", "", "Use");
      use.setAttribute("aria-label", `Use ${one.address}`);
      use.addEventListener("click", () => {
        form.elements.url.value = one.address;
        form.elements.id.focus();
      });
      item.append(use, element("span", "mono", one.address), element("span", "soft", [one.name, one.hardware].filter(Boolean).join(", ")));
      if (one.is_known) item.append(element("span", "chip", "in cams.yaml"));
      return item;
    }));
  } catch (error) {
    looking.textContent = "";
    toast(error.message, true);
  }
  discover.disabled = false;
});

test.addEventListener("click", () => { if (form.reportValidity()) look(); });
form.addEventListener("input", () => { save.textContent = "Save"; });
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  let body = wanted();
  if (entry && !Object.keys(body).length) { toast("nothing has changed"); return; }
  if (opening.some((key) => body[key] !== undefined) && tried !== asked(body) && body.enabled !== false) {
    const found = await look();
    if (!found?.works) { if (found) save.textContent = "Save all the same"; return; }
    body = wanted();
  }
  const written = await during("saving…", () => call(entry ? "PATCH" : "POST", path, body));
  if (written) location.assign("/cameras");
});

document.querySelector("[data-open=remove]")?.addEventListener("click", () => document.querySelector("#remove").showModal());
document.querySelector("#remove [data-close]")?.addEventListener("click", () => document.querySelector("#remove").close());
document.querySelector("#remove form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  document.querySelector("#remove").close();
  const gone = await during("removing…", async () => { await call("DELETE", path); return true; });
  if (gone) location.assign("/cameras");
});
