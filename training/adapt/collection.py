"""The documents of a folder: their words with places, which belong together, and which are held out."""

import hashlib
import random
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pypdfium2 as pdfium

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pages import Page, PageBuilder  # noqa: E402
from pdf_pages import GRID, add_run, draw, letters_of, runs_of  # noqa: E402

FEWEST_PAGES, FEWEST_DOCUMENTS = 50, 5
FEWEST_WORDS = 25
"""Words that are read from a page's layer of words before the page can teach anything."""
GRAM = 5


class Refusal(Exception):
    """Why no adapter can honestly be made."""


@dataclass
class Document:
    """A PDF: `pages` are those that can teach, each a `PageBuilder` with its number from 1 on."""

    path: Path
    name: str
    digest: str
    pages: list = field(default_factory=list)
    wordless: int = 0
    unreadable: int = 0

    def grams(self):
        """Hashes of all runs of five words."""
        words = [word for _, page in self.pages for word in page.words]
        return {zlib.crc32(" ".join(words[i : i + GRAM]).encode()) for i in range(len(words) - GRAM + 1)}


def words_of(page, width, height):
    builder = PageBuilder()
    if page.get_rotation() == 0:
        for run in runs_of(letters_of(page, width, height)):
            add_run(builder, run)
    return builder


def widths(builder):
    """How wide the print is that nano has pieces for, and the rest, px. Words in some scripts are not parted
    by spaces, so their number says little."""
    return sum(right - left for left, right in builder.edges), sum(right - left for left, _, right, _ in builder.hidden)


def read_documents(folder, progress=lambda done, of: None):
    """The PDFs below `folder`, each once, and lines about those that cannot be opened."""
    documents, failed, seen = [], [], set()
    paths = sorted(Path(folder).rglob("*.pdf"))
    for number, path in enumerate(paths):
        progress(number, len(paths))
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        document = Document(path, str(path.relative_to(folder)), digest)
        try:
            opened = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            failed.append(f"{path}: {error}")
            continue
        for at, page in enumerate(opened):
            builder = words_of(page, *GRID)
            page.close()
            read, unread = widths(builder)
            if unread > read:
                document.unreadable += 1
            elif len(builder.words) >= FEWEST_WORDS:
                document.pages.append((at + 1, builder))
            else:
                document.wordless += 1
        opened.close()
        documents.append(document)
    progress(len(paths), len(paths))
    return documents, failed


@dataclass
class Lines:
    """The text of a page, line by line."""

    words: list


def read_texts(folder):
    """The PDFs below `folder`, each once, with the lines of pages that have a layer of words in any script."""
    documents = []
    for path in sorted(Path(folder).rglob("*.pdf")):
        data = path.read_bytes()
        document = Document(path, str(path.relative_to(folder)), hashlib.sha256(data).hexdigest())
        try:
            opened = pdfium.PdfDocument(data)
        except pdfium.PdfiumError:
            continue
        for number, page in enumerate(opened, 1):
            lines = [" ".join(line.split()) for line in page.get_textpage().get_text_range().splitlines()]
            lines = [line for line in lines if line]
            if sum(map(len, lines)) >= 100:
                document.pages.append((number, Lines(lines)))
            else:
                document.wordless += 1
            page.close()
        opened.close()
        if all(document.digest != other.digest for other in documents):
            documents.append(document)
    return documents


def check(documents):
    """Raises `Refusal` where `documents` cannot teach nano, or cannot show that they did."""
    with_words = [document for document in documents if document.pages]
    pages = sum(len(document.pages) for document in with_words)
    unreadable = sum(document.unreadable for document in documents)
    wordless = sum(document.wordless for document in documents)
    if pages >= FEWEST_PAGES and len(with_words) >= FEWEST_DOCUMENTS:
        return
    why = f"{pages} pages of {len(with_words)} documents have words to learn from; {FEWEST_PAGES} pages of " \
          f"{FEWEST_DOCUMENTS} documents are the fewest with which a gain can be told from chance."
    if unreadable:
        why += f" {unreadable} more pages have words in letters for which nano has no pieces (it has Latin, Greek and " \
               "Cyrillic ones): no adapter can teach it those."
    if wordless:
        why += f" {wordless} more pages have no layer of words. Their words must come from a text layer: " \
               "a digitised book usually has one, `ocrmypdf` adds one."
    raise Refusal(why)


def groups_of(documents, alike=0.3):
    """Lists of documents that share more than `alike` of their runs of five words: versions of one text
    must not be on both sides of a split."""
    grams = [document.grams() for document in documents]
    parent = list(range(len(documents)))

    def top(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i, mine in enumerate(grams):
        for j in range(i):
            fewest = min(len(mine), len(grams[j]))
            if fewest and len(mine & grams[j]) > alike * fewest:
                parent[top(i)] = top(j)
    groups = {}
    for i, document in enumerate(documents):
        groups.setdefault(top(i), []).append(document)
    return list(groups.values())


def split(documents, seed=0):
    """Documents to train on, to choose the best step by, and held out: about 65, 15 and 20 in 100
    pages. The order is by a hash of the content, so a document stays where it is when others come."""
    groups = groups_of([document for document in documents if document.pages])
    if len(groups) < FEWEST_DOCUMENTS:
        raise Refusal(
            f"the documents are {len(groups)} different texts when near copies are counted once; {FEWEST_DOCUMENTS} are "
            "the fewest, since texts that are trained on must not be asked about."
        )
    groups.sort(key=lambda group: min(hashlib.sha256(f"{seed}{d.digest}".encode()).hexdigest() for d in group))
    total = sum(len(d.pages) for group in groups for d in group)
    held, chosen, train = [], [], []
    for number, group in enumerate(groups):
        left = len(groups) - number
        if pages_of(held) < 0.2 * total and left > 2 or not held:
            held += group
        elif pages_of(chosen) < 0.15 * total and left > 1 or not chosen:
            chosen += group
        else:
            train += group
    if not train:
        raise Refusal("one text is most of the pages, so nothing would be left to train on.")
    return train, chosen, held


def pages_of(documents):
    return sum(len(document.pages) for document in documents)


def some_pages(documents, most, seed=0, asked=frozenset()):
    """At most `most` pages `(document, number, words)` of `documents`: those that are `asked` for, `(name,
    number)`, and of the others some that are drawn evenly."""
    pages = [(d, number, words) for d in documents for number, words in d.pages]
    if len(pages) <= most:
        return pages
    first = [i for i, (document, number, _) in enumerate(pages) if (document.name, number) in asked][:most]
    others = sorted(set(range(len(pages))) - set(first))
    chosen = random.Random(seed).sample(others, most - len(first))
    return [pages[i] for i in sorted(first + chosen)]


def drawn(pages, scale=(1.0, 1.0)):
    """For each of `pages`: its words as a `Page`, and its picture, `[height, width]` grey."""
    size = round(GRID[0] * scale[0]), round(GRID[1] * scale[1])
    opened, path = None, None
    for document, number, words in pages:
        if document.path != path:
            if opened:
                opened.close()
            opened, path = pdfium.PdfDocument(document.path), document.path
        page = opened[number - 1]
        builder = words if size == GRID else words_of(page, *size)
        yield as_page(builder, draw(page, *size))
        page.close()
    if opened:
        opened.close()


def as_page(builder, picture):
    """A built page as training reads it, without the detour over a file."""
    import io

    file = io.BytesIO()
    builder.write(file, picture)
    file.seek(0)
    return Page(file)
