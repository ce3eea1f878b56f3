// The tab Label.

import { about, attempt, colour, count, download, element, request, say, settings, toast, upload } from "./api.js";
import { Board } from "./board.js";
import { checkCount, onDrop, picturesOf, taken } from "./intake.js";
import { listPictures, showProgress, stateOf, words } from "./label_view.js";

const $ = (selector) => document.querySelector(selector);
let choice = {};
let id = null; // of the project
let project = null;
let current = null; // name of the picture that is shown
let labels = null; // its labels
let names = []; // of all points, in order
let selected = null;
let history = [];
let board = null;
let dirty = false;
let unsaved = Promise.resolve(true);

export async function begin() {
  const { projects, formats } = await about;
  for (const folder of projects) {
    const button = element("button", { className: "primary" }, `Open the folder “${folder.title}”`);
    button.addEventListener("click", () => open(folder.id));
    $("#folders").append(button);
  }
  for (const [name, title] of Object.entries(formats)) $("#format").append(element("option", { value: name }, title));
  onDrop($("#label-drop"), (files) => attempt(() => start(files)));
  onDrop($("#project"), (files) => attempt(() => addMore(files)));
  $("#label-files").addEventListener("change", (event) => attempt(() => start(taken(event.target))));
  $("#label-folder").addEventListener("change", (event) => attempt(() => start(picturesOf(taken(event.target)))));
  $("#more").addEventListener("change", (event) => attempt(() => addMore(taken(event.target))));
  $("#leave").addEventListener("click", () => attempt(leave));
  $("#label-all").addEventListener("click", () => attempt(labelAll));
  $("#stop").addEventListener("click", () => attempt(() => request(`/api/projects/${id}/stop`, { method: "POST", json: {} })));
  $("#confirm").addEventListener("click", () => alone(confirm));
  $("#next").addEventListener("click", () => step(1));
  $("#previous").addEventListener("click", () => step(-1));
  $("#label-undo").addEventListener("click", undo);
  $("#export").addEventListener("click", () => attempt(exportLabels));
  $("#import").addEventListener("change", (event) => attempt(() => importLabels(event.target)));
  settings($("#label-settings"), (chosen) => { choice = chosen; });
  const remembered = sessionStorage.getItem("project") || (projects.length === 1 ? projects[0].id : null);
  if (remembered && !id) open(remembered, true);
}

export function key(event) {
  if (!project) return;
  const pressed = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && pressed === "z") undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key === "Enter" && !event.target.closest("button, summary, a")) alone(confirm);
  else if (pressed === "n") step(1);
  else if (pressed === "p") step(-1);
  else return;
  event.preventDefault();
}

async function start(files) {
  if (!files.length) return;
  await checkCount(files.length);
  const made = await request("/api/projects", { method: "POST", json: {} });
  if (await add(made.id, files)) await open(made.id);
}

async function addMore(files) {
  if (!project.uploaded) throw new Error("Copy more pictures into the folder itself, and start semcorr app again.");
  await checkCount(files.length + project.pictures.length);
  await add(id, files);
  await refresh();
}

// Add files to a project, and return how many were taken.
async function add(to, files) {
  const refused = [];
  $("#adding").hidden = false;
  for (const [index, file] of files.entries()) {
    $("#adding progress").value = index / files.length;
    $("#adding span").textContent = `Adding picture ${index + 1} of ${files.length}`;
    await upload(`/api/projects/${to}/pictures`, file).catch((error) => refused.push(error.message));
  }
  $("#adding").hidden = true;
  say(`${count(files.length - refused.length, "picture")} added`);
  if (refused.length) toast(refused[0] + (refused.length > 1 ? ` (${count(refused.length - 1, "other file")} not added either)` : ""));
  return files.length - refused.length;
}

// Go back to the choice of pictures.
async function leave() {
  if (!(await save())) return;
  sessionStorage.removeItem("project");
  id = project = current = labels = null;
  $("#project").hidden = true;
  $("#choose-project").hidden = false;
  $("#label-files").focus();
}

async function open(which, quietly = false) {
  id = which;
  names = [];
  try {
    project = await request(`/api/projects/${id}`);
  } catch (error) {
    sessionStorage.removeItem("project");
    if (!quietly) toast(error.message);
    return;
  }
  sessionStorage.setItem("project", id);
  $("#choose-project").hidden = true;
  $("#project").hidden = false;
  $("#project-title").textContent = project.title;
  $("#more-box").hidden = !project.uploaded;
  board = new Board($("#canvas .slot"), "Picture to label", { add: place, move, select, remove, hide });
  current = null;
  await refresh();
  if (project.work.running) follow();
  if (project.interrupted) toast("Labelling was interrupted. Press “Resume” to continue.", true);
}

