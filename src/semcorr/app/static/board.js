// A photograph with points on it: placed by a click, dragged, or moved with the arrow keys.

const SVG = "http://www.w3.org/2000/svg";
const draw = (tag, attributes) => {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

export class Board {
  // on: { add(x, y), move(id, x, y, done), select(id), remove(id), hide(id) }; a board without `add` is read only.
  constructor(slot, label, on = {}) {
    this.on = on;
    this.label = label;
    this.size = [1, 1];
    this.points = new Map();
    this.touches = 0; // fingers on the stage
    this.stage = document.createElement("div");
    this.stage.className = on.add ? "stage" : "stage readonly";
    this.stage.setAttribute("role", "group");
    this.image = document.createElement("img");
    this.overlay = document.createElement("img");
    this.overlay.className = "overlay";
    this.overlay.alt = "";
    this.overlay.hidden = true;
    this.svg = draw("svg", {});
    this.stage.append(this.image, this.overlay, this.svg);
    slot.replaceChildren(this.stage);
    if (on.add) {
      this.stage.tabIndex = 0;
      this.stage.addEventListener("pointerdown", (event) => this.#press(event));
      this.stage.addEventListener("touchstart", (event) => { // a finger drags a point, not the page; CSS cannot say so of SVG
        if (event.target.closest(".point")) event.preventDefault();
      }, { passive: false });
      this.stage.addEventListener("keydown", (event) => this.#key(event));
    }
  }

  show(url, width, height, name) {
    this.size = [width, height];
    this.stage.style.setProperty("--ratio", width / height);
    this.stage.setAttribute("aria-label", this.on.add ? `${this.label}: ${name}. Press A to add a point.` : `${this.label}: ${name}`);
    this.image.src = url;
    this.image.alt = name;
    this.lay(null);
  }

  // Lay a picture over the photograph; null takes it away.
  lay(url, opacity = 1) {
    this.overlay.hidden = !url;
    if (url && this.overlay.getAttribute("src") !== url) this.overlay.src = url; // else it would blink
    this.overlay.style.opacity = opacity;
    this.overlay.style.clipPath = "";
  }

  // points: [{ id, x, y, number, colour, text, hollow }]
  setPoints(points, selected) {
    const kept = new Set(points.map((point) => point.id));
    for (const [id, mark] of this.points) {
      if (!kept.has(id)) {
        mark.remove();
        this.points.delete(id);
      }
    }
    for (const point of points) {
      let mark = this.points.get(point.id);
      if (!mark) {
        mark = this.#mark(point.id);
        this.points.set(point.id, mark);
      }
      this.#place(mark, point.x, point.y);
      mark.classList.toggle("selected", point.id === selected);
      mark.querySelector(".dot").setAttribute("fill", point.colour);
      mark.querySelector(".dot").classList.toggle("hollow", Boolean(point.hollow));
      mark.querySelector("text").textContent = point.number;
      mark.setAttribute("aria-label", `${point.number}: ${point.text}, at ${Math.round(point.x)}, ${Math.round(point.y)}`);
      if (this.on.add) mark.setAttribute("aria-pressed", point.id === selected);
    }
    this.#raise(points, selected);
  }

  // A point that is chosen elsewhere, as in a list, comes to the top, where it can be dragged; the others stay in order.
  #raise(points, selected) {
    if (!this.on.add || selected === this.raised || this.svg.contains(document.activeElement)) return;
    this.raised = selected;
    const last = points.filter((point) => point.id === selected);
    for (const point of [...points, ...last]) this.svg.append(this.points.get(point.id));
  }

  focus(id) {
    (this.points.get(id) || this.stage).focus({ preventScroll: true });
  }

  #mark(id) {
    const mark = draw("svg", { class: "point" });
    mark.append(draw("circle", { class: "touch", r: 20 }), draw("circle", { class: "ring", r: 14 }),
      draw("circle", { class: "dot", r: 10 }), draw("text", {}));
    mark.dataset.id = id;
    if (this.on.add) {
      mark.setAttribute("tabindex", "0");
      mark.setAttribute("role", "button");
      mark.addEventListener("focus", () => this.on.select(id));
    } else {
      mark.setAttribute("role", "img");
    }
    this.svg.append(mark);
    return mark;
  }

  #place(mark, x, y) {
    mark.setAttribute("x", `${(100 * x) / this.size[0]}%`);
    mark.setAttribute("y", `${(100 * y) / this.size[1]}%`);
    mark.dataset.x = x;
    mark.dataset.y = y;
  }

  #at(event) {
    const box = this.stage.getBoundingClientRect();
    return this.#inside((event.clientX - box.left) * this.size[0] / box.width, (event.clientY - box.top) * this.size[1] / box.height);
  }

  #inside(x, y) {
    const clamp = (value, most) => Math.round(Math.min(Math.max(value, 0), most) * 100) / 100;
    return [clamp(x, this.size[0]), clamp(y, this.size[1])];
  }

  #press(event) {
    if (event.button !== 0) return;
    const mark = event.target.closest(".point");
    if (mark) this.#drag(event, mark);
    else if (event.pointerType === "touch") this.#tap(event);
    else this.on.add(...this.#at(event));
  }

  #tap(event) { // a touch that scrolls the page, or zooms with a second finger, places no point
    this.touches += 1;
    let alone = this.touches === 1;
    const ended = new AbortController();
    const listen = (type, call) => this.stage.addEventListener(type, call, { signal: ended.signal });
    const end = (up) => {
      if (up.pointerId !== event.pointerId) return;
      ended.abort();
      this.touches -= 1;
      const far = Math.hypot(up.clientX - event.clientX, up.clientY - event.clientY);
      if (up.type === "pointerup" && alone && far < 10) this.on.add(...this.#at(up));
    };
    this.stage.setPointerCapture(event.pointerId); // a finger may leave the stage
    listen("pointerdown", () => { alone = false; });
    listen("pointerup", end);
    listen("pointercancel", end);
  }

  #drag(event, mark) {
    event.preventDefault();
    mark.focus({ preventScroll: true });
    mark.setPointerCapture(event.pointerId);
    const start = this.#at(event);
    const from = [+mark.dataset.x, +mark.dataset.y];
    let last = null; // where it was moved to
    const move = (next) => {
      const now = this.#at(next);
      last = this.#inside(from[0] + now[0] - start[0], from[1] + now[1] - start[1]);
      this.#place(mark, ...last);
      this.on.move(mark.dataset.id, ...last, false);
    };
    const end = () => { // a cancelled event has no place
      mark.removeEventListener("pointermove", move);
      mark.removeEventListener("pointerup", end);
      mark.removeEventListener("pointercancel", end);
      if (last) this.on.move(mark.dataset.id, ...last, true);
    };
    mark.addEventListener("pointermove", move);
    mark.addEventListener("pointerup", end);
    mark.addEventListener("pointercancel", end);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const mark = event.target.closest(".point");
    if (event.key === "a" || event.key === "A") {
      this.on.add(...this.#inside(this.size[0] / 2, this.size[1] / 2), true);
    } else if (mark && STEPS[event.key]) {
      const pixel = Math.max(1, Math.round(this.size[0] / this.stage.clientWidth)) * (event.shiftKey ? 10 : 1);
      const [dx, dy] = STEPS[event.key];
      this.on.move(mark.dataset.id, ...this.#inside(+mark.dataset.x + dx * pixel, +mark.dataset.y + dy * pixel), true);
    } else if (mark && (event.key === "Delete" || event.key === "Backspace")) {
      this.on.remove(mark.dataset.id);
      this.stage.focus({ preventScroll: true });
    } else if (mark && this.on.hide && (event.key === "h" || event.key === "H")) {
      this.on.hide(mark.dataset.id);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
