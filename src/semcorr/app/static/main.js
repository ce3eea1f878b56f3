// Tabs, theme, help.

import { attempt } from "./api.js";
import * as label from "./label.js";
import * as match from "./match.js";

const $ = (selector) => document.querySelector(selector);
const tabs = { match, label };
let open = "match";

function show(name, focus = false) {
  open = name;
  for (const one of Object.keys(tabs)) {
    $(`#panel-${one}`).hidden = one !== name;
    $(`#tab-${one}`).setAttribute("aria-selected", one === name);
    $(`#tab-${one}`).tabIndex = one === name ? 0 : -1;
  }
  if (focus) $(`#tab-${name}`).focus();
  history.replaceState(null, "", `#${name}`);
}

for (const name of Object.keys(tabs)) $(`#tab-${name}`).addEventListener("click", () => show(name));
$("[role=tablist]").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") show(open === "match" ? "label" : "match", true);
});

const dark = matchMedia("(prefers-color-scheme: dark)");
const remembered = localStorage.getItem("theme");
if (remembered) document.documentElement.dataset.theme = remembered;
$("#theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
});

$("#help").addEventListener("click", () => $("#help-box").showModal());
$("#toast button").addEventListener("click", () => { $("#toast").hidden = true; });

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.target.matches("input[type=text], input[type=number], select")) return;
  if (event.key === "?") $("#help-box").showModal();
  else tabs[open].key(event);
});
document.addEventListener("click", (event) => { // a click elsewhere closes an open menu
  for (const menu of document.querySelectorAll("details[open]")) if (!menu.contains(event.target)) menu.open = false;
});
for (const event of ["dragover", "drop"]) document.addEventListener(event, (one) => one.preventDefault());

attempt(match.begin);
attempt(label.begin);
show(location.hash === "#label" ? "label" : "match");
document.body.dataset.ready = "yes";
