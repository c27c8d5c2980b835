"""Real pages: PDFs drawn by pdfium, which knows each letter's box.

    python pdf_pages.py --pdfs FOLDER --pages 2500 --out pages/pdf

Drawn as pagesight draws them: at twice the size, then squeezed with the bicubic filter into a
grid of inputs whatever the page's shape. The scale varies around that grid.
"""

import argparse
import ctypes
import math
import multiprocessing
import random
import zlib
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw
from PIL import Image

from pages import PageBuilder

GRID = (896, 1344)
"""Two by three inputs of 448 px."""

HELD_BACK = """gnuplot asymptote Circuit_macros milsymb mathsPICmanual euclideangeometry
neural-networks tikz-timing NDSU-Thesis textopo bodeplot chemobabel tikz-network ftc-notebook
curve2e pfdicons asmeconf thubeamer ersian jlshort lshort usage.de debian-faq debian-reference
developers-reference debian-history project-history install.""".split()
"""Documents of the development set and of fixtures/, by a part of their path: never trained on."""

SMALL_LETTERS = set("acemnorsuvwxzасеопрстухгиквмнтяαεικνοπστυω")


def letters_of(page, width, height):
    """`[(string, origin x, origin y, left, top, right, bottom)]` in px of a drawing."""
    textpage = page.get_textpage()
    size = page.get_size()
    sx, sy = width / size[0], height / size[1]
    left, bottom, _, _ = page.get_cropbox()
    box = [ctypes.c_double() for _ in range(4)]
    origin = [ctypes.c_double() for _ in range(2)]
    letters = []
    for i in range(raw.FPDFText_CountChars(textpage)):
        code = raw.FPDFText_GetUnicode(textpage, i)
        raw.FPDFText_GetCharBox(textpage, i, *(ctypes.byref(v) for v in box))
        raw.FPDFText_GetCharOrigin(textpage, i, *(ctypes.byref(v) for v in origin))
        l, r, b, t = (v.value for v in box)
        x, y = (v.value for v in origin)
        string = chr(code) if 0 < code < 0xD800 or 0xE000 <= code < 0x110000 else "\0"
        letters.append((
            string, (x - left) * sx, height - (y - bottom) * sy,
            (l - left) * sx, height - (t - bottom) * sy, (r - left) * sx, height - (b - bottom) * sy,
        ))
    textpage.close()
    return letters


def runs_of(letters):
    """Splits at spaces, jumps and turns."""
    run, last = [], None
    for letter in letters:
        string, x, y, left, top, right, bottom = letter
        if string.isspace() or right - left <= 0 or string in "\0\u0002\ufffe":
            if run:
                yield run
            run, last = [], None
            continue
        if last is not None:
            tall = max(last[6] - last[4], bottom - top, 4)
            if abs(y - last[2]) > 0.5 * tall or left - last[5] > tall or left < last[3] - 0.5 * tall:
                yield run
                run = []
        run.append(letter)
        last = letter
    if run:
        yield run


def add_run(builder, run):
    tops, bottoms = [l[4] for l in run], [l[6] for l in run]
    ys = [l[2] for l in run]
    small = [l[2] - l[4] for l in run if l[0] in SMALL_LETTERS]
    tall = [l[2] - l[4] for l in run if l[0].isalnum()]
    height = float(np.median(small)) if small else 0.72 * float(np.median(tall)) if tall else 0
    level = max(ys) - min(ys) < 0.35 * max(height, 1)
    if height < 2.5 or height > 120 or not level:
        builder.hide(min(l[3] for l in run), min(tops), max(l[5] for l in run), max(bottoms))
        return
    builder.add_run([l[0] for l in run], [l[3] for l in run], [l[5] for l in run],
                    float(np.median(ys)), height)


def draw(page, width, height):
    """Grey `[height, width]`."""
    bitmap = pdfium.PdfBitmap.new_native(2 * width, 2 * height, raw.FPDFBitmap_BGR)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, 2 * width, 2 * height)
    raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, 2 * width, 2 * height, 0, raw.FPDF_ANNOT)
    picture = Image.fromarray(np.ascontiguousarray(bitmap.to_numpy()[:, :, :3])).convert("L")
    bitmap.close()
    return picture.resize((width, height), Image.BICUBIC)


def convert(task):
    path, most, out, seed = task
    rng = random.Random(f"{seed}{path}")
    made = 0
    try:
        document = pdfium.PdfDocument(path)
        for number in sorted(rng.sample(range(len(document)), min(most, len(document)))):
            page = document[number]
            scale = math.exp(rng.uniform(math.log(0.85), math.log(1.3)))
            aspect = math.exp(rng.uniform(-0.08, 0.08))
            width, height = (round(GRID[0] * scale * aspect), round(GRID[1] * scale / aspect))
            builder = PageBuilder()
            if page.get_rotation() == 0:
                for run in runs_of(letters_of(page, width, height)):
                    add_run(builder, run)
            if len(builder.words) >= 25:
                name = f"{Path(path).stem[:40]}-{zlib.crc32(path.encode()):08x}-{number + 1}-{seed}.npz"
                builder.save(Path(out) / name, draw(page, width, height))
                made += 1
            page.close()
        document.close()
    except (pdfium.PdfiumError, ValueError, OSError) as error:
        print(f"{path}: {error}", flush=True)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pdfs", required=True)
    parser.add_argument("--pages", type=int, default=2500)
    parser.add_argument("--most", type=int, default=4, help="pages of one document")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="only the documents kept for the check")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    paths = sorted(str(p) for p in Path(args.pdfs).rglob("*.pdf"))
    paths = [p for p in paths if not any(part.lower() in p.lower() for part in HELD_BACK)]
    # One document in 25 is kept for the check, by its folder so that versions stay together.
    paths = [p for p in paths if (zlib.crc32(Path(p).parent.name.encode()) % 25 == 0) == args.check]
    rng.shuffle(paths)
    total = 0
    tasks = [(path, args.most, args.out, args.seed) for path in paths]
    with multiprocessing.Pool(args.processes, maxtasksperchild=50) as pool:
        for made in pool.imap_unordered(convert, tasks):
            total += made
            if total >= args.pages:
                break
        pool.terminate()
    print(f"{total} pages of {len(paths)} documents in {args.out}")


if __name__ == "__main__":
    main()
