"""Large graphs made small: runs of ops that belong together become one box.

A forward is a straight-line sequence of ops. Only slices of that sequence are folded, so the folded graph can have no
cycle. Tried in turn, until few enough boxes are left: slices that ran in one module, then in the modules around those;
repetitions, as loops make them; at last, everything but the newest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .graph import Gate, consumers_of

__all__ = ["folded"]

LONGEST_PERIOD = 40
MOST_LEAVES = 4


class Item(list[Gate]):
    """A slice of the sequence, and what it is called where it is more than one op."""

    label = ""


def folded(gates: list[Gate], limit: int) -> tuple[list[Gate], str]:
    """At most about `limit` boxes, and a note on what was done; the gates as they are where they are few."""
    if len(gates) <= limit:
        return gates, ""
    ops = [gate for gate in gates if gate.kind == "op"]
    items = [Item([gate]) for gate in ops]
    depth = max(len(gate.module.split(".")) for gate in ops)
    while len(items) > limit and depth > 0:
        items = _merge_modules(items, depth)
        depth -= 1
    if len(items) > limit:
        items = _merge_repeats(items)
    if len(items) > limit:
        earlier = Item(gate for item in items[: 1 - limit] for gate in item)
        earlier.label = f"… {len(earlier):,} earlier ops"
        items = [earlier, *items[1 - limit :]]
    contracted = _contract(gates, items)
    for gate in contracted:  # shapes say enough here
        gate.value, gate.gradient = (s and s._replace(lines=(s.short,)) for s in (gate.value, gate.gradient))
    return contracted, f"{len(ops):,} ops in {len(items):,} {'box' if len(items) == 1 else 'boxes'}"


def _merge_modules(items: list[Item], depth: int) -> list[Item]:
    """Join neighbours that ran in one module, modules being told apart down to `depth` names."""
    merged: list[Item] = []
    for item in items:
        path = _path(item, depth)
        if merged and path and path == _path(merged[-1], depth):
            merged[-1].extend(item)
            merged[-1].label = path
        else:
            merged.append(Item(item))
            merged[-1].label = item.label and path
    return merged


def _path(item: Item, depth: int) -> str:
    return ".".join(item[-1].module.split(".")[:depth])


def _merge_repeats(items: list[Item]) -> list[Item]:
    """Join what comes three times or more in a row."""
    keys = [(tuple(gate.detail for gate in item), item[0].site) for item in items]
    merged: list[Item] = []
    i = 0
    while i < len(items):
        period, times = _repeat_at(keys, i)
        if times < 3:
            merged.append(items[i])
            i += 1
            continue
        joined = Item(gate for item in items[i : i + period * times] for gate in item)
        what = [_name_of(items[j : i + period * times : period]) for j in range(i, i + period)]
        joined.label = f"{times:,} × ({', '.join(what[:4])}{', …' if len(what) > 4 else ''})"
        merged.append(joined)
        i += period * times
    return merged


def _name_of(items: Sequence[Item]) -> str:
    """What to call repetitions of one thing; by its op alone where constants differ."""
    labels = {item.label or item[0].label for item in items}
    return labels.pop() if len(labels) == 1 else items[0][0].detail.partition("(")[0]


def _repeat_at(keys: Sequence[object], start: int) -> tuple[int, int]:
    """The period and the number of repetitions from here on that cover most."""
    best = (1, 1)
    for period in range(1, min(LONGEST_PERIOD, (len(keys) - start) // 3) + 1):
        end = start + period
        while end < len(keys) and keys[end] == keys[end - period]:
            end += 1
        times = (end - start) // period
        if times >= 3 and period * times > best[0] * best[1]:
            best = (period, times)
    return best


def _contract(gates: list[Gate], items: list[Item]) -> list[Gate]:
    """A gate for each item of several ops, or with parameters; leaves that nothing outside a fold uses go with it."""
    consumers = consumers_of(gates)
    fold_of: dict[Gate, Gate] = {}
    hidden: set[Gate] = set()
    for item in items:
        inside = set(item)
        own = [s for s in _distinct(s for gate in item for s in gate.inputs) if s.kind in ("leaf", "constant")]
        own = [s for s in own if all(user in inside for user in consumers[s])]
        if len(item) > 1 or any(s.owned for s in own):
            fold = _fold(item, inside, consumers)
            fold_of |= dict.fromkeys(item, fold)
            gone = [s for s in own if s.owned or sum(not s.owned for s in own) > MOST_LEAVES]
            hidden.update(gone)
            fold.detail += f"\nwith {', '.join(s.label for s in gone[:8])}{', …' if len(gone) > 8 else ''}" if gone else ""
    made = _distinct(fold_of.get(gate, gate) for gate in gates if gate not in hidden)
    for item in items:
        if item[0] in fold_of:
            fold = fold_of[item[0]]
            sources = _distinct(fold_of.get(s, s) for gate in item for s in gate.inputs if s not in hidden)
            fold.inputs = [source for source in sources if source is not fold]
            fold.locals = [None] * len(fold.inputs)
    for gate in made:
        if gate.kind != "fold":
            gate.inputs = [fold_of.get(source, source) for source in gate.inputs]
    return _sorted(made)


def _fold(item: Item, inside: set[Gate], consumers: dict[Gate, list[Gate]]) -> Gate:
    counts = Counter(gate.label for gate in item)
    detail = f"{len(item):,} ops: " + ", ".join(f"{n} {what}" for what, n in counts.most_common(8))
    fold = Gate("fold", item.label or item[0].label, detail=detail if len(item) > 1 else item[0].detail)
    results = [gate for gate in item if gate not in consumers or any(user not in inside for user in consumers[gate])]
    if len(results) == 1:
        fold.value, fold.gradient, fold.name = results[0].value, results[0].gradient, results[0].name
    fold.site, fold.module = item[-1].site, item[-1].module
    return fold


def _distinct(gates: Iterable[Gate]) -> list[Gate]:
    return list(dict.fromkeys(gates))


def _sorted(gates: list[Gate]) -> list[Gate]:
    """Inputs first: a fold stands where its first op stood, but leaves that it needs may have come later."""
    done: dict[Gate, None] = {}
    for gate in gates:
        stack = [gate]
        while stack:
            waiting = [source for source in stack[-1].inputs if source not in done]
            if waiting:
                stack.extend(reversed(waiting))
            else:
                done.setdefault(stack.pop())
    return list(done)
