"""Teaches an adapter what nano was taught: a query token lies near the patches that show its piece.

The picture of each page and the places of its words are all that is needed (training/README.md tells the
idea). Windows of pages are cut, worn and labelled by training's own code; only the adapter's factors learn,
and a head that names letters, which is thrown away.
"""

import itertools
import math
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collection import drawn  # noqa: E402
from rehearsal import ordinary_pages  # noqa: E402
from pdf_pages import GRID  # noqa: E402
from sample import Sampler  # noqa: E402
from store import Store, pack  # noqa: E402
from train import Student  # noqa: E402

ROWS, COLUMNS = 8, 32
WINDOWS = 12
"""Windows of a step; a window is an example."""
WARM_UP = 20
REHEARSED = 0.3
"""Share of the examples that are pages in ordinary type."""
TEMPERATURE = math.log(45)
"""Where nano's own ended."""


def store_of(pages, pieces, seed, progress=lambda done, of: None):
    """The pages on shelves for training, and beside them half as many in ordinary type."""
    again = len(pages) // 2
    room = sum(GRID[0] * GRID[1] for _ in range(len(pages) + again))
    store = Store([1 - REHEARSED, REHEARSED], "cpu", room)
    sources = ((0, page) for page in drawn(pages)), ((1, page) for page in ordinary_pages(pages, again, seed))
    for number, (shelf, page) in enumerate(itertools.chain(*sources)):
        packed = pack(page, pieces)
        if packed:
            store.add([(packed, page.image.shape, shelf)])
        progress(number + 1, len(pages) + again)
    return store


class Teacher:
    """One course of steps over a store of pages."""

    def __init__(self, adapter, store, steps, rate, seed):
        torch.manual_seed(seed)
        self.steps, self.rate, self.step, self.seconds = steps, rate, 0, 0.0
        nano = adapter.nano
        self.student = Student(nano.size, stop=True)
        self.student.nano = nano
        self.student.scale.data.fill_(TEMPERATURE)
        self.draw = Sampler(store, nano.size.side, [ROWS], COLUMNS, WINDOWS * ROWS * COLUMNS, [seed])
        self.prompt = torch.tensor([2])
        head = [*self.student.reading.parameters(), self.student.scale]
        self.stepper = torch.optim.AdamW(
            [{"params": adapter.parameters(), "lr": rate}, {"params": head, "lr": 2e-3}], weight_decay=0.0, betas=(0.9, 0.98))
        self.rates = [group["lr"] for group in self.stepper.param_groups]
        self.trained = adapter.parameters() + head

    def learn(self, examples):
        """Steps until `examples` windows were seen in all; the mean loss of each part since the last call."""
        began, sums, count = time.time(), torch.zeros(6), 0
        while self.step * WINDOWS < examples and self.step < self.steps:
            share = min((self.step + 1) / WARM_UP, (self.steps - self.step) / (0.6 * self.steps), 1)
            for group, rate in zip(self.stepper.param_groups, self.rates):
                group["lr"] = rate * share
            batch = self.draw()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss, parts = self.student(batch, self.prompt, 0.3)
            loss.backward()
            nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.stepper.step()
            self.stepper.zero_grad(set_to_none=True)
            sums, count, self.step = sums + parts, count + 1, self.step + 1
        self.seconds += time.time() - began
        names = ("tokens", "patches", "letters", "hit", "read", "quiet")
        return dict(zip(names, (sums / max(count, 1)).tolist()))
