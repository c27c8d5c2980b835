"""Draws pages with pypdfium2, once to warm up, and prints their number and the seconds of the
second time. Arguments: width in px, files."""

import sys
import time

import pypdfium2

width, files = int(sys.argv[1]), sys.argv[2:]


def draw():
    pages = 0
    for file in files:
        document = pypdfium2.PdfDocument(file)
        document.init_forms()
        for page in document:
            bitmap = page.render(scale=width / page.get_width(), rev_byteorder=True)
            assert bitmap.to_numpy().size > 0
            pages += 1
            page.close()
        document.close()
    return pages


draw()
start = time.perf_counter()
pages = draw()
print(pages, time.perf_counter() - start)
