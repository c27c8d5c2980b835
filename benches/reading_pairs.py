"""What reading and drawing pages costs with two programs, in pairs: processor time.

`python3 benches/reading_pairs.py BEFORE AFTER LIBPDFIUM FOLDER [ROUNDS]`

Both programs are given the same work in turns, so that what else the machine does hits both alike.
What is measured is processor time (user and system) from start to end, not the clock.

* Words, and pictures, of up to eight pages of each PDF below FOLDER, by a worker alone. A program is
  its own worker: the messages are those of `pdf/src/protocol.rs`.
* Indexing the words of the PDFs of up to fifty pages by the program and its workers, all pages.
"""

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

PAGES_A_DOCUMENT = 8
PAGES_OF_WHOLE_DOCUMENTS = 50
PIXELS = 64_000_000
# What is asked of a page, as programs of today understand it, and as those from before the pool of
# workers did.
ASKED = {
    "words": [
        {"Text": {"bytes": 1_000_000}},
        {"text_bytes": 1_000_000, "pixels": PIXELS, "draw": None},
    ],
    "drawing, 896 px wide": [
        {"Picture": {"size": {"width": 896}, "pixels": PIXELS}},
        {"text_bytes": 0, "pixels": PIXELS, "draw": {"Width": 896}},
    ],
}


class Worker:
    def __init__(self, program, library):
        arguments = [program, "__pagesight-worker", library, str(4 << 30), "off"]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        assert "Ready" in self.receive(), f"{program} is no worker"

    def send(self, header, body=b""):
        header = json.dumps(header).encode()
        lengths = struct.pack("<IQ", len(header), len(body))
        self.process.stdin.write(lengths + header + body)
        self.process.stdin.flush()

    def receive(self):
        header, body = struct.unpack("<IQ", self.process.stdout.read(12))
        header = json.loads(self.process.stdout.read(header))
        self.process.stdout.read(body)
        return header

    def open(self, file):
        """How many pages it has; none when it cannot be opened."""
        self.send({"Open": {"passwords": ["pagesight"]}}, file)
        opened = self.receive().get("Opened")
        return opened["pages"] if opened else 0

    def seconds(self):
        """Ends the worker; the processor time that it took."""
        self.process.stdin.close()
        _, _, used = os.wait4(self.process.pid, 0)
        self.process.returncode = 0
        return used.ru_utime + used.ru_stime


def dialect(program, library, file):
    """Which of the two the program understands."""
    for index, asked in enumerate(ASKED["words"]):
        worker = Worker(program, library)
        worker.send({"Open": {"passwords": []}}, file)
        assert "Opened" in worker.receive()
        worker.send({"Page": {"number": 1, "asked": asked}})
        if worker.process.stdout.read(1):
            worker.process.kill()
            return index
    sys.exit(f"{program} understands neither")


def run(program, library, files, asked):
    """Seconds that a worker takes."""
    worker = Worker(program, library)
    for file in files:
        count = worker.open(file)
        wanted = min(count, PAGES_A_DOCUMENT)
        for index in range(wanted):
            number = 1 + index * count // wanted
            worker.send({"Page": {"number": number, "asked": asked}})
            assert "NoPage" not in worker.receive()
    return worker.seconds()


def index(program, library, files):
    """Seconds that a new index of the words of `files` takes."""
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files):
            (Path(folder) / f"{number}.pdf").write_bytes(file)
        arguments = [program, "--pdfium", library, "index", "--quiet", "--model", "none", "--no-ocr"]
        usage = subprocess.run([program, "index", "--help"], capture_output=True, text=True).stdout
        arguments += ["--meaning", "off"] if "--meaning" in usage else []
        child = subprocess.Popen([*arguments, "."], cwd=folder, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode in (0, 3), f"{program}: {child.returncode}"
        return used.ru_utime + used.ru_stime


def compare(name, programs, pages, rounds, seconds):
    """Runs `seconds` of a program for both in turns and prints what came of it."""
    pairs = []
    for number in range(rounds):
        order = programs if number % 2 == 0 else programs[::-1]
        taken = [(program, seconds(program)) for program in order]
        pairs.append(tuple(time for _, time in (taken if number % 2 == 0 else taken[::-1])))
    ratios = sorted(after / before for before, after in pairs)
    print(f"{name}: {pages} pages, {rounds} pairs")
    for index, program in enumerate(("before", "after")):
        median = statistics.median(pair[index] for pair in pairs)
        print(f"  {program:7} {median * 1000 / pages:7.2f} ms a page")
    print(f"  after / before, median of pairs: {statistics.median(ratios):.3f}"
          f" ({ratios[0]:.3f} to {ratios[-1]:.3f})", flush=True)


def main(before, after, library, folder, rounds="7"):
    files = [file.read_bytes() for file in sorted(Path(folder).rglob("*.pdf"))]
    programs, rounds = (before, after), int(rounds)
    dialects = {program: dialect(program, library, files[0]) for program in programs}
    counter = Worker(after, library)
    counts = [counter.open(file) for file in files]
    counter.seconds()
    print(f"{len(files)} documents")
    for name, asked in ASKED.items():
        pages = sum(min(count, PAGES_A_DOCUMENT) for count in counts)
        compare(name, programs, pages, rounds,
                lambda program: run(program, library, files, asked[dialects[program]]))
    whole = [(file, count) for file, count in zip(files, counts)
             if count <= PAGES_OF_WHOLE_DOCUMENTS]
    compare(f"indexing the words of {len(whole)} documents", programs,
            sum(count for _, count in whole), rounds,
            lambda program: index(program, library, [file for file, _ in whole]))


if __name__ == "__main__":
    main(*sys.argv[1:])
