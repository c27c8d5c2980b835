"""The examples of the manual run, and everything has its types."""

from __future__ import annotations

import inspect
import json
import os
import runpy
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pagesight
import pytest
from conftest import QUESTION, REPOSITORY, copied


class Model(BaseHTTPRequestHandler):
    """Speaks OpenAI's chat completions; cites the first source."""

    asked: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({"path": self.path, **body})
        content = "It is EUR 0.30 per kilometre [1]."
        answer = {"choices": [{"message": {"role": "assistant", "content": content}}]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def test_the_rag_example_answers_with_citations(tmp_path: Path) -> None:
    source = (REPOSITORY / "docs" / "rag.py").read_text("utf-8")
    assert len(source.splitlines()) <= 40
    folder = copied(tmp_path / "reports", "form.pdf")
    server = HTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    command = [sys.executable, str(REPOSITORY / "docs" / "rag.py"), str(folder), QUESTION, url, "any"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "NO_PROXY": "127.0.0.1"})
    server.shutdown()
    assert done.stdout.splitlines() == [
        "It is EUR 0.30 per kilometre [1].",
        "[1] form.pdf, page 2",
    ], done.stderr
    (asked,) = Model.asked
    assert asked["path"] == "/v1/chat/completions" and asked["model"] == "any"
    system, user = asked["messages"]
    assert system["role"] == "system" and QUESTION in user["content"]
    assert "EUR 0.30 per kilometre" in user["content"] and "[1] form.pdf, page 2" in user["content"]


def test_types_are_checked_strictly(tmp_path: Path) -> None:
    """mypy over the package that is installed and over the examples."""
    package = Path(pagesight.__file__).parent
    assert (package / "py.typed").is_file() and (package / "_pagesight.pyi").is_file()
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11",
               "--cache-dir", str(tmp_path / "cache"), "-p", "pagesight"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    # pypdfium2 has no types.
    command[-2:] = ["--ignore-missing-imports", str(REPOSITORY / "docs" / "rag.py"),
                    str(REPOSITORY / "docs" / "own_vectors.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_stub_says_what_the_module_has(tmp_path: Path) -> None:
    # Before Python 3.12 the buffer protocol has no name in Python.
    names = ("Heatmap", "Image", "QueryVectors", "Vectors")
    allowed = "".join(f"pagesight._pagesight.{name}.__buffer__\n" for name in names)
    (tmp_path / "allowed").write_text(allowed if sys.version_info < (3, 12) else "")
    command = [sys.executable, "-m", "mypy.stubtest", "pagesight._pagesight",
               "--ignore-missing-stub", "--allowlist", str(tmp_path / "allowed")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [n for n in pagesight.__all__ if n != "__version__"])
def test_every_name_has_help(name: str) -> None:
    value = getattr(pagesight, name)
    assert inspect.getdoc(value), name
    for member, found in vars(value).items():
        if not member.startswith("_") and (callable(found) or isinstance(found, property)):
            assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def test_help_has_shapes_and_units() -> None:
    assert "[n, dim]" in inspect.getdoc(pagesight.Vectors)  # type: ignore[operator]
    assert "points" in inspect.getdoc(pagesight.Region.rect_pt)  # type: ignore[operator]
    assert "px" in inspect.getdoc(pagesight.Hit.image)  # type: ignore[operator]


def test_the_program_and_its_workers_come_with_the_package(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a", "form.pdf", "broken.pdf")
    environment = {name: value for name, value in os.environ.items() if "PAGESIGHT" not in name}
    script = Path(sys.executable).parent / "pagesight"
    for program in ([sys.executable, "-m", "pagesight"], [str(script)]):
        done = subprocess.run([*program, "--version"], capture_output=True, text=True)
        assert done.stdout == f"pagesight {pagesight.__version__}\n"
    done = subprocess.run([str(script), "index", "--quiet", "--no-ocr", "--model", "none", "."],
                          cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    done = subprocess.run([str(script), "query", QUESTION], cwd=folder, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "form.pdf" in done.stdout
    done = subprocess.run([str(script), "query", "qwertzuiop"], cwd=folder, env=environment)
    assert done.returncode == 1
    worker = subprocess.run([sys.executable, "-I", "-m", "pagesight._worker"], capture_output=True,
                            text=True)
    assert worker.returncode == 1 and "reads PDFs for the program" in worker.stderr


def test_a_worker_that_crashes_costs_its_page_and_no_more(tmp_path: Path) -> None:
    example = runpy.run_path(str(REPOSITORY / "docs" / "rag.py"))
    assert callable(example["answer"])
    folder = copied(tmp_path / "a", "form.pdf", "broken.pdf", "encrypted.pdf")
    with pagesight.Index.open_or_create(folder / ".pagesight", model="none",
                                        passwords=["pagesight"]) as index:
        index.sync(folder, ocr="off")
        states = {d["path"]: d["status"] for d in index.documents()}
    assert states["form.pdf"] == states["encrypted.pdf"] == "ok" and states["broken.pdf"] != "ok"
