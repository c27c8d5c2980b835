"""Draws what many_pages.sh printed: latency and quality against the number of pages, as SVG.

    sh benches/many_pages.sh DIR > LINES && python3 benches/many_pages.py LINES > PLOT.svg
"""

import json
import math
import statistics
import sys

WIDTH, HEIGHT = 420, 300
LEFT, TOP, RIGHT, BOTTOM = 60, 40, 20, 50
NAMES = {False: "1,030 vectors a page", True: "64 vectors a page (pooled)"}
COLOURS = {False: "#1f6fb4", True: "#d1622b"}


def points(lines, value):
    """`{pooled: [(pages, value)]}`, the median where a size was measured several times."""
    found = {}
    for line in lines:
        if (y := value(line)) is not None:
            found.setdefault((line["pooled"], line["pages"]), []).append(y)
    rows = sorted((pooled, pages, statistics.median(ys)) for (pooled, pages), ys in found.items())
    return {p: [(n, y) for pooled, n, y in rows if pooled == p] for p in NAMES}


def panel(at, title, series, low, high, ticks, logarithmic):
    """One plot; `series` is `[(name, colour, dashes, [(pages, value)])]`."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    scale = math.log10 if logarithmic else float

    def x(pages):
        return at + LEFT + (math.log10(pages) - 3) / 3 * (right - LEFT)

    def y(value):
        share = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return bottom - share * (bottom - TOP)

    yield f'<text x="{at + LEFT}" y="22" font-weight="bold">{title}</text>'
    for tick in ticks:
        yield f'<path d="M{at + LEFT} {y(tick):.1f}H{at + right}" stroke="#ddd"/>'
        yield f'<text x="{at + LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for power in range(3, 7):
        label = {3: "1k", 4: "10k", 5: "100k", 6: "1M"}[power]
        yield f'<text x="{x(10**power):.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>'
    yield f'<text x="{at + (LEFT + right) / 2}" y="{bottom + 38}" text-anchor="middle">pages</text>'
    for row, (name, colour, dashes, line) in enumerate(series):
        style = f'stroke="{colour}" stroke-dasharray="{dashes}" fill="none" stroke-width="2"'
        path = "L".join(f"{x(n):.1f} {y(value):.1f}" for n, value in line)
        yield f'<path d="M{path}" {style}/>'
        for n, value in line:
            yield f'<circle cx="{x(n):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'
        legend = HEIGHT + 12 + 16 * row
        yield f'<path d="M{at + LEFT} {legend}h24" {style}/>'
        yield f'<text x="{at + LEFT + 30}" y="{legend + 4}">{name}</text>'


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    searches = [line for line in lines if "p50_ms" in line]
    builds = [line for line in lines if "quality" in line]
    # What searches compare of their own is the most.
    most = {}
    for line in searches:
        key = line["pooled"], line["pages"]
        most[key] = max(most.get(key, 0), line["compared"] or 0)
    auto = points(
        (s for s in searches if s["compared"] == most[s["pooled"], s["pages"]]),
        lambda line: line["p50_ms"],
    )
    exact = points((s for s in searches if s["compared"] is None), lambda line: line["p50_ms"])
    latency = [(f"sketches, {NAMES[p]}", COLOURS[p], "none", auto[p]) for p in NAMES]
    latency += [(f"all int8 codes, {NAMES[p]}", COLOURS[p], "4 4", exact[p]) for p in NAMES]
    quality = []
    for name, key, dashes in [
        ("nDCG@10 over exact", "ndcg_ratio_to_exact", "none"),
        ("overlap@10", "overlap_at_10", "4 4"),
    ]:
        found = points(builds, lambda line: line["quality"][-1][key])
        quality += [(f"{name}, {NAMES[p]}", COLOURS[p], dashes, found[p]) for p in NAMES]
    decades = [1, 10, 100, 1000]
    parts = [
        *panel(0, "p50 of a search, ms", [s for s in latency if s[3]], 1, 1000, decades, True),
        *panel(
            WIDTH,
            "quality against exact MaxSim",
            [s for s in quality if s[3]],
            0.9,
            1.01,
            [0.9, 0.92, 0.94, 0.96, 0.98, 1],
            False,
        ),
    ]
    size = f"{2 * WIDTH} {HEIGHT + 72}"
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-size="12"')
    print('     font-family="sans-serif" fill="#222">')
    print('<rect width="100%" height="100%" fill="#fff"/>')
    print("\n".join(parts))
    print("</svg>")


main()
