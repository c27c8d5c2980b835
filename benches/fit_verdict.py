#!/usr/bin/env python3
"""Fits what scores are worth, and says how well: query/src/verdict.json and its reliability diagram.

    fit_verdict.py QUERIES.jsonl [--short SHORT.jsonl] --words WORDS.jsonl \\
        [--patches MODEL_ID PATCHES.jsonl] \\
        [--json query/src/verdict.json] [--svg benches/results/verdict.svg]

WORDS and PATCHES are what `channel_scores` wrote of an index: scores of the words of pages, and of their
pictures alone, as where nothing is known of the words. SHORT is what `short_questions.py`
made; WORDS has their scores, too. Needs numpy.

Each question is asked four times: of all documents and of its own, where it has an answer; of all
documents but its own and of another one, where it has none. A page answers when it is labelled so;
an answer is right when one of its ten best pages answers. What is said of a document is fitted on
other documents alone: ten folds over the documents of the questions.
"""

import argparse
import json
import math
import random

import numpy as np

BEST = 10
FOLDS = 10
BINS = 10
# Of each kind of question whose answer is among the best ten, this share may be called `none`.
LOST = 0.01
# Questions of one common word ask no less than this, and those that ask for less than the second are
# short: of a few words a page has all or not the right ones, of a sentence no page has all.
LEAST_ASKED = 2.0
SHORT_BELOW = 4.2
WORDS = ["bias", "share", "share_of_short", "apart", "asked", "short", "of_best"]


def logit_fit(x, y, weights, ridge=1e-3):
    """Logistic regression with a bias in front, by Newton's method."""
    x = np.hstack([np.ones((len(x), 1)), x])
    beta = np.zeros(x.shape[1])
    for _ in range(60):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        penalty = ridge * np.r_[0, beta[1:]]
        gradient = x.T @ (weights * (p - y)) + penalty
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        beta -= step
        if np.abs(step).max() < 1e-9:
            break
    return beta


def logits(x, beta):
    return beta[0] + x @ beta[1:]


def chance(logit):
    return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))


def answers(question, document, number):
    if "answers" in question:
        return any(document.endswith(of) and number == page for of, page in question["answers"])
    return document.endswith(question["doc"]) and number in question["pages"]


class Asked:
    """A question asked of some pages: its best pages, what is known of them, and which answer."""

    def __init__(self, question, line, pages, within, answerable, features):
        scores = {at: score for at, score in line["scores"] if within[at]}
        count = int(within.sum())
        values = np.array(list(scores.values()) or [0.0])
        mean = values.sum() / count
        deviation = math.sqrt(max((values**2).sum() / count - mean**2, 0))
        best = sorted(scores, key=lambda at: (-scores[at], at))[:BEST]
        z_best = (scores[best[0]] - mean) / deviation if best and deviation > 0 else 0.0
        self.question, self.answerable = question, answerable
        self.x, self.y = [], []
        for at in best:
            z = (scores[at] - mean) / deviation if deviation > 0 else 0.0
            self.x.append(features(line, scores[at], z) + [z / z_best if z_best > 0 else 0.0])
            self.y.append(float(answerable and answers(question, *pages[at])))
        if not best:
            self.x, self.y = [features(line, 0.0, 0.0) + [0.0]], [0.0]
        self.right = max(self.y)


def of_words(line, score, z):
    share = min(max(score / line["most"], 0), 1) if line["most"] else 0.0
    asked = max(math.log1p(line["most"] or 0.0), LEAST_ASKED)
    short = max(SHORT_BELOW - asked, 0)
    return [share, share * short, math.log1p(max(z, 0)), asked, short]


def of_patches(line, score, z):
    return [z]


def asked(questions, path, channel, features):
    """Every question, asked four times."""
    with open(path) as file:
        pages = json.loads(file.readline())["pages"]
        lines = [json.loads(line) for line in file]
    lines = {line["id"]: line for line in lines if line["channel"] == channel}
    documents = sorted({document for document, _ in pages})
    of = np.array([documents.index(document) for document, _ in pages])
    every = np.ones(len(pages), bool)
    chosen = random.Random(18)
    for question in questions:
        line = lines.get(question["id"])
        if line is not None and "answers" in question:
            # Any document may have such words: it is asked of all.
            yield Asked(question, line, pages, every, bool(question["answers"]), features)
            continue
        own = [n for n, document in enumerate(documents) if document.endswith(question["doc"])]
        if line is None or len(own) != 1:
            continue
        other = chosen.choice([n for n in range(len(documents)) if n != own[0]])
        for within, answerable in [
            (every, True), (of == own[0], True), (of != own[0], False), (of == other, False),
        ]:
            yield Asked(question, line, pages, within, answerable, features)


def fit(rows):
    """The regression of pages, then that of answers by their best page."""
    x = np.array([x for row in rows for x in row.x])
    y = np.array([y for row in rows for y in row.y])
    # Each kind of question counts the same, and ten pages of a question are one question.
    kinds = [row.question["label"] for row in rows]
    weight = {kind: len(rows) / len(set(kinds)) / kinds.count(kind) for kind in set(kinds)}
    weights = np.array([weight[kind] for kind in kinds])
    of_pages = np.array([w / len(row.x) for w, row in zip(weights, rows) for _ in row.x])
    page = logit_fit(x, y, of_pages)
    best = np.array([[logits(np.array(row.x), page).max()] for row in rows])
    answer = logit_fit(best, np.array([row.right for row in rows]), weights)
    return page, answer


