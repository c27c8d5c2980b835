#!/usr/bin/env python3
"""How much of what a page gives to any question is best taken off, and how many neutral questions tell it.

    background.py INDEX QUERIES.jsonl NANO_FOLDER PATHS.json [--questions 12,20,40] [--weights 0,0.45,0.9,1.8]

INDEX has nano's vectors in its codes, which are read as they lie in the files; questions are encoded here,
as nano's text half is small. PATHS.json maps documents (hexadecimal ids) to their paths; `pagesight query
--json -k 10000` names both. Needs numpy and tokenizers.

Printed, for each number of questions and each weight: nDCG@5 over all pages as one corpus and over the
pages of the labelled document, by kind of question; and what cross-validation over documents gains, five
folds drawn twenty times, the weight chosen on four by the mean over the kinds of question.
"""

import argparse
import collections
import json
import math
import struct
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

NEUTRAL = Path(__file__).parent.parent / "core/src/neutral.rs"
MORE = """What happens when water freezes?|Where can visitors park their cars?
Which river flows through the city?|How do plants turn light into sugar?|What did the witness see on the street?
When is the museum open on Sundays?|How much does a ticket for the ferry cost?
Who painted the picture above the fireplace?|What is the difference between a frog and a toad?
Which tools are needed to mend a roof?|How old is the tree in the garden?
Why was the meeting put off until spring?|What did the teacher say about the exam?
Where do the miners find silver?|How are children taught to swim?|Which languages are spoken on the island?
What makes the sky look blue?|When was the telephone invented?|How far is the moon from the earth?
Who looks after the horses?|What should be done after an accident?|Which song did the choir sing first?
How is wool made into cloth?|Where does the path over the mountain begin?
What is known about the life of the composer?|Why did the ship sink in the harbour?"""


