"""Trains nano. One command; started again it goes on where it stopped.

    python train.py --run runs/nano --tokenizer tokenizer.json \
        --pages pages/pdf pages/made --weights 1 1 --check pages/check --steps 20000

Writes `curve.jsonl`, a line each `--log` steps, and `checkpoint.pt` each `--save` seconds and at the
end. The rate rises over the first steps, stays, and falls to nothing over the last `--decay` steps
(so a run may be cut short: start it again with a smaller `--steps`). `--for` stops after so many
seconds, for machines that give pieces of time; so does SIGTERM, with a checkpoint; the next call goes on.
"""

import argparse
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from evaluate import check
from loss import contrast, letters
from model import Nano, Size
from tokens import Pieces
from windows import N_CLASSES, SLOTS, Ahead, Batch, Shelf


class Student(nn.Module):
    """The model, and what only training needs: a reading head and a temperature."""

    def __init__(self, size):
        super().__init__()
        self.nano = Nano(size)
        self.reading = nn.Linear(size.vision, SLOTS * N_CLASSES)
        self.scale = nn.Parameter(torch.tensor(2.5))
        nn.init.normal_(self.reading.weight, std=0.02)
        nn.init.zeros_(self.reading.bias)

    def forward(self, batch, prompt, chance, only_letters=False):
        if only_letters:
            read = self.reading(self.nano.see(batch["pixels"], batch["at"]))
            of_letters, right = letters(read.unflatten(-1, (SLOTS, N_CLASSES)), batch["slots"])
            none = torch.zeros((), device=read.device)
            return none, none, of_letters, none, right
        patches, seen = self.nano.pages(batch["pixels"], batch["at"], prompt)
        tokens = self.nano.queries(batch["ids"], batch["real"])
        scale = self.scale.exp().clamp(max=60)
        of_tokens, of_patches, hit = contrast(
            patches.flatten(0, 1), tokens[batch["real"]], batch["strong"].flatten(0, 1),
            batch["weak"].flatten(), batch["keys"][batch["real"]], scale, chance)
        read = self.reading(seen).unflatten(-1, (SLOTS, N_CLASSES))
        of_letters, right = letters(read, batch["slots"])
        return of_tokens, of_patches, of_letters, hit, right


def optimizers(student, rate):
    """Muon for the layers' matrices, AdamW for all else."""
    matrices, rest, plain = [], [], []
    for name, p in student.named_parameters():
        inside = "layers." in name and p.dim() == 2
        (matrices if inside else rest if p.dim() == 2 else plain).append(p)
    muon = torch.optim.Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.01,
                            adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW([{"params": rest, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0}],
                             lr=rate, betas=(0.9, 0.98), fused=True)
    return [muon, adam]


def schedule(step, args):
    return min((step + 1) / args.warmup, 1.0, max(args.steps - step, 0) / max(args.decay, 1))


def tensors(batch, device):
    names = ("pixels", "at", "strong", "weak", "slots", "ids", "real", "keys")
    return {n: torch.from_numpy(getattr(batch, n)).to(device, non_blocking=True) for n in names}


