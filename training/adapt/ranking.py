"""Ranks held-out pages with a model as pagesight's patches channel does, and compares two rankings."""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collection import drawn  # noqa: E402
from windows import PATCH, to_patches  # noqa: E402

PRUNE = 16
"""A patch whose px differ by less has no ink and no vector, as nano's recipe says."""


def slices_of(picture, edge):
    """`[7, n, 3*14*14]` u8: the whole page, then its two by three parts, of a grey picture."""
    side, grid = edge // PATCH, (2, 3)
    whole = np.asarray(Image.fromarray(picture).resize((edge, edge), Image.BICUBIC))
    parts = [whole] + [
        picture[r * edge : (r + 1) * edge, c * edge : (c + 1) * edge] for r in range(grid[1]) for c in range(grid[0])
    ]
    return np.stack([to_patches(np.repeat(part[..., None], 3, -1), side, side) for part in parts])


@torch.no_grad()
def page_vectors(nano, patches):
    """`[n_vectors, dim]` f16 of one page."""
    at = torch.arange(patches.shape[1]).expand(len(patches), -1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = nano.pages(torch.from_numpy(patches), at, torch.tensor([2]))[0]
    ink = (patches.max(-1).astype(int) - patches.min(-1)) > PRUNE
    return vectors.flatten(0, 1)[torch.from_numpy(ink.reshape(-1))].half()


@torch.no_grad()
def query_vectors(nano, pieces, text):
    """`[n_tokens, dim]`."""
    ids = torch.tensor([pieces.tokenizer.encode(text, add_special_tokens=False).ids])
    return nano.queries(ids, torch.ones_like(ids, dtype=torch.bool))[0]


class Pages:
    """Pictures of pages, kept so that several models can be compared on them."""

    def __init__(self, pages, edge, progress=lambda done, of: None):
        self.pages, self.pictures = pages, []
        for number, page in enumerate(drawn(pages)):
            self.pictures.append(page.image)
            progress(number + 1, len(pages))
        self.edge = edge

    def rank(self, nano, pieces, questions, progress=lambda done, of: None):
        """For each question the rank, from 1 on, of the page that it was made of, or of the best one of the
        `pages` that answer it."""
        vectors = []
        for number, picture in enumerate(self.pictures):
            vectors.append(page_vectors(nano, slices_of(picture, self.edge)))
            progress(number + 1, len(self.pictures))
        count = [len(v) for v in vectors]
        every, ranks = torch.cat(vectors).float(), []
        for question in questions:
            similar = query_vectors(nano, pieces, question["query"]) @ every.T
            # A page without ink has no vector and comes last.
            scores = [part.amax(1).sum().item() if part.shape[1] else -math.inf for part in similar.split(count, 1)]
            ranks.append(rank_of(scores, question))
        return ranks


def rank_of(scores, question):
    """The rank of the best right page by `scores`, one a page."""
    right = question.get("pages", [question["page"]])
    own = max(scores[at] for at in right)
    return 1 + sum(other > own for other in scores)


def ndcg5(ranks):
    """One number a question: its page is the only right one, so the best ranking has it first."""
    return np.array([1 / math.log2(rank + 1) if rank <= 5 else 0.0 for rank in ranks])


def recall5(ranks):
    return np.array([float(rank <= 5) for rank in ranks])


def difference(before, after, seed=0, samples=10_000):
    """The mean difference and its 95% interval, by the paired bootstrap over questions."""
    change = np.asarray(after) - np.asarray(before)
    means = np.random.default_rng(seed).choice(change, (samples, len(change))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(change.mean()), float(low), float(high)
