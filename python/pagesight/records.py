"""Answers, hits, pages and regions: the same types from an index and from a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, overload

if TYPE_CHECKING:
    from pagesight._pagesight import Heatmap, Image, Vectors

__all__ = ["Answer", "ChannelScore", "Hit", "Match", "Page", "Region", "Word"]

Box = tuple[float, float, float, float]


class ChannelScore(NamedTuple):
    """What one channel said of a page."""

    score: float
    """Its score: a sum of dot products for the visual channel, BM25 for text."""
    rank: int
    """Its rank in the channel, from 1."""


class Match(NamedTuple):
    """A query token and the patch of a page that answers it best."""

    token: str
    """The token's text."""
    similarity: float
    """Their dot product, -1 to 1."""
    rect_pt: Box | None
    """Where the patch is: left, top, right, bottom, points; None for a vector without a place."""


class Word(NamedTuple):
    """A word of a page and where it stands."""

    text: str
    """The word."""
    rect_pt: Box
    """Left, top, right, bottom, points."""
    line: int | None
    """The line that it stands on, from 0, in reading order; None in a region."""


class PageSource(Protocol):
    """What a page is read and drawn from: the engine, or a server."""

    def record(self) -> dict[str, Any]: ...

    @property
    def text(self) -> str: ...

    def words(self) -> list[dict[str, Any]]: ...

    def image(self, width: int, region: Box | None) -> Image: ...

    def vectors(self) -> Vectors: ...

    def heatmap(
        self,
        query: str | None,
        query_vectors: Any,
        word: int | None,
        token: int | None,
        scale: str,
        channel: str,
    ) -> Heatmap: ...

    def regions(
        self,
        query: str | None,
        query_vectors: Any,
        word: int | None,
        n: int,
        words: bool,
        channel: str,
    ) -> list[dict[str, Any]]: ...


class Region:
    """A part of a page that answers a question."""

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    @property
    def rank(self) -> int:
        """From 1, best first."""
        return int(self._data["rank"])

    @property
    def score(self) -> float:
        """0 to 1, to compare with other regions of the page."""
        return float(self._data["score"])

    @property
    def rect_pt(self) -> Box:
        """Left, top, right, bottom, points from the top left of the page as displayed."""
        return _box(self._data["rect_pt"])

    @property
    def rect_rel(self) -> Box:
        """The same in fractions of the page's sides, 0 to 1."""
        return _box(self._data["rect_rel"])

    @property
    def kind(self) -> str:
        """``"text"`` or ``"picture"``."""
        return str(self._data["kind"])

    @property
    def snap(self) -> str:
        """How its outline was found: ``"words"``, ``"ocr"``, ``"ink"`` or ``"patch"``."""
        return str(self._data["snap"])

    @property
    def text(self) -> str:
        """Its words in reading order, at most 4,000 characters; empty for a picture."""
        return str(self._data["text"])

    @property
    def query_words(self) -> list[int]:
        """The words of the question that are in it, from 0."""
        return list(self._data["query_words"])

    @property
    def words(self) -> list[Word]:
        """Its words with their places, when they were asked for, else empty."""
        return [_word(word) for word in self._data.get("words", ())]

    def to_dict(self) -> dict[str, Any]:
        """The record as the HTTP server answers it, without URLs."""
        return dict(self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Region) and self._data == other._data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Region {self.rank} {self.kind} {self.rect_pt} {self.text[:40]!r}>"


