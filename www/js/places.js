// Where this server is, and where its counters are: what the pages were told, never a port that is written down here.

const KEPT = "zchttpd admin listener";

/** An http(s) address as its origin, or null when the text is none. A missing scheme means http. */
export function origin(text) {
  const typed = text.trim();
  try {
    const url = new URL(/^[a-z]+:\/\//i.test(typed) ? typed : `http://${typed}`);
    return url.protocol === "http:" || url.protocol === "https:" ? url.origin : null;
  } catch {
    return null;
  }
}

/** The port of an origin; its scheme's own one is not in the address. */
export function portOf(address) {
  const { port, protocol } = new URL(address);
  return Number(port) || (protocol === "https:" ? 443 : 80);
}

/** The same host, one port further. */
export function next(address) {
  const url = new URL(address);
  url.port = String(portOf(address) + 1);
  return url.origin;
}

// A listener on all addresses is reached at the one that this page came from.
function reachable(address) {
  const url = new URL(address);
  if (url.hostname === "0.0.0.0" || url.hostname === "[::]") url.hostname = location.hostname;
  return url.origin;
}

/** Port -> admin listener, as `make serve` notes it when it starts a server; empty when nothing was noted. */
async function noted() {
  try {
    const answer = await fetch("assets/admin.json", { cache: "no-store" });
    return answer.ok ? await answer.json() : {};
  } catch {
    return {};
  }
}

function kept() {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

/** Keep an admin listener that has answered, for the next time this server is looked at. */
export function keep(admin) {
  try {
    localStorage.setItem(KEPT, admin);
  } catch {
    // A browser that keeps nothing is told again.
  }
}

/** Where the counters of the server at `base` may be, most likely first: what this page's address says, what was noted
 * at the start, what answered before. */
export async function adminsOf(base = location.origin) {
  const here = base === location.origin;
  const asked = here ? new URLSearchParams(location.search).get("admin") ?? "" : "";
  const told = [asked, (await noted())[portOf(base)] ?? "", here ? kept() : ""];
  return [...new Set(told.filter(Boolean).map(origin).filter(Boolean).map(reachable))];
}

/** Write into every element with data-place what it stands for: { name: text }. */
export function fill(places) {
  for (const each of document.querySelectorAll("[data-place]")) {
    each.textContent = places[each.dataset.place] ?? each.textContent;
  }
}
