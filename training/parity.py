"""Reference tensors of an exported folder, for `pagesight doctor --parity FOLDER`.

    python parity.py --model nano --pdf page.pdf --out FOLDER
    python parity.py --model ../model/nano --pdf ../fixtures/pdf/form.pdf --rows 32 --out ../fixtures/nano
    python parity.py --model ../model/nano --adapter ../fixtures/nano-adapted/adapter \
        --pdf SCAN.pdf --rows 16 --out ../fixtures/nano-adapted

transformers' own ColPaliForRetrieval (f32) runs one slice of a real page and some questions; every
layer's output is kept, so a difference names its place. With `--rows` only so many rows of each are
kept, and no copy of the model: a fixture of the one inside the program. With `--adapter`, one that
adapt/adapt.py wrote, its factors are merged into the weights first. Needs transformers.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import torch
from safetensors.torch import save_file
from transformers import ColPaliForRetrieval, PreTrainedTokenizerFast

from pdf_pages import draw

QUERIES = ["Total revenue in 2024?", "Où est la clé (n° 1,234.50)?", "отчёт 日本", "x86"]


def rows_of(kept, count):
    """A few rows of each stage of the page, spread over the slice, and the queries' vectors."""
    patches = kept["hf.page.input_ids"].shape[1] - 1
    rows = torch.arange(count) * (patches // count + 1) % patches
    some = {"page.rows": rows}
    for name, tensor in kept.items():
        if name in ("hf.query.input_ids", "hf.query.embeddings"):
            some[name.removeprefix("hf.")] = tensor
        elif name.startswith(("vision.", "projector.", "hf.page.")) and name != "hf.page.lm.input":
            some[name.removeprefix("hf.")] = tensor[0][rows]
    return some


def reference(args):
    """The reference's model, f32, with the adapter merged where there is one."""
    if args.adapter is None:
        return ColPaliForRetrieval.from_pretrained(args.model, dtype=torch.float32).eval()
    from model import Nano

    sys.path.insert(0, str(Path(__file__).resolve().parent / "adapt"))
    from lora import Adapter

    merged = Adapter.open(args.adapter, Nano.open(args.model)).merged(Nano.open(args.model))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(args.model, folder, dirs_exist_ok=True)
        state = {name: value.contiguous().clone() for name, value in merged.hf_state().items()}
        save_file(state, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        return ColPaliForRetrieval.from_pretrained(folder, dtype=torch.float32).eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", help="a folder in that of --out, with --rows")
    parser.add_argument("--pdf", required=True)
    parser.add_argument("--page", type=int, default=1)
    parser.add_argument("--rows", type=int, help="rows of each stage, of the model inside the program")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    out = Path(args.out)
    if args.rows is None:
        (out / "images").mkdir(parents=True, exist_ok=True)
        shutil.copytree(args.model, out / "hf", dirs_exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    model = reference(args)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{args.model}/tokenizer.json", pad_token="<pad>")
    edge = model.config.vlm_config.vision_config.image_size
    image = draw(pdfium.PdfDocument(args.pdf)[args.page - 1], 2 * edge, 3 * edge).crop((0, 0, edge, edge))
    image.convert("RGB").save(out / ("page.png" if args.rows else "images/page1.png"))
    resized = np.asarray(image.convert("RGB"))[None]
    pixels = (torch.from_numpy(resized.copy()).float() * np.float32(1 / 255) - 0.5) / 0.5
    pixels = pixels.permute(0, 3, 1, 2).contiguous()
    kept = {"resized_u8": torch.from_numpy(resized.copy()), "pixel_values": pixels}

    vlm = model.vlm.model
    tower, language = vlm.vision_tower.vision_model, vlm.language_model
    kind, hooks = {"now": "hf.page"}, []

    def keep(module, name):
        def hook(_, __, output):
            kept[name()] = (output[0] if isinstance(output, tuple) else output).detach().clone().contiguous()

        hooks.append(module.register_forward_hook(hook))

    keep(tower.embeddings, lambda: "vision.embeddings")
    for n, layer in enumerate(tower.encoder.layers):
        keep(layer, lambda n=n: f"vision.layer.{n}")
    keep(tower.post_layernorm, lambda: "vision.output")
    keep(vlm.multi_modal_projector, lambda: "projector.output")
    for n, layer in enumerate(language.layers):
        keep(layer, lambda n=n: f"{kind['now']}.lm.layer.{n}")
    keep(language.norm, lambda: f"{kind['now']}.lm.output")
    keep(model.embedding_proj_layer, lambda: f"{kind['now']}.head.output")
    hooks.append(language.layers[0].register_forward_pre_hook(
        lambda _, given: kept.__setitem__(f"{kind['now']}.lm.input", given[0].detach().clone().contiguous())))

    side = edge // model.config.vlm_config.vision_config.patch_size
    ids = torch.cat([torch.full((side**2,), model.config.vlm_config.image_token_index), torch.tensor([2])])[None]
    with torch.no_grad():
        page = model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).embeddings
        kept["hf.page.input_ids"], kept["hf.page.embeddings"] = ids, page
        kind["now"] = "hf.query"
        texts = [f"<bos>Question: {q}" + "<pad>" * 10 + "\n" for q in QUERIES]
        if args.rows:
            recipe = json.loads((Path(args.model) / "recipe.json").read_text())
            pads = "<pad>" * recipe["query_pads"] + recipe["query_suffix"]
            texts = [recipe["query_prefix"] + q + pads for q in QUERIES]
        batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        query = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).embeddings
        kept["hf.query.input_ids"], kept["hf.query.attention_mask"] = batch["input_ids"], batch["attention_mask"]
        kept["hf.query.embeddings"] = query
        scores = torch.einsum("qtd,pnd->qpnt", query, page).amax(2) * batch["attention_mask"][:, None]
        kept["hf.scores"] = scores.sum(-1)
    for hook in hooks:
        hook.remove()
    strings = {"strings": {"queries": QUERIES}}
    if args.rows:
        kept, strings = rows_of(kept, args.rows), {"model": Path(args.adapter).name if args.adapter else "nano"} | strings
    save_file({name: tensor.contiguous() for name, tensor in kept.items()}, out / "expected.safetensors")
    (out / "fixture.json").write_text(json.dumps(strings, ensure_ascii=False) + "\n")
    print(f"{len(kept)} tensors in {out}")


if __name__ == "__main__":
    main()
