// The Prometheus text format (version 0.0.4), as far as a reader of plain samples needs it.

const SAMPLE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", "\\\\": "\\", '\\"': '"' };

function number(text) {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return Number(text);
}

/** Text -> Map of sample name -> [{ labels: {name: value}, value: number }]. */
export function parse(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const match = SAMPLE.exec(line.trim());
    if (match === null) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(LABEL)) {
      labels[name] = value.replace(/\\[n\\"]/g, (escape) => ESCAPES[escape]);
    }
    if (!samples.has(match[1])) samples.set(match[1], []);
    samples.get(match[1]).push({ labels, value: number(match[3]) });
  }
  return samples;
}

/** All samples of one name, added; 0 when there is none. */
export function total(samples, name) {
  return (samples.get(name) ?? []).reduce((sum, sample) => sum + sample.value, 0);
}

/** One name by one of its labels: { label value: sum }. */
export function by(samples, name, label) {
  const sums = {};
  for (const sample of samples.get(name) ?? []) {
    const key = sample.labels[label] ?? "";
    sums[key] = (sums[key] ?? 0) + sample.value;
  }
  return sums;
}
