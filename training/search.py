"""Ranks the pages of a folder of PDFs with a checkpoint, as `pagesight eval --channel visual` does but
in PyTorch's bf16: quick enough to try a checkpoint while it is trained.

    python search.py --run runs/nano --tokenizer tokenizer.json --pdfs FOLDER \
        --queries queries.jsonl --out run.jsonl

`--prune` leaves out patches without ink (all pixels within so many steps of 255 of each other).
The run file is what `pagesight eval --run` writes; known_items.py --score breaks it down.
"""

import argparse
import json
import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import torch
from tokenizers import Tokenizer

from model import Nano
from pdf_pages import draw
from tokens import STOP_WORDS, fold
from windows import PATCH, to_patches


def slices(page, columns, rows, edge):
    """`[columns*rows, n, 3*14*14]` u8, row-major, of a page squeezed into the grid."""
    picture = np.repeat(np.asarray(draw(page, columns * edge, rows * edge))[..., None], 3, -1)
    side = edge // PATCH
    return np.stack([
        to_patches(picture[r * edge : (r + 1) * edge, c * edge : (c + 1) * edge], side, side)
        for r in range(rows) for c in range(columns)
    ])


@torch.no_grad()
def encode(nano, patches, prune):
    """`[n_vectors, dim]` f16 of one page."""
    at = torch.arange(patches.shape[1]).expand(len(patches), -1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = nano.pages(torch.from_numpy(patches), at, torch.tensor([2]))[0]
    vectors = vectors.flatten(0, 1)
    if prune is not None:
        ink = (patches.max(-1).astype(int) - patches.min(-1)) > prune
        vectors = vectors[torch.from_numpy(ink.reshape(-1))]
    return vectors.half()


def encoded(nano, folder, grids, prune):
    """Pages `(document, number)` of the PDFs in `folder`, and the vectors of each."""
    pages, vectors = [], []
    for path in sorted(Path(folder).rglob("*.pdf")):
        try:
            document = pdfium.PdfDocument(path)
        except pdfium.PdfiumError as error:
            print(f"{path}: {error}")
            continue
        for number, page in enumerate(document, 1):
            pages.append((str(path.relative_to(folder)), number))
            seen = np.concatenate([slices(page, *grid, nano.size.edge) for grid in grids])
            vectors.append(encode(nano, seen, prune))
            page.close()
        document.close()
    return pages, vectors


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", help="a run's folder")
    parser.add_argument("--model", help="or a folder that export.py wrote")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--pdfs", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--slices", default="1x1,2x3", help="grids, each columns x rows")
    parser.add_argument("--prune", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", help="file of the pages' vectors: written, or read where there is one")
    parser.add_argument("--skip-stop-words", action="store_true", help="ask without the words of tokens.STOP_WORDS")
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    grids = [tuple(map(int, grid.split("x"))) for grid in args.slices.split(",")]
    nano, step = (Nano.open(args.model), args.model) if args.model else Nano.load(Path(args.run) / "checkpoint.pt")
    tokenizer = Tokenizer.from_file(args.tokenizer)
    queries = [json.loads(line) for line in open(args.queries)]
    began, kept = time.time(), args.keep and Path(args.keep)
    if kept and kept.exists():
        pages, vectors = torch.load(kept, weights_only=True)
    else:
        pages, vectors = encoded(nano, args.pdfs, grids, args.prune)
        if kept:
            torch.save((pages, vectors), kept)
    count = np.array([len(v) for v in vectors])
    print(f"{step}: {len(pages)} pages, {count.mean():.0f} vectors a page, {time.time() - began:.0f} s")
    ends, every = count.cumsum(), torch.cat(vectors).float()
    results, kinds = [], defaultdict(list)
    for query in queries:
        asked = query["query"]
        if args.skip_stop_words:
            asked = " ".join(w for w in asked.split() if fold(w).strip("?.,:;!") not in STOP_WORDS) or asked
        ids = torch.tensor([tokenizer.encode(asked, add_special_tokens=False).ids])
        with torch.no_grad():
            tokens = nano.queries(ids, torch.ones_like(ids, dtype=torch.bool))[0]
        similar = tokens @ every.T
        scores = np.array([similar[:, e - n : e].amax(1).sum().item() if n else -1e9 for n, e in zip(count, ends)])
        order = np.argsort(-scores, kind="stable")[:100]
        ranked = [pages[i] for i in order]
        results.append({"id": query["id"], "results": ranked})
        right = [(doc, page) in {(query["doc"], p) for p in query["pages"]} for doc, page in ranked[:5]]
        ideal = 1 if query.get("any_page") else min(len(query["pages"]), 5)
        gain = sum(1 / math.log2(i + 2) for i, r in enumerate(right) if r)
        best = sum(1 / math.log2(i + 2) for i in range(ideal))
        kind = query.get("kind") or query.get("source") or "all"
        kinds[kind].append((min(gain / best, 1), any(right)))
    for kind, values in sorted(kinds.items()):
        ndcg, hit = np.mean(values, axis=0)
        print(f"{kind:16} nDCG@5 {ndcg:.3f}  hit@5 {hit:.3f}  ({len(values)})")
    if args.out:
        with open(args.out, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in results)


if __name__ == "__main__":
    main()
