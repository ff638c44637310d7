"""The page of documentation, where no other machine can be reached."""

from __future__ import annotations

import re

from tests.integration.api.conftest import Face


async def test_all_that_the_page_needs_comes_from_here(open_face: Face) -> None:
    anybody = open_face.client()
    page = await anybody.get("/docs")
    assert page.status_code == 200
    needed = re.findall(r"(?:src|href|url)\s*[=:]\s*['\"]([^'\"]+)", page.text)
    assert any(each.endswith("swagger-ui-bundle.js") for each in needed)
    for each in needed:
        assert each.startswith("/")
        assert (await anybody.get(each)).status_code == 200
