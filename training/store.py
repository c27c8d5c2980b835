"""Pages on the training device, laid end to end: pictures, words, pieces, letters.

A batch is then cut, worn and labelled there (sample.py), and the processor's cores are free to draw
new pages all the while. `Loader` reads pages in processes of its own, `Store` holds them.
"""

import multiprocessing
import queue
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import torch

from pages import Page
from tokens import STOP_WORDS, Pieces
from windows import LETTER_CLASS

FIELDS = {
    "pixels": torch.uint8,
    "word_band": torch.float32,  # [n, 4]: baseline, height of a small letter, left, right
    "word_parts": torch.int64,  # [n, 4]: first piece and end, first letter and end
    "word_stop": torch.bool,
    "piece_edges": torch.float32,  # [n, 2]: left, right
    "piece_ids": torch.int64,  # [n, 2]: token, key
    "letter_x": torch.float32,
    "letter_class": torch.int64,
    "hidden": torch.float32,  # [n, 4]
}
WIDTH = {"word_band": 4, "word_parts": 4, "piece_edges": 2, "piece_ids": 2, "hidden": 4}


def key_of(word, index):
    """The number of a piece of a word: the same in every process, hardly ever that of another."""
    return (zlib.crc32(f"{index}/{word}".encode()) & 0x3FFFFFFF) + 1


def pack(page, pieces):
    """A page's `FIELDS` as arrays, indexes counted from its own first piece and letter; none where
    it has no word."""
    bands, parts, stops, edges, ids, hidden = [], [], [], [], [], list(page.hidden)
    for word, first, last, (baseline, small) in zip(page.words, page.starts, page.ends, page.band):
        box, spans = page.edges[first:last], pieces.of(word)
        if not spans:
            hidden.append((box[0, 0], baseline - small, box[-1, 1], baseline))
            continue
        bands.append((baseline, small, box[0, 0], box[-1, 1]))
        parts.append((len(edges), len(edges) + len(spans), first, last))
        stops.append(word in STOP_WORDS)
        for index, (number, start, end) in enumerate(spans):
            edges.append((box[start, 0], box[end - 1, 1]))
            ids.append((number, key_of(word, index)))
    if not bands:
        return None
    letters = "".join(page.words)
    return {
        "pixels": page.image.reshape(-1),
        "word_band": np.asarray(bands, np.float32),
        "word_parts": np.asarray(parts, np.int64),
        "word_stop": np.asarray(stops, bool),
        "piece_edges": np.asarray(edges, np.float32),
        "piece_ids": np.asarray(ids, np.int64),
        "letter_x": page.edges.mean(1, dtype=np.float32),
        "letter_class": np.asarray([LETTER_CLASS[c] for c in letters], np.int64),
        "hidden": np.asarray(hidden, np.float32).reshape(-1, 4),
    }


