"""Indexes behind a running ``pagesight serve``, with the calls and types of `pagesight.Index`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from pagesight import errors
from pagesight._pagesight import Heatmap, Image, QueryVectors, Vectors, unit_rows
from pagesight.errors import Ambiguous, Error, InvalidValue, NotFound
from pagesight.index import _check_context, _texts
from pagesight.records import Answer, Box, Hit, Page, Region

__all__ = ["Client"]

CLASSES: dict[str, type[Error]] = {
    "ambiguous_ref": errors.Ambiguous,
    "bad_request": errors.InvalidValue,
    "body_too_large": errors.InvalidValue,
    "document_not_found": errors.NotFound,
    "draw_failed": errors.DrawError,
    "file_changed": errors.FileChanged,
    "file_gone": errors.NotFound,
    "index_not_found": errors.NotFound,
    "index_unavailable": errors.StoreError,
    "invalid_value": errors.InvalidValue,
    "no_model": errors.NoModel,
    "no_vectors": errors.NoVectors,
    "not_found": errors.NotFound,
    "page_not_found": errors.NotFound,
    "uri_too_long": errors.InvalidValue,
}
"""Which exception is raised for a code of the server; `Error` for others."""


class Client:
    """Asks a running ``pagesight serve``.

    url: where it listens, e.g. ``"http://127.0.0.1:8731"``.
    token: its token, when it has one.
    index: the name of the index that is asked; by default the server's first.
    timeout: seconds that an answer may take.

    It keeps no connection and may be shared by threads. Errors are those of `pagesight.Index`, and
    `Error` with the code of the server for others, e.g. ``unauthorized`` or ``too_busy``;
    ``unreachable`` when there is no answer.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        index: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidValue(f"`url` must begin with http:// or https://, got {url!r}",
                               code="invalid_value")
        self._url = url.rstrip("/")
        self._token = token
        self._index = index
        self._timeout = timeout

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
        """Ranks pages: as `Index.search`; `k` is at most 200."""
        body = self._body(query, query_vectors)
        body.update(k=k, channel=channel, all=all, explain=explain, regions=regions, text=text)
        body.update(paths=_texts(paths, "paths"), documents=_texts(documents, "documents"))
        answer = _without_urls(self._json("/v1/search", body))
        asked = {name: value for name, value in body.items() if name.startswith("query")}
        hits = answer.pop("hits")
        found = [Hit(_RemotePage(self, hit["ref"], asked), hit) for hit in hits]
        return Answer(found, lambda: answer)

    def page(self, page: str, number: int | None = None) -> Page:
        """A page: by its reference, or by the ledger path of its document and its number."""
        if number is None and "#" in page:
            path, _, digits = page.rpartition("#")
            page, number = path, int(digits) if digits.isdecimal() else 0
        ref = page if number is None else self._ref(page, number)
        source = _RemotePage(self, ref, {})
        return Page(source, source.record())

    def image(self, page: str, width: int = 1200, *, region: Box | None = None) -> Image:
        """The picture of the page with the reference `page`: as `Page.image`; at most 4,096 px."""
        parameters: dict[str, Any] = {"width": width, "format": "png"}
        if region is not None:
            parameters["region"] = ",".join(str(float(pt)) for pt in region)
        return Image.decode(self._bytes(self._page_url(page, "image"), parameters))

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
        """Where the page with the reference `page` answers `query`: as `Page.heatmap`."""
        asked = self._body(query, query_vectors)
        return self._heatmap(page, asked, word, token, scale, channel)

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
        """The parts of the page with the reference `page` that answer `query`: as `Page.regions`.

        A server answers for questions in words alone.
        """
        asked = self._body(query, query_vectors)
        found = self._regions(page, asked, word, n, words, channel)
        return [Region(region) for region in found]

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
    ) -> dict[str, Any]:
        """What a language model is given to read: as `Index.context`.

        images: also ``"url"``: where the server has the pictures, absolute paths. Each source has
        ``file_url`` too.
        """
        _check_context(k, budget_chars, images, ("none", "url", "base64"), max_images, image_width)
        body = self._body(query, None)
        body.update(k=k, channel=channel, all=all, scope=scope, budget_chars=budget_chars)
        body.update(images=images, max_images=max_images, image_width=image_width)
        body.update(paths=_texts(paths, "paths"), documents=_texts(documents, "documents"))
        return self._json("/v1/context", body)

    def documents(
        self, *, status: str | None = None, paths: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """The ledger, by path: as `Index.documents`."""
        found: list[dict[str, Any]] = []
        parameters: dict[str, Any] = {"limit": 1000, "path": _texts(paths, "paths")}
        if status is not None:
            parameters["status"] = status
        while True:
            answer = self._json("/v1/documents", None, parameters)
            found.extend(_without_urls(document) for document in answer["documents"])
            if answer["next"] is None:
                return found
            parameters["after"] = answer["next"]

    def status(self) -> dict[str, Any]:
        """What is known of the index: as `Index.status`."""
        indexes: list[dict[str, Any]] = self._json("/v1/indexes", None, {})["indexes"]
        for index in indexes:
            if index["name"] == self._index or (self._index is None and index["default"]):
                return index
        raise NotFound(f"the server has no index {self._index}", code="index_not_found")

    def __repr__(self) -> str:
        return f"<Client {self._url}>"

    def _heatmap(
        self,
        ref: str,
        asked: Mapping[str, Any],
        word: int | None,
        token: int | None,
        scale: str,
        channel: str,
    ) -> Heatmap:
        url = self._page_url(ref, "heatmap")
        body = {**asked, "scale": scale, "channel": channel}
        if word is not None:
            body["word"] = word
        if token is not None:
            body["token"] = token
        record = self._json(url, {**body, "format": "json"})
        return Heatmap(record, partial(self._map_png, url, body))

    def _map_png(self, url: str, body: Mapping[str, Any], width: int, smooth: bool) -> bytes:
        return self._bytes(url, {}, {**body, "format": "png", "width": width, "smooth": smooth})

    def _regions(
        self,
        ref: str,
        asked: Mapping[str, Any],
        word: int | None,
        n: int,
        words: bool,
        channel: str,
    ) -> list[dict[str, Any]]:
        if "query" not in asked:
            raise InvalidValue("a server tells regions of questions in words: give `query`",
                               code="invalid_value")
        parameters: dict[str, Any] = {"query": asked["query"], "n": n, "words": words}
        parameters["channel"] = channel
        if word is not None:
            parameters["word"] = word
        answer = self._json(self._page_url(ref, "regions"), None, parameters)
        return [_without_urls(region) for region in answer["regions"]]

    def _ref(self, path: str, number: int) -> str:
        """The reference of a page by the path of its document, or the end of one."""
        glob = "".join(f"[{c}]" if c in "*?[{" else c for c in path)
        found = self.documents(paths=[glob, f"**/{glob}"])
        exact = [document for document in found if document["path"] == path]
        named = exact or found
        if not named:
            raise NotFound(f"{path} is not in the index", code="document_not_found")
        if len(named) > 1:
            candidates = [document["path"] for document in named]
            raise Ambiguous(f"{path} could be {' or '.join(candidates)}", code="ambiguous_ref",
                            candidates=candidates)
        document = named[0]["document"]
        if document is None or number < 1:
            raise NotFound(f"page {number} of {path} is not in the index", code="page_not_found")
        return f"{document[:16]}-{number}"

    def _body(self, query: str | None, query_vectors: Any) -> dict[str, Any]:
        """What is asked, as fields of a request."""
        body: dict[str, Any] = {}
        if query is not None:
            body["query"] = query.strip()
        if query_vectors is not None:
            vectors = query_vectors
            if not isinstance(vectors, QueryVectors):
                vectors = unit_rows(vectors, "query_vectors")
            body["query_vectors"] = memoryview(vectors).tolist()
        if not body:
            raise InvalidValue("`query` must be given, or `query_vectors`", code="invalid_value")
        return body

    def _page_url(self, ref: str, what: str) -> str:
        return f"/v1/pages/{quote(ref, safe='')}/{what}"

    def _json(
        self,
        route: str,
        body: Mapping[str, Any] | None,
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        answer = json.loads(self._bytes(route, parameters or {}, body))
        if not isinstance(answer, dict):
            raise Error(f"{self._url}{route} answered no JSON object", code="unreachable")
        return answer

    def _bytes(
        self,
        route: str,
        parameters: Mapping[str, Any],
        body: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The body of an answer: of a POST of `body`, else of a GET."""
        given = dict(parameters)
        if body is None and self._index is not None:
            given["index"] = self._index
        for name, value in given.items():
            if isinstance(value, bool):
                given[name] = "true" if value else "false"
        url = f"{self._url}{route}"
        if given:
            url = f"{url}?{urlencode(given, doseq=True)}"
        headers = {"Accept": "*/*"}
        data = None
        if body is not None:
            if self._index is not None:
                body = {**body, "index": self._index}
            try:
                data = json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
            except (TypeError, ValueError) as error:
                raise InvalidValue(f"the request cannot be written: {error}",
                                   code="invalid_value") from error
            headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(url, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                whole: bytes = answer.read()
                return whole
        except urllib.error.HTTPError as error:
            with error:
                raise _raised(error.code, error.read()) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Error(f"{self._url} does not answer: {reason}", code="unreachable") from error


class _RemotePage:
    """A page behind a server."""

    def __init__(self, client: Client, ref: str, asked: Mapping[str, Any]) -> None:
        self._client = client
        self._ref = ref
        self._asked = asked
        self._record: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        if self._record is None:
            url = f"/v1/pages/{quote(self._ref, safe='')}"
            self._record = _without_urls(self._client._json(url, None, {}))
        return self._record

    @property
    def text(self) -> str:
        return str(self.record()["text"])

    def words(self) -> list[dict[str, Any]]:
        url = f"/v1/pages/{quote(self._ref, safe='')}"
        words: list[dict[str, Any]] = self._client._json(url, None, {"words": True})["words"]
        return words

    def image(self, width: int, region: Box | None) -> Image:
        return self._client.image(self._ref, width, region=region)

    def vectors(self) -> Vectors:
        raise errors.NoVectors("a server does not give vectors out: open the index itself",
                               code="no_vectors")

    def heatmap(
        self,
        query: str | None,
        query_vectors: Any,
        word: int | None,
        token: int | None,
        scale: str,
        channel: str,
    ) -> Heatmap:
        asked = self._question(query, query_vectors)
        return self._client._heatmap(self._ref, asked, word, token, scale, channel)

    def regions(
        self,
        query: str | None,
        query_vectors: Any,
        word: int | None,
        n: int,
        words: bool,
        channel: str,
    ) -> list[dict[str, Any]]:
        asked = self._question(query, query_vectors)
        return self._client._regions(self._ref, asked, word, n, words, channel)

    def _question(self, query: str | None, query_vectors: Any) -> Mapping[str, Any]:
        """What is given, else what found the page."""
        if query is None and query_vectors is None and self._asked:
            return self._asked
        return self._client._body(query, query_vectors)


def _raised(status: int, body: bytes) -> Error:
    """The exception for a problem that a server answered."""
    try:
        problem = json.loads(body)
        code, detail = str(problem["code"]), str(problem["detail"])
        request_id = problem.get("request_id")
        candidates = problem.get("candidates")
    except (ValueError, KeyError, TypeError, AttributeError):
        # Something between this program and the server.
        code, detail, request_id, candidates = "unreachable", f"status {status}", None, None
    kind = CLASSES.get(code, Error)
    return kind(detail, code=code, candidates=candidates, status=status, request_id=request_id)


def _without_urls(value: Any) -> Any:
    """Records without their URLs, which mean something to a browser alone."""
    if isinstance(value, dict):
        return {
            name: _without_urls(part)
            for name, part in value.items()
            if not name.endswith("_url") and name != "url"
        }
    if isinstance(value, list):
        return [_without_urls(part) for part in value]
    return value
