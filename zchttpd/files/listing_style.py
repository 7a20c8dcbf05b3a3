"""How a listing looks, the one script that runs in it, and the policy that lets in these two."""

from __future__ import annotations

import base64
import hashlib


def _joined(text: str) -> str:
    """Without the line ends and the indents, which are for who reads it here."""
    return "".join(line.strip() for line in text.splitlines())


# Columns of fixed width: a browser need not measure a hundred thousand rows before it shows the first. The
# icons are shapes and not pictures, as nothing may be loaded. On a narrow screen a name is cut to its line,
# and a time to its date: the hour falls to a second line, which is not shown. On a telephone there is one
# column beside the names: that of the size, or of the time if that sorts; the heads stay.
STYLE = _joined(
    """
    :root{color-scheme:light dark;font:16px/1.4 system-ui,sans-serif;
      --fore:#1f2328;--back:#fff;--soft:#59636e;--line:#d8dee4;--over:#f1f5f9;
      --link:#0550ae;--been:#6639a6;--fold:#d4a72c;--leaf:#b4bcc5}
    @media(prefers-color-scheme:dark){:root{
      --fore:#e2e8ee;--back:#11161c;--soft:#98a3af;--line:#2c343d;--over:#1b222b;
      --link:#79b8ff;--been:#c8a8f9;--fold:#d9b04a;--leaf:#5d6873}}
    body{max-width:66rem;margin:0 auto;padding:1.5rem 1rem 3rem;background:var(--back);color:var(--fore)}
    a{color:var(--link);text-decoration:none}
    a:visited{color:var(--been)}
    a:hover{text-decoration:underline}
    h1,div{padding:0 .5rem}
    h1{margin:0;font-size:1.25rem;font-weight:600;overflow-wrap:anywhere}
    h1 a:visited{color:var(--link)}
    div{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;justify-content:space-between;
      min-height:3.5rem;color:var(--soft)}
    [type=search]{box-sizing:border-box;width:18rem;max-width:100%;padding:.4rem .75rem;font:inherit;
      color:var(--fore);background:var(--back);border:1px solid var(--line);border-radius:.5rem}
    table{width:100%;table-layout:fixed;border-spacing:0;font-size:.9375rem;
      font-variant-numeric:tabular-nums}
    th,td{padding:0 .5rem;text-align:left;vertical-align:top}
    thead{position:sticky;top:0;z-index:1;background:var(--back)}
    th{vertical-align:baseline;border-bottom:1px solid var(--line)}
    th+th,td+td{width:6rem;text-align:right;white-space:nowrap}
    th+th+th{width:10rem}
    td+td{padding-top:.3rem;color:var(--soft)}
    button{padding:.4rem 0;font:inherit;font-weight:600;color:inherit;background:none;border:0;cursor:pointer}
    button:hover{color:var(--link)}
    [aria-sort] button::after{content:" \\2191";content:" \\2191"/""}
    [aria-sort=descending] button::after{content:" \\2193";content:" \\2193"/""}
    td a{display:block;padding:.3rem 0 .3rem 1.5em;text-indent:-1.5em;overflow-wrap:anywhere}
    td a::before{content:"";display:inline-block;width:.8em;height:1em;margin:0 .6em 0 .1em;
      vertical-align:-.125em;background:var(--leaf);
      clip-path:polygon(0 0,60% 0,100% 32%,100% 100%,0 100%)}
    td a[href$="/"]::before{width:1em;margin:0 .5em 0 0;background:var(--fold);
      clip-path:polygon(0 8%,40% 8%,50% 22%,100% 22%,100% 92%,0 92%)}
    td a[href="../"]::before{background:var(--soft);
      clip-path:polygon(50% 8%,96% 54%,65% 54%,65% 94%,35% 94%,35% 54%,4% 54%)}
    tbody tr:hover{background:var(--over)}
    @media(max-width:40rem){
      body{padding:1rem .5rem 2rem}
      h1,div,th,td{padding-left:.25rem;padding-right:.25rem}
      [type=search]{width:100%;margin-bottom:.5rem}
      td a{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
      th,td+td{font-size:.875rem}
      th+th,td+td{width:4.75rem}
      th+th+th{width:5.25rem}
      small{display:none}
      td+td{padding-top:.35rem}
      time{display:block;height:1.4em;overflow:hidden;white-space:normal}}
    @media(max-width:30rem){
      table,thead,tbody{display:block}
      tr:not([hidden]){display:flex}
      th:first-child,td:first-child{flex:1;min-width:0}
      th+th,th+th+th{width:auto;padding-left:1rem}
      td+td+td,.time td:nth-child(2){display:none}
      .time td+td+td{display:block;width:5.75rem}
      th:nth-child(2),.time th+th+th{order:1}
      .time th:nth-child(2){order:0}}
    """
)

# It shows the filter box, which would do nothing without it. All words in it must be in a name. `/` leads
# into the box, Escape empties it, Enter opens the first name that is left.
SCRIPT = _joined(
    """
    const box=document.querySelector('[type=search]'),told=document.querySelector('output'),
      before=told.textContent,rows=[...document.querySelector('#names').rows],
      plain=text=>text.normalize().toLowerCase();
    let names;
    const filter=()=>{
      names??=rows.map(row=>plain(row.cells[0].textContent));
      const words=plain(box.value).split(/\\s+/);
      let left=0;
      rows.forEach((row,at)=>{
        const hit=words.every(word=>names[at].includes(word));
        left+=hit;
        row.toggleAttribute('hidden',!hit);
      });
      told.textContent=box.value?`${left} of ${rows.length}`:before;
    };
    box.toggleAttribute('hidden',!rows.length);
    box.oninput=filter;
    if(box.value)filter();
    onkeydown=event=>{
      if(event.ctrlKey||event.metaKey||event.altKey||event.isComposing)return;
      if(event.target!=box){
        if(event.key=='/'&&rows.length){event.preventDefault();box.focus()}
      }else if(event.key=='Escape'){box.value='';filter()}
      else if(event.key=='Enter'&&box.value)
        rows.find(row=>!row.matches('[hidden]'))?.querySelector('a').click();
    };
    """
)


def _source(text: str) -> str:
    """A hash source (CSP Level 3, section 2.3.1), which lets in this text and no other."""
    digest = hashlib.sha256(text.encode("ascii")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


# Whatever a name could smuggle in, it would not run or load. The forms are those that sort.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
