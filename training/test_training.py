"""What training stands on: python -m unittest test_training (needs requirements.txt, no data)."""

import random
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from loss import contrast
from model import Nano, Size
from pages import Page, PageBuilder
from tokens import BOUNDARY, Pieces, build, fold, normalizer, units
from windows import LETTER_CLASS, PATCH, Batch, Keys, Window

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
