"""Adapts a published ColPali (3 billion numbers) to one's own documents, on a GPU.

    python large.py FOLDER --base DIR --name vidore/colpali-v1.3-hf --out ADAPTER --minutes 7

What adapt.py does for nano, with the loss of ColPali's own training (Faysse et al. 2024): a question
against the pages of its batch. `--base` is a folder that transformers loads as `ColPaliForRetrieval`, `--name`
what it is called on the hub, where `pagesight model import` looks for it. Words may be of any script.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pypdfium2 as pdfium  # noqa: E402
import torch  # noqa: E402
from transformers import ColPaliForRetrieval, ColPaliProcessor  # noqa: E402

import card  # noqa: E402
from collection import Refusal, check, pages_of, read_texts, some_pages, split  # noqa: E402
from labelled import labelled_on, pages_asked, read_labelled  # noqa: E402
from lora import LowRank, save  # noqa: E402
from progress import Progress  # noqa: E402
from ranking import ndcg5, rank_of  # noqa: E402

PIXELS = 1100
"""The longer side of a page's picture, before the model's processor squeezes it."""
TEMPERATURE = 0.02
NEGATIVES, FIRST, LAST, ALIKE = 3, 10, 100, 0.95
"""Of a batch so many pages for each that was drawn are those that the model takes for it most easily: of the
ranks from FIRST to LAST by its questions, and with a score under ALIKE of its own, since a page that is more
alike may answer too."""
SHORTEST, LONGEST = 6, 80
"""Letters of a line that is asked."""


def questions_of(pages, each, seed=0):
    """Lines that stand on one page alone, `each` a page: `{"query", "page", "kind"}`."""
    texts = ["\n".join(lines.words) for _, _, lines in pages]
    rng, questions = random.Random(seed), []
    for at, (_, _, lines) in enumerate(pages):
        fit = [line for line in dict.fromkeys(lines.words) if SHORTEST <= len(line) <= LONGEST and any(c.isalpha() for c in line)]
        rng.shuffle(fit)
        alone = [line for line in fit if sum(line in text for text in texts) == 1]
        questions += [{"query": line, "page": at, "kind": "line"} for line in alone[:each]]
    return questions


class Pictures:
    """Pictures of pages, drawn once."""

    def __init__(self, pages):
        self.images = []
        for document, number, _ in pages:
            opened = pdfium.PdfDocument(document.path)
            page = opened[number - 1]
            self.images.append(page.render(scale=PIXELS / max(page.get_size())).to_pil().convert("RGB"))
            opened.close()


class Retriever:
    """The model with factors beside the linear layers of its language part and its head."""

    def __init__(self, base, rank, device, seed=0):
        torch.manual_seed(seed)
        self.device, self.rank = device, rank
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.model = ColPaliForRetrieval.from_pretrained(base, dtype=dtype).to(device).eval()
        self.processor = ColPaliProcessor.from_pretrained(base)
        self.model.requires_grad_(False)
        self.layers = {}
        for name, module in list(self.model.named_modules()):
            wanted = ".language_model.layers." in name or name == "embedding_proj_layer"
            if isinstance(module, torch.nn.Linear) and wanted:
                above, _, last = name.rpartition(".")
                self.layers[name] = LowRank(module, rank, rank).to(device)
                for factor in (self.layers[name].a, self.layers[name].b):
                    factor.data = factor.data.float()
                setattr(self.model.get_submodule(above), last, self.layers[name])
        if device == "cuda":
            self.model.vlm.gradient_checkpointing_enable({"use_reentrant": False})

    def parameters(self):
        return [p for low in self.layers.values() for p in (low.a, low.b)]

    def switch(self, on):
        """With the factors, or the base alone."""
        for low in self.layers.values():
            low.scale = 1.0 if on else 0.0

    def encode(self, batch):
        """`[n, tokens, dim]` unit rows and which of them count."""
        batch = batch.to(self.device)
        vectors = self.model(**batch).embeddings.float()
        return vectors, batch["attention_mask"].bool()

    def pages(self, images):
        return self.encode(self.processor.process_images(images))

    def queries(self, texts):
        return self.encode(self.processor.process_queries(texts))

    @torch.no_grad()
    def scores(self, images, questions, together=8):
        """For each question the score of each page, on the CPU."""
        pages = torch.cat([self.pages(images[i : i + together])[0] for i in range(0, len(images), together)])
        for i in range(0, len(questions), together):
            some = questions[i : i + together]
            yield from maxsim(*self.queries([q["query"] for q in some]), pages).cpu()

    def ranks(self, images, questions):
        return [rank_of(row.tolist(), question) for question, row in zip(questions, self.scores(images, questions))]


def maxsim(queries, real, pages):
    """`[queries, pages]`: the mean over a query's tokens of their best patch."""
    scores = torch.stack([(queries @ page.T).amax(2) for page in pages], 1)
    return (scores * real[:, None]).sum(2) / real.sum(1, keepdim=True)


