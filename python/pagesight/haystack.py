"""Haystack: ``pip install 'pagesight[haystack]'``.

::

    from haystack import Pipeline
    from pagesight.haystack import PagesightRetriever

    pipeline = Pipeline()
    pipeline.add_component("pages", PagesightRetriever(index=".pagesight", top_k=4))
    documents = pipeline.run({"pages": {"query": "net sales"}})["pages"]["documents"]

Haystack 3.4 loads a saved pipeline with components of other packages only where it is told so:
``Pipeline.loads(text, allowed_modules=["pagesight.haystack"])``.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.dataclasses import ImageContent

from pagesight._haystack_filters import allowed
from pagesight._source import check_text, image_url, jpeg, metadata, source, text_and_rects
from pagesight.index import Index
from pagesight.records import Hit

__all__ = ["PagesightImages", "PagesightRetriever"]


@component
class PagesightRetriever:
    """Finds pages of PDFs; each becomes a `Document`, best first, with ``meta`` of ``file_path``,
    ``page_number``, ``ref``, ``document``, ``page_count``, ``title``, ``text_source``, ``rects``,
    ``image_url`` and ``mime_type``.

    index: a `pagesight.Index`, a `pagesight.Client`, a path, or the address of a server. A pipeline
        that is saved keeps the path or the address, never a token.
    top_k: how many pages at most. channel, paths: as in `pagesight.Index.search`.
    text: what of a page the content is: ``"page"``, ``"region"`` or ``"snippet"``.
    """

    def __init__(
        self,
        index: Any,
        top_k: int = 10,
        channel: str = "both",
        paths: list[str] | None = None,
        text: str = "page",
    ) -> None:
        check_text(text)
        self.index = index
        self.top_k = top_k
        self.channel = channel
        self.paths = list(paths or [])
        self.text = text
        self._source: Any = None

    def warm_up(self) -> None:
        """Opens the index."""
        if self._source is None:
            self._source = source(self.index)

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """Finds pages.

        filters: comparisons of ``meta.file_path``, which take the place of the component's paths,
            and of ``meta.document``, by ``==`` and ``in``, alone or joined by ``AND``; others are
            refused.
        """
        self.warm_up()
        paths, documents = allowed(filters)
        answer = self._source.search(
            query,
            k=self.top_k if top_k is None else top_k,
            channel=self.channel,
            paths=self.paths if paths is None else paths,
            documents=documents or [],
        )
        return {"documents": [self._document(hit) for hit in answer]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """As `run`, in a thread of its own."""
        found: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, top_k, filters)
        return found

    def to_dict(self) -> dict[str, Any]:
        """What a saved pipeline keeps."""
        saved: dict[str, Any] = default_to_dict(
            self,
            index=_name(self.index),
            top_k=self.top_k,
            channel=self.channel,
            paths=self.paths,
            text=self.text,
        )
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PagesightRetriever:
        """A component as a saved pipeline kept it."""
        made: PagesightRetriever = default_from_dict(cls, data)
        return made

    def _document(self, hit: Hit) -> Document:
        text, rects = text_and_rects(hit, self.text)
        return Document(
            id=hit.ref,
            content=text,
            meta={
                "file_path": hit.path,
                "page_number": hit.page,
                **metadata(hit),
                "rects": rects,
                "image_url": image_url(self._source, hit.ref),
            },
            score=hit.score,
        )


@component
class PagesightImages:
    """Pictures of pages for models that see: JPEG, `width` px wide, one a document."""

    def __init__(self, index: Any, width: int = 1024) -> None:
        self.index = index
        self.width = width
        self._source: Any = None

    def warm_up(self) -> None:
        """Opens the index."""
        if self._source is None:
            self._source = source(self.index)

    @component.output_types(images=list[ImageContent])
    def run(self, documents: list[Document]) -> dict[str, list[ImageContent]]:
        """The picture of each document that `PagesightRetriever` found."""
        self.warm_up()
        images = [
            ImageContent(
                base64_image=jpeg(self._source, document.meta["ref"], self.width),
                mime_type="image/jpeg",
                meta={name: document.meta[name] for name in ("file_path", "page_number", "ref")},
            )
            for document in documents
        ]
        return {"images": images}

    def to_dict(self) -> dict[str, Any]:
        """What a saved pipeline keeps."""
        saved: dict[str, Any] = default_to_dict(self, index=_name(self.index), width=self.width)
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PagesightImages:
        """A component as a saved pipeline kept it."""
        made: PagesightImages = default_from_dict(cls, data)
        return made


def _name(index: Any) -> str:
    """What names an index in a file."""
    if isinstance(index, Index):
        return index.path
    if isinstance(index, (str, os.PathLike)):
        return os.fspath(index)
    return str(index._url)
