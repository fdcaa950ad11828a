"""Draw docs/architecture.svg: the rooms of the package in layers, and their imports.

Layers are read from `[tool.importlinter]` in pyproject.toml, arrows from the import graph. Run it after moving a module
or a layer; a test checks that the file is current.
"""

from __future__ import annotations

import argparse
import itertools
import re
from html import escape
from pathlib import Path

import grimp
from importlinter.api import read_configuration

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "keras_transfer"
TARGET = ROOT / "docs" / "architecture.svg"

LETTER, PADDING, HEIGHT, PITCH, GAP, LANE = 8.1, 14, 32, 68, 22, 16
"""Pixels: a letter, beside a name, a box, from row to row, between boxes, and what a passing arrow takes."""
MARGIN, SWEEPS = 24, 200

STYLE = """
  .card { fill: #ffffff; stroke: #d8dee4 }
  .room { fill: #eaf2fb; stroke: #4a86c5 } .base { fill: #f1f3f5; stroke: #8c959f }
  text { fill: #1f2328; font: 13.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; text-anchor: middle }
  .note { font: 13px system-ui, sans-serif; fill: #59636e; text-anchor: start }
  path { fill: none; stroke: #6e7781; stroke-width: 1.3 } .tip { fill: #6e7781; stroke: none }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #30363d }
    .room { fill: #12283f; stroke: #4a86c5 } .base { fill: #1c2128; stroke: #6e7681 }
    text { fill: #e6edf3 } .note { fill: #9198a1 } path { stroke: #8b949e } .tip { fill: #8b949e }
  }"""


