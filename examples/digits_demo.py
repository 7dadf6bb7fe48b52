"""Train a small convolutional network on handwritten digits and write a report about it.

The data (1,797 images of 8x8 pixels) come with Flambeau. Run it as `make demo`, or

    python examples/digits_demo.py

The state is saved after every epoch: interrupt it with Ctrl-C, run it again, and it goes on where it
was, to the very same result. Exit status: 0, or 1 when the accuracy misses the goal of 98 %.
"""

from __future__ import annotations

import time

START = time.perf_counter()  # before the other imports, which count as well

import argparse
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from digits_report import LayerRow, RunSummary, write_report
from tqdm import tqdm

import flambeau as torch
import flambeau.nn.functional as F
from flambeau import nn, optim
from flambeau.utils.data import DataLoader
from flambeau.vision import datasets, transforms

GOAL = 0.98
MEAN, STD = 0.306, 0.376  # of the training pixels on the scale 0..1


class DigitNet(nn.Module):
    """Convolution, ReLU and pooling twice, then three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(24, 48, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(48 * 2 * 2, 96)
        self.fc2 = nn.Linear(96, 48)
        self.fc3 = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give ten scores for each image: (N, 1, 8, 8) to (N, 10)."""
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class Run:
    """Everything that a checkpoint keeps: the network, its optimizer and schedule, the history."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.settings = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": args.seed}
        self.path = args.out / "checkpoint.pt"
        self.train_loader, self.test_loader = make_loaders(args.batch_size)
        self.model = DigitNet()
        self.optimizer = optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.05)
        self.scheduler = optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=6e-3,
            epochs=args.epochs,
            steps_per_epoch=len(self.train_loader),
        )
        self.history: list[dict[str, float]] = []

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.history) >= self.settings["epochs"]

    def save(self) -> None:
        """Write the checkpoint; an interruption leaves the old one or the new one, never half."""
        state = {
            "settings": self.settings,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": torch.get_rng_state(),
            "history": self.history,
        }
        partial = self.path.with_suffix(".part")
        torch.save(state, partial)
        os.replace(partial, self.path)

    def load(self) -> bool:
        """Go on from the checkpoint; False when there is none, or none of an unfinished run."""
        if not self.path.exists():
            return False
        try:
            state = torch.load(self.path, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            sys.exit(f"{self.path} cannot be read ({error}); start again with --fresh")
        if len(state["history"]) >= state["settings"]["epochs"]:
            return False
        if state["settings"] != self.settings:
            sys.exit(
                f"{self.path} is of a run with {state['settings']}, not {self.settings}; "
                "give the same options to go on, or --fresh to start again"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["random"])
        self.history = state["history"]
        return True


def make_loaders(batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Make the loaders of the training images, moved a little at random, and the held-out ones."""
    to_input = [transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
    move = transforms.RandomAffine(
        degrees=10,
        translate=(0.1, 0.1),
        scale=(0.9, 1.1),
        interpolation=transforms.InterpolationMode.BILINEAR,
    )
    train = datasets.Digits(train=True, transform=transforms.Compose([move, *to_input]))
    test = datasets.Digits(train=False, transform=transforms.Compose(to_input))
    return (
        DataLoader(train, batch_size=batch_size, shuffle=True),
        DataLoader(test, batch_size=len(test)),
    )


def train_epoch(run: Run, bar: tqdm, criterion: nn.Module) -> tuple[float, float]:
    """Train on every image once; give mean loss and accuracy."""
    run.model.train()
    loss_sum, correct, seen = 0.0, 0, 0
    for images, labels in run.train_loader:
        run.optimizer.zero_grad()
        scores = run.model(images)
        loss = criterion(scores, labels)
        loss.backward()
        run.optimizer.step()
        run.scheduler.step()
        note_first_step()
        loss_sum += loss.item() * len(labels)
        correct += int((scores.argmax(dim=1) == labels).sum())
        seen += len(labels)
        bar.set_postfix(
            loss=f"{loss_sum / seen:.3f}", accuracy=f"{correct / seen:.1%}", refresh=False
        )
        bar.update()
    return loss_sum / seen, correct / seen


FIRST_STEP: list[float] = []


def note_first_step() -> None:
    """Remember when the first training step of this process was done."""
    if not FIRST_STEP:
        FIRST_STEP.append(time.perf_counter() - START)


def predict(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the scores (N, 10) and the digits (N,) of the held-out images."""
    run.model.eval()
    with torch.no_grad():
        parts = [(run.model(images), labels) for images, labels in run.test_loader]
    return torch.cat([scores for scores, _ in parts]), torch.cat([labels for _, labels in parts])


def train(run: Run) -> None:
    """Train the epochs that are left, saving after each."""
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    epochs, batches = run.settings["epochs"], len(run.train_loader)
    with tqdm(total=epochs * batches, initial=len(run.history) * batches, unit="step") as bar:
        while not run.is_finished:
            bar.set_description(f"epoch {len(run.history) + 1}/{epochs}")
            began = time.perf_counter()
            loss, accuracy = train_epoch(run, bar, criterion)
            scores, labels = predict(run)
            run.history.append(
                {
                    "train_loss": loss,
                    "train_accuracy": accuracy,
                    "test_loss": criterion(scores, labels).item(),
                    "test_accuracy": measure_accuracy(scores, labels),
                    "seconds": time.perf_counter() - began,
                }
            )
            run.save()


def measure_accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Give the part of the images whose highest score is that of their digit."""
    return (scores.argmax(dim=1) == labels).float().mean().item()


def describe_layers(model: nn.Module) -> list[LayerRow]:
    """List the layers with the shape of their output and their number of parameters."""
    rows: list[LayerRow] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            count = sum(p.numel() for p in module.parameters())
            rows.append(LayerRow(name, repr(module), tuple(output.shape[1:]), count))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_children()]
    with torch.no_grad():
        model(torch.zeros(1, 1, 8, 8))
    for hook in hooks:
        hook.remove()
    return rows


def print_layers(rows: list[LayerRow]) -> None:
    """Print the summary of the network."""
    for row in rows:
        shape = "x".join(map(str, row.shape))
        print(f"  {row.name:<6} {shape:>8} {row.parameters:>8,}  {row.text}")
    # A layer without parameters may run twice; one with them is counted once.
    print(f"  {sum(row.parameters for row in rows):>23,}  parameters in all")


def summarize(run: Run, layers: list[LayerRow], seconds: float) -> RunSummary:
    """Collect what the report shows."""
    scores, labels = predict(run)
    images = run.test_loader.dataset.data
    return RunSummary(
        history=run.history,
        layers=layers,
        images=images.tolist(),
        labels=labels.tolist(),
        probabilities=scores.softmax(dim=1).tolist(),
        first_step=FIRST_STEP[0],
        seconds=seconds,
        goal=GOAL,
        train_size=len(run.train_loader.dataset),
        version=torch.__version__,
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a small network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=Path("build/demo"), help="folder of the results, %(default)s"
    )
    parser.add_argument("--fresh", action="store_true", help="do not go on from a checkpoint")
    return parser.parse_args()


def main() -> int:
    """Train, report, and say whether the goal was reached."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(args)
    layers = describe_layers(run.model)
    print("Handwritten digits, 8x8 pixels: a small convolutional network\n")
    print_layers(layers)
    if not args.fresh and run.load():
        print(f"\nGoing on after epoch {len(run.history)} from {run.path}")
    print()
    try:
        train(run)
    except KeyboardInterrupt:
        print(f"\nInterrupted after {len(run.history)} of {args.epochs} epochs.", file=sys.stderr)
        print("Run the same command again to go on from there.", file=sys.stderr)
        return 130
    return finish(run, layers, args.out / "report.html")


def finish(run: Run, layers: list[LayerRow], path: Path) -> int:
    """Write the report, print the result and give the exit status."""
    summary = summarize(run, layers, time.perf_counter() - START)
    write_report(path, summary)
    print(f"\nfirst training step after  {summary.first_step:.2f} s")
    print(f"total time                 {summary.seconds:.1f} s")
    print(f"accuracy, held-out images  {summary.accuracy:.2%} ({summary.mistakes} mistakes)")
    print(f"report                     {path.resolve().as_uri()}")
    if summary.accuracy < GOAL:
        print(f"The goal of {GOAL:.0%} was missed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
