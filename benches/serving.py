"""How fast `pagesight serve` answers, with nothing but Python's standard library.

    python3 benches/serving.py PROGRAM INDEX [SECONDS]

INDEX is an index folder made with nano; its questions are made of words of its own pages. Searches
are asked by 1, 8 and 64 clients, each on a connection of its own, beside the same searches by one
caller in one process (`pagesight query` would load the model each time, so the time inside the server
is what is compared). Then pictures and maps, cold and kept, and the server's memory before and after.
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse


def percentile(times, share):
    times = sorted(times)
    return 1e3 * times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")


class Server:
    def __init__(self, program, index):
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [program, "serve", index, "--bind", "127.0.0.1:0", "--json", "--quiet", "--queue", "1000"],
            stdout=subprocess.PIPE,
        )
        said = json.loads(self.process.stdout.readline())
        self.ready = time.monotonic() - begun
        self.address = said["url"].removeprefix("http://")

    def connect(self):
        return http.client.HTTPConnection(self.address, timeout=60)

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            line = next(line for line in status if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


def ask(connection, method, target, body=None):
    headers = {"Content-Type": "application/json"} if body is not None else {}
    begun = time.monotonic()
    connection.request(method, target, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    read = answer.read()
    return answer.status, read, time.monotonic() - begun


def questions(server):
    """Three words in a row of pages all over the index."""
    connection = server.connect()
    found, after = [], ""
    while len(found) < 200:
        _, read, _ = ask(connection, "GET", f"/v1/documents?limit=200&status=ok{after}")
        listed = json.loads(read)
        for document in listed["documents"]:
            _, read, _ = ask(connection, "GET", f"/v1/pages/{document['document'][:16]}-1")
            words = json.loads(read).get("text", "").split()
            if len(words) > 20:
                found.append(" ".join(words[8:11]))
        if listed["next"] is None:
            break
        after = f"&after={listed['next']}"
    return found


def load(server, asked, clients, seconds):
    """Times and statuses of searches that `clients` ask one after another."""
    times, statuses, snapshots_back, lock = [], {}, 0, threading.Lock()
    inside = []
    end = time.monotonic() + seconds

    def client(number):
        nonlocal snapshots_back
        connection, own, last = server.connect(), [], 0
        at = number * 7
        while time.monotonic() < end:
            query = asked[at % len(asked)]
            at += 1
            status, read, took = ask(connection, "POST", "/v1/search", {"query": query, "k": 10})
            own.append((status, took))
            if status == 200:
                answer = json.loads(read)
                inside.append(answer["ms"]["total"] / 1e3)
                if answer["snapshot"] < last:
                    snapshots_back += 1
                last = answer["snapshot"]
        with lock:
            for status, took in own:
                statuses[status] = statuses.get(status, 0) + 1
                if status == 200:
                    times.append(took)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    print(
        f"{clients:3} clients: p50 {percentile(times, 0.5):7.1f} ms  p99 {percentile(times, 0.99):7.1f} ms  "
        f"{len(times) / took:6.1f} searches/s  inside p50 {percentile(inside, 0.5):6.1f} ms  "
        f"statuses {statuses}  snapshots gone back {snapshots_back}"
    )


def pictures(server, asked):
    connection = server.connect()
    _, read, _ = ask(connection, "GET", "/v1/documents?limit=200&status=ok")
    documents = [d["document"][:16] for d in json.loads(read)["documents"]]
    refs = [f"{document}-1" for document in documents][:60]
    # Documents that cannot be drawn, such as encrypted ones, have no time to measure.
    refs = [r for r in refs if ask(connection, "GET", f"/v1/pages/{r}/image?width=100")[0] == 200]
    query = urllib.parse.quote_plus(asked[0])
    for name, target in [
        ("picture, WebP 1200 px", "/v1/pages/{}/image"),
        ("picture, JPEG 1200 px", "/v1/pages/{}/image?format=jpeg"),
        ("picture, PNG 1200 px", "/v1/pages/{}/image?format=png"),
        ("heat map, first word", "/v1/pages/{}/heatmap?word=0&query=" + query),
        ("heat map, second word", "/v1/pages/{}/heatmap?word=1&query=" + query),
        ("regions", "/v1/pages/{}/regions?query=" + query),
    ]:
        cold = [ask(connection, "GET", target.format(ref))[2] for ref in refs]
        kept = [ask(connection, "GET", target.format(ref))[2] for ref in refs]
        print(
            f"{name:24} cold p50 {percentile(cold, 0.5):6.1f} ms p99 {percentile(cold, 0.99):6.1f} ms   "
            f"again p50 {percentile(kept, 0.5):5.1f} ms"
        )


def main():
    program, index = sys.argv[1], sys.argv[2]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 20.0
    server = Server(program, index)
    try:
        _, read, _ = ask(server.connect(), "GET", "/v1/status")
        known = json.loads(read)["indexes"][0]
        print(f"{known['pages']} pages, model {known['model']}, {os.cpu_count()} cores")
        print(f"start to ready: {server.ready:.2f} s")
        asked = questions(server)
        print(f"{len(asked)} questions of three words")
        before = server.memory()
        for clients in (1, 8, 64):
            load(server, asked, clients, seconds)
        pictures(server, asked)
        print(f"memory: {before:.0f} MB before, {server.memory():.0f} MB after")
    finally:
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
