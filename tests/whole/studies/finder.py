"""A small search, with trials long enough to be stopped in."""

from study.spec.domain import choice, log
from study.spec.search import Search
from study.spec.space import Space

STUDY = Search(
    "finder",
    Space(
        problem="permuted",
        dataset="mnist-5k",
        tasks=8,
        batch_size=8,
        hidden="10",
        optimizer=choice("sgd", "sam"),
        lr=log(1e-3, 0.3),
        rho=log(1e-3, 2).when(optimizer="sam"),
    ),
    seeds=range(2),
    trials=6,
    landscape_every=0,
)
