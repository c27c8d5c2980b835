"""Errors of pagesight. Each has the ``code`` that the HTTP server answers for it."""

from __future__ import annotations

# What only types need is not loaded.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Ambiguous",
    "DrawError",
    "Error",
    "FileChanged",
    "InvalidValue",
    "Locked",
    "ModelError",
    "NoModel",
    "NoVectors",
    "NotFound",
    "StoreError",
]


class Error(Exception):
    """What pagesight could not do.

    ``code``: what kind of error it is, for programs; the same word as over HTTP.
    ``candidates``: what an ambiguous name could mean, else None.
    ``status``: the HTTP status of an answer of a server, else None.
    ``request_id``: the id under which the server's log has more, else None.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str = "internal",
        candidates: list[str] | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.candidates = candidates
        self.status = status
        self.request_id = request_id

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are made again from positional arguments alone, and these have others.
        return (_again, (type(self), str(self), self.__dict__.copy()))


def _again(kind: type[Error], detail: str, fields: dict[str, Any]) -> Error:
    return kind(detail, **fields)


class NotFound(Error):
    """There is no such index, document, page, folder or file."""


class Ambiguous(Error):
    """A path or reference could mean several documents: ``candidates`` names them."""


class InvalidValue(Error, ValueError):
    """An argument is out of range, or vectors do not fit."""


class NoModel(Error):
    """The index has no model that sees pages, or it is not on this machine."""


class NoVectors(Error):
    """The page has no vectors, or none with a place on it."""


class ModelError(Error):
    """A model cannot be loaded or run, or is another one than that of the index."""


class StoreError(Error):
    """The index cannot be read or written."""


class Locked(StoreError):
    """Another process, or another handle, writes to the index."""


class DrawError(Error):
    """A page cannot be drawn, or nothing that draws pages works here."""


class FileChanged(Error):
    """The file is another one than was indexed: index its folder again."""