def save(path, student, optimizers_, step, args, size):
    state = {
        "student": student.state_dict(), "optimizers": [o.state_dict() for o in optimizers_],
        "step": step, "size": size.asdict(),
    }
    torch.save(state, f"{path}.new")
    os.replace(f"{path}.new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True, help="folder of the checkpoint and the curve")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--pages", nargs="+", required=True, help="folders of pages")
    parser.add_argument("--weights", nargs="+", type=float, help="how often each is drawn from")
    parser.add_argument("--check", nargs="*", default=[], help="folders of pages never trained on")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--decay", type=int, default=2_000)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--letters-first", type=int, default=0, help="steps that only learn letters")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--patches", type=int, default=4096, help="patches in a batch")
    parser.add_argument("--rows", type=int, nargs="+", default=[8], help="heights of windows, one drawn for each batch")
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--shelf", type=int, default=300, help="pages in memory")
    parser.add_argument("--log", type=int, default=25)
    parser.add_argument("--check-every", type=int, default=400)
    parser.add_argument("--save", type=float, default=150)
    parser.add_argument("--for", dest="seconds", type=float, default=float("inf"))
    parser.add_argument("--size", default="{}", help="JSON over the default sizes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--makers", type=int, default=0, help="processes that make batches; 0: a thread")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--zoomed", type=float, default=0.35, help="share of pages drawn at another scale")
    parser.add_argument("--compile", action="store_true", help="fuse the layers' small operations (needs a C++ compiler)")
    parser.add_argument("--no-wear", action="store_true", help="clean windows, for the proof")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    started, run = time.time(), Path(args.run)
    run.mkdir(parents=True, exist_ok=True)
    pieces = Pieces(args.tokenizer)
    size = Size(**{**json.loads(args.size), "vocab": pieces.size})
    student = Student(size)
    checkpoint, step, state = run / "checkpoint.pt", 0, None
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        student.load_state_dict(state["student"])
        step = state["step"]

    def start(number):
        # Another part of the data after each start.
        rng = random.Random(f"{args.seed}/{step}/{number}")
        share = args.shelf // max(args.makers, 1)
        shelf = Shelf(args.pages, args.weights or [1] * len(args.pages), share, rng.random(), 0 if args.no_wear else args.zoomed)

        def make():
            rows = rng.choice(args.rows)
            count = max(args.patches // (rows * args.columns), 1)
            shelf.exchange(max(count // 5, 1))
            return Batch(shelf, pieces, rng, count, rows, args.columns, size.side, not args.no_wear)

        return make

    # Before anything is on the device: processes are forked.
    ahead = Ahead(start, args.makers)
    student.to(args.device)
    if args.compile:
        for layer in student.nano.vision_layers:
            layer.compile(dynamic=False)
        for layer in student.nano.text_layers:
            layer.compile(dynamic=True)
    steppers = optimizers(student, args.rate)
    for stepper, saved in zip(steppers, state["optimizers"] if state else []):
        stepper.load_state_dict(saved)
    prompt = torch.tensor([2], device=args.device)  # <bos>
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    print(f"{sum(p.numel() for p in student.nano.parameters()):,} parameters, from step {step}", flush=True)
    sums, summed, since, saved, words = np.zeros(5), 0, time.time(), time.time(), 0
    with open(run / "curve.jsonl", "a") as curve:
        while step < args.steps and time.time() - started < args.seconds and not stop:
            batch = ahead.next()
            words += sum(map(len, batch.words))
            rate = args.rate * schedule(step, args)
            for stepper in steppers:
                for group in stepper.param_groups:
                    group["lr"] = rate * (2 if isinstance(stepper, torch.optim.Muon) else 1)
            with torch.autocast(args.device, dtype=torch.bfloat16):
                of_tokens, of_patches, of_letters, hit, right = student(
                    tensors(batch, args.device), prompt, 0.3, step < args.letters_first)
            loss = of_tokens + 0.5 * of_patches + of_letters
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            for stepper in steppers:
                stepper.step()
                stepper.zero_grad(set_to_none=True)
            sums += [v.item() for v in (of_tokens, of_patches, of_letters, hit, right)]
            step, summed = step + 1, summed + 1
            if not np.isfinite(sums).all():
                raise SystemExit(f"step {step}: the loss is not a number; the last checkpoint is good")
            if step % args.log == 0:
                tokens, patches, letters_, hit, right = (sums / summed).round(4).tolist()
                line = {
                    "step": step, "tokens": tokens, "patches": patches, "letters": letters_, "hit": hit,
                    "read": right, "scale": round(student.scale.exp().item(), 2), "rate": rate,
                    "words": words, "seconds": round((time.time() - since) / summed, 3),
                }
                if args.check and step % args.check_every == 0:
                    line["check"] = check(student.nano, args.check, pieces, prompt)
                curve.write(json.dumps(line) + "\n")
                curve.flush()
                print(line, flush=True)
                sums[:], summed, since = 0, 0, time.time()
            if time.time() - saved > args.save:
                save(checkpoint, student, steppers, step, args, size)
                saved = time.time()
    save(checkpoint, student, steppers, step, args, size)


if __name__ == "__main__":
    main()
