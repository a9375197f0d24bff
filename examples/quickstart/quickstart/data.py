"""The data: handwritten digits from scikit-learn, split over the nodes; nothing is downloaded.

Of the 1797 images of 8 x 8 pixels 400 are one common test set, the same on every node. The others
are split over the nodes by a Dirichlet draw over the labels, so that with a small ``alpha`` most
nodes have seen only a few of the ten digits; a fifth of a node's part is its own test data.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from datasets import Dataset
from flwr_datasets.partitioner import DirichletPartitioner
from sklearn.datasets import load_digits

from quickstart.task import Examples, NodeData

COMMON_TEST_EXAMPLES = 400
OWN_TEST_FRACTION = 0.2
FEWEST_EXAMPLES = 10  # of one node; it needs some to train on and some to test on


@lru_cache(maxsize=1)
def load_examples() -> tuple[Examples, Examples]:
    """Return the pool that is split over the nodes, and the common test set."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))  # one split, whatever the seed
    images = torch.tensor(digits.data[order] / 16.0, dtype=torch.float32)
    everything = Examples(images, torch.tensor(digits.target[order], dtype=torch.int64))
    return everything[COMMON_TEST_EXAMPLES:], everything[:COMMON_TEST_EXAMPLES]


@lru_cache(maxsize=4)
def partition(num_nodes: int, alpha: float, seed: int) -> DirichletPartitioner:
    """Split the labels of the pool over the nodes; a smaller ``alpha`` makes them differ more."""
    pool, _ = load_examples()
    partitioner = DirichletPartitioner(
        num_partitions=num_nodes,
        partition_by="label",
        alpha=alpha,
        min_partition_size=FEWEST_EXAMPLES,
        self_balancing=True,
        seed=seed,
    )
    rows = {"index": list(range(len(pool))), "label": pool.labels.tolist()}
    partitioner.dataset = Dataset.from_dict(rows)
    return partitioner


def load_node_data(node: int, num_nodes: int, alpha: float, seed: int) -> NodeData:
    """Return the data of ``node``, one of ``0 .. num_nodes - 1``."""
    pool, common_test = load_examples()
    index = np.array(partition(num_nodes, alpha, seed).load_partition(node)["index"])
    num_test = max(1, round(OWN_TEST_FRACTION * len(index)))
    return NodeData(pool[index[num_test:]], pool[index[:num_test]], common_test)
