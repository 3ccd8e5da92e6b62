"""Use every control of a widget, by mouse or by keyboard, and hold the page against the twin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import ipywidgets

from tests.browser.twin import Pair, kind

# What is typed: what the field's placeholder suggests, something wrong, and nothing.
WRONG: Final = "no such thing!"


def names(one: ipywidgets.Widget) -> str:
    """Name a control in a message."""
    return f"{kind(one)} {one.description!r}"


def by_mouse(pair: Pair) -> int:
    """Use every control in every way it has; return how many things were done."""
    done = 0
    pair.reach()
    for one in pair.controls:
        for value in values(one):
            if one.disabled or all(it is not one for it in pair.controls):  # a list was drawn anew
                break
            mouse(pair, one, value)
            pair.agree(f"{names(one)}, {value!r}")
            done += 1
            # An answer is chosen and given before the next one is.
            if kind(one) == "radio" and (button := button_after(pair, one)):
                mouse(pair, button, None)
                pair.agree(f"{names(one)}, {value!r}, then {names(button)}")
                done += 1
    return done


def values(one: ipywidgets.Widget) -> Iterator[Any]:
    """Yield what a control is set to, so that every choice comes and each is a change."""
    match kind(one):
        case "check":
            yield not one.value
            yield not one.value
        case "radio" | "choice":
            yield from [*range(len(one.options)), 0] if one.options else []  # nothing to choose yet
        case "slider" if isinstance(one, ipywidgets.IntRangeSlider):
            low, high = one.value
            yield from [(low, high - 2), (low + 1, high - 2), (low + 1, high), (low, high)]
        case "slider":
            yield from [one.min, one.max, max(one.min, one.max - 1)]
        case "text":
            old = one.value
            yield from [value for value in (WRONG, one.placeholder, old) if value != one.value]
        case "button":
            yield None


def button_after(pair: Pair, one: ipywidgets.Widget) -> ipywidgets.Widget | None:
    """Return the button that takes what a radio group offers, if there is one."""
    places = [at for at, it in enumerate(pair.controls) if it is one]
    behind = pair.controls[places[0] + 1 :] if places else []
    return next((it for it in behind if kind(it) == "button"), None)


def mouse(pair: Pair, one: ipywidgets.Widget, value: Any) -> None:
    """Set a control in the page with the mouse, and in the twin."""
    there = pair.element(one)
    match kind(one):
        case "check":
            there.click()
            one.value = value
        case "radio":
            there.locator("input").nth(value).click()
            one.index = value
        case "choice":
            there.select_option(index=value)
            one.index = value
        case "slider":
            drag(pair, one, value)
            one.value = value
        case "button":
            there.click()
            one.click()
        case "text":
            there.fill(value)
            if not one.continuous_update:  # it is taken with Enter
                there.press("Enter")
            one.value = value


def drag(pair: Pair, one: ipywidgets.Widget, value: Any) -> None:
    """Drag the handles of a slider that have to move."""
    there = pair.element(one)
    old, new = (it if isinstance(it, tuple) else (it,) for it in (one.value, value))
    for at, (before, after) in enumerate(zip(old, new, strict=True)):
        if before == after:
            continue
        handle = there.locator("[role=slider]").nth(at)
        handle.scroll_into_view_if_needed()
        base, grip = there.locator(".noUi-base").bounding_box(), handle.bounding_box()
        assert base is not None
        assert grip is not None
        x, y = grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2
        to = base["x"] + base["width"] * (after - one.min) / (one.max - one.min)
        move = pair.there.page.mouse
        move.move(x, y)
        move.down()
        move.move(to, y, steps=2)
        move.up()


# --- without a mouse ------------------------------------------------------------------------------


class Keys:
    """The keyboard, and which control has the focus."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.press = pair.there.page.keyboard.press

    def focus(self) -> tuple[int, int] | None:
        """Return the place of the control that has the focus, and the place within it."""
        found = self.pair.there.evaluate(
            """panel => {
                const query = 'input[type=checkbox], .widget-radio, select, .widget-slider, button,'
                    + ' .widget-text input, textarea';
                const every = [...panel.querySelectorAll(query)].filter(
                    one => one.checkVisibility());
                const at = every.findIndex(one => one.contains(document.activeElement));
                // A slider's number can be typed as well; the handles are what is walked.
                if (at < 0 || document.activeElement.isContentEditable) return null;
                const group = every[at];
                const inner = [...group.querySelectorAll('input, [role=slider]')];
                return [at, Math.max(0, inner.indexOf(document.activeElement))];
            }"""
        )
        return tuple(found) if found else None

    def stays(self, one: ipywidgets.Widget) -> None:
        """Fail where a key took the focus away from a control."""
        here = self.focus()
        assert here is not None, f"{names(one)} lost the focus"
        assert self.pair.controls[here[0]] is one, f"the focus left {names(one)}"


