// Runs inside bridge.html, a frame of another server's page: fetches from its own server and tells the page that holds it.
// A page may not read another server's files, but it may exchange messages with a page of that server.

import { download, manifest } from "./transfer.js";

const assets = manifest();
assets.catch(() => {});

function tell(message) {
  parent.postMessage({ from: "zchttpd-bridge", ...message }, "*");
}

addEventListener("message", async ({ source, data: request }) => {
  if (source !== parent || request?.to !== "zchttpd-bridge") return;
  try {
    const asset = (await assets).find((each) => each.name === request.asset);
    if (asset === undefined) throw new Error(`assets/manifest.json does not list ${request.asset}`);
    tell({ ticket: request.ticket, result: await download(asset) });
  } catch (error) {
    tell({ ticket: request.ticket, problem: error.message });
  }
});

if (parent !== window) tell({ ready: true });