def predict(row, page, answer):
    found = logits(np.array(row.x), page)
    return chance(logits(np.array([[found.max()]]), answer))[0], chance(found)


def left_out(rows):
    """The chance of each answer and page, by what was fitted on other documents."""
    documents = sorted({row.question["doc"] for row in rows})
    random.Random(5).shuffle(documents)
    fold = {document: n % FOLDS for n, document in enumerate(documents)}
    answers, pages = [None] * len(rows), [None] * len(rows)
    for n in range(FOLDS):
        fitted = fit([row for row in rows if fold[row.question["doc"]] != n])
        for at, row in enumerate(rows):
            if fold[row.question["doc"]] == n:
                answers[at], pages[at] = predict(row, *fitted)
    return np.array(answers), pages


def reliability(p, y):
    """For each tenth of the scale: how many, what was said, what was so; and the mean difference."""
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    table = [(n, p[bins == n].mean(), y[bins == n].mean(), int((bins == n).sum()))
             for n in range(BINS) if (bins == n).any()]
    error = sum(count * abs(said - so) for _, said, so, count in table) / len(p)
    return table, error


def report(name, rows):
    answers, pages = left_out(rows)
    right = np.array([row.right for row in rows])
    table, error = reliability(answers, right)
    print(f"{name}: answers, of documents left out of the fit")
    print("  said      mean   so     answers")
    for n, said, so, count in table:
        print(f"  {n / BINS:.1f}-{(n + 1) / BINS:.1f}   {said:.3f}  {so:.3f}  {count:>6}")
    print(f"  expected calibration error {error:.3f} over {len(rows)}")
    for label in sorted({row.question["label"] for row in rows}):
        which = np.array([row.question["label"] == label for row in rows])
        print(f"    {label}: {reliability(answers[which], right[which])[1]:.3f} over {which.sum()}")
    every = np.concatenate(pages)
    answered = np.concatenate([row.y for row in rows])
    print(f"  pages: {reliability(every, answered)[1]:.3f} over {len(every)}")
    brier = ((answers - right) ** 2).mean(), right.mean() * (1 - right.mean())
    print(f"  Brier score {brier[0]:.3f}, that of always saying the mean {brier[1]:.3f}")
    return answers, right, table, error


def svg(diagrams):
    """The diagrams side by side, what was said along, what was so up."""
    parts, side, gap = [], 260, 60
    width = len(diagrams) * (side + gap) + gap
    for at, (name, table, error) in enumerate(diagrams):
        x0, y0 = gap + at * (side + gap), 40 + side
        place = lambda said, so: (x0 + said * side, y0 - so * side)
        most = max(count for *_, count in table)
        parts.append(f'<rect x="{x0}" y="40" width="{side}" height="{side}" fill="none" stroke="#999"/>')
        parts.append(f'<path d="M{x0} {y0}L{x0 + side} 40" stroke="#bbb" stroke-dasharray="4"/>')
        for _, said, so, count in table:
            x, y = place(said, so)
            radius = 3 + 9 * math.sqrt(count / most)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#27c" fill-opacity=".6"/>')
        parts.append(f'<text x="{x0}" y="30">{name}: error {error:.3f}</text>')
        parts.append(f'<text x="{x0}" y="{y0 + 20}">said 0 to 1; up: so, 0 to 1; size: answers</text>')
    style = 'font-family="sans-serif" font-size="12"'
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{side + 80}" {style}>\n'
            f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n')


def digits(value):
    return float(f"{value:.5g}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("queries")
    parser.add_argument("--short")
    parser.add_argument("--words", required=True)
    parser.add_argument("--patches", nargs=2, metavar=("MODEL_ID", "FILE"))
    parser.add_argument("--json")
    parser.add_argument("--svg")
    options = parser.parse_args()
    with open(options.queries) as file:
        questions = [json.loads(line) for line in file]

    short = []
    if options.short:
        with open(options.short) as file:
            short = [json.loads(line) for line in file]
    words = list(asked(questions + short, options.words, "words", of_words))
    answers, right, table, error = report("words", words)
    diagrams = [("words", table, error)]
    page, answer = fit(words)
    kinds = np.array([row.question["label"] for row in words])
    found = [np.sort(answers[(right > 0) & (kinds == kind)]) for kind in sorted(set(kinds))]
    weak = digits(min(of_kind[int(len(of_kind) * LOST)] for of_kind in found))
    none = answers < weak
    print(f"  none below {weak}: {none[right == 0].sum()} of {(right == 0).sum()} without an answer, "
          f"{none[right > 0].sum()} of {int(right.sum())} with one")
    fitted = {
        "words": {"least_asked": LEAST_ASKED, "short_below": SHORT_BELOW,
                  **dict(zip(WORDS, map(digits, page)))},
        "answer_by_words": dict(zip(["bias", "best"], map(digits, answer))),
        "patches": [],
        "bounds": [weak, 0.5],
    }
    if options.patches:
        model, path = options.patches
        rows = list(asked(questions, path, "patches", of_patches))
        _, _, table, error = report("patches", rows)
        diagrams.append(("pictures alone", table, error))
        page, answer = fit(rows)
        fitted["patches"].append({
            "model": model,
            "page": dict(zip(["bias", "z", "of_best"], map(digits, page))),
            "answer": dict(zip(["bias", "best"], map(digits, answer))),
        })
    print(json.dumps(fitted))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(fitted, file, indent=2)
            file.write("\n")
    if options.svg:
        with open(options.svg, "w") as file:
            file.write(svg(diagrams))


if __name__ == "__main__":
    main()
