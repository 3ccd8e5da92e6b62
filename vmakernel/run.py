"""Scenarios under several kernels, call by call and side by side, with what differs marked.

Previous: predict.py; next: live.py, where a real kernel answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from vmakernel.kernels import Kernel
from vmakernel.predict import Predicted, Prediction, predict
from vmakernel.process import UNKNOWN, Machine
from vmakernel.scenario import parse

DIFFERENT: Final = "≠"
MOST_LINES: Final = 40  # of one layout
_BOLD, _PLAIN = "\x1b[1;33m", "\x1b[0m"
_GAP: Final = 3


def predict_all(
    text: str, kernels: Sequence[Kernel], *, machine: Machine = UNKNOWN, name: str = "scenario"
) -> list[list[Prediction]]:
    """Return, for every scenario of a text, what each kernel does with it.

    `name` is for a scenario without one. Raises ScenarioError.
    """
    return [
        [predict(scenario, kernel, machine=machine) for kernel in kernels]
        for scenario in parse(text, name)
    ]


def side_by_side(predictions: Sequence[Prediction], *, color: bool = False) -> str:
    """Return what each kernel does with a scenario: a block a call, a column a kernel.

    A line that is not the same in every column begins with ≠, and with `color` is lit.
    """
    scenario = predictions[0].scenario
    blocks = [("", [[str(prediction.kernel)] for prediction in predictions])]
    for number, call in enumerate(scenario.calls):
        columns = [_column(prediction, number) for prediction in predictions]
        if not any(columns):
            break
        blocks.append((str(call), columns))
    if scenario.segments and not all(prediction.refused for prediction in predictions):
        blocks.append(("exit", [_after_exit(prediction) for prediction in predictions]))
    width = max([len(line) for _, columns in blocks for column in columns for line in column])
    rows = [scenario.name]
    for title, columns in blocks:
        if title:
            rows.append(f"  {title}")
        rows += _rows(columns, width + _GAP, mark=bool(title), color=color)
    for prediction in predictions:
        if prediction.refused:
            rows.append(f"  {prediction.kernel} declined: {prediction.refused}")
    return "\n".join(rows)


def _column(prediction: Prediction, number: int) -> list[str]:
    """Return the lines of one kernel after one call; none behind a call that was declined."""
    if number < len(prediction.steps):
        return _lines(prediction.steps[number])
    return ["declined"] if number == len(prediction.steps) else []


def _after_exit(prediction: Prediction) -> list[str]:
    return [] if prediction.refused else [_attaches(prediction.nattch_after_exit)]


def _lines(step: Predicted) -> list[str]:
    lines = []
    layout, total = step.first(MOST_LINES)
    if step.errno:
        lines.append(step.errno + (f" ({step.note})" if step.note else ""))
    elif step.ret is not None:
        lines.append(f"returns {step.ret}")
    lines += layout
    if total > MOST_LINES:
        lines.append(f"... {total} VMAs")
    if not total:
        lines.append("nothing mapped")
    if step.nattch:
        lines.append(_attaches(step.nattch))
    return lines


def _attaches(nattch: Mapping[str, int]) -> str:
    counts = [f"{name} gone" if n < 0 else f"{name}={n}" for name, n in nattch.items()]
    return "nattch " + " ".join(counts)


def _rows(columns: list[list[str]], width: int, *, mark: bool, color: bool) -> list[str]:
    """Put lines that start at the same page next to each other."""
    rows = []
    for cells in _align(columns):
        differ = mark and len(set(cells)) > 1
        text = "".join([cell.ljust(width) for cell in cells]).rstrip()
        row = f"{DIFFERENT if differ else ' '}   {text}"
        rows.append(f"{_BOLD}{row}{_PLAIN}" if differ and color else row)
    return rows


def _align(columns: list[list[str]]) -> list[tuple[str, ...]]:
    keyed = [{_key(line): line for line in column} for column in columns]
    keys = sorted({key for column in keyed for key in column})
    return [tuple([column.get(key, "") for column in keyed]) for key in keys]


def _key(line: str) -> tuple[int, int]:
    """Sort the errno first, then layout lines by page, and the attaches last."""
    start = line.partition("-")[0]
    if start.isdecimal():
        return 1, int(start)
    if line.startswith(("...", "nothing")):
        return 2, 0
    return (3, 0) if line.startswith("nattch") else (0, 0)
