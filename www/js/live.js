// The page of live counters: asks an admin listener about once a second and shows what it says.

import { drawHistogram, fillBar, Trace } from "./charts.js";
import { count, many, share, size, time } from "./numbers.js";
import { adminsOf, fill, keep, origin, portOf } from "./places.js";
import { answering, ask, difference, quantile, sum, ways } from "./reading.js";
import { download, manifest } from "./transfer.js";
import { isLoopback, explain } from "./verdict.js";
import { showWays } from "./ways.js";

const PERIOD_MS = 1000;
const ROOM = 121;
const MODES = ["zerocopy", "plain", "splice"];
const GIB = 2 ** 30;
const at = (id) => document.getElementById(id);
const local = isLoopback(location.hostname);
const rateTrace = new Trace(at("rate-trace"), ROOM);
const leaseTrace = new Trace(at("lease-trace"), ROOM);

const watch = {
  admin: "",
  edition: 0,
  last: null,
  base: null,
};

function put(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function showVerdict(reading) {
  const { kind, stamp, sentence, why } = explain(reading, local);
  at("verdict").dataset.kind = kind;
  put("stamp", stamp);
  put("sentence", sentence);
  put("why", why);
}

function showSends(reading, step, seconds) {
  const { sends, bytes } = reading.counters;
  for (const mode of MODES) {
    put(`sends-${mode}`, count(sends[mode] ?? 0));
    put(`bytes-${mode}`, size(bytes[mode] ?? 0));
    put(`share-${mode}`, share(bytes[mode] ?? 0, sum(bytes)));
    put(`rate-${mode}`, step ? `${count((step.counters.sends[mode] ?? 0) / seconds)}/s` : "–");
  }
  showWays(at("ways"), at("ways-key"), ways(reading));
  const fallbacks = Object.entries(reading.counters.fallbacks).filter(([, times]) => times > 0).sort((a, b) => b[1] - a[1]);
  at("fallbacks").hidden = fallbacks.length === 0;
  put("fallbacks-text", fallbacks.map(([reason, times]) => `${reason} ${count(times)}`).join(", "));
}

function showNotifications(reading) {
  const { zero_copied: zero = 0, copied = 0 } = reading.counters.notifications;
  const open = reading.gauges.leases;
  fillBar(at("usage"), [zero, copied, open]);
  put("zero-copied", count(zero));
  put("copied", count(copied));
  put("outstanding", count(open));
  put("notified", count(zero + copied));
}

function showLeases(reading) {
  const { lease } = reading;
  drawHistogram(at("histogram"), at("bounds"), lease.buckets);
  at("no-leases").hidden = lease.count > 0;
  for (const [id, q] of [["p50", 0.5], ["p90", 0.9], ["p99", 0.99]]) {
    const bound = quantile(lease, q);
    put(id, bound === null ? "–" : bound === Infinity ? "> last" : `≤ ${time(bound)}`);
  }
  put("mean", lease.count ? time(lease.sum / lease.count) : "–");
  put("leases-ended", many(lease.count, "lease"));
}

function showFacts(reading) {
  const { plans, requests, cpu, bytes } = reading.counters;
  put("hit-rate", share(plans.hit ?? 0, (plans.hit ?? 0) + (plans.miss ?? 0)));
  put("requests", count(sum(requests)));
  put("connections", count(reading.gauges.connections));
  put("mappings", count(reading.gauges.mappings));
  put("mapped", size(reading.gauges.mapped));
  // A clock tick is 10 ms: below a few hundred of them the quotient says little.
  put("cpu", sum(bytes) > GIB / 4 && cpu.seconds > 0 ? time((cpu.seconds * GIB) / sum(bytes)) : "–");
}

function showTraces(reading, step, seconds) {
  if (step) {
    const rate = sum(step.counters.bytes) / seconds;
    rateTrace.add(rate);
    put("rate", `${size(rate)}/s`);
    put("rate-top", `top ${size(rateTrace.highest)}/s`);
  }
  leaseTrace.add(reading.gauges.leases);
  put("leases", count(reading.gauges.leases));
  put("lease-top", `top ${count(leaseTrace.highest)}`);
}

function show(reading, now) {
  let step = null;
  let seconds = 0;
  if (watch.last) {
    step = difference(reading, watch.last.reading);
    seconds = (now - watch.last.now) / 1000;
    if (step === null) watch.base = null;
  }
  watch.last = { reading, now };
  const counted = (watch.base && difference(reading, watch.base)) ?? reading;
  put("since", watch.base ? "Counted since you pressed the button." : "Counted since the server started.");
  at("from-start").hidden = watch.base === null;
  showVerdict(counted);
  showSends(counted, step, seconds);
  showNotifications(counted);
  showLeases(counted);
  showFacts(counted);
  showTraces(reading, step, seconds);
}

function showState(state, text) {
  at("status").dataset.state = state;
  put("status", text);
  at("help").hidden = state !== "off";
  at("instruments").classList.toggle("stale", state === "off");
}

async function poll(edition) {
  while (edition === watch.edition) {
    if (!document.hidden) {
      try {
        const reading = await ask(watch.admin);
        if (edition !== watch.edition) return;
        keep(watch.admin);
        at("instruments").hidden = false;
        showState("on", `Watching ${watch.admin}`);
        show(reading, performance.now());
      } catch (error) {
        if (edition !== watch.edition) return;
        showState("off", error.message);
        watch.last = null;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
  }
}

function begin(admin) {
  Object.assign(watch, { admin, edition: watch.edition + 1, last: null, base: null });
  rateTrace.clear();
  leaseTrace.clear();
  at("admin").value = admin;
  fill({ admin: new URL(admin).host, "admin-port": String(portOf(admin)) });
  poll(watch.edition);
}

at("where").addEventListener("submit", (event) => {
  event.preventDefault();
  const admin = origin(at("admin").value);
  if (admin === null) {
    showState("off", `"${at("admin").value}" is not an address. Type such as ${at("admin").placeholder}`);
    return;
  }
  const url = new URL(location.href);
  url.searchParams.set("admin", admin);
  history.replaceState(null, "", url);
  begin(admin);
});
at("from-now").addEventListener("click", () => {
  watch.base = watch.last?.reading ?? null;
});
at("from-start").addEventListener("click", () => {
  watch.base = null;
});

async function traffic(button, name, times) {
  button.disabled = true;
  try {
    const asset = (await manifest()).find((each) => each.name === name);
    let bytes = 0;
    for (let i = 0; i < times; i += 1) {
      bytes += (await download(asset)).bytes;
      put("traffic-note", `Fetched ${size(bytes)}.`);
    }
  } catch (error) {
    put("traffic-note", `${error.message}.`);
  }
  button.disabled = false;
}

for (const button of document.querySelectorAll("[data-fetch]")) {
  button.addEventListener("click", () => traffic(button, button.dataset.fetch, Number(button.dataset.times)));
}

// The first of the likely addresses that answers; else the first, which may still come up.
async function find() {
  const likely = await adminsOf();
  return (await answering(likely)) ?? likely[0] ?? null;
}

fill({ port: String(portOf(location.origin)) });
const found = await find();
if (watch.edition === 0) {
  if (found) begin(found);
  else showState("off", "Where are this server's counters?");
}
