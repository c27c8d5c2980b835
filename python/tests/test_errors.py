"""Bad input: a typed error with a code, never an abort and never a wait without end."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pagesight
import pytest
from conftest import FIXTURES, QUESTION, copied

DIM = 8


def test_errors_have_codes_and_survive_pickling(index: pagesight.Index) -> None:
    with pytest.raises(pagesight.NotFound) as caught:
        index.page("nowhere.pdf", 1)
    error = caught.value
    assert error.code == "document_not_found" and "nowhere.pdf" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (type(error), str(error), error.code)
    assert issubclass(pagesight.InvalidValue, ValueError)
    for name in ("NotFound", "Ambiguous", "InvalidValue", "NoModel", "NoVectors", "ModelError",
                 "StoreError", "Locked", "DrawError", "FileChanged"):
        assert issubclass(getattr(pagesight, name), pagesight.Error)


@pytest.mark.parametrize(
    ("call", "kind", "code"),
    [
        (lambda i: i.page("form.pdf", 99), pagesight.NotFound, "page_not_found"),
        (lambda i: i.page("form.pdf", 0), pagesight.NotFound, "page_not_found"),
        (lambda i: i.page("12345678-1"), pagesight.NotFound, "document_not_found"),
        (lambda i: i.page("no reference"), pagesight.NotFound, "page_not_found"),
        (lambda i: i.search(""), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("  "), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("a\0b"), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("x" * 4097), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("\ud800"), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search(), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("x", k=0), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("x", channel="smell"), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("x", paths=["["]), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("x", paths="form.pdf"), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("x", documents=["xyz"]), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.search("x", regions=6), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.context("x", budget_chars=1), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.context("x", images="url"), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.page("form.pdf", 1).image(0), pagesight.InvalidValue, "invalid_value"),
        (lambda i: i.page("form.pdf", 1).regions("x", n=6), pagesight.InvalidValue, "invalid_value"),
        (
            lambda i: i.page("form.pdf", 1).heatmap("x", channel="both"),
            pagesight.InvalidValue,
            "invalid_value",
        ),
        (lambda i: i.sync("/nowhere"), pagesight.NotFound, "root_not_found"),
        (lambda i: i.sync("."  , ocr="psychic"), pagesight.InvalidValue, "invalid_value"),
        (lambda i: pagesight.Index.open("/nowhere"), pagesight.NotFound, "index_not_found"),
        (lambda i: pagesight.Index.open(""), pagesight.InvalidValue, "invalid_value"),
        (lambda i: pagesight.Index.open("a\0b"), pagesight.InvalidValue, "invalid_value"),
        (lambda i: pagesight.Index.open(i.path, device="abacus"), pagesight.InvalidValue,
         "invalid_value"),
        (lambda i: pagesight.Index.open(i.path, model="/nowhere"), pagesight.ModelError, "no_model"),
        (lambda i: pagesight.Index.create(i.path), pagesight.StoreError, "index_unavailable"),
        (lambda i: pagesight.Index.create(i.path + "x", dim=8), pagesight.InvalidValue,
         "invalid_value"),
        (lambda i: pagesight.Image.decode(b"no picture"), pagesight.DrawError, "draw_failed"),
    ],
)
def test_wrong_arguments(index: pagesight.Index, call: Any, kind: type[pagesight.Error], code: str,
                         ) -> None:
    with pytest.raises(kind) as caught:
        call(index)
    assert caught.value.code == code and str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda i: i.search(5),
        lambda i: i.search("x", k="5"),
        lambda i: i.search("x", k=-1),
        lambda i: i.search("x", k=2**70),
        lambda i: i.page(5),
        lambda i: pagesight.Index.open(b"/tmp"),
        lambda i: pagesight.Index.open(5),
        lambda i: i.add(b"form.pdf", []),
        lambda i: pagesight.Index(5),
    ],
)
def test_wrong_types(index: pagesight.Index, call: Any) -> None:
    with pytest.raises((TypeError, OverflowError, ValueError)):
        call(index)


def rows(n: int = 4, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, dim)).astype(np.float32)


def with_value(value: float) -> np.ndarray:
    array = rows()
    array[1, 1] = value
    return array


@pytest.mark.parametrize(
    ("vectors", "grid"),
    [
        ([rows()], None),
        ([rows()] * 3, None),
        ([], None),
        ([rows(dim=DIM + 1)] * 2, None),
        ([with_value(np.nan)] * 2, None),
        ([with_value(np.inf)] * 2, None),
        ([rows() * 0] * 2, None),
        ([rows(n=0)] * 2, None),
        ([rows()[0]] * 2, None),
        ([rows()[None]] * 2, None),
        ([rows().astype(">f4")] * 2, None),
        ([rows().astype(np.int32)] * 2, None),
        ([rows().astype(np.complex64)] * 2, None),
        ([rows()] * 2, (3, 3)),
        ([rows()] * 2, (0, 4)),
        ([[[1.0, 2.0], [1.0]]] * 2, None),
    ],
)
def test_wrong_vectors_are_refused_and_change_nothing(
    tmp_path: Path, vectors: list[Any], grid: Any
) -> None:
    folder = copied(tmp_path / "a", "form.pdf")
    with pagesight.Index.create(folder / ".pagesight", dim=DIM, model_id="mine@1") as index:
        with pytest.raises(pagesight.InvalidValue):
            index.add(folder / "form.pdf", vectors=vectors, grid=grid)
        assert index.documents() == []
        index.add(folder / "form.pdf", vectors=[rows(), rows()])
        with pytest.raises(pagesight.InvalidValue):
            index.search(query_vectors=vectors[0] if vectors else rows(n=257), channel="visual"
                         ) if grid is None and len(vectors) != 1 and len(vectors) != 3 else \
                index.search(query_vectors=rows(dim=3))


@pytest.mark.parametrize("given", [5, "text", object(), None, [["a"]], {"a": 1}])
def test_what_is_no_array_is_a_type_error(tmp_path: Path, given: Any) -> None:
    folder = copied(tmp_path / "a", "form.pdf")
    with pagesight.Index.create(folder / ".pagesight", dim=DIM, model_id="mine@1") as index:
        with pytest.raises((TypeError, pagesight.InvalidValue)):
            index.add(folder / "form.pdf", vectors=[given, given])


def test_documents_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.pdf").write_bytes(b"")
    (tmp_path / "text.pdf").write_bytes(b"no PDF at all" * 100)
    with pagesight.Index.create(tmp_path / "i", dim=DIM, model_id="mine@1") as index:
        for name, kind in (("empty.pdf", pagesight.InvalidValue), ("text.pdf", pagesight.InvalidValue),
                           ("nowhere.pdf", pagesight.NotFound)):
            with pytest.raises(kind):
                index.add(tmp_path / name, vectors=[rows()])


def test_an_index_of_words_has_no_vectors(wordy: Path) -> None:
    with pagesight.Index.open(wordy / ".pagesight") as index:
        hit = index.search(QUESTION)[0]
        assert hit.visual is None
        for call in (hit.heatmap, hit.regions, hit.vectors):
            with pytest.raises(pagesight.NoVectors):
                call()
        for call in (
            lambda: index.encode_queries(["x"]),
            lambda: index.search("x", channel="visual"),
            lambda: index.search(query_vectors=rows()),
        ):
            with pytest.raises(pagesight.NoModel):
                call()
        assert index.page(hit.ref).n_vectors == 0


def test_a_closed_index_says_so_and_its_answers_live_on(reports: Path) -> None:
    index = pagesight.Index.open(reports / ".pagesight")
    answer = index.search(QUESTION)
    index.close()
    index.close()
    for call in (
        lambda: index.search(QUESTION),
        lambda: index.documents(),
        lambda: index.page("form.pdf", 1),
        lambda: index.sync(reports),
        lambda: index.path,
    ):
        with pytest.raises(pagesight.StoreError, match="closed"):
            call()
    assert answer[0].text and answer[0].image(100).width_px == 100
    assert "closed" in repr(index)


def test_files_that_change_or_go(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a", "form.pdf", "slides.pdf")
    with pagesight.Index.open_or_create(folder / ".pagesight", model="nano") as index:
        index.sync(folder, ocr="off")
    # A worker that read the file still has its bytes open and may draw them, which is right; so the
    # file is looked at by an index that has read nothing.
    with pagesight.Index.open(folder / ".pagesight") as index:
        hit = index.search(QUESTION)[0]
        shutil.copy(FIXTURES / "pdf" / "slides.pdf", folder / "form.pdf")
        with pytest.raises(pagesight.FileChanged) as caught:
            hit.image(77)
        assert caught.value.code == "file_changed"
        (folder / "form.pdf").unlink()
        with pytest.raises(pagesight.NotFound) as gone:
            hit.image(78)
        assert gone.value.code == "file_gone"
        # What is stored needs no file.
        assert hit.text and hit.heatmap().rows > 0 and len(hit.vectors())


def test_two_processes_do_not_write_at_once(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a", "form.pdf", "slides.pdf", "debian/history.pdf")
    code = """
