"""The running kernel as the judge: what it did, held against what the engine predicted.

Previous: live.py and predict.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from vmakernel import live
from vmakernel.explain import questions
from vmakernel.kernels import LAST, Kernel, UnknownKernel, kernel
from vmakernel.predict import Prediction, predict
from vmakernel.scenario import Recording, Scenario, Step, parse


class Judgement(NamedTuple):
    """One scenario: what was predicted, what the kernel did, and the first difference if any."""

    prediction: Prediction
    real: Recording | live.LiveError
    difference: str | None

    @property
    def agrees(self) -> bool:
        """True where every call and the exit went as predicted."""
        return isinstance(self.real, Recording) and self.difference is None


def running() -> Kernel:
    """Return the kernel that this machine runs, as the engine knows it; a later one as the last.

    Raises live.Unsupported where there is none to ask.
    """
    reason = live.why_unsupported()
    if reason is not None:
        raise live.Unsupported(reason)
    uname = os.uname()
    # Debian's release names the line (6.1.0-44), its version the kernel (Debian 6.1.164-1).
    found = re.search(r"Debian (\d+\.\d+\.\d+)", uname.version)
    text = found[1] if found else re.match(r"[\d.]*\d", uname.release)[0]  # type: ignore[index]
    numbers = [int(part) for part in text.split(".")]
    if tuple(numbers[:2]) > LAST:
        return kernel(".".join(map(str, LAST)))
    try:
        return kernel(text)
    except UnknownKernel as error:
        raise live.Unsupported(f"this machine's {text} cannot be predicted: {error}") from None


def judge(
    scenarios: Iterable[Scenario], chosen: Kernel, *, timeout: float = 60.0
) -> list[Judgement]:
    """Run every scenario on the running kernel and compare it with the prediction for `chosen`."""
    told = list(scenarios)
    out = []
    for scenario, real in zip(told, live.run_all(told, timeout=timeout), strict=True):
        prediction = predict(scenario, chosen)
        found = difference(prediction, real) if isinstance(real, Recording) else None
        out.append(Judgement(prediction, real, found))
    return out


def difference(prediction: Prediction, real: Recording) -> str | None:
    """Return the first thing a kernel did otherwise than predicted, None where there is none."""
    if prediction.refused is not None:
        return f"not predicted ({prediction.refused})"
    found = _first(prediction, real)
    if found is not None:
        number, what = found
        said = _told(getattr(prediction.recording.steps[number], what))
        return f"call {number + 1}, {real.steps[number].call}: predicted {said}, it was " + _told(
            getattr(real.steps[number], what)
        )
    if dict(prediction.nattch_after_exit) != dict(real.nattch_after_exit):
        said, was = _told(prediction.nattch_after_exit), _told(real.nattch_after_exit)
        return f"at exit: predicted {said}, it was {was}"
    return None


def _first(prediction: Prediction, real: Recording) -> tuple[int, str] | None:
    """Return (call, what) of the first step that differs."""
    pairs = zip(prediction.recording.steps, real.steps, strict=True)
    for number, (ours, theirs) in enumerate(pairs):
        for what in "errno", "ret", "layout", "nattch":
            if getattr(ours, what) != getattr(theirs, what):
                return number, what
    return None


def _told(value: object) -> str:
    if isinstance(value, tuple):
        return " | ".join([" ".join(line.split()[:2]) for line in value]) or "nothing mapped"
    if isinstance(value, dict):
        return ", ".join([f"nattch {count}" for count in value.values()]) or "no segment"
    return str(value) if value not in ("", None) else "success"


def live_text(text: str, chosen: Kernel | None = None, *, name: str = "scenario") -> str:
    """Return real against predicted, call by call, for every scenario of a text.

    Raises ScenarioError, or live.Unsupported where there is no kernel to ask.
    """
    scenarios = parse(text, name)
    theirs = running()
    expected = chosen or theirs
    judged = judge(scenarios, expected)
    lines = [f"Linux {os.uname().release} against the prediction for {expected}", ""]
    for one in judged:
        lines += [*_report(one), ""]
    agreed = sum(one.agrees for one in judged)
    return "\n".join([*lines, f"{agreed} of {len(judged)} scenarios as predicted"])


def _report(one: Judgement) -> list[str]:
    scenario = one.prediction.scenario
    if isinstance(one.real, live.LiveError):
        return [f"{scenario.name}: not run: {one.real}"]
    lines = [scenario.name]
    found = None if one.prediction.refused else _first(one.prediction, one.real)
    for number, step in enumerate(one.real.steps):
        differs = found is not None and number == found[0]
        lines.append(f"{'≠' if differs else ' '} {step.call!s:24} {_step(step)}")
        if differs:
            break
    if one.difference is None:
        if one.real.nattch_after_exit:
            lines.append(f"  {'exit':24} {_told(dict(one.real.nattch_after_exit))}")
        return [*lines, "  as predicted ✓"]
    lines.append(f"  {one.difference}")
    if found is not None:
        results = one.prediction.steps[found[0]].results
        lines += [
            f"    the engine asked {question}"
            for result in results
            for question in questions(one.prediction.kernel, result.outcome)
        ]
    return lines


def _step(step: Step) -> str:
    parts = [step.errno] if step.errno else []
    parts.append(_told(step.layout))
    if step.nattch:
        parts.append(_told(dict(step.nattch)))
    return "  ".join(parts)
