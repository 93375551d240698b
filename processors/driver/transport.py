"""Faust's aiokafka transport, overridden in five places. Registered as ``tapeline://``.

1. **Batches** (``consumer``, ``batch``). An agent's input topic comes as one message per fetched partition
   batch; its value is a ``Batch``. Upstream spends 100 to 200 µs on each record.
2. **Commits** (``consumer``). Upstream commits what an agent was handed, and with ``noack()`` runs past
   records in flight (its bug 606). Here exactly those offsets are committed that the agent declared
   committable.
3. **Punctuations** (``consumer``). A partition that has been read to its end gets an empty batch each second
   while fetches show its end. So time-outs reach the agent in order, and only when nothing is left to read.
4. **One event loop** (``threadless``). Upstream runs aiokafka's consumer in a thread of its own. One thread
   at a time can run Python, so all it does is hand each fetch from one core to the other: a seventh of what
   ``measure`` costs. It also answers Kafka for an agent that is stuck, which so keeps its partitions.
5. **Committed records** (``threadless``). Upstream reads those of aborted transactions too.

Beside the transport, fetches are checked and unpacked at less cost (``fetcher``) and tell where they begin
and end (``fetched``); each partition has a fenced producer (``producer``, ``fencing``) and its state in a
log of ``checkpoints``; the ``application`` writes nothing to disk.
"""

from faust.transport.drivers import aiokafka as upstream

from processors.driver.consumer import Consumer


class Transport(upstream.Transport):
    """``tapeline://host:port``."""

    Consumer = Consumer
