"""The tokenizer: folded words, short byte-pair pieces, bytes for letters never seen.

Folding (compatibility forms, no accents, lower case, no punctuation except inside numbers) is part
of tokenizer.json, so a question and a printed word meet in the same pieces however they are
written. Pieces are at most five characters: about two patches of ten point print.

    python tokens.py --words words.txt.gz --out tokenizer.json
"""

import argparse
import gzip
import json
import random
import re
import string
import unicodedata
from collections import Counter
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

LETTERS = (
    string.ascii_lowercase + string.digits + ".,:/-" + "ßæøœðþłđıŋħ"
    + "абвгдежзиклмнопрстуфхцчшщъыьэюяєіґђјљњћџ" + "αβγδεζηθικλμνξοπρσςτυφχψω"
)
"""What the model learns to read; a word with any other letter is not trained on."""

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
BOUNDARY = "\u2581"
# Everything that is no letter and no digit, but not one of .,:/- between two digits.
SEPARATOR = r"[^\p{L}\p{N}.,:/\-]+|(?<!\p{N})[.,:/\-]+|[.,:/\-]+(?!\p{N})"
UNIT = re.compile(r"[^\W_]+(?:(?<=\d)[.,:/\-](?=\d)[^\W_]+)*")


def fold(text):
    """`text` as the tokenizer sees its letters: NFKD, no combining marks, lower case."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if unicodedata.category(c) != "Mn").lower()


STOP_WORDS = frozenset(fold("""
a an the of in on at to for from by with and or nor but not is are was were be been being am do does did done
has have had having can could will would shall should might must this that these those it its there here
as than then so if into onto upon over under about between within without during through per each any all some
no such other also what which who whom whose when where why how much many please tell me we our you your they
their them he his she her my show find give list
der das und ist nicht mit von dem des ein eine einer auf sich auch wie als aus bei nach wird werden
le la les du une dans que qui sur avec par ce cette sont quel quelle quels quelles
el los las con para como del se su es cual cuales quien donde
il lo gli che di per non sono della delle dei
и в во на не что это как с со по из за от для при или а но к у о об так его ее их мы вы он она они был была было
были быть какой какая какие какое где когда кто чем і й з та що як до від про але це
ο η το οι τα του της των τον την και να με για από στο στη στην στον ότι που είναι
""").split())
"""Words that say little about what a page is about, folded: a question's other words rank pages."""


def units(folded):
    """Spans `(start, end)` of the words in a folded run of text."""
    return [match.span() for match in UNIT.finditer(folded)]


def readable(unit):
    return all(c in LETTERS for c in unit)


def normalizer():
    return normalizers.Sequence([
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(SEPARATOR), " "),
        normalizers.Strip(),
        normalizers.Replace(Regex(" +"), BOUNDARY),
        normalizers.Prepend(BOUNDARY),
    ])


def build(counts, size, longest, out):
    """Trains `size` pieces on `counts` (word -> times) and writes `out` in Gemma's form."""
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL) - 256 - 1,
        initial_alphabet=list(LETTERS),
        limit_alphabet=len(LETTERS) + 1,
        max_token_length=longest,
        show_progress=False,
    )
    words = (BOUNDARY + word for word, times in sorted(counts.items()) for _ in range(times))
    tokenizer.train_from_iterator(words, trainer)
    model = json.loads(tokenizer.to_str())["model"]

    vocab = {token: number for number, token in enumerate(SPECIAL)}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    for token in sorted(model["vocab"], key=model["vocab"].get):
        vocab.setdefault(token, len(vocab))
    vocab["<image>"] = len(vocab)

    full = Tokenizer(models.BPE())
    full.normalizer = normalizer()
    full.pre_tokenizer = pre_tokenizers.Split(BOUNDARY, "merged_with_next")
    data = json.loads(full.to_str())
    data["model"] = {
        **model,
        "vocab": vocab,
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
    }
    data["added_tokens"] = [
        {
            "id": vocab[token], "content": token, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True,
        }
        for token in [*SPECIAL, "<image>"]
    ]
    data["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": BOUNDARY}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ],
    }
    Path(out).write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")
    return Tokenizer.from_file(str(out))


class Pieces:
    """Words to pieces, remembered."""

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(str(path))
        self.size = self.tokenizer.get_vocab_size()
        self.known = {}

    def of(self, unit):
        """`[(id, first character, end character)]` of one folded word."""
        if unit not in self.known:
            encoding = self.tokenizer.encode(unit, add_special_tokens=False)
            at, spans = 0, []
            for number, token in zip(encoding.ids, encoding.tokens):
                length = len(token.removeprefix(BOUNDARY))
                spans.append((number, at, at + length))
                at += length
            self.known[unit] = spans if at == len(unit) else []
        return self.known[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--words", required=True, help="gzipped lines: word, tab, times seen")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--longest", type=int, default=5, help="characters of a piece, with the boundary")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    counts = Counter()
    with gzip.open(args.words, "rt", encoding="utf-8") as lines:
        for line in lines:
            word, times = line.rstrip("\n").split("\t")
            counts[fold(word)] += min(int(times), 200)
    # Any number may be asked for, not only those of the texts.
    rng = random.Random(0)
    for _ in range(20_000):
        counts[str(rng.randrange(10 ** rng.randint(2, 7)))] += 1
    tokenizer = build(counts, args.size, args.longest, args.out)
    print(tokenizer.get_vocab_size(), "pieces")
    for text in ["Total revenue in 2024?", "Où est la clé (n° 1,234.50)?", "Εργασία и отчёт"]:
        print(tokenizer.encode(text, add_special_tokens=False).tokens)


if __name__ == "__main__":
    main()
