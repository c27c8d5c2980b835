"""Prints the table of benches/peers.sh from the files that it left in a folder.

    python benches/peers_table.py FOLDER PAGES
"""

import json
import pathlib
import sys

HEAD = ["what", "build CPU s", "kB/page", "p50 ms", "CPU ms", "others", "overlap@10", "nDCG ratio"]


def rows(name, build, bytes_per_page, search):
    """A row a setting of a search; the build stands in the first."""
    size = f"{bytes_per_page / 1000:.0f}"
    if "error" in search:
        yield [name, cell(build.get("build_cpu_s")), size, "failed", "", "", "", ""]
        return
    for number, run in enumerate(search["runs"]):
        params = f"{name}, {run['params']}"
        built = [cell(build.get("build_cpu_s")), size] if number == 0 else ["", ""]
        if "error" in run:
            yield [params, *built, "failed", "", "", "", ""]
            continue
        quality = run["quality"]
        yield [
            params,
            *built,
            cell(run["p50_ms"]),
            cell(run.get("cpu_ms_per_query")),
            cell(run.get("foreign_cores")),
            f"{quality['overlap_at_10']:.3f}",
            f"{quality['ndcg_ratio_to_exact']:.3f}",
        ]


def cell(value):
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def main():
    folder, pages = pathlib.Path(sys.argv[1]), sys.argv[2]
    table = [HEAD]
    sizes = []
    for when in ["before", "after", "pooled", "compact"]:
        read = lambda part: json.loads((folder / f"pagesight-{part}-{when}.json").read_text())
        build, search = read("build"), read("search")
        codes, masters = build["code_bytes_per_page"], build["master_bytes_per_page"]
        table += rows(f"pagesight ({when})", build, codes + masters, search)
        sizes.append(f"{codes / 1000:.0f} of codes and sketches, {masters / 1000:.0f} of masters ({when})")
    results = json.loads((folder / "peers.json").read_text())[pages]
    for name, peer in results.items():
        if name == "corpus":
            continue
        if "search" in peer:
            table += rows(name, peer["build"] | peer["search"], peer["bytes_per_page"], peer["search"])
        else:
            table.append([name, "failed", *[""] * 6])
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    for row in table:
        first, *rest = [
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        ]
        print("  ".join([first, *rest]).rstrip())
    print("pagesight's kB/page: " + "; ".join(sizes[1:]))


if __name__ == "__main__":
    main()
