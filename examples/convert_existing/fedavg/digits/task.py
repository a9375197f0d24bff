"""The model, the data, and how to train and test; nothing here knows who talks to whom."""

from functools import lru_cache

import torch
from datasets import Dataset
from flwr_datasets.partitioner import DirichletPartitioner
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """A network with one hidden layer: 64 pixels to 10 digits."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


@lru_cache(maxsize=1)
def load_tensors():
    """Return scikit-learn's digits, in the same random order everywhere; nothing is downloaded."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    return images[order], torch.tensor(digits.target)[order]


@lru_cache(maxsize=1)
def load_partitioner(num_partitions):
    """Split all but the first 360 images, so that each node sees some digits more than others."""
    _, labels = load_tensors()
    partitioner = DirichletPartitioner(
        num_partitions, "label", alpha=0.5, min_partition_size=20, seed=0
    )
    rows = {"index": list(range(360, len(labels))), "label": labels[360:].tolist()}
    partitioner.dataset = Dataset.from_dict(rows)
    return partitioner


def load_data(partition_id, num_partitions, batch_size):
    """Return the loaders of a node's own training and test images."""
    images, labels = load_tensors()
    index = torch.tensor(load_partitioner(num_partitions).load_partition(partition_id)["index"])
    train_index, test_index = index[len(index) // 5 :], index[: len(index) // 5]
    trainset = TensorDataset(images[train_index], labels[train_index])
    testset = TensorDataset(images[test_index], labels[test_index])
    return DataLoader(trainset, batch_size, shuffle=True), DataLoader(testset, batch_size)


def load_common_test_data(batch_size):
    """Return the loader of the images that no node trains on, with all ten digits."""
    images, labels = load_tensors()
    return DataLoader(TensorDataset(images[:360], labels[:360]), batch_size)


def train(net, trainloader, epochs, lr):
    """Train on the node's images; return the mean loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    net.train()
    total = 0.0
    for _ in range(epochs):
        for images, labels in trainloader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / (epochs * len(trainloader))


@torch.no_grad()
def test(net, testloader):
    """Return the mean loss and the accuracy."""
    net.eval()
    loss, correct = 0.0, 0
    for images, labels in testloader:
        outputs = net(images)
        loss += nn.functional.cross_entropy(outputs, labels, reduction="sum").item()
        correct += (outputs.argmax(dim=1) == labels).sum().item()
    return loss / len(testloader.dataset), correct / len(testloader.dataset)
