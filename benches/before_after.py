#!/usr/bin/env python3
"""Is one build of the program slower than another?

Runs two programs in turn, A B A B ..., on the same PDFs, and prints for each task the median of
each, the ratio B/A of the medians, and the range of the ratios pair by pair. Tasks: indexing words,
indexing with nano, a cold process that answers a question with and without pictures, drawing a page,
and the largest resident memory of each task.

    python3 benches/before_after.py BEFORE AFTER [--rounds 7] > benches/results/before_after.txt

Each program needs libpdfium beside it. Only Python's standard library is used.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PDFS = ["debian/history.pdf", "debian/install-tables.pdf", "papers/chart.pdf", "slides.pdf", "form.pdf"]
SCANS = ["scan.pdf"]


def run(program, arguments, folder):
    """Seconds, and the largest resident memory of the process and its children in MB."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PAGESIGHT_")}
    environment["NO_COLOR"] = "1"
    start = time.perf_counter()
    child = subprocess.Popen(
        [program, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    error = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{program} {' '.join(arguments)}: {error.decode()}")
    return seconds, usage.ru_maxrss / 1024


def folder_of(names, copies):
    folder = pathlib.Path(tempfile.mkdtemp())
    for n in range(copies):
        for name in names:
            bytes_ = (ROOT / "fixtures/pdf" / name).read_bytes()
            # Copies differ in their last line, so that each is read.
            (folder / f"{n}-{name.replace('/', '-')}").write_bytes(bytes_ + b"\n%% %d\n" % n)
    return folder


def tasks(program):
    """A function a task: runs it once and gives seconds and MB."""
    words, scans = folder_of(PDFS, 20), folder_of(SCANS, 1)
    asked = folder_of(PDFS + SCANS, 1)
    run(program, ["index", "--quiet", "--no-ocr", "."], asked)
    question = "booting from the network with a TFTP server"

    def fresh(folder, arguments):
        shutil.rmtree(folder / ".pagesight", ignore_errors=True)
        return run(program, ["index", "--quiet", "--no-ocr", *arguments, "."], folder)

    return {
        "index words": lambda: fresh(words, ["--model", "none"]),
        "index with nano": lambda: fresh(scans, ["--model", "nano"]),
        "query, words": lambda: run(program, ["query", "--channel", "text", question], asked),
        "query, both": lambda: run(program, ["query", question], asked),
        "get --image": lambda: run(
            program, ["get", "0-form.pdf#1", "--image", "page.png", "--width", "1200"], asked
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    programs = [os.path.abspath(options.before), os.path.abspath(options.after)]
    sides = [tasks(program) for program in programs]
    print(f"{options.rounds} rounds, in turn; seconds are medians of whole processes")
    print(f"{'task':18} {'before s':>9} {'after s':>9} {'ratio':>6}  {'pair by pair':13} {'MB':>12}")
    for name in sides[0]:
        times, peaks = ([], []), ([], [])
        for round_ in range(options.rounds + 1):
            for side in (0, 1):
                seconds, megabytes = sides[side][name]()
                if round_:  # the first is a warm-up
                    times[side].append(seconds)
                    peaks[side].append(megabytes)
        before, after = map(statistics.median, times)
        pairs = sorted(b / a for a, b in zip(*times))
        memory = f"{statistics.median(peaks[0]):.0f} -> {statistics.median(peaks[1]):.0f}"
        print(
            f"{name:18} {before:9.3f} {after:9.3f} {after / before:6.3f}"
            f"  {pairs[0]:.3f}-{pairs[-1]:.3f}   {memory:>12}"
        )


if __name__ == "__main__":
    main()
