"""The engine against the facts that the kernel's own userland tests state."""

import pytest

from vmakernel import conformance
from vmakernel.conformance import Fact, after, guarded
from vmakernel.conformance import tests as kernel_tests
from vmakernel.flags import NotationError
from vmakernel.kernels import RULES

FACTS = [fact for test in kernel_tests() for fact in test.facts]
every_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.test}: {fact.says}")


@every_fact
def test_the_engine_does_what_the_kernels_test_expects(fact: Fact) -> None:
    answers = {version: after(version, fact.scenario) for version in fact.holds_in()}

    assert answers == dict.fromkeys(fact.holds_in(), fact.expect)


@every_fact
def test_what_is_told_as_different_before_is_different_before(fact: Fact) -> None:
    # The tests of 6.13 expect the same outcome of a proposal that no caller makes.
    assert fact.same("6.13") != bool(fact.differs)
    if fact.differs:
        assert after("6.13", fact.scenario) == "no"
        assert "879bca0a2c4f" in conformance.reason(fact)


@pytest.mark.parametrize("version", ["6.18.37", "6.19", "7.0", "7.1", "7.2", "7.3"])
def test_a_sticky_flag_on_any_part_stays_on_the_merged_vma(version: str) -> None:
    variants = [(fact, variant) for fact in FACTS for variant in fact.variants()]

    assert len(variants) > 20
    for fact, variant in variants:
        assert after(version, variant) == fact.expect, variant
        assert guarded(version, variant), variant
        assert not guarded(version, fact.scenario), "the flag must come from the variant"


def test_the_rule_before_would_fail_the_kernels_own_tests() -> None:
    failed = {rule.name: [f for f in FACTS if rule.name in f.others()] for rule in RULES}
    middle = [
        f for f in FACTS if f.test == "vma_merge_with_close" and "close on the middle" in f.says
    ]

    assert failed.pop("really_removed") == []
    assert all(failed.values())
    assert set(middle) <= set(failed["may_remove_vma"])
    assert len(middle) == 3


def test_every_test_is_told_once_with_facts_or_a_reason() -> None:
    names = [test.name for test in kernel_tests()]

    assert len(set(names)) == len(names) == 16
    assert all(test.facts or test.out for test in kernel_tests())
    told = conformance.conformance().rows()
    assert {row.test for row in told} == set(names)
    assert not [row for row in told if "DIFFERENT" in row.answer]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"name": "x"}, "test x: give it facts, or say in `out` why"),
        ({"name": "x", "fact": [{"says": "a", "scenario": "P=0-4:rw", "expect": "no"}]}, "test x"),
        ({"name": "x", "fact": [{"says": "a", "scenario": "| mmap 0-1:r"}]}, "expect"),
    ],
)
def test_a_fact_that_is_none_is_named(row: dict[str, object], said: str) -> None:
    with pytest.raises(NotationError, match=r"conformance\.toml, test x") as raised:
        conformance._test(row)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
