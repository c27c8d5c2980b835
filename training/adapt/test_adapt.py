"""python -m unittest adapt/test_adapt.py, in training/"""

import copy
import json
import re
import subprocess
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import numpy as np
import torch

import asking
import card
from collection import Document, Refusal, check, read_documents, read_texts, some_pages, split
from labelled import labelled_on, pages_asked, read_labelled
from lora import CONFIG, PARTS, WEIGHTS, Adapter, digest_of
from model import Nano
from pages import PageBuilder
from questions import questions_of
from ranking import Pages, difference, ndcg5, page_vectors, rank_of, slices_of
from safetensors.torch import load_file
from teach import WINDOWS, Teacher, store_of
from tokens import Pieces

ROOT = HERE.parent.parent
NANO, FIXTURES = ROOT / "model/nano", ROOT / "fixtures/pdf"


def made(texts):
    """Documents of one page for every text."""
    documents = []
    for number, text in enumerate(texts):
        page = PageBuilder()
        for at, word in enumerate(text.split()):
            left = 60 * (at % 12)
            edges = np.linspace(left, left + 50, len(word) + 1)
            page.add_run(list(word), edges[:-1], edges[1:], 20 * (at // 12 + 1), 8)
        documents.append(Document(Path(f"{number}.pdf"), f"{number}.pdf", f"{number:064}", [(1, page)]))
    return documents


def any_text(number, count=200):
    rng = np.random.default_rng(number)
    return " ".join("".join(rng.choice(list("abcdefghij"), rng.integers(4, 9))) for _ in range(count))


class AnAdapter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = Nano.open(NANO)
        torch.manual_seed(0)
        cls.pixels = torch.rand(1, 40, 588) * 2 - 1
        cls.at, cls.prompt = torch.arange(40)[None], torch.tensor([2])

    def vectors(self, nano):
        with torch.no_grad():
            return nano.pages(self.pixels, self.at, self.prompt)[0]

    def adapter(self, spread=0.0):
        adapter = Adapter(copy.deepcopy(self.base), PARTS, 4, 8)
        generator = torch.Generator().manual_seed(1)
        for low in adapter.layers.values():
            low.b.data.copy_(torch.randn(low.b.shape, generator=generator) * spread)
        return adapter

    def test_changes_nothing_before_it_has_learned(self):
        self.assertTrue(torch.equal(self.vectors(self.adapter().nano), self.vectors(self.base)))

    def test_beside_the_weights_and_merged_into_them_is_the_same(self):
        adapter = self.adapter(0.02)
        beside, merged = self.vectors(adapter.nano), self.vectors(adapter.merged(self.base))
        self.assertGreater((beside - self.vectors(self.base)).abs().max().item(), 5e-3)
        self.assertLess((beside - merged).abs().max().item(), 1e-5)

    def test_is_the_same_when_it_was_saved_and_opened(self):
        adapter = self.adapter(0.02)
        adapter.round()
        with tempfile.TemporaryDirectory() as folder:
            adapter.save(folder, NANO)
            opened = Adapter.open(folder, copy.deepcopy(self.base))
            self.assertTrue(torch.equal(self.vectors(opened.nano), self.vectors(adapter.nano)))
            config = json.loads((Path(folder) / CONFIG).read_text())
            stored = load_file(Path(folder) / WEIGHTS)
        self.assertEqual(config["base_model_name_or_path"], "nano")
        self.assertEqual(config["revision"], digest_of(NANO / "model.safetensors"))
        # What `pagesight model import` refuses is not there.
        self.assertEqual((config["bias"], config["use_dora"], config["rank_pattern"]), ("none", False, {}))
        layer = "base_model.model.vlm.language_model.model.layers.1.mlp.up_proj"
        self.assertEqual(stored[f"{layer}.lora_A.weight"].shape, (4, self.base.size.text))
        self.assertEqual(stored[f"{layer}.lora_B.weight"].shape, (self.base.size.text_inner, 4))
        # Six linear layers of vision and seven of language a layer, the projector and the head.
        self.assertEqual(len(stored), 2 * (4 * 6 + 2 * 7 + 2))

    def test_only_the_parts_that_are_asked_for_have_factors(self):
        adapter = Adapter(copy.deepcopy(self.base), ["language"], 2, 4)
        self.assertTrue(all("language_model" in name for name in adapter.layers))
        self.assertEqual(sum(p.requires_grad for p in adapter.nano.parameters()), 2 * len(adapter.layers))

    def test_learns_and_leaves_the_weights_as_they_are(self):
        pages = [page for page in some_pages(read_documents(FIXTURES / "papers")[0], 3)]
        pieces = Pieces(str(NANO / "tokenizer.json"))
        store = store_of(pages, pieces, 0)
        adapter = Adapter(copy.deepcopy(self.base), PARTS, 4, 8)
        before = {name: p.clone() for name, p in adapter.nano.named_parameters() if not p.requires_grad}
        teacher = Teacher(adapter, store, 8, 2e-3, 0)
        first = teacher.learn(2 * WINDOWS)["letters"]
        last = [teacher.learn(n * WINDOWS)["letters"] for n in (4, 6, 8)][-1]
        self.assertEqual(teacher.step, 8)
        self.assertLess(last, first)
        self.assertGreater(max(low.b.abs().max().item() for low in adapter.layers.values()), 0)
        for name, p in adapter.nano.named_parameters():
            if name in before:
                self.assertTrue(torch.equal(p, before[name]), name)


class Documents(unittest.TestCase):
    def test_three_pages_are_refused_with_the_reason(self):
        with self.assertRaisesRegex(Refusal, "^3 pages of 3 documents have words.*50 pages of 5 documents"):
            check(made([any_text(n) for n in range(3)]))

    def test_letters_that_nano_has_no_pieces_for_are_named(self):
        documents, _ = read_documents(FIXTURES / "debian")
        japanese = [document for document in documents if document.name == "history-ja.pdf"]
        with self.assertRaisesRegex(Refusal, "letters for which nano has no pieces"):
            check(japanese)

    def test_pages_without_words_are_named(self):
        scans = [document for document in read_documents(FIXTURES)[0] if document.name == "scan.pdf"]
        with self.assertRaisesRegex(Refusal, "3 more pages have no layer of words.*ocrmypdf"):
            check(scans)

    def test_what_cannot_be_opened_is_said_and_left_out(self):
        documents, failed = read_documents(FIXTURES)
        self.assertTrue(any("broken.pdf" in line for line in failed))
        self.assertFalse(any(document.name == "broken.pdf" for document in documents))

    def test_near_copies_are_on_one_side(self):
        texts = [any_text(n) for n in range(12)]
        copies = texts + [texts[3] + " a last word", "a first word " + texts[7]]
        for seed in range(5):
            sides = split(made(copies), seed)
            of = {document.name: number for number, side in enumerate(sides) for document in side}
            self.assertEqual(sorted(of), sorted(f"{n}.pdf" for n in range(14)))
            self.assertEqual((of["3.pdf"], of["7.pdf"]), (of["12.pdf"], of["13.pdf"]))
            self.assertTrue(all(sides))

    def test_copies_of_one_text_are_no_five_documents(self):
        with self.assertRaisesRegex(Refusal, "different texts"):
            split(made([any_text(0)] * 60))

    def test_questions_are_answered_by_one_page_alone(self):
        pages = some_pages(made([any_text(n) for n in range(8)]), 100)
        questions = questions_of(pages, 10)
        self.assertGreater(len(questions), 15)
        texts = [" " + " ".join(words.words) + " " for _, _, words in pages]
        for question in questions:
            has = [f" {question['query']} " in text for text in texts]
            self.assertEqual([at for at, there in enumerate(has) if there], [question["page"]])


    def test_pages_that_are_asked_for_are_among_the_drawn_ones(self):
        documents = made([any_text(n) for n in range(30)])
        asked = {("7.pdf", 1), ("21.pdf", 1)}
        names = [document.name for document, _, _ in some_pages(documents, 5, 0, asked)]
        self.assertEqual(len(set(names)), 5)
        self.assertLessEqual({"7.pdf", "21.pdf"}, set(names))


class Labelled(unittest.TestCase):
    documents = made([any_text(n) for n in range(4)])

    def read(self, text):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "queries.jsonl"
            file.write_text(text)
            return read_labelled(file, self.documents)

    def test_questions_stand_where_their_pages_are(self):
        labelled = self.read('{"id": "a", "query": " who? ", "doc": "2.pdf", "pages": [3, 1]}\n\n{"query": "b", "doc": "0.pdf", "pages": [1]}\n')
        self.assertEqual(pages_asked(labelled), {("2.pdf", 3), ("2.pdf", 1), ("0.pdf", 1)})
        pages = some_pages(self.documents[1:], 9)
        self.assertEqual(list(labelled_on(labelled, pages)), [{"query": "who?", "page": 1, "pages": [1], "kind": "labelled"}])

    def test_what_is_no_question_is_named_with_its_line(self):
        good = '{"query": "b", "doc": "0.pdf", "pages": [1]}\n'
        for line, reason in (("{", "line 2 is no question"), ('{"query": "b", "doc": "0.pdf"}', "line 2 is no question"),
                             ('{"query": " ", "doc": "0.pdf", "pages": [1]}', "has words"), ("[]", "line 2 is no question"),
                             ('{"query": "b", "doc": "0.pdf", "pages": [0]}', "from 1 on"),
                             ('{"query": "b", "doc": "9.pdf", "pages": [1]}', "no document 9.pdf")):
            with self.assertRaisesRegex(Refusal, reason):
                self.read(good + line)

    def test_the_best_of_several_right_pages_counts(self):
        self.assertEqual(rank_of([1, 4, 3, 2], {"page": 0, "pages": [0, 2]}), 2)
        self.assertEqual(rank_of([1, 4, 3, 2], {"page": 0}), 4)


class AVerdict(unittest.TestCase):
    questions = [{"kind": "word", "query": str(n), "page": n} for n in range(40)]

    def figures(self, before, after):
        return card.compared(before, after, self.questions)

    def test_no_gain_is_refused(self):
        same = self.figures([3] * 40, [3] * 40)
        self.assertEqual(same["ndcg5"]["interval"], [0, 0])
        self.assertIn("nothing is gained", card.verdict(same, None))
        # Two of forty questions may be chance.
        few = self.figures([3] * 40, [1] * 2 + [3] * 36 + [9] * 2)
        self.assertIn("nothing is gained", card.verdict(few, None))

    def test_a_gain_is_none_if_ordinary_pages_are_forgotten(self):
        gain = self.figures([9] * 20 + [1] * 20, [1] * 40)
        self.assertIsNone(card.verdict(gain, None))
        self.assertIsNone(card.verdict(gain, self.figures([1] * 40, [1] * 40)))
        self.assertIn("forgets", card.verdict(gain, self.figures([1] * 40, [1] * 38 + [9] * 2)))

    def test_figures_are_those_of_one_right_page(self):
        self.assertEqual(ndcg5([1, 2, 5, 6]).round(4).tolist(), [1, 0.6309, 0.3869, 0])
        mean, low, high = difference(np.zeros(50), np.ones(50))
        self.assertEqual((mean, low, high), (1, 1, 1))
        mean, low, high = difference(np.zeros(50), np.arange(50) % 2)
        self.assertTrue(low < mean == 0.5 < high)

    def test_the_card_says_what_it_was_made_of_and_what_it_changes(self):
        gain = self.figures([9] * 20 + [1] * 20, [1] * 40)
        side = {"documents": 6, "pages": 60, "words": 9000}
        result = {
            "refused": None, "licence": "mit", "source": "a vendor's forms",
            "data": {**side, "train": side, "choice": side, "held_out": side, "general": 40},
            "method": {"parts": ["vision"], "rank": 16, "alpha": 32, "parameters": 295936, "rate": 2e-3, "seed": 0,
                       "examples": 512, "strength": 0.75, "name": "nano", "base": "model.safetensors of SHA-256 `abc`", "example": "a window"},
            "held_out": gain, "general": gain, "curve": [{"examples": 0, "seconds": 0.0, "ndcg5": 0.4}],
            "seconds": 300.0, "threads": 2,
        }
        text = card.text_of(result)
        for part in ("license: mit", "base_model: nano", "a vendor's forms", "rank 16", "Base: nano, model.safetensors of SHA-256 `abc`", "An example is a window.", "Seed 0",
                     "| nDCG@5 | 0.500 | 1.000 | +0.500 [", "## Ordinary pages", "| 0 | 0 | 0.400 |", "at 0.75 of the strength"):
            self.assertIn(part, text)
        result["refused"] = "nothing is gained"
        self.assertIn("No adapter was written: nothing is gained.", card.text_of(result))


class Ranking(unittest.TestCase):
    def test_ranks_are_those_of_maxsim_by_hand(self):
        base, pieces = Nano.open(NANO), Pieces(str(NANO / "tokenizer.json"))
        pages = some_pages([d for d in read_documents(FIXTURES / "papers")[0]], 3)
        questions = questions_of(pages, 2)
        drawn = Pages(pages, base.size.edge)
        ranks = drawn.rank(base, pieces, questions)
        vectors = [page_vectors(base, slices_of(picture, base.size.edge)).float() for picture in drawn.pictures]
        for question, rank in zip(questions, ranks):
            ids = torch.tensor([pieces.tokenizer.encode(question["query"], add_special_tokens=False).ids])
            with torch.no_grad():
                tokens = base.queries(ids, torch.ones_like(ids, dtype=torch.bool))[0]
            scores = [sum(max(float(t @ v) for v in page) for t in tokens) for page in vectors]
            self.assertEqual(rank, 1 + sum(s > scores[question["page"]] + 1e-5 for s in scores))


class AskingTest(unittest.TestCase):
    """asking.py with a model of its own, on this machine."""

    def served(self, reply):
        """A server that answers with `reply(body)`, a status and a text; what was asked is kept."""
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append((self.path, self.headers.get("Authorization"), body))
                status, text = reply(body)
                data = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}/v1", asked

    def test_questions_are_kept_that_point_to_their_page(self):
        document = Document(Path("budget-plan.pdf"), "budget-plan.pdf", "0")
        pages = [(document, number, f"ordinary words of all pages and special{number}") for number in range(1, 9)]
        said = "1. What is special{0} about?\n- what are ordinary words?\nIs special{0} in budget-plan?\nNo?\n* special{0} once more, please"
        endpoint, asked = self.served(lambda body: (200, said.format(re.search(r"special(\d)", body["messages"][0]["content"])[1])))
        with mock.patch.dict("os.environ", {asking.KEY: "secret"}):
            ask = lambda text: asking.answered(asking.checked(endpoint + "/"), "m", text)  # noqa: E731
            lines = list(asking.asked(pages, ask, 4, lambda *_: None))
        # Words that are on all pages, and names of documents, say nothing of the page; "No?" is too short.
        self.assertEqual(lines[0], {"query": "What is special1 about?", "doc": "budget-plan.pdf", "pages": [1]})
        self.assertEqual([line["query"] for line in lines[:2]], ["What is special1 about?", "special1 once more, please"])
        self.assertEqual(len(lines), 16)
        path, key, body = asked[0]
        self.assertEqual((path, key, body["model"]), ("/v1/chat/completions", "Bearer secret", "m"))
        marks = re.findall(r"^[0-9a-f]{16}$", body["messages"][0]["content"], re.M)
        self.assertEqual(len(marks), 2)
        self.assertEqual(marks[0], marks[1])

    def test_nothing_is_sent_where_it_does_not_belong(self):
        for url in ("http://example.org/v1", "https://name:word@example.org/v1", "ftp://127.0.0.1/v1", "127.0.0.1:80"):
            with self.assertRaises(asking.Failure):
                asking.checked(url)
        self.assertEqual(asking.checked("https://example.org/v1/"), "https://example.org/v1")
        for status in (307, 429, 500):
            endpoint, asked = self.served(lambda _, status=status: (status, "What?"))
            with self.assertRaisesRegex(asking.Failure, f"answers {status}"):
                asking.answered(endpoint, "m", "page")
            self.assertEqual(len(asked), 1)
        endpoint, _ = self.served(lambda _: (200, "x" * (asking.MOST_BYTES + 1)))
        with self.assertRaisesRegex(asking.Failure, "more than"):
            asking.answered(endpoint, "m", "page")

    def test_the_file_is_one_of_questions(self):
        endpoint, _ = self.served(lambda _: (200, "Which network architecture is proposed on this page?"))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "queries.jsonl"
            command = [sys.executable, str(HERE / "asking.py"), str(FIXTURES / "papers"), "--endpoint", endpoint,
                       "--answer-model", "m", "--out", str(out), "--pages", "3"]
            ran = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            self.assertEqual(len(read_labelled(out, read_texts(FIXTURES / "papers"))), 1)
            again = subprocess.run(command, capture_output=True, text=True)
            self.assertNotEqual(again.returncode, 0)
            self.assertIn("is there already", again.stderr)


class ALargeModel(unittest.TestCase):
    """large.py on a small checkpoint of the same kind: the code, not what a large one would gain."""

    def test_learns_and_is_saved_under_the_names_that_are_read(self):
        import large

        pages = some_pages(large.read_texts(FIXTURES / "papers"), 6)
        images, questions = large.Pictures(pages).images, large.questions_of(pages, 2)
        retriever = large.Retriever(ROOT / "fixtures/parity/hf", 2, "cpu")
        retriever.switch(False)
        before = retriever.ranks(images, questions)
        retriever.switch(True)
        self.assertEqual(retriever.ranks(images, questions), before)
        # Pages that are hard to tell apart are others than the right one, with less than its score.
        scores = list(retriever.scores(images, questions))
        # All pages look alike to this model.
        self.assertFalse(any(large.mined(retriever, images, questions).values()))
        with mock.patch.object(large, "ALIKE", 1.0):
            hard = large.mined(retriever, images, questions)
        self.assertTrue(any(hard.values()))
        for page, others in hard.items():
            rows = [row for row, question in zip(scores, questions) if question["page"] == page]
            for other in others:
                self.assertNotEqual(other, page)
                self.assertTrue(any(row[other] < row[page] for row in rows))
        of_page = {question["page"]: [question] for question in questions}
        chosen = large.batch_of(large.random.Random(0), of_page, hard, 4)
        self.assertEqual((len(chosen), len(set(chosen))), (4, 4))
        frozen = retriever.layers["embedding_proj_layer"].linear.weight.clone()
        curve = []
        kept = large.learn(retriever, images, questions, 4, 1e-2, large.time.time() + 10, curve,
                           lambda: float(ndcg5(retriever.ranks(images, questions)).mean()), 0)
        self.assertGreater(max(point["ndcg5"] for point in curve), curve[0]["ndcg5"])
        self.assertIn(kept, [point["examples"] for point in curve])
        self.assertTrue(torch.equal(retriever.layers["embedding_proj_layer"].linear.weight, frozen))
        with tempfile.TemporaryDirectory() as folder:
            large.save(retriever.layers, folder, "a/base", None, 2, 2)
            stored = load_file(Path(folder) / WEIGHTS)
            config = json.loads((Path(folder) / CONFIG).read_text())
        self.assertEqual((config["base_model_name_or_path"], config["revision"]), ("a/base", None))
        self.assertIn("base_model.model.vlm.model.language_model.layers.1.mlp.down_proj.lora_B.weight", stored)
        self.assertIn("base_model.model.embedding_proj_layer.lora_A.weight", stored)


class TheCommand(unittest.TestCase):
    def run_on(self, folder, out):
        return subprocess.run([sys.executable, str(HERE / "adapt.py"), str(folder), "--out", str(out), "--quiet"],
                              capture_output=True, text=True)

    def test_refuses_a_folder_of_three_pages_and_writes_nothing(self):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "pdfs"
            folder.mkdir()
            (folder / "form.pdf").write_bytes((FIXTURES / "form.pdf").read_bytes())
            ran = self.run_on(folder, Path(place) / "adapter")
            self.assertEqual(ran.returncode, 1, ran.stderr)
            self.assertIn("refused: 2 pages of 1 documents", ran.stderr)
            self.assertFalse((Path(place) / "adapter").exists())

    def test_does_not_write_over_a_folder(self):
        ran = self.run_on(FIXTURES, FIXTURES)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("is there already", ran.stderr)


if __name__ == "__main__":
    unittest.main()
