"""The tally: the finished work, the rest, and the time that is left."""

from __future__ import annotations

import io
import pickle
import time

import pytest
from rich.console import Console

from study.plan.trials import Trial
from study.running.progress import PLAIN_SECONDS, ProgressDisplay, Tally
from trainables.optimizers import GNP, SGD
from trainables.problems import Pairwise, Permuted
from trainables.setting import Setting

BIG = Trial(Setting(problem=Permuted(), optimizer=GNP(), tasks=10), (0, 1, 2))
SMALL = Trial(Setting(problem=Pairwise(), optimizer=SGD(), tasks=10), (0,))


def result(trial, tasks, diverged=0, waiting=None, warning=None):
    return {
        "name": trial.name,
        "tasks_done": tasks,
        "tasks_saved": 0,
        "runs_diverged": diverged,
        "waiting": waiting,
        "warning": warning,
    }


@pytest.fixture
def display(monkeypatch):
    """A function that shows a tally on a console of the test."""

    def make(tally, console):
        monkeypatch.setattr("study.console.console", console)
        monkeypatch.setattr("study.running.progress.console", console)
        return ProgressDisplay(tally)

    return make


def test_nothing_is_known_before_the_first_report():
    tally = Tally([BIG, SMALL], runs_before=5)
    assert tally.fraction == 0
    assert tally.seconds_left is None
    assert tally.line() == (
        "runs 5/9, tasks 0/40, 0.0 tasks/s, left ?, diverged 0, failed 0"
    )


def test_runs_count_when_their_stream_has_ended():
    tally = Tally([BIG, SMALL], runs_before=5)
    tally.report(result(BIG, 9, diverged=1))
    tally.report(result(SMALL, 10))
    assert tally.line().startswith("runs 6/9, tasks 37/40, ")
    assert "diverged 1" in tally.line()
    tally.report(result(BIG, 10, diverged=2))
    assert tally.line().startswith("runs 9/9, tasks 40/40, ")
    assert "diverged 2" in tally.line()
    assert tally.fraction == pytest.approx(1)


def test_a_trial_that_is_retried_counts_once():
    tally = Tally([BIG])
    for tasks in (1, 2, 3, 2, 3, 4):
        tally.report(result(BIG, tasks))
    assert tally.line().startswith("runs 0/3, tasks 12/30, ")


def test_work_is_weighed_by_its_cost():
    tally = Tally([BIG, SMALL])
    tally.report(result(SMALL, 10))
    share = SMALL.cost.work / (BIG.cost.work + SMALL.cost.work)
    assert share < 0.1
    assert tally.fraction == pytest.approx(share)


def test_the_time_left_is_that_of_the_rate_since_the_first_report():
    tally = Tally([BIG])
    tally.report(result(BIG, 1))
    assert tally.seconds_left is None
    tally.report(result(BIG, 4))
    tally.started = time.monotonic() - 30  # as if three tasks had taken 30 seconds
    assert tally.seconds_left == pytest.approx(60, rel=0.01)
    assert "left 1 min 0 s" in tally.line()
    assert "0.3 tasks/s" in tally.line()  # 9 tasks: three seeds


def test_tasks_that_a_checkpoint_brought_cost_nothing():
    fresh, resumed = Tally([BIG, SMALL]), Tally([BIG, SMALL])
    for tally, before in ((fresh, 0), (resumed, 7)):
        tally.report(result(SMALL, 1))
        tally.report(result(BIG, before + 1))
        tally.started = time.monotonic() - 10
    # a task of BIG took ten seconds; nine or two of BIG and nine of SMALL are left
    small = SMALL.cost.work / BIG.cost.work * 9
    assert fresh.seconds_left == pytest.approx(10 * (9 + small), rel=0.01)
    assert resumed.seconds_left == pytest.approx(10 * (2 + small), rel=0.01)


def test_plain_lines_come_now_and_then(display):
    out = io.StringIO()
    reporter = display(Tally([BIG]), Console(file=out, width=140))
    with reporter:
        reporter.on_trial_result(0, [], None, result(BIG, 1))
        assert out.getvalue() == ""
        reporter._last_shown -= PLAIN_SECONDS
        reporter.on_trial_result(0, [], None, result(BIG, 2))
        reporter.on_trial_result(0, [], None, result(BIG, 3))
        assert out.getvalue().count("\n") == 1
    lines = out.getvalue().splitlines()
    assert [line.split(", ")[1] for line in lines] == ["tasks 6/30", "tasks 9/30"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_has_one_live_line_that_fits(display, width):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width)
    with display(Tally([BIG] * 1, runs_before=100_000), console) as reporter:
        reporter.on_trial_result(0, [], None, result(BIG, 9))
        reporter._progress.refresh()
        # the cursor goes back to the beginning of the line, and never up
        assert "\x1b[1A" not in out.getvalue()
        assert "\n" not in out.getvalue()
    assert out.getvalue().count("\n") == 2  # the live line's end, and the last state


def test_a_reporter_is_pickled_without_its_terminal(display):
    reporter = display(Tally([BIG]), Console())
    assert isinstance(pickle.loads(pickle.dumps(reporter)), ProgressDisplay)


def test_storage_that_fails_is_said_once_and_again_when_it_answers(display):
    out = io.StringIO()
    reporter = display(Tally([BIG, SMALL]), Console(file=out, width=140))
    full = "OSError: [Errno 28] No space left on device"

    def take(*told, **more):
        reporter.on_trial_result(0, [], None, result(*told, **more))

    take(BIG, 1, waiting=full)  # a checkpoint that was not written: it has gone on
    assert reporter.tally.tasks_done[BIG.name] == 1
    for _ in range(3):
        take(SMALL, 10, waiting=full)
        take(SMALL, 10, waiting=full)
    assert reporter.tally.line().endswith("failed 0, waiting 2")
    take(SMALL, 10)
    assert out.getvalue().count("\n") == 1
    take(BIG, 2)
    assert out.getvalue().splitlines() == [
        f"The storage fails. Retrying: {full}",
        "The storage works again.",
    ]


def test_waiting_before_the_first_task_starts_no_clock():
    tally = Tally([BIG])
    tally.report(result(BIG, 0, waiting="OSError: no"))
    assert tally.started is None


def test_a_checkpoint_that_is_not_used_is_said_once(display):
    out = io.StringIO()
    reporter = display(Tally([BIG]), Console(file=out, width=140))
    for task in (1, 2):
        reporter.on_trial_result(0, [], None, result(BIG, task, warning="begun anew"))
    assert out.getvalue() == f"{BIG.label}: begun anew\n"
