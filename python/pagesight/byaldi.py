"""byaldi's ``RAGMultiModalModel`` over pagesight: one import changes.

::

    from pagesight.byaldi import RAGMultiModalModel

    rag = RAGMultiModalModel.from_pretrained("nano")
    rag.index(input_path="docs/", index_name="reports", overwrite=True)
    results = rag.search("net sales by region", k=3)

What differs: a page is found by its words too; the index is pagesight's own, so an index of byaldi
has to be made again; pictures are drawn from the PDF when they are read, so none is stored.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pagesight._byaldi_input import items_of, wrong
from pagesight._byaldi_result import Result
from pagesight.errors import NotFound
from pagesight.index import Index

__all__ = ["RAGMultiModalModel", "Result"]

LIST = "byaldi.json"


class RAGMultiModalModel:
    """Indexes PDFs and finds their pages. Make one by `from_pretrained` or `from_index`."""

    def __init__(self, model: str | None, index_root: str | Path, device: str, verbose: int) -> None:
        self._model, self._root, self._verbose = model, Path(index_root), verbose
        # "cuda" is byaldi's default and means the best there is.
        self._device = device if device in ("auto", "cpu", "metal") else "auto"
        self._index: Index | None = None
        self._folder = Path()
        self._documents: dict[int, dict[str, Any]] = {}
        self._has_pictures = False

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        index_root: str | Path = ".byaldi",
        device: str = "auto",
        verbose: int = 1,
    ) -> RAGMultiModalModel:
        """A model by its name: ``"nano"``, a folder, or a name in the Hugging Face cache."""
        return cls(str(pretrained_model_name_or_path), index_root, device, verbose)

    @classmethod
    def from_index(
        cls,
        index_path: str | Path,
        index_root: str | Path = ".byaldi",
        device: str = "auto",
        verbose: int = 1,
    ) -> RAGMultiModalModel:
        """An index that `index` made before, by its name."""
        made = cls(None, index_root, device, verbose)
        made._folder = made._root / index_path
        listed = made._folder / LIST
        if not listed.is_file():
            if any(made._folder.glob("*.json.gz")):
                raise wrong(f"{made._folder} is an index of byaldi: make it again with index()")
            raise NotFound(f"there is no index at {made._folder}", code="index_not_found")
        kept = json.loads(listed.read_text("utf-8"))
        made._documents = {int(doc_id): known for doc_id, known in kept["documents"].items()}
        made._has_pictures = kept["has_pictures"]
        made._index = Index.open(made._folder / ".pagesight", device=made._device)
        return made

    def index(
        self,
        input_path: str | Path,
        index_name: str | None = None,
        doc_ids: list[int] | None = None,
        store_collection_with_index: bool = False,
        overwrite: bool = False,
        metadata: list[dict[str, Any]] | None = None,
        max_image_width: int | None = None,
        max_image_height: int | None = None,
    ) -> dict[int, str]:
        """Indexes a PDF, or those in a folder, under `index_name`; returns the file of each id.

        doc_ids, metadata: one a document, in the order of their names. The sizes of pictures are the
        model's, whatever the last two say.
        """
        if index_name is None:
            raise wrong("`index_name` is needed to make an index")
        self._folder = self._root / index_name
        items = items_of(input_path, doc_ids, metadata, 0)
        if self._folder.exists():
            if not overwrite:
                raise wrong(f"there is an index {index_name} already: overwrite=True makes it again")
            if self._index is not None:
                self._index.close()
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True)
        place = self._folder / ".pagesight"
        self._index = Index.create(place, model=self._model, device=self._device)
        self._documents, self._has_pictures = {}, store_collection_with_index
        return self._take(items)

    def add_to_index(
        self,
        input_item: str | Path,
        store_collection_with_index: bool = False,
        doc_id: int | list[int] | None = None,
        metadata: list[dict[str, Any]] | dict[str, Any] | None = None,
    ) -> dict[int, str]:
        """Adds a PDF, or those in a folder; returns the file of each id of the index."""
        ids = [doc_id] if isinstance(doc_id, int) else doc_id
        listed = [metadata] if isinstance(metadata, dict) else metadata
        items = items_of(input_item, ids, listed, max(self._documents, default=-1) + 1)
        for _, one, _ in items:
            if one in self._documents:
                raise wrong(f"the index has a document {one} already")
        self._has_pictures = self._has_pictures or store_collection_with_index
        return self._take(items)

    def search(
        self,
        query: str | list[str],
        k: int = 10,
        filter_metadata: dict[str, Any] | None = None,
        return_base64_results: bool | None = None,
    ) -> list[Result] | list[list[Result]]:
        """The `k` best pages for a question, or for each of several; with `filter_metadata` those of
        documents whose metadata has all of these values."""
        if isinstance(query, str):
            return self._search(query, k, filter_metadata or {}, return_base64_results)
        return [self._search(one, k, filter_metadata or {}, return_base64_results) for one in query]

    def get_doc_ids_to_file_names(self) -> dict[int, str]:
        """The file of each document id."""
        return {doc_id: known["file"] for doc_id, known in self._documents.items()}

    def as_langchain_retriever(self, **kwargs: Any) -> Any:
        """A `pagesight.langchain.PagesightRetriever` over this index; it takes its fields."""
        from pagesight.langchain import PagesightRetriever

        return PagesightRetriever(index=self._opened(), **kwargs)

    def _search(
        self, query: str, k: int, wanted: dict[str, Any], pictures: bool | None
    ) -> list[Result]:
        ids = {known["document"]: doc_id for doc_id, known in self._documents.items()}
        allowed = {document: doc_id for document, doc_id in ids.items()
                   if wanted.items() <= self._documents[doc_id]["metadata"].items()}
        if wanted and not allowed:
            return []
        has_picture = self._has_pictures if pictures is None else pictures
        hits = self._opened().search(query, k=k, documents=list(allowed) if wanted else [])
        return [Result(hit, ids[hit.document], self._documents[ids[hit.document]]["metadata"],
                       has_picture) for hit in hits if hit.document in ids]

    def _take(self, items: list[tuple[Path, int, dict[str, Any]]]) -> dict[int, str]:
        index = self._opened()
        index.sync([file for file, _, _ in items])
        base = Path(index.path).parent
        known = {(base / record["path"]).resolve(): record for record in index.documents()}
        for file, doc_id, metadata in items:
            record = known.get(file.resolve(), {})
            self._documents[doc_id] = {"file": str(file), "document": record.get("document"),
                                       "metadata": metadata}
            if self._verbose:
                failed = f" failed: {record['reason']}" if record.get("reason") else ""
                print(f"indexed {file}{failed}")
        kept = {"documents": self._documents, "has_pictures": self._has_pictures}
        (self._folder / LIST).write_text(json.dumps(kept, indent=1), "utf-8")
        return self.get_doc_ids_to_file_names()

    def _opened(self) -> Index:
        if self._index is None:
            raise wrong("there is no index yet: call index() or from_index()")
        return self._index
