// Loaded before the first paint, so that a chosen theme does not flash.
const chosen = localStorage.getItem("theme");
const isDark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.theme = isDark ? "dark" : "light";
