"""What every report page is made of: its shell, its look, tiles, tables and how figures are written."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#667085;--line:#e3e7ee;--card:#fff;--page:#f5f7fa;
  --main:#2563eb;--good:#16a34a;--bad:#dc2626;--sham:#a3a3a3;--warm:#d97706}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf2;--soft:#98a2b3;--line:#2b3442;--card:#171d27;
  --page:#0e131a;--main:#60a5fa;--good:#4ade80;--bad:#f87171;--sham:#737373;--warm:#fbbf24}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:26px;margin:0 0 4px}
h2{font-size:17px;margin:0 0 10px}
p{margin:4px 0 12px;color:var(--soft);max-width:75ch}
.tiles{display:grid;gap:12px;margin:20px 0;grid-template-columns:repeat(auto-fit,minmax(165px,1fr))}
.tile,section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px}
.tile b{display:block;font-size:25px;line-height:1.2}
.tile span{color:var(--soft);font-size:13px}
section{margin:16px 0;overflow-x:auto}
.pair{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(400px,1fr))}
.pair section{margin:0}
svg{display:block;width:100%;height:auto;max-width:1060px}
.pair svg{max-width:520px}
.small svg{max-width:300px}
.small{display:flex;flex-wrap:wrap;gap:14px}
.small figure{margin:0;width:290px}
figcaption{font-size:13px;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:5px 12px 5px 0;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
text{fill:var(--ink);font:12px system-ui,sans-serif}
text.tick,text.axis{fill:var(--soft)}
.grid{stroke:var(--line)}
.line{fill:none;stroke:var(--main);stroke-width:2}
.line.thin{stroke-width:1.1}
.line.sham{stroke:var(--sham);stroke-dasharray:5 4}
.line.chance{stroke:var(--line);stroke-width:1.5}
.mark{fill:var(--main);stroke:var(--card);stroke-width:2}
.mark.used{fill:var(--warm)}
.threshold{stroke:var(--warm);stroke-dasharray:4 4}
.span{opacity:.32}
.span.found{fill:var(--good)}
.span.missed{fill:var(--bad)}
.span.sham{fill:var(--sham)}
.flag.event{fill:var(--good)}
.flag.nothing{fill:var(--bad)}
.flag.sham{fill:var(--sham)}
.flag.health{fill:var(--warm)}
.track{fill:var(--line)}
.bar{fill:var(--main);opacity:.85}
.whisker{stroke:var(--ink);stroke-width:1.5}
.good{color:var(--good)}
.bad{color:var(--bad)}
.key{font-size:13px;color:var(--soft)}
.key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin:0 5px 0 14px;vertical-align:-1px;
  opacity:.6}
"""


def page(title: str, body: str) -> str:
    """A whole document that opens anywhere: no script, no font, nothing fetched."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )


def section(heading: str, body: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


def tiles(tiles: Sequence[tuple[str, str]]) -> str:
    inside = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in tiles
    )
    return f'<div class="tiles">{inside}</div>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads) if any(heads) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