def mined(retriever, images, questions):
    """For each page the pages that are hard to tell from it, hardest first. It may be long: the model looks at
    all pages once."""
    hard = {}
    for question, row in zip(questions, retriever.scores(images, questions)):
        own, right = row[question["page"]], question.get("pages", [question["page"]])
        order = [at for at in row.argsort(descending=True).tolist() if at not in right]
        # The best ranks may be right too; where there are few pages, what is there must do.
        order = order[min(FIRST, len(order) // 2) : LAST]
        hard.setdefault(question["page"], []).extend(at for at in order if row[at] < ALIKE * own)
    return {page: list(dict.fromkeys(others)) for page, others in hard.items()}


def batch_of(rng, of_page, hard, batch):
    """Pages with questions, each once: some that are drawn, and for each those that are hard to tell from it."""
    chosen, waiting = [], sorted(of_page)
    rng.shuffle(waiting)
    for page in waiting:
        near = [other for other in hard.get(page, ()) if other in of_page][: 4 * NEGATIVES]
        for at in [page, *rng.sample(near, min(NEGATIVES, len(near)))]:
            if at not in chosen and len(chosen) < batch:
                chosen.append(at)
    return chosen


def learn(retriever, images, questions, batch, rate, ends, curve, look, seed):
    """Steps until the clock is at `ends`; `look` measures after more and more examples, and `curve` is
    filled. Goes back to the best point."""
    best, of_page, hard = None, {}, mined(retriever, images, questions)
    rng, examples, began, seconds, next_look = random.Random(seed), 0, time.time(), 0.0, 0
    stepper = torch.optim.AdamW(retriever.parameters(), lr=rate, weight_decay=0.0)
    for question in questions:
        of_page.setdefault(question["page"], []).append(question)
    while True:
        last = time.time() >= ends
        if examples >= next_look or last:
            since = time.time()
            score = look()
            curve.append({"examples": examples, "seconds": round(seconds, 1), "ndcg5": score})
            if best is None or score > best[0]:
                best = (score, examples, [p.detach().clone() for p in retriever.parameters()])
            next_look = max(4 * examples, batch)
            began += time.time() - since
        if last:
            break
        chosen = batch_of(rng, of_page, hard, batch)
        share = min((examples / batch + 1) / 10, max(ends - time.time(), 0) / max(0.5 * (ends - began), 1), 1)
        for group in stepper.param_groups:
            group["lr"] = rate * share
        pages, _ = retriever.pages([images[at] for at in chosen])
        asked = [rng.choice(of_page[at]) for at in chosen]
        queries, real = retriever.queries([question["query"] for question in asked])
        # Another right page of a question is not to be pushed away.
        also = [[at != own and at in question.get("pages", ()) for at in chosen] for own, question in zip(chosen, asked)]
        scores = maxsim(queries, real, pages).masked_fill(torch.tensor(also, device=pages.device), -torch.inf) / TEMPERATURE
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(chosen), device=scores.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(retriever.parameters(), 1.0)
        stepper.step()
        stepper.zero_grad(set_to_none=True)
        examples, seconds = examples + len(chosen), time.time() - began
    for parameter, value in zip(retriever.parameters(), best[2]):
        parameter.data.copy_(value.bfloat16().float())
    return best[1]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--base", required=True)
    parser.add_argument("--name", required=True, help="of the base, on the hub or as a path from the adapter")
    parser.add_argument("--out", required=True)
    parser.add_argument("--queries", metavar="FILE", help="questions of yours with their pages, as `pagesight eval` reads "
                        "them: learned from, and measured where their documents are held out")
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--general", default=str(HERE.parent.parent / "fixtures/pdf"))
    parser.add_argument("--licence", default="other")
    parser.add_argument("--source", default="documents of the one who made it")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def adapt(args, progress):
    began = time.time()
    documents = read_texts(args.folder)
    check(documents)
    asked = read_labelled(args.queries, documents) if args.queries else []
    train, choice, held = split(documents, args.seed)
    progress.say(f"{pages_of(train)} pages to learn from, {pages_of(choice)} to choose by, {pages_of(held)} held out")
    sets = {}
    ordinary = read_texts(args.general) if args.general else []
    for side, of, most, each in (("train", train, 1000, 4), ("choice", choice, 40, 1), ("held", held, 200, 2), ("general", ordinary, 40, 1)):
        pages = some_pages(of, most, args.seed, pages_asked(asked))
        questions = questions_of(pages, each, args.seed)
        # Names of ordinary documents may be those of others.
        questions += labelled_on(asked, pages) if side != "general" else []
        sets[side] = (pages, Pictures(pages).images, questions)
    retriever = Retriever(args.base, args.rank, "cuda" if torch.cuda.is_available() else "cpu", args.seed)
    progress.say(f"{len(sets['train'][2])} questions to learn from; the model is loaded")

    def ranks(side):
        return retriever.ranks(*sets[side][1:])

    sides = ["held"] + (["general"] if sets["general"][2] else [])
    retriever.switch(False)
    before = {side: ranks(side) for side in sides}
    retriever.switch(True)
    # The same again is measured at the end.
    measured, curve = time.time() - began, []
    ends = began + 60 * args.minutes - measured
    kept = learn(retriever, *sets["train"][1:], args.batch, args.rate, ends, curve,
                 lambda: float(ndcg5(ranks("choice")).mean()), args.seed)
    compared = {side: card.compared(before[side], ranks(side), sets[side][2]) for side in sides}
    side_of = lambda of: {"documents": len(of), "pages": pages_of(of), "words": sum(len(p.words) for d in of for _, p in d.pages)}  # noqa: E731
    result = {
        "refused": card.verdict(compared["held"], compared.get("general")), "licence": args.licence, "source": args.source,
        "data": {**side_of(train + choice + held), "train": side_of(train), "choice": side_of(choice), "held_out": side_of(held),
                 "general": len(sets["general"][0])},
        "method": {"parts": ["language", "head"], "rank": args.rank, "alpha": args.rank,
                   "parameters": sum(p.numel() for p in retriever.parameters()), "rate": args.rate, "seed": args.seed,
                   "examples": kept, "strength": 1.0, "name": args.name, "base": "as transformers loads it",
                   "example": "a question with its page"},
        "held_out": compared["held"], "general": compared.get("general"), "curve": curve,
        "seconds": round(time.time() - began, 1), "threads": torch.get_num_threads(),
    }
    return result, retriever, sets["held"]


def main():
    args, progress = arguments(), Progress()
    out = Path(args.out)
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"error: {out} is there already and not empty")
    try:
        result, retriever, (pages, _, questions) = adapt(args, progress)
    except Refusal as refusal:
        raise SystemExit(f"refused: {refusal}") from None
    out.mkdir(parents=True, exist_ok=True)
    card.write(result, out)
    with open(out / "heldout.jsonl", "w") as file:
        for number, question in enumerate(questions):
            right = [pages[at] for at in question.get("pages", [question["page"]])]
            line = {"id": f"{question['kind']}-{number:03}", "query": question["query"], "doc": right[0][0].name,
                    "pages": [page for _, page, _ in right]}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(f"nDCG@5    {card.change(result['held_out']['ndcg5']).replace(' | ', '  ')}")
    if result["refused"]:
        raise SystemExit(f"refused: {result['refused']}. The card in {out} has the figures; no adapter was written.")
    save(retriever.layers, out, args.name, None, args.rank, args.rank)
    print(f"the adapter is in {out}; use it: pagesight model import {out} --name mine")


if __name__ == "__main__":
    main()
