// The tab Match.

import { about, attempt, colour, download, element, request, say, settings, toast, upload } from "./api.js";
import { Board } from "./board.js";
import { ACCEPT, hasCamera, onDrop, photograph, taken } from "./intake.js";

const $ = (selector) => document.querySelector(selector);
const sides = { source: null, target: null }; // pictures of the server's store
let boards = {};
let choice = {};
let match = null;
let points = []; // { id, name, x, y, answer }
let selected = null;
let history = [];
let made = 0;

export async function begin() {
  for (const side of ["source", "target"]) {
    empty(side);
    $(`#${side} .replace`).addEventListener("click", () => { sides[side] = null; forget(); empty(side); });
    onDrop($(`#${side}`), (files) => takeAll(side, files));
  }
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length && !$("#panel-match").hidden) takeAll(sides.source ? "target" : "source", files);
  });
  $("#undo").addEventListener("click", undo);
  $("#clear").addEventListener("click", () => change([]));
  $("#mutual").addEventListener("click", mutual);
  $("#heat").addEventListener("change", layHeat);
  $("#views").addEventListener("change", view);
  $("#blend").addEventListener("input", blend);
  for (const button of document.querySelectorAll(".download")) button.addEventListener("click", () => save(button.dataset.kind));
  for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", () => copy(button));
  await settings($("#match-settings"), (chosen) => { choice = chosen; ask(); });
  attempt(examples);
}

export function key(event) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    undo();
  }
}

function empty(side) {
  const which = side === "source" ? "first" : "second";
  const input = (properties) => {
    const made = element("input", { type: "file", accept: ACCEPT, ...properties });
    made.addEventListener("change", () => takeAll(side, taken(made)));
    return made;
  };
  const file = input({ id: `${side}-file`, "aria-label": `Choose a file as the ${which} photograph` });
  $(`#${side} .slot`).replaceChildren(element("div", { className: "drop" }, element("strong", {}, "Drop a photograph"),
    element("span", {}, "or paste it"),
    element("div", { className: "row" }, element("label", { className: "file" }, "Choose file", file),
      cameraButton(side, `Take the ${which} photograph with the camera`, input))));
  $(`#${side} .picture-name`).textContent = "";
  $(`#${side} .replace`).hidden = true;
  delete boards[side];
  arrange();
}

// Where the browser does not show the camera in the page, phones still open it for a file.
function cameraButton(side, label, input) {
  const properties = { id: `${side}-camera`, "aria-label": label };
  if (!hasCamera) {
    const camera = input(properties);
    camera.setAttribute("capture", "environment");
    return element("label", { className: "file" }, "Camera", camera);
  }
  const button = element("button", properties, "Camera");
  button.addEventListener("click", async () => {
    const shot = await attempt(photograph);
    if (shot) takeAll(side, [shot]);
  });
  return button;
}

function arrange() {
  const both = Boolean(sides.source && sides.target);
  $("#begin").hidden = both;
  $("#matched").hidden = !both;
}

async function examples() {
  const found = await request("/api/examples");
  const box = $("#examples");
  const first = found[0];
  for (const other of found.slice(1)) {
    const names = [first, other].map((one) => one.name.replace(/\.\w+$/, ""));
    const images = [first, other].map((one) => element("img", { src: `/api/pictures/${one.id}`, alt: "" }));
    const button = element("button", {}, ...images, element("span", {}, names.join(" → ")));
    button.addEventListener("click", () => { put("source", first); put("target", other); });
    box.append(button);
  }
}

// Two files are the first photograph and the second.
function takeAll(side, files) {
  const places = files.length > 1 ? ["source", "target"] : [side];
  return Promise.all(places.map((place, index) => take(place, files[index])));
}

async function take(side, file) {
  if (!file) return;
  const picture = await attempt(() => upload("/api/pictures", file));
  if (picture) put(side, picture);
}

