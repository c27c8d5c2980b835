"""qdrant's multi-vectors beside the server, on the same vectors and questions. Question: what does a
question by late interaction cost in each?

    pip install pagesight qdrant-client
    python benches/serving_peer.py PROGRAM INDEX

INDEX is made with nano. qdrant runs inside this process, as its client does without a server
(`QdrantClient(":memory:")`): exact MaxSim over all pages, and no HTTP. pagesight is asked over HTTP,
with the vectors of the question, and inside the process. Rounds take turns; medians are printed.
Both give the ten best pages; `--no-background` is not on HTTP, so pagesight ranks by MaxSim less what
a page gives to any question, and how many of the ten are the same is said.
"""

import json
import os
import statistics
import sys
import time

import numpy as np
import pagesight
from qdrant_client import QdrantClient, models

from serving import Server, ask, questions

ROUNDS = 3


def stored(index):
    """All pages with vectors: reference and `[n, dim]`."""
    for document in index.documents(status="ok"):
        for number in range(1, document["page_count"] + 1):
            page = index.page(document["path"], number)
            if page.n_vectors:
                yield page.ref, np.asarray(page.vectors(), dtype=np.float32)


def peer(pages):
    client = QdrantClient(":memory:")
    dim = pages[0][1].shape[1]
    compared = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=dim, distance=models.Distance.DOT, multivector_config=compared)
    client.create_collection("pages", vectors_config=params)
    for at, (ref, vectors) in enumerate(pages):
        point = models.PointStruct(id=at, vector=vectors.tolist(), payload={"ref": ref})
        client.upsert("pages", [point])
    return client


def main():
    program, folder = sys.argv[1:3]
    index = pagesight.Index.open(folder)
    index.warm()
    pages = list(stored(index))
    vectors = sum(len(page) for _, page in pages)
    print(f"{len(pages)} pages, {vectors} vectors, {os.cpu_count()} cores")
    client = peer(pages)
    server = Server(program, folder)
    try:
        asked = questions(server)[:20]
        encoded = index.encode_queries(asked)
        connection = server.connect()
        times = {"qdrant, in process": [], "pagesight, in process": [], "pagesight, over HTTP": []}
        same = []
        for _ in range(ROUNDS):
            for query in encoded:
                rows = np.asarray(query)
                begun = time.perf_counter()
                theirs = client.query_points("pages", query=rows.tolist(), limit=10).points
                times["qdrant, in process"].append(time.perf_counter() - begun)
                begun = time.perf_counter()
                ours = index.search(query_vectors=query, channel="visual", all=True).hits
                times["pagesight, in process"].append(time.perf_counter() - begun)
                body = {"query_vectors": rows.tolist(), "channel": "visual", "all": True}
                status, read, took = ask(connection, "POST", "/v1/search", body)
                assert status == 200, read
                times["pagesight, over HTTP"].append(took)
                assert [hit["ref"] for hit in json.loads(read)["hits"]] == [hit.ref for hit in ours]
                found = {point.payload["ref"] for point in theirs}
                same.append(len(found & {hit.ref for hit in ours}))
        base = statistics.median(times["qdrant, in process"])
        for name, said in times.items():
            median = statistics.median(said)
            print(f"{name:24} p50 {median * 1e3:8.2f} ms   {base / median:6.1f} times")
        print(f"of ten pages {statistics.mean(same):.1f} are the same")
    finally:
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
