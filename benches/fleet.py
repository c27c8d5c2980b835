"""What an index in a bucket asks of the store, and what the way of a fleet costs beside one folder.

    LOG=/tmp/asked tests/fleet.sh .tools/moto/bin/python benches/fleet.py PROGRAM FOLDER

Requests are lines in the log of moto, which tests/fleet.sh starts. FOLDER holds PDFs. Time of the program's
own processors is counted beside the clock, since moto and other programs take their part of the machine.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

program, folder = sys.argv[1], os.path.abspath(sys.argv[2])
log = pathlib.Path(os.environ["LOG"])
own = tempfile.mkdtemp()
bucket = f"{os.environ['PAGESIGHT_TEST_BUCKET']}/figures-{os.getpid()}"


def asked(since=0):
    """The requests in the log from line `since` on, by kind, and how many lines there are."""
    time.sleep(0.3)
    lines = log.read_text(errors="replace").splitlines()
    kinds = {}
    for line in lines[since:]:
        found = re.search(r'"(?:\x1b\[\d+m)*([A-Z]+) ', line)
        if found:
            kinds[found[1]] = kinds.get(found[1], 0) + 1
    return kinds, len(lines)


def run(*arguments):
    """Runs the program: its last line of JSON, seconds, and seconds of processors."""
    start, before = time.monotonic(), os.times()
    done = subprocess.run([program, *arguments, "--json"], capture_output=True, cwd=own, text=True)
    after = os.times()
    cpu = after[2] + after[3] - before[2] - before[3]
    assert done.returncode in (0, 1, 3), (arguments, done.returncode, done.stderr)
    return json.loads(done.stdout.splitlines()[-1]), time.monotonic() - start, cpu


def counted(name, *arguments):
    since = asked()[1]
    line, seconds, cpu = run("--index", bucket, "--local", own + "/local", *arguments)
    kinds = asked(since)[0]
    print(f"{name}: {sum(kinds.values())} requests {kinds}, {seconds:.1f} s, {cpu:.1f} s of processors",
          flush=True)
    return line, sum(kinds.values()), cpu


base = ["--no-ocr", folder]
line, seconds, alone = run("--index", own + "/folder/.pagesight", "index", "--meaning", "off", *base)
pages = line["pages"]["indexed"]
print(f"one machine, a folder: {pages} pages, {seconds:.1f} s, {alone:.1f} s of processors", flush=True)
plan = counted("plan", "plan", "--shards", "1", *base)[0]["plan"]
_, requests, cpu = counted("a shard", "index", "--plan", plan, "--shard", "0/1")
committed, more, cpu_commit = counted("commit", "commit", "--plan", plan)
print(f"indexing: {requests / committed['parts']:.0f} requests a part of {pages / committed['parts']:.0f} "
      f"pages, {requests / pages:.3f} a page; commit: {more} requests for {committed['parts']} parts")
print(f"the way of a fleet takes {100 * ((cpu + cpu_commit) / alone - 1):+.1f}% of the processors' time of a "
      "folder (moto not counted)", flush=True)
counted("the first search of a machine", "query", "a chart of sales")
counted("the same, its copy there", "query", "a chart of sales")

since = asked()[1]
server = subprocess.Popen([program, "--local", own + "/server", "serve", bucket, "--bind", "127.0.0.1:8799",
                           "--refresh", "3600", "--quiet"], cwd=own, stderr=subprocess.DEVNULL)
try:
    def get(path):
        return json.load(urllib.request.urlopen("http://127.0.0.1:8799" + path))

    start = time.monotonic()
    while True:
        try:
            urllib.request.urlopen("http://127.0.0.1:8799/readyz")
            break
        except OSError:
            time.sleep(0.1)
    print(f"a replica is ready: {sum(asked(since)[0].values())} requests for {pages} pages, "
          f"{time.monotonic() - start:.1f} s", flush=True)
    for name in ("the first search", "the same again", "the same again"):
        since = asked()[1]
        get("/v1/search?q=a+chart+of+sales&k=5")
        print(f"{name}: {sum(asked(since)[0].values())} requests", flush=True)
finally:
    server.terminate()
    server.wait()
print("gc:", {name: value for name, value in counted("gc", "gc", "--keep", "0s")[0].items()
              if name in ("files_removed", "joined")})
