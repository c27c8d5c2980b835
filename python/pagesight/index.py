"""Indexes on this machine."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from pagesight import _pagesight
from pagesight.errors import InvalidValue
from pagesight.records import Answer, Box, Hit, Page, Region

if TYPE_CHECKING:
    from pagesight._pagesight import Heatmap, Image, QueryVectors

__all__ = ["Index", "Summary"]

Path = str | os.PathLike[str]
Progress = Callable[[dict[str, Any]], object]

# A run of indexing in a thread that nobody waits for commits its batch before the interpreter ends.
atexit.register(_pagesight.stop_all)


class Summary:
    """What a run of indexing did."""

    __slots__ = ("_data", "failures")

    failures: list[dict[str, Any]]
    """Documents that failed or have pages that did, as `Index.documents` tells them."""

    def __init__(self, data: dict[str, Any], failures: list[dict[str, Any]]) -> None:
        self._data = data
        self.failures = failures

    @property
    def documents(self) -> dict[str, int]:
        """How many were ``indexed``, ``skipped`` (not changed), ``renamed``, ``dropped``, are
        ``partial`` and have ``failed``."""
        return dict(self._data["documents"])

    @property
    def pages(self) -> dict[str, int]:
        """How many were ``indexed``, have ``failed``, and are ``waiting``: found by their looks, and
        read by the next run."""
        return dict(self._data["pages"])

    @property
    def documents_indexed(self) -> int:
        """Documents that were read."""
        return int(self._data["documents"]["indexed"])

    @property
    def documents_failed(self) -> int:
        """Documents of which nothing is indexed."""
        return int(self._data["documents"]["failed"])

    @property
    def pages_indexed(self) -> int:
        """Pages that were read."""
        return int(self._data["pages"]["indexed"])

    @property
    def pages_failed(self) -> int:
        """Pages that could not be read."""
        return int(self._data["pages"]["failed"])

    @property
    def pages_waiting(self) -> int:
        """Pages that are found by their looks alone; the next run reads their words by OCR."""
        return int(self._data["pages"]["waiting"])

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end; the next run goes on."""
        return bool(self._data["interrupted"])

    @property
    def emptied(self) -> list[dict[str, Any]]:
        """Folders that held documents and hold none any more: ``root``, ``documents``."""
        return list(self._data["emptied"])

    @property
    def seconds(self) -> float:
        """How long it took, s."""
        return float(self._data["seconds"])

    @property
    def snapshot(self) -> int:
        """The snapshot after it."""
        return int(self._data["snapshot"])

    @property
    def model_id(self) -> str | None:
        """The model of the vectors; None for words alone."""
        model = self._data["model_id"]
        return None if model is None else str(model)

    def to_dict(self) -> dict[str, Any]:
        """The last line of ``pagesight index --json``."""
        return dict(self._data)

    def __repr__(self) -> str:
        return (f"<Summary {self.documents_indexed} documents, {self.pages_indexed} pages indexed, "
                f"{self.documents_failed} documents failed>")


