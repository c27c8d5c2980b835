#!/usr/bin/env python3
"""Fits what scores are worth, and says how well: query/src/verdict.json and its reliability diagram.

    fit_verdict.py QUERIES.jsonl [--short SHORT.jsonl] [--keep OLD.json] [--words WORDS.jsonl] \\
        [--passages MODEL_ID PASSAGES.jsonl [--meant MEANT.jsonl...]] \\
        [--patches MODEL_ID PATCHES.jsonl] \\
        [--json query/src/verdict.json] [--svg benches/results/verdict.svg]

WORDS, PASSAGES and PATCHES are what `channel_scores` wrote of an index: scores of the words of pages, of
words and of the meaning beside them, and of their pictures alone, as where nothing is known of the words.
SHORT is what `short_questions.py` made; WORDS and PASSAGES have their scores, too. What is not given is
taken from OLD. Needs numpy.

MEANT are questions of which only the passages tell: paraphrases, and questions about other things than
any page (`answers` is empty). Paraphrases are asked of their own document and of another one alone: of all, another document may answer
them as well, which nobody has labelled.

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
# Of each kind of question whose answer is among the best ten, this share may be called `none`; where the
# passages are asked there are paraphrases, of which many are no nearer than what answers nothing.
LOST, LOST_MEANT = 0.01, 0.08
# Questions of one common word ask no less than this, and those that ask for less than the second are
# short: of a few words a page has all or not the right ones, of a sentence no page has all.
LEAST_ASKED = 2.0
SHORT_BELOW = 4.2
WORDS = ["bias", "share", "share_of_short", "apart", "asked", "short", "of_best"]
# As `PassageWeights` of query/src/passages.rs, and the pages that a channel finds.
TOKENS, POOLED, ENOUGH = 1.0, 0.5, 0.5
DEPTH = 100


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
        self.right, self.of_answer = max(self.y), []


def of_words(line, score, z):
    share = min(max(score / line["most"], 0), 1) if line["most"] else 0.0
    return of_words_row(line["most"], share, z)


def of_patches(line, score, z):
    return [z]


class AskedBoth:
    """A question asked of the words and the passages of some pages, which are fused as the program
    does."""

    def __init__(self, question, words, passages, pages, within, answerable):
        scores = {at: score for at, score in words["scores"] if within[at]}
        count = int(within.sum())
        values = np.array(list(scores.values()) or [0.0])
        mean = values.sum() / count
        deviation = math.sqrt(max((values**2).sum() / count - mean**2, 0))
        of_words = lambda score: (score - mean) / deviation if deviation > 0 else 0.0
        found = sorted(scores, key=lambda at: (-scores[at], at))[:DEPTH]
        rest = scores[found[-1]] if len(found) == DEPTH else 0.0
        scores = {at: scores[at] for at in found}
        share = lambda score: min(max(score / words["most"], 0), 1) if words["most"] else 0.0
        weight = min(share(scores[found[0]]) / ENOUGH, 1) ** 2 if found else 0.0
        pooled = dict(passages["pooled"])
        meant = {at: TOKENS * z + POOLED * pooled[at] for at, z in passages["tokens"]}
        least = min(meant.values())
        fused = {at: weight * of_words(scores.get(at, rest)) + meant.get(at, least)
                 for at in {*scores, *meant}}
        best = sorted(fused, key=lambda at: (-fused[at], at))[:BEST]
        cosine = lambda z: passages["mean"] + z * passages["deviation"]
        self.of_answer = [max(0.0, cosine(max(pooled.values())))]
        of_best = lambda z, most: z / most if most > 0 else 0.0
        # What a page that words did not list has of them is nothing; its place is that of the last.
        z_words = {at: of_words(scores.get(at, 0.0)) for at in best}
        z_meant = {at: meant.get(at, least) for at in best}
        best_words = max(0.0, *(z_words[at] for at in best if at in scores), 0.0)
        self.question, self.answerable = question, answerable
        self.x, self.y = [], []
        for at in best:
            score, z = scores.get(at, 0.0), z_words[at]
            row = of_words_row(words["most"], share(score), z) + [of_best(z, best_words)]
            self.x.append(row + [z_meant[at]])
            self.y.append(float(answerable and answers(question, *pages[at])))
        self.right = max(self.y)


def of_words_row(most, share, z):
    asked = max(math.log1p(most or 0.0), LEAST_ASKED)
    short = max(SHORT_BELOW - asked, 0)
    return [share, share * short, math.log1p(max(z, 0)), asked, short]


def asked_both(questions, path):
    """Every question that the model of meaning understands, asked as `channel_scores` asked it."""
    with open(path) as file:
        pages = json.loads(file.readline())["pages"]
        lines = [json.loads(line) for line in file]
    words = {line["id"]: line for line in lines if line["channel"] == "words"}
    questions = {question["id"]: question for question in questions}
    for line in lines:
        if line["channel"] != "passages" or "tokens" not in line or line["id"] not in questions:
            continue
        question, documents = questions[line["id"]], set(line["documents"])
        if question["label"] == "paraphrase" and len(documents) > 1:
            continue
        within = np.array([document in documents for document, _ in pages])
        own = any(document.endswith(question["doc"]) for document in documents)
        answerable = bool(question["answers"]) if "answers" in question else own
        yield AskedBoth(question, words[line["id"]], line, pages, within, answerable)


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
    best = np.array([[logits(np.array(row.x), page).max(), *row.of_answer] for row in rows])
    answer = logit_fit(best, np.array([row.right for row in rows]), weights)
    return page, answer


def predict(row, page, answer):
    found = logits(np.array(row.x), page)
    best = np.array([[found.max(), *row.of_answer]])
    return chance(logits(best, answer))[0], chance(found)


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


def least_of_answers(rows, answers, right, lost=LOST):
    """The probability below which nothing speaks for an answer: all but a share of `lost` of each kind
    of question with an answer lie above."""
    kinds = np.array([row.question["label"] for row in rows])
    found = [np.sort(answers[(right > 0) & (kinds == kind)]) for kind in sorted(set(kinds))]
    weak = digits(min(of_kind[int(len(of_kind) * lost)] for of_kind in found if len(of_kind)))
    none = answers < weak
    print(f"  none below {weak}: {none[right == 0].sum()} of {(right == 0).sum()} without an answer, "
          f"{none[right > 0].sum()} of {int(right.sum())} with one")
    return weak


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
    parser.add_argument("--words")
    parser.add_argument("--passages", nargs=2, metavar=("MODEL_ID", "FILE"))
    parser.add_argument("--meant", nargs="*", default=[])
    parser.add_argument("--patches", nargs=2, metavar=("MODEL_ID", "FILE"))
    parser.add_argument("--keep")
    parser.add_argument("--json")
    parser.add_argument("--svg")
    options = parser.parse_args()
    with open(options.queries) as file:
        questions = [json.loads(line) for line in file]

    read = lambda path: [json.loads(line) for line in open(path)] if path else []
    short = read(options.short)
    kept = json.load(open(options.keep)) if options.keep else {}
    order = ["words", "answer_by_words", "passages", "patches", "bounds"]
    diagrams, fitted = [], {"passages": [], "patches": [], **kept}
    if options.words:
        words = list(asked(questions + short, options.words, "words", of_words))
        answers, right, table, error = report("words", words)
        diagrams.append(("words", table, error))
        page, answer = fit(words)
        fitted["words"] = {"least_asked": LEAST_ASKED, "short_below": SHORT_BELOW,
                           **dict(zip(WORDS, map(digits, page)))}
        fitted["answer_by_words"] = dict(zip(["bias", "best"], map(digits, answer)))
        fitted["bounds"] = [least_of_answers(words, answers, right), 0.5]
    if options.passages:
        model, path = options.passages
        meant = [question for path in options.meant for question in read(path)]
        rows = list(asked_both(questions + short + meant, path))
        answers, right, table, error = report("words and passages", rows)
        diagrams.append(("words and passages", table, error))
        page, answer = fit(rows)
        fitted["passages"] = [{
            "model": model,
            "words": {"least_asked": LEAST_ASKED, "short_below": SHORT_BELOW,
                      **dict(zip(WORDS, map(digits, page)))},
            "apart": digits(page[len(WORDS)]),
            "answer": dict(zip(["bias", "best"], map(digits, answer))),
            "similarity": digits(answer[2]),
            "weak": least_of_answers(rows, answers, right, LOST_MEANT),
        }]
    if options.patches:
        model, path = options.patches
        rows = list(asked(questions, path, "patches", of_patches))
        _, _, table, error = report("patches", rows)
        diagrams.append(("pictures alone", table, error))
        page, answer = fit(rows)
        fitted["patches"] = [{
            "model": model,
            "page": dict(zip(["bias", "z", "of_best"], map(digits, page))),
            "answer": dict(zip(["bias", "best"], map(digits, answer))),
        }]
    fitted = {name: fitted[name] for name in order}
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
