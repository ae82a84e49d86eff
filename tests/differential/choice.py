"""Choices, in words."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Choice:
    """What a generator asks for."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def of(self, options: Sequence[T]) -> T:
        return self._random.choice(options)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def weighted(self, weights: dict[T, int]) -> T:
        """One of the keys, as often as its weight says."""
        return self._random.choices([*weights], [*weights.values()])[0]

    def chance(self, percent: int) -> bool:
        return self._random.randrange(100) < percent

    def maybe(self, text: str, percent: int) -> str:
        return text if self.chance(percent) else ""
