"""Writes a checkpoint as transformers' `ColPaliForRetrieval` folder, f16, and checks it.

    python export.py --run runs/nano --tokenizer tokenizer.json --out nano

With `--compare` (needs transformers) the folder is loaded by the reference class and its vectors
must be those of training's own code within 1e-4.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import Nano

RECIPE = {
    "slices": ["1x1", "2x3"],
    "page_prompt": "<bos>",
    "query_prefix": "",
    "query_pads": 0,
    "query_suffix": "",
    "causal_queries": False,
    "prune_blank": 16,
    "precision": "bf16",
    "fusion": {"visual_weight": 0.0, "visual_margin": 0.02},
}


def preprocessor(size):
    return {
        "do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "image_processor_type": "SiglipImageProcessor",
        "image_seq_length": size.side**2, "processor_class": "ColPaliProcessor", "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"height": size.edge, "width": size.edge},
    }


def tokenizer_config(size):
    return {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>",
        "pad_token": "<pad>", "unk_token": "<unk>", "extra_special_tokens": {"image_token": "<image>"},
        "padding_side": "right", "clean_up_tokenization_spaces": False,
    }


def write(value, path):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@torch.no_grad()
def compare(nano, folder, tokenizer):
    """The largest difference from the reference class, pages and queries, both in f32."""
    from transformers import ColPaliForRetrieval

    reference, report = ColPaliForRetrieval.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    missing = [k for k in report["missing_keys"] if "lm_head" not in k]
    if missing or report["unexpected_keys"]:
        raise SystemExit(f"missing {missing}, unexpected {report['unexpected_keys']}")
    nano = nano.float()
    side, patch = nano.size.side, nano.size.patch
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, nano.size.edge, nano.size.edge, generator=generator) * 2 - 1
    image, prompt = nano.size.vocab - 1, torch.tensor([2])
    ids = torch.cat([torch.full((side**2,), image), prompt])[None]
    theirs = reference(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).embeddings[0, : side**2]
    patches = pixels.view(3, side, patch, side, patch).permute(1, 3, 0, 2, 4).reshape(1, side**2, -1)
    ours = nano.pages(patches, torch.arange(side**2)[None], prompt)[0][0]
    page = (theirs - ours).abs().max().item()
    query = torch.tensor([tokenizer.encode("Total revenue in 2024", add_special_tokens=False).ids])
    theirs = reference(input_ids=query, attention_mask=torch.ones_like(query)).embeddings
    ours = nano.queries(query, torch.ones_like(query, dtype=torch.bool))
    return page, (theirs - ours).abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--student", type=int, default=0, help="which, where several were trained together")
    parser.add_argument("--average", action="store_true", help="the running average: good also while the rate is high")
    parser.add_argument("--compare", action="store_true")
    args = parser.parse_args()
    nano, step = Nano.load(Path(args.run) / "checkpoint.pt", args.student, args.average)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    # What is stored is what is compared: numbers of 16 bits.
    for tensor in nano.state_dict().values():
        tensor.copy_(tensor.half().float())
    state = {name: value.half().contiguous().clone() for name, value in nano.hf_state().items()}
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    write(nano.size.hf_config(), out / "config.json")
    write(preprocessor(nano.size), out / "preprocessor_config.json")
    write(RECIPE, out / "recipe.json")
    write(tokenizer_config(nano.size), out / "tokenizer_config.json")
    write({"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
          out / "special_tokens_map.json")
    shutil.copy(args.tokenizer, out / "tokenizer.json")
    size = (out / "model.safetensors").stat().st_size
    print(f"step {step}: {sum(v.numel() for v in state.values()):,} numbers, {size:,} bytes in {out}")
    if args.compare:
        from tokenizers import Tokenizer

        page, query = compare(nano, str(out), Tokenizer.from_file(args.tokenizer))
        print(f"largest difference from transformers: pages {page:.1e}, queries {query:.1e}")
        if max(page, query) > 1e-4:
            raise SystemExit("not equal to the reference")


if __name__ == "__main__":
    main()
