"""The options of the sweep: which are refused, and what they change in a study."""

from __future__ import annotations

import attrs
import pytest

from study.spec.domain import choice
from study.spec.options import SweepOptions
from study.spec.search import SEARCHES, Search
from study.spec.space import Space
from study.spec.studies import STUDIES
from trainables.learners import DQN
from trainables.networks import Conv
from trainables.setting import RunOptions
from trainables.usage import UsageError, run_command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 0}, "--tasks is 0: it must be a whole number, at least 1"),
        ({"batch_size": "abc"}, "--batch-size is 'abc': it must be a whole number"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"landscape_every": -1}, "--landscape-every is -1"),
        ({"look_back": -1}, "--look-back is -1"),
        ({"patience": -1.0}, "--patience is -1.0"),
        ({"cpus_per_trial": 0.0}, "--cpus-per-trial is 0.0"),
        ({"gpus_per_trial": 1.5}, "above 1 it must be a whole number"),
        ({"stack": "many"}, "--stack is 'many'"),
        ({"stack": "0"}, "--stack is '0'"),
    ],
)
def test_a_value_out_of_range_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        SweepOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"study": "search", "stack": "3"}, "--stack is 3: a search trains all seeds"),
        ({"study": "search", "objective": "mean_acuracy"}, "did you mean 'mean_acc"),
        ({"trials": 3}, "--trials is for a search, but quickstart is not"),
        ({"asha": True}, "--asha is for a search"),
        ({"objective": "mean_accuracy"}, "--objective is for a search"),
        ({"dataset": "mnst"}, "did you mean 'mnist'"),
        ({"network": "cnov"}, "unknown network 'cnov': did you mean 'conv'"),
        ({"conv_channels": "8"}, "--conv-channels is 8, but the network is mlp"),
        ({"network": "conv", "conv_channels": "8-x"}, "conv_channels is '8-x'"),
        ({"hidden": "a"}, "hidden is 'a'"),
        ({"learner": "dqm"}, "unknown learner 'dqm': did you mean 'dqn'"),
        ({"learner": "dqn"}, "in problem permuted the network chooses no actions"),
    ],
)
def test_an_option_that_does_not_go_with_the_study_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        SweepOptions(**options).load_study()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--batch-size abc", "--batch-size is 'abc': it must be a whole number, at "),
        ("--look-back 1.5", "--look-back is '1.5': it must be a whole number, at "),
        ("--patience soon", "--patience is 'soon': it must be a number at least 0"),
    ],
)
def test_text_for_a_number_is_refused_in_one_line(words, line, capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(SweepOptions, prog="sweep", args=words.split())
    assert caught.value.code == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith(f"error: {line}")


def test_options_modify_a_study():
    assert SweepOptions().load_study() == STUDIES["quickstart"]
    study = SweepOptions(seeds=2, tasks=3, hidden="5-5", epochs=1).load_study()
    assert study.seeds == (0, 1)
    assert {(s.tasks, s.hidden, s.epochs) for s in study.settings} == {(3, (5, 5), 1)}


def test_options_choose_the_network():
    options = {"network": "conv", "conv_channels": "8-16"}
    conv = Conv(conv_channels="8-16")
    for study in ("quickstart", "search"):
        changed = SweepOptions(study=study, hidden="64-64", **options).load_study()
        settings = getattr(changed, "settings", None) or [changed.space.example]
        assert {(s.network, s.hidden) for s in settings} == {(conv, (64, 64))}
    default = SweepOptions(network="conv").load_study().settings
    assert {(s.network, s.hidden) for s in default} == {(Conv(), (128, 128))}
    same = SweepOptions(network="mlp").load_study().settings
    assert same == STUDIES["quickstart"].settings


def test_an_option_chooses_the_learner():
    study = SweepOptions(study="control", learner="dqn").load_study()
    plain = STUDIES["control"].settings
    assert [attrs.evolve(s, learner=None) for s in study.settings] == [*plain]
    assert {s.learner for s in study.settings} == {DQN()}


def test_a_search_keeps_its_domains_if_an_option_chooses_the_learner(monkeypatch):
    fields = {"problem": "cartpole", "base": "adam", "learner": "dqn"}
    search = Search("mine", Space(**fields, replay_size=choice(2000, 5000)), (0,))
    monkeypatch.setitem(SEARCHES, "mine", search)
    assert SweepOptions(study="mine", learner="dqn").load_study() == search


def test_options_modify_a_search():
    assert SweepOptions(study="search").load_study() == SEARCHES["search"]
    options = SweepOptions(
        study="search", trials=7, hidden="5", objective="plasticity_loss,mean_accuracy"
    )
    search = options.load_study()
    assert (search.trials, search.space.example.hidden) == (7, (5,))
    assert search.objectives == ("plasticity_loss", "mean_accuracy")
    assert SweepOptions(study="search", asha=True).load_study().asha


def test_the_study_says_how_often_the_landscape_is_measured_unless_an_option_does():
    study = STUDIES["rho-small"]
    assert SweepOptions().run_options(study) == RunOptions(landscape_every=45)
    options = SweepOptions(landscape_every=0, look_back=2, checkpoint_every=5)
    assert options.run_options(study) == RunOptions(
        landscape_every=0, look_back=2, checkpoint_every=5
    )
    search = SEARCHES["search"]
    assert SweepOptions().run_options(search) == RunOptions()
