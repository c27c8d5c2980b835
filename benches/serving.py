"""How fast `pagesight serve` answers, with nothing but Python's standard library.

    python3 benches/serving.py PROGRAM INDEX [--seconds 20] [--soak 600]

INDEX is an index folder made with nano; its questions are made of words of its own pages. Searches
are asked by 1, 8 and 64 clients, each on a connection of its own. Then pictures and maps, cold and
kept, and the server's memory before and after; `--soak` asks by 64 clients for as many seconds more
and says the memory at each tenth of them.

Where the Python package is installed, the same questions are asked inside one process by as many
threads, in turn with the server, and the share of that throughput is said. The clients of the server
are processes of their own in that comparison, as clients are.
"""

import argparse

import http.client
import json
import os
import subprocess
import sys
import statistics
import threading
import time
import urllib.parse

try:
    import pagesight
except ImportError:
    pagesight = None


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


def searched_inside(index, asked, threads, seconds):
    """Searches a second of `threads` in this process, by the engine itself."""
    counts, end = [0] * threads, time.monotonic() + seconds

    def work(number):
        at = number * 7
        while time.monotonic() < end:
            index.search(asked[at % len(asked)], k=10).to_dict()
            at += 1
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    begun = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.monotonic() - begun)


def searched_outside(address, asked, clients, seconds):
    """Searches a second of `clients` of the server, all in one further process."""
    command = [sys.executable, __file__, "--ask", address, "--clients", str(clients)]
    command += ["--seconds", str(seconds), "-", "-"]
    said = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    return float(said.stdout)


def beside_one_process(server, index, asked, seconds, rounds=5):
    """The throughput of the server beside that of the library, in turn."""
    with pagesight.Index.open(index) as opened:
        opened.warm()
        for clients in (1, 8):
            inside, outside = [], []
            for _ in range(rounds):
                inside.append(searched_inside(opened, asked, clients, seconds / rounds))
                outside.append(searched_outside(server.address, asked, clients, seconds / rounds))
            inside, outside = statistics.median(inside), statistics.median(outside)
            print(
                f"{clients:3} at once: the server {outside:6.1f} searches/s, in one process {inside:6.1f}, "
                f"share {outside / inside:.2f}"
            )


class Address:
    """A server that someone else has started."""

    def __init__(self, address):
        self.address = address

    connect = Server.connect


def only_ask(address, clients, seconds):
    asked, counts = json.load(sys.stdin), [0] * clients
    server, end = Address(address), time.monotonic() + seconds

    def work(number):
        connection, at = server.connect(), number * 7
        while time.monotonic() < end:
            status, read, _ = ask(connection, "POST", "/v1/search", {"query": asked[at % len(asked)], "k": 10})
            assert status == 200, read
            json.loads(read)
            at += 1
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    begun = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(sum(counts) / (time.monotonic() - begun))


def soak(server, asked, seconds):
    """Searches by 64 clients for `seconds`, with the server's memory at each tenth of them."""
    said = []
    for _ in range(10):
        load(server, asked, 64, seconds / 10)
        said.append(server.memory())
    print("memory at each tenth: " + ", ".join(f"{one:.0f}" for one in said) + " MB")
    print(f"from the second tenth to the last: {said[-1] / said[1] - 1:+.1%}")


def main():
    reading = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    reading.add_argument("program")
    reading.add_argument("index")
    reading.add_argument("--seconds", type=float, default=20.0, help="of each load")
    reading.add_argument("--soak", type=float, default=0.0, help="seconds by 64 clients at the end")
    reading.add_argument("--ask", help=argparse.SUPPRESS)
    reading.add_argument("--clients", type=int, default=1, help=argparse.SUPPRESS)
    given = reading.parse_args()
    if given.ask:
        return only_ask(given.ask, given.clients, given.seconds)
    seconds = given.seconds
    server = Server(given.program, given.index)
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
        if pagesight is not None:
            beside_one_process(server, given.index, asked, seconds)
        pictures(server, asked)
        print(f"memory: {before:.0f} MB before, {server.memory():.0f} MB after")
        if given.soak:
            soak(server, asked, given.soak)
    finally:
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
