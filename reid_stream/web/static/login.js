import { call, toast } from "./console.js";

document.querySelector("#login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    await call("POST", "/session", { name: form.get("name"), password: form.get("password") });
    location.assign("/people");
  } catch (error) {
    toast(error.message, true);
    button.disabled = false;
  }
});
