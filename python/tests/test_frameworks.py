"""LangChain, LlamaIndex, Haystack and byaldi: what a page becomes, and their own suites."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
from pathlib import Path
from typing import Any

import pagesight
import pytest
from conftest import FIXTURES, QUESTION
from PIL import Image as Pillow


@pytest.fixture(params=["index", "client", "path", "address"])
def source(request: pytest.FixtureRequest, reports: Path) -> Any:
    """Everything that names an index."""
    if request.param == "index":
        return pagesight.Index.open(reports / ".pagesight")
    if request.param == "path":
        return reports / ".pagesight"
    server = request.getfixturevalue("server")
    return server if request.param == "address" else pagesight.Client(server)


def expected(reports: Path, k: int) -> list[tuple[str, float]]:
    with pagesight.Index.open(reports / ".pagesight") as index:
        return [(hit.ref, hit.score) for hit in index.search(QUESTION, k=k)]


def test_langchain(source: Any, reports: Path) -> None:
    from pagesight.langchain import PagesightRetriever

    retriever = PagesightRetriever(index=source, k=3)
    documents = retriever.invoke(QUESTION)
    assert [(d.id, d.metadata["score"]) for d in documents] == expected(reports, 3)
    first = documents[0]
    assert first.metadata["source"] == "form.pdf" and first.metadata["page"] == 2
    assert set(first.metadata) >= {"page_count", "ref", "document", "title", "text_source", "rects",
                                   "image_url", "mime_type"}
    assert "EUR 0.30" in first.page_content and first.metadata["rects"] == []
    assert len(retriever.invoke(QUESTION, k=1)) == 1
    assert asyncio.run(retriever.ainvoke(QUESTION))[0].id == first.id
    by_region = PagesightRetriever(index=source, k=1, text="region").invoke(QUESTION)[0]
    assert by_region.metadata["rects"] and len(by_region.page_content) < len(first.page_content)
    by_snippet = PagesightRetriever(index=source, k=1, text="snippet").invoke(QUESTION)[0]
    assert "Mileage" in by_snippet.page_content
    block = retriever.page_image_block(first, width=300)
    assert block["type"] == "image" and block["mime_type"] == "image/jpeg"
    assert Pillow.open(io.BytesIO(base64.b64decode(block["base64"]))).size[0] == 300
    if first.metadata["image_url"] is not None:
        import urllib.request

        with urllib.request.urlopen(first.metadata["image_url"]) as picture:
            assert picture.headers["Content-Type"] == "image/webp"
    with pytest.raises(ValueError):
        PagesightRetriever(index=source, text="smell")


def test_llama_index(source: Any, reports: Path) -> None:
    from llama_index.core.schema import ImageNode, MetadataMode, NodeRelationship, TextNode
    from pagesight.llama_index import PagesightRetriever

    retriever = PagesightRetriever(index=source, k=3)
    nodes = retriever.retrieve(QUESTION)
    assert [(node.node.node_id, node.score) for node in nodes] == expected(reports, 3)
    first = nodes[0].node
    assert type(first) is TextNode and "EUR 0.30" in first.text
    assert first.metadata["path"] == "form.pdf" and first.metadata["page"] == 2
    shown = first.get_content(metadata_mode=MetadataMode.LLM)
    assert "form.pdf" in shown and first.metadata["ref"] not in shown
    assert first.relationships[NodeRelationship.SOURCE].node_id == first.metadata["document"]
    assert asyncio.run(retriever.aretrieve(QUESTION))[0].node.node_id == first.node_id
    pictured = PagesightRetriever(index=source, k=1, images=True, image_width=300)
    (node,) = pictured.retrieve(QUESTION)
    assert isinstance(node.node, ImageNode) and node.node.image_mimetype == "image/jpeg"
    assert Pillow.open(io.BytesIO(base64.b64decode(node.node.image))).size[0] == 300


def test_haystack(source: Any, reports: Path) -> None:
    from haystack import Pipeline
    from pagesight.haystack import PagesightImages, PagesightRetriever

    pipeline = Pipeline()
    pipeline.add_component("pages", PagesightRetriever(index=source, top_k=3))
    pipeline.add_component("images", PagesightImages(index=source, width=300))
    pipeline.connect("pages.documents", "images.documents")
    asked = {"pages": {"query": QUESTION}}
    found = pipeline.run(asked, include_outputs_from={"pages"})
    documents = found["pages"]["documents"]
    assert [(d.id, d.score) for d in documents] == expected(reports, 3)
    assert documents[0].meta["file_path"] == "form.pdf" and documents[0].meta["page_number"] == 2
    images = found["images"]["images"]
    assert len(images) == len(documents) and images[0].mime_type == "image/jpeg"
    saved = pipeline.dumps()
    again = Pipeline.loads(saved, allowed_modules=["pagesight.haystack"])
    assert again.run(asked)["images"]["images"][0].base64_image == images[0].base64_image


def test_haystack_filters(reports: Path) -> None:
    from pagesight.haystack import PagesightRetriever

    component = PagesightRetriever(index=reports / ".pagesight")
    document = component.run(QUESTION)["documents"][0].meta["document"]

    def paths(filters: dict[str, Any]) -> set[str]:
        found = component.run("the", filters=filters)["documents"]
        return {found.meta["file_path"] for found in found}

    def of(field: str, operator: str, value: Any) -> dict[str, Any]:
        return {"field": field, "operator": operator, "value": value}

    assert paths(of("meta.file_path", "==", "slides.pdf")) <= {"slides.pdf"}
    assert paths(of("meta.file_path", "in", ["form.pdf", "slides.pdf"])) <= {"form.pdf", "slides.pdf"}
    assert paths(of("meta.document", "==", document)) <= {"form.pdf"}
    both = {"operator": "AND", "conditions": [of("meta.file_path", "==", "slides.pdf"),
                                              of("meta.document", "==", document)]}
    assert paths(both) == set()
    assert asyncio.run(component.run_async(QUESTION))["documents"][0].meta["page_number"] == 2
    for wrong in (of("meta.page_number", "==", 3), of("meta.file_path", ">", "a"),
                  {"operator": "OR", "conditions": []}, of("meta.file_path", "in", [])):
        with pytest.raises(pagesight.InvalidValue):
            paths(wrong)


def test_byaldi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls of byaldi's README, and what its tests expect of them."""
    from pagesight.byaldi import RAGMultiModalModel

    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for name in ("form.pdf", "slides.pdf"):
        shutil.copy(FIXTURES / "pdf" / name, tmp_path / "docs" / name)
    rag = RAGMultiModalModel.from_pretrained("nano")
    files = rag.index(
        input_path="docs/",
        index_name="image_index",
        store_collection_with_index=False,
        doc_ids=[0, 1],
        metadata=[{"author": "John Doe", "date": "2021-01-01"}, {"author": "Jane Roe"}],
        overwrite=True,
    )
    assert files == {0: "docs/form.pdf", 1: "docs/slides.pdf"}
    results = rag.search(QUESTION, k=3)
    assert 1 <= len(results) <= 3
    first = results[0]
    assert (first.doc_id, first.page_num) == (0, 2) and first["page_num"] == 2
    assert first.metadata == {"author": "John Doe", "date": "2021-01-01"}
    assert set(first.dict()) == {"doc_id", "page_num", "score", "metadata", "base64"}
    assert first.dict()["base64"] is None
    assert Pillow.open(io.BytesIO(base64.b64decode(first.base64))).size[0] == 1200
    assert [r.score for r in results] == sorted((r.score for r in results), reverse=True)
    assert rag.search(QUESTION, k=1, return_base64_results=True)[0].dict()["base64"]
    several = rag.search([QUESTION, "slides"], k=1)
    assert len(several) == 2 and several[0][0].page_num == 2
    of_jane = rag.search(QUESTION, filter_metadata={"author": "Jane Roe"})
    assert {result.doc_id for result in of_jane} <= {1}
    assert rag.search(QUESTION, filter_metadata={"author": "nobody"}) == []
    with pytest.raises(ValueError):
        rag.index(input_path="docs/", index_name="image_index")

    rag = RAGMultiModalModel.from_index("image_index")
    assert rag.search(QUESTION, k=1)[0].page_num == 2
    shutil.copy(FIXTURES / "pdf" / "debian" / "history.pdf", tmp_path / "history.pdf")
    rag.add_to_index("history.pdf", store_collection_with_index=False, doc_id=1002,
                     metadata={"author": "Debian"})
    assert rag.get_doc_ids_to_file_names()[1002] == "history.pdf"
    led = rag.search("Who led Debian between 2001 and 2002?", k=3)
    assert 1002 in {result.doc_id for result in led}
    with pytest.raises(ValueError):
        rag.add_to_index("history.pdf", store_collection_with_index=False, doc_id=1002)
    documents = rag.as_langchain_retriever(k=1).invoke(QUESTION)
    assert documents[0].metadata["page"] == 2
    with pytest.raises(pagesight.NotFound):
        RAGMultiModalModel.from_index("none")
    with pytest.raises(ValueError):
        rag.add_to_index(Pillow.new("RGB", (8, 8)))  # type: ignore[arg-type]
