"""Windows of pages as the model's input, with what is printed under each patch.

A window is `rows` x `columns` patches cut anywhere from a page (any pixel, so print meets the
patch grid in every phase), worn a little as scans and screens are. A patch's key says which piece
of which word it shows; patches with the same key as a query token are its positives.
"""

import io
import itertools
import random

import numpy as np
from PIL import Image, ImageFilter

from tokens import LETTERS

PATCH = 14
SLOTS = 4
"""A patch is read in four slots, left to right: each has the letter whose middle lies in it."""

LETTER_CLASS = {c: i + 1 for i, c in enumerate(LETTERS)}
N_CLASSES = len(LETTERS) + 1

NOT_PRINT, UNSURE = 0, -1


class Window:
    """One window: `pixels` `[rows*columns, 3*14*14]` u8, and its labels.

    `strong` `[n, 2]` keys of the one or two pieces whose small-letter band the patch holds, 0 for
    none; `weak` `[n]` the key of a piece whose upper or lower part it shows, 0 for none, -1 for
    print that is not known; `slots` `[n, 4]` letter classes, -1 where unsure.
    """

    __slots__ = ("pixels", "strong", "weak", "slots", "words")

    def __init__(self, page, left, top, rows, columns, pieces, keys, rng, wear):
        height, width = rows * PATCH, columns * PATCH
        tilt = rng.uniform(-0.012, 0.012) if wear and rng.random() < 0.25 else 0.0
        image = cut(page.image, left, top, width, height, tilt)
        if wear:
            image = worn(image, rng)
        self.pixels = to_patches(colour(image, rng, wear), rows, columns)
        n = rows * columns
        self.strong = np.zeros((n, 2), np.int32)
        self.weak = np.zeros(n, np.int32)
        self.slots = np.zeros((n, SLOTS), np.int16)
        self.words = []
        share = np.zeros((n, 2), np.float32)
        for a, b, c, d in page.hidden:
            self.mark(self.weak, a - left, b - top, c - left, d - top, rows, columns, UNSURE)
        for i, word in enumerate(page.words):
            baseline, small = page.band[i]
            first, last = page.starts[i], page.ends[i]
            edges = page.edges[first:last] - left
            middle = (edges[0, 0] + edges[-1, 1]) / 2
            low = baseline - top + tilt * (middle - width / 2)
            if low < -small or low - small > height or edges[-1, 1] < 0 or edges[0, 0] > width:
                continue
            self.place(word, edges, low, small, rows, columns, pieces, keys, share)

    def mark(self, target, a, b, c, d, rows, columns, value):
        r0, r1 = max(int(b // PATCH), 0), min(int(d // PATCH) + 1, rows)
        c0, c1 = max(int(a // PATCH), 0), min(int(c // PATCH) + 1, columns)
        for r in range(r0, r1):
            target[r * columns + c0 : r * columns + max(c1, c0)] = value

    def place(self, word, edges, low, small, rows, columns, pieces, keys, share):
        high = low - small
        centre = (high + low) / 2
        own = [r for r in range(max(int(high // PATCH), 0), min(int(low // PATCH) + 1, rows))
               if r == int(centre // PATCH) or high <= (r + 0.5) * PATCH <= low]
        own = [r for r in own if 0 <= r < rows]
        span_up, span_down = high - 0.6 * small, low + 0.4 * small
        near = [r for r in range(max(int(span_up // PATCH), 0), min(int(span_down // PATCH) + 1, rows)) if r not in own]
        seen = 0
        for index, (number, start, end) in enumerate(pieces.of(word)):
            a, b = float(edges[start, 0]), float(edges[end - 1, 1])
            inside = min(b, columns * PATCH) - max(a, 0)
            if inside < 0.6 * (b - a) or not own:
                if inside > 0:
                    self.mark(self.weak, a, high, b, low, rows, columns, UNSURE)
                continue
            seen += 1
            key = keys.of(word, index)
            c0, c1 = max(int(a // PATCH), 0), min(int((b - 0.01) // PATCH), columns - 1)
            overlap = {c: min(b, (c + 1) * PATCH) - max(a, c * PATCH) for c in range(c0, c1 + 1)}
            best = max(overlap.values(), default=0)
            for c, wide in overlap.items():
                for r in own:
                    at = r * columns + c
                    if wide >= 5 or wide == best:
                        # The piece with the larger share comes first.
                        if wide > share[at, 0]:
                            self.strong[at, 1], share[at, 1] = self.strong[at, 0], share[at, 0]
                            self.strong[at, 0], share[at, 0] = key, wide
                        elif wide > share[at, 1]:
                            self.strong[at, 1], share[at, 1] = key, wide
                for r in near:
                    if self.weak[r * columns + c] == 0:
                        self.weak[r * columns + c] = key
        for letter, (a, b) in zip(word, edges):
            x = (a + b) / 2
            if 0 <= x < columns * PATCH:
                for r in own:
                    slot = int(x / PATCH * SLOTS)
                    self.slots[r * columns + slot // SLOTS, slot % SLOTS] = LETTER_CLASS[letter]
        if seen:
            self.words.append((word, seen == len(pieces.of(word))))


def finish_slots(window):
    unsure = window.weak == UNSURE
    window.slots[unsure & (window.strong[:, 0] == 0)] = -1


def cut(image, left, top, width, height, tilt):
    """The window, turned by `tilt` around its middle where that is not 0."""
    picture = Image.fromarray(image)
    if tilt == 0:
        return picture.crop((left, top, left + width, top + height))
    # The row sampled at x lies tilt * (x - middle) higher in the page: print sinks to the right.
    return picture.transform((width, height), Image.AFFINE,
                             (1, tilt, left - tilt * height / 2, -tilt, 1, top + tilt * width / 2),
                             resample=Image.BICUBIC, fillcolor=255)


def worn(image, rng):
    if rng.random() < 0.2:
        factor = rng.uniform(0.8, 0.97)
        small = (max(round(image.width * factor), 8), max(round(image.height * factor), 8))
        image = image.resize(small, Image.BICUBIC).resize(image.size, Image.BICUBIC)
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    if rng.random() < 0.15:
        image = image.filter(rng.choice([ImageFilter.MinFilter(3), ImageFilter.SHARPEN]) if rng.random() < 0.4 else ImageFilter.SHARPEN)
    if rng.random() < 0.2:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=rng.randint(30, 85))
        image = Image.open(file)
    return image


def colour(image, rng, wear):
    """`[height, width, 3]` u8: ink and paper of some colour, noise."""
    if not wear:
        return np.repeat(np.asarray(image)[..., None], 3, -1)
    x = np.asarray(image, np.float32)[..., None]
    ink, paper = np.zeros(3, np.float32), np.full(3, 255, np.float32)
    roll = rng.random()
    if roll < 0.35:
        ink += np.float32([rng.uniform(0, 90) for _ in range(3)])
    if roll < 0.2:
        paper -= np.float32([rng.uniform(0, 50) for _ in range(3)])
    if rng.random() < 0.05:
        ink, paper = paper, ink
    x = ink + (paper - ink) * x / 255
    if rng.random() < 0.25:
        noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(x.shape[:2], np.float32)
        x = x + rng.uniform(1, 10) * noise[..., None]
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)


def to_patches(x, rows, columns):
    """`[rows*14, columns*14, 3]` to `[rows*columns, 3*14*14]`, as the convolution orders them."""
    x = x.reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(x.reshape(rows * columns, -1))


class Keys:
    """Numbers for (word, piece), the same within one batch; 0 is none."""

    def __init__(self):
        self.numbers = {}

    def of(self, word, index):
        return self.numbers.setdefault((word, index), len(self.numbers) + 1)


class Batch:
    """Windows and the queries made of their words, as arrays."""

    def __init__(self, shelf, pieces, rng, count, rows, columns, side, wear=True, longest=6):
        keys, windows, places, phrases = Keys(), [], [], []
        for tries in itertools.count():
            if len(windows) == count:
                break
            if tries > 1000 * count:
                raise ValueError("hardly any window of these pages has four words")
            page = shelf.draw(rng)
            high, wide = rows * PATCH, columns * PATCH
            height, width = page.image.shape
            if height <= high or not page.words:
                continue
            word = rng.randrange(len(page.words))
            top = int(page.band[word, 0] - rng.uniform(0, high))
            top = min(max(top, 0), height - high)
            left = rng.randrange(max(width - wide, 0) + 1) if rng.random() < 0.8 else rng.choice([0, max(width - wide, 0)])
            if width < wide:
                continue
            window = Window(page, left, top, rows, columns, pieces, keys, rng, wear)
            if len(window.words) < 4:
                continue
            finish_slots(window)
            r0, c0 = rng.randrange(side - rows + 1), rng.randrange(side - columns + 1)
            places.append(((r0 + np.arange(rows))[:, None] * side + c0 + np.arange(columns)).reshape(-1))
            windows.append(window)
            phrases.extend(phrases_of([w for w, _ in window.words], pieces, rng, longest))
        self.pixels = np.stack([w.pixels for w in windows])
        self.at = np.stack(places).astype(np.int64)
        self.strong = np.stack([w.strong for w in windows])
        self.weak = np.stack([w.weak for w in windows])
        self.slots = np.stack([w.slots for w in windows]).astype(np.int64)
        self.words = [[w for w, _ in window.words] for window in windows]
        self.ids, self.real, self.keys = queries_of(phrases, pieces, keys)


def phrases_of(words, pieces, rng, longest, room=10):
    """Cuts `words` into phrases of 1 to `longest`, of at most `room` pieces where that can be (rows
    of a batch are as long as its longest); some are shuffled first."""
    words = list(words)
    if rng.random() < 0.3:
        rng.shuffle(words)
    phrase, left, used = [], rng.randint(1, longest), 0
    for word in words:
        size = len(pieces.of(word))
        if phrase and (left == 0 or used + size > room):
            yield phrase
            phrase, left, used = [], rng.randint(1, longest), 0
        phrase.append(word)
        left, used = left - 1, used + size
    if phrase:
        yield phrase


def queries_of(phrases, pieces, keys):
    """`ids`, `real`, `keys` `[n, longest]`: token, whether it is one, and its key."""
    lines = []
    for phrase in phrases:
        line = [(number, keys.of(word, i)) for word in phrase for i, (number, _, _) in enumerate(pieces.of(word))]
        if line:
            lines.append(line)
    longest = max(map(len, lines))
    ids = np.zeros((len(lines), longest), np.int64)
    key = np.zeros((len(lines), longest), np.int32)
    for i, line in enumerate(lines):
        ids[i, : len(line)] = [number for number, _ in line]
        key[i, : len(line)] = [k for _, k in line]
    return ids, key > 0, key
