"""A space of settings: each field has one value, or a domain of possible values.

    Space(dataset="mnist-5k", optimizer=choice("sgd", "sam"), lr=log(1e-3, 0.3),
          rho=log(1e-3, 2).when(optimizer="sam"))

The fields have the same names as in a setting's row (see `trainables.setting`). A grid
has all settings of a space. A random study draws some settings at random. In a search,
Optuna chooses the settings.
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
from trainables.setting import REGISTRIES, Row, Setting, part_row
from trainables.usage import UsageError, choose

# a function that gets the name and the domain of a field, and returns a value
Pick = Callable[[str, Domain], Any]
# `Space.random` gives up after this many draws per requested setting
DRAWS = 100


@attrs.frozen(init=False)
class Space:
    """A set of settings. Each field has one value, or a domain of possible values.

    A field that is not given has its default value.
    """

    fields: Mapping[str, Any]

    def __init__(self, **fields: Any) -> None:
        """Create the space from a value or a `Domain` for each field.

        Raises:
            UsageError: A name is unknown, a value or domain is wrong, or a field is
                given for settings that cannot have it, such as rho for SGD.
        """
        self.__attrs_init__(fields)
        for name in fields:
            choose("field", name, SETTING_COLUMNS)
        for name, domain in self.domains.items():
            domain.check(name)
            self._check_conditions(name, domain)
        for pick in self._corners():  # check the settings with extreme values
            self.make_setting(pick)

    @property
    def domains(self) -> dict[str, Domain]:
        """The domains by name of the field, without the fields that have one value."""
        return {n: d for n, d in self.fields.items() if isinstance(d, Domain)}

    def fix(self, **values: Any) -> Space:
        """Return a copy of the space, in which the named fields have these values.

        A value can also be a whole part of a setting, e.g. a network.
        """
        fields = dict(self.fields)
        for name, value in values.items():
            is_part = name in REGISTRIES and not isinstance(value, str | Domain)
            fields |= part_row(name, value) if is_part else {name: value}
        return Space(**fields)

    def extremes(self, name: str) -> tuple[Any, ...]:
        """Return `Domain.extremes` of a field, or its only value."""
        field = self.fields.get(name)
        if isinstance(field, Domain):
            return field.extremes
        return (getattr(self.example, name),)

    @property
    def example(self) -> Setting:
        """The setting with the first value of each choice and the low end of ranges."""
        return self.make_setting(_pick({}))

    def make_setting(self, pick: Pick) -> Setting:
        """Return the setting for which `pick` chooses a value from each domain.

        The setting does not have a field if the conditions of its domain are not met.

        Raises:
            UsageError: The values do not make a valid setting.
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
            if "has a hyperparameter" not in str(error):
                raise
            hint = "give a condition such as rho=log(0.01, 1).when(optimizer='sam')"
            raise UsageError(f"{error}, or {hint}") from None

    def draw(self, random: np.random.Generator) -> Setting:
        """Return a setting with a random value from each domain."""
        return self.make_setting(lambda _, domain: domain.draw(random))

    def grid(self) -> tuple[Setting, ...]:
        """Return all settings of the space. Every domain must be a choice of values.

        >>> from study.spec.domain import choice
        >>> space = Space(optimizer=choice("sgd", "sam"), lr=choice(0.1, 0.01))
        >>> [(s.optimizer.name, s.optimizer.lr) for s in space.grid()]
        [('sgd', 0.1), ('sgd', 0.01), ('sam', 0.1), ('sam', 0.01)]

        Raises:
            UsageError: A domain is a range.
        """
        for name, domain in self.domains.items():
            if domain.kind != "choice":
                raise UsageError(
                    f"{name} is {domain}: a grid needs a choice of values, such as "
                    f"{name}=choice(...)"
                )
        products = itertools.product(*(d.extremes for d in self.domains.values()))
        points = [dict(zip(self.domains, values, strict=True)) for values in products]
        # Two combinations of values give the same setting if they differ only in a
        # field that the setting does not have. The dict keeps one of them.
        return tuple(dict.fromkeys(self.make_setting(_pick(p)) for p in points))

    def random(self, count: int, seed: int = 0) -> tuple[Setting, ...]:
        """Return `count` different random settings. Equal seeds give equal settings.

        Raises:
            UsageError: The draws found fewer than `count` different settings.
        """
        random = np.random.Generator(np.random.PCG64(check_whole("seed", seed, 0)))
        settings: dict[Setting, None] = {}
        for _ in range(DRAWS * check_whole("count", count)):
            settings[self.draw(random)] = None
            if len(settings) == count:
                return tuple(settings)
        raise UsageError(
            f"cannot draw {count} different random settings, because the draws found "
            f"only {len(settings)}: ask for fewer settings"
        )

    def describe(self) -> dict[str, str]:
        """Return a text for each field. The texts identify a search in its results."""
        return {name: str(value) for name, value in self.fields.items()}

    def _check_conditions(self, name: str, domain: Domain) -> None:
        """Check that each condition names an earlier field and its possible values."""
        earlier = itertools.takewhile(lambda other: other != name, self.fields)
        fields = {other: self.fields[other] for other in earlier}
        for other, values in domain.conditions.items():
            if other not in fields:
                raise UsageError(
                    f"{name} depends on {other}: give {other} before {name}"
                )
            field, possible = fields[other], (fields[other],)
            if isinstance(field, Domain):
                possible = field.extremes
                if field.kind != "choice":
                    raise UsageError(
                        f"{name} cannot depend on {other}, because {other} is a range "
                        f"({field}): use a field that is declared with choice(...)"
                    )
            for value in values:
                choose(
                    f"{other} (in the condition of {name})",
                    str(value),
                    map(str, possible),
                )

    def _corners(self) -> Iterator[Pick]:
        """Yield functions that together pick every extreme value of every domain."""
        yield _pick({})
        for name, domain in self.domains.items():
            for extreme in domain.extremes:
                yield _pick({**self._conditions_met(name), name: extreme})

    def _conditions_met(self, name: str) -> dict[str, Any]:
        """Return values of other fields that meet the conditions of the named field."""
        values: dict[str, Any] = {}
        if isinstance(domain := self.fields[name], Domain):
            for other, allowed in domain.conditions.items():
                values |= {other: allowed[0], **self._conditions_met(other)}
        return values


def _pick(values: Mapping[str, Any]) -> Pick:
    """Return a function that picks from `values`, else the first value of a domain."""
    return lambda name, domain: values.get(name, domain.extremes[0])
