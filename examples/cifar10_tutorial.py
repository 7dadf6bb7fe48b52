"""Train a small convolutional network on CIFAR-10 and report its accuracy per class.

A PyTorch script: run it with `python` where PyTorch is installed, or with `flambeau run`.
The data (170 MB) are downloaded into --root the first time.
"""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
import torchvision
import torchvision.transforms as transforms


class Net(nn.Module):
    """Two convolutions, each with a pooling, and three linear layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def make_loaders(root, batch_size, workers):
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
    )
    trainset = torchvision.datasets.CIFAR10(
        root=root, train=True, download=True, transform=transform
    )
    testset = torchvision.datasets.CIFAR10(
        root=root, train=False, download=True, transform=transform
    )
    trainloader = torch.utils.data.DataLoader(
        trainset, batch_size=batch_size, shuffle=True, num_workers=workers
    )
    testloader = torch.utils.data.DataLoader(
        testset, batch_size=batch_size, shuffle=False, num_workers=workers
    )
    return trainloader, testloader, trainset.classes


def train(net, loader, epochs, report_every):
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    for epoch in range(epochs):
        running_loss = 0.0
        for i, (inputs, labels) in enumerate(loader):
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()

            running_loss += loss.item()
            if i % report_every == report_every - 1:
                print(f"[{epoch + 1}, {i + 1:5d}] loss: {running_loss / report_every:.3f}")
                running_loss = 0.0
    print("Finished Training")


def test(net, loader, classes):
    correct = {name: 0 for name in classes}
    total = {name: 0 for name in classes}
    with torch.no_grad():
        for images, labels in loader:
            _, predictions = torch.max(net(images), 1)
            for label, prediction in zip(labels, predictions):
                total[classes[label]] += 1
                correct[classes[label]] += int(label == prediction)

    count = sum(total.values())
    accuracy = 100 * sum(correct.values()) / count
    print(f"Accuracy of the network on the {count} test images: {accuracy:.0f} %")
    for name in classes:
        if total[name]:
            print(f"Accuracy for class: {name:5s} is {100 * correct[name] / total[name]:.1f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="./data", help="folder of the data")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report-every", type=int, default=2000, help="mini-batches per report")
    parser.add_argument("--save", help="file for the trained weights")
    args = parser.parse_args()

    trainloader, testloader, classes = make_loaders(args.root, args.batch_size, args.workers)
    images, labels = next(iter(trainloader))
    print("a batch:", tuple(images.shape), " ".join(classes[label] for label in labels))

    net = Net()
    train(net, trainloader, args.epochs, args.report_every)
    if args.save:
        torch.save(net.state_dict(), args.save)
        net = Net()
        net.load_state_dict(torch.load(args.save, weights_only=True))
    test(net, testloader, classes)


if __name__ == "__main__":
    main()
