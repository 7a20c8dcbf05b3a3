// Downloads that are counted and checked.

/** The list of assets: [{ name, size, sha256 }]. Throws an Error that tells what to type. */
export async function manifest() {
  const answer = await fetch("assets/manifest.json", { cache: "no-store" });
  if (!answer.ok) throw new Error(`assets/manifest.json answers ${answer.status}. Type: python3 tools/make_assets.py`);
  return (await answer.json()).files;
}

/** SHA-256 in hexadecimal; null where the browser has none, which is outside https and this machine. */
async function sha256(bytes) {
  if (globalThis.crypto?.subtle === undefined) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Fetch one asset past every cache, keep all of it, then check it.
 * `progress(received, seconds)` is called as bytes come in.
 * Gives { bytes, seconds, intact: true | false | null }, null where SHA-256 is out of reach.
 */
export async function download(asset, progress = () => {}, signal = undefined) {
  const started = performance.now();
  const answer = await fetch(`assets/${asset.name}`, { cache: "no-store", signal });
  if (!answer.ok) throw new Error(`assets/${asset.name} answers ${answer.status}. Type: python3 tools/make_assets.py`);
  const content = new Uint8Array(asset.size);
  const reader = answer.body.getReader();
  let received = 0;
  let seconds = 0;
  for (;;) {
    const { done, value } = await reader.read();
    seconds = (performance.now() - started) / 1000;
    if (done) break;
    if (received + value.length > asset.size) throw new Error(`assets/${asset.name} is longer than its ${asset.size} bytes`);
    content.set(value, received);
    received += value.length;
    progress(received, seconds);
  }
  if (received !== asset.size) throw new Error(`assets/${asset.name} ended after ${received} of ${asset.size} bytes`);
  const digest = await sha256(content);
  return { bytes: received, seconds, intact: digest === null ? null : digest === asset.sha256 };
}
