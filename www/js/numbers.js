// Numbers as text. Sizes in bytes, times in seconds.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 1234567 -> "1,234,567" */
export function count(value) {
  return whole.format(value);
}

function three(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** 10485760 -> "10.0 MiB" */
export function size(bytes) {
  let unit = 0;
  while (bytes >= 1024 && unit < SIZES.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${whole.format(bytes)} B` : `${three(bytes)} ${SIZES[unit]}`;
}

/** 0.00035 -> "350 µs" */
export function time(seconds) {
  if (!Number.isFinite(seconds)) return "more";
  if (seconds === 0) return "0 s";
  if (seconds < 0.0009995) return `${whole.format(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${short(seconds * 1e3)} ms`;
  return `${short(seconds)} s`;
}

function short(value) {
  return String(Number(value.toPrecision(3)));
}

/** 0.9987 -> "99.9 %"; 100 % and 0 % only where they are exact. */
export function share(part, total) {
  if (total === 0) return "–";
  if (part === total) return "100 %";
  if (part === 0) return "0 %";
  return `${Math.min(99.9, Math.max(0.1, (100 * part) / total)).toFixed(1)} %`;
}

/** "1 send", "2 sends" */
export function many(value, word) {
  return `${count(value)} ${word}${value === 1 ? "" : "s"}`;
}

/** The middle one of some numbers. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
