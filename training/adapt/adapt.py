"""Adapts nano to one's own documents: a folder of PDFs becomes an adapter for `pagesight model import`.

    python adapt.py FOLDER --out ADAPTER
    pagesight model import ADAPTER --name mine
    pagesight --index NEW index --model mine FOLDER

For print, writing or scans that nano reads badly. The PDFs need words: a text layer, as digitised books
have one, or that `ocrmypdf` adds. A fifth of the documents is held out; the adapter is written only if it
finds more on them than nano does, and forgets little of ordinary pages. Otherwise the reason is said, the
exit status is 1, and the folder has a card without an adapter.
"""

import argparse
import copy
import json
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402

import card  # noqa: E402
from collection import Refusal, check, pages_of, read_documents, some_pages, split  # noqa: E402
from labelled import labelled_on, pages_asked, read_labelled  # noqa: E402
from lora import PARTS, Adapter, digest_of  # noqa: E402
from model import Nano  # noqa: E402
from progress import Progress  # noqa: E402
from questions import questions_of  # noqa: E402
from ranking import Pages, ndcg5  # noqa: E402
from teach import WINDOWS, Teacher, store_of  # noqa: E402
from tokens import Pieces  # noqa: E402

ROOT = HERE.parent.parent
CURVE = (0, 32, 128, 512, 2048, 8192, 32768)
"""Examples after which the documents of the choice are looked at."""
CHOICE_PAGES, HELD_PAGES, GENERAL_PAGES = 24, 80, 40
EACH = 40
"""Questions of a kind on the held-out documents; half as many on those of the choice."""
FEWEST_QUESTIONS = 20
STRENGTHS = (1.0, 0.75, 0.5)
"""Of the adapter, tried in this order until ordinary pages lose little."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", metavar="FOLDER", help="folder of PDFs with words")
    parser.add_argument("--out", required=True, metavar="ADAPTER", help="folder to write; it must not be there or be empty")
    parser.add_argument("--base", default=str(ROOT / "model/nano"), help="the folder of nano")
    parser.add_argument("--queries", metavar="FILE",
                        help="questions of yours with their pages, as `pagesight eval` reads them: they are measured "
                             "where their documents are held out, and help to choose the step")
    parser.add_argument("--general", default=str(ROOT / "fixtures/pdf"),
                        help="folder of ordinary PDFs that must be found as well as before ['' for none]")
    parser.add_argument("--examples", type=int, default=2048, help="windows of pages to learn from")
    parser.add_argument("--minutes", type=float, help="learn from fewer, so that the whole takes about so long")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--licence", default="other", help="of the adapter, for its card: it depends on your documents'")
    parser.add_argument("--source", default="documents of the one who made it", help="where the PDFs are from, for the card")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser.parse_args()


class Examination:
    """Pages and questions by which models are compared; the figures of nano itself are kept."""

    def __init__(self, documents, pages, each, edge, pieces, progress, name, seed, asked=()):
        self.pieces, self.progress, self.name = pieces, progress, name
        chosen = some_pages(documents, pages, seed, pages_asked(asked))
        self.questions = questions_of(chosen, each, seed) + list(labelled_on(asked, chosen))
        self.pages = Pages(chosen, edge, progress.counting(f"drawing the {name}"))

    def ranks(self, nano):
        return self.pages.rank(nano, self.pieces, self.questions, self.progress.counting(f"ranking the {self.name}"))


def counts(documents):
    words = sum(len(page.words) for document in documents for _, page in document.pages)
    return {"documents": len(documents), "pages": pages_of(documents), "words": words}


def course(teacher, adapter, base, examination, examples, progress):
    """Learns, looks at the documents of the choice on the way, and goes back to the best point."""
    points, best, curve = sorted({*(e for e in CURVE if e < examples), examples}), None, []
    for point in points:
        losses = teacher.learn(point)
        score = float(ndcg5(examination.ranks(adapter.merged(base))).mean())
        curve.append({"examples": teacher.step * WINDOWS, "seconds": round(teacher.seconds, 1), "ndcg5": score})
        said = f", a token's best patch is right {losses['hit']:.2f}" if point else ""
        progress.say(f"{teacher.step * WINDOWS} examples, {teacher.seconds:.0f} s: nDCG@5 {score:.3f}{said}")
        if best is None or score > best[0]:
            best = (score, curve[-1]["examples"], adapter.state())
    adapter.restore(best[2])
    return curve, best[1]


def strengthened(adapter, base, general, before, progress):
    """The strength, 1 or less, at which ordinary pages are found as well as before, or the least one; between
    what a model was and what it became lies one that can do both (Wortsman et al. 2022, *Robust fine-tuning*).
    Returns it with the figures of the ordinary pages."""
    learned = adapter.state()
    for strength in STRENGTHS:
        adapter.restore(learned)
        adapter.weaken(strength)
        # What is measured is what is saved: numbers of 16 bits.
        adapter.round()
        if general is None:
            return strength, None
        figures = card.compared(before, general.ranks(adapter.merged(base)), general.questions)
        progress.say(f"at strength {strength:g} ordinary pages have nDCG@5 {figures['ndcg5']['after']:.3f}")
        if figures["ndcg5"]["change"] >= -card.GENERAL_LOSS:
            break
    return strength, figures


def planned(teacher, args, examination_seconds, used, progress):
    """How many examples there is time for: measured on two steps of a teacher that is thrown away."""
    began = time.time()
    teacher.learn(2 * WINDOWS)
    each = (time.time() - began) / (2 * WINDOWS)
    examples = max(args.examples, 1)
    # Looks at the pages of the choice, and twice at all others.
    rest = len([e for e in CURVE if e < examples]) * examination_seconds["choice"] + examination_seconds["after"]
    if args.minutes:
        fitting = int((60 * args.minutes - used - rest) / each)
        if fitting < examples:
            examples = max(fitting // WINDOWS * WINDOWS, WINDOWS)
            progress.say(f"{args.minutes:g} minutes are enough for {examples} examples")
    progress.say(f"learning from {examples} windows of pages, about {(examples * each + rest) / 60:.0f} minutes to go")
    return examples


def adapt(args, progress):
    """The figures of the card, and the adapter that they are of."""
    began = time.time()
    torch.set_num_threads(args.threads)
    documents, failed = read_documents(args.folder, progress.counting("reading PDFs"))
    for line in failed:
        progress.say(f"left out: {line}")
    check(documents)
    asked = read_labelled(args.queries, documents) if args.queries else []
    train, choice, held = split(documents, args.seed)
    progress.say(f"{len(train)} documents to learn from ({pages_of(train)} pages), {len(choice)} to choose the step by "
                 f"({pages_of(choice)}), {len(held)} held out ({pages_of(held)})")
    pieces, base = Pieces(str(Path(args.base) / "tokenizer.json")), Nano.open(args.base)
    edge = base.size.edge

    def examination(documents, pages, each, name, asked=()):
        return Examination(documents, pages, each, edge, pieces, progress, name, args.seed, asked)

    chosen = examination(choice, CHOICE_PAGES, EACH // 2, "pages of the choice", asked)
    test = examination(held, HELD_PAGES, EACH, "held-out pages", asked)
    if asked:
        of = [sum(question["kind"] == "labelled" for question in some.questions) for some in (test, chosen)]
        progress.say(f"of {len(asked)} questions in {args.queries} {of[0]} are about held-out pages and {of[1]} choose the step; "
                     "the others are about documents to learn from, and are not asked")
    for documents_, of in ((chosen, "of the choice"), (test, "held out")):
        if len(documents_.questions) < FEWEST_QUESTIONS:
            raise Refusal(f"the documents {of} give {len(documents_.questions)} questions that one page alone answers; "
                          f"{FEWEST_QUESTIONS} are the fewest. More pages with more of a text would give more.")
    general = None
    if args.general:
        general = examination(read_documents(args.general)[0], GENERAL_PAGES, EACH // 2, "ordinary pages")
    since = time.time()
    before = test.ranks(base)
    general_before = general.ranks(base) if general else None
    after_seconds = time.time() - since
    progress.say(f"nano as it is: nDCG@5 {ndcg5(before).mean():.3f} on the held-out pages"
                 + (f", {ndcg5(general_before).mean():.3f} on ordinary ones" if general else ""))

    pages = [(document, number, words) for document in train for number, words in document.pages]
    store = store_of(pages, pieces, args.seed, progress.counting("drawing pages to learn from"))
    rehearsal = Adapter(copy.deepcopy(base), args.parts, args.rank, 2 * args.rank, args.seed)
    share = len(chosen.pages.pages) / max(len(test.pages.pages) + (len(general.pages.pages) if general else 0), 1)
    seconds = {"choice": after_seconds * share, "after": after_seconds}
    examples = planned(Teacher(rehearsal, store, 1000, args.rate, args.seed), args, seconds, time.time() - began, progress)

    adapter = Adapter(copy.deepcopy(base), args.parts, args.rank, 2 * args.rank, args.seed)
    teacher = Teacher(adapter, store, -(-examples // WINDOWS), args.rate, args.seed)
    curve, kept = course(teacher, adapter, base, chosen, examples, progress)
    strength, ordinary = strengthened(adapter, base, general, general_before, progress)
    held_out = card.compared(before, test.ranks(adapter.merged(base)), test.questions)
    result = {
        "refused": card.verdict(held_out, ordinary), "licence": args.licence, "source": args.source,
        "data": {**counts(train + choice + held), "train": counts(train), "choice": counts(choice), "held_out": counts(held),
                 "general": len(general.pages.pages) if general else 0},
        "method": {"parts": args.parts, "rank": args.rank, "alpha": 2 * args.rank, "parameters": adapter.count(),
                   "rate": args.rate, "seed": args.seed, "examples": kept, "strength": strength,
                   "name": "nano",
                   "base": f"model.safetensors of SHA-256 `{digest_of(Path(args.base) / 'model.safetensors')}`",
                   "example": "a window of 8 x 32 patches"},
        "held_out": held_out, "general": ordinary, "curve": curve,
        "seconds": round(time.time() - began, 1), "threads": args.threads,
    }
    sides = {side: [document.name for document in of] for side, of in (("train", train), ("choice", choice), ("held_out", held))}
    return result, adapter, sides, test


def written(test):
    """The questions on held-out pages as `pagesight eval` reads them."""
    for number, question in enumerate(test.questions):
        pages = [test.pages.pages[at] for at in question.get("pages", [question["page"]])]
        yield {"id": f"{question['kind']}-{number:03}", "query": question["query"], "doc": pages[0][0].name,
               "pages": [number for _, number, _ in pages], "kind": question["kind"]}


def main():
    args = arguments()
    out, progress = Path(args.out), Progress(args.quiet)
    if not Path(args.folder).is_dir():
        raise SystemExit(f"error: {args.folder} is no folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SystemExit(f"error: {out} is there already and not empty")
    try:
        result, adapter, sides, test = adapt(args, progress)
    except Refusal as refusal:
        raise SystemExit(f"refused: {refusal}") from None
    out.mkdir(parents=True, exist_ok=True)
    card.write(result, out)
    (out / "documents.json").write_text(json.dumps(sides, indent=2, ensure_ascii=False) + "\n")
    with open(out / "heldout.jsonl", "w") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in written(test))
    for name in ("ndcg5", "recall5"):
        print(f"{name.replace('5', '@5'):9} {card.change(result['held_out'][name]).replace(' | ', '  ')}")
    if result["general"]:
        print(f"ordinary  {card.change(result['general']['ndcg5']).replace(' | ', '  ')}")
    if result["refused"]:
        raise SystemExit(f"refused: {result['refused']}. The card in {out} has the figures; no adapter was written.")
    adapter.save(out, args.base)
    shutil.copy(Path(args.base) / "recipe.json", out)
    print(f"the adapter is in {out}; use it:\n  pagesight model import {out} --name mine\n"
          f"  pagesight --index NEW index --model mine {args.folder}")


if __name__ == "__main__":
    main()
