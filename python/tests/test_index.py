"""Indexes: sync, search, what hits say, context."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pagesight
import pytest
from conftest import FIXTURES, QUESTION, copied, run


def test_a_search_finds_the_page_and_says_why(index: pagesight.Index) -> None:
    answer = index.search(QUESTION, k=3)
    assert isinstance(answer, pagesight.Answer) and 1 <= len(answer) <= 3
    hit = answer[0]
    assert (hit.path, hit.page, hit.rank) == ("form.pdf", 2, 1)
    assert hit.ref == f"{hit.document[:16]}-2" and len(hit.document) == 64
    assert hit.text_score is not None and hit.text_score.rank == 1
    assert hit.visual is None or isinstance(hit.visual, pagesight.ChannelScore)
    assert "EUR 0.30 per kilometre" in hit.text
    start, end = hit.marks[0]
    assert hit.snippet[start:end].lower() in QUESTION
    assert hit.page_count == 2 and hit.text_source == "layer" and hit.size_pt[0] > 100
    scores = [hit.score for hit in answer]
    assert scores == sorted(scores, reverse=True)
    assert [hit.ref for hit in answer[:2]] == [hit.ref for hit in answer][:2]
    assert answer.snapshot >= 1 and answer.model_id and answer.query == QUESTION
    assert answer.ms["total"] > 0
    assert "ms" not in answer.to_dict()


def test_the_program_answers_the_same(reports: Path, index: pagesight.Index) -> None:
    command = [sys.executable, "-m", "pagesight", "--index", str(reports / ".pagesight"), "query",
               "--json", "-k", "5", QUESTION]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    hits = [line for line in lines if line.get("type") == "hit" or "rank" in line]
    ours = index.search(QUESTION, k=5)
    assert [(hit["ref"], hit["rank"]) for hit in hits] == [(hit.ref, hit.rank) for hit in ours]
    for theirs, hit in zip(hits, ours):
        assert theirs["score"] == pytest.approx(hit.score, rel=1e-6)
        assert theirs["snippet"] == hit.snippet


def test_channels_paths_documents_and_text(index: pagesight.Index) -> None:
    words = index.search(QUESTION, channel="text")
    assert all(hit.visual is None for hit in words)
    visual = index.search(QUESTION, channel="visual")
    assert all(hit.text_score is None for hit in visual) and visual[0].visual is not None
    only = index.search("page", paths=["slides*"])
    assert {hit.path for hit in only} <= {"slides.pdf"}
    document = index.search(QUESTION)[0].document
    within = index.search("the", documents=[document[:8]])
    assert {hit.document for hit in within} <= {document}
    assert len(index.search("the", documents=["0" * 8])) == 0
    full = index.search(QUESTION, text="full")[0].to_dict()
    assert full["page_text"] == index.search(QUESTION)[0].text
    assert "snippet" not in index.search(QUESTION, text="none")[0].to_dict()
    explained = index.search(QUESTION, explain=True)
    assert [word["text"] for word in explained.words] == QUESTION.split()
    assert explained.tokens and len(explained[0].matches) == len(explained.tokens)
    asked = index.search(QUESTION, regions=1)
    assert asked[0].to_dict()["regions"][0]["rank"] == 1


def test_pages_are_named_in_every_way(reports: Path, index: pagesight.Index) -> None:
    hit = index.search(QUESTION)[0]
    for page in (
        index.page("form.pdf", 2),
        index.page(hit.ref),
        index.page("form.pdf#2"),
        index.page(reports / "form.pdf", 2),
        hit.to_page(),
    ):
        assert (page.ref, page.path, page.page) == (hit.ref, "form.pdf", 2)
    page = index.page(hit.ref)
    assert page.n_vectors > 0 and page.paths == ["form.pdf"] and page.snapshot >= 1
    assert page.to_dict()["text"] == page.text
    words = page.words()
    assert [word.text for word in words][:3] and all(word.line is not None for word in words)
    x0, y0, x1, y1 = words[0].rect_pt
    assert 0 <= x0 < x1 <= page.size_pt[0] and 0 <= y0 < y1 <= page.size_pt[1]


def test_context_keeps_to_its_budget(index: pagesight.Index) -> None:
    context = index.context(QUESTION, k=3, budget_chars=500)
    assert context["chars"] == sum(len(source["text"]) for source in context["sources"]) <= 500
    first = context["sources"][0]
    assert (first["n"], first["citation"]) == (1, "form.pdf, page 2")
    assert "[1] form.pdf, page 2" in context["prompt"] and first["image"] is None
    pictured = index.context(QUESTION, k=3, images="base64", max_images=2)
    images = [source["image"] for source in pictured["sources"]]
    assert [image is not None for image in images[:2]] == [True, True][: len(images)]
    assert all(image is None for image in images[2:])
    assert images[0]["bytes"] <= 200_000 and images[0]["mime_type"] == "image/jpeg"
    by_region = index.context(QUESTION, scope="region")
    assert by_region["sources"][0]["regions"]


def test_documents_and_status(index: pagesight.Index) -> None:
    documents = index.documents()
    assert [document["path"] for document in documents] == ["form.pdf", "slides.pdf"]
    assert all(document["status"] == "ok" for document in documents)
    assert documents[0]["modified"].endswith("Z") and documents[0]["page_count"] == 2
    assert [d["path"] for d in index.documents(paths=["s*"])] == ["slides.pdf"]
    assert index.documents(status="failed") == []
    status = index.status()
    assert status["name"] == "reports" and status["documents"]["ok"] == 2
    assert status["dim"] == 128 and status["model"] == "nano" and status["bytes"] > 0


def test_sync_tells_what_happens(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a", "form.pdf", "broken.pdf")
    lines: list[dict[str, object]] = []
    with pagesight.Index.open_or_create(folder / ".pagesight", model="none") as index:
        summary = index.sync(folder, progress=lines.append, ocr="off")
        kinds = [line["type"] for line in lines]
        assert kinds[-1] == "summary" and {"document", "commit", "progress"} <= set(kinds)
        assert summary.to_dict() == lines[-1]
        assert summary.documents["failed"] + summary.documents["partial"] == 1
        assert summary.failures[0]["path"] == "broken.pdf" and summary.failures[0]["reason"]
        assert "--" not in summary.failures[0]["reason"]
        again = index.sync([folder / "form.pdf"], ocr="off")
        assert again.documents["skipped"] == 1 and again.pages["indexed"] == 0


def test_an_exception_in_progress_ends_the_run_after_its_batch(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a", "form.pdf", "slides.pdf")

    def progress(line: dict[str, object]) -> None:
        if line["type"] == "document":
            raise KeyError("mine")

    with pagesight.Index.open_or_create(folder / ".pagesight", model="none") as index:
        with pytest.raises(KeyError, match="mine"):
            index.sync(folder, progress=progress, ocr="off", workers=1)
        # What was committed is there, and the next run goes on.
        index.sync(folder, ocr="off")
        assert all(document["status"] == "ok" for document in index.documents())


def test_control_c_ends_a_run_with_keyboard_interrupt(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a", "form.pdf", "slides.pdf", "debian/history.pdf")
    code = """
