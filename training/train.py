"""Trains nano. One command; started again it goes on where it stopped.

    python train.py --run runs/nano --tokenizer tokenizer.json \
        --pages pages/pdf pages/made --weights 1 1 --check pages/check --for 3600 --finish 0.3

Writes `curve.jsonl`, a line each `--log` seconds, and `checkpoint.pt` each `--save` seconds and at the
end. The rate rises over the first steps and stays; with `--finish` it falls to nothing over the last
part of the time that `--for` gives. Without, a run ends at the full rate and is gone on with by the
next call, for machines that give pieces of time; SIGTERM ends it with a checkpoint too.

Several `--size` train several students on the same batches, for comparison.
"""

import argparse
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from evaluate import check
from loss import contrast, letters, quiet
from model import Nano, Size
from muon import Muon
from sample import Sampler
from store import Loader, Store
from tokens import Pieces
from windows import N_CLASSES, SLOTS


class Student(nn.Module):
    """The model, and what only training needs: a reading head and a temperature.

    `stop` teaches that stop words match nothing.
    """

    def __init__(self, size, stop=False):
        super().__init__()
        self.nano, self.stop = Nano(size), stop
        self.reading = nn.Linear(size.vision, SLOTS * N_CLASSES)
        self.scale = nn.Parameter(torch.tensor(2.5))
        nn.init.normal_(self.reading.weight, std=0.02)
        nn.init.zeros_(self.reading.bias)

    def read(self, seen, slots):
        return letters(self.reading(seen).unflatten(-1, (SLOTS, N_CLASSES)), slots)

    def forward(self, batch, prompt, chance, only_letters=False, most=6144):
        """The loss, and `[5]` what it is made of: tokens, patches, letters, hit, read, quiet."""
        none = torch.zeros((), device=prompt.device)
        if only_letters:
            of_letters, right = self.read(self.nano.see(batch.pixels, batch.at), batch.slots)
            return of_letters, torch.stack([none, none, of_letters, none, right, none]).detach()
        patches, seen = self.nano.pages(batch.pixels, batch.at, prompt)
        patches = patches.flatten(0, 1)
        tokens, asked = self.nano.queries(batch.ids, batch.real), batch.real
        strong, weak = batch.strong.flatten(0, 1), batch.weak.flatten()
        of_quiet = none
        if self.stop:
            silent, asked = tokens[asked & batch.stop], asked & ~batch.stop
            print_ = ((strong[:, 0] > 0) | (weak != 0)).nonzero()[:, 0]
            if len(silent) and len(print_):
                some = print_[torch.randint(len(print_), (8192,), device=print_.device)]
                of_quiet = quiet(silent[:1024], patches[some])
        tokens, keys = tokens[asked], batch.keys[asked]
        if len(tokens) > most:
            some = torch.randperm(len(tokens), device=tokens.device)[:most]
            tokens, keys = tokens[some], keys[some]
        scale = self.scale.exp().clamp(max=60)
        of_tokens, of_patches, hit = contrast(patches, tokens, strong, weak, keys, scale, chance)
        of_letters, right = self.read(seen, batch.slots)
        loss = of_tokens + 0.5 * of_patches + of_letters + 2 * of_quiet
        return loss, torch.stack([of_tokens, of_patches, of_letters, hit, right, of_quiet]).detach()


def optimizers(student, rate):
    """Muon for the layers' matrices, AdamW for all else."""
    matrices, rest, plain = [], [], []
    for name, p in student.named_parameters():
        inside = "layers." in name and p.dim() == 2
        (matrices if inside else rest if p.dim() == 2 else plain).append(p)
    adam = torch.optim.AdamW([{"params": rest, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0}],
                             lr=rate, betas=(0.9, 0.98), fused=True)
    return [Muon(matrices, rate), adam]


