"""Pages in ordinary type, so that they are not forgotten while others are learned.

The words are those of the documents that are learned from; the fonts are those of this machine, and the
one that Pillow brings. Nothing has to be fetched, and what is set is known letter by letter.
"""

import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collection import as_page  # noqa: E402
from pages import PageBuilder  # noqa: E402
from pdf_pages import GRID  # noqa: E402

PLACES = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts", "C:/Windows/Fonts",
          str(Path.home() / ".fonts"), str(Path.home() / ".local/share/fonts"))
FONTS = 40
OVERSAMPLE = 2
PROBE = "Hamburgefonstiv 0123456789 äöüéèçñ"


def fonts_here(seed=0, places=PLACES):
    """Font files that have what Latin text needs, drawn from those of this machine."""
    files = sorted(path for place in places for path in Path(place).rglob("*.[to]tf") if Path(place).is_dir())
    random.Random(seed).shuffle(files)
    usable = []
    for path in files:
        if len(usable) == FONTS:
            break
        try:
            font = ImageFont.truetype(str(path), 20)
            empty = font.getmask("\U0010ffff").getbbox()
            if all(c == " " or font.getmask(c).getbbox() not in (None, empty) for c in PROBE):
                usable.append(str(path))
        except (OSError, ValueError):
            continue
    return usable


def face(path, size):
    if path is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def ordinary_page(words, path, rng):
    """A `Page` with `words` in paragraphs of one font, as many as find room."""
    width, height = GRID[0] * OVERSAMPLE, GRID[1] * OVERSAMPLE
    size = rng.uniform(12, 24)
    font = face(path, round(size * OVERSAMPLE))
    small = -font.getbbox("x", anchor="ls")[1] / OVERSAMPLE
    picture, builder = Image.new("L", (width, height), 255), PageBuilder()
    canvas = ImageDraw.Draw(picture)
    margin, lead = rng.uniform(0.04, 0.1) * width, size * OVERSAMPLE * rng.uniform(1.15, 1.5)
    space, x, y = font.getlength(" ") * rng.uniform(0.9, 1.4), margin, margin + lead
    for word in words:
        word = word.capitalize() if rng.random() < 0.15 else word
        at = [0.0, *(font.getlength(word[: i + 1]) for i in range(len(word)))]
        if x + at[-1] > width - margin:
            x, y = margin, y + lead
        if y > height - margin:
            break
        canvas.text((x, y), word, fill=0, font=font, anchor="ls")
        builder.add_run(list(word), [(x + a) / OVERSAMPLE for a in at[:-1]], [(x + a) / OVERSAMPLE for a in at[1:]],
                        y / OVERSAMPLE, small)
        x += at[-1] + space
    return as_page(builder, np.asarray(picture.resize(GRID, Image.BICUBIC)))


def ordinary_pages(pages, count, seed=0):
    """`count` pages with words of `pages`, `(document, number, words)`, each in another font."""
    rng, fonts = random.Random(seed), [None, *fonts_here(seed)]
    for number in range(count):
        words = [word for _ in range(3) for word in rng.choice(pages)[2].words]
        yield ordinary_page(words, fonts[number % len(fonts)], rng)
