"""The engine of pagesight. Use the names of ``pagesight``, which are documented there."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, final

from typing_extensions import CapsuleType

_Box = tuple[float, float, float, float]

def version() -> str: ...
def run(arguments: Sequence[str]) -> int: ...
def serve_worker(arguments: Sequence[str]) -> None: ...
def stop_all() -> None: ...
def forked() -> bool: ...
def unit_rows(array: Any, name: str) -> QueryVectors: ...
@final
class Image:
    """A picture, ``[height_px, width_px, 3]``, 8-bit RGB, rows from the top."""

    @staticmethod
    def decode(data: bytes) -> Image:
        """The picture in a PNG, JPEG or WebP file. Raises DrawError for what is none."""

    @property
    def width_px(self) -> int:
        """Width, px."""

    @property
    def height_px(self) -> int:
        """Height, px."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(height_px, width_px, 3)``."""

    def png(self) -> bytes:
        """The picture as a PNG file."""

    def jpeg(self, quality: int = 85) -> bytes:
        """The picture as a JPEG file of a quality from 1 to 100."""

    def webp(self) -> bytes:
        """The picture as a WebP file, without loss."""

    def to_pil(self) -> Any:
        """The picture as a PIL.Image.Image, mode RGB. Needs pillow."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Heatmap:
    """Where on a page a question is answered, ``[rows, columns]`` float32, 0 to 1; NaN: no value."""

    def __new__(cls, record: dict[str, Any], draw: Callable[[int, bool], bytes]) -> Heatmap: ...
    @property
    def columns(self) -> int:
        """Cells from left to right."""

    @property
    def rows(self) -> int:
        """Cells from top to bottom."""

    @property
    def tokens(self) -> list[dict[str, Any]]:
        """The query tokens: ``index``, ``text`` and ``word``, the number of its word or None."""

    @property
    def words(self) -> list[dict[str, Any]]:
        """The words of the question: ``index``, ``text``, ``start``, ``end``, ``tokens``."""

    @property
    def similarity(self) -> dict[str, float]:
        """The values of the strongest token: ``min``, ``median``, ``max``."""

    @property
    def peak(self) -> dict[str, Any]:
        """The hottest cell: ``column``, ``row``, ``rect_pt``."""

    @property
    def approximate(self) -> bool:
        """Whether the vectors are those of a compact index, 4 bits a number."""

    def to_dict(self) -> dict[str, Any]:
        """The record as the HTTP server answers it."""

    def png(self, width: int = 800, smooth: bool = True) -> bytes:
        """The map as an RGBA PNG file that lies over the picture of its page of the same width, px."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Vectors:
    """The vectors of a page, ``[n, dim]`` float16, rows of length 1."""

    def __len__(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int]:
        """``(n, dim)``."""

    @property
    def dim(self) -> int:
        """Numbers in a vector."""

    @property
    def places(self) -> list[_Box | None]:
        """Where each vector stands on its page, points; None for one without a place."""

    def __arrow_c_array__(
        self, requested_schema: CapsuleType | None = None
    ) -> tuple[CapsuleType, CapsuleType]: ...
    def __arrow_c_schema__(self) -> CapsuleType: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class QueryVectors:
    """The vectors of a question, ``[n, dim]`` float32, rows of length 1, one a query token."""

    def __len__(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int]:
        """``(n, dim)``."""

    @property
    def dim(self) -> int:
        """Numbers in a vector."""

    @property
    def tokens(self) -> list[str]:
        """The text of each query token."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Page:
    def record(self) -> dict[str, Any]: ...
    @property
    def text(self) -> str: ...
    def words(self) -> list[dict[str, Any]]: ...
    def image(self, width: int, region: _Box | None) -> Image: ...
    def jpeg_within(self, width: int, most: int) -> tuple[bytes, int, int]: ...
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

@final
class Answer:
    def __len__(self) -> int: ...
    def course(self) -> dict[str, Any]: ...
    def hit(self, at: int) -> dict[str, Any]: ...
    def page(self, at: int) -> Page: ...

@final
class Index:
    @staticmethod
    def open(folder: str | PathLike[str], make: str, options: dict[str, Any]) -> Index: ...
    @staticmethod
    def create_for(
        folder: str | PathLike[str], dim: int, model_id: str, passwords: list[str]
    ) -> Index: ...
    def close(self) -> None: ...
    def folder(self) -> PathLike[str]: ...
    def sync(
        self,
        folders: list[Any],
        progress: Callable[[dict[str, Any]], object] | None,
        options: dict[str, Any],
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]: ...
    def add(
        self, pdf: str | PathLike[str], vectors: list[Any], grid: tuple[int, int] | None
    ) -> None: ...
    def search(self, query: str | None, query_vectors: Any, options: dict[str, Any]) -> Answer: ...
    def context(
        self,
        query: str | None,
        query_vectors: Any,
        options: dict[str, Any],
        scope: str,
        budget_chars: int,
        images: int,
        image_width: int,
    ) -> tuple[dict[str, Any], list[tuple[bytes, int, int] | None]]: ...
    def page(self, page: str | PathLike[str], number: int | None) -> Page: ...
    def encode_queries(self, queries: list[str]) -> list[QueryVectors]: ...
    def documents(self, status: str | None, paths: list[str]) -> list[dict[str, Any]]: ...
    def status(self) -> dict[str, Any]: ...
    def refresh(self) -> None: ...
    def warm(self) -> None: ...