import sys, pagesight
index = pagesight.Index.open_or_create(sys.argv[1] + "/.pagesight", model="nano")
def progress(line):
    print(line["type"], flush=True)
try:
    index.sync(sys.argv[1], progress=progress, ocr="off", commit_every=1)
except KeyboardInterrupt:
    print("interrupted", len(index.documents()), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("commit"):
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[0].splitlines()
    assert rest[-1].startswith("interrupted") and process.returncode == 0
    with pagesight.Index.open(folder / ".pagesight") as index:
        assert index.status()["pages"] >= 1


def test_searches_run_beside_a_sync_and_see_it(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a", "form.pdf")
    index = pagesight.Index.open_or_create(folder / ".pagesight", model="nano")
    index.sync(folder, ocr="off")
    stop = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                assert index.search(QUESTION)[0].path == "form.pdf"
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    shutil.copy(FIXTURES / "pdf" / "slides.pdf", folder / "slides.pdf")
    index.sync(folder, ocr="off")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures and len(index.documents()) == 2


def test_other_python_code_runs_while_the_engine_works(index: pagesight.Index) -> None:
    index.warm()
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks
    for width in range(900, 908):
        index.page("form.pdf", 1).image(width).png()
    ran = ticks - before
    stop.set()
    thread.join()
    # Were the lock held, the other thread would run between calls alone: once or twice each.
    assert ran > 30


def test_what_is_put_off_until_the_interpreter_ends(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a", "form.pdf", "slides.pdf", "debian/history.pdf")
    code = """
import sys, threading, pagesight
index = pagesight.Index.open_or_create(sys.argv[1] + "/.pagesight", model="nano")
seen = threading.Event()
def progress(line):
    if line["type"] == "commit":
        seen.set()
thread = threading.Thread(target=index.sync, args=(sys.argv[1],),
                          kwargs={"progress": progress, "ocr": "off", "commit_every": 1}, daemon=True)
thread.start()
seen.wait(100)
print("leaving", flush=True)
"""
    done = run(code, str(folder))
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr
    with pagesight.Index.open(folder / ".pagesight") as index:
        assert index.status()["pages"] >= 1
        index.sync(folder, ocr="off")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_is_refused_and_says_so(reports: Path) -> None:
    code = """
import os, sys, pagesight
index = pagesight.Index.open(sys.argv[1] + "/.pagesight")
index.search("mileage")
child = os.fork()
if child == 0:
    try:
        index.search("mileage")
        os._exit(1)
    except pagesight.Error as error:
        sys.stdout.write(f"{error.code} {'spawn' in str(error)}")
        sys.stdout.flush()
        try:
            pagesight.Index.open(sys.argv[1] + "/.pagesight")
            os._exit(2)
        except pagesight.Error:
            os._exit(0)
_, status = os.waitpid(child, 0)
assert index.search("mileage")
sys.exit(os.waitstatus_to_exitcode(status))
"""
    done = run(code, str(reports))
    assert (done.returncode, done.stdout) == (0, "index_unavailable True"), done.stderr


def test_a_fork_before_any_use_is_no_trouble(reports: Path) -> None:
    code = """
import multiprocessing, sys, pagesight
def ask(folder):
    with pagesight.Index.open(folder + "/.pagesight") as index:
        return index.search("mileage for private cars")[0].page
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(ask, [sys.argv[1]] * 2) == [2, 2]
"""
    done = run(code, str(reports))
    assert done.returncode == 0, done.stderr


def test_the_package_is_imported_in_no_time() -> None:
    code = """
import sys, time
start = time.process_time()
import pagesight
print(time.process_time() - start)
assert "urllib.request" not in sys.modules and "numpy" not in sys.modules
"""
    times = []
    for _ in range(5):
        done = run(code)
        assert done.returncode == 0, done.stderr
        times.append(float(done.stdout))
    print(f"import: {min(times) * 1e3:.0f} to {max(times) * 1e3:.0f} ms")
    # A goal, reported; five times as much would be another design.
    assert min(times) < 0.25
