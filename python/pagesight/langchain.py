"""LangChain: ``pip install 'pagesight[langchain]'``.

::

    from pagesight.langchain import PagesightRetriever

    retriever = PagesightRetriever(index=".pagesight", k=4)
    documents = retriever.invoke("net sales by region")
"""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, field_validator

from pagesight._source import (
    check_text,
    image_url,
    jpeg,
    metadata,
    source,
    text_and_rects,
)
from pagesight.records import Hit

__all__ = ["PagesightRetriever"]


class PagesightRetriever(BaseRetriever):
    """Finds pages of PDFs; each becomes a `Document`, best first.

    Its text is in ``page_content``, never a picture; ``metadata`` has ``source`` (the path),
    ``page``, ``page_count``, ``score``, ``ref``, ``document``, ``title``, ``text_source``, ``rects``
    (where the text stands, points, when `text` is ``"region"``), ``image_url`` (None without a
    server) and ``mime_type``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: Any
    """A `pagesight.Index`, a `pagesight.Client`, a path, or the address of a server."""
    k: int = Field(default=4, ge=1)
    """How many pages at most."""
    channel: str = "both"
    """``"both"``, ``"visual"`` or ``"text"``."""
    paths: list[str] = Field(default_factory=list)
    """Globs; documents whose path any of them matches."""
    text: str = "page"
    """What of a page the text is: ``"page"``, ``"region"`` or ``"snippet"``."""

    @field_validator("index")
    @classmethod
    def _index(cls, index: Any) -> Any:
        return source(index)

    @field_validator("text")
    @classmethod
    def _text(cls, text: str) -> str:
        check_text(text)
        return text

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
    ) -> list[Document]:
        return self._found(query, k)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
    ) -> list[Document]:
        return await asyncio.to_thread(self._found, query, k)

    def page_image_block(self, document: Document, width: int = 1024) -> dict[str, Any]:
        """The picture of a document's page, `width` px wide, as a block of a message for models that
        see: ``{"type": "image", "base64": ..., "mime_type": "image/jpeg"}``."""
        data = jpeg(self.index, document.metadata["ref"], width)
        return {"type": "image", "base64": data, "mime_type": "image/jpeg"}

    def _found(self, query: str, k: int | None) -> list[Document]:
        answer = self.index.search(
            query, k=self.k if k is None else k, channel=self.channel, paths=self.paths
        )
        return [self._document(hit) for hit in answer]

    def _document(self, hit: Hit) -> Document:
        text, rects = text_and_rects(hit, self.text)
        return Document(
            id=hit.ref,
            page_content=text,
            metadata={
                "source": hit.path,
                "page": hit.page,
                "score": hit.score,
                **metadata(hit),
                "rects": rects,
                "image_url": image_url(self.index, hit.ref),
            },
        )
