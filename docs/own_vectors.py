"""Vectors of another library, such as colpali-engine or a multi-vector encoder of
sentence-transformers, in an index of pagesight:

    python own_vectors.py q3.pdf "net sales by region"

With colpali-engine, `encode_pages` and `encode_query` are

    batch = processor.process_images([image.to_pil() for image in images]).to(model.device)
    vectors = model(**batch).float().cpu().numpy()             # [pages, n, dim]
    query = model(**processor.process_queries([text])).float().cpu().numpy()[0]

and the score of a page is that of `processor.score_multi_vector`: the sum over the query's rows of
the largest dot product with a row of the page.
"""

import sys
from typing import Any

import numpy as np
import pypdfium2

import pagesight

DIM, COLUMNS, ROWS = 128, 8, 8
MIX = np.random.default_rng(0).standard_normal((48, DIM))


def encode_pages(images: list[Any]) -> list[np.ndarray]:
    """One vector a patch, row by row, `[COLUMNS * ROWS, DIM]` a page: a stand-in for a model."""
    pages = []
    for image in images:
        pixels = np.asarray(image.resize((COLUMNS * 4, ROWS * 4)), dtype=np.float32) / 255.0
        patches = pixels.reshape(ROWS, 4, COLUMNS, 4, 3).swapaxes(1, 2).reshape(-1, 48)
        pages.append(((patches - patches.mean(0)) @ MIX + 0.01).astype(np.float16))
    return pages


def main(pdf: str, question: str, folder: str = "own.pagesight") -> list[pagesight.Hit]:
    """Indexes `pdf` and asks by the vectors of its own first page and by words."""
    document = pypdfium2.PdfDocument(pdf)
    images = [document[number].render(scale=1).to_pil() for number in range(len(document))]
    vectors = encode_pages(images)
    index = pagesight.Index.create(folder, dim=DIM, model_id="patches-of-pixels@1")
    index.add(pdf, vectors, grid=(COLUMNS, ROWS))
    answer = index.search(question, query_vectors=vectors[0][:16])
    return list(answer)


if __name__ == "__main__":
    for hit in main(*sys.argv[1:3]):
        print(f"{hit.score:.3f}  {hit.path}#{hit.page}  {hit.snippet}")
