from __future__ import annotations

import pytest

from tokenswarm.userinput import BadInput
from tokenswarm.workload.questions import Question, Questions


def some_questions(count: int) -> list[Question]:
    return [Question(str(number), f"q{number}", number, (f"q{number}",)) for number in range(count)]


def test_sequential_order_is_shared_and_starts_again_at_the_end():
    questions = Questions(some_questions(3))
    assert [questions.next().id for _ in range(7)] == ["0", "1", "2", "0", "1", "2", "0"]
    assert len(questions) == 3


def test_random_order_is_a_permutation_in_each_pass_and_the_seeds_own():
    questions = Questions(some_questions(50), "random", seed=3)
    first = [questions.next().id for _ in range(50)]
    second = [questions.next().id for _ in range(50)]
    assert sorted(first) == sorted(second) == sorted(str(number) for number in range(50))
    assert first != second
    assert [Questions(some_questions(50), "random", seed=3).at(index).id for index in range(100)] == first + second
    assert [Questions(some_questions(50), "random", seed=4).at(index).id for index in range(50)] != first


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_share_one_order(order, workers):
    alone = [Questions(some_questions(11), order, 1).at(index).id for index in range(workers * 20)]
    shares = [Questions(some_questions(11), order, 1, position, workers) for position in range(workers)]
    together = [shares[index % workers].next().id for index in range(workers * 20)]
    assert together == alone


def test_a_new_assignment_goes_on_where_the_order_is():
    questions = Questions(some_questions(100), worker_position=0, worker_count=2)
    assert [questions.next().id for _ in range(3)] == ["0", "2", "4"]
    questions.assign(1, 4)
    assert [questions.next().id for _ in range(3)] == ["9", "13", "17"]


def test_bad_order_and_no_questions():
    with pytest.raises(BadInput, match="expected sequential or random, got 'shuffled'"):
        Questions(some_questions(1), "shuffled")
    with pytest.raises(BadInput, match="expected at least one question"):
        Questions([])
    with pytest.raises(ValueError, match="worker position: expected 0 to 1, got 2"):
        Questions(some_questions(1), worker_position=2, worker_count=2)
