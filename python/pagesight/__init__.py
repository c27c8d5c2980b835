"""Search PDFs by how their pages look.

A folder of PDFs goes in; ranked pages come out, with the reasons why::

    import pagesight

    index = pagesight.Index.open_or_create(".pagesight", model="nano")
    index.sync("reports")
    for hit in index.search("net sales by region", k=5):
        print(f"{hit.score:.3f}  {hit.path}#{hit.page}  {hit.snippet}")

An `Index` may be shared by threads: every call that takes time lets other threads run meanwhile, and
eight threads that search use eight cores. In async code use ``await asyncio.to_thread(index.search,
"net sales")``. After `fork` the engine refuses to work, since its threads are not there: start
processes by ``spawn`` or ``forkserver``.

`Client` asks a running ``pagesight serve`` instead, with the same calls and the same types.

Lengths: ``_pt`` is points (1/72 inch, from the top left of the page as displayed), ``_px`` pixels.
"""

from __future__ import annotations

from pagesight.errors import (
    Ambiguous,
    DrawError,
    Error,
    FileChanged,
    InvalidValue,
    Locked,
    ModelError,
    NoModel,
    NoVectors,
    NotFound,
    StoreError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pagesight._engine import Heatmap, Image, QueryVectors, Vectors
    from pagesight.client import Client
    from pagesight.index import Index, Summary
    from pagesight.records import Answer, ChannelScore, Hit, Match, Page, Region, Word

    __version__: str

__all__ = [
    "Ambiguous",
    "Answer",
    "ChannelScore",
    "Client",
    "DrawError",
    "Error",
    "FileChanged",
    "Heatmap",
    "Hit",
    "Image",
    "Index",
    "InvalidValue",
    "Locked",
    "Match",
    "ModelError",
    "NoModel",
    "NoVectors",
    "NotFound",
    "Page",
    "QueryVectors",
    "Region",
    "StoreError",
    "Summary",
    "Vectors",
    "Word",
    "__version__",
]

# The engine is large, and what speaks HTTP takes its time too: each is loaded when it is wanted.
_PLACES = {
    "pagesight._engine": ("Heatmap", "Image", "QueryVectors", "Vectors", "__version__"),
    "pagesight.client": ("Client",),
    "pagesight.index": ("Index", "Summary"),
    "pagesight.records": ("Answer", "ChannelScore", "Hit", "Match", "Page", "Region", "Word"),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    for module, names in _PLACES.items():
        if name in names:
            value: object = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'pagesight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
