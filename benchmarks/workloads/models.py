"""Whole training steps, and inference, of small networks."""

from collections.abc import Callable
from typing import Any

from . import mixes, networks
from .common import Body, Build, Workload, loss_step, training_step


def image_step(make: Callable[[Any], Any], batch: int, channels: int, size: int) -> Build:
    """Return a classifier's training step under SGD with momentum."""

    def build(torch: Any) -> Body:
        model = make(torch)
        optim = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
        x = torch.randn(batch, channels, size, size)
        y = torch.randint(0, 10, (batch,))
        return training_step(model, torch.nn.CrossEntropyLoss(), optim, x, y)

    return build


def image_inference(make: Callable[[Any], Any], batch: int, channels: int, size: int) -> Build:
    """Return a classifier's forward pass in evaluation."""

    def build(torch: Any) -> Body:
        model = make(torch).eval()
        x = torch.randn(batch, channels, size, size)

        def step() -> Any:
            with torch.inference_mode():
                return model(x)

        return "step()", {"step": step}

    return build


def gpt_step(torch: Any) -> Body:
    """Return a step of a 4-layer GPT: AdamW, gradients clipped."""
    model = networks.gpt(torch, 256, 128, 128, 4, 4)
    optim = torch.optim.AdamW(model.parameters(), lr=3e-4)
    tokens = torch.randint(0, 256, (8, 129))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    cross_entropy = torch.nn.functional.cross_entropy
    clip = torch.nn.utils.clip_grad_norm_

    def step() -> Any:
        logits = model(x)
        loss = cross_entropy(logits.view(-1, 256), y.view(-1))
        optim.zero_grad()
        loss.backward()
        clip(model.parameters(), 1.0)
        optim.step()
        return loss

    return "step()", {"step": step}


def encoder_inference(torch: Any) -> Body:
    """Return a Transformer encoder's forward pass."""
    layer = torch.nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 4).eval()
    x = torch.randn(8, 64, 256)

    def step() -> Any:
        with torch.inference_mode():
            return model(x)

    return "step()", {"step": step}


def encoder_step(torch: Any) -> Body:
    """Return a Transformer encoder's training step."""
    layer = torch.nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2)
    optim = torch.optim.Adam(model.parameters(), lr=1e-4)
    x, y = torch.randn(8, 64, 128), torch.randn(8, 64, 128)
    return training_step(model, torch.nn.MSELoss(), optim, x, y)


def lstm_step(torch: Any) -> Body:
    """Return a step of a two-layer LSTM language model."""
    model = networks.lstm_language_model(torch, 1000)
    optim = torch.optim.Adam(model.parameters(), lr=1e-3)
    tokens = torch.randint(0, 1000, (16, 65))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    cross_entropy = torch.nn.functional.cross_entropy
    return loss_step(optim, lambda: cross_entropy(model(x).flatten(0, 1), y.flatten()))


def gru_step(torch: Any) -> Body:
    """Return a step of a small GRU regression on time series."""
    gru, head = torch.nn.GRU(8, 32, batch_first=True), torch.nn.Linear(32, 1)
    optim = torch.optim.Adam([*gru.parameters(), *head.parameters()], lr=1e-3)
    x, y = torch.randn(32, 24, 8), torch.randn(32, 1)

    def compute_loss() -> Any:
        output, _ = gru(x)
        return torch.nn.functional.mse_loss(head(output[:, -1]), y)

    return loss_step(optim, compute_loss)


def vae_step(torch: Any) -> Body:
    """Return a step of the VAE."""
    model = networks.variational_autoencoder(torch)
    optim = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.rand(128, 784)
    return loss_step(optim, lambda: model(x))


def u_net_step(torch: Any) -> Body:
    """Return a step of the small U-Net on 64x64 images."""
    model = networks.u_net(torch)
    optim = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randn(4, 3, 64, 64), torch.randint(0, 2, (4, 64, 64))
    return training_step(model, torch.nn.CrossEntropyLoss(), optim, x, y)


def graph_step(torch: Any) -> Body:
    """Return a step of message passing over 10k nodes and 80k edges."""
    model = networks.graph_network(torch, 32, 7)
    optim = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randn(10000, 32), torch.randint(0, 7, (10000,))
    source, target = torch.randint(0, 10000, (80000,)), torch.randint(0, 10000, (80000,))
    cross_entropy = torch.nn.functional.cross_entropy
    return loss_step(optim, lambda: cross_entropy(model(x, source, target), y))


def autocast_step(torch: Any) -> Body:
    """Return a step of the autoencoder under bfloat16 autocast."""
    model = networks.autoencoder(torch)
    optim = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.rand(128, 784)

    def compute_loss() -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.nn.functional.mse_loss(model(x).float(), x)

    return loss_step(optim, compute_loss)


def tabular_step(torch: Any) -> Body:
    """Return a step of a wide tabular network with batch norm and dropout."""
    nn = torch.nn
    layers = [nn.Linear(100, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.1)]
    layers += [nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.1)]
    model = nn.Sequential(*layers, nn.Linear(256, 1))
    optim = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, y = torch.randn(256, 100), torch.rand(256, 1)
    return training_step(model, nn.BCEWithLogitsLoss(), optim, x, y)


