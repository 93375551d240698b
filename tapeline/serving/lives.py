"""When a process that ended is started again, and when that is given up. Pure."""

#: One that ends so soon the first time will do so again: its settings are wrong, or a port is taken.
SHORT_LIFE_S = 5.0
#: After a life of this length what went wrong before counts no more.
LONG_LIFE_S = 60.0
#: The first pause is doubled after each further death, up to the longest.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: It is given up after so many deaths in a row.
MOST_DEATHS = 8


class Lives:
    """The lives of one process, one after the other."""

    def __init__(self) -> None:
        self._has_lived = False
        self._deaths = 0

    def ended(self, lived_s: float) -> float | None:
        """Learn that it ended; return after how many seconds to start it again, None for not at all."""
        if lived_s >= LONG_LIFE_S:
            self._deaths = 0
        self._deaths += 1
        if not self._has_lived and lived_s < SHORT_LIFE_S:
            return None
        self._has_lived = True
        if self._deaths > MOST_DEATHS:
            return None
        return float(min(FIRST_PAUSE_S * 2 ** (self._deaths - 1), LONGEST_PAUSE_S))
