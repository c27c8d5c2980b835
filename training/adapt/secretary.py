"""The proof's documents: a handwriting that nano cannot read, scanned, with the words that a library adds.

    printf 'gen1:1-rev22:21\\n' | bible > bible.txt
    python secretary.py --text bible.txt --font Joscelyn-Regular.otf --out FOLDER

Each book of the King James Bible (1611; Debian's bible-kjv) is written in an English secretary hand of
that time (the typeface Joscelyn by Peter S. Baker, OFL; Debian's fonts-joscelyn) and becomes a document
twice: `words/NAME.pdf`, pictures of pages with an invisible layer of words, as digitised books come from
libraries, and `pictures/NAME.pdf`, the same pictures without a word.
"""

import argparse
import io
import random
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

PAGE = (408, 612)
"""A quarto's page, pt."""
DPI = 150
MARGIN, BODY, HEADING = 40, 15, 21
FEWEST_WORDS = 600
"""Books that are shorter than three pages or so are left out."""

CHAPTER = re.compile(r"^([1-3]?[A-Z][A-Za-z ]+) (\d+)$")
VERSE = re.compile(r"^\s+\d+ ")


def books_of(path):
    """`{book: [(kind, text)]}`: headings of chapters, and verses."""
    books, blocks = {}, None
    for line in path.read_text(encoding="latin-1").splitlines():
        if heading := CHAPTER.match(line):
            blocks = books.setdefault(heading[1], [])
            blocks.append(("heading", f"{heading[1]} Chapter {heading[2]}"))
        elif VERSE.match(line) and blocks is not None:
            blocks.append(("verse", line.strip()))
        elif line.strip() and blocks and blocks[-1][0] == "verse" and not line.startswith("bible"):
            blocks[-1] = ("verse", f"{blocks[-1][1]} {line.strip()}")
    return books


class Book:
    """Writes blocks on pages: words with their places, in px at DPI."""

    def __init__(self, font):
        self.font, self.px = font, DPI / 72
        self.size = tuple(round(v * self.px) for v in PAGE)
        self.room, self.bottom = (PAGE[0] - 2 * MARGIN) * self.px, (PAGE[1] - MARGIN) * self.px
        self.loaded, self.pages = {}, []
        self.new_page()

    def face(self, size):
        if size not in self.loaded:
            self.loaded[size] = ImageFont.truetype(self.font, round(size * self.px), layout_engine=ImageFont.Layout.RAQM)
        return self.loaded[size]

    def new_page(self):
        self.words, self.y = [], MARGIN * self.px  # words: (word, left, baseline, width, size), px
        self.pages.append(self.words)

    def line(self, words, size, centred):
        face = self.face(size)
        widths, space = [face.getlength(word) for word in words], face.getlength(" ")
        slack = self.room - sum(widths) - space * (len(words) - 1)
        x = MARGIN * self.px + (slack / 2 if centred else 0)
        for word, wide in zip(words, widths):
            self.words.append((word, x, self.y, wide, size))
            x += wide + space

    def add(self, kind, text):
        size = HEADING if kind == "heading" else BODY
        face, lead = self.face(size), size * 1.4 * self.px
        space, lines, line, used = face.getlength(" "), [], [], 0
        for word in text.split():
            wide = face.getlength(word)
            if line and used + wide > self.room:
                lines.append(line)
                line, used = [], 0
            line.append(word)
            used += wide + space
        if kind == "heading" and self.y + 4 * lead > self.bottom:
            self.new_page()
        for line in [*lines, line]:
            if self.y + lead > self.bottom:
                self.new_page()
            self.y += lead
            self.line(line, size, kind == "heading")


def scanned(book, words, rng):
    """A page as a scanner gives it, grey, and the tilt that it has, degrees."""
    picture = Image.new("L", book.size, 255)
    canvas = ImageDraw.Draw(picture)
    for word, x, y, _, size in words:
        canvas.text((x, y), word, fill=rng.randint(10, 60), font=book.face(size), anchor="ls")
    tilt = rng.uniform(-0.6, 0.6)
    picture = picture.rotate(tilt, Image.BICUBIC, fillcolor=255)
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(2, 5), (book.size[1], book.size[0]))
    paper = rng.randint(222, 250)
    grey = np.asarray(picture, np.float32) * (paper / 255) + noise
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)), tilt


def lay_words(canvas, book, words, tilt):
    """The invisible layer. It fits the width of each word, not its letters: readers make it so."""
    turned, middle = np.deg2rad(tilt), np.array(PAGE) / 2
    rotation = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    for word, x, y, wide, size in words:
        at = middle + rotation @ (np.array([x / book.px, PAGE[1] - y / book.px]) - middle)
        text = canvas.beginText(*at)
        text.setTextRenderMode(3)
        text.setFont("Times-Roman", size)
        text.setHorizScale(100 * wide / book.px / max(canvas.stringWidth(word, "Times-Roman", size), 0.1))
        text.textOut(f"{word} ")
        canvas.drawText(text)


def write(book, folder, name, seed):
    files = {kind: Canvas(str(folder / kind / f"{name}.pdf"), pagesize=PAGE, invariant=1) for kind in ("words", "pictures")}
    for number, words in enumerate(book.pages):
        picture, tilt = scanned(book, words, random.Random(f"{seed}/{name}/{number}"))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=60)
        for kind, canvas in files.items():
            canvas.drawImage(ImageReader(file), 0, 0, *PAGE)
            if kind == "words":
                lay_words(canvas, book, words, tilt)
            canvas.showPage()
    for canvas in files.values():
        canvas.save()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", required=True, help="what `bible` prints")
    parser.add_argument("--font", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--pages", type=int, default=4, help="pages of a document at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out, documents, pages = Path(args.out), 0, 0
    for folder in ("words", "pictures"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name, blocks in books_of(Path(args.text)).items():
        if sum(len(text.split()) for _, text in blocks) < FEWEST_WORDS or documents == args.documents:
            continue
        book = Book(args.font)
        for kind, text in blocks:
            book.add(kind, text)
            if len(book.pages) > args.pages:
                book.pages.pop()
                break
        write(book, out, name.lower().replace(" ", "-"), args.seed)
        documents, pages = documents + 1, pages + len(book.pages)
    print(f"{documents} documents, {pages} pages in {out}")


if __name__ == "__main__":
    main()
