"""XPath over XML texts (XPath 1.0, by libxml2): criteria, selectors, targets of replacements.

An answer is somebody else's: a document type, and with it every entity, is refused, nothing is
fetched, and libxml2's own bounds on depth and text stay on. Prefixes are those that the XML's own
root declares, when something is put into it; elsewhere `local-name()` finds such names.

XPath 1.0 is what all versions share. What came later is refused, and named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from lxml import etree

from orchestrator.definitions.bounds import most_values, repeats, unquoted
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import UnreadableBody
from orchestrator.definitions.values import ABSENT

# What can go over the document, or a part of it, again for each element: a path that begins anew,
# `//` and `..`, and the axes that look far.
_AGAIN = re.compile(
    r"(?<![\w\])*.])/|(?<=[\w\])*.])//|\.\."
    r"|\b(?:ancestor|descendant|following|preceding|parent)[\w-]*::"
)
_FUNCTIONS = frozenset({
    "last", "position", "count", "id", "local-name", "namespace-uri", "name", "string", "concat",
    "starts-with", "contains", "substring-before", "substring-after", "substring",
    "string-length", "normalize-space", "translate", "boolean", "not", "true", "false", "lang",
    "number", "sum", "floor", "ceiling", "round",
    "comment", "text", "processing-instruction", "node",
})  # fmt: skip
_LATER = re.compile(
    r"\b(?:for|some|every|let)\s+\$|\bif\s*\(|:=|=>|\|\||<<|>>|\(:|\*:|!(?!=)|\?"
    r"|(?<=[\w\])*.'\"])\s+(?:eq|ne|lt|le|gt|ge|is|to|idiv|intersect|except|union|treat\s+as"
    r"|instance\s+of|cast(?:able)?\s+as)\s+(?=[\w@/($.*'\"-])"
)
"""Words and signs of XPath 2.0 and later, outside of strings."""
_CALLED = re.compile(r"(?<![\w:-])([A-Za-z_][\w.-]*)\s*\(")


def compile_xml_path(text: str, *, is_answer: bool) -> Callable[[Any], bool]:
    """Whether it is true of an XML text, as XPath's `boolean()` says. Raises ExpressionError.

    `is_answer`: of an answer, one that is not XML cannot be read; of anything else it is not true.
    """
    ask = _asking(text)

    def holds(value: Any) -> bool:
        root = parse_xml(value) if isinstance(value, str) else "not XML"
        if isinstance(root, str):
            if is_answer:
                raise UnreadableBody(f"it is {root}; wanted XML")
            return False
        return bool(ask(root))

    return holds


def compile_xml_query(text: str) -> Callable[[Any], Any]:
    """What a query finds in an XML text: a number, a boolean or a text; of nodes their texts.

    One node gives a text, several an array, none ABSENT; so does what is no XML. Raises
    ExpressionError.
    """
    ask = _asking(text)

    def select(value: Any) -> Any:
        root = parse_xml(value) if isinstance(value, str) else "not XML"
        found = [] if isinstance(root, str) else ask(root)
        if not isinstance(found, list):
            return _number(found) if isinstance(found, float) else found
        texts = [_string_value(node) for node in found]
        return (texts[0] if len(texts) == 1 else texts) if texts else ABSENT

    return select


def put_into_xml(text: str, target: str, value: str) -> str | None:
    """The XML with `value` as the text of what `target` finds; None when that is nothing.

    Elements lose what they had in them. Raises ExpressionError for a target that is no XPath, and
    UnreadableBody for what is no XML.
    """
    root = parse_xml(text)
    if isinstance(root, str):
        raise UnreadableBody(f"it is {root}; wanted XML")
    prefixes = {prefix: uri for prefix, uri in root.nsmap.items() if prefix}
    found = _asking(target, prefixes, smart=True)(root)
    if not isinstance(found, list) or not found:
        return None
    for node in found:
        _put(node, value)
    declared = text.lstrip().startswith("<?xml")
    tree = root.getroottree()
    return (
        str(etree.tostring(tree, encoding="unicode"))
        if not declared
        else str(etree.tostring(tree, encoding="utf-8", xml_declaration=True).decode())
    )


def check_target(target: str) -> None:
    """Raises ExpressionError for what can be no XPath, whatever the prefixes in it stand for."""
    names = re.findall(r"([A-Za-z_][\w.-]*):(?!:)(?=[A-Za-z_*])", unquoted(target))
    _asking(target, dict.fromkeys(names, "urn:any"))


def parse_xml(text: str) -> Any:
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


def _asking(
    text: str, prefixes: Mapping[str, str] | None = None, *, smart: bool = False
) -> Callable[[Any], Any]:
    """A query within its bounds. `smart`: its texts know where they stand."""
    try:
        # EXSLT's functions bring Python's own regular expressions with them.
        query = etree.XPath(text, namespaces=prefixes or None, regexp=False, smart_strings=smart)
        query(etree.Element("empty"))  # an undeclared prefix or function is only found so
    except etree.XPathError as error:
        raise ExpressionError(f"{text!r}: {_later(text) or error}", _WANTED) from None
    except ValueError:
        raise ExpressionError(f"{text!r}", "text that XML can hold") from None
    most = most_values(repeats(text, _AGAIN))

    def ask(root: Any) -> Any:
        if sum(1 for _ in zip(root.iter(), range(most + 1), strict=False)) > most:
            raise UnreadableBody(f"more than {most} elements, the most for {text[:80]}")
        try:
            return query(root)
        except etree.XPathError as error:
            raise UnreadableBody(f"XPath gave up: {str(error)[:200]}") from None

    return ask


_WANTED = "XPath 1.0, which all versions share, without prefixes"


def _later(text: str) -> str:
    """What in it XPath 1.0 does not have."""
    bare = unquoted(text)
    unknown = next((name for name in _CALLED.findall(bare) if name not in _FUNCTIONS), None)
    found = _LATER.search(bare)
    if found is not None:
        return f"{found[0].strip()}, which is of XPath 2.0 or later"
    if unknown is not None and unknown not in ("and", "or", "div", "mod"):
        return f"{unknown}(), which XPath 1.0 does not have"
    return ""


def _string_value(node: Any) -> str:
    return node if isinstance(node, str) else str(node.xpath("string()"))


def _number(value: float) -> int | float | str:
    """As JSON can hold it: XPath's own words for what is no number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if value.is_integer() else value


def _put(node: Any, value: str) -> None:
    if isinstance(node, etree._Element):  # noqa: SLF001 - lxml has no public name for its class
        for child in list(node):
            node.remove(child)
        node.text = value
        return
    above = node.getparent()
    if node.is_attribute:
        above.set(node.attrname, value)
    elif node.is_tail:
        above.tail = value
    else:
        above.text = value
