"""Questions whose answer is a page that is known, by kind: what can the model read?

    python known_items.py --pdfs FOLDER --each 60 --out known.jsonl
    pagesight eval --queries known.jsonl --channel visual --run run.jsonl
    python known_items.py --score run.jsonl --out known.jsonl

Kinds: `word` (of one page alone), `phrase` (three words in a row), `number` (four digits or more),
`row` (a line with two numbers), `title` (a line twice as tall as most print). Each is drawn from the
text layer of a page, and no other page of the folder has the same words in a row.
"""

import argparse
import json
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium

from pages import PageBuilder
from pdf_pages import add_run, letters_of, runs_of
from tokens import LETTERS

LATIN = set(LETTERS[:41])


def lines_of(path):
    """For each page: lines of `(words, x-height)` in reading order."""
    document = pdfium.PdfDocument(path)
    for page in document:
        builder = PageBuilder()
        if page.get_rotation() == 0:
            width, height = page.get_size()
            for run in runs_of(letters_of(page, width, height)):
                add_run(builder, run)
        lines, last = [], None
        for i, word in enumerate(builder.words):
            baseline, small = builder.band[i]
            left = builder.edges[builder.ends[i - 1] if i else 0][0]
            if last and abs(baseline - last[0]) < 1 and 0 <= left - last[1] < 8 * small:
                lines[-1][0].append(word)
            else:
                lines.append(([word], small))
            last = (baseline, builder.edges[builder.ends[i] - 1][1])
        yield lines
        page.close()
    document.close()


def candidates(lines):
    body = np.median([small for words, small in lines for _ in words]) if lines else 0
    for words, small in lines:
        if not all(set(w) <= LATIN for w in words):
            continue
        digits = [w for w in words if sum(c.isdigit() for c in w) >= 2]
        if small > 1.5 * body and 2 <= len(words) <= 10:
            yield "title", words
        if len(digits) >= 2 and 3 <= len(words) <= 12:
            yield "row", words
        for i, word in enumerate(words):
            if word.isalpha() and len(word) >= 6:
                yield "word", [word]
            if sum(c.isdigit() for c in word) >= 4:
                yield "number", [word]
            three = words[i : i + 3]
            if len(three) == 3 and all(w.isalpha() for w in three) and sum(map(len, three)) >= 12:
                yield "phrase", three


def make(args):
    pages = {}
    for path in sorted(Path(args.pdfs).rglob("*.pdf")):
        try:
            for number, lines in enumerate(lines_of(path), 1):
                pages[str(path.relative_to(args.pdfs)), number] = lines
        except pdfium.PdfiumError as error:
            print(f"{path}: {error}")
    texts = {at: " " + " ".join(w for words, _ in lines for w in words) + " " for at, lines in pages.items()}
    found = defaultdict(list)
    for at, lines in pages.items():
        for kind, words in candidates(lines):
            found[kind].append((at, " ".join(words)))
    rng, out = random.Random(0), []
    for kind in sorted(found):
        rng.shuffle(found[kind])
        chosen = 0
        for (doc, page), query in found[kind]:
            if chosen == args.each:
                break
            if sum(f" {query} " in text for text in texts.values()) == 1:
                chosen += 1
                out.append({"id": f"{kind}-{chosen:03}", "query": query, "doc": doc, "pages": [page], "kind": kind})
    with open(args.out, "w") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in out)
    print(dict(Counter(line["kind"] for line in out)), f"of {len(pages)} pages")


def score(args):
    queries = {q["id"]: q for q in map(json.loads, open(args.out))}
    kinds = defaultdict(list)
    for line in map(json.loads, open(args.score)):
        query = queries[line["id"]]
        wanted = (query["doc"], query["pages"][0])
        ranks = [i for i, (doc, page) in enumerate(line["results"]) if doc.endswith(wanted[0]) and page == wanted[1]]
        kinds[query["kind"]].append(1 / math.log2(ranks[0] + 2) if ranks and ranks[0] < 5 else 0.0)
    for kind, values in sorted(kinds.items()):
        print(f"{kind:8} nDCG@5 {np.mean(values):.3f}  hit@5 {np.mean([v > 0 for v in values]):.3f}  ({len(values)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pdfs", help="folder to ask about")
    parser.add_argument("--each", type=int, default=60, help="questions of a kind")
    parser.add_argument("--score", help="a run of pagesight eval to break down by kind")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    score(args) if args.score else make(args)


if __name__ == "__main__":
    main()