class _OfPage:
    """What hits and pages have in common: both show and explain a page."""

    __slots__ = ("_record", "_source")

    _source: PageSource
    _record: dict[str, Any] | None

    def _data(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def ref(self) -> str:
        """Its reference, ``DOCUMENT-PAGE``: it names bytes, so it stays right when files move."""
        return str(self._data()["ref"])

    @property
    def path(self) -> str:
        """The ledger path of its document, ``/`` between folders."""
        return str(self._data()["path"])

    @property
    def page(self) -> int:
        """Its number in the document, from 1."""
        return int(self._data()["page"])

    @property
    def document(self) -> str:
        """The id of its document: blake3 of the file, 64 hexadecimal digits."""
        return str(self._data()["document"])

    @property
    def title(self) -> str | None:
        """The title in the document's metadata."""
        title = self._data()["title"]
        return None if title is None else str(title)

    @property
    def page_count(self) -> int:
        """Pages of the document."""
        return int(self._data()["page_count"])

    @property
    def size_pt(self) -> tuple[float, float]:
        """Width and height as displayed, points."""
        width, height = self._data()["size_pt"]
        return (width, height)

    @property
    def text_source(self) -> str:
        """Where its text comes from: ``"layer"``, ``"ocr"`` or ``"none"``."""
        return str(self._data()["text_source"])

    @property
    def text(self) -> str:
        """All of the page's text, in the order of its text layer."""
        return self._source.text

    def words(self) -> list[Word]:
        """The page's words with their places, from the text layer or from OCR; else empty.

        The file is read. Raises FileChanged, DrawError, or NotFound when it is gone.
        """
        return [_word(word) for word in self._source.words()]

    def image(self, width: int = 1200, *, region: Box | None = None) -> Image:
        """The page as a picture `width` px wide, in its own shape.

        region: left, top, right, bottom in points; then the part is `width` px wide.

        The file is read. Raises FileChanged, DrawError, NotFound when it is gone, InvalidValue.
        """
        return self._source.image(width, region)

    def vectors(self) -> Vectors:
        """The stored vectors, ``[n, dim]`` float16, with their places. Not over HTTP.

        Raises NoVectors for a page without.
        """
        return self._source.vectors()

    def _heatmap(
        self,
        query: str | None,
        query_vectors: Any,
        word: int | None,
        token: int | None,
        scale: str,
        channel: str,
    ) -> Heatmap:
        return self._source.heatmap(query, query_vectors, word, token, scale, channel)

    def _regions(
        self,
        query: str | None,
        query_vectors: Any,
        word: int | None,
        n: int,
        words: bool,
        channel: str,
    ) -> list[Region]:
        found = self._source.regions(query, query_vectors, word, n, words, channel)
        return [Region(region) for region in found]


class Page(_OfPage):
    """A page of an index."""

    __slots__ = ()

    def __init__(self, source: PageSource, record: dict[str, Any] | None = None) -> None:
        self._source = source
        self._record = record

    def _data(self) -> dict[str, Any]:
        if self._record is None:
            self._record = self._source.record()
        return self._record

    @property
    def paths(self) -> list[str]:
        """All ledger paths at which the document was found."""
        return list(self._data()["paths"])

    @property
    def n_vectors(self) -> int:
        """Vectors of the page; 0 without a model."""
        return int(self._data()["n_vectors"])

    @property
    def snapshot(self) -> int:
        """The snapshot that it was read from."""
        return int(self._data()["snapshot"])

    def heatmap(
        self,
        query: str | None = None,
        *,
        query_vectors: Any = None,
        word: int | None = None,
        token: int | None = None,
        scale: str = "page",
        channel: str = "visual",
    ) -> Heatmap:
        """Where on the page `query` is answered, from the stored vectors: ``[rows, columns]``.

        query_vectors: ``[n, dim]`` of your own in place of the model's.
        word, token: the number of one of them, from 0; by default the whole question.
        scale: ``"page"``, from its median to its maximum, or ``"absolute"``, comparable between
        pages.
        channel: what answers: ``"visual"``, the patches of the page's picture, or ``"meaning"``, its
        words, each as far as it means what is asked; where they stand is read from the file.

        Raises NoVectors, NoModel, InvalidValue.
        """
        return self._heatmap(query, query_vectors, word, token, scale, channel)

    def regions(
        self,
        query: str | None = None,
        n: int = 3,
        *,
        query_vectors: Any = None,
        word: int | None = None,
        words: bool = False,
        channel: str = "visual",
    ) -> list[Region]:
        """The 1 to 5 parts of the page that answer `query` best, best first.

        words: whether each has its words with their places. channel: as in `heatmap`.

        Raises NoVectors, NoModel, InvalidValue, and what reading the file does.
        """
        return self._regions(query, query_vectors, word, n, words, channel)

    def to_dict(self) -> dict[str, Any]:
        """The record as the HTTP server answers it, without URLs."""
        return dict(self._data())

    def __repr__(self) -> str:
        return f"<Page {self.path}#{self.page}>"


class Hit(_OfPage):
    """A ranked page and the reasons why."""

    __slots__ = ("_make",)

    def __init__(
        self, source: PageSource, make: Callable[[], dict[str, Any]] | dict[str, Any]
    ) -> None:
        self._source = source
        self._make = make
        self._record = make if isinstance(make, dict) else None

    def _data(self) -> dict[str, Any]:
        if self._record is None and not isinstance(self._make, dict):
            self._record = self._make()
        assert self._record is not None
        return self._record

    @property
    def rank(self) -> int:
        """From 1, best first."""
        return int(self._data()["rank"])

    @property
    def score(self) -> float:
        """The score that ranks it: fused, or the channel's own when one answered."""
        return float(self._data()["score"])

    @property
    def visual(self) -> ChannelScore | None:
        """What the patches said; None when it was not among their best."""
        return _said(self._data()["visual"])

    @property
    def text_score(self) -> ChannelScore | None:
        """What the words said (BM25); None when it was not among their best."""
        return _said(self._data()["text"])

    @property
    def meaning(self) -> ChannelScore | None:
        """What the meaning of the text said; None when it was not among its best."""
        return _said(self._data().get("meaning"))

    @property
    def probability(self) -> float | None:
        """How likely the page answers, 0 to 1; None where it was not fitted."""
        probability = self._data().get("probability")
        return None if probability is None else float(probability)

    @property
    def by_name(self) -> bool:
        """Whether its words found it by its path or title alone."""
        return bool(self._data()["by_name"])

    @property
    def snippet(self) -> str:
        """The part of the page's text that answers the question's words best."""
        return str(self._data().get("snippet", ""))

    @property
    def marks(self) -> list[tuple[int, int]]:
        """Where the question's words stand in the snippet: start and end, characters."""
        return [(start, end) for start, end in self._data().get("marks", ())]

    @property
    def matches(self) -> list[Match]:
        """What of the page answers each query token; empty unless ``explain=True``."""
        return [
            Match(found["token"], found["similarity"], _box_or_none(found["rect_pt"]))
            for found in self._data()["matches"]
        ]

    def heatmap(
        self,
        word: int | None = None,
        *,
        token: int | None = None,
        scale: str = "page",
        channel: str = "visual",
    ) -> Heatmap:
        """Where on the page the question is answered: ``[rows, columns]``, 0 to 1.

        word, token: the number of one of them, from 0; by default the whole question.
        channel: what answers, ``"visual"`` or ``"meaning"``: as in `Page.heatmap`.

        Raises NoVectors, NoModel, InvalidValue.
        """
        return self._heatmap(None, None, word, token, scale, channel)

    def regions(
        self,
        n: int = 3,
        *,
        word: int | None = None,
        words: bool = False,
        channel: str = "visual",
    ) -> list[Region]:
        """The 1 to 5 parts of the page that answer the question best, best first.

        channel: as in `heatmap`.

        Raises NoVectors, NoModel, InvalidValue, and what reading the file does.
        """
        return self._regions(None, None, word, n, words, channel)

    def to_page(self) -> Page:
        """The page itself."""
        return Page(self._source)

    def to_dict(self) -> dict[str, Any]:
        """The hit as the HTTP server answers it, without URLs."""
        return dict(self._data())

    def __repr__(self) -> str:
        return f"<Hit {self.rank} {self.score:.3f} {self.path}#{self.page}>"


class Answer(Sequence[Hit]):
    """Ranked pages, best first, and how they were found."""

    __slots__ = ("_course", "_hits", "_make")

    def __init__(self, hits: list[Hit], make: Callable[[], dict[str, Any]]) -> None:
        self._hits = hits
        self._make = make
        self._course: dict[str, Any] | None = None

    def _data(self) -> dict[str, Any]:
        if self._course is None:
            self._course = self._make()
        return self._course

    @overload
    def __getitem__(self, at: int) -> Hit: ...

    @overload
    def __getitem__(self, at: slice) -> list[Hit]: ...

    def __getitem__(self, at: int | slice) -> Hit | list[Hit]:
        return self._hits[at]

    def __len__(self) -> int:
        return len(self._hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._hits)

    @property
    def hits(self) -> list[Hit]:
        """The hits as a list."""
        return list(self._hits)

    @property
    def query(self) -> str:
        """What was asked, without white space around it."""
        return str(self._data()["query"])

    @property
    def snapshot(self) -> int:
        """The snapshot that answered."""
        return int(self._data()["snapshot"])

    @property
    def model_id(self) -> str | None:
        """The model that looked; None when only words answered."""
        model = self._data()["model_id"]
        return None if model is None else str(model)

    @property
    def verdict(self) -> str:
        """Whether the pages answer, as far as it is known: e.g. ``"none"`` without hits."""
        return str(self._data()["verdict"])

    @property
    def held_back(self) -> int:
        """Pages that are held back since nothing speaks for an answer."""
        return int(self._data()["held_back"])

    @property
    def exact(self) -> bool:
        """Whether no approximation took part in the ranking."""
        return bool(self._data()["exact"])

    @property
    def notice(self) -> str | None:
        """What a reader should know of the ranking, on one line."""
        notice = self._data()["notice"]
        return None if notice is None else str(notice)

    @property
    def ms(self) -> dict[str, float]:
        """Where the time went, milliseconds by stage."""
        return dict(self._data()["ms"])

    @property
    def tokens(self) -> list[dict[str, Any]]:
        """The query tokens (``index``, ``text``, ``word``); empty unless ``explain=True``."""
        return list(self._data().get("tokens", ()))

    @property
    def words(self) -> list[dict[str, Any]]:
        """The question's words (``index``, ``text``, ``start``, ``end``, ``tokens``); as `tokens`."""
        return list(self._data().get("words", ()))

    def to_dict(self) -> dict[str, Any]:
        """The answer as the HTTP server gives it, without URLs and times."""
        data = {name: value for name, value in self._data().items() if name != "ms"}
        return {**data, "hits": [hit.to_dict() for hit in self._hits]}

    def __repr__(self) -> str:
        return f"<Answer {self._hits!r}>"


def _box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = values
    return (x0, y0, x1, y1)


def _box_or_none(values: Sequence[float] | None) -> Box | None:
    return None if values is None else _box(values)


def _said(said: Mapping[str, Any] | None) -> ChannelScore | None:
    return None if said is None else ChannelScore(said["score"], said["rank"])


def _word(word: Mapping[str, Any]) -> Word:
    return Word(word["text"], _box(word["rect_pt"]), word.get("line"))
