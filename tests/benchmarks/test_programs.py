"""The programs that are measured, at their smallest."""

import shutil

import pytest

from benchmarks.profiling import Profile, profile_page
from benchmarks.rounds import QUICK, measured
from benchmarks.sampling import Sampler
from benchmarks.server import redis_server
from benchmarks.subjects import OURS, SUBJECTS, chosen

TINY = QUICK._replace(rounds=1, each=20, bulk=100, trips=10, calls=100, chains=3, idle=0.1)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not on PATH")
def test_our_program_answers_every_measure():
    [ours] = chosen([OURS])
    with redis_server() as server:
        found, settings = measured(ours, server, TINY)
    assert settings
    named = "drain drain_two p50 callers nested memory full_redis hot"
    assert set(named.split()) <= found.keys()
    assert all(value > 0 for name, value in found.items() if name != "idle"), found


def test_an_unknown_subject_is_refused_by_name():
    with pytest.raises(ValueError, match="sidekiq: known are am2z"):
        chosen(["sidekiq"])
    assert len(chosen([])) == len(SUBJECTS)


def test_a_profile_says_in_which_function_the_time_went(tmp_path):
    def busy():
        return sum(number * number for number in range(1000))

    sampler = Sampler()
    sampler.start()
    try:
        # A single sample may fall on any line of this loop; of many, some fall where the time goes.
        while sampler.count < 50:
            busy()
    finally:
        sampler.stop()
    sampler.write(tmp_path / "samples", 10)
    profile = Profile.read(tmp_path / "samples")
    text = profile_page("Busy", profile)
    assert "10 jobs" in text
    assert "busy" in text
