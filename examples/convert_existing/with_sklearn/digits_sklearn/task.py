"""A linear classifier of scikit-learn, from and to the arrays that travel, and its data."""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

DIGITS = np.arange(10)


def initial_arrays():
    """Return coefficients (10, 64) and intercepts (10,), float64."""
    return [np.zeros((10, 64)), np.zeros(10)]


def make_model(arrays, learning_rate=0.01):
    """Return a logistic regression with these coefficients, to be trained further."""
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=learning_rate)
    model.coef_, model.intercept_ = (array.copy() for array in arrays)
    model.classes_ = DIGITS  # also those that this node has never seen
    return model


@cache
def load_data(partition_id, num_partitions):
    """Return a node's training images and labels, then the test images and labels of all nodes.

    A node mostly trains on two of the ten digits: its part is a slice of all images, sorted by
    label. The first 360 images are for testing.
    """
    digits = load_digits()
    images, labels = digits.data / 16, digits.target
    order = 360 + np.argsort(labels[360:], kind="stable")
    own = np.array_split(order, num_partitions)[partition_id]
    return images[own], labels[own], images[:360], labels[:360]