def gan_step(torch: Any) -> Body:
    """Return a step of DCGAN: the discriminator on real and made images, then the generator."""
    made, judge = mixes.generator(torch), mixes.discriminator(torch)
    optims = [torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in (made, judge)]
    loss = torch.nn.BCEWithLogitsLoss()
    x, noise = torch.randn(32, 3, 32, 32), torch.randn(32, 100, 1, 1)
    ones, zeros = torch.ones(32), torch.zeros(32)

    def step() -> Any:
        images = made(noise)
        optims[1].zero_grad()
        error = loss(judge(x), ones) + loss(judge(images.detach()), zeros)
        error.backward()
        optims[1].step()
        optims[0].zero_grad()
        loss(judge(images), ones).backward()
        optims[0].step()
        return error

    return "step()", {"step": step}


def wave_step(torch: Any) -> Body:
    """Return a step of WaveNet on second halves of 4096 samples."""
    model = mixes.wave_net(torch)
    optim = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randn(2, 1, 4096), torch.randint(0, 256, (2, 4096))
    return training_step(model, torch.nn.CrossEntropyLoss(), optim, x, y)


def series_step(make: Callable[[Any], Any], *shape: int) -> Build:
    """Return a classifier's training step under Adam; its inputs have this shape."""

    def build(torch: Any) -> Body:
        model = make(torch)
        optim = torch.optim.Adam(model.parameters(), lr=1e-3)
        x, y = torch.randn(*shape), torch.randint(0, 10, (shape[0],))
        return training_step(model, torch.nn.CrossEntropyLoss(), optim, x, y)

    return build


def atari_step(torch: Any) -> Body:
    """Return a step of DQN on 32 stacks of frames: Huber loss, clipped gradients."""
    model, target = mixes.atari_network(torch), mixes.atari_network(torch)
    target.load_state_dict(model.state_dict())
    optim = torch.optim.Adam(model.parameters(), lr=1e-4)
    now, later = (torch.randint(0, 256, (32, 4, 84, 84), dtype=torch.uint8) for _ in range(2))
    action, reward, over = torch.randint(0, 6, (32, 1)), torch.randn(32), torch.zeros(32)

    def step() -> Any:
        with torch.no_grad():
            best = target(later.float() / 255).max(1)[0]
            wanted = reward + 0.99 * best * (1 - over)
        value = model(now.float() / 255).gather(1, action).squeeze(1)
        loss = torch.nn.functional.smooth_l1_loss(value, wanted)
        optim.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optim.step()
        return loss

    return "step()", {"step": step}


def resnet_small(torch: Any) -> Any:
    """Return ResNet-18 for 32x32 images."""
    return networks.resnet18(torch, small=True)


def resnet_large(torch: Any) -> Any:
    """Return ResNet-18 for 224x224 images."""
    return networks.resnet18(torch, small=False)


TARGETS = {"tutorial CNN step, batch 4": 0.5, "tutorial CNN step, batch 64": 0.9}
ROWS: dict[str, Build] = {
    "tutorial CNN step, batch 4": image_step(networks.tutorial_cnn, 4, 3, 32),
    "tutorial CNN step, batch 64": image_step(networks.tutorial_cnn, 64, 3, 32),
    "LeNet step, batch 4": image_step(networks.lenet, 4, 1, 28),
    "LeNet step, batch 64": image_step(networks.lenet, 64, 1, 28),
    "ResNet-18 step, 32x32, batch 16": image_step(resnet_small, 16, 3, 32),
    "ResNet-18 step, 224x224, batch 2": image_step(resnet_large, 2, 3, 224),
    "ResNet-18 inference, 224x224": image_inference(resnet_large, 1, 3, 224),
    "MobileNetV2 step, 32x32, batch 16": image_step(networks.mobilenet_v2, 16, 3, 32),
    "GPT step, 4 layers": gpt_step,
    "Transformer encoder inference": encoder_inference,
    "Transformer encoder step": encoder_step,
    "LSTM language model step": lstm_step,
    "GRU time series step": gru_step,
    "VAE step": vae_step,
    "U-Net step, 64x64": u_net_step,
    "graph network step": graph_step,
    "autoencoder step, bfloat16 autocast": autocast_step,
    "tabular network step": tabular_step,
    "EfficientNet-like step, 64x64, batch 16": image_step(mixes.efficient_net, 16, 3, 64),
    "ConvNeXt-like step, 64x64, batch 8": series_step(mixes.conv_next, 8, 3, 64, 64),
    "ViT step, 32x32, batch 16": series_step(mixes.vision_transformer, 16, 3, 32, 32),
    "DCGAN step, 32x32, batch 32": gan_step,
    "WaveNet step, 4096 samples": wave_step,
    "PointNet step, 16 clouds of 1024": series_step(mixes.point_net, 16, 3, 1024),
    "TCN step, 256 steps, batch 16": series_step(mixes.temporal_network, 16, 8, 256),
    "DQN step, 84x84 frames": atari_step,
}

WORKLOADS = tuple(
    Workload("models", name, build, target=TARGETS.get(name, 1.0), large="224" in name, memory=True)
    for name, build in ROWS.items()
)
