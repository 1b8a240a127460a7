"""Schedulers' words for why a job waits, put in people's words."""

import pytest

from springtide.queues.reasons import explain_reason


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("Not Running: Insufficient amount of resource: ncpus (R: 4 A: 3 T: 12)", "cores are taken"),
        ("Not Running: Not enough free nodes available", "cores are taken"),
        ("Resources", "cores are taken"),
        ("Not Running: Insufficient amount of resource: mem", "Not enough memory"),
        ("Can Never Run: Insufficient amount of resource: ncpus (R: 400 A: 12 T: 12)", "more than any node"),
        ("Priority", "higher priority"),
        ("QOSMaxCpuPerUserLimit", "limits allow"),
        ("Not Running: User has reached server limit reached", "limits allow"),
        ("PartitionTimeLimit", "more time than the queue"),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "down or reserved"),
        ("Dependency", "another job"),
        ("JobHeldUser", "is held"),
        ("Something nobody knows", "Something nobody knows"),
        ("", ""),
    ],
)
def test_known_words_are_explained_and_unknown_ones_kept(words: str, said: str) -> None:
    assert said in explain_reason(words, "en")
    assert bool(explain_reason(words, "fr")) is bool(words)
