"""The oracles on runtimes: the right ones agree, the broken ones are found and shown small."""

import json
import shlex
from contextlib import asynccontextmanager, contextmanager
from unittest.mock import patch

import pytest
import trio

from am2z import LocalRuntime, cli
from am2z.local.engine import Engine
from am2z.local.locks import LocalLocks
from am2z.local.state import LocalStateManager
from harness import RuntimeUnderTest
from harness.builtin import LOCAL, QUEUE_FAKE
from harness.kit import Kit
from harness.oracle.compare import compare, unlike_the_model
from harness.oracle.model import ANY, script, sensible
from harness.oracle.play import play
from harness.oracle.reading import parse
from harness.oracle.sides import Sides
from harness.outcome import Status
from harness.rules import published_rules
from harness.zoo import load_mutants
from tests.harness.conftest import make_local

EVERYTHING = """
    execute a thrice(+1 !network<2 &n once(+2 emit)); submit x a once(hold progress +2); stats;
    submit y a single(hold); submit z b single(+1); release x; again x; stop a; get a;
    execute a once(+1); clean a; execute a once(once(once(once())?)? +1); many b 3 once(+1);
    execute b pair(+1); execute - pair(+1 !foreign); submit x b later(!network); stats; cancel x;
    delay y b once(); execute - nobody(); execute b once(nobody()?); execute a thrice(!partial);
    update b 3; updates b 4; race b 3; set b 3; set-wrong b 4; set-right a 4; clean-all; update b 1;
    delete b; lock l; lock l; line m 4; cancel y; restart; lock l; unlock l;
    submit z a thrice(hold); inside a wary(+1 !torn<3 who); execute a fork(+1 !passing<3);
    execute a fork(&n);
    inside a way(!group); execute a swarm(who +2); mixed 4 plain(progress +2 once(who));
    at x a once();
    execute - brief(+1 emit); execute - wary(!foreign); execute - once(!strange); cancel x;
    past x a once(hold !broken); twin x; clash x; submit y b single(hold); spoil a; expire b 3;
    execute a once(!nothing); release x; letters; revive x; mend; revive x; revive x; drop x;
    execute b thrice(!passing); forget once; execute a way(+1); learn once; execute a once(who);
    letters; get a; cancel y; cancel z
"""


def observed(subject, text):
    planned = script(parse(text))
    kit = Kit(subject, "am2z-test-play")
    seen = trio.run(play, kit, [entry.op for entry in planned if entry.op is not None])
    return planned, seen


@pytest.mark.parametrize("subject", [LOCAL, QUEUE_FAKE], ids=lambda subject: subject.name)
def test_a_program_with_everything_shows_what_the_model_says(subject):
    planned, seen = observed(subject, EVERYTHING)
    assert sensible(parse(EVERYTHING)) == parse(EVERYTHING)
    assert unlike_the_model(planned, seen) == []


def test_what_is_left_open_is_not_compared():
    planned, seen = observed(LOCAL, "execute a once(); stop a; stats")
    assert planned[2].expected["session stats"]["a"] is ANY
    other = [{**one} for one in seen]
    other[2] = {**seen[2], "session stats": {"a": "whatever", "b": {}}}
    assert compare(planned, seen, other) == []
    other[2] = {**seen[2], "session stats": {"a": {}, "b": "whatever"}}
    (difference,) = compare(planned, seen, other)
    assert (difference.number, difference.path) == (3, "session stats.b")


def test_the_state_and_the_results_are_seen_without_ids_and_times():
    first, second = observed(LOCAL, EVERYTHING)[1], observed(LOCAL, EVERYTHING)[1]
    assert json.dumps(first) == json.dumps(second)


@contextmanager
def commits_twice():
    """Wrong: an execution that had to be tried again is committed twice."""
    right = Engine._succeed

    def succeed(self, execution, outcome, data, metadata):
        if execution.attempt > 1 and execution.session is not None:
            self._store.commit(execution.request.session_id, outcome.state, data, "0" * 64)
        return right(self, execution, outcome, data, metadata)

    with patch.object(Engine, "_succeed", succeed):
        yield


@contextmanager
def fences_begin_anew():
    """Wrong: after a restart fences begin at 1 again."""
    right = LocalRuntime._engine

    @asynccontextmanager
    async def engine(self):
        self._lock_table = LocalLocks()
        async with right(self):
            yield

    with patch.object(LocalRuntime, "_engine", engine):
        yield