import sys, pagesight
index = pagesight.Index.open_or_create(sys.argv[1] + "/.pagesight", model="nano")
def progress(line):
    print(line["type"], flush=True)
    if line["type"] == "commit":
        sys.stdin.readline()
        raise SystemExit(0)
index.sync(sys.argv[1], progress=progress, ocr="off", commit_every=1)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("commit"):
            break
    with pagesight.Index.open(folder / ".pagesight") as index:
        with pytest.raises(pagesight.Locked) as caught:
            index.sync(folder, ocr="off")
        assert caught.value.code == "index_unavailable"
        assert index.search("debian") is not None
        process.communicate("\n", timeout=100)
        assert process.returncode == 0
        index.sync(folder, ocr="off")


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are Unicode")
def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/f\xff\xfelder")
    os.mkdir(folder)
    name = os.fsdecode(os.fsencode(folder) + b"/r\xe9port.pdf")
    shutil.copy(FIXTURES / "pdf" / "form.pdf", name)
    with pytest.raises(pagesight.StoreError):
        # Lance names its files in Unicode.
        pagesight.Index.create(os.path.join(folder, "index"))
    with pagesight.Index.open_or_create(tmp_path / "index", model="none") as index:
        assert index.sync(folder, ocr="off").documents["indexed"] == 1
        hit = index.search(QUESTION)[0]
        hit.path.encode("utf-8")
        assert hit.image(50).width_px == 50
        assert index.page(hit.path, 1).page == 1
        assert index.page(name, 1).page == 1
    with pytest.raises(pagesight.InvalidValue):
        pagesight.Index.open("\ud800")


def test_a_thousand_random_calls_from_eight_threads(reports: Path) -> None:
    index = pagesight.Index.open(reports / ".pagesight")
    refs = [hit.ref for hit in index.search("the", k=10)] or [index.page("form.pdf", 1).ref]
    unexpected: list[BaseException] = []

    def call(chance: random.Random) -> None:
        page = index.page(chance.choice(refs))
        query = chance.choice([QUESTION, "systemd", "é", "", "x" * 5000, "*", '"', "\0"])
        chance.choice([
            lambda: index.search(query, k=chance.choice([0, 1, 5, 50])),
            lambda: index.search(query_vectors=rows(n=chance.choice([0, 1, 300]),
                                                    dim=chance.choice([8, 128]))),
            lambda: index.search(QUESTION, channel=chance.choice(["both", "text", "visual", "no"])),
            lambda: np.asarray(page.image(chance.choice([1, 50, 0]))).sum(),
            lambda: np.asarray(page.vectors()).astype(np.float32).sum(),
            lambda: page.heatmap(query, word=chance.choice([None, 0, 50])).png(64),
            lambda: page.regions(query, n=chance.choice([1, 9])),
            lambda: page.words(),
            lambda: index.context(QUESTION, budget_chars=chance.choice([10, 300])),
            lambda: index.page(chance.choice(["form.pdf", "none.pdf"]), chance.choice([0, 1, 99])),
            lambda: index.encode_queries([query]),
            lambda: index.documents(),
            lambda: index.refresh(),
        ])()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(125):
            try:
                call(chance)
            except (pagesight.Error, TypeError, OverflowError):
                pass
            except BaseException as error:
                unexpected.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive(), "a call waits without end"
    assert not unexpected, unexpected
