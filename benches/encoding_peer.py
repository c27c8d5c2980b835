"""ColPaliForRetrieval of transformers, asked line by line by benches/encoding.rs.

    encoding_peer.py FOLDER f32|bf16 cpu|cuda THREADS

Reads `page COUNT` (so many different pages together), `query TEXT` and others on stdin, answers with seconds; `save FILE` writes the
vectors of the last answer, f32 little-endian. Pixels come from a formula that both sides know and
ids from the checkpoint's tokenizer, so the work and the result are the same.
"""

import functools
import resource
import sys
import time

import numpy
import tokenizers
import torch
from transformers import ColPaliConfig, ColPaliForRetrieval

folder, precision, device, threads = *sys.argv[1:4], int(sys.argv[4])
torch.set_num_threads(threads)
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
# In every place: asked for f32 once, transformers 4.57.6 leaves a part of this model in bf16.
config = ColPaliConfig.from_pretrained(folder)
for part in [config, config.vlm_config, config.vlm_config.text_config, config.vlm_config.vision_config]:
    part.dtype = dtype
model = ColPaliForRetrieval.from_pretrained(folder, config=config, dtype=dtype).eval().to(dtype).to(device)
assert {p.dtype for p in model.parameters()} == {dtype}
vision = model.config.vlm_config.vision_config
image, edge = model.config.vlm_config.image_token_index, vision.image_size
patches = (edge // vision.patch_size) ** 2

tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
last = None


def ids(text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def picture(seed):
    y, x = numpy.mgrid[0:edge, 0:edge].astype(numpy.uint32)
    waves = [(x * (3 + c + seed) + y * (7 + 2 * c)) ^ (x * y // (16 + seed)) for c in range(3)]
    rgb = numpy.stack(waves) & 255
    return torch.from_numpy((rgb.astype(numpy.float32) / 255 - 0.5) / 0.5).to(dtype)


page_ids = torch.tensor([[image] * patches + ids("<bos>Describe the image.\n")])


@functools.cache
def pictures(count):
    return torch.stack([picture(seed) for seed in range(count)]).to(device)


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


@torch.inference_mode()
def run(ids, pixels=None):
    global last
    ids = ids.to(device)
    mask = torch.ones_like(ids)
    wait()
    start = time.perf_counter()
    last = model(input_ids=ids, attention_mask=mask, pixel_values=pixels).embeddings.cpu()
    return time.perf_counter() - start


def peak():
    """TFLOP/s of a large bf16 product, as PyTorch does it."""
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(13):
        wait()
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        wait()
        seconds.append(time.perf_counter() - start)
    return 4 * 2 * 8192**3 / sorted(seconds[3:])[5] / 1e12


print("ready", flush=True)
for line in sys.stdin:
    match line.rstrip("\n").split(" ", 1):
        case ["page", count]:
            print(run(page_ids.repeat(int(count), 1), pictures(int(count))), flush=True)
        case ["query", text]:
            text = f"<bos>Question: {text}{'<pad>' * 10}\n"
            print(run(torch.tensor([ids(text)])), flush=True)
        case ["save", path]:
            last.float().numpy().astype("<f4").tofile(path)
            print("saved", flush=True)
        case ["peak"]:
            print(f"{peak():.0f}", flush=True)
        case ["memory"]:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
