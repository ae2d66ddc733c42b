"""A space of settings: each field has a value or a domain.

    Space(dataset="mnist-5k", optimizer=choice("sgd", "sam"), lr=log(1e-3, 0.3),
          rho=log(1e-3, 2).when(optimizer="sam"))

Fields have the names of a setting's row (`trainables.setting`). A grid is all settings
of a space; a random study draws some; a search lets Optuna suggest them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np

from study.spec.domain import Domain
from trainables.hyperparameter import check_whole
from trainables.record import SETTING_COLUMNS
from trainables.setting import Row, Setting
from trainables.usage import UsageError, choose

Pick = Callable[[str, Domain], Any]
"""Returns a value for a field's name and domain."""

DRAWS = 100
"""Draws for each random setting before the space counts as too small."""


@attrs.frozen(init=False)
class Space:
    """The value or domain of each field; a field that is left out has its default."""

    fields: Mapping[str, Any]

    def __init__(self, **fields: Any) -> None:
        """Take values and domains, by the names of a setting's row.

        Raises:
            UsageError: A name is unknown, a value or domain is wrong, or a field does
                not belong to some of the settings.
        """
        self.__attrs_init__(fields)
        for name in fields:
            choose("field", name, SETTING_COLUMNS)
        for name, domain in self.domains.items():
            domain.check(name)
            self._check_conditions(name, domain)
        for pick in self._corners():
            self.make_setting(pick)

    @property
    def domains(self) -> dict[str, Domain]:
        """The fields that have a domain."""
        return {n: d for n, d in self.fields.items() if isinstance(d, Domain)}

    def fix(self, **values: Any) -> Space:
        """Return the space with these values for some fields."""
        return Space(**{**self.fields, **values})

    def extremes(self, name: str) -> tuple[Any, ...]:
        """Return the least and the greatest value of a field, or all of a choice."""
        field = self.fields.get(name)
        if isinstance(field, Domain):
            return field.extremes
        return (getattr(self.example, name),)

    @property
    def example(self) -> Setting:
        """One of the settings."""
        return self.make_setting(_pick({}))

    def make_setting(self, pick: Pick) -> Setting:
        """Return the setting with a picked value in each domain.

        Raises:
            UsageError: There is no such setting.
        """
        row: Row = {}
        for name, value in self.fields.items():
            if not isinstance(value, Domain):
                row[name] = value
            elif all(row.get(n) in values for n, values in value.conditions.items()):
                row[name] = pick(name, value)
        try:
            return Setting.from_row(row)
        except UsageError as error:
            if "does not belong" not in str(error):
                raise
            hint = "give a condition, as rho=log(0.01, 1).when(optimizer='sam')"
            raise UsageError(f"{error}, or {hint}") from None

    def draw(self, random: np.random.Generator) -> Setting:
        """Return a setting, drawn uniformly."""
        return self.make_setting(lambda _, domain: domain.draw(random))

    def grid(self) -> tuple[Setting, ...]:
        """Return all settings of a space of choices.

        >>> from study.spec.domain import choice
        >>> space = Space(optimizer=choice("sgd", "sam"), lr=choice(0.1, 0.01))
        >>> [(s.optimizer.name, s.optimizer.lr) for s in space.grid()]
        [('sgd', 0.1), ('sgd', 0.01), ('sam', 0.1), ('sam', 0.01)]

        Raises:
            UsageError: A domain is not a choice.
        """
        for name, domain in self.domains.items():
            if domain.kind != "choice":
                raise UsageError(f"{name} is {domain}: a grid needs a choice of values")
        products = itertools.product(*(d.extremes for d in self.domains.values()))
        points = [dict(zip(self.domains, values, strict=True)) for values in products]
        # points that differ in a field that does not exist there are one setting
        return tuple(dict.fromkeys(self.make_setting(_pick(p)) for p in points))

    def random(self, count: int, seed: int = 0) -> tuple[Setting, ...]:
        """Return different settings, drawn uniformly; equal seeds draw equal settings.

        Raises:
            UsageError: The space has too few.
        """
        random = np.random.Generator(np.random.PCG64(check_whole("seed", seed, 0)))
        settings: dict[Setting, None] = {}
        for _ in range(DRAWS * check_whole("count", count)):
            settings[self.draw(random)] = None
            if len(settings) == count:
                return tuple(settings)
        raise UsageError(f"{count} random settings: the space has only {len(settings)}")

    def describe(self) -> dict[str, str]:
        """Return each field in words; they identify the space."""
        return {name: str(value) for name, value in self.fields.items()}

    def _check_conditions(self, name: str, domain: Domain) -> None:
        """Check that a condition is on a value that an earlier field can have."""
        earlier = itertools.takewhile(lambda other: other != name, self.fields)
        fields = {other: self.fields[other] for other in earlier}
        for other, values in domain.conditions.items():
            if other not in fields:
                raise UsageError(
                    f"{name} depends on {other}: give {other} before {name}"
                )
            field, known = fields[other], (fields[other],)
            if isinstance(field, Domain):
                known = field.extremes
                if field.kind != "choice":
                    raise UsageError(
                        f"{name} cannot depend on {other}, which is {field}"
                    )
            for value in values:
                choose(f"{other} on which {name} depends", str(value), map(str, known))

    def _corners(self) -> Iterator[Pick]:
        """Yield picks that take each extreme of each domain at least once."""
        yield _pick({})
        for name, domain in self.domains.items():
            for extreme in domain.extremes:
                yield _pick({**self._conditions_met(name), name: extreme})

    def _conditions_met(self, name: str) -> dict[str, Any]:
        """Return values of other fields with which a field exists."""
        values: dict[str, Any] = {}
        if isinstance(domain := self.fields[name], Domain):
            for other, allowed in domain.conditions.items():
                values |= {other: allowed[0], **self._conditions_met(other)}
        return values


def _pick(values: Mapping[str, Any]) -> Pick:
    """Return the pick of these values, and of the first extreme for other fields."""
    return lambda name, domain: values.get(name, domain.extremes[0])