class Course:
    """One student on its way: its optimizers, the running average of its weights, its sums."""

    def __init__(self, spec, pieces, args, saved=None):
        spec = dict(spec)
        stop = spec.pop("stop", False)
        self.size = Size(**{**spec, "vocab": pieces.size})
        self.student = Student(self.size, stop)
        if saved:
            self.student.load_state_dict(saved["student"])
        self.student.to(args.device)
        if args.compile:
            for layer in self.student.nano.vision_layers:
                layer.compile(dynamic=True)
            for layer in self.student.nano.text_layers:
                layer.compile(dynamic=True)
        self.steppers = optimizers(self.student, args.rate)
        for stepper, state in zip(self.steppers, saved["optimizers"] if saved else []):
            stepper.load_state_dict(state)
        self.weights = list(self.student.state_dict().values())
        self.average = [w.detach().clone() for w in self.weights]
        if saved:
            for mine, theirs in zip(self.average, saved["average"].values()):
                mine.copy_(theirs)
        self.reads, self.sums = bool(saved) and saved["reads"], torch.zeros(6, device=args.device)

    def step(self, batch, prompt, rate):
        with torch.autocast(prompt.device.type, dtype=torch.bfloat16):
            loss, parts = self.student(batch, prompt, 0.3, not self.reads)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        for stepper in self.steppers:
            for group in stepper.param_groups:
                group["lr"] = rate * (2 if isinstance(stepper, Muon) else 1)
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        self.sums += parts

    @torch.no_grad()
    def follow(self, share):
        torch._foreach_lerp_(self.average, self.weights, share)

    def state(self):
        names = self.student.state_dict()
        return {
            "student": dict(names), "average": dict(zip(names, self.average)), "size": self.size.asdict(),
            "optimizers": [s.state_dict() for s in self.steppers], "reads": self.reads,
        }

    def line(self, summed):
        """What is logged of the steps since the last time."""
        names = ("tokens", "patches", "letters", "hit", "read", "quiet")
        means = [round(v, 4) for v in (self.sums / summed).tolist()]
        self.sums.zero_()
        return {**dict(zip(names, means)), "scale": round(self.student.scale.exp().item(), 2)}


def rehearse(courses, draw, prompt, again, limit=100):
    """Passes without a step, so that layers are compiled before time counts. True if they run, sooner
    than uncompiled ones, and were ready in `limit` seconds."""
    def passes(count):
        torch.cuda.synchronize() if prompt.device.type == "cuda" else None
        since = time.time()
        for _ in range(count):
            batch = draw()
            for course in courses:
                with torch.autocast(prompt.device.type, dtype=torch.bfloat16):
                    loss, _ = course.student(batch, prompt, 0.3)
                loss.backward()
                for stepper in course.steppers:
                    stepper.zero_grad(set_to_none=True)
        torch.cuda.synchronize() if prompt.device.type == "cuda" else None
        return (time.time() - since) / count

    def enough(*_):
        raise TimeoutError("compiling takes too long")

    signal.signal(signal.SIGALRM, enough)
    signal.alarm(limit)
    try:
        began = time.time()
        passes(again)
        compiled = passes(again)
        with torch.compiler.set_stance("force_eager"):
            passes(again)
            plain = passes(again)
    except Exception as error:  # whatever a compiler may say: training goes on without it
        print(f"not compiled: {type(error).__name__}: {str(error)[:300]}", flush=True)
        return False
    finally:
        signal.alarm(0)
    print(f"a pass takes {compiled:.3f} s compiled, {plain:.3f} s plain; found out in {time.time() - began:.0f} s", flush=True)
    return compiled < plain


