"""A space of settings: what is fixed, and what may be chosen, field by field.

    Space(dataset="mnist-5k", optimizer=choice("sgd", "sam"), lr=log(1e-3, 0.3),
          rho=log(1e-3, 2).when(optimizer="sam"))

It is written with the names of a setting's row (`trainables.setting`). A grid is all
its settings, a random space some of them, and a search has Optuna choose among them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.spec.domain import Choice, Domain
from trainables.checks import whole
from trainables.record import WHAT
from trainables.setting import Row, Setting
from trainables.usage import UsageError, choose

Pick = Callable[[str, Domain], Any]
"""Gives a field, by its name, one of its domain's values."""

TRIES = 100
"""Draws for each setting that is wanted, before the space is taken to be too small."""


@dataclass(frozen=True, init=False)
class Space:
    """What each field of a setting is or may be; what is left out is its default."""

    fields: dict[str, Any]

    def __init__(self, **fields: Any) -> None:
        """Take values and domains, by the names of a setting's row.

        Raises:
            UsageError: A name is unknown, a value is wrong, or a field is there where
                it does not belong.
        """
        object.__setattr__(self, "fields", fields)
        for name, domain in fields.items():
            choose("field", name, WHAT)
            if isinstance(domain, Domain):
                self._check_conditions(name, domain)
        for pick in self._corners():
            self.settle(pick)

    @property
    def domains(self) -> dict[str, Domain]:
        """The fields that are chosen."""
        return {n: d for n, d in self.fields.items() if isinstance(d, Domain)}

    def replaced(self, **fields: Any) -> Space:
        """Return the space with some fields fixed to these values."""
        return Space(**{**self.fields, **fields})

    def settle(self, pick: Pick) -> Setting:
        """Return the setting where each domain has the value that `pick` gives it.

        Raises:
            UsageError: There is no such setting.
        """
        row: Row = {}
        for name, value in self.fields.items():
            if not isinstance(value, Domain):
                row[name] = value
            elif all(row.get(n) in values for n, values in value.given.items()):
                row[name] = pick(name, value)
        try:
            return Setting.from_row(row)
        except UsageError as error:
            hint = "; or say when, as rho=log(0.01, 1).when(optimizer='sam')"
            more = hint if "does not belong" in str(error) else ""
            raise UsageError(f"{error}{more}") from None

    def grid(self) -> tuple[Setting, ...]:
        """Return all settings of a space of choices.

        >>> space = Space(optimizer=Choice(("sgd", "sam")), lr=Choice((0.1, 0.01)))
        >>> [(s.optimizer.name, s.optimizer.lr) for s in space.grid()]
        [('sgd', 0.1), ('sgd', 0.01), ('sam', 0.1), ('sam', 0.01)]

        Raises:
            UsageError: A field is no choice.
        """
        for name, domain in self.domains.items():
            if not isinstance(domain, Choice):
                raise UsageError(f"{name} is {domain}: a grid needs a choice of values")
        names = list(self.domains)
        every = itertools.product(*(domain.ends for domain in self.domains.values()))
        found = [self.settle(_values(dict(zip(names, v, strict=True)))) for v in every]
        return tuple(dict.fromkeys(found))  # a field that is not there tells none apart

    def random(self, count: int, seed: int = 0) -> tuple[Setting, ...]:
        """Return so many different settings, drawn evenly; the same for a seed.

        Raises:
            UsageError: There are not so many.
        """
        random = np.random.Generator(np.random.PCG64(whole("seed", seed, 0)))
        found: dict[Setting, None] = {}
        for _ in range(TRIES * whole("count", count)):
            found[self.settle(lambda _, domain: domain.draw(random))] = None
            if len(found) == count:
                return tuple(found)
        raise UsageError(f"{count} random settings: the space has only {len(found)}")

    def described(self) -> dict[str, str]:
        """Return each field in words, by which two spaces can be told apart."""
        return {name: str(value) for name, value in self.fields.items()}

    def _check_conditions(self, name: str, domain: Domain) -> None:
        """Refuse a condition on what comes later, or can never have that value."""
        before = dict(itertools.takewhile(lambda f: f[0] != name, self.fields.items()))
        for other, values in domain.given.items():
            if other not in before:
                raise UsageError(
                    f"{name} is there when {other} is {values[0]!r}: give {other} "
                    f"before {name}"
                )
            held = before[other]
            if isinstance(held, Domain) and not isinstance(held, Choice):
                raise UsageError(f"{name} cannot depend on {other}, which is {held}")
            known = held.values if isinstance(held, Choice) else (held,)
            for value in values:
                choose(f"{other} on which {name} depends", str(value), map(str, known))

    def _corners(self) -> Iterator[Pick]:
        """Yield picks such that each domain has each of its ends, and is there."""
        yield _values({})
        for name, domain in self.domains.items():
            needed: dict[str, Any] = {}
            self._need(name, needed)
            for end in domain.ends:
                yield _values({**needed, name: end})

    def _need(self, name: str, needed: dict[str, Any]) -> None:
        """Find the values that others must have for a field to be there."""
        domain = self.fields[name]
        if isinstance(domain, Domain):
            for other, values in domain.given.items():
                needed[other] = values[0]
                self._need(other, needed)


def _values(known: Mapping[str, Any]) -> Pick:
    """Return the pick of these values, and elsewhere of the first ones."""
    return lambda name, domain: known.get(name, domain.ends[0])
