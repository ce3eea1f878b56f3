// What the tab Label shows of a project: progress, the list of pictures, and states in words.

import { element } from "./api.js";

const $ = (selector) => document.querySelector(selector);
const LISTED = 300;

export function showProgress({ running, done, total, seconds_left: left }, label) {
  $("#stop").hidden = !running;
  $("#label-all").hidden = running;
  $("#label-all").textContent = label;
  $("#progress-box").hidden = !running;
  $("#progress").value = total ? done / total : 0;
  $("#progress-text").textContent = total ? `${done} of ${total}${left === null ? "" : ` · about ${duration(left)} left`}` : "Loading the model";
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function stateOf(picture) {
  if (picture.state === "confirmed") return "confirmed";
  if (picture.state === "broken") return "cannot be read";
  if (picture.state === "unlabelled") return "not labelled";
  return `${Math.min(99, Math.round(100 * picture.score))} % sure`;
}

// List the pictures; `open` is called with the name of the one that is chosen.
export function listPictures(pictures, current, open) {
  const count = pictures.filter((one) => one.state === "confirmed").length;
  $("#counts").textContent = `${count} of ${pictures.length} confirmed`;
  const rows = pictures.slice(0, LISTED).map((picture) => {
    const button = element("button", { title: picture.error || picture.name }, element("span", { className: "name" }, picture.name),
      element("span", { className: `state ${picture.state}` }, picture.state === "confirmed" ? "✓ confirmed" : stateOf(picture)));
    if (picture.name === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => open(picture.name));
    return element("li", {}, button);
  });
  if (pictures.length > LISTED) rows.push(element("li", { className: "empty" }, `and ${pictures.length - LISTED} more`));
  const focused = $("#pictures").contains(document.activeElement);
  $("#pictures").replaceChildren(...rows);
  if (focused) $("#pictures [aria-current]")?.focus();
  const shown = pictures.find((one) => one.name === current);
  if (shown) $("#picture-state").textContent = shown.error || stateOf(shown);
}

export function words(point) {
  if (point.confidence === 1) return point.v === 1 ? "hidden" : "by hand";
  return `${Math.min(99, Math.round(100 * point.confidence))} % sure${point.visibility < 0.5 ? ", probably hidden" : ""}`;
}
