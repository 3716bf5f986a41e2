"""Programs as data: their text, how they are drawn, and how they are made small."""

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from am2z import ConfigurationError
from harness.oracle.draw import EVERYTHING, EXECUTIONS, FAILURES, LIVES, REGISTRY, STATES
from harness.oracle.model import script, sensible
from harness.oracle.program import OPERANDS, PROCESSORS, Program
from harness.oracle.reading import parse
from harness.oracle.search import Search
from harness.oracle.shrink import shrink
from harness.oracle.strategy import programs

EVERY_VERB = tuple(OPERANDS)

PINNED = [
    "set a 5; spoil a; restart; stop a; update a 3; set a 3; set a 2",
    "set-wrong b 4; set-right a 5; clean b; delete a; get a",
]


@given(programs([EVERY_VERB]))
@settings(deadline=None)
def test_a_program_is_read_back_from_its_text(program):
    assert parse(str(program)) == program


def test_the_text_is_what_is_written_by_hand():
    text = "submit x a thrice(+1 hold &n once(!network<2 emit)?); stop a; line m 3; stats"
    assert str(parse(f" {text.replace('; ', ' ;  ')}; ")) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("explode", "'explode' is none of execute"),
        ("execute", "a session is missing"),
        ("execute c once()", "'c' is none of a, b, -"),
        ("stop -", "'-' is none of a, b"),
        ("execute a twice()", "write one of once"),
        ("execute a once", "begins no call"),
        ("execute a once(+1", "a closing bracket is missing"),
        ("execute a once(jump)", "'jump' is no step"),
        ("execute a once(!sulk)", "is no step"),
        ("execute a once(!partial<2)", "is no step"),
        ("execute a once(!broken<2)", "is no step"),
        ("forget pair", "'pair' is none of once, thrice, single"),
        ("execute a once(+0)", "no number from 1 to 99"),
        ("execute a once()?", "only a call inside a processor"),
        ("set a many", "no number"),
        ("get a b", "'b' is too much"),
        (f"execute a {'once(' * 12}{')' * 12}", "too deeply"),
    ],
)
def test_a_text_that_is_no_program_is_refused_with_the_reason(text, words):
    with pytest.raises(ConfigurationError) as caught:
        parse(f"stats; {text}")
    assert words in str(caught.value)


@given(programs([EVERY_VERB]), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_part_of_a_program_is_a_program(program, random):
    part = Program(tuple(op for op in program if random.random() < 0.5))
    planned = script(part)
    assert [entry.op for entry in planned[: len(sensible(part))]] == list(sensible(part))
    assert planned[-1].op is None
    assert planned[-2].expected["live"] == {} if len(planned) > 1 else True


def test_nothing_is_said_of_who_has_a_slot_while_its_owner_calls():
    calling = parse("submit x a single(hold once()); submit y b single(+1); release x")
    assert [op.verb for op in sensible(calling)] == ["submit", "submit"]
    behind = parse("submit x a single(hold); submit y a single(once()); submit z a single()")
    assert [op.label for op in sensible(behind)] == ["x", "y"]
    queued = parse("submit x a single(hold); submit y a single(); submit z a single(once())")
    assert sensible(queued) == queued
    for plan in ("once() hold", "hold +1"):
        plain = parse(f"submit x a single({plan}); submit y b single(+1); release x")
        assert sensible(plain) == plain


def drawn(verbs, seed, count=30):
    search = Search(lambda _: None, themes=[verbs], seed=seed, examples=count)
    return [str(program) for program in islice(search._drawn(), count)]


@pytest.mark.parametrize("verbs", [EVERYTHING, EXECUTIONS, FAILURES, LIVES, REGISTRY, STATES])
def test_the_same_seed_draws_the_same_programs_and_another_seed_others(verbs):
    first = drawn(verbs, 1)
    assert len(set(first)) == 30
    assert drawn(verbs, 1) == first
    assert not set(drawn(verbs, 2)) & set(first[:20])


def test_what_a_seed_draws_does_not_depend_on_this_process():
    assert drawn(STATES, 7, 2) == PINNED


def test_every_operation_and_processor_is_drawn():
    text = " ".join(drawn(EVERYTHING, 5, 400))
    assert all(f"{verb} " in f"{text.replace(';', ' ')} " for verb in EVERYTHING)
    assert all(f"{name}(" in text for name in PROCESSORS)


def test_a_program_is_shrunk_to_what_shows_the_difference():
    program = parse(
        "set b 4; execute a thrice(+3 once(+2)); submit y b once(+1 hold emit); stats;"
        "update b 3; restart; stop b; clean-all; execute - pair(+2)"
    )

    def shows(candidate):
        ended = [entry.expected.get("ended", {}) for entry in script(candidate)]
        return any("SessionStoppedError" in str(one) for one in ended)

    assert str(sensible(shrink(program, shows))) == "submit x a once(hold); stop a"


def test_shrinking_comes_to_an_end_whatever_is_said():
    for text in drawn(EVERYTHING, 3, 10):
        assert len(shrink(parse(text), lambda _: True)) == 1


def test_a_search_stops_at_the_first_find_and_asks_about_each_program_once():
    asked = []

    def judge(program):
        asked.append(str(program))
        return "found" if "restart" in str(program) else None

    search = Search(judge, themes=[EVERYTHING], seed=1, examples=200)
    program, verdict = search.run()
    assert (str(program), verdict) == ("restart", "found")
    assert len(asked) == len(set(asked))
    assert search.tried < 200


def test_a_search_without_patience_gives_what_it_found_first():
    search = Search(
        lambda program: "found" if "restart" in str(program) else None,
        themes=[EVERYTHING], seed=1, examples=200, patience=-1.0,
    )  # fmt: skip
    program, _ = search.run()
    assert program == search.first
