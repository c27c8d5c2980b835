"""Draws pages with pypdfium2 and prints the seconds that took. Arguments: width in px, files."""

import sys
import time

import pypdfium2

width, files = int(sys.argv[1]), sys.argv[2:]
start = time.perf_counter()
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
print(pages, time.perf_counter() - start)
