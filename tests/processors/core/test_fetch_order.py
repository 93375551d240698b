"""Which fetches are taken when one of them got lost: no record is ever passed over."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from processors.core.fetch_order import Disposition, disposition

TAKE, IGNORE, SEEK_BACK = Disposition.TAKE, Disposition.IGNORE, Disposition.SEEK_BACK


def test_a_fetch_that_goes_on_or_overlaps_is_taken_fresh_or_not() -> None:
    for fresh in (True, False):
        found = [disposition(start, 10, log_begins=0, fresh=fresh) for start in (10, 9, 0)]
        assert found == [TAKE] * 3


def test_before_a_lost_one_it_seeks_back_as_often_as_that_is_lost() -> None:
    assert disposition(11, 10, log_begins=0, fresh=False) is IGNORE
    assert [disposition(11, 10, log_begins=10, fresh=True) for _ in range(3)] == [SEEK_BACK] * 3


def test_where_the_log_begins_nothing_is_missing_before() -> None:
    for fresh in (True, False):
        assert disposition(60, 10, log_begins=60, fresh=fresh) is TAKE
        assert disposition(60, 10, log_begins=70, fresh=fresh) is TAKE
    assert disposition(75, 10, log_begins=60, fresh=True) is SEEK_BACK, "60 to 75 are there"
    assert disposition(75, 10, log_begins=60, fresh=False) is IGNORE


@dataclass
class Log:
    """A partition, an assigned consumer of it, and the agent that judges what the consumer hands out."""

    readable: list[bool]
    """Of each offset, whether there is a record: others were aborted, compacted, or are markers."""
    begins: int = 0
    position: int = 0
    known_begin: int = 0
    seeks: int = 0
    sought_back: int = 0
    next_offset: int = 0
    committed: int = 0
    taken: set[int] = field(default_factory=set)
    under_way: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Fetches handed out and not judged yet: start, end, seek, known begin."""

    def delete(self, count: int) -> None:
        """Retention removes the log's beginning."""
        self.begins = min(self.begins + count, len(self.readable))

    def fetch(self, size: int, *, lost: bool) -> None:
        """Fetch, from the log's beginning if the position lies before it; the consumer moves on."""
        if self.position < self.begins:
            self.position = self.known_begin = self.begins
        end = min(self.position + size, len(self.readable))
        if not lost:
            self.under_way.append((self.position, end, self.seeks, self.known_begin))
        self.position = end

    def judge(self) -> None:
        """Have the agent decide about the first fetch under way."""
        if not self.under_way:
            return
        start, end, seek, known_begin = self.under_way.pop(0)
        fresh = seek >= self.sought_back
        match disposition(start, self.next_offset, log_begins=known_begin, fresh=fresh):
            case Disposition.TAKE:
                passed_over = range(max(self.next_offset, self.begins), start)
                assert not any(self.readable[offset] for offset in passed_over)
                self.taken |= {o for o in range(start, end) if self.readable[o]}
                self.next_offset = max(self.next_offset, end)
            case Disposition.SEEK_BACK:
                self.seeks += 1
                self.position, self.sought_back = self.next_offset, self.seeks

    def move(self, back: int) -> None:
        """Have a rebalance or a restart go back to what was committed; what is under way is dropped."""
        self.committed = max(self.committed, self.next_offset - back)
        self.under_way.clear()
        self.seeks += 1
        self.position = self.next_offset = self.committed
        self.known_begin = 0

    def stray(self, offset: int) -> None:
        """Somebody else seeks, as Faust does behind a rebalance."""
        self.seeks += 1
        self.position = min(offset, self.position)


@given(
    readable=st.lists(st.booleans(), min_size=1, max_size=60),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("fetch"), st.integers(1, 12)),
            st.tuples(st.just("lose"), st.integers(1, 12)),
            st.tuples(st.just("judge"), st.just(0)),
            st.tuples(st.just("move"), st.integers(0, 12)),
            st.tuples(st.just("stray"), st.integers(0, 60)),
            st.tuples(st.just("delete"), st.integers(1, 6)),
        ),
        max_size=80,
    ),
)
def test_whatever_is_lost_and_sought_no_record_is_passed_over(
    readable: list[bool], steps: list[tuple[str, int]]
) -> None:
    """Any number of fetches in a row may get lost; and when no more are, all is read in few steps."""
    log, deleted = Log(readable), set[int]()
    for step, number in steps:
        match step:
            case "fetch" | "lose":
                log.fetch(number, lost=step == "lose")
            case "judge":
                log.judge()
            case "move":
                log.move(number)
            case "stray":
                log.stray(number)
            case "delete":
                log.delete(number)
                deleted |= set(range(log.begins)) - log.taken
    for _ in range(len(log.under_way) + 2 * len(readable) + 3):
        log.judge()
        if not log.under_way:
            log.fetch(5, lost=False)
    assert log.next_offset == len(readable)
    assert {o for o, is_readable in enumerate(readable) if is_readable} - deleted <= log.taken
