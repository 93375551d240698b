"""Histograms whose buckets are a thirty-second of their value wide: the scheme of HdrHistogram. Pure.

They hold whole numbers, exactly up to 63. A dictionary of buckets and counts does not grow with their number.
"""

import math
from collections.abc import Iterable, Mapping

#: Leading bits of a value that its bucket keeps.
_KEPT_BITS = 6


def bucket_of(value: int) -> int:
    """Return the bucket of a value; those of values below 0 mirror those above, and are below 0 too."""
    if value < 0:
        return -bucket_of(-value)
    shift = max(0, value.bit_length() - _KEPT_BITS)
    return (shift << _KEPT_BITS) + (value >> shift)


def outer_border(bucket: int) -> int:
    """Return the value in a bucket that lies the furthest from 0."""
    if bucket < 0:
        return -outer_border(-bucket)
    shift, kept = divmod(bucket, 1 << _KEPT_BITS)
    return (kept + 1 << shift) - 1


def percentiles(counts: Mapping[int, int], shares: Iterable[float]) -> list[int]:
    """Return, for each share, in rising order, the value that so many do not exceed (nearest rank).

    It is its bucket's outer border. There is at least one value.
    """
    total = sum(counts.values())
    buckets = iter(sorted(counts))
    found: list[int] = []
    seen, bucket = 0, 0
    for share in shares:
        rank = math.ceil(total * share)
        while seen < rank:
            bucket = next(buckets)
            seen += counts[bucket]
        found.append(outer_border(bucket))
    return found