def by_keyboard(pair: Pair, presses: int = 200) -> int:
    """Go through a widget with Tab and use each control on the way; return how many were used.

    The focus must come in from before the widget, meet every control in order, and leave again.
    """
    keys = Keys(pair)
    used: list[tuple[int, int]] = []
    for _ in range(presses):
        keys.press("Tab")
        here = keys.focus()
        if here is None:
            if used and not inside(pair):
                break
            continue
        if used and here <= used[-1]:
            raise AssertionError(f"Tab went back to {names(pair.controls[here[0]])}")
        used.append(here)
        if not pair.controls[here[0]].disabled:  # a slider's handles take the focus all the same
            use(keys, pair.controls[here[0]], here[1])
    met = {at for at, _ in used}
    left = [
        names(one) for at, one in enumerate(pair.controls) if at not in met and not one.disabled
    ]
    assert left == [], f"Tab never comes to {left}"
    return len(used)


def inside(pair: Pair) -> bool:
    """Tell whether the focus is on something in the widget."""
    return bool(pair.there.evaluate("panel => panel.contains(document.activeElement)"))


def use(keys: Keys, one: ipywidgets.Widget, inner: int) -> None:
    """Use the control that has the focus with the keys that a reader would try."""
    match kind(one):
        case "check":
            for _ in range(2):
                keys.press("Space")
                one.value = not one.value
                told(keys, one, "Space")
        case "radio":
            if inner != one.index:
                keys.press("Space")
                one.index = inner
                told(keys, one, "Space")
        case "choice" if one.options:
            for key, way in ("ArrowDown", 1), ("ArrowUp", -1):
                keys.press(key)
                one.index = min(
                    max((-1 if one.index is None else one.index) + way, 0), len(one.options) - 1
                )
                told(keys, one, key)
        case "slider":
            for key, way in ("ArrowLeft", -1), ("ArrowRight", 1):
                keys.press(key)
                one.value = moved(one, inner, way)
                told(keys, one, key)
        case "button":
            for key in ("Enter", "Space"):
                keys.press(key)
                one.click()
                told(keys, one, key)
        case "text":
            old = one.value
            for word in (one.placeholder or WRONG, "", *([old] if old else [])):
                keys.press("ControlOrMeta+a")
                keys.press("Delete")
                if one.continuous_update:  # each letter is a change
                    one.value = ""
                keys.pair.there.page.keyboard.type(word)
                if not one.continuous_update:
                    keys.press("Enter")
                one.value = word
                told(keys, one, f"typing {word!r}")


def moved(one: ipywidgets.Widget, handle: int, way: int) -> Any:
    """Return the value of a slider after one of its handles went a step."""
    if not isinstance(one.value, tuple):
        return min(max(one.value + way, one.min), one.max)
    value = list(one.value)
    value[handle] += way
    low, high = value
    return (max(one.min, min(low, high)), min(one.max, max(low, high)))


def told(keys: Keys, one: ipywidgets.Widget, key: str) -> None:
    """Hold the page against the twin after a key, and see that the focus stayed."""
    keys.pair.agree(f"{key} on {names(one)}")
    keys.stays(one)
