"""What byaldi's calls take: PDFs with an id and metadata each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pagesight.errors import InvalidValue, NotFound


def items_of(
    path: str | Path, ids: list[int] | None, metadata: list[dict[str, Any]] | None, first: int
) -> list[tuple[Path, int, dict[str, Any]]]:
    """The PDFs at `path` with their ids and what is told of each."""
    if not isinstance(path, (str, Path)):
        raise wrong(f"{type(path).__name__} is no path: save pictures as PDFs, e.g. with img2pdf")
    place = Path(path)
    if not place.exists():
        raise NotFound(f"there is nothing at {place}", code="file_gone")
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    pdfs = [file for file in files if file.suffix.lower() == ".pdf"]
    if not pdfs:
        raise wrong(f"there is no PDF at {place}: pictures become PDFs, e.g. with img2pdf")
    ids = list(range(first, first + len(pdfs))) if ids is None else ids
    metadata = [{} for _ in pdfs] if metadata is None else metadata
    if len(ids) != len(pdfs) or len(metadata) != len(pdfs):
        raise wrong(f"{len(ids)} ids and metadata of {len(metadata)} for {len(pdfs)} documents")
    return list(zip(pdfs, ids, metadata))


def wrong(detail: str) -> InvalidValue:
    return InvalidValue(detail, code="invalid_value")
