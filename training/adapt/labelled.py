"""Questions that people asked of their documents, beside those that are made of the pages' own words.

A file of JSON lines as `pagesight eval --queries` reads it: `{"query": "net sales by region", "doc": "q3.pdf",
"pages": [12]}`. `doc` is a path below the folder of PDFs; a question may have several right pages.
"""

import json
from pathlib import Path

from collection import Refusal


def read_labelled(path, documents):
    """The questions of a file; every one must be about a document that is there."""
    names, questions = {document.name for document in documents}, []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            said = json.loads(line)
            query, name, pages = said["query"].strip(), said["doc"], [int(page) for page in said["pages"]]
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise Refusal(f'{where} is no question ({error}): {{"query": "..", "doc": "FILE.pdf", "pages": [1]}} is one') from None
        if not query or not pages or min(pages) < 1:
            raise Refusal(f"{where}: a question has words, and pages that are counted from 1 on")
        if name not in names:
            raise Refusal(f"{where}: there is no document {name} with words below the folder")
        questions.append({"query": query, "doc": name, "pages": pages})
    return questions


def pages_asked(labelled):
    """`(document, number)` of all right pages."""
    return {(question["doc"], number) for question in labelled for number in question["pages"]}


def labelled_on(labelled, pages):
    """Those of the questions that `pages` answer, as `questions_of` gives its own: `page` is the place of the
    first right page, `pages` are those of all."""
    places = {(document.name, number): at for at, (document, number, _) in enumerate(pages)}
    for question in labelled:
        right = [places[question["doc"], number] for number in question["pages"] if (question["doc"], number) in places]
        if right:
            yield {"query": question["query"], "page": right[0], "pages": right, "kind": "labelled"}
