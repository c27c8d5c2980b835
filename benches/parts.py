"""One machine against several parts and their router: are the answers the same, and what does a question take?

    python benches/parts.py PROGRAM FOLDER [PARTS]

The index lies in a folder that is used like a bucket (file://), so that only what goes between router and parts is
added to a search. All servers run on this machine and share its cores: a part's share of the work is not faster here
than on one machine, and the difference is what the rounds take.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

program, folder = sys.argv[1], os.path.abspath(sys.argv[2])
count = int(sys.argv[3]) if len(sys.argv) > 3 else 4
own = tempfile.mkdtemp()
index = f"file://{own}/bucket/index"
QUESTIONS = ["a chart of sales by region", "net sales", "name and address", "travel expenses in total",
             "\"table of contents\"", "who wrote this", "2023", "the method of the experiment"]
ROUNDS = 10


def run(*arguments):
    done = subprocess.run([program, "--index", index, "--local", own + "/writer", *arguments, "--json"],
                          stdout=subprocess.PIPE, text=True, cwd=own)
    assert done.returncode in (0, 3), (arguments, done.returncode)
    return json.loads(done.stdout.splitlines()[-1])


def serve(*arguments):
    server = subprocess.Popen([program, "--local", own + "/copies", "serve", index, "--bind", "127.0.0.1:0", "--json",
                               "--quiet", *arguments], cwd=own, stdout=subprocess.PIPE, text=True)
    return server, json.loads(server.stdout.readline())["url"]


def ask(url, question, channel):
    query = urllib.parse.urlencode({"q": question, "k": 10, "channel": channel})
    start = time.monotonic()
    with urllib.request.urlopen(f"{url}/v1/search?{query}") as answer:
        answer = json.load(answer)
    took = time.monotonic() - start
    del answer["ms"]
    return answer, took * 1000


plan = run("plan", "--no-ocr", "--shards", str(3 * count), folder)
for shard in range(plan["shards"]):
    run("index", "--plan", plan["plan"], "--shard", f"{shard}/{plan['shards']}", "--commit-every", "16")
committed = run("commit", "--plan", plan["plan"])
print(f"{committed['pages']} pages in {committed['parts']} parts of a plan", flush=True)
servers = [serve()]
servers += [serve("--part", f"{part}/{count}") for part in range(count)]
servers.append(serve("--parts", ",".join(url for _, url in servers[1:])))
try:
    one, router = servers[0][1], servers[-1][1]
    for tuned in (None, 10):
        if tuned:
            # The fewest that `tune` takes: by sketches, however few pages there are.
            run("tune", "--compare", str(tuned))
            while any(ask(url, "x", "visual")[0]["snapshot"] < committed["snapshot"] + 1 for url in (one, router)):
                time.sleep(0.5)
        for channel in ("text", "visual", "both"):
            times, differ, codes = {one: [], router: []}, 0, set()
            for _ in range(ROUNDS):
                for question in QUESTIONS:
                    answers = []
                    for url in (one, router):
                        answer, took = ask(url, question, channel)
                        times[url].append(took)
                        answers.append(answer)
                    differ += answers[0] != answers[1]
                    codes.add(answers[0]["code"])
            p50 = {url: statistics.median(took) for url, took in times.items()}
            print(f"{channel}, by {'/'.join(sorted(map(str, codes)))}: {differ} of {ROUNDS * len(QUESTIONS)} answers "
                  f"differ; p50 one machine {p50[one]:.1f} ms, {count} parts {p50[router]:.1f} ms", flush=True)
finally:
    for server, _ in servers:
        server.terminate()
    for server, _ in servers:
        server.wait()
