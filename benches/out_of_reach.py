"""What a replica answers while its bucket is out of reach: nothing but a little later.

    python3 benches/out_of_reach.py PROGRAM FOLDER

The bucket is benches/store.py. A replica with its codes and texts fetched is asked questions that nobody asked
before: with the store there, with the store killed (connections are refused), and with the store stopped
(connections are taken and nothing is answered). Then the store comes back, a document is added, and the
replica must see it.
"""

import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

program, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
here = pathlib.Path(__file__).parent
own = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
(own / "buckets" / "bucket").mkdir(parents=True)
PORT, STORE, REFRESH = 8795, 8794, 1
environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{STORE}", "AWS_REGION": "us-east-1",
               "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
QUESTIONS = ["expenses in total", "date of birth", "a diagram of the method", "figure with axes", "summary",
           "company address", "what was measured", "numbers by month", "a logo", "list of authors"]


def store():
    server = subprocess.Popen([sys.executable, here / "store.py", own / "buckets", str(STORE)],
                              stdout=subprocess.DEVNULL)
    time.sleep(1)
    return server


def run(*arguments):
    done = subprocess.run([program, "--index", "s3://bucket/index", "--local", own / "writer", *arguments, "--json"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=own)
    assert done.returncode in (0, 3), (arguments, done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def get(path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=90) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def ask(questions, **more):
    """The hits of each question, the notices, and the seconds that each took."""
    found, notices, took = [], set(), []
    for question in questions:
        start = time.monotonic()
        code, body = get("/v1/search?" + urllib.parse.urlencode({"q": question, "k": 10, **more}))
        took.append(time.monotonic() - start)
        if code != 200:
            found.append(code)
            continue
        answer = json.loads(body)
        found.append([(hit["path"], hit["page"], hit["snippet"]) for hit in answer["hits"]])
        notices.update(notice["kind"] for notice in answer["notices"])
    return found, notices, took


def tell(name, found, expected, notices, took):
    failed = sum(isinstance(one, int) for one in found)
    same = sum(one == two for one, two in zip(found, expected))
    texts = sum(one != two and not isinstance(one, int) and [hit[:2] for hit in one] == [hit[:2] for hit in two]
                for one, two in zip(found, expected))
    print(f"{name}: {failed} of {len(found)} failed, {same} the same as with the store, {texts} with other snippets "
          f"alone; notices {sorted(notices)}; first {took[0]:.2f} s, slowest of the others {max(took[1:]):.2f} s, "
          f"median {statistics.median(took):.2f} s; /readyz {get('/readyz')[0]}", flush=True)


def failures():
    lines = get("/metrics")[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("pagesight_refresh_failed_total"))


def until_ready():
    """Waits until the replica answers."""
    while True:
        try:
            if get("/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)


server = store()
replica = None
try:
    pdfs = own / "pdfs"
    pdfs.mkdir()
    for name in sorted(path.name for path in folder.glob("*.pdf"))[:14]:
        shutil.copy(folder / name, pdfs)
    run("index", "--no-ocr", pdfs)
    serve = [program, "--local", own / "copies", "serve", "s3://bucket/index", "--bind", f"127.0.0.1:{PORT}",
             "--refresh", str(REFRESH), "--quiet"]
    replica = subprocess.Popen(serve, env=environment, cwd=own)
    until_ready()
    time.sleep(10)
    expected = {name: ask(some, channel=channel) for name, some, channel in
                (("words and looks", QUESTIONS, "both"), ("looks", QUESTIONS, "visual"))}
    tell("with the store, words and looks", *[expected["words and looks"][0]] * 2, *expected["words and looks"][1:])
    # Another process, which knows the answers from nowhere but its copy.
    replica.terminate()
    replica.wait()
    replica = subprocess.Popen(serve, env=environment, cwd=own)
    until_ready()
    time.sleep(5)
    for name, stop in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
        before = failures()
        server.send_signal(stop)
        time.sleep(8)
        for kind, channel in (("words and looks", "both"), ("looks", "visual")):
            found, notices, took = ask(QUESTIONS, channel=channel)
            tell(f"store {name}, {kind}", found, expected[kind][0], notices, took)
        start = time.monotonic()
        while failures() == before and time.monotonic() - start < 90:
            time.sleep(1)
        print(f"pagesight_refresh_failed_total went from {before:.0f} to {failures():.0f}", flush=True)
        if stop == signal.SIGSTOP:
            server.send_signal(signal.SIGCONT)
        else:
            server.wait()
            server = store()
    shutil.copy(folder / "form.pdf", pdfs / "another.pdf")
    with open(pdfs / "another.pdf", "ab") as out:
        out.write(b"% another\n")
    snapshot = run("index", "--no-ocr", pdfs)["snapshot"]
    start = time.monotonic()
    while json.loads(get("/v1/search?q=form&channel=text")[1])["snapshot"] < snapshot:
        assert time.monotonic() - start < 120
        time.sleep(0.1)
    print(f"the store is back: a new snapshot is seen after {time.monotonic() - start:.1f} s", flush=True)
finally:
    for process in (replica, server):
        if process:
            process.kill()
            process.wait()
    shutil.rmtree(own, ignore_errors=True)
