"""What training stands on: python -m unittest test_training (needs requirements.txt, no data)."""

import io
import random
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from loss import contrast, quiet
from model import Nano, Size
from muon import Muon
from pages import Page, PageBuilder
from sample import Frames, Sampler
from sample import Batch as DeviceBatch
from store import Store, key_of, pack
from tokens import BOUNDARY, Pieces, build, fold, normalizer, units
from wear import jpeg
from windows import LETTER_CLASS, PATCH, Batch, Keys, Window, finish_slots

SMALL = Size(vocab=700, edge=112, vision=64, vision_layers=2, vision_heads=2, vision_inner=96, text=64,
             text_layers=1, text_heads=2, text_head=32, text_inner=96)


def page_of(words, folder, lead=40):
    """A page of `words`, one a line, with its letters' true boxes."""
    image = Image.new("L", (480, lead * len(words) + 40), 255)
    font = ImageFont.load_default(16)
    builder = PageBuilder()
    for row, word in enumerate(words):
        base = lead * row + 40
        ImageDraw.Draw(image).text((20, base), word, fill=0, font=font, anchor="ls")
        at = [20 + font.getlength(word[:i]) for i in range(len(word) + 1)]
        builder.add_run(list(word), at[:-1], at[1:], base, -font.getbbox("x", anchor="ls")[1])
    path = Path(folder) / "page.npz"
    builder.save(path, image)
    return Page(path)


