// A reading in words.

import { count, many, share, size } from "./numbers.js";
import { ended, sum, ways } from "./reading.js";

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/;

/** True for a host name that means this machine. */
export function isLoopback(host) {
  return LOOPBACK.test(host);
}

function verdict(kind, stamp, sentence, why) {
  return { kind, stamp, sentence, why };
}

const GIVEN_UP = "The kernel kept reporting copies, so send mode auto stopped asking for zero copy. "
  + "Start the server with --send-mode zerocopy to make it ask every time.";

function givenUp(reading) {
  return Object.values(reading.routes).includes(2);
}

function byReference(reading, local) {
  const { left, total } = ways(reading);
  const path = local ? "on loopback it always does" : "this path cannot do without";
  return verdict("reference", "By reference", `${share(left, total)} of ${size(total)} left by reference, without a copy in the server.`,
    `Zero copy was tried first, and the kernel copied: ${path}. So send mode auto stopped asking. Cached files leave by `
    + "splice: pages of sealed memory go into the socket as they are, and whoever reads them makes the only copy. "
    + "Start the server with --send-mode zerocopy to make it ask every time.");
}

function withoutZeroCopy(reading, others, local) {
  const [reason, times] = Object.entries(reading.counters.fallbacks).sort((a, b) => b[1] - a[1])[0] ?? ["", 0];
  if (givenUp(reading)) {
    if (reading.counters.sends.splice > 0) return byReference(reading, local);
    return verdict("plain", "Zero copy given up", `No zero-copy send among ${many(others, "send")}: auto has given it up on this route.`, GIVEN_UP);
  }
  if (reading.counters.sends.splice > 0) {
    return verdict("plain", "Splice", `Bodies left by splice, ${count(reading.counters.sends.splice)} times, and none by a zero-copy send.`,
      "Pages of sealed memory by reference, with no lease to count and no report of copies.");
  }
  const why = times > 0
    ? `Most frequent reason why a body was not sent by zero copy: ${reason} (${count(times)} times).`
    : "Either the server runs with --send-mode plain, or every body was smaller than --zc-size-min. Fetch something large.";
  return verdict("plain", "Plain sends only", `No zero-copy send among ${many(others, "send")}.`, why);
}

function everyOne(sends, rest) {
  return sends === 1 ? `The kernel copied the only zero-copy send${rest}` : `The kernel copied every one of ${count(sends)} zero-copy sends${rest}`;
}

function copied(sends, local) {
  if (local) {
    return verdict("copied", "Copied", everyOne(sends, ": this path is loopback."),
      "That is right, and no fault of the server: on loopback the kernel always copies. Here zero copy can only cost. "
      + "Measure it across a real network card.");
  }
  return verdict("copied", "Copied", everyOne(sends, "."),
    "This path cannot do without the copy: loopback, a veth pair, a proxy on the same machine, a packet capture or a card "
    + "without scatter-gather. The default mode, auto, stops asking on such a path.");
}

/** { kind, stamp, sentence, why } of a reading. `local`: the page was fetched over loopback. */
export function explain(reading, local) {
  const { sends } = reading.counters;
  const asked = sends.zerocopy ?? 0;
  const { zero, copied: copies } = ended(reading.counters);
  const notified = zero + copies;
  const others = sum(sends) - asked;
  if (asked === 0 && notified === 0) {
    return others > 0 ? withoutZeroCopy(reading, others, local)
      : verdict("idle", "Idle", "Nothing was sent in this period.", "Make some traffic with the buttons below, or fetch a large file.");
  }
  const open = reading.gauges.leases;
  const waiting = open > 0 ? ` ${many(open, "lease")} ${open === 1 ? "is" : "are"} still open.` : "";
  if (notified === 0) {
    return verdict("idle", "Waiting", `${many(asked, "zero-copy send")}, and no notification yet.`,
      "The kernel still holds the memory of each: the peer has not acknowledged it.");
  }
  if (zero === 0) {
    if (givenUp(reading) && sends.splice > 0) return byReference(reading, local);
    const result = copied(notified, local);
    return { ...result, why: [result.why, givenUp(reading) ? ` ${GIVEN_UP}` : "", waiting].join("") };
  }
  if (copies === 0) {
    const sentence = notified === 1 ? "The only zero-copy send left without a copy."
      : `Every one of ${count(notified)} zero-copy sends left without a copy.`;
    return verdict("zero", "Zero copied", sentence, `The kernel read the server's own memory all the way to the network card.${waiting}`);
  }
  return verdict("mixed", "Both", `${share(zero, notified)} of ${count(notified)} zero-copy sends left without a copy; the kernel copied the rest.`,
    `Clients reach this server over more than one path, and some of them deliver on the same machine.${waiting}`);
}