BROKEN = [
    (commits_twice, "execute a thrice(!network<2)"),
    (fences_begin_anew, "lock l; restart; lock l"),
]


@pytest.mark.parametrize(
    ("broken", "smallest"), BROKEN, ids=lambda one: getattr(one, "__name__", "")
)
def test_a_broken_runtime_is_found_and_shown_by_the_smallest_program(run, broken, smallest):
    with broken():
        status, out, _ = run("diff", "local", "--examples=300", "--seed=5", "--redis=fake")
        assert status == 1
        told, again = out.partition("\nAgain:\n")[::2]
        assert told.startswith("local and the model; seed 5\n")
        assert f" {smallest.split('; ')[-1]}\n" in told.partition("What local showed")[0]
        assert "What is different:" in told
        assert len(parse(shlex.split(again.splitlines()[0])[4])) == len(parse(smallest))
        one, many = (shlex.split(line)[1:] for line in again.splitlines()[:2])
        assert many == ["diff", "local", "--seed", "5", "--examples", "300", "--redis", "fake"]
        assert run(*one)[0] == 1
    assert run(*one)[0] == 0


def test_two_runtimes_that_differ_are_shown_side_by_side(run):
    with commits_twice():
        command = ("diff", "local", "queue", "--redis=fake", "--program")
        status, out, _ = run(*command, "stats; execute b thrice(+1 !network<3)")
    assert status == 1
    lines = [line.split() for line in out.partition("What is different:")[2].splitlines()]
    assert ["kept.b"] in lines
    assert ["local", "[1,", "[],", "2]"] in lines
    assert ["queue[fake]", "[1,", "[],", "1]"] in lines
    assert ["model", "[1,", "[],", "1]"] in lines


def test_the_difference_is_there_for_programs_too(run):
    command = ("diff", "local", "queue", "--redis=fake", "--json")
    with commits_twice():
        status, out, err = run(*command, "--program", "execute b thrice(+1 !network<3)")
    told = json.loads(out)
    assert (status, err) == (1, "")
    assert told["runtimes"] == ["local", "queue[fake]"]
    assert set(told["left_out"]) == {"reopen and crash"} or len(told["left_out"]) == 2
    found = told["difference"]
    assert found["program"] == "execute b thrice(+1 !network<3)"
    assert found["observations"][0]["local"]["kept"]["b"] == [1, [], 2]
    assert found["differences"][0]["path"] == "kept.b"
    assert parse(shlex.split(found["replay"])[5]) == parse(found["program"])


def test_runtimes_that_agree_end_with_0_and_say_how_much_was_tried(run):
    command = ("diff", "local", "queue", "--redis=fake", "--examples=6", "--seed=3")
    status, out, err = run(*command)
    assert (status, err) == (0, "")
    assert "local and queue[fake]; seed 3" in out
    assert "without crash" in out
    assert "no difference between local and queue[fake]: 6 programs" in out
    status, out, _ = run(*command, "--json")
    told = json.loads(out)
    assert (status, told["difference"], told["programs"]) == (0, None, 6)


def test_a_program_with_steps_that_make_no_sense_says_which(run):
    status, out, err = run("diff", "local", "--redis=fake", "--program=release x; stats")
    assert status == 0
    assert "1 operation," in out
    assert err == "am2z: makes no sense there, and is left out: release x\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lokal",), "did you mean local?"),
        (("local", "local", "local"), "name two runtimes"),
        (("local", "--examples=0"), "give at least 1"),
        (("local", "--timeout-scale=0"), "give a number above 0"),
        (("local", "--program=jump"), "'jump' is none of execute"),
        (("local", "queue", "--program=reopen"), "local does not support durable"),
        (("queue", "--program=crash a once()"), "queue[fake] does not support durable"),
        (("queue[server]",), "queue[server] needs a Redis server"),
        (("local", "--redis=postgres"), "choose one of auto"),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_says_why(run, arguments, words):
    redis = () if "--redis" in " ".join(arguments) else ("--redis=fake",)
    status, out, err = run("diff", *arguments, *redis)
    assert status == 2, out
    assert words in err
    assert "Traceback" not in err + out


