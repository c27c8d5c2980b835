"""Vectors in and out: buffers, Arrow, places, embeddings of one's own; pictures and maps."""

from __future__ import annotations

import gc
import io
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pagesight
import pyarrow
import pytest
from conftest import FIXTURES, QUESTION, REPOSITORY
from PIL import Image as Pillow

DIM = 16


def unit(n: int, seed: int, dim: int = DIM) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16)


@pytest.fixture
def own(tmp_path: Path) -> pagesight.Index:
    shutil.copy(FIXTURES / "pdf" / "form.pdf", tmp_path / "form.pdf")
    return pagesight.Index.create(tmp_path / "own", dim=DIM, model_id="mine@1")


def form(index: pagesight.Index) -> Path:
    return Path(index.path).parent / "form.pdf"


def test_vectors_of_a_page_are_shown_without_a_copy(index: pagesight.Index) -> None:
    page = index.search(QUESTION)[0]
    vectors = page.vectors()
    one, other = np.asarray(vectors), np.asarray(vectors)
    assert one.dtype == np.float16 and one.shape == vectors.shape == (len(vectors), 128)
    assert one.__array_interface__["data"] == other.__array_interface__["data"]
    assert not one.flags.writeable and one.flags.c_contiguous
    assert np.allclose(np.linalg.norm(one.astype(np.float32), axis=1), 1, atol=1e-2)
    arrow = pyarrow.array(vectors)
    assert arrow.type == pyarrow.list_(pyarrow.float16(), 128) and len(arrow) == len(vectors)
    data = arrow.values.buffers()[1]
    assert data.address == one.__array_interface__["data"][0], "no copy"
    kept = one.copy()
    del vectors, page, other
    gc.collect()
    # The memory lives as long as what shows it.
    assert np.array_equal(one, kept)
    assert np.array_equal(np.array(arrow.values).reshape(-1, 128).view(np.float16), kept)


def test_vectors_say_where_they_stand(index: pagesight.Index) -> None:
    page = index.page("form.pdf", 1)
    vectors = page.vectors()
    placed = [place for place in vectors.places if place is not None]
    assert len(vectors.places) == len(vectors) and placed
    width, height = page.size_pt
    for x0, y0, x1, y1 in placed:
        assert 0 <= x0 < x1 <= width + 0.01 and 0 <= y0 < y1 <= height + 0.01


def test_queries_are_encoded(index: pagesight.Index) -> None:
    (vectors,) = index.encode_queries([QUESTION])
    array = np.asarray(vectors)
    assert array.dtype == np.float32 and array.shape == vectors.shape == (len(vectors.tokens), 128)
    by_vectors = index.search(query_vectors=vectors, channel="visual")
    by_words = index.search(QUESTION, channel="visual")
    assert [hit.ref for hit in by_vectors] == [hit.ref for hit in by_words]
    assert by_vectors[0].score == pytest.approx(by_words[0].score, rel=1e-5)
    both = index.search(QUESTION, query_vectors=array)
    assert both[0].text_score is not None and both.query == QUESTION


@pytest.mark.parametrize(
    "kind", ["f2", "f4", "f8", "strided", "fortran", "arrow", "sliced arrow", "lists", "array"]
)
def test_embeddings_of_ones_own_in_every_form(own: pagesight.Index, kind: str) -> None:
    made = [unit(6, 1), unit(6, 2)]

    class HasArray:
        def __init__(self, rows: np.ndarray) -> None:
            self.rows = rows

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return self.rows

    def form_of(rows: np.ndarray) -> Any:
        if kind in ("f2", "f4", "f8"):
            return rows.astype(kind)
        if kind == "strided":
            return np.repeat(rows, 2, axis=0)[::2].astype(np.float32)
        if kind == "fortran":
            return np.asfortranarray(rows)
        if kind == "lists":
            return rows.astype(np.float64).tolist()
        if kind == "array":
            return HasArray(rows)
        flat = pyarrow.array(np.concatenate([rows[:1], rows]).reshape(-1))
        lists = pyarrow.FixedSizeListArray.from_arrays(flat, DIM)
        return lists[1:] if kind == "sliced arrow" else lists.slice(1)

    own.add(form(own), vectors=[form_of(rows) for rows in made], grid=(3, 2))
    for number, rows in enumerate(made, 1):
        stored = np.asarray(own.page("form.pdf", number).vectors()).astype(np.float32)
        assert np.allclose(stored, rows.astype(np.float32), atol=2e-3)
        assert own.page("form.pdf", number).vectors().places[0] is not None


def test_search_by_ones_own_vectors_is_max_sim(own: pagesight.Index) -> None:
    """The scorer that colpali-engine has, in numpy: for each query token the best patch, summed."""
    made = [unit(50, 1), unit(50, 2)]
    own.add(form(own), vectors=made)
    query = unit(7, 3).astype(np.float32)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    stored = [np.asarray(own.page("form.pdf", n).vectors()).astype(np.float32) for n in (1, 2)]
    expected = [float((query @ rows.T).max(axis=1).sum()) for rows in stored]
    hits = own.search(query_vectors=query, channel="visual")
    assert len(hits) == 2
    for hit in hits:
        assert hit.visual is not None
        assert hit.visual.score == pytest.approx(expected[hit.page - 1], rel=1e-4)
    assert hits[0].page == 1 + int(np.argmax(expected))