def save(path, courses, step, words):
    torch.save({"students": [c.state() for c in courses], "step": step, "words": words}, f"{path}.new")
    os.replace(f"{path}.new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True, help="folder of the checkpoint and the curve")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--pages", nargs="+", required=True, help="folders of pages")
    parser.add_argument("--weights", nargs="+", type=float, help="how often each is drawn from")
    parser.add_argument("--check", nargs="*", default=[], help="folders of pages never trained on")
    parser.add_argument("--for", dest="seconds", type=float, default=float("inf"), help="seconds of this call")
    parser.add_argument("--finish", type=float, default=0, help="share of them in which the rate falls to nothing")
    parser.add_argument("--steps", type=float, default=float("inf"), help="stop at this step")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--letters-until", type=float, default=0.4,
                        help="only letters are taught until this share of them is read right")
    parser.add_argument("--letters-most", type=int, default=1400, help="or until this step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--patches", type=int, default=4096, help="patches in a batch")
    parser.add_argument("--rows", type=int, nargs="+", default=[8], help="heights of windows, one drawn for each batch")
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--room", type=float, default=0.5, help="memory for pictures of pages, in 10^9 px")
    parser.add_argument("--first", type=int, default=300, help="pages in memory before the first step")
    parser.add_argument("--loaders", type=int, default=1, help="processes that read pages")
    parser.add_argument("--log", type=float, default=20)
    parser.add_argument("--check-every", type=float, default=120, help="seconds")
    parser.add_argument("--save", type=float, default=150)
    parser.add_argument("--size", nargs="+", default=["{}"],
                        help='students: JSON over the default sizes; "stop": true teaches that stop words match nothing')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="fuse the layers' small operations (needs a C++ compiler)")
    parser.add_argument("--rehearse", type=int, default=12, help="passes to compile in and to time")
    parser.add_argument("--no-wear", action="store_true", help="clean windows, for the proof")
    args = parser.parse_args()

    began = time.time()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch._dynamo.config.cache_size_limit = 64
    run = Path(args.run)
    run.mkdir(parents=True, exist_ok=True)
    # Before anything is on the device: processes are forked.
    loader = Loader(args.pages, args.tokenizer, args.loaders)
    pieces = Pieces(args.tokenizer)
    checkpoint, step, words, state = run / "checkpoint.pt", 0, 0, None
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        step, words = state["step"], state["words"]
    store = Store(args.weights or [1] * len(args.pages), args.device, int(args.room * 1e9))
    loader.fill(store, args.first)
    courses = []
    for number, spec in enumerate(args.size):
        torch.manual_seed(args.seed + step)
        courses.append(Course(json.loads(spec), pieces, args, state and state["students"][number]))
    draw = Sampler(store, courses[0].size.side, args.rows, args.columns, args.patches, [args.seed, step], not args.no_wear)
    prompt = torch.tensor([2], device=args.device)  # <bos>
    for course in courses:
        print(f"{sum(p.numel() for p in course.student.nano.parameters()):,} parameters, from step {step}", flush=True)
    print(f"{store.count} pages after {time.time() - began:.0f} s", flush=True)
    if args.compile and not rehearse(courses, draw, prompt, args.rehearse):
        torch.compiler.set_stance("force_eager")
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    summed, since, saved, checked = 0, time.time(), time.time(), time.time()
    with open(run / "curve.jsonl", "a") as curve:
        while step < args.steps and time.time() - began < args.seconds and not stop:
            left = 1 - (time.time() - began) / args.seconds
            rate = args.rate * min((step + 1) / args.warmup, 1, left / args.finish if args.finish else 1)
            try:
                batch = draw()
                for course in courses:
                    course.step(batch, prompt, rate)
            except torch.OutOfMemoryError:
                # A batch of unusually many words, or a smaller card.
                draw.patches = int(draw.patches * 0.8)
                print(f"out of memory: {draw.patches} patches a batch from here on", flush=True)
                batch = None
                for course in courses:
                    course.student.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
                continue
            words += batch.words
            step, summed = step + 1, summed + 1
            if step % 5 == 0:
                # The first weights are soon forgotten.
                for course in courses:
                    course.follow(max(0.03, 5 / (step + 5)))
            if time.time() - since > args.log:
                lines = [course.line(summed) for course in courses]
                now = time.time()
                line = {"step": step, "words": words, "pages": store.count, "rate": round(rate, 6),
                        "seconds": round((now - since) / summed, 4), "at": round(now - began), "students": lines}
                for course, values in zip(courses, lines):
                    if not all(np.isfinite(v) for v in values.values()):
                        loader.stop()
                        raise SystemExit(f"step {step}: the loss is not a number; the last checkpoint is good")
                    course.reads = course.reads or values["read"] >= args.letters_until or step >= args.letters_most
                if args.check and now - checked > args.check_every:
                    with torch.compiler.set_stance("force_eager"):
                        for course, values in zip(courses, lines):
                            values["check"] = check(course.student.nano, args.check, pieces, prompt)
                    checked = time.time()
                curve.write(json.dumps(line) + "\n")
                curve.flush()
                print(json.dumps(line), flush=True)
                summed, since = 0, time.time()
            if time.time() - saved > args.save:
                save(checkpoint, courses, step, words)
                saved = time.time()
    save(checkpoint, courses, step, words)
    print(f"step {step}, {words:,} words, {store.count} pages, {time.time() - began:.0f} s", flush=True)
    # The thread that waits for pages would keep the process.
    loader.stop()
    os._exit(0)


if __name__ == "__main__":
    main()
