"""The networks of the models group, written as a PyTorch user writes them."""

import itertools
from typing import Any

# mypy cannot know the bases: `torch` is a parameter.
# mypy: disable-error-code="misc, name-defined"


def tutorial_cnn(torch: Any) -> Any:
    """Return the network of the CIFAR-10 tutorial."""
    nn, functional = torch.nn, torch.nn.functional

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 6, 5)
            self.pool = nn.MaxPool2d(2, 2)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.fc1 = nn.Linear(16 * 5 * 5, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(functional.relu(self.conv1(x)))
            x = self.pool(functional.relu(self.conv2(x)))
            x = torch.flatten(x, 1)
            x = functional.relu(self.fc1(x))
            x = functional.relu(self.fc2(x))
            return self.fc3(x)

    return Net()


def lenet(torch: Any) -> Any:
    """Return LeNet-5 for 28x28 images."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def resnet18(torch: Any, small: bool) -> Any:
    """Return ResNet-18, with the stem for 32x32 images where `small`."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU(inplace=True)
            self.shortcut = nn.Identity()
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            y += self.shortcut(x)
            return self.relu(y)

    if small:
        stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    else:
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        stem.append(nn.MaxPool2d(3, 2, 1))
    blocks, inputs = [], 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(*stem, *blocks, *tail)


def mobilenet_v2(torch: Any) -> Any:
    """Return MobileNetV2 with strides for 32x32 images."""
    nn = torch.nn

    def unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
        convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)]

    class Inverted(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
            super().__init__()
            hidden = inputs * expand
            layers = unit(inputs, hidden, 1) if expand != 1 else []
            layers += unit(hidden, hidden, 3, stride, hidden)
            layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
            self.layers = nn.Sequential(*layers)
            self.residual = stride == 1 and inputs == outputs

        def forward(self, x: Any) -> Any:
            return x + self.layers(x) if self.residual else self.layers(x)

    plan = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2))
    plan += ((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    layers, inputs = unit(3, 32, 3), 32
    for expand, outputs, repeats, stride in plan:
        for i in range(repeats):
            layers.append(Inverted(inputs, outputs, stride if i == 0 else 1, expand))
            inputs = outputs
    layers += unit(inputs, 1280, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10))


def gpt(torch: Any, vocabulary: int, length: int, width: int, heads: int, depth: int) -> Any:
    """Return a small GPT with learned positions."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.norm2 = nn.LayerNorm(width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def attend(self, x: Any) -> Any:
            b, t, c = x.shape
            parts = self.qkv(x).split(c, dim=2)
            q, k, v = (p.view(b, t, heads, c // heads).transpose(1, 2) for p in parts)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).contiguous().view(b, t, c))

        def forward(self, x: Any) -> Any:
            x = x + self.attend(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.positions = nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)

        def forward(self, index: Any) -> Any:
            x = self.tokens(index) + self.positions(torch.arange(index.shape[1]))
            return self.head(self.norm(self.blocks(x)))

    return Model()


def lstm_language_model(torch: Any, vocabulary: int) -> Any:
    """Return a two-layer LSTM language model."""
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(vocabulary, 64)
            self.lstm = nn.LSTM(64, 128, num_layers=2, batch_first=True)
            self.head = nn.Linear(128, vocabulary)

        def forward(self, index: Any) -> Any:
            y, _ = self.lstm(self.embed(index))
            return self.head(y)

    return Model()


def variational_autoencoder(torch: Any) -> Any:
    """Return the VAE of PyTorch's examples; the forward pass returns the loss."""
    nn, functional = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(784, 400)
            self.mean = nn.Linear(400, 20)
            self.log_variance = nn.Linear(400, 20)
            self.fc3 = nn.Linear(20, 400)
            self.fc4 = nn.Linear(400, 784)

        def forward(self, x: Any) -> Any:
            h = functional.relu(self.fc1(x))
            mean, log_variance = self.mean(h), self.log_variance(h)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
            y = torch.sigmoid(self.fc4(functional.relu(self.fc3(z))))
            error = functional.binary_cross_entropy(y, x, reduction="sum")
            divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            return error + divergence

    return Model()


def u_net(torch: Any) -> Any:
    """Return a small U-Net of two levels."""
    nn = torch.nn

    def double(inputs: int, outputs: int) -> Any:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2, self.bottom = double(3, 16), double(16, 32), double(32, 64)
            self.pool = nn.MaxPool2d(2)
            self.up2 = nn.ConvTranspose2d(64, 32, 2, stride=2)
            self.join2 = double(64, 32)
            self.up1 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.join1 = double(48, 16)
            self.out = nn.Conv2d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            a = self.down1(x)
            b = self.down2(self.pool(a))
            c = self.bottom(self.pool(b))
            b = self.join2(torch.cat((b, self.up2(c)), 1))
            a = self.join1(torch.cat((a, self.up1(b)), 1))
            return self.out(a)

    return Model()


def graph_network(torch: Any, features: int, classes: int) -> Any:
    """Return two rounds of message passing with sums at the nodes."""
    nn = torch.nn

    class Layer(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.message = nn.Linear(2 * inputs, outputs)
            self.update = nn.Linear(inputs + outputs, outputs)

        def forward(self, x: Any, source: Any, target: Any) -> Any:
            pairs = torch.cat((x[source], x[target]), 1)
            messages = torch.relu(self.message(pairs))
            total = torch.zeros(x.shape[0], messages.shape[1])
            total = total.index_add(0, target, messages)
            return torch.relu(self.update(torch.cat((x, total), 1)))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Layer(features, 32), Layer(32, 32)
            self.head = nn.Linear(32, classes)

        def forward(self, x: Any, source: Any, target: Any) -> Any:
            x = self.first(x, source, target)
            return self.head(self.second(x, source, target))

    return Model()


def autoencoder(torch: Any) -> Any:
    """Return a dense autoencoder of 784 pixels."""
    nn = torch.nn
    widths = (784, 256, 64, 256, 784)
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