def test_without_a_grid_there_are_no_maps_and_with_one_there_are(own: pagesight.Index) -> None:
    own.add(form(own), vectors=[unit(6, 1), unit(6, 2)])
    hit = own.search(query_vectors=unit(3, 3))[0]
    with pytest.raises(pagesight.NoVectors) as caught:
        hit.heatmap()
    assert caught.value.code == "no_vectors"
    with pytest.raises(pagesight.NoVectors):
        hit.regions()
    own.add(form(own), vectors=[unit(6, 1), unit(6, 2)], grid=(3, 2))
    hit = own.search(query_vectors=unit(3, 3))[0]
    heat = hit.heatmap()
    assert (heat.columns, heat.rows) == (3, 2) and hit.regions()
    # Words alone have no vectors here: nothing on this machine made them.
    with pytest.raises(pagesight.NoModel):
        own.page("form.pdf", 1).heatmap("mileage")


def test_an_index_of_ones_own_opens_again_and_answers_words(own: pagesight.Index) -> None:
    own.add(form(own), vectors=[unit(6, 1), unit(6, 2)])
    path = own.path
    own.close()
    with pagesight.Index.open(path) as again:
        assert again.search(QUESTION)[0].page == 2
        assert again.status()["model_id"] == "mine@1" and again.status()["dim"] == DIM
        again.add(form(again), vectors=[unit(4, 1), unit(4, 2)])
        assert len(again.page("form.pdf", 1).vectors()) == 4
        assert len(again.search(query_vectors=unit(2, 5), channel="visual")) == 2


def test_the_example_of_own_vectors_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(FIXTURES / "pdf" / "form.pdf", tmp_path / "form.pdf")
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(REPOSITORY / "docs" / "own_vectors.py"))
    hits = example["main"]("form.pdf", QUESTION)
    assert {hit.page for hit in hits} == {1, 2}
    # The page that has the words, and the page that has the vectors.
    assert hits[0].page in (1, 2) and any(hit.text_score for hit in hits)


def test_pictures(index: pagesight.Index) -> None:
    hit = index.search(QUESTION)[0]
    image = hit.image(width=400)
    width, height = hit.size_pt
    assert (image.width_px, image.height_px) == (400, round(400 * height / width))
    pixels = np.asarray(image)
    assert pixels.dtype == np.uint8 and pixels.shape == image.shape and pixels.min() < 128
    assert np.array_equal(np.asarray(image.to_pil()), pixels)
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(image.png()))), pixels)
    assert Pillow.open(io.BytesIO(image.jpeg(70))).size == (400, image.height_px)
    assert np.array_equal(np.asarray(pagesight.Image.decode(image.webp())), pixels)
    part = hit.image(width=200, region=(0, 0, width / 2, height / 2))
    assert part.width_px == 200
    with pytest.raises(pagesight.InvalidValue):
        hit.image(region=(-9, -9, -1, -1))
    with pytest.raises(pagesight.InvalidValue):
        image.jpeg(0)


def test_heat_maps_and_regions(index: pagesight.Index) -> None:
    hit = index.search(QUESTION)[0]
    heat = hit.heatmap()
    values = np.asarray(heat)
    assert values.dtype == np.float32 and values.shape == (heat.rows, heat.columns)
    known = values[~np.isnan(values)]
    assert known.min() >= 0 and known.max() == pytest.approx(1)
    assert [word["text"] for word in heat.words] == QUESTION.split() and heat.tokens
    assert heat.peak["row"] < heat.rows and not heat.approximate
    picture = Pillow.open(io.BytesIO(heat.png(width=300)))
    assert picture.mode == "RGBA" and picture.size == hit.image(300).to_pil().size
    word = np.asarray(hit.heatmap(word=0))
    assert not np.array_equal(word, values)
    assert hit.heatmap(scale="absolute").to_dict()["values"]
    (first, *_) = regions = hit.regions(n=3, words=True)
    assert 1 <= len(regions) <= 3 and first.rank == 1 and first.kind in ("text", "picture")
    assert 0 <= first.score <= 1 and first.text and first.words[0].text in first.text
    x0, y0, x1, y1 = first.rect_pt
    assert 0 <= x0 < x1 <= hit.size_pt[0] and 0 <= y0 < y1 <= hit.size_pt[1]
    assert all(0 <= side <= 1 for side in first.rect_rel)
    for wrong in ({"word": 99}, {"word": 0, "token": 0}, {"scale": "other"}):
        with pytest.raises(pagesight.InvalidValue):
            hit.heatmap(**wrong)  # type: ignore[arg-type]
    page = index.page(hit.ref)
    assert np.array_equal(np.asarray(page.heatmap(QUESTION)), values, equal_nan=True)
    assert page.regions(QUESTION) == hit.regions()
    with pytest.raises(pagesight.InvalidValue):
        page.heatmap()
