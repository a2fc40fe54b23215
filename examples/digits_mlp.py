"""Train a multilayer perceptron on handwritten digits.

By default these are the 1,797 real 8x8 digits that ship inside scikit-learn, so nothing is downloaded. With `--mnist FOLDER`
it trains on MNIST instead, from the four IDX files in that folder. It writes a learning curve, a grid of predictions and a
checkpoint.

    python examples/digits_mlp.py
    python examples/digits_mlp.py --device auto --epochs 100 --optimizer adamw
    python examples/digits_mlp.py --resume out/digits_mlp.safetensors --epochs 80
    mpiexec -n 2 python examples/digits_mlp.py --distributed

On the CPU it computes in float64: the losses of any number of processes are then the same to 12 digits, over a whole run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import gpugrad as gg
from gpugrad import distributed, nn, optim
from gpugrad.data import DataLoader, TensorDataset
from gpugrad.nn import functional as F


class Digits(NamedTuple):
    """Images as rows of numbers in [0, 1], and labels 0 to 9."""

    train_x: NDArray[np.floating[Any]]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.floating[Any]]
    test_y: NDArray[np.int64]


def sklearn_digits(seed: int, dtype: str = "float32", test_fraction: float = 0.2) -> Digits:
    """The digits of scikit-learn, split by seed."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    x, y = (images[order] / 16).astype(dtype), labels[order].astype(np.int64)
    cut = round(len(x) * (1 - test_fraction))
    return Digits(x[:cut], y[:cut], x[cut:], y[cut:])


def mnist_digits(folder: Path, dtype: str = "float32") -> Digits:
    """MNIST, from the four IDX files in a folder."""
    from gpugrad.data import load_mnist

    mnist = load_mnist(folder)

    def rows(images: Any) -> Any:
        return (images.reshape(len(images), -1) / 255).astype(dtype)

    return Digits(
        rows(mnist.train_images), mnist.train_labels.astype(np.int64), rows(mnist.test_images), mnist.test_labels.astype(np.int64)
    )


def make_model(inputs: int) -> nn.Sequential:
    """inputs-128-64-10, ReLU."""
    return nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def make_optimizer(name: str, model: nn.Module, lr: float) -> optim.Optimizer:
    """An optimiser by name."""
    if name == "sgd":
        return optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return {"adam": optim.Adam, "adamw": optim.AdamW}[name](model.parameters(), lr=lr)


@gg.no_grad()
def evaluate(model: nn.Module, x: gg.Tensor, y: NDArray[np.int64]) -> tuple[float, float]:
    """Loss and accuracy on a whole set."""
    logits = model(x)
    loss = F.cross_entropy(logits, gg.asarray(y).to(x.device))
    return loss.item(), gg.metrics.accuracy(logits, y)


def save_checkpoint(path: Path, model: nn.Module, optimizer: optim.Optimizer, history: dict[str, list[float]], seed: int) -> None:
    """Model, optimiser and history in one safetensors file."""
    state = optimizer.state_dict()
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"optimizer.{i}.{name}": value for i, values in state["state"].items() for name, value in values.items()}
    notes = {
        "history": json.dumps(history),
        "param_groups": json.dumps(state["param_groups"]),
        "optimizer": type(optimizer).__name__,
        "seed": str(seed),
    }
    gg.save(tensors, path, metadata=notes)


