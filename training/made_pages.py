"""Made pages: words of lists and texts, numbers and codes, set in many fonts.

    python made_pages.py --fonts FOLDER --words words.txt.gz --pages 2000 --out pages/made

Paragraphs in columns, headings, tables of numbers, captions, words lying anywhere. `--plain` makes
the proof's pages: one font, one size, black on white.
"""

import argparse
import gzip
import math
import multiprocessing
import random
import string
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from pages import PageBuilder
from tokens import STOP_WORDS

OVERSAMPLE = 2
NO_LETTERS = ("D050000L", "StandardSymbols")
"""Fonts that have other signs where letters should be."""

HELD_OUT_FONTS = ("Caladea", "Cantarell", "PTF", "B612-", "Vollkorn")
"""Never trained on: the check on fonts that were not seen."""


def script_of(word):
    code = max(map(ord, word))
    return "cyrillic" if 0x400 <= code < 0x530 else "greek" if 0x370 <= code < 0x400 or 0x1F00 <= code < 0x2000 else "latin"


class Words:
    """Draws words: by how often texts have them, evenly from lists, or made up."""

    def __init__(self, path):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            pairs = [line.rstrip("\n").split("\t") for line in lines]
        self.by_script = {"latin": [], "cyrillic": [], "greek": []}
        weights = {name: [] for name in self.by_script}
        for word, times in pairs:
            script = script_of(word)
            self.by_script[script].append(word)
            weights[script].append(int(times) ** 0.6)
        self.stop = {name: [w for w in sorted(STOP_WORDS) if script_of(w) == name] for name in self.by_script}
        self.sums = {name: np.cumsum(w) for name, w in weights.items()}

    def draw(self, rng, script):
        kind = rng.random()
        if kind < 0.10:
            return number(rng)
        if kind < 0.13:
            return code(rng)
        if kind < 0.19:
            # As often as texts have them, which the lists of words do not.
            return rng.choice(self.stop[script])
        sums = self.sums[script]
        if kind < 0.60:
            at = int(np.searchsorted(sums, rng.random() * sums[-1]))
        else:
            at = rng.randrange(len(sums))
        word = self.by_script[script][min(at, len(sums) - 1)]
        style = rng.random()
        return word.capitalize() if style < 0.18 else word.upper() if style < 0.25 else word


def number(rng):
    digits = rng.choice([1, 2, 2, 3, 4, 4, 5, 6, 7])
    value = rng.randrange(10**digits)
    form = rng.random()
    if form < 0.35:
        return str(value)
    if form < 0.6:
        return f"{value:,}"
    if form < 0.75:
        return f"{value / 10 ** rng.randint(1, 2):,.{rng.randint(1, 2)}f}"
    if form < 0.85:
        return f"{value / 10:.1f}%"
    if form < 0.93:
        return f"({value:,})"
    return f"{rng.randint(1, 28)}{rng.choice('/.-')}{rng.randint(1, 12)}{rng.choice('/.-')}{rng.randint(1950, 2030)}"


def code(rng):
    pool = string.ascii_uppercase + string.digits if rng.random() < 0.6 else string.ascii_lowercase + string.digits
    return "".join(rng.choice(pool) for _ in range(rng.randint(3, 9)))


class Fonts:
    """Font files by script, and which letters each has."""

    def __init__(self, folders, held_out=False):
        self.files = []
        for path in sorted(p for folder in folders for p in Path(folder).rglob("*.[to]tf")):
            held = any(name in path.name for name in HELD_OUT_FONTS)
            if held != held_out or any(name in path.name for name in NO_LETTERS):
                continue
            try:
                with TTFont(path, lazy=True) as font:
                    cmap = frozenset(font.getBestCmap() or ())
            except Exception as error:  # a font that fontTools cannot read is left out
                print(f"{path.name}: {error}")
                continue
            if ord("a") in cmap and ord("7") in cmap:
                self.files.append((str(path), cmap))
        # One family of many files (Noto, Roboto) is not more than another.
        families = {}
        for path, cmap in self.files:
            families.setdefault(Path(path).name[:6].lower(), []).append((path, cmap))
        self.families = list(families.values())

    def draw(self, rng, script):
        probe = {"latin": "é", "cyrillic": "ж", "greek": "λ"}[script]
        for _ in range(50):
            path, cmap = rng.choice(rng.choice(self.families))
            if ord(probe) in cmap:
                return path, cmap
        raise ValueError(f"no font for {script}")


