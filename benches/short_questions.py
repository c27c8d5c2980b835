#!/usr/bin/env python3
"""Questions of one to three words, as people type them into a search box, made from the words of pages.

    short_questions.py PAGES.jsonl [COUNT] > short.jsonl

PAGES has a line of JSON a page: doc, page, text. Every page that has all of the words answers, and is
listed under `answers`; a fit of verdicts takes them beside labelled questions, which are longer. One in
six is of words that are on no page.
"""

import json
import random
import re
import sys


def words(text):
    return re.findall(r"[A-Za-z]{5,}", text)


def main():
    with open(sys.argv[1]) as file:
        pages = [json.loads(line) for line in file]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 120
    chosen = random.Random(7)
    have = [{word.lower() for word in words(page["text"])} for page in pages]
    made = 0
    while made < count:
        if made % 6 == 5:
            letters = lambda n: "".join(chosen.choice("bcdfghjklmnpqrstvwxz") for _ in range(n))
            asked, answers = [letters(chosen.randint(6, 10)) for _ in range(1 + made % 3)], []
        else:
            at = chosen.randrange(len(pages))
            text = words(pages[at]["text"])
            if len(text) < 30:
                continue
            start = chosen.randrange(len(text) - 3)
            asked = [word.lower() for word in text[start : start + 1 + made % 3]]
            answers = [[page["doc"], page["page"]] for page, own in zip(pages, have)
                       if own.issuperset(asked)]
            if len(answers) > 60:
                continue
        question = {"id": f"short-{made:03}", "query": " ".join(asked), "label": "short",
                    "doc": pages[0]["doc"] if not answers else answers[0][0],
                    "pages": [1], "answers": answers}
        print(json.dumps(question))
        made += 1


if __name__ == "__main__":
    main()