async function refresh() {
  const mine = id;
  const found = await request(`/api/projects/${mine}`);
  if (mine !== id) return; // another project is open by now
  project = found;
  for (const name of project.names) if (!names.includes(name)) names.push(name);
  if (!current && project.pictures.length) await go(project.pictures[0].name);
  else if (current && stamp(current) !== seen && !dirty && !history.length && !busy) await go(current);
  list();
  progress();
}

// What the server says of a picture: another stamp means that it was labelled meanwhile.
let seen = "";
function stamp(name) {
  const { state, score } = project.pictures.find((one) => one.name === name) || {};
  return `${state} ${score}`;
}

async function go(name) {
  if (!(await save())) return;
  const mine = id;
  const found = await attempt(() => request(`/api/projects/${mine}/labels?picture=${encodeURIComponent(name)}`));
  if (!found || mine !== id) return;
  save(); // what was changed while the answer was on its way
  current = name;
  labels = found;
  seen = stamp(name);
  history = [];
  dirty = false;
  selected = null;
  const url = `/api/projects/${id}/picture?name=${encodeURIComponent(name)}`;
  const size = await sizeOf(url);
  if (current !== name || mine !== id) return;
  board.setPoints([], null);
  if (size) board.show(url, size[0], size[1], name);
  $("#picture-title").textContent = $("#picture-title").title = name;
  show();
  list();
  say(`${name}. ${stateOf(project.pictures.find((one) => one.name === name))}`);
}

// The picture that is shown may be smaller than its file; points are in pixels of the file.
async function sizeOf(url) {
  const answer = await attempt(() => request(url.replace("/picture?", "/size?")));
  return answer && [answer.width, answer.height];
}

function placed(name) {
  const point = labels?.points[name];
  return point && point.v > 0 ? point : null;
}

function place(x, y, byKey) {
  let name = selected && !placed(selected) ? selected : names.find((one) => !placed(one));
  if (!name) {
    let number = names.length + 1;
    while (names.includes(`point ${number}`)) number += 1;
    name = `point ${number}`;
    names.push(name);
  }
  remember();
  put(name, { x, y, v: 2, confidence: 1, visibility: 1 });
  selected = name;
  show();
  if (byKey) board.focus(name);
}

let dragging = false;
function move(name, x, y, done) {
  if (!dragging) remember();
  dragging = !done;
  put(name, { x, y, v: labels.points[name].v === 1 && labels.points[name].confidence === 1 ? 1 : 2, confidence: 1, visibility: 1 });
  show();
}

function remove(name) {
  remember();
  put(name, { x: 0, y: 0, v: 0, confidence: 1, visibility: 1 });
  show();
}

function hide(name) {
  remember();
  const point = labels.points[name];
  put(name, { ...point, v: point.v === 1 && point.confidence === 1 ? 2 : 1, confidence: 1, visibility: 1 });
  show();
  say(labels.points[name].v === 1 ? `${name} is hidden` : `${name} is visible`);
}

function put(name, point) {
  labels.points = { ...labels.points, [name]: point };
  dirty = true;
  later();
}

function remember() {
  history.push(JSON.stringify(labels.points));
}

function undo() {
  if (!history.length) return;
  labels.points = JSON.parse(history.pop());
  dragging = false;
  dirty = true;
  later();
  show();
  say("Undone");
}

function select(name) {
  selected = name;
  show();
}

let waiting;
function later() {
  clearTimeout(waiting);
  waiting = setTimeout(save, 400);
}

// What is saved is what is shown now, however long the requests before it take.
async function save(confirmed = labels?.confirmed) {
  clearTimeout(waiting);
  if (dirty) {
    dirty = false;
    const url = `/api/projects/${id}/labels?picture=${encodeURIComponent(current)}`;
    const points = Object.fromEntries(names.filter((name) => labels.points[name]).map((name) => [name, labels.points[name]]));
    unsaved = unsaved.then(async () => {
      const answer = await attempt(() => request(url, { method: "PUT", json: { points, confirmed } }));
      if (!answer) dirty = true; // to be sent again
      return answer;
    });
  }
  return unsaved;
}

// One step from picture to picture at a time: a key pressed meanwhile cannot confirm what was not seen.
let busy = false;
async function alone(task) {
  if (busy) return;
  busy = true;
  await attempt(task);
  busy = false;
}

async function confirm() {
  if (!names.some(placed)) throw new Error("Mark at least one point before you confirm.");
  const name = current;
  dirty = true;
  if (!(await save(true))) return;
  await refresh();
  say(`${name} is confirmed`);
  const next = project.pictures.find((one) => one.state === "labelled") || project.pictures.find((one) => one.state === "unlabelled");
  if (next && project.pictures.some((one) => one.state === "labelled")) await go(next.name);
  else {
    await go(name);
    if (!next) toast("Every picture is confirmed. Export the labels, or go through them again with N and P.", true);
    else toast("Confirmed. Press “Label all”: the others get the same points.", true);
  }
}

