// Two servers, one in each send mode: the same downloads in turn, through a bridge (postMessage to a frame) to each.

import { count, median, share, size, time } from "./numbers.js";
import { adminsOf, fill, next, origin, portOf } from "./places.js";
import { ask, difference, quantile, sum } from "./reading.js";
import { manifest } from "./transfer.js";

const READY_MS = 5000;
const DOWNLOAD_MS = 120000;
const GIB = 2 ** 30;
const at = (id) => document.getElementById(id);

/** A hidden frame of the server at `base` that downloads when asked. */
class Bridge {
  #frame = document.createElement("iframe");
  #ticket = 0;
  #origin;

  constructor(base) {
    this.#origin = base;
    this.#frame.className = "bridge";
    this.#frame.title = `Bridge to ${base}`;
    this.#frame.setAttribute("aria-hidden", "true");
    this.#frame.tabIndex = -1;
  }

  // The next message of this frame that `wanted` accepts.
  #hear(wanted, limit_ms, late) {
    return new Promise((resolve, reject) => {
      const listen = ({ source, origin: sender, data: message }) => {
        if (source !== this.#frame.contentWindow || sender !== this.#origin) return;
        if (message?.from === "zchttpd-bridge" && wanted(message)) settle(resolve, message);
      };
      const settle = (act, outcome) => {
        removeEventListener("message", listen);
        clearTimeout(timer);
        act(outcome);
      };
      const timer = setTimeout(() => settle(reject, new Error(late)), limit_ms);
      addEventListener("message", listen);
    });
  }

