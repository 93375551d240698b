"""What stands still although there is work and nothing outside is missing. Pure."""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: What has not moved for so long, while all that it needs answered, will not move by itself.
STANDSTILL_S = 120.0


class Standstill(Generic[K]):
    """Since when each of several things has been where it is."""

    def __init__(self) -> None:
        self._since: dict[K, tuple[Hashable, float]] = {}

    def observe(self, now_s: float, places: Mapping[K, Hashable]) -> list[K]:
        """Learn where each is that has work to do; return those that stand still.

        What is not among them has none: if it has again, it begins anew. So does all when ``places`` is
        empty, as it must be while anything outside is missing.
        """
        since = self._since
        self._since = {
            key: since[key] if key in since and since[key][0] == place else (place, now_s)
            for key, place in places.items()
        }
        return [key for key, (_, since_s) in self._since.items() if now_s - since_s >= STANDSTILL_S]