async function step(by) {
  const order = project.pictures.map((one) => one.name);
  const index = order.indexOf(current);
  if (index < 0) return; // the first one is on its way
  await alone(() => go(order[(index + by + order.length) % order.length]));
}

async function labelAll() {
  if (!project.pictures.some((one) => one.state === "confirmed")) {
    if (!names.some(placed)) throw new Error("Mark the points of one picture first.");
    dirty = true;
    await save(true);
  } else {
    await save();
  }
  await request(`/api/projects/${id}/start`, { method: "POST", json: choice });
  say("Labelling all pictures");
  follow();
}

let following = null;
async function follow() {
  if (following === id) return;
  const mine = following = id;
  do { // also while the server does not answer: it may come back
    await new Promise((resolve) => { setTimeout(resolve, 500); });
    if (id === mine) await attempt(refresh);
    if (id !== mine) break;
  } while (project.work.running);
  if (following === mine) following = null;
  if (id !== mine) return;
  const first = project.pictures.find((one) => one.state === "labelled");
  if (first) await alone(() => go(first.name));
  if (project.work.error) toast(project.work.error);
  else if (project.interrupted) toast("Stopped. Press “Resume” to continue.", true);
  else toast("Done. The least certain picture comes first: correct it, then press Enter.", true);
}

function progress() {
  const label = project.interrupted ? "Resume" : project.pictures.some((one) => one.state === "labelled") ? "Label all again" : "Label all";
  showProgress(project.work, label);
}

function list() {
  listPictures(project.pictures, current, (name) => alone(() => go(name)));
}

function show() {
  const marks = names.filter(placed).map((name) => {
    const point = labels.points[name];
    const index = names.indexOf(name);
    return { id: name, x: point.x, y: point.y, number: index + 1, colour: colour(index), hollow: point.v === 1, text: `${name}, ${words(point)}` };
  });
  board.setPoints(marks, selected);
  $("#no-names").hidden = names.length > 0;
  $("#label-undo").disabled = !history.length;
  const box = $("#names");
  const rows = new Map([...box.children].map((row) => [row.dataset.name, row]));
  for (const [name, row] of rows) if (!names.includes(name)) row.remove();
  names.forEach((name, index) => {
    const row = rows.get(name) || makeRow(name);
    row.classList.toggle("selected", name === selected);
    row.classList.toggle("missing", !placed(name));
    row.querySelector(".chip").textContent = index + 1;
    row.querySelector(".chip").style.background = colour(index);
    row.querySelector(".words").textContent = placed(name) ? words(labels.points[name]) : "not marked";
    row.querySelector("button").hidden = !placed(name);
    if (box.children[index] !== row) box.insertBefore(row, box.children[index] || null);
  });
}

function makeRow(name) {
  const input = element("input", { type: "text", value: name, maxLength: 100, "aria-label": `Name of ${name}` });
  input.addEventListener("focus", () => select(name));
  input.addEventListener("change", () => attempt(() => rename(name, input)));
  const button = element("button", { className: "quiet", "aria-label": `Delete ${name} from this picture` }, "✕");
  button.addEventListener("click", () => remove(name));
  const chip = element("span", { className: "chip", "aria-hidden": "true" });
  chip.addEventListener("click", () => select(name));
  return element("li", { "data-name": name }, chip, input, element("span", { className: "words" }), button);
}

async function rename(old, input) {
  const name = input.value.trim();
  if (!name || name === old) { input.value = old; return; }
  if (names.includes(name)) { input.value = old; throw new Error(`There is a point called ${name} already.`); }
  await save();
  await request(`/api/projects/${id}/rename`, { method: "POST", json: { old, new: name } });
  names = names.map((one) => (one === old ? name : one));
  labels.points = Object.fromEntries(Object.entries(labels.points).map(([one, point]) => [one === old ? name : one, point]));
  history = [];
  selected = name;
  show();
}

async function exportLabels() {
  await save();
  say(`Saved ${await download(`/api/projects/${id}/export?format=${$("#format").value}`, {})}`);
}

async function importLabels(input) {
  const file = input.files[0];
  if (!file) return;
  await save();
  const { taken, kept } = await upload(`/api/projects/${id}/import`, file).finally(() => { input.value = ""; });
  names = [];
  const name = current;
  current = null;
  await refresh();
  await go(name);
  toast(`Labels of ${count(taken, "picture")} imported${kept ? `; ${kept} confirmed before stay as they are` : ""}.`, true);
}
