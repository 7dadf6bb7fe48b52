"""Networks with an odd mix of layers, each small: what users build beyond the classics."""

import itertools
from typing import Any

# mypy cannot know the bases: `torch` is a parameter.
# mypy: disable-error-code="misc, name-defined"


def efficient_net(torch: Any) -> Any:
    """Return inverted residuals with squeeze and excitation, as EfficientNet has them."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
            super().__init__()
            hidden = 4 * inputs
            self.expand = nn.Sequential(
                nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.SiLU()
            )
            padding = kernel // 2
            self.depthwise = nn.Sequential(
                nn.Conv2d(hidden, hidden, kernel, stride, padding, groups=hidden, bias=False),
                nn.BatchNorm2d(hidden),
                nn.SiLU(),
            )
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(hidden, inputs // 4, 1),
                nn.SiLU(),
                nn.Conv2d(inputs // 4, hidden, 1),
                nn.Sigmoid(),
            )
            self.project = nn.Sequential(
                nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )
            self.residual = stride == 1 and inputs == outputs

        def forward(self, x: Any) -> Any:
            y = self.depthwise(self.expand(x))
            y = self.project(y * self.gate(y))
            return x + y if self.residual else y

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.SiLU(),
        Block(16, 24, 3, 2),
        Block(24, 24, 3, 1),
        Block(24, 40, 5, 2),
        Block(40, 40, 5, 1),
        Block(40, 80, 3, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(80, 10),
    )


def conv_next(torch: Any) -> Any:
    """Return ConvNeXt's blocks: depthwise 7x7, layer norm and an MLP with channels last."""
    nn = torch.nn

    class Norm(nn.LayerNorm):
        def forward(self, x: Any) -> Any:
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
            self.norm = nn.LayerNorm(width, eps=1e-6)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )
            self.scale = nn.Parameter(1e-6 * torch.ones(width))

        def forward(self, x: Any) -> Any:
            y = self.depthwise(x).permute(0, 2, 3, 1)
            return x + (self.scale * self.mlp(self.norm(y))).permute(0, 3, 1, 2)

    return nn.Sequential(
        nn.Conv2d(3, 48, 4, 4),
        Norm(48, eps=1e-6),
        Block(48),
        Block(48),
        Norm(48, eps=1e-6),
        nn.Conv2d(48, 96, 2, 2),
        Block(96),
        Block(96),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(96),
        nn.Linear(96, 10),
    )


def vision_transformer(torch: Any) -> Any:
    """Return a ViT of four blocks on 32x32 images in patches of 4x4."""
    nn, width = torch.nn, 128

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, width, 4, 4)
            self.start = nn.Parameter(torch.zeros(1, 1, width))
            self.positions = nn.Parameter(0.02 * torch.randn(1, 65, width))
            layer = nn.TransformerEncoderLayer(
                width, 4, 4 * width, activation="gelu", batch_first=True, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
            self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

        def forward(self, x: Any) -> Any:
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat((self.start.expand(len(x), -1, -1), x), 1) + self.positions
            return self.head(self.blocks(x)[:, 0])

    return Model()


def generator(torch: Any) -> Any:
    """Return DCGAN's generator of 32x32 images."""
    nn = torch.nn

    def up(inputs: int, outputs: int, stride: int, padding: int) -> list[Any]:
        layer = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False)
        return [layer, nn.BatchNorm2d(outputs), nn.ReLU(True)]

    layers = [*up(100, 128, 1, 0), *up(128, 64, 2, 1), *up(64, 32, 2, 1)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(32, 3, 4, 2, 1, bias=False), nn.Tanh())


def discriminator(torch: Any) -> Any:
    """Return DCGAN's discriminator of 32x32 images."""
    nn = torch.nn
    layers, inputs = [], 3
    for outputs in (32, 64, 128):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs)]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers, nn.Conv2d(inputs, 1, 4, 1, 0, bias=False), nn.Flatten(0))


def wave_net(torch: Any) -> Any:
    """Return WaveNet's stack: dilated causal convolutions, gates, residual and skip sums."""
    nn, width = torch.nn, 32

    class Layer(nn.Module):
        def __init__(self, dilation: int) -> None:
            super().__init__()
            self.dilation = dilation
            self.both = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
            self.out, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)

        def forward(self, x: Any) -> Any:
            y = self.both(nn.functional.pad(x, (self.dilation, 0)))
            a, b = y.chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            return x + self.out(y), self.skip(y)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Conv1d(1, width, 1)
            self.layers = nn.ModuleList(Layer(2 ** (k % 8)) for k in range(16))
            self.end = nn.Sequential(
                nn.ReLU(), nn.Conv1d(width, 64, 1), nn.ReLU(), nn.Conv1d(64, 256, 1)
            )

        def forward(self, x: Any) -> Any:
            x, total = self.start(x), 0
            for layer in self.layers:
                x, skip = layer(x)
                total = total + skip
            return self.end(total)

    return Model()


def point_net(torch: Any) -> Any:
    """Return PointNet: an MLP shared by the points, then their maximum."""
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers, inputs = [], 3
            for outputs in (64, 128, 512):
                layers += [nn.Conv1d(inputs, outputs, 1), nn.BatchNorm1d(outputs), nn.ReLU()]
                inputs = outputs
            self.points = nn.Sequential(*layers)
            self.head = nn.Sequential(
                nn.Linear(512, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10)
            )

        def forward(self, x: Any) -> Any:
            return self.head(self.points(x).max(2)[0])

    return Model()


def temporal_network(torch: Any) -> Any:
    """Return a TCN: residual blocks of weight-normed, dilated causal convolutions."""
    nn = torch.nn
    normed = torch.nn.utils.parametrizations.weight_norm

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
            super().__init__()
            self.cut = 2 * dilation
            self.conv1 = normed(nn.Conv1d(inputs, outputs, 3, padding=self.cut, dilation=dilation))
            self.conv2 = normed(nn.Conv1d(outputs, outputs, 3, padding=self.cut, dilation=dilation))
            self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.1)
            self.down = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

        def forward(self, x: Any) -> Any:
            y = self.dropout(self.relu(self.conv1(x)[..., : -self.cut]))
            y = self.dropout(self.relu(self.conv2(y)[..., : -self.cut]))
            return self.relu(y + self.down(x))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = (8, 32, 32, 32, 32)
            pairs = itertools.pairwise(widths)
            self.blocks = nn.Sequential(*(Block(a, c, 2**k) for k, (a, c) in enumerate(pairs)))
            self.head = nn.Linear(32, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.blocks(x)[..., -1])

    return Model()


def atari_network(torch: Any) -> Any:
    """Return the network of DQN for four frames of 84x84."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(4, 32, 8, 4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3136, 512),
        nn.ReLU(),
        nn.Linear(512, 6),
    )
