// How the bytes left, as one bar and its key; the two pages that have it draw it alike.

import { fillBar } from "./charts.js";
import { share, size } from "./numbers.js";

// Class of the box -> what it stands for, in the order of the bar.
const WAYS = [
  ["zero", "zero_copied", "zero copy: the card read the server's memory"],
  ["reference", "reference", "by reference: pages of sealed memory"],
  ["open", "outstanding", "zero copy, not yet told"],
  ["copied", "copied", "zero copy, and copied by the kernel after all"],
  ["plain", "plain", "copied by the server: heads, small bodies, streams"],
];

function box(name, kind) {
  const made = document.createElement(name);
  made.className = kind;
  return made;
}

/** Draw what `ways` of reading.js gives into a .bar and a .key; what there is none of is left out of the key. */
export function showWays(bar, key, bytes) {
  if (!bar.children.length) bar.append(...WAYS.map(([, kind]) => box("i", kind)));
  fillBar(bar, WAYS.map(([name]) => bytes[name]));
  key.replaceChildren(...WAYS.filter(([name]) => bytes[name] > 0).map(([name, kind, text]) => {
    const item = document.createElement("li");
    const told = document.createElement("b");
    told.textContent = `${size(bytes[name])}, ${share(bytes[name], bytes.total)}`;
    item.append(box("i", kind), `${text} `, told);
    return item;
  }));
}
