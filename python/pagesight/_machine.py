"""What the package brings for the engine on this machine."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

LIBRARY = {"win32": "pdfium.dll", "darwin": "libpdfium.dylib"}.get(sys.platform, "libpdfium.so")
HERE = Path(__file__).parent


def found() -> dict[str, object]:
    """Where the engine finds libpdfium, models and weights, and how its workers are started.

    The environment variables of the program count here too: PAGESIGHT_PDFIUM, PAGESIGHT_WEIGHTS and
    PAGESIGHT_OCR.
    """
    return {
        "worker_program": worker_program(),
        # Isolated: neither the current folder nor the user's environment says what runs.
        "worker_arguments": ["-I", "-m", "pagesight._worker"],
        "pdfium": named("PAGESIGHT_PDFIUM") or pdfium(),
        "weights": named("PAGESIGHT_WEIGHTS") or brought("weights"),
        "ocr_weights": named("PAGESIGHT_OCR") or brought("ocr"),
    }


def worker_program() -> str | None:
    """This interpreter. In a program that embeds one there may be none."""
    if sys.executable and os.path.exists(sys.executable):
        return sys.executable
    return None


def named(variable: str) -> str | None:
    return os.environ.get(variable) or None


def brought(folder: str) -> str | None:
    """A folder of the package; wheels have it, a package that is developed may not."""
    path = HERE / folder
    return str(path) if path.is_dir() else None


def pdfium() -> str | None:
    """libpdfium of the package pypdfium2, which is not imported: that would load the library."""
    spec = find_spec("pypdfium2_raw")
    for place in (spec.submodule_search_locations or []) if spec else []:
        library = os.path.join(place, LIBRARY)
        if os.path.isfile(library):
            return library
    return None