class Store:
    """Pages of several folders. `add` appends, `draw` chooses pages by the folders' weights."""

    def __init__(self, weights, device="cpu", room=1 << 28):
        """`room` is how many px of pictures there is memory for; then pages are no longer added."""
        self.weights, self.device, self.room = np.asarray(weights, np.float64), device, room
        self.fields = {}
        for name, kind in FIELDS.items():
            shape = (room,) if name == "pixels" else (4096, WIDTH[name]) if name in WIDTH else (4096,)
            self.fields[name] = torch.empty(shape, dtype=kind, device=device)
        self.used = dict.fromkeys(FIELDS, 0)
        self.places = torch.zeros(1024, 7, dtype=torch.int64, device=device)
        self.count, self.pages_of = 0, [[] for _ in weights]

    def add(self, pages):
        """Pages `(packed, shape, folder)`, each field copied once for all: on a GPU every copy waits for
        the steps that are under way. False where there was no room for all."""
        fitting, taken = [], self.used["pixels"]
        for packed, shape, folder in pages:
            if taken + len(packed["pixels"]) <= self.room:
                fitting.append((packed, shape, folder))
                taken += len(packed["pixels"])
        if not fitting:
            return False
        at, places, parts = dict(self.used), [], []
        for packed, shape, _ in fitting:
            shift = np.int64([at["piece_ids"], at["piece_ids"], at["letter_x"], at["letter_x"]])
            parts.append(packed["word_parts"] + shift)
            start = dict(at)
            at = {name: at[name] + len(packed[name]) for name in FIELDS}
            places.append([start["pixels"], *shape, start["word_band"], at["word_band"], start["hidden"], at["hidden"]])
        for name in FIELDS:
            values = parts if name == "word_parts" else [packed[name] for packed, _, _ in fitting]
            self.fields[name] = grown(self.fields[name], at[name])
            whole = torch.from_numpy(np.concatenate(values)).to(self.device)
            self.fields[name][self.used[name] : at[name]] = whole
        first, self.used = self.count, at
        self.places = grown(self.places, first + len(fitting))
        self.places[first : first + len(fitting)] = torch.tensor(places).to(self.device)
        # Known last: another thread draws meanwhile.
        for number, (_, _, folder) in enumerate(fitting, first):
            self.pages_of[folder].append(number)
        self.count = first + len(fitting)
        return len(fitting) == len(pages)

    def draw(self, rng, count):
        """`[count]` numbers of pages; `rng` is numpy's."""
        have = np.array([bool(pages) for pages in self.pages_of])
        weights = self.weights * have
        folders = rng.choice(len(weights), count, p=weights / weights.sum())
        return np.array([self.pages_of[f][rng.integers(len(self.pages_of[f]))] for f in folders])

    def words(self):
        return self.used["word_band"]


def grown(tensor, needed):
    if needed <= len(tensor):
        return tensor
    larger = torch.empty((max(needed, 2 * len(tensor)), *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
    larger[: len(tensor)] = tensor
    return larger


class Loader:
    """Packs the pages of `folders` in `count` processes; files that appear later too.

    Made before anything is on the device, since its processes are forked. `fill` starts a thread
    that puts pages into a store.
    """

    def __init__(self, folders, tokenizer, count=2):
        context = multiprocessing.get_context("fork")
        self.queue, self.folders, self.tokenizer = context.Queue(64), folders, tokenizer
        self.readers = [context.Process(target=self.read, args=(n, count), daemon=True) for n in range(count)]
        for reader in self.readers:
            reader.start()

    def stop(self):
        for reader in self.readers:
            reader.kill()

    def read(self, number, count):
        torch.set_num_threads(1)
        pieces, seen = Pieces(self.tokenizer), set()
        while True:
            fresh = []
            for at, folder in enumerate(self.folders):
                names = (p for p in Path(folder).glob("*.npz") if zlib.crc32(p.name.encode()) % count == number)
                fresh += [(zlib.crc32(p.name.encode()), at, p) for p in names if p not in seen]
            # All folders from the first moment on.
            for _, at, path in sorted(fresh):
                seen.add(path)
                try:
                    page = Page(path)
                except (OSError, ValueError, EOFError, KeyError):
                    continue
                packed = pack(page, pieces)
                if packed:
                    self.queue.put((packed, page.image.shape, at))
            if not fresh:
                time.sleep(2)

    def fill(self, store, first, wait=60):
        """Returns when `first` pages are there (or fewer, if no more come); goes on in a thread."""
        def some(wait, most=64):
            pages = [self.queue.get(timeout=wait)]
            while len(pages) < most:
                try:
                    pages.append(self.queue.get_nowait())
                except queue.Empty:
                    break
            return pages

        def run():
            while store.add(some(None)):
                time.sleep(1)

        while store.count < first:
            try:
                if not store.add(some(wait if not store.count else 5)):
                    return
            except queue.Empty:
                break
        if not store.count:
            raise SystemExit("no pages")
        threading.Thread(target=run, daemon=True).start()