class Nano:
    """The text half of nano, which makes query vectors; f32."""

    def __init__(self, folder):
        with open(folder / "model.safetensors", "rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            header, data = json.loads(file.read(length)), file.read()
        self.of = {}
        for name, tensor in header.items():
            if name != "__metadata__" and "vision" not in name:
                start, end = tensor["data_offsets"]
                values = np.frombuffer(data[start:end], "<f2").reshape(tensor["shape"])
                self.of[name.removeprefix("vlm.language_model.model.")] = values.astype(np.float32)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def pieces(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def encode(self, text):
        norm = lambda x, w: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * (1 + w)
        ids, w = self.pieces(text).ids, self.of
        x, n = w["embed_tokens.weight"][ids] * math.sqrt(192), len(ids)
        angle = np.arange(n)[:, None] * 10000.0 ** (-np.arange(0, 64, 2) / 64)
        cos, sin = (np.tile(of(angle), 2) for of in (np.cos, np.sin))
        turn = lambda y: y * cos + np.concatenate([-y[..., 32:], y[..., :32]], -1) * sin
        for layer in "01":
            of = lambda name: w[f"layers.{layer}.{name}.weight"]
            y = norm(x, of("input_layernorm"))
            q = (y @ of("self_attn.q_proj").T).reshape(n, 3, 64).transpose(1, 0, 2)
            k, v = y @ of("self_attn.k_proj").T, y @ of("self_attn.v_proj").T
            scores = turn(q) @ turn(k).T / 8
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            y = (scores / scores.sum(-1, keepdims=True)) @ v
            x = x + y.transpose(1, 0, 2).reshape(n, 192) @ of("self_attn.o_proj").T
            y = norm(x, of("post_attention_layernorm"))
            gate = y @ of("mlp.gate_proj").T
            gate = 0.5 * gate * (1 + np.tanh(0.7978845608 * (gate + 0.044715 * gate**3)))
            x = x + (gate * (y @ of("mlp.up_proj").T)) @ of("mlp.down_proj").T
        x = norm(x, w["norm.weight"]) @ w["embedding_proj_layer.weight"].T + w["embedding_proj_layer.bias"]
        return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def pages_of(index):
    """(document, number) and vectors of each page, from int8 codes."""
    names = json.loads((index / "snapshot.json").read_text().splitlines()[0])["codes"]
    found = {}
    for name in names:
        data = np.memmap(index / "codes" / name, dtype=np.uint8, mode="r")
        lists, dropped, count, dim, _ = struct.unpack("<QQQII", bytes(data[-64:-32]))
        gone = {bytes(data[lists + 32 * n:][:32]).hex() for n in range(dropped)}
        found = {page: rows for page, rows in found.items() if page[0] not in gone}
        for n in range(count):
            entry = bytes(data[lists + 32 * dropped + 96 * n:][:96])
            number, rows, start = struct.unpack("<IIQ", entry[32:48])
            codes = (data[start:start + rows * dim].astype(np.int16) - 128).reshape(rows, dim)
            scales = np.frombuffer(bytes(data[start + rows * dim:][:4 * rows]), "<f4")
            found[entry[:32].hex(), number] = (codes.astype(np.int8), scales)
    return found


def in_latin(piece):
    return all(ord(letter) < 0x250 for letter in piece if letter.isalpha())


def ndcg(question, answers, scores):
    best = answers[np.argsort(-scores, kind="stable")[:5]]
    gain = [1 / math.log2(n + 2) for n in range(5) if best[n]] if len(best) == 5 else []
    if question.get("any_page"):
        return max(gain, default=0.0)
    return sum(gain) / sum(1 / math.log2(n + 2) for n in range(min(5, max(answers.sum(), 1))))


def main():
    parser = argparse.ArgumentParser()
    for name in ("index", "queries", "nano", "paths"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--questions", default="12,20,40")
    parser.add_argument("--weights", default="0,0.25,0.45,0.6,0.75,0.9,1,1.25,1.8")
    options = parser.parse_args()
    asked = [json.loads(line) for line in options.queries.read_text().splitlines()]
    neutral = [line.split('"')[1] for line in NEUTRAL.read_text().splitlines() if line.startswith('    "')]
    neutral += [text for text in MORE.replace("\n", "|").split("|") if text not in neutral]
    nano, paths = Nano(options.nano), json.loads(options.paths.read_text())
    texts = [question["query"] for question in asked] + neutral
    vectors = [nano.encode(text) for text in texts]
    every, pages = np.concatenate(vectors), pages_of(options.index)
    best = np.zeros((len(every), len(pages)), np.float32)
    for n, (codes, scales) in enumerate(pages.values()):
        best[:, n] = (every @ (codes.astype(np.float32).T * scales)).max(1)
    starts = np.cumsum([0] + [len(rows) for rows in vectors])[:-1]
    bare, tokens = np.add.reduceat(best, starts, axis=0), np.array([len(rows) for rows in vectors])
    latin = [sum(map(in_latin, nano.pieces(question["query"]).tokens)) for question in asked]
    path = np.array([paths[document] for document, _ in pages])
    number = np.array([number for _, number in pages])
    own = [np.array([of.endswith(question["doc"]) for of in path]) for question in asked]
    answers = [own[n] & np.isin(number, question["pages"]) for n, question in enumerate(asked)]
    kinds = [question["label"] if question["label"] != "known-item" else question["lang"] for question in asked]
    documents = sorted({question["doc"] for question in asked})
    weights = [float(weight) for weight in options.weights.split(",")]
    print("questions weight corpus document " + " ".join(sorted(set(kinds))))
    for count in map(int, options.questions.split(",")):
        some = range(len(asked), len(asked) + count)
        background = bare[list(some)].sum(0) / tokens[list(some)].sum()
        found = {}
        for weight in weights:
            scores = [bare[n] - weight * latin[n] * background for n in range(len(asked))]
            corpus = np.array([ndcg(q, answers[n], scores[n]) for n, q in enumerate(asked)])
            within = np.array([ndcg(q, answers[n][own[n]], scores[n][own[n]]) for n, q in enumerate(asked)])
            found[weight] = corpus
            by_kind = [corpus[[k == kind for k in kinds]].mean() for kind in sorted(set(kinds))]
            print(f"{count:9} {weight:6} {corpus.mean():.3f}  {within.mean():.3f}    "
                  + " ".join(f"{value:.3f}" for value in by_kind))
        random, gains, chosen = np.random.default_rng(3), [], collections.Counter()
        for _ in range(20):
            order = random.permutation(len(documents))
            fold = {documents[at]: n % 5 for n, at in enumerate(order)}
            folds, left_out = np.array([fold[question["doc"]] for question in asked]), np.zeros(len(asked))
            for n in range(5):
                mean = lambda weight: np.mean([
                    found[weight][[k == kind and f != n for k, f in zip(kinds, folds)]].mean()
                    for kind in set(kinds) if any(k == kind and f != n for k, f in zip(kinds, folds))])
                weight = max(weights, key=mean)
                chosen[weight] += 1
                left_out[folds == n] = found[weight][folds == n]
            gains.append((left_out - found[0.0]).mean())
        print(f"{count:9} chosen on other documents: {np.mean(gains):+.4f} "
              f"[{np.quantile(gains, 0.05):+.4f}, {np.quantile(gains, 0.95):+.4f}], {chosen.most_common(3)}")


if __name__ == "__main__":
    main()
