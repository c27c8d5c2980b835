"""`Client` over a server of the wheel: the same answers as the index gives itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pagesight
import pytest
from conftest import QUESTION


@pytest.fixture
def client(server: str) -> pagesight.Client:
    return pagesight.Client(server)


def test_answers_are_those_of_the_index(client: pagesight.Client, index: pagesight.Index) -> None:
    for options in (
        {},
        {"k": 3, "channel": "text"},
        {"channel": "visual", "explain": True},
        {"paths": ["s*"]},
        {"regions": 2, "text": "full"},
        {"text": "none"},
    ):
        theirs = client.search(QUESTION, **options)  # type: ignore[arg-type]
        ours = index.search(QUESTION, **options)  # type: ignore[arg-type]
        assert theirs.to_dict() == ours.to_dict(), options
        assert type(theirs) is type(ours)
    by_vectors = client.search(query_vectors=index.encode_queries([QUESTION])[0], channel="visual")
    assert [hit.ref for hit in by_vectors] == [
        hit.ref for hit in index.search(QUESTION, channel="visual")
    ]


def test_pages_pictures_maps_and_regions_are_those_of_the_index(
    client: pagesight.Client, index: pagesight.Index
) -> None:
    theirs, ours = client.search(QUESTION)[0], index.search(QUESTION)[0]
    assert theirs.text == ours.text and theirs.words() == ours.words()
    assert theirs.to_page().to_dict() == ours.to_page().to_dict()
    assert client.page("form.pdf", 2).to_dict() == index.page("form.pdf", 2).to_dict()
    assert client.page(ours.ref).ref == client.page("form.pdf#2").ref == ours.ref
    assert np.array_equal(np.asarray(theirs.image(300)), np.asarray(ours.image(300)))
    box = (10.0, 10.0, 200.0, 100.0)
    assert np.array_equal(
        np.asarray(client.image(ours.ref, 120, region=box)),
        np.asarray(index.image(ours.ref, 120, region=box)),
    )
    for options in ({}, {"word": 0}, {"scale": "absolute"}):
        one, other = theirs.heatmap(**options), ours.heatmap(**options)  # type: ignore[arg-type]
        assert one.to_dict() == other.to_dict()
        assert np.allclose(np.asarray(one), np.asarray(other), atol=1e-4, equal_nan=True)
        assert one.png(200) == other.png(200)
    assert theirs.regions(2, words=True) == ours.regions(2, words=True)
    assert theirs.regions(channel="meaning") == ours.regions(channel="meaning")
    by_meaning, by_looks = ours.heatmap(channel="meaning"), ours.heatmap()
    assert (by_meaning.columns, by_meaning.rows) != (by_looks.columns, by_looks.rows)
    assert client.regions(ours.ref, QUESTION) == index.regions(ours.ref, QUESTION)
    vectors = index.encode_queries([QUESTION])[0]
    mapped = client.heatmap(ours.ref, query_vectors=vectors)
    expected = index.heatmap(ours.ref, query_vectors=vectors)
    assert mapped.to_dict()["values"] == expected.to_dict()["values"]


def test_context_and_records_are_those_of_the_index(
    client: pagesight.Client, index: pagesight.Index
) -> None:
    ours = index.context(QUESTION, k=2, budget_chars=700)
    theirs = client.context(QUESTION, k=2, budget_chars=700)
    assert theirs["prompt"] == ours["prompt"] and theirs["chars"] == ours["chars"]
    for one, other in zip(theirs["sources"], ours["sources"]):
        assert {name: one[name] for name in other if name != "regions"} == {
            name: other[name] for name in other if name != "regions"
        }
        assert one["file_url"]
    assert client.context(QUESTION, images="base64")["sources"][0]["image"]["bytes"] <= 200_000
    assert client.documents() == index.documents()
    assert client.documents(paths=["s*"], status="ok") == index.documents(paths=["s*"])
    assert client.status() == index.status()


def test_errors_are_those_of_the_index(client: pagesight.Client, index: pagesight.Index) -> None:
    calls = [
        lambda source: source.page("12345678-1"),
        lambda source: source.page("nowhere.pdf", 1),
        lambda source: source.page("form.pdf", 99),
        lambda source: source.search(""),
        lambda source: source.search("x", k=0),
        lambda source: source.search("x", paths=["["]),
        lambda source: source.search(QUESTION)[0].heatmap(word=99),
    ]
    for at, call in enumerate(calls):
        with pytest.raises(pagesight.Error) as theirs:
            call(client)
        with pytest.raises(pagesight.Error) as ours:
            call(index)
        assert type(theirs.value) is type(ours.value), at
        if at != 2:
            assert theirs.value.code.replace("document_", "page_") == ours.value.code.replace(
                "document_", "page_"), at
    with pytest.raises(pagesight.Error) as caught:
        pagesight.Client("http://127.0.0.1:9", timeout=5).search("x")
    assert caught.value.code == "unreachable"
    with pytest.raises(pagesight.InvalidValue):
        pagesight.Client("ftp://x")


def test_a_token_is_sent(reports: Path, tmp_path: Path) -> None:
    token = "a-token-of-more-than-16-characters"
    (tmp_path / "token").write_text(token)
    command = [sys.executable, "-m", "pagesight", "serve", str(reports / ".pagesight"),
               "--bind", "127.0.0.1:0", "--json", "--token-file", str(tmp_path / "token")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        import json

        url = json.loads(process.stdout.readline())["url"]
        with pytest.raises(pagesight.Error) as caught:
            pagesight.Client(url).search(QUESTION)
        assert caught.value.code == "unauthorized" and caught.value.status == 401
        assert pagesight.Client(url, token=token).search(QUESTION)[0].page == 2
    finally:
        process.terminate()
        process.wait(30)


def test_an_index_of_ones_own_is_served(tmp_path: Path) -> None:
    import json

    from conftest import copied

    folder = copied(tmp_path / "mine", "form.pdf")
    made = [np.eye(8, dtype=np.float32)[:4], np.eye(8, dtype=np.float32)[4:]]
    with pagesight.Index.create(folder / ".pagesight", dim=8, model_id="mine@1") as index:
        index.add(folder / "form.pdf", vectors=made, grid=(2, 2))
    command = [sys.executable, "-m", "pagesight", "serve", str(folder / ".pagesight"),
               "--bind", "127.0.0.1:0", "--json", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        client = pagesight.Client(json.loads(process.stdout.readline())["url"])
        assert client.search(QUESTION)[0].page == 2
        hit = client.search(query_vectors=made[1][:1])[0]
        assert hit.page == 2 and hit.visual is not None
        assert hit.heatmap().columns == 2
    finally:
        process.terminate()
        process.wait(30)