class Words(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        path = Path(self.folder.name) / "tokenizer.json"
        build({"revenue": 50, "total": 50, "net": 20, "sales": 30}, 460, 5, path)
        self.pieces = Pieces(path)

    def test_folding_is_the_tokenizers(self):
        for text in ["Où est la CLÉ?", "ﬁnal (2.5%)", "Ёлка, Ώρα", "1,234.50-7", "a.b c-d 3.x", "½ n° 5"]:
            folded = fold(text)
            ours = BOUNDARY.join(["", *(folded[a:b] for a, b in units(folded))])
            self.assertEqual(normalizer().normalize_str(text), ours, text)

    def test_pieces_spell_the_word(self):
        for word in ["revenue", "zq9x", "1,234.50"]:
            spans = self.pieces.of(word)
            self.assertEqual([a for _, a, _ in spans], [0, *(b for _, _, b in spans[:-1])])
            self.assertEqual(spans[-1][2], len(word))
            self.assertTrue(all(b - a <= 5 for _, a, b in spans))

    def test_patches_know_what_they_show(self):
        page = page_of(["Revenue", "total", "2,024"], self.folder.name)
        keys, rng = Keys(), random.Random(0)
        window = Window(page, 0, 0, 11, 32, self.pieces, keys, rng, wear=False)
        self.assertEqual([w for w, _ in window.words], ["revenue", "total", "2,024"])
        # The ink of each word's small-letter band lies under a patch that has a key of that word.
        names = {number: word for (word, _), number in keys.numbers.items()}
        strong = window.strong[:, 0].reshape(11, 32)
        for i, word in enumerate(page.words):
            row = int((page.band[i, 0] - page.band[i, 1] / 2) // PATCH)
            shown = {names[k] for k in strong[row] if k}
            self.assertEqual(shown, {word})
        letters = window.slots.reshape(11, 32, 4)[int((40 - page.band[0, 1] / 2) // PATCH)].reshape(-1)
        spelled = [c for c in letters if c > 0]
        # Two thin letters may share a slot; the rest are there in order.
        target = [LETTER_CLASS[c] for c in "revenue"]
        self.assertGreaterEqual(len(spelled), 6)
        remaining = iter(target)
        self.assertTrue(all(c in remaining for c in spelled))

    def test_a_batch_is_the_same_for_the_same_seed(self):
        page = page_of(["net", "sales", "total", "revenue", "2024"] * 4, self.folder.name, lead=20)

        class Shelf:
            def draw(self, rng):
                return page

        make = lambda: Batch(Shelf(), self.pieces, random.Random(5), 2, 8, 32, 32)
        a, b = make(), make()
        self.assertTrue(np.array_equal(a.pixels, b.pixels) and np.array_equal(a.ids, b.ids))
        self.assertTrue(set(a.strong.reshape(-1)) <= {0, *a.keys.reshape(-1)})


    def stored(self, words, lead=26):
        page = page_of(words, self.folder.name, lead)
        page.hidden = np.float32([[300, 30, 340, 60]])
        store = Store([1], room=1 << 21)
        self.assertTrue(store.add([(pack(page, self.pieces), page.image.shape, 0)]))
        return page, store

    def test_labels_made_at_once_are_those_made_one_by_one(self):
        page, store = self.stored(["net sales", "Revenue", "total", "2,024", "salesrevenue"])

        class SameKeys:
            def of(self, word, index):
                return key_of(word, index)

        for left, top in [(0, 0), (30, 5), (20, 27)]:
            frames = Frames(store, torch.tensor([0]), torch.ones(1, 2), torch.tensor([[left, top]]).float(),
                            torch.zeros(1), 8, 32)
            ours = DeviceBatch(frames, np.random.default_rng(0), 32, wear=False)
            window = Window(page, left, top, 8, 32, self.pieces, SameKeys(), random.Random(0), wear=False)
            finish_slots(window)
            self.assertTrue(np.array_equal(ours.pixels[0].numpy(), window.pixels))
            self.assertTrue(np.array_equal(np.sort(ours.strong[0].numpy(), 1), np.sort(window.strong, 1)))
            self.assertTrue(np.array_equal(ours.slots[0].numpy(), window.slots))
            # A patch at the edge of two pieces may have either as its weak key.
            self.assertTrue(np.array_equal(np.sign(ours.weak[0].numpy()), np.sign(window.weak)))
            self.assertEqual(ours.words, len(window.words))

    def test_print_is_where_its_labels_are_however_it_is_turned(self):
        words = ["revenue", "total", "sales", "net"] * 5
        _, store = self.stored(words, lead=30)
        for scale, tilt in [((1.0, 1.0), 0.012), ((1.7, 1.4), -0.012), ((0.7, 0.8), 0.0)]:
            frames = Frames(store, torch.tensor([0]), torch.tensor([scale]), torch.tensor([[5.0, 60.0]]),
                            torch.tensor([tilt]), 16, 32)
            batch = DeviceBatch(frames, np.random.default_rng(0), 32, wear=False)
            dark = 255 - batch.pixels[0].float().amin(1)
            strong = batch.strong[0, :, 0] > 0
            self.assertGreater(int(strong.sum()), 20)
            # Ink under all labels, labels (or the rest of a letter) over nearly all ink.
            self.assertEqual((dark[strong] > 60).float().mean().item(), 1)
            known = strong | (batch.weak[0] != 0)
            self.assertGreater(known[dark > 60].float().mean().item(), 0.93)

    def test_pages_lie_one_after_the_other(self):
        pages = [page_of(words, self.folder.name) for words in (["net"], ["total", "sales"], ["revenue"])]
        packed = [(pack(page, self.pieces), page.image.shape, i % 2) for i, page in enumerate(pages)]
        at_once, one_by_one = Store([1, 1], room=1 << 20), Store([1, 1], room=1 << 20)
        self.assertTrue(at_once.add(packed))
        self.assertTrue(all(one_by_one.add([page]) for page in packed))
        self.assertTrue(torch.equal(at_once.places[:3], one_by_one.places[:3]))
        for name, used in at_once.used.items():
            self.assertTrue(torch.equal(at_once.fields[name][:used], one_by_one.fields[name][:used]), name)
        self.assertEqual(at_once.pages_of, [[0, 2], [1]])
        self.assertFalse(at_once.add(packed * 9))

    def test_queries_are_the_words_of_the_windows(self):
        _, store = self.stored(["net", "sales", "total", "revenue", "2024", "is"] * 4, lead=20)
        batch = Sampler(store, 32, [8], 32, 1024, 3)()
        shown = set(batch.strong.flatten().tolist())
        keys = batch.keys[batch.real]
        self.assertGreater(len(keys), 20)
        self.assertGreater(sum(k in shown for k in keys.tolist()) / len(keys), 0.8)
        self.assertTrue(bool((batch.stop <= batch.real).all()))
        self.assertEqual({key_of("is", i) for i in range(len(self.pieces.of("is")))}, set(batch.keys[batch.stop].tolist()))


class Wear(unittest.TestCase):
    def test_rounded_coefficients_are_those_of_jpeg(self):
        image = Image.new("L", (64, 64), 230)
        ImageDraw.Draw(image).text((4, 20), "Total 2024", fill=20, font=ImageFont.load_default(14))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=40)
        theirs = np.asarray(Image.open(file), np.float32)
        ours = jpeg(torch.from_numpy(np.asarray(image, np.float32))[None], torch.tensor([40.0]))[0].numpy()
        # libjpeg counts in whole numbers.
        self.assertLess(np.abs(ours - theirs).mean(), 0.25 * np.abs(np.asarray(image) - theirs).mean())


class Model(unittest.TestCase):
    def test_the_first_heads_look_at_neighbours(self):
        torch.manual_seed(0)
        nano = Nano(Size(vocab=300))
        layer = nano.vision_layers[0]
        x = layer.layer_norm1(nano.position_embedding)
        q, k = (layer.self_attn[n](x)[:, :32] for n in ("q_proj", "k_proj"))
        seen = (q @ k.T).argmax(1).reshape(32, 32)
        left = torch.arange(1024).reshape(32, 32) - 1
        self.assertTrue(torch.equal(seen[:, 1:], left[:, 1:]))

    def test_a_window_of_the_whole_grid_is_a_page(self):
        torch.manual_seed(0)
        nano, at = Nano(SMALL), torch.arange(64)
        patches, prompt = torch.randn(1, 64, 588), torch.tensor([2])
        whole = nano.pages(patches, at[None], prompt)[0]
        order = torch.randperm(64)
        mixed = nano.pages(patches[:, order], at[None, order], prompt)[0]
        self.assertLess((whole[:, order] - mixed).abs().max().item(), 1e-5)

    def test_padding_changes_no_query(self):
        torch.manual_seed(0)
        nano = Nano(SMALL)
        alone = nano.queries(torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.bool))
        padded = nano.queries(torch.tensor([[5, 6, 0]]), torch.tensor([[True, True, False]]))
        self.assertLess((alone - padded[:, :2]).abs().max().item(), 1e-5)

    def test_equal_to_transformers(self):
        try:
            from transformers import ColPaliConfig, ColPaliForRetrieval
        except ImportError:
            self.skipTest("transformers is not installed")
        torch.manual_seed(0)
        nano = Nano(SMALL)
        reference = ColPaliForRetrieval(ColPaliConfig(**SMALL.hf_config())).float().eval()
        names = {n.replace("vlm.language_model.model.", "vlm.model.language_model.")
                  .replace("vlm.vision_tower.", "vlm.model.vision_tower.")
                  .replace("vlm.multi_modal", "vlm.model.multi_modal"): v for n, v in nano.hf_state().items()}
        missing, unexpected = reference.load_state_dict(names, strict=False)
        self.assertEqual([m for m in missing if "lm_head" not in m], [])
        self.assertEqual(unexpected, [])
        ids = torch.cat([torch.full((64,), 699), torch.tensor([2])])[None]
        pixels = torch.randn(1, 3, 112, 112)
        with torch.no_grad():
            theirs = reference(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).embeddings
            patches = pixels.view(3, 8, 14, 8, 14).permute(1, 3, 0, 2, 4).reshape(1, 64, -1)
            ours = nano.pages(patches, torch.arange(64)[None], torch.tensor([2]))[0]
        self.assertLess((theirs[:, :64] - ours).abs().max().item(), 1e-5)


class Loss(unittest.TestCase):
    def test_muon_of_many_is_muon_of_each(self):
        torch.manual_seed(0)
        first = [torch.nn.Parameter(torch.randn(6, 4)) for _ in range(2)] + [torch.nn.Parameter(torch.randn(4, 6))]
        second = [torch.nn.Parameter(p.detach().clone()) for p in first]
        ours = Muon(first, 0.01)
        theirs = torch.optim.Muon(second, lr=0.01, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        for _ in range(3):
            for a, b in zip(first, second):
                a.grad = torch.randn_like(a)
                b.grad = a.grad.clone()
            ours.step()
            theirs.step()
        # bf16 inside.
        for a, b in zip(first, second):
            self.assertLess((a - b).abs().max().item(), 2e-3)

    def test_silent_tokens_cost_nothing(self):
        patches = torch.nn.functional.normalize(torch.tensor([[1.0, 2, 0], [3, 1, 0]]), dim=-1)
        self.assertEqual(quiet(torch.tensor([[0.0, 0, 1]]), patches).item(), 0)
        self.assertGreater(quiet(torch.tensor([[1.0, 0, 0]]), patches).item(), 0.5)

    def test_sparse_positives_are_the_dense_ones(self):
        torch.manual_seed(0)
        unit = lambda n: torch.nn.functional.normalize(torch.randn(n, 8), dim=-1)
        patches, tokens = unit(30), unit(12)
        strong = torch.randint(0, 6, (30, 2))
        weak, keys = torch.zeros(30, dtype=torch.long), torch.randint(1, 6, (12,))
        got, _, _ = contrast(patches, tokens, strong, weak, keys, torch.tensor(5.0), 1.0)
        logits = tokens @ patches.T * 5
        losses = []
        for t in range(12):
            own = [p for p in range(30) if keys[t] in strong[p]]
            if own:
                losses.append(torch.logsumexp(logits[t], 0) - torch.logsumexp(logits[t, own], 0))
        self.assertAlmostEqual(got.item(), torch.stack(losses).mean().item(), places=5)


if __name__ == "__main__":
    unittest.main()
