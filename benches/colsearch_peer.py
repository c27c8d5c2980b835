"""ColSearch as one more peer of the harness that benches/peers.sh runs.

    python colsearch_peer.py BENCH --pages 1000 --peers colsearch_fp16 --out peers.json

BENCH has the harness (peers.py and corpus.py), whose options these are. The peers are called by ColSearch's own
names for its codes: colsearch_fp16, colsearch_int8, colsearch_rroq158. An index is built by `Index.add` with its
shard engine and asked by `Index.search`, as its README does.
"""

import importlib.metadata
import os
import sys
import time

BENCH = sys.argv.pop(1) if "--worker" not in sys.argv else os.environ["PAGESIGHT_BENCH"]
os.environ["PAGESIGHT_BENCH"] = BENCH
sys.path.insert(0, BENCH)

import numpy as np  # noqa: E402
import peers  # noqa: E402

CANDIDATES = (256, 1000)


def opened(a, candidates):
    from colsearch import Index

    return Index(a.index, dim=peers.C.D, engine="shard", k_candidates=candidates, compression=a.code)


def colsearch_build(a):
    _, docs, _, _, _ = peers.data(a)
    idle = peers.wait_idle()
    with peers.Foreign() as others:
        start = time.time()
        index = opened(a, CANDIDATES[0])
        index.add([np.array(page) for page in docs], ids=list(range(len(docs))))
        if hasattr(index, "flush"):
            index.flush()
        index.close()
        seconds = time.time() - start
    return dict(build_s=round(seconds, 2), build_cpu_s=others.cpu_s, foreign_cores=others.cores, idle=idle,
                version=importlib.metadata.version("colsearch"))


def colsearch_search(a):
    _, _, questions, exact, targets = peers.data(a)
    runs = []
    for candidates in CANDIDATES:
        index = opened(a, candidates)

        def ask(question):
            return [hit.doc_id for hit in index.search(question, k=peers.K)]

        found, times = peers.timed_search(ask, questions[: a.queries])
        runs.append(dict(params=f"candidates={candidates}") | times | dict(quality=peers.quality(found, exact, targets)))
        index.close()
    return dict(runs=runs)


peers.colsearch_build, peers.colsearch_search = colsearch_build, colsearch_search
peers.INDEX |= {f"colsearch_{code}": ("colsearch", code, 0, 100_000) for code in ("fp16", "int8", "rroq158")}
# Its workers are this file.
peers.__file__ = __file__

if __name__ == "__main__":
    peers.main()
