"""What the tests share. They test the package that is installed, never the sources beside them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pagesight
import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
FIXTURES = REPOSITORY / "fixtures"

QUESTION = "mileage for private cars"

assert not Path(pagesight.__file__).is_relative_to(HERE.parent), (
    "the package under test is the sources: install the wheel and run pytest from another folder"
)


def copied(folder: Path, *names: str) -> Path:
    """A folder with PDFs of the repository."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(FIXTURES / "pdf" / name, folder / Path(name).name)
    return folder


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two documents, 4 pages and more, and an index of them made with nano."""
    folder = copied(tmp_path_factory.mktemp("reports") / "reports", "form.pdf", "slides.pdf")
    with pagesight.Index.open_or_create(folder / ".pagesight", model="nano") as index:
        summary = index.sync(folder, ocr="off")
    assert summary.documents["indexed"] == 2 and not summary.failures
    return folder


@pytest.fixture
def index(reports: Path) -> Iterator[pagesight.Index]:
    with pagesight.Index.open(reports / ".pagesight") as index:
        yield index


@pytest.fixture(scope="session")
def wordy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of words alone."""
    folder = copied(tmp_path_factory.mktemp("wordy") / "wordy", "form.pdf")
    with pagesight.Index.open_or_create(folder / ".pagesight", model="none") as index:
        index.sync(folder, ocr="off")
    return folder


@pytest.fixture(scope="session")
def server(reports: Path) -> Iterator[str]:
    """The address of `pagesight serve` of the wheel, over `reports`."""
    command = [sys.executable, "-m", "pagesight", "serve", str(reports / ".pagesight"),
               "--bind", "127.0.0.1:0", "--json", "--quiet"]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the server ended: {process.wait()}"
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        assert process.wait(30) == 0


def run(code: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)
