"""Questions about pages that are known: words of a page that stand on no other one.

Nobody has to label anything, and no page is asked about that was trained on. The kinds are those of
known_items.py; here letters may be of any script that nano has pieces for.
"""

import random
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tokens import STOP_WORDS  # noqa: E402

KINDS = ("word", "phrase", "number", "title")


def lines_of(words):
    """Lines of `(words, height of a small letter)` of a `PageBuilder`, in reading order."""
    lines, last = [], None
    for i, word in enumerate(words.words):
        baseline, small = words.band[i]
        left = words.edges[words.ends[i - 1] if i else 0][0]
        if last and abs(baseline - last[0]) < 0.5 * small and 0 <= left - last[1] < 8 * small:
            lines[-1][0].append(word)
        else:
            lines.append(([word], small))
        last = (baseline, words.edges[words.ends[i] - 1][1])
    return lines


def candidates(lines):
    body = np.median([small for words, small in lines for _ in words]) if lines else 0
    for words, small in lines:
        if small > 1.3 * body and 2 <= len(words) <= 10:
            yield "title", words
        for i, word in enumerate(words):
            if word.isalpha() and len(word) >= 6 and word not in STOP_WORDS:
                yield "word", [word]
            if sum(c.isdigit() for c in word) >= 4:
                yield "number", [word]
            three = words[i : i + 3]
            if len(three) == 3 and all(w.isalpha() for w in three) and sum(map(len, three)) >= 12 \
                    and not set(three) <= STOP_WORDS:
                yield "phrase", three


def questions_of(pages, each, seed=0):
    """Up to `each` questions of a kind: `{"query", "page" (its place in pages), "kind"}`."""
    lines = [lines_of(words) for _, _, words in pages]
    texts = [" " + " ".join(w for words, _ in page for w in words) + " " for page in lines]
    found = {kind: [] for kind in KINDS}
    for at, page in enumerate(lines):
        for kind, words in candidates(page):
            found[kind].append((at, " ".join(words)))
    rng, questions = random.Random(seed), []
    for kind in KINDS:
        rng.shuffle(found[kind])
        asked = set()
        for at, query in found[kind]:
            if len(asked) == each:
                break
            if query not in asked and sum(f" {query} " in text for text in texts) == 1:
                asked.add(query)
                questions.append({"query": query, "page": at, "kind": kind})
    return questions