def load_checkpoint(path: Path, model: nn.Module, optimizer: optim.Optimizer, seed: int) -> dict[str, list[float]]:
    """Continue from a checkpoint: fill model and optimiser, and return the history."""
    tensors, notes = gg.load(path), gg.load_metadata(path)
    if notes.get("optimizer") != type(optimizer).__name__ or notes.get("seed") != str(seed):
        raise gg.CheckpointError(
            f"{path} was written with --optimizer {notes.get('optimizer', '?').lower()} --seed {notes.get('seed', '?')}; "
            f"resume with the same"
        )
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    state: dict[int, dict[str, gg.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": json.loads(notes["param_groups"])})
    history: dict[str, list[float]] = json.loads(notes["history"])
    return history


def train(
    model: nn.Module,
    optimizer: optim.Optimizer,
    digits: Digits,
    history: dict[str, list[float]],
    args: argparse.Namespace,
    world: distributed.World,
) -> None:
    """Run the epochs that are left, with a progress bar. Each process of `world` has its share of each batch."""
    done = len(history["train_loss"])
    dataset = TensorDataset(digits.train_x, digits.train_y).to(args.device)
    sampler = distributed.DistributedSampler(world)
    loader = DataLoader(dataset, args.batch_size, shuffle=True, seed=args.seed, sampler=sampler)
    loader.load_state_dict({**loader.state_dict(), "epoch": done})
    test_x = gg.asarray(digits.test_x, device=args.device)
    bar = gg.progress(range(done, args.epochs), initial=done, total=args.epochs, unit="epoch", disable=world.rank > 0)
    for _ in bar:
        model.train()
        losses = []
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            world.average_gradients(model.parameters(), weight=len(x))
            optimizer.step()
            losses.append(world.average(loss.item(), weight=len(x)))
        model.eval()
        test_loss, accuracy = evaluate(model, test_x, digits.test_y)
        for name, value in (("train_loss", np.mean(losses)), ("test_loss", test_loss), ("accuracy", accuracy)):
            history[name].append(float(value))
        bar.set_postfix(loss=f"{history['train_loss'][-1]:.4f}", accuracy=f"{accuracy:.2%}")


def draw_curves(history: dict[str, list[float]], path: Path) -> None:
    """Loss and accuracy against epochs, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    epochs = np.arange(1, len(history["accuracy"]) + 1)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.semilogy(epochs, history["train_loss"], label="training")
    left.semilogy(epochs, history["test_loss"], label="test")
    left.set(xlabel="epoch", ylabel="cross-entropy", title="Loss")
    left.legend()
    right.plot(epochs, np.array(history["accuracy"]) * 100)
    right.set(xlabel="epoch", ylabel="test accuracy (%)", title=f"Accuracy: {history['accuracy'][-1]:.2%} at the end")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw_predictions(model: nn.Module, digits: Digits, device: str, path: Path, rows: int = 5, columns: int = 10) -> None:
    """A grid of test images with the predicted digit and its probability; mistakes first, in red. PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with gg.no_grad():
        probabilities = gg.softmax(model(gg.asarray(digits.test_x, device=device))).numpy()
    predicted = probabilities.argmax(axis=1)
    order = np.argsort(predicted == digits.test_y, kind="stable")[: rows * columns]
    side = int(np.sqrt(digits.test_x.shape[1]))
    figure, grid = pyplot.subplots(rows, columns, figsize=(columns, rows * 1.25), layout="constrained")
    for axes, i in zip(grid.flat, order):
        axes.imshow(digits.test_x[i].reshape(side, side), cmap="gray_r")
        right = predicted[i] == digits.test_y[i]
        note = "" if right else f", is {digits.test_y[i]}"
        axes.set_title(f"{predicted[i]} {probabilities[i].max():.0%}{note}", fontsize=8, color="black" if right else "red")
    for axes in grid.flat:
        axes.set_axis_off()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="float64 on the CPU, float32 on a GPU, if not given")
    parser.add_argument("--epochs", type=int, default=60, help="epochs in all, those of a resumed run included (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, help="learning rate (0.1 for sgd, 0.002 for adam and adamw)")
    parser.add_argument("--optimizer", choices=("sgd", "adam", "adamw"), default="adam")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the initial weights and the shuffling")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for pictures and checkpoint (%(default)s)")
    parser.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="continue from a checkpoint")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="train on the MNIST files in this folder")
    parser.add_argument("--distributed", action="store_true", help="share each batch among the processes that mpiexec started")
    args = parser.parse_args(argv)
    if args.epochs < 1 or args.batch_size < 1:
        parser.error("--epochs and --batch-size must be at least 1")
    return args


def main(argv: list[str] | None = None) -> dict[str, list[float]]:
    """Train, evaluate, draw and save; returns the history."""
    args = parse(argv)
    if args.device == "auto":
        args.device = "cuda" if gg.cuda_is_available() else "cpu"
    world = distributed.World(device=args.device)
    if args.distributed:
        world = distributed.init(args.device)
        args.device = world.device
    dtype = args.dtype or ("float64" if args.device == "cpu" else "float32")
    gg.manual_seed(args.seed)
    digits = mnist_digits(args.mnist, dtype) if args.mnist else sklearn_digits(args.seed, dtype)
    model = make_model(digits.train_x.shape[1]).to(args.device, dtype)
    lr = args.lr if args.lr is not None else (0.1 if args.optimizer == "sgd" else 0.002)
    optimizer = make_optimizer(args.optimizer, model, lr)
    history: dict[str, list[float]] = {"train_loss": [], "test_loss": [], "accuracy": []}
    if args.resume:
        history = load_checkpoint(args.resume, model, optimizer, args.seed)
        if len(history["train_loss"]) >= args.epochs:
            raise SystemExit(f"{args.resume} already has {len(history['train_loss'])} epochs; ask for more with --epochs")
        if args.lr is not None:
            optimizer.param_groups[0]["lr"] = args.lr
    world.broadcast(model)
    if world.rank == 0:
        print(f"{len(digits.train_x)} training and {len(digits.test_x)} test digits on {world.size} x {args.device}\n{model}")
    start = time.perf_counter()
    train(model, optimizer, digits, history, args, world)
    if world.rank > 0:
        return history
    print(
        f"test accuracy {history['accuracy'][-1]:.2%}, loss {history['test_loss'][-1]:.4f}, {time.perf_counter() - start:.1f} s"
    )
    args.out.mkdir(parents=True, exist_ok=True)
    draw_curves(history, args.out / "digits_mlp_curves.png")
    draw_predictions(model, digits, args.device, args.out / "digits_mlp_predictions.png")
    save_checkpoint(args.out / "digits_mlp.safetensors", model, optimizer, history, args.seed)
    print(f"wrote digits_mlp_curves.png, digits_mlp_predictions.png and digits_mlp.safetensors to {args.out}/")
    return history


if __name__ == "__main__":
    main()
