"""The first answer of a replica that has nothing of a large index yet, from a store on this machine.

    python3 benches/cold_replica.py PROGRAM BUCKETS BUCKET/PREFIX [ROUNDS]

BUCKETS is a folder with a folder for each bucket, which benches/store.py serves; benches/many_rows.rs fills one.
Each round starts `serve` with an empty copy and asks as soon as it listens. What it is compared with: the bytes
of the sketches at 200 MB/s, and 5 s. Then the same with the copy of before.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

program, buckets, place = sys.argv[1], sys.argv[2], sys.argv[3]
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
here = pathlib.Path(__file__).parent
own = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
PORT, STORE = 8797, 8796
log = own / "asked"
environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{STORE}", "AWS_REGION": "us-east-1",
               "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


def asked():
    # The last line may be half written.
    lines = log.read_text().splitlines(keepends=True)
    return [line.split()[1].rsplit("/", 1)[0] for line in lines if line.endswith("\n")]


def get(path):
    return urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=60).read()


def kinds(requests):
    counts = {}
    for folder in requests:
        kind = folder.split(place.split("/", 1)[1])[-1].strip("/").split("/")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def first_answer(local):
    """Seconds to the first answer, seconds of processors, and the requests until it is ready and until then, by folder."""
    before, start = len(asked()), time.monotonic()
    server = subprocess.Popen([program, "--local", local, "serve", f"s3://{place}", "--bind", f"127.0.0.1:{PORT}",
                               "--refresh", "3600", "--quiet"], env=environment)
    try:
        while True:
            try:
                get("/readyz")
                ready, until_ready = time.monotonic() - start, asked()[before:]
                get("/v1/search?q=wb+wcd+the+chart+of+sales&k=10")
                break
            except (ConnectionError, urllib.error.URLError):
                time.sleep(0.02)
        took = time.monotonic() - start
        with open(f"/proc/{server.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        requests = asked()[before:]
    finally:
        server.terminate()
        server.wait()
    return ready, took, cpu, kinds(until_ready), kinds(requests)


store = subprocess.Popen([sys.executable, here / "store.py", buckets, str(STORE)], stdout=open(log, "w"))
try:
    time.sleep(1)
    cold, warm = [], []
    for _ in range(rounds):
        local = own / "local"
        shutil.rmtree(local, ignore_errors=True)
        cold.append(first_answer(local))
        on_disk = sum(path.stat().st_blocks * 512 for path in local.glob("*/codes/*"))
        warm.append(first_answer(local))
    for name, found in (("cold", cold), ("with its copy there", warm)):
        ready, took, cpu = (statistics.median(times) for times in list(zip(*found))[:3])
        until_ready, until_answer = found[0][3:]
        print(f"{name}: ready after {ready:.1f} s, first answer after {took:.1f} s (each: "
              f"{', '.join(f'{one[1]:.1f}' for one in found)}), {cpu:.1f} s of its processors; "
              f"{sum(until_ready.values())} requests until it was ready {until_ready}, "
              f"{sum(until_answer.values())} until the answer {until_answer}", flush=True)
    print(f"codes of it on the disk after the first answer: {on_disk / 1e6:.0f} MB")
finally:
    store.terminate()
    shutil.rmtree(own, ignore_errors=True)
