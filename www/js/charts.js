// Small instruments drawn with SVG and boxes. Nothing here knows what is measured.

import { count, time } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";

/** A scope trace in the <svg> `frame`: the last `room` values, newest at the right. */
export class Trace {
  #values = [];
  #area;
  #curve;

  constructor(frame, room) {
    this.room = room;
    frame.setAttribute("viewBox", `0 0 ${room - 1} 100`);
    frame.setAttribute("preserveAspectRatio", "none");
    this.#area = frame.appendChild(document.createElementNS(SVG, "path"));
    this.#curve = frame.appendChild(document.createElementNS(SVG, "path"));
    this.#area.setAttribute("class", "area");
    this.#curve.setAttribute("class", "curve");
  }

  get highest() {
    return Math.max(0, ...this.#values);
  }

  add(value) {
    this.#values = [...this.#values, value].slice(-this.room);
    const top = this.highest || 1;
    const first = this.room - this.#values.length;
    const points = this.#values.map((each, i) => `${first + i} ${(97 - (each / top) * 88).toFixed(2)}`);
    this.#curve.setAttribute("d", `M${points.join("L")}`);
    this.#area.setAttribute("d", `M${first} 100L${points.join("L")}L${this.room - 1} 100z`);
  }

  clear() {
    this.#values = [];
    this.#curve.setAttribute("d", "");
    this.#area.setAttribute("d", "");
  }
}

/** Widths of the <i> children of `bar`, in the order of `parts`. */
export function fillBar(bar, parts) {
  const total = parts.reduce((a, b) => a + b, 0);
  [...bar.querySelectorAll("i")].forEach((box, i) => {
    box.style.width = total ? `${(100 * parts[i]) / total}%` : "0";
  });
}

// The buckets from the first to the last one that holds something, with one empty one at either side.
function filled(buckets) {
  const used = buckets.map((bucket, i) => (bucket.count > 0 ? i : -1)).filter((i) => i >= 0);
  if (used.length === 0) return [];
  return buckets.slice(Math.max(0, used[0] - 1), Math.min(buckets.length, used.at(-1) + 2));
}

function box(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A histogram in `columns`, its upper bounds in `bounds`; both are emptied first. */
export function drawHistogram(columns, bounds, buckets) {
  const shown = filled(buckets);
  const highest = Math.max(1, ...shown.map((bucket) => bucket.count));
  columns.replaceChildren(...shown.map((bucket) => {
    const column = box("div");
    const bar = box("i");
    bar.style.height = bucket.count ? `${Math.max(1.5, (86 * bucket.count) / highest)}%` : "0";
    bar.classList.toggle("none", bucket.count === 0);
    column.append(box("b", bucket.count ? compact(bucket.count) : ""), bar);
    column.title = `${count(bucket.count)} up to ${time(bucket.bound)}`;
    return column;
  }));
  bounds.replaceChildren(...shown.map((bucket) => {
    const end = box("span");
    end.append(box("b", time(bucket.bound).replace(" ", "\u202f")));
    return end;
  }));
}

function compact(value) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}
