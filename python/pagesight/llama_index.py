"""LlamaIndex: ``pip install 'pagesight[llama-index]'``.

::

    from pagesight.llama_index import PagesightRetriever

    retriever = PagesightRetriever(index=".pagesight", k=4)
    nodes = retriever.retrieve("net sales by region")
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import (
    ImageNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from pagesight._source import check_text, image_url, jpeg, metadata, source, text_and_rects
from pagesight.records import Hit

__all__ = ["PagesightRetriever"]

SHOWN = ("path", "page")
"""What of the metadata embeddings and language models read."""


class PagesightRetriever(BaseRetriever):
    """Finds pages of PDFs; each becomes a node with a score, best first.

    index: a `pagesight.Index`, a `pagesight.Client`, a path, or the address of a server.
    k: how many pages at most. channel, paths: as in `pagesight.Index.search`.
    text: what of a page the text is: ``"page"``, ``"region"`` or ``"snippet"``.
    images: whether nodes are `ImageNode` with the page's picture, a JPEG `image_width` px wide.
    """

    def __init__(
        self,
        index: Any,
        *,
        k: int = 4,
        channel: str = "both",
        paths: Sequence[str] = (),
        text: str = "page",
        images: bool = False,
        image_width: int = 1024,
        **rest: Any,
    ) -> None:
        check_text(text)
        self._index = source(index)
        self._k = k
        self._channel = channel
        self._paths = list(paths)
        self._text = text
        self._images = images
        self._image_width = image_width
        super().__init__(**rest)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        answer = self._index.search(
            query_bundle.query_str, k=self._k, channel=self._channel, paths=self._paths
        )
        return [NodeWithScore(node=self._node(hit), score=hit.score) for hit in answer]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _node(self, hit: Hit) -> TextNode:
        text, rects = text_and_rects(hit, self._text)
        told = {
            "path": hit.path,
            "page": hit.page,
            "score": hit.score,
            **metadata(hit),
            "rects": rects,
            "image_url": image_url(self._index, hit.ref),
        }
        hidden = [name for name in told if name not in SHOWN]
        fields: dict[str, Any] = {
            "id_": hit.ref,
            "text": text,
            "metadata": told,
            "excluded_embed_metadata_keys": hidden,
            "excluded_llm_metadata_keys": hidden,
            "relationships": {
                NodeRelationship.SOURCE: RelatedNodeInfo(
                    node_id=hit.document, metadata={"path": hit.path}
                )
            },
        }
        if not self._images:
            return TextNode(**fields)
        picture = jpeg(self._index, hit.ref, self._image_width)
        return ImageNode(**fields, image=picture, image_mimetype="image/jpeg")
