"""Faust's aiokafka transport, overridden in six places. Registered as ``tapeline://``.

1. **Batches** (``consumer``, ``batch``). An agent's input topic comes as one message per fetched partition
   batch; its value is a ``Batch``. Upstream spends 100 to 200 µs on each record. Changelogs stay as they are:
   a batch in one would hang recovery for ever.
2. **Commits** (``consumer``). Upstream commits what an agent was handed, and with ``noack()`` runs past
   records in flight (its bug 606). Here exactly those offsets are committed that the agent declared
   committable.
3. **Punctuations** (``consumer``). A partition that has been read to its end gets an empty batch each second.
   So time-outs reach the agent in order, and only when nothing is left to read.
4. **Idempotent producing, by the batch** (``producer``). A retry that overtakes another would break the order
   of the events; and a future for each record costs as much as its event.
5. **One event loop** (``threadless``). Upstream runs aiokafka's consumer in a thread of its own. One thread
   at a time can run Python, so all it does is hand each fetch from one core to the other: a seventh of what
   ``measure`` costs. It also answers Kafka for an agent that is stuck, which so keeps its partitions.
6. **Fetches** (``fetcher``) are checked and unpacked at less cost.

Beside the transport, the table of ``checkpoints`` waits for its writes, and the ``application`` writes
nothing to disk.
"""

from faust.transport.drivers import aiokafka as upstream

from processors.driver.consumer import Consumer
from processors.driver.producer import Producer


class Transport(upstream.Transport):
    """``tapeline://host:port``."""

    Consumer = Consumer
    Producer = Producer
