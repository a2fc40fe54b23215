"""A Neural Turing Machine that learns to copy: a small net with a memory that it reads and writes by attention.

After the picture in the lecture 'Backpropagation and neural networks' of a graph too large to derive by hand, and after
Graves, Wayne and Danihelka (2014). Each step, a feed-forward controller sees one row of bits and what was read last. It sets
where the read and the write head attend: at rows of the memory that are like a key (by content), or moved from where they were
by -1, 0 or 1 (by location). All of it is smooth, so gradients say how to use the memory. The task: see a sequence, then a
mark, then write the sequence out. The picture shows it for a sequence longer than any in training.

    python examples/neural_turing_machine.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.nn import functional as F

READ, WRITE = 0, 1


class Run(NamedTuple):
    """What one run through a batch of sequences gave: logits (steps, batch, bits), attention (steps, batch, heads, rows)."""

    logits: Any
    attention: Any


def similar(memory: Any, key: Any) -> Any:
    """Cosine of the angle between each key (batch, heads, width) and each row of the memory (batch, rows, width)."""
    size = gg.sqrt(gg.square(memory).sum(axis=2) + 1e-6)[:, None] * gg.sqrt(gg.square(key).sum(axis=2, keepdims=True) + 1e-6)
    return key @ memory.mT / size


def attend(memory: Any, before: Any, key: Any, strength: Any, gate: Any, shift: Any, sharpness: Any) -> Any:
    """Where the heads attend, (batch, heads, rows): found by content, or kept, then moved, then sharpened."""
    content = F.softmax(strength * similar(memory, key), axis=2)
    kept = gate * content + (1 - gate) * before
    moved = shift[..., 0:1] * gg.roll(kept, -1, 2) + shift[..., 1:2] * kept + shift[..., 2:3] * gg.roll(kept, 1, 2)
    powers = (moved + 1e-6) ** sharpness
    return powers / powers.sum(axis=2, keepdims=True)


class NTM(nn.Module):
    """Controller, one read head, one write head, and the memory's size."""

    def __init__(self, bits: int, rows: int, width: int = 12, hidden: int = 64) -> None:
        self.bits, self.rows, self.width = bits, rows, width
        self.controller = nn.Linear(bits + 2 + width, hidden)
        self.heads = nn.Linear(hidden, 2 * (width + 6))  # a key, strength, gate, three shifts, sharpness for each
        self.change = nn.Linear(hidden, 2 * width)  # what the write head erases and adds
        self.output = nn.Linear(hidden + width, bits)

    def forward(self, x: Any) -> Run:
        """Run over x (steps, batch, bits + 2)."""
        batch, width = x.shape[1], self.width
        memory = gg.full((batch, self.rows, width), 0.01, device=x.device)
        read = gg.zeros((batch, width), device=x.device)
        first = np.broadcast_to(np.eye(self.rows, dtype=np.float32)[0], (batch, 2, self.rows))
        attention = gg.asarray(np.ascontiguousarray(first), device=x.device)
        logits, history = [], []
        for row in x:
            hidden = gg.tanh(self.controller(gg.concatenate([row, read], axis=1)))
            key, numbers = gg.split(self.heads(hidden).reshape(batch, 2, width + 6), [width], axis=2)
            positive = F.softplus(numbers[..., :2])
            shift = F.softmax(numbers[..., 3:], axis=2)
            gate = gg.sigmoid(numbers[..., 2:3])
            attention = attend(memory, attention, gg.tanh(key), positive[..., :1], gate, shift, 1 + positive[..., 1:])
            erase, add = gg.split(self.change(hidden), 2, axis=1)
            place = attention[:, WRITE, :, None]
            memory = memory * (1 - place * gg.sigmoid(erase)[:, None]) + place * gg.tanh(add)[:, None]
            read = (attention[:, READ, None] @ memory)[:, 0]
            logits.append(self.output(gg.concatenate([hidden, read], axis=1)))
            history.append(attention)
        return Run(gg.stack(logits), gg.stack(history))


def copy_task(rng: Generator, batch: int, length: int, bits: int) -> tuple[Any, Any]:
    """Input (2 length + 2, batch, bits + 2), with marks of start and end in the last columns, and the bits to give back."""
    sequence = rng.integers(0, 2, (length, batch, bits)).astype(np.float32)
    x = np.zeros((2 * length + 2, batch, bits + 2), np.float32)
    x[0, :, bits] = x[length + 1, :, bits + 1] = 1
    x[1 : length + 1, :, :bits] = sequence
    return x, sequence


