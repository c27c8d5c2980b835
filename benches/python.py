"""What Python costs beside the engine. Question: how much longer is a search from Python than inside
the engine, at 1 and at 8 threads; how long is the import; what do vectors cost on their way to numpy?

    python benches/python.py INDEX       an index made with nano; the package is installed

A search says how long the engine took from call to answer (`answer.ms["total"]`), so both times are
of the same calls, whatever else the machine does.
"""

import statistics
import subprocess
import sys
import threading
import time

import numpy as np

import pagesight

QUESTIONS = ["net sales by region", "installation on a laptop", "table of contents", "who led the project"]
SEARCHES = 200


def imported() -> None:
    for what, code in (
        ("import pagesight", "import pagesight"),
        ("and its engine", "import pagesight; pagesight.Index"),
    ):
        timed = (f"import time as t; w, c = t.perf_counter(), t.process_time(); {code}; "
                 "print(t.perf_counter() - w, t.process_time() - c)")
        said = [subprocess.check_output([sys.executable, "-c", timed]).split() for _ in range(9)]
        wall, cpu = (min(map(float, column)) * 1e3 for column in zip(*said))
        print(f"{what:24} {wall:.1f} ms, of the processor {cpu:.1f} ms (best of 9)")


def searched(index: pagesight.Index, threads: int) -> None:
    times: list[tuple[float, float]] = []

    def work(count: int) -> None:
        for number in range(count):
            start = time.perf_counter()
            answer = index.search(QUESTIONS[number % len(QUESTIONS)], all=True)
            whole = time.perf_counter() - start
            times.append((whole * 1e3, answer.ms["total"]))

    workers = [threading.Thread(target=work, args=(SEARCHES // threads,)) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spent = time.perf_counter() - start
    whole, engine = (statistics.median(column) for column in zip(*times))
    beside = statistics.median(python - engine for python, engine in times)
    print(f"{threads} threads: search p50 {whole:.2f} ms, in the engine {engine:.2f} ms, "
          f"beside it {beside * 1e3:.0f} us ({beside / engine:.1%}); {len(times) / spent:.0f}/s")


def shown(index: pagesight.Index) -> None:
    pages = [index.page(document["path"], number)
             for document in index.documents(status="ok")
             for number in range(1, document["page_count"] + 1)][:1000]
    vectors = [page.vectors() for page in pages if page.n_vectors]
    start = time.perf_counter()
    arrays = [np.asarray(one) for one in vectors]
    spent = time.perf_counter() - start
    total = sum(array.nbytes for array in arrays)
    assert all(np.asarray(v).__array_interface__["data"] == a.__array_interface__["data"]
               for v, a in zip(vectors, arrays))
    print(f"{len(arrays)} pages, {total / 1e6:.1f} MB of vectors to numpy: {spent * 1e3:.1f} ms, no copy")


if __name__ == "__main__":
    imported()
    with pagesight.Index.open(sys.argv[1]) as opened:
        opened.warm()
        searched(opened, 1)
        searched(opened, 8)
        shown(opened)