function put(side, picture) {
  sides[side] = picture;
  const on = side === "source" ? { add, move, select, remove } : {};
  boards[side] = new Board($(`#${side} .slot`), side === "source" ? "First photograph" : "Second photograph", on);
  boards[side].show(`/api/pictures/${picture.id}`, picture.width, picture.height, picture.name);
  $(`#${side} .picture-name`).textContent = $(`#${side} .picture-name`).title = picture.name;
  $(`#${side} .replace`).hidden = false;
  arrange();
  if (side === "source") {
    points = [];
    history = [];
    selected = null;
  }
  forget();
  ask();
}

function forget() {
  match = null;
  points = points.map((point) => ({ ...point, answer: null }));
  $("#sentence").hidden = true;
  for (const one of document.querySelectorAll("#views, #mutual, .download, .copy")) one.disabled = true;
  $("#views input").checked = true;
  $("#python").textContent = $("#command").textContent = "";
  view();
  show();
}

let asked = 0;
async function ask() {
  if (!sides.source || !sides.target) return;
  const turn = ++asked;
  $("#panel-match").classList.add("busy");
  say("Matching the photographs");
  const found = await attempt(() => request("/api/match", { method: "POST", json: { source: sides.source.id, target: sides.target.id, ...choice } }));
  if (turn !== asked) return;
  $("#panel-match").classList.remove("busy");
  if (!found) return;
  match = found;
  $("#sentence").textContent = found.sentence + turned(found.turn);
  $("#sentence").hidden = false;
  say(`Matched. ${found.sentence}`);
  for (const one of document.querySelectorAll("#views, #mutual, .download, .copy")) one.disabled = false;
  view();
  await answer();
}

function turned({ degrees, mirrored }) {
  const done = [mirrored ? "mirrored" : "", degrees ? `turned by ${degrees}°` : ""].filter(Boolean);
  return done.length ? ` The first was ${done.join(" and ")} to match it.` : "";
}

const plain = () => points.map(({ name, x, y }) => ({ name, x, y }));

let answering = false;
let again = false;
async function answer() { // one request at a time; the last state of the points is always asked
  if (!match) return show();
  if (answering) { again = true; return undefined; }
  answering = true;
  do {
    again = false;
    const asking = match.id;
    const sent = points.map((point) => point.id);
    const start = performance.now();
    const answers = await attempt(() => request(`/api/match/${asking}/points`, { method: "POST", json: { points: plain() } }));
    if (answers && match && match.id === asking) {
      const byId = new Map(sent.map((id, index) => [id, answers[index]]));
      points = points.map((point) => ({ ...point, answer: byId.get(point.id) || point.answer }));
      document.body.dataset.answered = Math.round(performance.now() - start);
      show();
    }
  } while (again);
  answering = false;
  layHeat();
  recipe();
  return undefined;
}

async function recipe() {
  if (!match) return;
  const found = await attempt(() => request(`/api/match/${match.id}/recipe`, { method: "POST", json: { points: plain() } }));
  if (!found) return;
  $("#python").textContent = found.python;
  $("#command").textContent = found.command;
}

function remember() {
  history.push(JSON.stringify(points));
  if (history.length > 200) history.shift();
}

function change(next) {
  remember();
  points = next;
  if (!points.some((point) => point.id === selected)) selected = points.length ? points[points.length - 1].id : null;
  show();
  answer();
}

function undo() {
  if (!history.length) return;
  points = JSON.parse(history.pop());
  dragging = false;
  if (!points.some((point) => point.id === selected)) selected = points.length ? points[points.length - 1].id : null;
  show();
  answer();
  say("Undone");
}

function add(x, y, byKey) {
  const id = `p${++made}`;
  const taken = new Set(points.map((point) => point.name));
  let number = points.length + 1;
  while (taken.has(`point ${number}`)) number += 1;
  selected = id;
  change([...points, { id, name: `point ${number}`, x, y, answer: null }]);
  layHeat(); // it does not wait for the answer
  if (byKey) boards.source.focus(id);
}

let dragging = false;
function move(id, x, y, done) {
  if (!dragging) remember();
  dragging = !done;
  points = points.map((point) => (point.id === id ? { ...point, x, y } : point));
  show();
  answer();
}

function remove(id) {
  change(points.filter((point) => point.id !== id));
}

function select(id) {
  if (id === selected) return;
  selected = id;
  show();
  layHeat();
}