  async open() {
    const ready = this.#hear((message) => message.ready, READY_MS, `No zchttpd with this site answers at ${this.#origin}. Start it as shown above, or correct the address`);
    this.#frame.src = `${this.#origin}/bridge.html`;
    document.body.append(this.#frame);
    await ready;
  }

  async download(asset) {
    const ticket = (this.#ticket += 1);
    const answer = this.#hear((message) => message.ticket === ticket, DOWNLOAD_MS, `${this.#origin} took longer than two minutes`);
    this.#frame.contentWindow.postMessage({ to: "zchttpd-bridge", ticket, asset }, this.#origin);
    const { result, problem } = await answer;
    if (problem) throw new Error(`${this.#origin}: ${problem}`);
    return result;
  }

  close() {
    this.#frame.remove();
  }
}

function side(letter) {
  const base = origin(at(`base-${letter}`).value);
  if (base === null) throw new Error(`"${at(`base-${letter}`).value}" is not an address. Type such as ${location.origin}`);
  const admin = at(`admin-${letter}`).value.trim();
  return { letter, base, admin: admin ? origin(admin) : null, bridge: new Bridge(base), rates: [], checked: true, before: null, counted: null };
}

// Counters are a bonus here: without them the table has dashes.
async function counters(each) {
  if (each.admin === null) return null;
  try {
    return await ask(each.admin);
  } catch {
    return null;
  }
}

function cell(each, name, text) {
  at(`${name}-${each.letter}`).textContent = text;
}

function showSide(each) {
  const { rates, counted } = each;
  if (rates.length) {
    cell(each, "rate", `${size(median(rates))}/s`);
    cell(each, "spread", `${size(Math.min(...rates))}/s to ${size(Math.max(...rates))}/s`);
    cell(each, "intact", each.checked ? `${count(rates.length)} of ${count(rates.length)}` : "not checked");
  }
  if (!counted) return;
  const { sends, bytes, notifications, cpu } = counted.counters;
  const p50 = quantile(counted.lease, 0.5);
  const ended = sum(notifications);
  cell(each, "sends", Object.entries(sends).filter(([, n]) => n > 0).map(([mode, n]) => `${count(n)} ${mode}`).join(", ") || "none");
  cell(each, "usage", ended ? `${share(notifications.copied ?? 0, ended)} of ${count(ended)} copied` : "none");
  cell(each, "lease", p50 === null ? "no leases" : `≤ ${time(p50)}`);
  cell(each, "cpu", sum(bytes) > GIB / 4 && cpu.seconds > 0 ? `${time((cpu.seconds * GIB) / sum(bytes))} / GiB` : "too little to tell");
}

function conclusion([a, b]) {
  const [fast, slow] = median(a.rates) >= median(b.rates) ? [a, b] : [b, a];
  const apart = median(fast.rates) / median(slow.rates) - 1;
  const overlap = Math.max(...slow.rates) >= Math.min(...fast.rates);
  const text = overlap
    ? `The medians are ${(100 * apart).toFixed(0)} % apart, and the runs overlap: this says nothing about which is faster.`
    : `${fast.letter.toUpperCase()} was faster by ${(100 * apart).toFixed(0)} %, in every run.`;
  const allCopied = [a, b].find((each) => {
    const used = each.counted?.counters.delivered ?? {};
    return (used.copied ?? 0) > 0 && !used.zero_copied;
  });
  return allCopied
    ? `${text} The kernel copied every zero-copy send of ${allCopied.letter.toUpperCase()}: both sides were copied, so zero copy could only cost.`
    : text;
}

// The counters once no lease is open, or after a second: notifications come behind the last byte.
async function settled(each) {
  for (let tries = 0; ; tries += 1) {
    const after = await counters(each);
    if (after === null || after.gauges.leases === 0 || tries === 5) return after;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function rounds(sides, asset, times) {
  for (let round = 0; round < times; round += 1) {
    // In turn, and the first one alternates, so that warmth and noise fall on both.
    for (const each of round % 2 ? [...sides].reverse() : sides) {
      at("note").textContent = `Round ${round + 1} of ${times}: ${each.letter.toUpperCase()} …`;
      const result = await each.bridge.download(asset);
      if (result.intact === false) throw new Error(`${each.base} sent bytes whose SHA-256 is wrong`);
      each.checked &&= result.intact === true;
      each.rates.push(result.bytes / result.seconds);
      showSide(each);
    }
  }
}

async function run() {
  const sides = [side("a"), side("b")];
  if (sides[0].base === sides[1].base) throw new Error("Both addresses are the same: start a second server and type its address");
  try {
    at("note").textContent = "Calling both servers …";
    await Promise.all(sides.map((each) => each.bridge.open()));
    at("result").hidden = false;
    for (const each of sides) each.before = await counters(each);
    await rounds(sides, at("asset").value, Number(at("rounds").value));
    for (const each of sides) {
      const after = each.before && (await settled(each));
      each.counted = after ? difference(after, each.before) : null;
      showSide(each);
    }
    at("note").textContent = conclusion(sides);
  } finally {
    sides.forEach((each) => each.bridge.close());
  }
}

at("sides").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("go").disabled = true;
  document.querySelectorAll("#result [id]").forEach((each) => { each.textContent = "–"; });
  at("result").hidden = true;
  try {
    await run();
  } catch (error) {
    at("note").textContent = `${error.message}.`;
  }
  at("go").disabled = false;
});

// A is where this page came from, B the same one port further: what the commands above start.
async function propose() {
  fill({ site: location.origin });
  const bases = { a: location.origin, b: next(location.origin) };
  const [known] = await adminsOf(bases.a);
  const [beside] = await adminsOf(bases.b);
  const admins = { a: known, b: beside ?? (known && next(known)) };
  for (const letter of ["a", "b"]) {
    at(`base-${letter}`).value ||= bases[letter];
    at(`admin-${letter}`).value ||= admins[letter] ?? "";
    fill({ [`port-${letter}`]: String(portOf(bases[letter])) });
    if (admins[letter]) fill({ [`admin-${letter}`]: new URL(admins[letter]).host });
  }
}

await propose();
try {
  at("asset").replaceChildren(...(await manifest()).map(({ name }) => new Option(name.replace("MiB.bin", " MiB"), name, name === "100MiB.bin", name === "100MiB.bin")));
} catch (error) {
  at("note").textContent = error.message;
}
