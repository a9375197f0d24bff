"""The style sheet of a report: light and dark, phone and desktop, print."""

from __future__ import annotations

__all__ = ["LIGHT", "SHADED", "STYLE"]

LIGHT = ("#0072b2", "#b84a00", "#00805c", "#a8417f", "#8a6100", "#7f3c8d", "#2a7f9e", "#555555")
"""Colours of the runs on white: Okabe & Ito's, darker where they would be too pale for lines."""

_DARK = ("#56b4e9", "#ff8c42", "#2fc39a", "#e594c4", "#e6b44c", "#c19bd6", "#8fd0e4", "#bbbbbb")

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 3 5 3", "6 2 2 2 2 2")

SHADED = ("#440154", "#443983", "#31688e", "#21918c", "#35b779", "#90d743", "#fde725")
"""Colours of values, viridis: told apart by colour-blind readers and in grey, brighter is more."""


def _runs(colors: tuple[str, ...]) -> str:
    return "".join(f"--c{place}:{color};" for place, color in enumerate(colors))


def _places() -> str:
    rules = [
        f".c{p}{{stroke:var(--c{p})"
        + (f";stroke-dasharray:{d}" if d else "")
        + f"}}.f{p}{{fill:var(--c{p})}}"
        for p, d in enumerate(_DASHES)
    ]
    shades = [
        f".v{s}{{fill:{color}}}svg .on{s}{{fill:{'#fff' if s < 4 else '#000'}}}"
        for s, color in enumerate(SHADED)
    ]
    return "".join(rules + shades)


_LIGHT_THEME = (
    "--paper:#fff;--card:#f6f7f9;--ink:#1b1d21;--soft:#575c66;--line:#c9cdd4;--grid:#e4e7eb;"
    f"--link:#0b5cad;--missing:#c03a00;--absent:#7a7f88;{_runs(LIGHT)}"
)
_DARK_THEME = (
    "--paper:#14161a;--card:#1d2026;--ink:#eceef1;--soft:#a9b0bb;--line:#4a505a;--grid:#2c3038;"
    f"--link:#7cc0ff;--missing:#ff8c42;--absent:#8b919b;{_runs(_DARK)}"
)

STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT_THEME}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK_THEME}}}}}"
    + """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);line-height:1.5;
 font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main,header,footer{max-width:1240px;margin:0 auto;padding:0 16px}
h1{font-size:1.5rem;line-height:1.25;margin:1.2rem 0 .3rem}
h2{font-size:1.2rem;margin:2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
h1,h2,h3,p,dd,dt,figcaption,li{overflow-wrap:anywhere}
th,td{overflow-wrap:break-word}
.lead{font-size:1.05rem;margin:.2rem 0 1rem}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-9999px}.skip:focus{left:8px;top:8px;background:var(--paper);padding:8px}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;list-style:none;padding:0;margin:1rem 0}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,34rem),1fr));gap:12px;
 margin:0}
.answers>div{background:var(--card);border-left:4px solid var(--link);border-radius:4px;
 padding:10px 14px}
.answers dt{font-weight:600}.answers dd{margin:.2rem 0 0}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,350px),1fr));gap:16px;
 align-items:start}
figure{margin:0;background:var(--card);border-radius:6px;padding:10px 10px 6px;min-width:0}
figure.wide{grid-column:1/-1}
@media (min-width:1130px){figure.two{grid-column:span 2}}
figcaption{font-size:.875rem;color:var(--soft);margin-top:4px}
figcaption b,figure h3{color:var(--ink)}
figure h3{font-size:1rem;margin:0 0 4px}
.scroll{overflow-x:auto;max-width:100%}
.plot svg{display:block;width:100%;height:auto;max-width:560px;margin:0 auto}
.wide .plot svg{min-width:600px;max-width:1000px}
.tall table{font-size:.8125rem}.tall{max-height:24rem;overflow:auto}
svg text{fill:var(--ink);font-size:13px;font-family:inherit}
svg .m{text-anchor:middle}svg .e{text-anchor:end}
.axis{stroke:var(--soft);fill:none}.grid{stroke:var(--grid);fill:none}
.line{fill:none;stroke-width:2}.band{opacity:.2}
.edge{stroke:var(--soft);stroke-width:1.2;fill:none}.edge.thin{stroke-width:.5}.head{fill:var(--soft)}
.node{stroke:var(--ink);stroke-width:1}.vn{fill:var(--grid)}svg .onn{fill:var(--ink)}
.active{fill:var(--c0)}.missing{fill:var(--missing)}.absent{fill:var(--absent)}.cell{fill:var(--c0)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;list-style:none;padding:0;margin:4px 0 0;
 font-size:.875rem}
.legend li{display:flex;align-items:center;gap:.4rem}
.legend svg{width:32px;flex:none;height:14px}
.shades{display:flex;flex-wrap:wrap;overflow-wrap:anywhere;align-items:center;gap:.4rem;font-size:.875rem;justify-content:center}
.shades span{white-space:nowrap}
.shades svg{width:120px;flex:none;height:12px}
details{margin-top:6px}summary{cursor:pointer;font-size:.875rem;color:var(--link)}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.875rem;padding:2px 0}
th,td{text-align:left;padding:3px 14px 3px 0;border-bottom:1px solid var(--grid);vertical-align:top;
 min-width:4.5em;max-width:26em}
thead th{border-bottom:1px solid var(--line)}
tbody th{font-weight:500}
footer{color:var(--soft);font-size:.875rem;margin-top:2rem;padding-bottom:2rem}
@media (max-width:480px){th,td{padding-right:10px}table{font-size:.85rem}}
@media print{body{font-size:10pt}figure,.answers>div{break-inside:avoid;border:1px solid #ccc}
 nav,.skip,summary{display:none}.figures{grid-template-columns:1fr 1fr}
 .scroll,.tall{overflow:visible;max-height:none}
 .wide .plot svg{min-width:0}}
"""
    + _places()
)
