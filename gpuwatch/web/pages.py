"""HTML that both daemons show: the landing page, without scripts, images or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from gpuwatch import __version__
from gpuwatch.hygiene import html

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8889; --link: #0b61a4; }
@media (prefers-color-scheme: dark) { :root { --link: #7db8ec; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1.5rem; }
header { border-bottom: 1px solid var(--line); margin-bottom: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0; }
header p { margin: 0 0 1rem; opacity: .7; }
a { color: var(--link); }
nav ul { list-style: none; padding: 0; }
nav li { margin: .3rem 0; }
nav code { opacity: .7; margin-left: .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


def landing(title: str, links: Sequence[tuple[str, str]], body: str = "") -> str:
    """The first page: title, version, links as (address, words) and a fragment of HTML that is safe already."""
    items = "\n".join(
        f'<li><a href="{html(address)}">{html(words)}</a> <code>{html(address)}</code></li>'
        for address, words in links
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{html(title)}</h1><p>version {html(__version__)}</p></header>
<main>
{body}
<nav><ul>
{items}
</ul></nav>
</main>
</body>
</html>
"""
