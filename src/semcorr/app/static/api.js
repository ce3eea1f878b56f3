// Requests to the server, and messages to the person.

export async function request(path, { method = "GET", json, body, as = "json" } = {}) {
  const options = { method };
  if (json !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(json);
  } else if (body !== undefined) {
    options.headers = { "Content-Type": "application/octet-stream" };
    options.body = body;
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: is semcorr app still running?");
  }
  if (!answer.ok) {
    const content = await answer.json().catch(() => ({}));
    throw new Error(content.error || `The server answered ${answer.status}.`);
  }
  return as === "blob" ? answer : answer.json();
}

export const about = request("/api");

export async function upload(path, file) {
  const { limits } = await about;
  if (file.size > limits.bytes) {
    throw new Error(`${file.name} is larger than ${limits.bytes >> 20} MB: make it smaller first`);
  }
  if (file.size === 0) throw new Error(`${file.name} is empty: choose another file`);
  return request(`${path}?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
}

export async function download(path, options) {
  const answer = await request(path, { ...options, as: "blob" });
  const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition"))[1];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  return name;
}

// What a screen reader says.
export function say(text) {
  document.querySelector("#status").textContent = text;
}

let closing;
export function toast(text, plain = false) {
  const box = document.querySelector("#toast");
  box.querySelector("span").textContent = text;
  box.classList.toggle("plain", plain);
  box.hidden = false;
  clearTimeout(closing);
  closing = setTimeout(() => { box.hidden = true; }, plain ? 4000 : 12000);
}

// Run something that may fail, and show why it did.
export async function attempt(task) {
  try {
    return await task();
  } catch (error) {
    toast(error.message);
    return undefined;
  }
}

export const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

const COLOURS = ["#1f5fd0", "#c2410c", "#047857", "#a21caf", "#0e7490", "#4d7c0f", "#6d28d9", "#be123c"];
export const colour = (index) => COLOURS[index % COLOURS.length];

// The settings of a model, for either tab; calls back with what was chosen.
export async function settings(box, changed) {
  const { models } = await about;
  const model = element("select");
  for (const [name, what] of Object.entries(models)) model.append(element("option", { value: name, title: what }, name));
  const choices = (values) => {
    const list = element("select");
    for (const [value, text] of values) list.append(element("option", { value }, text));
    return list;
  };
  const grid = choices([[16, "16 × 16 (fast)"], [25, "25 × 25"], [40, "40 × 40"], [64, "64 × 64 (fine, slow)"]]);
  grid.value = "25";
  const rotations = choices([[1, "none"], [4, "quarter turns"], [12, "every 30° (slow)"]]);
  const mirror = element("input", { type: "checkbox" });
  const labelled = (text, input) => element("label", {}, text, input);
  box.append(labelled("Model", model), labelled("Grid", grid), labelled("Rotations to try", rotations),
    element("label", { className: "check" }, mirror, "Try mirrored, too"));
  const chosen = () => ({ model: model.value, grid: +grid.value, rotations: +rotations.value, mirror: mirror.checked });
  box.addEventListener("change", () => changed(chosen()));
  changed(chosen());
}
