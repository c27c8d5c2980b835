"""A page that was found, as byaldi gives it."""

from __future__ import annotations

from base64 import b64encode
from functools import cached_property
from typing import Any

from pagesight.records import Hit

FIELDS = ("doc_id", "page_num", "score", "metadata", "base64")


class Result:
    """A page that was found: ``doc_id``, ``page_num`` (from 1), ``score``, ``metadata``, ``base64``."""

    def __init__(self, hit: Hit, doc_id: int, metadata: dict[str, Any], has_picture: bool) -> None:
        self.doc_id, self.page_num, self.score = doc_id, hit.page, hit.score
        self.metadata = metadata
        self._hit, self._has_picture = hit, has_picture

    @cached_property
    def base64(self) -> str:
        """The page as a PNG 1,200 px wide, drawn when it is read."""
        return b64encode(self._hit.image(1200).png()).decode("ascii")

    def dict(self) -> dict[str, Any]:
        """Its fields; ``base64`` is None where pictures were not asked for."""
        hidden = () if self._has_picture else ("base64",)
        return {name: None if name in hidden else self[name] for name in FIELDS}

    def __getitem__(self, name: str) -> Any:
        if name not in FIELDS:
            raise KeyError(name)
        return getattr(self, name)

    def __repr__(self) -> str:
        return str({name: self[name] for name in FIELDS[:-1]})
