"""Finding workflows by intent: words (BM25) and, where a model is installed, meaning.

    words.py     texts as stems: ids split, inflections and words that say nothing taken away
    lexical.py   BM25 over all fields, each with its weight
    meaning.py   texts as vectors, by a small model that an installed package carries
    finder.py    both together: the order, what is too far away, and why something fits

`docs/search.md` says what is measured and how; the weights come from there.
"""

from orchestrator.search.finder import HybridFinder, open_finder

__all__ = ["HybridFinder", "open_finder"]