class Index:
    """An index on disk: PDFs go in with `sync`, ranked pages come out of `search`.

    One may be shared by threads; one may sync while others search. Each search sees one snapshot,
    whole, and one that begins more than a second after any process committed sees that commit.

    Make one with `open`, `create` or `open_or_create`. It is a context manager that closes it.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: _pagesight.Index) -> None:
        if not isinstance(raw, _pagesight.Index):
            raise TypeError("use Index.open, Index.create or Index.open_or_create")
        self._raw = raw

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        model: Path | None = None,
        device: str = "auto",
        precision: str | None = None,
        recipe: Path | None = None,
        slices: str | None = None,
        meaning: str = "auto",
        passwords: Sequence[str] = (),
        sandbox: str = "best-effort",
    ) -> Self:
        """Opens the index in the folder `path`.

        model: where its model is now, if not where it was; an index keeps the model of its vectors.
        The other arguments are those of `open_or_create`.

        Raises NotFound when there is none, StoreError, ModelError, InvalidValue.
        """
        options = _options(model, device, precision, recipe, slices, meaning, passwords, sandbox)
        return cls(_pagesight.Index.open(path, "open", options))

    @classmethod
    def open_or_create(
        cls,
        path: Path,
        *,
        model: Path | None = None,
        device: str = "auto",
        precision: str | None = None,
        recipe: Path | None = None,
        slices: str | None = None,
        meaning: str = "auto",
        passwords: Sequence[str] = (),
        sandbox: str = "best-effort",
    ) -> Self:
        """Opens the index in the folder `path`, or makes it.

        model: ``"nano"`` (for a new index the default; it is inside the package), ``"none"`` for
            words alone, the folder of a ColPali, ColQwen, NeoMME, ColModernVBERT or ColSmol
            checkpoint, or its name in the cache of the Hugging Face hub. Nothing is downloaded.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"metal"``; wheels are built for the CPU.
        precision: bits of the weights, ``"f32"``, ``"f16"``, ``"bf16"``, ``"q8"`` or ``"q4"``.
        recipe: a recipe of pagesight by name, or a JSON file.
        slices: grids that a page is cut into, such as ``"1x1+2x3"``.
        meaning: the model that finds pages by what their text means: ``"auto"``, ``"off"``, a folder
            or a name.
        passwords: tried on encrypted documents.
        sandbox: ``"require"``, ``"best-effort"`` or ``"off"``: how what reads PDFs is shut in.

        Raises StoreError, ModelError, InvalidValue.
        """
        options = _options(model, device, precision, recipe, slices, meaning, passwords, sandbox)
        return cls(_pagesight.Index.open(path, "either", options))

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        dim: int | None = None,
        model_id: str | None = None,
        model: Path | None = None,
        device: str = "auto",
        precision: str | None = None,
        recipe: Path | None = None,
        slices: str | None = None,
        meaning: str = "auto",
        passwords: Sequence[str] = (),
        sandbox: str = "best-effort",
    ) -> Self:
        """Makes an empty index in the folder `path`.

        With `dim` and `model_id` it takes vectors of `dim` numbers that are made elsewhere, by
        `add`; `model_id` names what makes them, e.g. ``"colqwen2-v1.0@1"``, and vectors of another
        name are refused. Otherwise the arguments are those of `open_or_create`.

        Raises StoreError when there is one already, InvalidValue.
        """
        if (dim is None) != (model_id is None):
            raise InvalidValue("`dim` and `model_id` are given together", code="invalid_value")
        if dim is not None and model_id is not None:
            return cls(_pagesight.Index.create_for(path, dim, model_id, list(passwords)))
        options = _options(model, device, precision, recipe, slices, meaning, passwords, sandbox)
        return cls(_pagesight.Index.open(path, "create", options))

    @property
    def path(self) -> str:
        """The index folder, absolute."""
        return os.fspath(self._raw.folder())

    def close(self) -> None:
        """Lets go of the index and its model. Later calls raise StoreError; answers stay usable."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sync(
        self,
        folder: Path | Iterable[Path],
        *,
        progress: Progress | None = None,
        retry_failed: bool = False,
        drop_emptied: bool = False,
        ocr: str = "auto",
        ocr_languages: str | None = None,
        look_first: float = 20.0,
        workers: int | None = None,
        max_pages: int = 10_000,
        max_file_bytes: int = 512 << 20,
        commit_every: int = 256,
    ) -> Summary:
        """Brings the index in step with the PDFs below `folder`, or several folders or files.

        New and changed documents are read, renamed ones kept, missing ones dropped. One bad file
        costs that file: see `Summary.failures`.

        progress: called in this thread with the lines of ``pagesight index --json`` as dicts:
            ``document``, ``commit``, ``warning``, ``progress`` and at last ``summary``. What it
            raises stops the run after its batch, which is committed, and is raised then; so does
            Ctrl-C.
        retry_failed: read documents again that failed before and have not changed.
        drop_emptied: drop the documents of a folder that holds none any more.
        ocr: which reader reads pages that are pictures: ``"auto"``, ``"embedded"``,
            ``"tesseract"`` or ``"off"``.
        ocr_languages: as tesseract names them, e.g. ``"eng+rus"``.
        look_first: seconds after which pages for OCR are indexed by their looks alone; they are
            read when all documents have been looked at.
        workers: processes that read PDFs; one a core by default.
        max_pages: pages read of a document. max_file_bytes: bytes of a file.
        commit_every: pages in a batch.

        Raises NotFound for a folder that is not there, Locked when another process writes,
        DrawError, ModelError, StoreError.
        """
        folders = [folder] if isinstance(folder, (str, bytes, os.PathLike)) else list(folder)
        options = {
            "retry_failed": retry_failed,
            "drop_emptied": drop_emptied,
            "ocr": ocr,
            "ocr_languages": ocr_languages,
            "look_first": look_first,
            "workers": workers,
            "max_pages": max_pages,
            "max_file_bytes": max_file_bytes,
            "commit_every": max(1, commit_every),
        }
        data, failures = self._raw.sync(folders, progress, options)
        return Summary(data, [_document(record) for record in failures])

    def add(
        self, pdf: Path, vectors: Iterable[Any], *, grid: tuple[int, int] | None = None
    ) -> None:
        """Takes in one PDF with vectors that were made elsewhere; its text is read from the PDF.

        vectors: one array a page, ``[n, dim]`` of float16 or float32, from anything with the buffer
            protocol, ``__arrow_c_array__`` or ``__array__``. Rows are made to have length 1.
        grid: columns and rows of patches, row-major, as many as vectors: where they stand on the
            page. Without it maps and regions raise NoVectors.

        The PDF's pages of before are replaced. Raises InvalidValue for another number of pages or
        another `dim`, numbers that are not finite, rows of zeros; NotFound, NoModel, Locked.
        """
        self._raw.add(pdf, list(vectors), grid)

    def search(
        self,
        query: str | None = None,
        *,
        k: int = 10,
        channel: str = "both",
        paths: Sequence[str] = (),
        documents: Sequence[str] = (),
        all: bool = False,
        explain: bool = False,
        regions: int = 0,
        text: str = "snippet",
        query_vectors: Any = None,
    ) -> Answer:
        """Ranks pages.

        query: what is asked, 1 to 4,096 bytes.
        k: how many pages at most.
        channel: ``"both"``, ``"visual"`` (how pages look) or ``"text"`` (their words).
        paths: globs; documents whose path any of them matches.
        documents: ids, or their first 8 or more digits.
        all: gives the best pages also where nothing speaks for an answer; without there are no hits
            then, and `Answer.held_back` counts them.
        explain: adds what of each hit answers each query token.
        regions: how many regions each of the first 10 hits tells in `Hit.to_dict`, 0 to 5.
        text: ``"snippet"``, ``"none"`` or ``"full"``: what `Hit.to_dict` has of the page's text.
        query_vectors: ``[n, dim]`` of your own, 1 to 256 rows, made to have length 1; the visual
            channel asks them, and `query`, which may be left out, serves the words alone.

        Raises InvalidValue, NoModel, ModelError, StoreError.
        """
        options = {
            "k": k,
            "channel": channel,
            "paths": _texts(paths, "paths"),
            "documents": _texts(documents, "documents"),
            "all": all,
            "explain": explain,
            "regions": regions,
            "text": text,
        }
        raw = self._raw.search(query, query_vectors, options)
        hits = [Hit(raw.page(at), _of_hit(raw, at)) for at in range(len(raw))]
        return Answer(hits, raw.course)

    def page(self, page: Path, number: int | None = None) -> Page:
        """A page: by the path of its document (a ledger path, the end of one, or a file) and its
        number, from 1; or by its reference, ``index.page("3f9a1c2b4d5e6f70-12")``.

        Raises NotFound, Ambiguous.
        """
        return Page(self._raw.page(page, number))

    def image(self, page: str, width: int = 1200, *, region: Box | None = None) -> Image:
        """The picture of the page with the reference `page`: see `Page.image`."""
        return self.page(page).image(width, region=region)

    def heatmap(
        self,
        page: str,
        query: str | None = None,
        *,
        query_vectors: Any = None,
        word: int | None = None,
        token: int | None = None,
        scale: str = "page",
        channel: str = "visual",
    ) -> Heatmap:
        """Where the page with the reference `page` answers `query`: see `Page.heatmap`."""
        return self.page(page).heatmap(
            query,
            query_vectors=query_vectors,
            word=word,
            token=token,
            scale=scale,
            channel=channel,
        )

    def regions(
        self,
        page: str,
        query: str | None = None,
        n: int = 3,
        *,
        query_vectors: Any = None,
        word: int | None = None,
        words: bool = False,
        channel: str = "visual",
    ) -> list[Region]:
        """The parts of the page with the reference `page` that answer `query`: see `Page.regions`."""
        return self.page(page).regions(
            query, n, query_vectors=query_vectors, word=word, words=words, channel=channel
        )

    def context(
        self,
        query: str | None = None,
        *,
        k: int = 5,
        channel: str = "both",
        paths: Sequence[str] = (),
        documents: Sequence[str] = (),
        all: bool = False,
        scope: str = "auto",
        budget_chars: int = 12_000,
        images: str = "none",
        max_images: int = 4,
        image_width: int = 1024,
        query_vectors: Any = None,
    ) -> dict[str, Any]:
        """What a language model is given to read: sources within a budget, each with a citation.

        k: sources, 1 to 20. channel, paths, documents, all, query_vectors: as in `search`.
        scope: ``"page"``, ``"region"``, or ``"auto"``: regions where a page's text is over a quarter
            of the budget.
        budget_chars: characters of all texts together, 200 to 200,000.
        images: ``"none"`` or ``"base64"``: JPEG pictures of the first `max_images` sources (0 to 8),
            `image_width` px wide or less, each at most 200 kB.

        Returns a dict of ``sources`` (``n``, ``ref``, ``path``, ``page``, ``citation``, ``score``,
        ``text``, ``text_truncated``, ``regions``, ``image``), ``prompt`` (the numbered sources as
        one text), ``chars``, ``snapshot``, ``model_id`` and ``notice``.

        Raises as `search` does.
        """
        _check_context(k, budget_chars, images, ("none", "base64"), max_images, image_width)
        options = {
            "k": k,
            "channel": channel,
            "paths": _texts(paths, "paths"),
            "documents": _texts(documents, "documents"),
            "all": all,
            "explain": False,
            "regions": 0,
            "text": "none",
        }
        most = max_images if images == "base64" else 0
        record, pictures = self._raw.context(
            query, query_vectors, options, scope, budget_chars, most, image_width
        )
        if pictures:
            from base64 import b64encode

            for source, picture in zip(record["sources"], pictures):
                if picture is not None:
                    data, width, height = picture
                    source["image"] = {
                        "base64": b64encode(data).decode("ascii"),
                        "mime_type": "image/jpeg",
                        "width_px": width,
                        "height_px": height,
                        "bytes": len(data),
                    }
        return record

    def encode_queries(self, queries: Sequence[str]) -> list[QueryVectors]:
        """The query vectors of each question, ``[n, dim]`` float32, from the index's model.

        Raises NoModel, ModelError.
        """
        return self._raw.encode_queries(_texts(queries, "queries"))

    def documents(
        self, *, status: str | None = None, paths: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """The ledger, by path: ``path``, ``document`` (its id), ``status`` (``ok``, ``partial``,
        ``failed``, ``in_progress``), ``pages``, ``failed_pages``, ``waiting_pages`` (those whose words
        OCR is still to read), ``reason``, ``title``, ``bytes``, ``modified`` (RFC 3339), ``page_count``, ``upload``.

        status, paths: those in this state, and at paths that one of the globs matches.
        """
        found = self._raw.documents(status, _texts(paths, "paths"))
        return [_document(record) for record in found]

    def status(self) -> dict[str, Any]:
        """What is known of the index: ``name``, ``snapshot``, ``format``, ``pages``, ``documents``
        (how many in each state), ``bytes``, ``model_id``, ``model``, ``slices``, ``dim``,
        ``compact``, ``tuning``."""
        return self._raw.status()

    def refresh(self) -> None:
        """Looks for a newer snapshot now, which another process may have committed."""
        self._raw.refresh()

    def warm(self) -> None:
        """Loads the model and opens what searches read, so that the first search need not."""
        self._raw.warm()

    def __repr__(self) -> str:
        try:
            return f"<Index {self.path}>"
        except Exception:
            return "<Index, closed>"


def _options(
    model: Path | None,
    device: str,
    precision: str | None,
    recipe: Path | None,
    slices: str | None,
    meaning: str,
    passwords: Sequence[str],
    sandbox: str,
) -> dict[str, Any]:
    return {
        "model": model,
        "device": device,
        "precision": precision,
        "recipe": recipe,
        "slices": slices,
        "meaning": meaning,
        "passwords": _texts(passwords, "passwords"),
        "sandbox": sandbox,
    }


def _texts(values: Sequence[str], name: str) -> list[str]:
    """A list of texts; one text is a mistake that would be read letter by letter."""
    if isinstance(values, (str, bytes)):
        raise InvalidValue(f"`{name}` must be a list of texts, not one", code="invalid_value")
    return list(values)


def _of_hit(raw: _pagesight.Answer, at: int) -> Callable[[], dict[str, Any]]:
    return lambda: raw.hit(at)


def _check_context(
    k: int,
    budget_chars: int,
    images: str,
    kinds: tuple[str, ...],
    max_images: int,
    image_width: int,
) -> None:
    for name, value, least, most in (
        ("k", k, 1, 20),
        ("budget_chars", budget_chars, 200, 200_000),
        ("max_images", max_images, 0, 8),
        ("image_width", image_width, 16, 4096),
    ):
        if not least <= value <= most:
            detail = f"`{name}` must be {least} to {most}, got {value}"
            raise InvalidValue(detail, code="invalid_value")
    if images not in kinds:
        detail = f"`images` must be one of {', '.join(kinds)}, got {images!r}"
        raise InvalidValue(detail, code="invalid_value")


def _document(record: dict[str, Any]) -> dict[str, Any]:
    """A record of the ledger with its time as text."""
    from datetime import datetime, timedelta, timezone

    ns = record.pop("modified_ns")
    start = datetime(1970, 1, 1, tzinfo=timezone.utc)
    time = start + timedelta(microseconds=ns // 1000)
    milliseconds = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**record, "modified": milliseconds, "upload": False}