def test_a_durable_runtime_survives_crashes_and_a_new_beginning(run, am2z_redis_url):
    program = "set a 3; crash a once(+2 once(emit)); reopen; execute a once(+1); stats"
    status, out, err = run(
        "diff", "queue[server]", f"--redis={am2z_redis_url}", "--program", program
    )
    assert status == 0, out + err


def test_crash_and_reopen_are_drawn_where_the_runtime_can(am2z_redis_url):
    from harness.servers import Servers, choose

    def verbs(*names):
        sides = Sides(names, Servers(choose(am2z_redis_url)))
        return {verb for theme in sides.themes() for verb in theme}

    assert {"crash", "reopen"} <= verbs("queue")
    assert not {"crash", "reopen"} & verbs("local", "queue")


# --- as rules of the suite

MODEL_RULES = ["EXE-045", "SES-020", "STA-026"]


def check(rule_id, subject=LOCAL, seed=0):
    return Kit(subject, "am2z-test-rule", seed=seed).check(published_rules()[rule_id])


@pytest.mark.parametrize("rule_id", [*MODEL_RULES, "STA-027", "RES-029"])
def test_the_rules_hold_for_the_local_runtime(rule_id):
    outcome = check(rule_id, seed=rule_id)
    assert outcome.status is Status.PASS, outcome.lesson


@pytest.mark.parametrize(
    ("rule_id", "mutant"),
    [
        ("EXE-045", "failed-child-counts-as-completed"),
        ("SES-020", "dropped-work-counts-as-completed"),
        ("STA-026", "restart-resets-versions"),
    ],
)
def test_a_broken_rule_shows_the_shrunk_program_and_how_to_run_it_again(run, rule_id, mutant):
    with load_mutants()[mutant].enter():
        outcome = check(rule_id)
        assert outcome.status is Status.FAIL
        assert outcome.story.program
        assert len(outcome.story.program.splitlines()) <= 4
        assert outcome.story.expected != outcome.story.actual
        again = next(line for line in outcome.lesson.splitlines() if "again: am2z diff" in line)
        command = shlex.split(again.partition("again: am2z ")[2])
        assert run(*command, "--redis=fake")[0] == 1
    assert run(*command, "--redis=fake")[0] == 0


@pytest.mark.parametrize(
    ("rule_id", "mutant"),
    [("STA-027", "write-after-look"), ("RES-029", "who-gives-up-frees-the-lock")],
)
def test_a_broken_history_is_told_where_it_goes_wrong(rule_id, mutant):
    with load_mutants()[mutant].enter():
        outcome = check(rule_id)
    assert outcome.status is Status.FAIL
    assert "no order in which one after the other" in outcome.lesson
    assert "client " in outcome.story.program


def test_a_runtime_that_never_answers_is_a_failure_and_ends(hurry):
    async def hang(*_args, **_options):
        await trio.sleep_forever()

    with patch.object(LocalRuntime, "execute", hang):
        assert check("EXE-045").status is Status.FAIL


def test_a_runtime_that_cannot_be_left_is_a_failure(monkeypatch):
    @asynccontextmanager
    async def make(env):
        async with make_local(env) as runtime:
            yield runtime
        raise OSError("the line is cut")

    subject = RuntimeUnderTest("mine", make, supports=LOCAL.supports, lacks=LOCAL.lacks)
    outcome = check("STA-026", subject)
    assert outcome.status is Status.FAIL
    assert "the line is cut" in outcome.lesson


def test_a_checker_that_crashes_is_never_green(monkeypatch):
    monkeypatch.setattr("harness.oracle.observe._LETTERS", None)
    assert check("STA-026").status is Status.UNDECIDED


def test_the_command_is_listed():
    assert "diff" in [command.NAME for command in cli.COMMANDS]


def test_a_torn_write_is_seen_by_the_model_alone():
    """A write that loses every second version, with a single client."""
    right = LocalStateManager.commit

    def commit(self, session_id, state, data, digest):
        current = self._peek(session_id)
        return (
            1
            if current is not None and current.version % 2 == 0
            else right(self, session_id, state, data, digest)
        )

    with patch.object(LocalStateManager, "commit", commit):
        planned, seen = observed(
            LOCAL, "execute a once(+1); execute a once(+1); execute a once(+1)"
        )
    (first, *_) = unlike_the_model(planned, seen)
    assert (first.number, first.path) == (3, "kept.a")
    assert first.values == ([2, [], 2],)
    assert first.expected == [3, [], 3]
