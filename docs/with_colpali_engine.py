"""Pages and questions encoded by colpali-engine, kept and searched by pagesight.

    pip install pagesight colpali-engine
    python with_colpali_engine.py CHECKPOINT PDF "question"

PyTorch encodes the pages and the question; the index ranks the pages by the question's vectors. At
the end its scores are compared with those of colpali-engine's own scorer, which has to hold all pages
in memory: they differ by what the index rounds, since it keeps vectors in half precision.
"""

import sys

import pypdfium2
import torch
from colpali_engine.models import ColPali, ColPaliProcessor

import pagesight

checkpoint, pdf, question = sys.argv[1:]
model = ColPali.from_pretrained(checkpoint, dtype=torch.float32).eval()
processor = ColPaliProcessor.from_pretrained(checkpoint)

index = pagesight.Index.create("own.pagesight", dim=model.dim, model_id=f"engine:{checkpoint}")
pages = [page.render(scale=2).to_pil() for page in pypdfium2.PdfDocument(pdf)]
with torch.no_grad():
    vectors = [model(**processor.process_images([page]))[0] for page in pages]
    asked = model(**processor.process_queries([question]))
index.add(pdf, vectors=[page.float().numpy() for page in vectors])

answer = index.search(query_vectors=asked[0].float().numpy(), channel="visual", all=True)
theirs = processor.score_multi_vector(list(asked), vectors)[0]
for hit in answer:
    print(f"{hit.path}#{hit.page}  {hit.score:.4f}  colpali-engine: {theirs[hit.page - 1]:.4f}")
assert all(abs(1 - hit.score / theirs[hit.page - 1].item()) < 1e-4 for hit in answer)