class Sheet:
    """A page being set, at twice its size."""

    def __init__(self, rng, words, fonts, width, height, plain):
        self.rng, self.words, self.fonts, self.plain = rng, words, fonts, plain
        self.width, self.height = width * OVERSAMPLE, height * OVERSAMPLE
        self.paper = 255 if plain or rng.random() < 0.8 else rng.randint(215, 254)
        self.image = Image.new("L", (self.width, self.height), self.paper)
        self.canvas = ImageDraw.Draw(self.image)
        self.builder = PageBuilder()
        roll = rng.random()
        self.script = "latin" if plain or roll < 0.74 else "cyrillic" if roll < 0.92 else "greek"
        self.loaded = {}

    def face(self, size):
        if self.plain:
            path, cmap = self.fonts.files[0]
        else:
            path, cmap = self.fonts.draw(self.rng, self.script)
        key = (path, round(size * OVERSAMPLE))
        if key not in self.loaded:
            font = ImageFont.truetype(path, key[1], layout_engine=ImageFont.Layout.BASIC)
            top = font.getbbox("x", anchor="ls")[1]
            self.loaded[key] = (font, cmap, -top)
        return self.loaded[key]

    def word(self, cmap):
        for _ in range(30):
            word = self.words.draw(self.rng, self.script)
            if self.rng.random() < 0.12 and not self.plain:
                word = self.rng.choice(["{},", "{}.", "({})", "“{}”", "{}:", "{};", "{}-{}"]).format(word, word[:3])
            if all(ord(c) in cmap for c in word):
                return word
        return "0"

    def put(self, x, y, word, face, ink, bold=0):
        """Sets `word` with its baseline at y; returns its width."""
        font, _, small = face
        at = [font.getlength(word[: i + 1]) for i in range(len(word))]
        self.canvas.text((x, y), word, fill=ink, font=font, anchor="ls", stroke_width=bold)
        left = [(x + a) / OVERSAMPLE for a in [0, *at[:-1]]]
        right = [(x + a) / OVERSAMPLE for a in at]
        self.builder.add_run(list(word), left, right, y / OVERSAMPLE, small / OVERSAMPLE)
        return at[-1]

    def ink(self):
        return 0 if self.plain or self.rng.random() < 0.7 else self.rng.randint(0, 110)

    def paragraph(self, x0, x1, y, bottom, size, lines):
        face = self.face(size)
        font, cmap, _ = face
        ink, lead = self.ink(), size * OVERSAMPLE * self.rng.uniform(1.12, 1.5)
        space = font.getlength(" ") * self.rng.uniform(0.85, 1.5) or size * 0.5
        for _ in range(lines):
            y += lead
            if y > bottom:
                break
            x = x0
            while True:
                word = self.word(cmap)
                wide = font.getlength(word)
                if x + wide > x1:
                    break
                self.put(x, y, word, face, ink)
                x += wide + space
        return y + lead * self.rng.uniform(0.2, 1)

    def table(self, x0, x1, y, bottom, size):
        rng, face = self.rng, self.face(size)
        font, cmap, _ = face
        columns, rows = rng.randint(2, 6), rng.randint(3, 14)
        lead, wide = size * OVERSAMPLE * rng.uniform(1.2, 1.9), (x1 - x0) / columns
        ruled, ink, top = rng.random() < 0.5, self.ink(), y
        for _ in range(rows):
            if y + lead > bottom:
                break
            y += lead
            for column in range(columns):
                text = self.word(cmap) if column == 0 or rng.random() < 0.3 else number(rng)
                if not all(ord(c) in cmap for c in text) or font.getlength(text) > wide - 6:
                    continue
                slack = wide - font.getlength(text) - 6
                self.put(x0 + column * wide + 3 + (slack if column and rng.random() < 0.8 else 0), y, text, face, ink)
            if ruled:
                self.canvas.line([x0, y + lead * 0.3, x1, y + lead * 0.3], fill=90, width=rng.randint(1, 3))
        if ruled and rng.random() < 0.5:
            for column in range(columns + 1):
                self.canvas.line([x0 + column * wide, top, x0 + column * wide, y + lead * 0.3], fill=90, width=2)
        return y + lead

    def picture(self, x0, x1, y, bottom):
        rng = self.rng
        high = min(bottom - y, rng.uniform(100, 500))
        if high < 60:
            return y
        for _ in range(rng.randint(2, 14)):
            a, b = sorted(rng.uniform(x0, x1) for _ in range(2))
            c, d = sorted(rng.uniform(y, y + high) for _ in range(2))
            shape = rng.choice([self.canvas.rectangle, self.canvas.ellipse, self.canvas.line])
            if shape == self.canvas.line:
                shape([a, c, b, d], fill=rng.randint(0, 180), width=rng.randint(1, 6))
            else:
                fill = rng.randint(60, 250) if rng.random() < 0.5 else None
                shape([a, c, b, d], fill=fill, outline=rng.randint(0, 150), width=rng.randint(1, 4))
        face = self.face(rng.uniform(10, 15))
        # Labels on white, as charts have them, none over another.
        taken = []
        for _ in range(rng.randint(0, 8)):
            word = self.word(face[1])
            wide = face[0].getlength(word)
            if wide + 8 > x1 - x0:
                continue
            x, base = rng.uniform(x0, x1 - wide), y + rng.uniform(0.1, 0.9) * high
            box = [x - 4, base - face[2] * 2, x + wide + 4, base + face[2]]
            if all(box[0] > t[2] or t[0] > box[2] or box[1] > t[3] or t[1] > box[3] for t in taken):
                taken.append(box)
                self.canvas.rectangle(box, fill=self.paper)
                self.put(x, base, word, face, 0)
        return y + high + 30

    def compose(self):
        rng = self.rng
        base = 14.5 if self.plain else rng.choice([rng.uniform(11.5, 15), rng.uniform(13, 18), rng.uniform(15, 24), rng.uniform(20, 44)])
        columns = 1 if self.plain else rng.choice([1, 1, 1, 2, 2, 3])
        margin = rng.uniform(0.02, 0.08) * self.width
        wide = (self.width - 2 * margin) / columns
        for column in range(columns):
            x0 = margin + column * wide
            x1 = x0 + wide - (40 if columns > 1 else 0)
            y, bottom = margin * rng.uniform(0.3, 1), self.height - 20
            while y < bottom:
                kind = rng.random()
                if self.plain:
                    y = self.paragraph(x0, x1, y, bottom, base, 20)
                elif kind < 0.2:
                    big = base * rng.choice([1.15, 1.4, 1.7, 2.2, 3])
                    y = self.paragraph(x0, x1, y, bottom, big, rng.randint(1, 2))
                elif kind < 0.42:
                    y = self.table(x0, x1, y, bottom, base * rng.uniform(0.8, 1.05))
                elif kind < 0.52:
                    y = self.picture(x0, x1, y, bottom)
                else:
                    y = self.paragraph(x0, x1, y, bottom, base * rng.choice([0.8, 0.9, 1, 1, 1]), rng.randint(2, 14))


def make(task):
    number_, args, words, fonts = task
    rng = random.Random(f"{args.seed}/{number_}")
    scale = 1 if args.plain else math.exp(rng.uniform(-0.1, 0.1))
    width, height = round(896 * scale), round(1344 / scale)
    sheet = Sheet(rng, words, fonts, width, height, args.plain)
    sheet.compose()
    if len(sheet.builder.words) < 20:
        return 0
    picture = sheet.image.resize((width, height), Image.BICUBIC)
    sheet.builder.save(Path(args.out) / f"made-{args.seed}-{number_:05}.npz", picture)
    return 1


SHARED = {}


def start(args):
    SHARED["words"] = Words(args.words)
    SHARED["fonts"] = Fonts(args.fonts, args.held_out)


def make_shared(task):
    return make((*task, SHARED["words"], SHARED["fonts"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fonts", nargs="+", required=True)
    parser.add_argument("--words", required=True)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--held-out", action="store_true", help="only the fonts kept for the check")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool(args.processes, start, (args,)) as pool:
        total = sum(pool.imap_unordered(make_shared, ((n, args) for n in range(args.pages))))
    print(f"{total} pages in {args.out}")


if __name__ == "__main__":
    main()
