"""Three replicas of an index in a bucket while it grows and is swept: do they fail, differ, or lag?

    tests/fleet.sh .tools/moto/bin/python benches/replicas.py PROGRAM FOLDER

Each round adds PDFs of FOLDER in one commit and collects garbage with nothing kept back, while every replica is
asked all the time. One replica is killed and started again, and one is stopped, bits of its copy are flipped,
and it is started again. A question that a killed replica did not answer is asked once more elsewhere.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

program, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
own = pathlib.Path(tempfile.mkdtemp())
bucket = f"{os.environ['PAGESIGHT_TEST_BUCKET']}/replicas-{os.getpid()}"
pdfs = own / "pdfs"
pdfs.mkdir()
REFRESH, PORTS, ROUNDS = 1, (8791, 8792, 8793), 8
random.seed(7)


def run(*arguments):
    done = subprocess.run([program, "--index", bucket, "--local", own / "writer", *arguments, "--json"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=own)
    assert done.returncode in (0, 3), (arguments, done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def add(count):
    fixtures = [folder / name for name in ("form.pdf", "slides.pdf", "persian.pdf", "scan.pdf")]
    for _ in range(count):
        source = random.choice(fixtures)
        path = pdfs / f"{source.stem}-{random.randrange(10**9)}.pdf"
        shutil.copy(source, path)
        with open(path, "ab") as out:
            out.write(f"% {path.stem}\n".encode())
    return run("index", "--model", "none", "--no-ocr", "pdfs")["snapshot"]


def serve(port):
    return subprocess.Popen([program, "--local", own / f"local-{port}", "serve", bucket, "--bind",
                             f"127.0.0.1:{port}", "--refresh", str(REFRESH), "--quiet"], cwd=own,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def get(port, question):
    url = f"http://127.0.0.1:{port}/v1/search?q={question}&channel=text&k=20"
    with urllib.request.urlopen(url, timeout=30) as answer:
        answer = json.load(answer)
    return answer["snapshot"], json.dumps([(hit["path"], hit["page"], hit["score"]) for hit in answer["hits"]])


answers, failed, again, asked, seen, over = {}, [], [0], [0], {}, threading.Event()
lock = threading.Lock()


def ask(port):
    while not over.is_set():
        question = random.choice(["form", "name+and+address", "chart+of+sales", "table"])
        try:
            snapshot, hits = get(port, question)
        except OSError:
            try:
                again[0] += 1
                snapshot, hits = get(PORTS[0], question)
            except OSError as error:
                failed.append(repr(error))
                continue
        with lock:
            asked[0] += 1
            answers.setdefault((snapshot, question), set()).add(hits)
            seen.setdefault((port, snapshot), time.monotonic())
        time.sleep(0.02)


def flip(port, bits):
    """Flips bits in the copy of a replica that is not running: one that is mapped is looked at once."""
    files = [path for path in own.glob(f"local-{port}/**/*") if path.is_file() and path.stat().st_size]
    for _ in range(bits):
        path = random.choice(files)
        with open(path, "r+b") as file:
            at = random.randrange(path.stat().st_size)
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ (1 << random.randrange(8))]))
    return bits


add(3)
servers = {port: serve(port) for port in PORTS}
for port in PORTS:
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz")
            break
        except OSError:
            time.sleep(0.1)
threads = [threading.Thread(target=ask, args=(port,)) for port in PORTS]
[thread.start() for thread in threads]
lags, kept = [], 0
try:
    for number in range(ROUNDS):
        snapshot, published = add(2), time.monotonic()
        run("gc", "--keep", "0s")
        if number == 2:
            servers[PORTS[2]].send_signal(signal.SIGKILL)
            servers[PORTS[2]].wait()
            servers[PORTS[2]] = serve(PORTS[2])
            time.sleep(3)
        if number == 5:
            servers[PORTS[2]].terminate()
            servers[PORTS[2]].wait()
            kept = flip(PORTS[2], 40)
            servers[PORTS[2]] = serve(PORTS[2])
        time.sleep(REFRESH + 2)
        with lock:
            for port in PORTS[:2]:
                times = [when for (at, held), when in seen.items() if at == port and held >= snapshot]
                lags.append(min(times) - published if times else float("inf"))
finally:
    over.set()
    [thread.join() for thread in threads]
    [server.terminate() for server in servers.values()]
    [server.wait() for server in servers.values()]
differ = [key for key, found in answers.items() if len(found) > 1]
print(f"{asked[0]} questions over {len({key[0] for key in answers})} snapshots: {len(failed)} failed, {again[0]} "
      f"asked once more, {len(differ)} answered differently by two replicas; a new snapshot was seen after "
      f"{max(lags):.1f} s at most with --refresh {REFRESH}; {kept} bits flipped in a local copy")
sys.exit(bool(failed or differ or max(lags) > REFRESH + 1))