async function mutual() {
  const found = await attempt(() => request(`/api/match/${match.id}/mutual?count=12`));
  if (!found) return;
  if (!found.length) toast("No match holds in both directions.", true);
  const fresh = found.map(([x, y]) => ({ id: `p${++made}`, name: "", x, y, answer: null }));
  fresh.forEach((point, index) => { point.name = `match ${index + 1}`; });
  if (found.length) change(fresh);
}

let spoken = "";
function show() {
  const marks = (place) => points.filter(place).map((point, index) => ({
    id: point.id, ...place(point), number: points.indexOf(point) + 1, colour: colour(points.indexOf(point)),
    text: point.answer ? `${point.name}, ${point.answer.words}` : point.name,
  }));
  boards.source?.setPoints(marks((point) => ({ x: point.x, y: point.y })), selected);
  boards.target?.setPoints(marks((point) => point.answer && { x: point.answer.x, y: point.answer.y,
    hollow: point.answer.visibility !== null && point.answer.visibility < 0.5 }), selected);
  list();
  $("#no-points").hidden = points.length > 0;
  $("#undo").disabled = !history.length;
  $("#clear").disabled = !points.length;
  const current = points.find((point) => point.id === selected);
  const words = current?.answer ? `${current.name}: ${current.answer.words}` : "";
  if (words && words !== spoken) say(words);
  spoken = words;
}

function list() {
  const box = $("#points");
  const rows = new Map([...box.children].map((row) => [row.dataset.id, row]));
  for (const [id, row] of rows) if (!points.some((point) => point.id === id)) row.remove();
  points.forEach((point, index) => {
    const row = rows.get(point.id) || makeRow(point.id);
    row.classList.toggle("selected", point.id === selected);
    row.querySelector(".chip").textContent = index + 1;
    row.querySelector(".chip").style.background = colour(index);
    const input = row.querySelector("input");
    if (document.activeElement !== input) input.value = point.name;
    input.setAttribute("aria-label", `Name of point ${index + 1}`);
    row.querySelector(".words").textContent = point.answer ? point.answer.words : "";
    row.querySelector("button").setAttribute("aria-label", `Delete ${point.name}`);
    if (box.children[index] !== row) box.insertBefore(row, box.children[index] || null);
  });
}

function makeRow(id) {
  const input = element("input", { type: "text", maxLength: 100 });
  input.addEventListener("focus", () => select(id));
  input.addEventListener("change", () => {
    remember();
    points = points.map((point) => (point.id === id ? { ...point, name: input.value.trim() || point.name } : point));
    show();
  });
  const button = element("button", { className: "quiet" }, "✕");
  button.addEventListener("click", () => remove(id));
  return element("li", { "data-id": id }, element("span", { className: "chip", "aria-hidden": "true" }), input,
    element("span", { className: "words" }), button);
}

function currentView() {
  return $("#views input:checked").value;
}

function view() {
  const name = match ? currentView() : "points";
  $("#blend-box").hidden = name !== "warp";
  boards.source?.lay(name === "points" ? null : `/api/match/${match.id}/${name}.jpg`);
  if (name === "warp") blend();
}

function blend() {
  if (!boards.source) return;
  boards.source.overlay.style.clipPath = `inset(0 ${100 - $("#blend").value}% 0 0)`;
}

function layHeat() {
  if (!boards.target) return;
  const point = points.find((one) => one.id === selected);
  const wanted = match && point && $("#heat").checked;
  boards.target.lay(wanted ? `/api/match/${match.id}/heat.png?x=${point.x}&y=${point.y}` : null, 0.85);
}

async function save(kind) {
  const name = await attempt(() => download(`/api/match/${match.id}/download.${kind}`, { method: "POST", json: { points: plain() } }));
  if (name) say(`Saved ${name}`);
}

async function copy(button) {
  const text = $(`#${button.dataset.from}`).textContent;
  await attempt(async () => {
    if (!navigator.clipboard) throw new Error("The browser allows copying on this machine's own address only: select the text and copy it.");
    await navigator.clipboard.writeText(text);
    toast("Copied.", true);
  });
}

about.catch((error) => toast(error.message));
