// The page of downloads: one block for each asset of the manifest.

import { size } from "./numbers.js";
import { fill } from "./places.js";
import { download, manifest } from "./transfer.js";

const list = document.getElementById("assets");
const template = document.getElementById("asset");

function outcome(result, asset) {
  const rate = `${size(result.bytes / result.seconds)}/s`;
  const took = `${size(result.bytes)} in ${result.seconds.toFixed(2)} s: ${rate}.`;
  if (result.intact === null) {
    return ["", `${took} The length is right; the hash was not checked, because browsers compute it only over https or on this machine.`];
  }
  return result.intact ? ["good", `${took} SHA-256 is right.`]
    : ["bad", `${took} SHA-256 is wrong: the bytes are not those of the manifest. Run python3 tools/make_assets.py, and report it if it stays.`];
}

function block(asset) {
  const part = template.content.cloneNode(true);
  const at = (name) => part.querySelector(`[data-part="${name}"]`);
  const [button, bar, note, save] = [at("fetch"), at("bar"), at("note"), at("save")];
  at("title").textContent = size(asset.size).replace(/\.0+ /, " ");
  at("hash").textContent = asset.sha256;
  bar.max = asset.size;
  bar.setAttribute("aria-label", `Progress of ${asset.name}`);
  save.href = `assets/${asset.name}`;
  save.setAttribute("download", asset.name);
  button.setAttribute("aria-label", `Fetch and check ${asset.name}`);
  save.setAttribute("aria-label", `Save ${asset.name}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    bar.hidden = false;
    note.className = "";
    note.textContent = "On its way …";
    try {
      const result = await download(asset, (received) => {
        bar.value = received;
        if (received === asset.size) note.textContent = "All here. Computing SHA-256 …";
      });
      [note.className, note.textContent] = outcome(result, asset);
    } catch (error) {
      [note.className, note.textContent] = ["bad", `${error.message}.`];
    }
    button.disabled = false;
  });
  return part;
}

fill({ site: location.origin });
try {
  list.replaceChildren(...(await manifest()).map(block));
} catch (error) {
  list.textContent = error.message;
}
