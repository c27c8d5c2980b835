"""The card of an adapter: what it was made of, what it changes, and what it does not."""

import json
from pathlib import Path

from ranking import difference, ndcg5, recall5

GENERAL_LOSS = 0.02
"""nDCG@5 that the general pages may lose."""


def compared(before, after, questions):
    """Figures of two rankings of the same questions: means before and after, the paired difference with its
    95% interval, and nDCG@5 by kind."""
    b, a = ndcg5(before), ndcg5(after)
    change, low, high = difference(b, a)
    change_r, low_r, high_r = difference(recall5(before), recall5(after))
    kinds = {}
    for kind in sorted({question["kind"] for question in questions}):
        of = [i for i, question in enumerate(questions) if question["kind"] == kind]
        kinds[kind] = {"questions": len(of), "before": float(b[of].mean()), "after": float(a[of].mean())}
    return {
        "questions": len(questions),
        "ndcg5": {"before": float(b.mean()), "after": float(a.mean()), "change": change, "interval": [low, high]},
        "recall5": {"before": float(recall5(before).mean()), "after": float(recall5(after).mean()),
                    "change": change_r, "interval": [low_r, high_r]},
        "kinds": kinds,
    }


def verdict(held, general):
    """Why no adapter is written, or None where it is one."""
    low, high = held["ndcg5"]["interval"]
    if low <= 0:
        return (f"on the held-out documents nDCG@5 changes by {held['ndcg5']['change']:+.3f}, and the 95% interval "
                f"[{low:+.3f}, {high:+.3f}] does not exclude that nothing is gained")
    if general and general["ndcg5"]["change"] < -GENERAL_LOSS:
        return (f"ordinary pages lose {-general['ndcg5']['change']:.3f} of nDCG@5, more than {GENERAL_LOSS}: "
                "the adapter forgets what the model could do")
    return None


def change(figures):
    low, high = figures["interval"]
    return f"{figures['before']:.3f} | {figures['after']:.3f} | {figures['change']:+.3f} [{low:+.3f}, {high:+.3f}]"


def counted(count, noun):
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def text_of(result):
    """The card as Markdown, with the head that `pagesight model info` reads the licence from."""
    data, method, held, general = (result[key] for key in ("data", "method", "held_out", "general"))
    lines = [
        "---", f"license: {result['licence']}", f"base_model: {method['name']}", "library_name: pagesight", "---", "",
        f"# An adapter of {method['name']}", "",
        "No adapter was written: " + result["refused"] + "." if result["refused"] else
        "Use it: `pagesight model import FOLDER --name NAME`, then `pagesight index --model NAME PDFS`.", "",
        "## Made of", "",
        f"{counted(data['documents'], 'document')}, {counted(data['pages'], 'page')} with words, from: {result['source']}.",
        f"Trained on {counted(data['train']['documents'], 'document')} ({counted(data['train']['pages'], 'page')}, "
        f"{counted(data['train']['words'], 'word')}); the step was chosen on {counted(data['choice']['documents'], 'other')} "
        f"({counted(data['choice']['pages'], 'page')}); {counted(data['held_out']['documents'], 'document')} "
        f"({counted(data['held_out']['pages'], 'page')}) were held out. Documents that share text are on one side. "
        f"Seed {method['seed']}.", "",
        f"Low-rank factors (rank {method['rank']}, alpha {method['alpha']}, {counted(method['parameters'], 'number')}) beside the linear "
        f"layers of {', '.join(method['parts'])}; AdamW, rate {method['rate']}. Base: {method['name']}, "
        f"{method['base']}.", "",
        "## Held-out documents", "",
        f"{counted(held['questions'], 'question')}, made of words that stand on one of the held-out pages alone; pages are "
        "ranked by their pictures alone, with the code and the precision of training.", "",
        "| | before | after | change, 95% interval |", "|---|---|---|---|",
        f"| nDCG@5 | {change(held['ndcg5'])} |", f"| recall@5 | {change(held['recall5'])} |",
    ]
    lines += [f"| nDCG@5, {kind} ({figures['questions']}) | {figures['before']:.3f} | {figures['after']:.3f} | "
              f"{figures['after'] - figures['before']:+.3f} |" for kind, figures in held["kinds"].items()]
    lines += ["", "## Ordinary pages", ""]
    if general:
        lines += [f"{counted(general['questions'], 'question')} on {counted(data['general'], 'page')} of other documents: nDCG@5 "
                  f"{general['ndcg5']['before']:.3f} before, {general['ndcg5']['after']:.3f} after "
                  f"({general['ndcg5']['change']:+.3f} [{general['ndcg5']['interval'][0]:+.3f}, "
                  f"{general['ndcg5']['interval'][1]:+.3f}])."]
    else:
        lines += ["Not measured: no folder of ordinary pages was given."]
    lines += [
        "", "## The course", "",
        f"An example is {method['example']}. Seconds are of training alone; nDCG@5 is that of the documents by "
        "which the step was chosen.", "", "| examples | seconds | nDCG@5 |", "|---|---|---|",
    ]
    lines += [f"| {point['examples']} | {point['seconds']:.0f} | {point['ndcg5']:.3f} |" for point in result["curve"]]
    lines += ["", f"Kept: {method['examples']} examples, at {method['strength']:g} of the strength that was learned. The whole run took {result['seconds']:.0f} s "
              f"({result['threads']} threads)."]
    return "\n".join(lines) + "\n"


def write(result, folder):
    """README.md (the card) and result.json (the same figures for a program)."""
    Path(folder, "README.md").write_text(text_of(result))
    Path(folder, "result.json").write_text(json.dumps(result, indent=2) + "\n")
