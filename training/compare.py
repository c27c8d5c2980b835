"""Compares runs of `pagesight eval --run` query by query: nDCG@5 by kind, and the paired difference.

    python compare.py --queries queries.jsonl text.jsonl both.jsonl

The first run is the baseline. A difference is the mean over queries of (run - baseline), with its 95%
interval by the bootstrap (10,000 samples, seeded): an interval without 0 is a difference.
"""

import argparse
import json
import math
from collections import defaultdict

import numpy as np


def ndcg5(query, results):
    """As `pagesight eval` and the development set's score.py count it; labels and paths may start at
    different folders."""
    same = lambda a, b: a == b or a.endswith("/" + b) or b.endswith("/" + a)
    right = [same(doc, query["doc"]) and page in query["pages"] for doc, page in results[:5]]
    if query.get("any_page"):
        right = [r and not any(right[:i]) for i, r in enumerate(right)]
    ideal = 1 if query.get("any_page") else min(len(query["pages"]), 5)
    gain = sum(1 / math.log2(i + 2) for i, r in enumerate(right) if r)
    return gain / sum(1 / math.log2(i + 2) for i in range(ideal))


def kinds_of(query):
    yield "all"
    for key in ("kind", "source", "label"):
        if key in query:
            yield f"{key} {query[key]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--queries", required=True)
    parser.add_argument("runs", nargs="+")
    args = parser.parse_args()
    queries = {q["id"]: q for q in map(json.loads, open(args.queries))}
    runs = [{r["id"]: r["results"] for r in map(json.loads, open(path))} for path in args.runs]
    groups = defaultdict(list)
    for name, query in queries.items():
        values = [ndcg5(query, run.get(name, [])) for run in runs]
        for kind in kinds_of(query):
            groups[kind].append(values)
    rng = np.random.default_rng(0)
    for kind, values in sorted(groups.items()):
        values = np.array(values)
        print(f"{kind} ({len(values)})")
        for path, column in zip(args.runs, values.T):
            line = f"  {column.mean():.4f}  {path}"
            if path != args.runs[0]:
                difference = column - values[:, 0]
                samples = rng.choice(difference, (10_000, len(difference))).mean(1)
                low, high = np.percentile(samples, [2.5, 97.5])
                line += f"  {difference.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
            print(line)


if __name__ == "__main__":
    main()
