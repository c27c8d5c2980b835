"""A page whose words are known: the picture, and where every letter is printed.

One file a page (`.npz`): `image` `[height, width]` u8 grey; `text`, the folded words joined by
line breaks (UTF-8 bytes); `ends` `[n_words]`, where each word's letters end in `edges`; `edges`
`[n_letters, 2]`, left and right of each letter; `band` `[n_words, 2]`, baseline and height of a
small letter; `hidden` `[n, 4]`, boxes with print that is not in `text`. All in px of the image.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from tokens import fold, readable, units


class PageBuilder:
    """Collects the words of one page."""

    def __init__(self):
        self.words, self.ends, self.edges, self.band, self.hidden = [], [], [], [], []

    def add_run(self, letters, left, right, baseline, small):
        """A run without spaces: each letter's string, its edges, the run's baseline and x-height.

        Letters fold to none, one or more; those of one share its box evenly.
        """
        folded, edges = [], []
        for letter, a, b in zip(letters, left, right):
            parts = fold(letter)
            for i, part in enumerate(parts):
                step = (b - a) / len(parts)
                folded.append(part)
                edges.append((a + i * step, a + (i + 1) * step))
        text = "".join(folded)
        for start, end in units(text):
            word, box = text[start:end], edges[start:end]
            if readable(word) and len(word) <= 40:
                self.words.append(word)
                self.edges.extend(box)
                self.ends.append(len(self.edges))
                self.band.append((baseline, small))
            else:
                self.hide(box[0][0], baseline - 1.5 * small, box[-1][1], baseline + 0.5 * small)

    def hide(self, left, top, right, bottom):
        self.hidden.append((left, top, right, bottom))

    def save(self, path, image):
        # Under another name until it is whole: training reads the folder meanwhile.
        new = Path(path).with_suffix(".part")
        with open(new, "wb") as file:
            self.write(file, image)
        os.replace(new, path)

    def write(self, file, image):
        np.savez_compressed(
            file,
            image=np.asarray(image, np.uint8),
            text=np.frombuffer("\n".join(self.words).encode(), np.uint8),
            ends=np.asarray(self.ends, np.int32),
            edges=np.asarray(self.edges, np.float32).reshape(-1, 2),
            band=np.asarray(self.band, np.float32).reshape(-1, 2),
            hidden=np.asarray(self.hidden, np.float32).reshape(-1, 4),
        )


class Page:
    """One page, read back."""

    def __init__(self, path):
        with np.load(path) as file:
            self.image = file["image"]
            self.words = file["text"].tobytes().decode().split("\n") if len(file["text"]) else []
            self.ends, self.edges = file["ends"], file["edges"]
            self.band, self.hidden = file["band"], file["hidden"]
        self.starts = np.concatenate([[0], self.ends[:-1]]).astype(np.int32)

    def zoom(self, across, down):
        """The page `across` times as wide and `down` times as high."""
        height, width = self.image.shape
        size = (max(round(width * across), 1), max(round(height * down), 1))
        self.image = np.asarray(Image.fromarray(self.image).resize(size, Image.BICUBIC))
        self.edges = self.edges * np.float32(across)
        self.band = self.band * np.float32(down)
        self.hidden = self.hidden * np.float32([across, down, across, down])
