"""LangChain's own tests of retrievers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import QUESTION
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pagesight.langchain import PagesightRetriever


class TestPagesightRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _place(self, reports: Path) -> None:
        self.place = reports / ".pagesight"

    @property
    def retriever_constructor(self) -> type[PagesightRetriever]:
        return PagesightRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.place}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION
