"""Data sets of images, under torchvision's names, and the digits that Flambeau carries."""

from flambeau.vision.datasets.cifar import CIFAR10, CIFAR100
from flambeau.vision.datasets.digits import Digits
from flambeau.vision.datasets.fakedata import FakeData
from flambeau.vision.datasets.folder import DatasetFolder, ImageFolder
from flambeau.vision.datasets.mnist import KMNIST, MNIST, FashionMNIST
from flambeau.vision.datasets.vision import VisionDataset

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KMNIST",
    "MNIST",
    "DatasetFolder",
    "Digits",
    "FakeData",
    "FashionMNIST",
    "ImageFolder",
    "VisionDataset",
]