def train(model: NTM, rng: Generator, args: argparse.Namespace) -> list[float]:
    """Adam with clipped gradients on random sequences; returns the share of wrong bits after each step."""
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    wrong = []
    bar = gg.progress(range(args.steps), unit="step", disable=None)
    for step in bar:
        optimizer.param_groups[0]["lr"] = args.lr * (1 - step / args.steps)
        length = int(rng.integers(1, args.length + 1))
        x, y = copy_task(rng, args.batch_size, length, args.bits)
        logits = model(gg.asarray(x, device=args.device)).logits[length + 2 :]
        loss = F.binary_cross_entropy_with_logits(logits, gg.asarray(y, device=args.device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        wrong.append(float(((logits.detach().numpy() > 0) != (y > 0)).mean()))
        bar.set_postfix(wrong=f"{np.mean(wrong[-100:]):.2%}", refresh=False)
    return wrong


def errors(model: NTM, rng: Generator, length: int, args: argparse.Namespace) -> float:
    """The share of wrong bits in 200 new sequences."""
    x, y = copy_task(rng, 200, length, args.bits)
    with gg.no_grad():
        logits = model(gg.asarray(x, device=args.device)).logits[length + 2 :].numpy()
    return float(((logits > 0) != (y > 0)).mean())


def draw(model: NTM, wrong: list[float], shares: dict[int, float], rng: Generator, args: argparse.Namespace) -> None:
    """One long sequence: input, output, where the heads attend; beside it the errors, in training and by length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x, _ = copy_task(rng, 1, args.test_length, args.bits)
    with gg.no_grad():
        run = model(gg.asarray(x, device=args.device))
    output = 1 / (1 + np.exp(-run.logits.numpy()[:, 0].T))
    attention = run.attention.numpy()[:, 0]
    figure, grid = pyplot.subplot_mosaic(
        [["input", "curve"], ["output", "curve"], ["write", "length"], ["read", "length"]],
        figsize=(12, 7.5),
        width_ratios=(3, 2),
        height_ratios=(args.bits + 2, args.bits + 2, args.rows, args.rows),
        layout="constrained",
    )
    images = {"input": x[:, 0].T, "output": output, "write": attention[:, WRITE].T, "read": attention[:, READ].T}
    titles = (
        "input: bits, mark of start, mark of end",
        "output, asked for after the line",
        "write head",
        "read head",
    )
    for (name, image), title in zip(images.items(), titles):
        axes = grid[name]
        axes.imshow(image, cmap="magma", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.axvline(args.test_length + 1.5, color="w", linewidth=0.8)
        axes.set(ylabel="row of memory" if name in ("write", "read") else "bit", title=title)
    grid["read"].set_xlabel("step")
    window = min(50, len(wrong))
    grid["curve"].plot(np.convolve(wrong, np.ones(window) / window, "valid") * 100)
    grid["curve"].set(xlabel="step of training", ylabel="wrong bits (%)", title=f"Training, lengths 1 to {args.length}")
    grid["length"].plot(list(shares), np.array(list(shares.values())) * 100, ".-")
    grid["length"].axvspan(0.5, args.length + 0.5, alpha=0.2, label="lengths in training")
    grid["length"].axhline(50, color="C3", linestyle=":", label="guessing")
    grid["length"].set(xlabel="length", ylabel="wrong bits (%)", title="New sequences")
    grid["length"].set_xticks(range(0, args.test_length + 1, max(1, args.test_length // 5)))
    grid["length"].legend()
    figure.suptitle(f"A Neural Turing Machine copies {args.test_length} rows of {args.bits} bits")
    figure.savefig(args.out / "neural_turing_machine.png", dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[int, float]:
    """Train, evaluate and draw; returns the share of wrong bits in new sequences by their length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="steps of gradient descent (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-2, help="learning rate of Adam at the start (%(default)s)")
    parser.add_argument("--bits", type=int, default=6, help="bits of a row (%(default)s)")
    parser.add_argument("--length", type=int, default=8, help="rows of the longest sequence in training (%(default)s)")
    parser.add_argument("--test-length", type=int, default=20, help="rows of the sequence in the picture (%(default)s)")
    parser.add_argument("--rows", type=int, default=24, help="rows of the memory (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    gg.manual_seed(args.seed)
    rng = default_rng(args.seed)
    model = NTM(args.bits, args.rows).to(args.device)
    count = sum(parameter.size for parameter in model.parameters())
    print(f"{count} parameters, a memory of {args.rows} x {model.width}, on {args.device}")
    wrong = train(model, rng, args)
    shares = {length: errors(model, rng, length, args) for length in range(1, args.test_length + 1)}
    print("wrong bits in new sequences, by length")
    for length, share in shares.items():
        print(f"{length:4} {share:7.2%}" + ("   longer than in training" if length > args.length else ""))
    args.out.mkdir(parents=True, exist_ok=True)
    draw(model, wrong, shares, rng, args)
    print(f"wrote neural_turing_machine.png to {args.out}/")
    return shares


if __name__ == "__main__":
    main()
