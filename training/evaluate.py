"""How well a model reads pages it has not seen.

    python evaluate.py --run runs/nano --tokenizer tokenizer.json --check pages/check
"""

import argparse
import functools
import json
import random
from pathlib import Path

import numpy as np
import torch

from model import Nano
from pages import Page
from tokens import STOP_WORDS, Pieces
from windows import Batch


class Folder:
    """Pages of one folder, read when drawn: the same ones each time."""

    def __init__(self, folder):
        self.files = sorted(Path(folder).glob("*.npz"))

    def draw(self, rng):
        return Page(rng.choice(self.files))


@functools.cache
def windows_of(folder, pieces, count, rows, columns, side, seed):
    return Batch(Folder(folder), pieces, random.Random(seed), count, rows, columns, side, wear=False, longest=1)


@torch.no_grad()
def check(nano, folders, pieces, prompt, count=32, rows=8, columns=32, seed=1):
    """For each folder: `found`, the share of single words whose best window by MaxSim, out of
    `count`, is one that has the word; and `token`, the share of query tokens whose best patch of
    all windows shows their piece. Stop words, which a model may have been taught not to match, are
    left out."""
    device = prompt.device
    results = {}
    for folder in folders:
        batch = windows_of(str(folder), pieces, count, rows, columns, nano.size.side, seed)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            vectors = nano.pages(torch.from_numpy(batch.pixels).to(device), torch.from_numpy(batch.at).to(device), prompt)[0]
            queries = nano.queries(torch.from_numpy(batch.ids).to(device), torch.from_numpy(batch.real).to(device))
        vectors, queries, real = vectors.cpu(), queries.cpu(), batch.real
        similar = torch.einsum("qtd,wpd->qtwp", queries, vectors)
        best, where = similar.flatten(2).max(-1)
        strong, weak = batch.strong.reshape(-1, 2), batch.weak.reshape(-1)
        names = [word_of(batch.ids[q][real[q]], pieces) for q in range(len(real))]
        token = [
            batch.keys[q, t] in (strong[p, 0], strong[p, 1], weak[p])
            for q, t in zip(*np.nonzero(real)) if names[q] not in STOP_WORDS for p in [int(where[q, t])]
        ]
        scores = (similar.amax(-1) * torch.from_numpy(real)[..., None]).sum(1)  # [q, windows]
        top = scores.argmax(1).numpy()
        has = [set(words) for words in batch.words]
        single = [word for words in [list(dict.fromkeys(w)) for w in batch.words] for word in words]
        lookup = {}
        for row, word in enumerate(names):
            lookup.setdefault(word, top[row])
        long = [w for w in set(single) if len(w) >= 4 and w in lookup and w not in STOP_WORDS]
        found = [w in has[lookup[w]] for w in sorted(long)]
        results[Path(folder).name] = {
            "found": round(float(np.mean(found)), 4), "token": round(float(np.mean(token)), 4), "words": len(long),
        }
    return results


def word_of(ids, pieces):
    return "".join(pieces.tokenizer.id_to_token(int(i)) for i in ids).lstrip("\u2581")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", help="a run's folder")
    parser.add_argument("--model", help="or a folder that export.py wrote")
    parser.add_argument("--student", type=int, default=0)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--check", nargs="+", required=True)
    parser.add_argument("--windows", type=int, default=32)
    args = parser.parse_args()
    nano = Nano.open(args.model) if args.model else Nano.load(Path(args.run) / "checkpoint.pt", args.student)[0]
    print(json.dumps(check(nano, args.check, Pieces(args.tokenizer), torch.tensor([2]), args.windows)))


if __name__ == "__main__":
    main()
