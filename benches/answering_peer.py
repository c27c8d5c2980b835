"""PaliGemma in PyTorch, asked line by line by benches/answering.rs.

    answering_peer.py FOLDER f32|bf16 DEVICE THREADS

Reads `write TOKENS PROMPT` on stdin and answers with the seconds until the first token, those until the
last, and the ids: transformers' own `generate`, greedy, with its cache and PyTorch's attention (sdpa). Pixels come from a formula that both
sides know, and ids from the checkpoint's tokenizer.
"""

import sys
import time

import numpy
import tokenizers
import torch
from transformers import PaliGemmaForConditionalGeneration

folder, precision, device, threads = *sys.argv[1:4], int(sys.argv[4])
torch.set_num_threads(threads)
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
model = PaliGemmaForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval().to(device)
tokenizer = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")
image, edge = model.config.image_token_index, model.config.vision_config.image_size
patches = (edge // model.config.vision_config.patch_size) ** 2

y, x = numpy.mgrid[0:edge, 0:edge].astype(numpy.uint32)
waves = [(x * (3 + c) + y * (7 + 2 * c)) ^ (x * y // 16) for c in range(3)]
picture = (numpy.stack(waves) & 255).astype(numpy.float32)
pixels = torch.from_numpy((picture / 255 - 0.5) / 0.5)[None].to(device, dtype)


class Times:
    """What `generate` streams to: the moments at which it has a token, after one for the prompt."""

    def __init__(self):
        self.moments = []

    def put(self, _):
        self.moments.append(time.perf_counter())

    def end(self):
        pass


@torch.inference_mode()
def write(tokens, prompt):
    words = tokenizer.encode(prompt, add_special_tokens=False).ids
    ids = torch.tensor([[image] * patches + [2, *words, *tokenizer.encode("\n", add_special_tokens=False).ids]], device=device)
    times = Times()
    start = time.perf_counter()
    written = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=torch.zeros_like(ids), pixel_values=pixels,
        max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, streamer=times)
    written = written[0, ids.shape[1]:].tolist()
    return times.moments[1] - start, times.moments[-1] - start, written


print("ready", flush=True)
for line in sys.stdin:
    _, tokens, prompt = line.rstrip("\n").split(" ", 2)
    first, last, ids = write(int(tokens), prompt)
    print(first, last, *ids, flush=True)
