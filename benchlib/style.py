"""The style sheet of the pages, light and dark."""

from __future__ import annotations

from benchlib.charts import DARK, variables

LIGHT_STYLE = f"""--ink: #1b1f24; --faint: #57606a; --paper: #fff; --panel: #f6f8fa; --rule: #d8dee4;
  --edge: #8c959f; --good: #1a7f37; --bad: #cf222e; --bad-panel: #fff1f0; {variables(DARK)}"""
DARK_STYLE = f"""--ink: #e6edf3; --faint: #9aa4af; --paper: #0f1419; --panel: #1a2129; --rule: #303a44;
  --edge: #6e7781; --good: #3fb950; --bad: #ff7b72; --bad-panel: #2d1618; {variables(DARK.values())}"""
STYLE = f"""
:root {{ color-scheme: light dark; {LIGHT_STYLE} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {DARK_STYLE} }} }}
* {{ box-sizing: border-box; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1180px;
  margin: 0 auto; padding: 24px 20px 60px; }}
h1 {{ font-size: 26px; line-height: 1.25; margin: 0 0 4px; }} h2 {{ font-size: 19px; margin: 38px 0 8px; }}
p, ul.limits {{ max-width: 78ch; }} .when {{ color: var(--faint); margin: 0 0 18px; }}
.verdict {{ overflow-wrap: anywhere; list-style: none; padding: 0; margin: 0; }}
.verdict li {{ border-left: 5px solid var(--edge); background: var(--panel); padding: 8px 14px;
  margin: 8px 0; }}
.verdict li.good {{ border-color: var(--good); }}
.verdict li.bad {{ border-color: var(--bad); background: var(--bad-panel); }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr));
  gap: 30px 34px; }}
figure {{ margin: 0; min-width: 0; overflow-x: auto; }} figure.across {{ grid-column: 1 / -1; }}
figcaption {{ color: var(--faint); font-size: 13px; }}
svg {{ width: 100%; height: auto; min-width: 400px; font: 12px system-ui, sans-serif; fill: var(--ink);
  display: block; }}
.across svg {{ min-width: 860px; }}
svg .title {{ font-weight: 600; font-size: 13px; }} svg .tick {{ fill: var(--faint); font-size: 11px; }}
svg .grid {{ stroke: var(--rule); }} svg .one {{ stroke: var(--ink); stroke-width: 1.5; }}
.wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 5px 12px; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top; }}
th {{ font-weight: 600; background: var(--panel); }}
th:first-child, td:first-child, .second-left th:nth-child(2), .second-left td:nth-child(2) {{
  text-align: left; }}
td {{ white-space: nowrap; }} td.part {{ padding-left: 28px; }}
td.why, th.why {{ white-space: normal; min-width: 24ch; text-align: left; color: var(--faint);
  font-size: 13px; max-width: 46ch; }}
td.failed {{ color: var(--bad); font-weight: 600; }} tr.part td {{ border-top: 2px solid var(--edge); }}
pre {{ background: var(--panel); padding: 10px 14px; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; }} dt {{ color: var(--faint); }}
dd {{ margin: 0; }}
@media (max-width: 560px) {{ body {{ padding: 16px 12px 40px; }} dl {{ grid-template-columns: 1fr; }}
  dt {{ margin-top: 6px; }} th, td {{ padding: 4px 7px; }} td {{ white-space: normal; }}
  .stack {{ display: block; }} .stack tbody {{ display: block; }} .stack td:empty {{ display: none; }}
  .stack tr {{ display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }}
  .stack th, .stack td, tr.part td {{ border: 0; padding: 2px 5px; font-size: 12px; }}
  .stack tr {{ border-bottom: 1px solid var(--rule); padding: 4px 0; overflow-wrap: anywhere; }}
  .stack td:first-child, .stack td.why {{ grid-column: 1 / -1; text-align: left; }}
  .stack td:first-child {{ font-weight: 600; }}
  .stack th:first-child, .stack th.why {{ display: none; }}
  .stack td.why {{ max-width: none; min-width: 0; }} }}
@media print {{ body {{ max-width: none; padding: 0; font-size: 11px; }} h2 {{ break-after: avoid; }}
  figure, .verdict li, tr {{ break-inside: avoid; }} figure, .wide {{ overflow: visible; }}
  svg, .across svg {{ min-width: 0; }} .plots {{ grid-template-columns: 1fr 1fr; }}
  th, td {{ padding: 2px 6px; }} figcaption, td.why, th.why {{ font-size: 10px; }}
  .verdict li, th, pre {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }} }}
"""
