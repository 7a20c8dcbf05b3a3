// One reading of a server's counters, and the difference of two.

import { by, parse, total } from "./prometheus.js";

const PATIENCE_MS = 2500;

// Cumulative buckets become [{ bound: seconds, count }], not cumulative.
function histogram(samples, name) {
  const buckets = Object.entries(by(samples, `${name}_bucket`, "le"))
    .map(([bound, cumulative]) => ({ bound: bound === "+Inf" ? Infinity : Number(bound), cumulative }))
    .sort((a, b) => a.bound - b.bound);
  return {
    buckets: buckets.map((each, i) => ({
      bound: each.bound,
      count: each.cumulative - (i ? buckets[i - 1].cumulative : 0),
    })),
    count: total(samples, `${name}_count`),
    sum: total(samples, `${name}_sum`),
  };
}

/** The text of /metrics as a reading: `counters` only grow, `gauges` are as they are now. */
export function read(text) {
  const samples = parse(text);
  if (!samples.has("zchttpd_sends_total")) throw new Error("no zchttpd metrics");
  return {
    counters: {
      sends: by(samples, "zchttpd_sends_total", "mode"),
      bytes: by(samples, "zchttpd_send_bytes_total", "mode"),
      notifications: by(samples, "zchttpd_zerocopy_notifications_total", "usage"),
      delivered: by(samples, "zchttpd_zerocopy_delivered_total", "usage"),
      fallbacks: by(samples, "zchttpd_zerocopy_fallbacks_total", "reason"),
      requests: by(samples, "zchttpd_requests_total", "status"),
      plans: by(samples, "zchttpd_plan_lookups_total", "result"),
      cpu: { seconds: total(samples, "zchttpd_worker_cpu_seconds_total") },
    },
    lease: histogram(samples, "zchttpd_lease_seconds"),
    gauges: {
      leases: total(samples, "zchttpd_leases_open"),
      mappings: total(samples, "zchttpd_mappings_open"),
      mapped: total(samples, "zchttpd_mapped_bytes"),
      connections: total(samples, "zchttpd_connections_open"),
    },
    // Send mode auto, by route: 0 undecided, 1 zero copy, 2 given up.
    routes: by(samples, "zchttpd_zerocopy_active", "route"),
  };
}

/** Every value of a group of counters, added. */
export function sum(group) {
  return Object.values(group).reduce((a, b) => a + b, 0);
}

/** Zero-copy sends that have ended: { zero: without a copy, copied }. */
export function ended({ notifications, delivered }) {
  const copied = notifications.copied ?? 0;
  // What a client broke off ends without a copy on any path: where there are copies, only what arrived counts.
  return { zero: (copied > 0 ? delivered : notifications).zero_copied ?? 0, copied };
}

/** Bytes by how they left. A notification tells of a send and not of its bytes, so those of zero-copy sends are divided
 * as the sends are; `open`: none has ended yet. `left`: without a copy in the server. */
export function ways({ counters }) {
  const { zero, copied } = ended(counters);
  const asked = counters.bytes.zerocopy ?? 0;
  const part = zero + copied ? asked / (zero + copied) : 0;
  const found = {
    zero: zero * part,
    reference: counters.bytes.splice ?? 0,
    open: part ? 0 : asked,
    copied: copied * part,
    plain: counters.bytes.plain ?? 0,
  };
  return { ...found, left: found.zero + found.reference, total: sum(found) };
}

/** What was counted from `earlier` to `later`; null when the server began anew in between. */
export function difference(later, earlier) {
  const counters = {};
  for (const [name, group] of Object.entries(later.counters)) {
    counters[name] = {};
    for (const [key, value] of Object.entries(group)) {
      const grown = value - (earlier.counters[name][key] ?? 0);
      if (grown < 0 && name !== "cpu") return null;
      counters[name][key] = Math.max(0, grown);
    }
  }
  if (later.lease.buckets.length !== earlier.lease.buckets.length) return null;
  const lease = {
    buckets: later.lease.buckets.map(({ bound, count }, i) => ({ bound, count: count - earlier.lease.buckets[i].count })),
    count: later.lease.count - earlier.lease.count,
    sum: later.lease.sum - earlier.lease.sum,
  };
  return { ...later, counters, lease };
}

/** The bound, in seconds, below which a share `q` of the leases ended; null when there was none. */
export function quantile(lease, q) {
  if (lease.count === 0) return null;
  let seen = 0;
  for (const { bound, count } of lease.buckets) {
    seen += count;
    if (seen >= q * lease.count) return bound;
  }
  return Infinity;
}

/** Ask an admin listener. Throws an Error whose message tells what is wrong. */
export async function ask(admin) {
  const target = `${admin}/metrics`;
  let answer;
  try {
    answer = await fetch(target, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch {
    throw new Error(await unreadable(target, admin));
  }
  if (!answer.ok) throw new Error(`${target} answers ${answer.status}: it is not an admin listener of zchttpd.`);
  const text = await answer.text();
  try {
    return read(text);
  } catch {
    throw new Error(`${target} answers, but not with the counters of zchttpd.`);
  }
}

/** The first of some admin listeners that answers; null when none does. */
export async function answering(admins) {
  for (const admin of admins) {
    try {
      await ask(admin);
      return admin;
    } catch {
      // The next one may answer.
    }
  }
  return null;
}

// A browser does not say whether nobody answered or the page may not read the answer; a request that asks for no answer does.
async function unreadable(target, admin) {
  try {
    await fetch(target, { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    return `Something at ${admin} answers, but does not let this page read it.`;
  } catch {
    return `Nobody answers at ${admin}.`;
  }
}
