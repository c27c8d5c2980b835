"""Haystack's filters: which pages they allow, in the terms of `pagesight.Index.search`."""

from __future__ import annotations

from typing import Any

from pagesight.errors import InvalidValue


def allowed(filters: dict[str, Any] | None) -> tuple[list[str] | None, list[str] | None]:
    """The paths, as globs, and the documents that filters allow; None for all."""
    if not filters:
        return None, None
    if filters.get("operator") == "AND":
        paths: list[str] | None = None
        documents: list[str] | None = None
        for condition in filters.get("conditions", []):
            of_paths, of_documents = allowed(condition)
            paths = _both(paths, of_paths)
            documents = _both(documents, of_documents)
        return paths, documents
    field, operator = filters.get("field"), filters.get("operator")
    value = filters.get("value")
    if operator == "==" and isinstance(value, str):
        values = [value]
    elif operator == "in" and isinstance(value, list) and value:
        values = [str(one) for one in value]
    else:
        raise InvalidValue("filters compare by == with a text, or by in with a list of them, joined "
                           f"by AND; got {filters!r}", code="invalid_value")
    if field == "meta.file_path":
        return ["".join(f"[{c}]" if c in "*?[{" else c for c in path) for path in values], None
    if field == "meta.document":
        return None, values
    raise InvalidValue(f"filters compare meta.file_path and meta.document, got {field!r}",
                       code="invalid_value")


def _both(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    if one is None or other is None:
        return one if other is None else other
    # Nothing is both: a path that no document has.
    return [value for value in one if value in other] or ["\u0001"]

