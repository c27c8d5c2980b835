"""What the adapters share: an index by what names it, and what of a page a framework gets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pagesight.errors import InvalidValue, NoModel, NoVectors
from pagesight.index import Index
from pagesight.records import Hit

if TYPE_CHECKING:
    from pagesight.client import Client

TEXTS = ("page", "region", "snippet")
"""What of a page becomes the text of a document."""


def source(index: Index | Client | str | os.PathLike[str]) -> Index | Client:
    """An index or a client as it is; a path opened; an address asked."""
    if isinstance(index, (str, os.PathLike)):
        name = os.fspath(index)
        if name.startswith(("http://", "https://")):
            from pagesight.client import Client

            return Client(name)
        return Index.open(name)
    if hasattr(index, "search"):
        # An Index, a Client, or what stands in for one; a client is not loaded to look.
        return index
    raise InvalidValue("`index` must be an Index, a Client, a path or an address, got "
                       f"{type(index).__name__}", code="invalid_value")


def check_text(text: str) -> None:
    if text not in TEXTS:
        raise InvalidValue(f"`text` must be one of {', '.join(TEXTS)}, got {text!r}",
                           code="invalid_value")


def text_and_rects(hit: Hit, text: str) -> tuple[str, list[list[float]]]:
    """The text that a document has, and where it stands on the page, points."""
    if text == "snippet":
        return hit.snippet, []
    if text == "region":
        try:
            regions = hit.regions()
        except (NoModel, NoVectors):
            # Found by words alone, or never seen by a model: no part of it is known to be better.
            return hit.text, []
        words = "\n".join(region.text for region in regions if region.text)
        return words or hit.text, [list(region.rect_pt) for region in regions]
    return hit.text, []


def metadata(hit: Hit) -> dict[str, Any]:
    """What every framework is told of a page."""
    return {
        "page_count": hit.page_count,
        "ref": hit.ref,
        "document": hit.document,
        "title": hit.title,
        "text_source": hit.text_source,
        "mime_type": "application/pdf",
    }


def image_url(index: Index | Client, ref: str) -> str | None:
    """Where a server has the picture of a page; None for an index on this machine."""
    url = getattr(index, "_url", None)
    return None if url is None else f"{url}/v1/pages/{ref}/image"


def jpeg(index: Index | Client, ref: str, width: int) -> str:
    """The picture of a page as a JPEG, in base64."""
    from base64 import b64encode

    return b64encode(index.image(ref, width).jpeg()).decode("ascii")
