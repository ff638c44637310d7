"""XPath criteria over XML answers (XPath 1.0, by libxml2).

An answer is somebody else's: a document type, and with it every entity, is refused, nothing is
fetched, and libxml2's own bounds on depth and text stay on. Names with a prefix cannot be declared
in an Arazzo document; `local-name()` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lxml import etree

from orchestrator.definitions.bounds import most_values, repeats
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import UnreadableBody

# What can go over the document, or a part of it, again for each element: a path that begins anew,
# `//` and `..`, and the axes that look far.
_AGAIN = re.compile(
    r"(?<![\w\])*.])/|(?<=[\w\])*.])//|\.\."
    r"|\b(?:ancestor|descendant|following|preceding|parent)[\w-]*::"
)


def compile_xml_path(text: str, *, is_answer: bool) -> Callable[[Any], bool]:
    """Whether it is true of an XML text, as XPath's `boolean()` says. Raises ExpressionError.

    `is_answer`: of an answer, one that is not XML cannot be read; of anything else it is not true.
    """
    try:
        # EXSLT's functions bring Python's own regular expressions with them.
        query = etree.XPath(text, regexp=False, smart_strings=False)
        query(etree.Element("empty"))  # an undeclared prefix or function is only found so
    except etree.XPathError as error:
        wanted = "XPath 1.0, without prefixes"
        raise ExpressionError(f"{text!r}: {error}", wanted) from None
    except ValueError:
        raise ExpressionError(f"{text!r}", "text that XML can hold") from None
    most = most_values(repeats(text, _AGAIN))

    def holds(value: Any) -> bool:
        root = _parsed(value) if isinstance(value, str) else "not XML"
        if isinstance(root, str):
            if is_answer:
                raise UnreadableBody(f"it is {root}; wanted XML")
            return False
        if sum(1 for _ in zip(root.iter(), range(most + 1), strict=False)) > most:
            raise UnreadableBody(f"more than {most} elements, the most for {text[:80]}")
        try:
            return bool(query(root))
        except etree.XPathError as error:
            raise UnreadableBody(f"XPath gave up: {str(error)[:200]}") from None

    return holds


def _parsed(text: str) -> Any:
    """The root element, or what is wrong."""
    # A parser keeps what it was last given; one for each text is safe in every thread.
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False,
        dtd_validation=False, huge_tree=False,
    )  # fmt: skip
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError:
        return "not well-formed XML"
    return "XML with a document type" if root.getroottree().docinfo.doctype else root