def layers(graph: grimp.ImportGraph) -> list[list[str]]:
    """Return the rooms of each layer, top to bottom."""
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    (written,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    rows = [re.findall(r"\w+", row) for row in written]
    return [row for row in ([room for room in row if f"{PACKAGE}.{room}" in graph.modules] for row in rows) if row]


def imports(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    """Return the rooms that each room imports, without those that it imports through another of them too."""
    direct: dict[str, set[str]] = {room.split(".")[1]: set() for room in graph.find_children(PACKAGE)}
    for module in graph.modules - {PACKAGE}:
        for imported in graph.find_modules_directly_imported_by(module) - {PACKAGE}:
            direct[module.split(".")[1]].add(imported.split(".")[1])
    direct = {room: found - {room} for room, found in direct.items()}
    below: dict[str, set[str]] = {}

    def reachable(room: str) -> set[str]:
        if room not in below:
            below[room] = direct[room].union(*map(reachable, direct[room]))
        return below[room]

    return {
        room: {one for one in found if not any(one in reachable(other) for other in found - {one})}
        for room, found in direct.items()
    }


def width(node: str) -> float:
    """Return the width of a box, or of the lane of a passing arrow."""
    return LANE if "→" in node else len(node) * LETTER + 2 * PADDING


def chains(rows: list[list[str]], edges: dict[str, set[str]]) -> list[list[str]]:
    """Return each arrow as its nodes from row to row, and add the lanes ``a→b@row`` that it passes to the rows."""
    place = {room: k for k, row in enumerate(rows) for room in row}
    found = []
    for room in place:
        for imported in sorted(edges[room] & place.keys()):
            lanes = [f"{room}→{imported}@{k}" for k in range(place[room] + 1, place[imported])]
            for k, lane in enumerate(lanes, place[room] + 1):
                rows[k].append(lane)
            found.append([room, *lanes, imported])
    return found


def arrange(rows: list[list[str]], arrows: list[list[str]]) -> dict[str, float]:
    """Order each row by where its neighbours are (barycentres), and return the x of every node's middle."""
    links = [pair for chain in arrows for pair in itertools.pairwise(chain)]
    x: dict[str, float] = {}
    for row in rows:
        x |= spread(row, {node: float(k) for k, node in enumerate(row)})
    for sweep in range(SWEEPS):
        ordering, down = sweep < SWEEPS // 2, sweep % 2 == 0
        near: dict[str, list[str]] = {node: [] for node in x}
        for upper, lower in links:
            # The order depends on the row before, positions on both rows; lanes pull each other, for straight arrows.
            weight = 1 if ordering else 1 + 4 * ("→" in upper) * ("→" in lower)
            if down or not ordering:
                near[lower] += [upper] * weight
            if not down or not ordering:
                near[upper] += [lower] * weight
        for row in rows if down else rows[::-1]:
            wanted = {
                node: sum(x[one] for one in near[node]) / len(near[node]) if near[node] else x[node] for node in row
            }
            if ordering:
                row.sort(key=wanted.__getitem__)
            x |= spread(row, wanted)
    return x


def spread(row: list[str], wanted: dict[str, float]) -> dict[str, float]:
    """Return the places nearest to those wanted, in the row's order and without overlap (pooled adjacent violators)."""
    blocks: list[
        tuple[float, list[tuple[str, float]]]
    ] = []  # the left edge of a block of nodes that touch, and their offsets
    for node in row:
        block = [(node, width(node) / 2)]
        left = wanted[node] - width(node) / 2
        while blocks and blocks[-1][0] + _end(blocks[-1][1]) + GAP > left:
            before = blocks.pop()[1]
            shift = _end(before) + GAP
            block = before + [(name, offset + shift) for name, offset in block]
            left = sum(wanted[name] - offset for name, offset in block) / len(block)
        blocks.append((left, block))
    return {name: left + offset for left, block in blocks for name, offset in block}


def _end(block: list[tuple[str, float]]) -> float:
    node, offset = block[-1]
    return offset + width(node) / 2


def draw() -> str:
    """Return the diagram as SVG, the same for the same imports."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    rows, edges = layers(graph), imports(graph)
    base: list[str] = []
    while not any(graph.find_children(f"{PACKAGE}.{room}") for room in rows[-1]):
        base += rows.pop()
    arrows = chains(rows, edges)
    x = arrange(rows, arrows)
    shift = MARGIN + 8 - min(x[node] - width(node) / 2 for node in x)
    y = {node: MARGIN + 8 + PITCH * k + HEIGHT / 2 for k, row in enumerate(rows) for node in row}
    x = {node: round(value + shift, 1) for node, value in x.items()}
    right = max(max(x[node] + width(node) / 2 for node in x) + MARGIN + 8, 640)
    bottom = MARGIN + 8 + PITCH * len(rows)
    parts = [_arrow(chain, x, y) for chain in arrows]
    parts += [_box(node, x[node], y[node], width(node), "room") for row in rows for node in row if "→" not in node]
    parts.append(_box("   ".join(sorted(base)), right / 2, bottom + HEIGHT / 2, right - 2 * MARGIN - 16, "base"))
    for k, line in enumerate((
        "A room imports only from rooms below it. An arrow leads to what it imports; it is left out where other",
        "arrows lead there too, and to the row at the bottom, which every room may import.",
    )):  # fmt: skip
        parts.append(f'<text class="note" x="{MARGIN + 8}" y="{bottom + HEIGHT + 28 + 19 * k}">{line}</text>')
    tall = bottom + HEIGHT + 28 + 19 * 2 + 4
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right:.0f} {tall:.0f}" width="{right:.0f}" '
        f'height="{tall:.0f}" role="img" aria-label="The rooms of {PACKAGE} in layers, with their imports">'
    )
    card = f'<rect class="card" x="0.5" y="0.5" width="{right - 1:.0f}" height="{tall - 1:.0f}" rx="10"/>'
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0.5 8 4 0 7.5z"/></marker>'
    )
    return "\n".join([head, f"<style>{STYLE}\n</style>", f"<defs>{tip}</defs>", card, *parts, "</svg>", ""])


def _arrow(chain: list[str], x: dict[str, float], y: dict[str, float]) -> str:
    """A curve from the bottom of a box to the top of another, straight down where it passes a row."""
    words = f"M{x[chain[0]]} {y[chain[0]] + HEIGHT / 2}"
    for upper, lower in itertools.pairwise(chain):
        top, end = y[upper] + HEIGHT / 2, y[lower] - HEIGHT / 2 - (2 if lower == chain[-1] else 0)
        middle = (top + end) / 2
        words += f"C{x[upper]} {middle} {x[lower]} {middle} {x[lower]} {end}"
        if lower != chain[-1]:
            words += f"V{y[lower] + HEIGHT / 2}"
    return f'<path d="{words}" marker-end="url(#tip)"/>'


def _box(label: str, x: float, y: float, wide: float, kind: str) -> str:
    left, top = round(x - wide / 2, 1), y - HEIGHT / 2
    return (
        f'<rect class="{kind}" x="{left}" y="{top}" width="{round(wide, 1)}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{round(x, 1)}" y="{y + 4.5}" xml:space="preserve">{escape(label)}</text>'
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    TARGET.write_text(draw(), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
