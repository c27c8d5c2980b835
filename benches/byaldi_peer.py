"""byaldi and pagesight on the same PDFs, checkpoint and machine. Question: what do indexing, a
question and memory cost in each?

    pip install pagesight byaldi        # and poppler, which byaldi draws with
    python benches/byaldi_peer.py CHECKPOINT PDFS

CHECKPOINT is a folder that both can load and whose path holds `colpali` or `colqwen2`, which byaldi
goes by; PDFS a folder. Each side runs in processes of its own, in turn, three times; medians are
printed. pagesight is asked by pictures alone, as byaldi is.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time

QUESTIONS = ["net sales by region", "booting from the network", "table of contents", "a chart of people"]
ROUNDS = 3
SEARCHES = 5


def byaldi(checkpoint: str, pdfs: str, folder: str) -> dict[str, object]:
    import transformers

    # byaldi 0.0.7 moves the model to the CPU, where it is; newer transformers refuse that.
    transformers.PreTrainedModel.to = lambda self, *_, **__: self
    from byaldi import RAGMultiModalModel

    begun = time.perf_counter()
    model = RAGMultiModalModel.from_pretrained(checkpoint, index_root=folder, device="cpu", verbose=0)
    loaded = time.perf_counter()
    model.index(input_path=pdfs, index_name="peer", store_collection_with_index=False)
    indexed = time.perf_counter()

    def ask(question: str) -> None:
        assert len(model.search(question, k=10)) == 10

    return measured(ask, loaded - begun, indexed - loaded)


def pagesight(checkpoint: str, pdfs: str, folder: str) -> dict[str, object]:
    import pagesight

    begun = time.perf_counter()
    index = pagesight.Index.open_or_create(f"{folder}/index", model=checkpoint)
    loaded = time.perf_counter()
    index.sync(pdfs, ocr="off")
    indexed = time.perf_counter()

    def ask(question: str) -> None:
        assert len(index.search(question, k=10, channel="visual", all=True)) == 10

    return measured(ask, loaded - begun, indexed - loaded)


def measured(ask, load: float, index: float) -> dict[str, object]:
    ask(QUESTIONS[0])
    times = []
    for question in QUESTIONS * SEARCHES:
        begun = time.perf_counter()
        ask(question)
        times.append(time.perf_counter() - begun)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "load s": load, "index s": index, "question ms": 1e3 * statistics.median(times),
        "memory MB": memory,
    }


def main() -> None:
    sides = {"byaldi": byaldi, "pagesight": pagesight}
    if len(sys.argv) == 4:
        with tempfile.TemporaryDirectory() as folder:
            said = sides[sys.argv[3]](sys.argv[1], sys.argv[2], folder)
        print("\n" + json.dumps(said))
        return
    rounds: dict[str, list[dict[str, object]]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, said in rounds.items():
            command = [sys.executable, __file__, *sys.argv[1:3], side]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            said.append(json.loads(out.splitlines()[-1]))
    print(f"{'':12} {'byaldi':>10} {'pagesight':>10} {'ratio':>7}")
    for name in ["load s", "index s", "question ms", "memory MB"]:
        theirs, ours = (statistics.median(one[name] for one in rounds[side]) for side in sides)
        print(f"{name:12} {theirs:10.2f} {ours:10.2f} {theirs / ours:7.1f}")


if __name__ == "__main__":
    main()
