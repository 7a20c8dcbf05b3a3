// The front page: what has left this server without a copy, by its own counters. Where they cannot be read it shows nothing.

import { count, many, share, size, time } from "./numbers.js";
import { adminsOf } from "./places.js";
import { answering, ask, ended, quantile, ways } from "./reading.js";
import { download, manifest } from "./transfer.js";
import { showWays } from "./ways.js";

const PERIOD_MS = 1000;
// Of a file that is cached: larger ones stream, and are copied where zero copy is given up.
const ASSET = "10MiB.bin";
const TIMES = 10;
const at = (id) => document.getElementById(id);

function put(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function ledger({ counters, gauges, lease }) {
  if (lease.count + gauges.leases === 0) return "No lease has been opened yet.";
  const { zero, copied } = ended(counters);
  const half = quantile(lease, 0.5);
  const within = Number.isFinite(half) ? `, half of them within ${time(half)}` : "";
  const told = copied === 0 ? "None of these sends was copied."
    : zero === 0 ? "The kernel copied each of these sends all the same, as it does on loopback."
      : `The kernel copied ${share(copied, zero + copied)} of these sends all the same.`;
  return `${many(lease.count, "lease")} ended${within}, and ${count(gauges.leases)} open. ${told}`;
}

function show(reading) {
  const bytes = ways(reading);
  at("now").hidden = false;
  put("now-share", share(bytes.left, bytes.total));
  put("now-bytes", size(bytes.total));
  put("now-ledger", ledger(reading));
  showWays(at("now-bar"), at("now-key"), bytes);
}

async function watch(admin) {
  for (;;) {
    if (!document.hidden) {
      try {
        show(await ask(admin));
      } catch {
        at("now").hidden = true;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
  }
}

at("now-fetch").addEventListener("click", async () => {
  at("now-fetch").disabled = true;
  try {
    const asset = (await manifest()).find(({ name }) => name === ASSET);
    let right = 0;
    for (let times = 1; times <= TIMES; times += 1) {
      right += (await download(asset)).intact === true ? 1 : 0;
      put("now-note", `${size(times * asset.size)} of ${size(TIMES * asset.size)} …`);
    }
    put("now-note", `${size(TIMES * asset.size)} have come${right === TIMES ? ", and each SHA-256 is right" : ""}.`);
  } catch (error) {
    put("now-note", `${error.message}.`);
  }
  at("now-fetch").disabled = false;
});

const admin = await answering(await adminsOf());
if (admin) watch(admin);
