"""The running kernel as the judge: what it did, held against what the engine predicted.

Previous: live.py and predict.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
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

    @property
    def differs(self) -> bool:
        """True where the kernel did something that was not predicted."""
        return self.difference is not None and self.prediction.refused is None


def running() -> Kernel:
    """Return the kernel that this machine runs, as the engine knows it; a later one as the last.

    Raises live.Unsupported where there is none to ask.
    """
    reason = live.why_unsupported()
    if reason is not None:
        raise live.Unsupported(reason)
    text = _upstream(os.uname(), _signature())
    numbers = [int(part) for part in text.split(".")]
    if tuple(numbers[:2]) > LAST:
        return kernel(".".join(map(str, LAST)))
    try:
        return kernel(text)
    except UnknownKernel as error:
        raise live.Unsupported(f"this machine's {text} cannot be predicted: {error}") from None


def _signature() -> str:
    """Return what Ubuntu's kernels say of themselves, "" elsewhere."""
    try:
        return Path("/proc/version_signature").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _upstream(uname: os.uname_result, signature: str) -> str:
    """Return the release of kernel.org that a running kernel is made from.

    Raises live.Unsupported where it has changes of its own that no number tells of.
    """
    # Debian's release names the line (6.1.0-44), its version the kernel (Debian 6.1.164-1);
    # Ubuntu's signature ends with it (Ubuntu 6.8.0-45.45-generic 6.8.12).
    told = re.search(r"Debian (\d+\.\d+\.\d+)", uname.version) or re.search(
        r"^Ubuntu \S+ (\d+\.\d+\.\d+)", signature
    )
    if told:
        return told[1]
    if re.search(r"\.el\d|^[\d.]*\d-\d+-(generic|lowlatency|default)$", uname.release):
        raise live.Unsupported(
            f"{uname.release} has a distribution's own changes: name a rule, such as --rule 6.12"
        )
    return re.match(r"[\d.]*\d", uname.release)[0]  # type: ignore[index]


def judge(
    scenarios: Iterable[Scenario], chosen: Kernel, *, timeout: float = 60.0
) -> list[Judgement]:
    """Run every scenario on the running kernel and compare it with the prediction for `chosen`.

    Raises live.LiveError where the machine cannot be looked at.
    """
    told = list(scenarios)
    here = live.machine()
    out = []
    for scenario, real in zip(told, live.run_all(told, timeout=timeout), strict=True):
        prediction = predict(scenario, chosen, machine=here)
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
        said = _told(getattr(prediction.steps[number].step, what))
        return f"call {number + 1}, {real.steps[number].call}: predicted {said}, it was " + _told(
            getattr(real.steps[number], what)
        )
    if dict(prediction.nattch_after_exit) != dict(real.nattch_after_exit):
        said, was = _told(prediction.nattch_after_exit), _told(real.nattch_after_exit)
        return f"at exit: predicted {said}, it was {was}"
    return None


def _first(prediction: Prediction, real: Recording) -> tuple[int, str] | None:
    """Return (call, what) of the first step that differs."""
    pairs = zip(prediction.steps, real.steps, strict=True)
    for number, (predicted, theirs) in enumerate(pairs):
        ours = predicted.step
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


class Report(NamedTuple):
    """Real against predicted, call by call, as text; `status` is that of the command `live`."""

    text: str
    status: int  # 0: all as predicted; 1: something else happened; 3: something was not compared


def live_report(text: str, chosen: Kernel | None = None, *, name: str = "scenario") -> Report:
    """Hold every scenario of a text against the running kernel.

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
    differed = sum(one.differs for one in judged)
    left = len(judged) - agreed - differed
    total = f"{agreed} of {len(judged)} scenarios as predicted"
    if left:
        total += f", {left} not compared"
    return Report("\n".join([*lines, total]), 1 if differed else 3 if left else 0)


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
