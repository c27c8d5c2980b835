"""Counts the words to learn: those of drawn PDF pages, and word lists.

    python words.py --pages pages/pdf --lists usr/share/dict usr/share/hunspell --out words.txt.gz
"""

import argparse
import gzip
import io
import random
from collections import Counter
from pathlib import Path

import numpy as np

from tokens import fold, readable, units

LISTS = {
    "american-english": "utf-8", "french": "utf-8", "ngerman": "utf-8", "spanish": "utf-8",
    "italian": "utf-8", "polish": "utf-8", "portuguese": "utf-8", "swedish": "iso8859-1",
    "bulgarian": "utf-8", "ukrainian": "utf-8", "ru_RU.dic": "utf-8", "el_GR.dic": "iso8859-7",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pages", required=True)
    parser.add_argument("--lists", nargs="+", required=True)
    parser.add_argument("--each", type=int, default=25_000, help="words of one list")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    counts, rng = Counter(), random.Random(0)
    for path in sorted(Path(args.pages).glob("*.npz")):
        with np.load(path) as file:
            counts.update(file["text"].tobytes().decode().split("\n"))
    for folder in args.lists:
        for path in sorted(Path(folder).iterdir()):
            if path.name not in LISTS:
                continue
            text = path.read_text(LISTS[path.name], errors="ignore")
            words = sorted({line.split("/")[0].strip() for line in text.splitlines()})
            # Spelled with their accents: a page shows them, folding hides them.
            words = [w for w in words if 1 < len(w) <= 20 and w.isalpha() and readable(fold(w))]
            counts.update(rng.sample(words, min(args.each, len(words))))
    counts = Counter({w: n for w, n in counts.items() if w and units(fold(w)) == [(0, len(fold(w)))]})
    # No time stamp inside, so that the same input gives the same bytes.
    with open(args.out, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:
        lines = io.TextIOWrapper(packed, encoding="utf-8")
        for word, times in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            lines.write(f"{word}\t{times}\n")
        lines.flush()
        lines.detach()
    print(len(counts), "words")


if __name__ == "__main__":
    main()
