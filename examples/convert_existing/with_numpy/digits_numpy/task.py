"""Multinomial logistic regression in numpy: the model is two arrays, and so is its gradient."""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits


def initial_arrays():
    """Return weights (64, 10) and biases (10,), float32."""
    return [np.zeros((64, 10), np.float32), np.zeros(10, np.float32)]


def train(arrays, images, labels, learning_rate, steps=5):
    """Take some steps of gradient descent; return new arrays and the loss before the last step."""
    weights, biases = arrays
    wanted = np.eye(10, dtype=np.float32)[labels]
    for _ in range(steps):
        probabilities = softmax(images @ weights + biases)
        error = (probabilities - wanted) / len(labels)
        weights = weights - learning_rate * images.T @ error
        biases = biases - learning_rate * error.sum(axis=0)
    loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean()
    return [weights, biases], float(loss)


def accuracy(arrays, images, labels):
    """Return the share of images whose digit is found."""
    weights, biases = arrays
    return float(((images @ weights + biases).argmax(axis=1) == labels).mean())


def softmax(logits):
    """Return probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@cache
def load_data(partition_id, num_partitions):
    """Return a node's training images and labels, then the test images and labels of all nodes.

    A node mostly trains on two of the ten digits: its part is a slice of all images, sorted by
    label. The first 360 images are for testing.
    """
    digits = load_digits()
    images, labels = (digits.data / 16).astype(np.float32), digits.target
    order = 360 + np.argsort(labels[360:], kind="stable")
    own = np.array_split(order, num_partitions)[partition_id]
    return images[own], labels[own], images[:360], labels[:360]
