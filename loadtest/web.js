// The verdict at the foot of locust's page: what is tested, what goes on, and how it ended.

const PERIOD_MS = 1000;
const STYLE = `
  #zchttpd { position: fixed; inset: auto 0 0 0; z-index: 1200; max-height: 45vh; overflow: auto; color-scheme: light dark;
    background: Canvas; color: CanvasText; border-top: 3px solid #1a7f37; padding: 8px 16px; box-sizing: border-box;
    font: 15px/1.45 system-ui, sans-serif; box-shadow: 0 -2px 10px rgb(0 0 0 / 25%); }
  #zchttpd summary { cursor: pointer; font-weight: 600; }
  #zchttpd ul { margin: 8px 0; padding: 0; list-style: none; overflow-wrap: anywhere; }
  #zchttpd li { border-left: 4px solid #8c959f; padding: 2px 10px; margin: 5px 0; max-width: 110ch; }
  #zchttpd li.good { border-color: #1a7f37; } #zchttpd li.bad { border-color: #cf222e; }
  #zchttpd a { color: LinkText; font-weight: 600; }
  body { padding-bottom: 60px; }`;

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

const title = make("summary");
const body = make("div");
document.head.append(make("style", { textContent: STYLE }));
document.body.append(make("details", { id: "zchttpd", open: true }, title, body));

function servers({ modes, own }) {
  return own ? `${modes.join(", ")} run for this test on this machine: no host is needed` : `servers that run already: ${modes.join(", ")}`;
}

const TITLES = {
  idle: (news) => `zchttpd: ${servers(news)}. The verdict will be here.`,
  running: () => "zchttpd: a test is running. The verdict comes when it ends; 15 s are the least for one.",
  writing: () => "zchttpd: the test has ended, writing the report …",
  failed: () => "zchttpd: the report could not be made; the terminal says why.",
  done: () => "zchttpd: verdict",
};

function show(news) {
  title.textContent = TITLES[news.state](news);
  if (news.state !== "done") {
    body.replaceChildren();
    return;
  }
  const link = make("a", { href: "zchttpd-report", target: "_blank", textContent: "Open the report" });
  const findings = news.verdict.map(({ tone, words }) => make("li", { className: tone, textContent: words }));
  body.replaceChildren(make("p", {}, link, ` (${news.report})`), make("ul", {}, ...findings));
}

let shown = "";
async function ask() {
  try {
    const text = await (await fetch("zchttpd-state", { cache: "no-store" })).text();
    if (text !== shown) show(JSON.parse(text));
    shown = text;
  } catch {
    title.textContent = "zchttpd: locust does not answer; has it ended?";
    shown = "";
  }
  setTimeout(ask, PERIOD_MS);
}

ask();
