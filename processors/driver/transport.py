"""Faust's aiokafka transport, mended in six places. Registered as ``tapeline://``.

1. **Batches.** An agent's input topic comes as one message per fetched partition batch; its value is a
   ``Batch``. Stock Faust spends 100 to 200 µs on each record. Changelogs are left alone: a batch in one
   would hang recovery for ever.
2. **Commits.** Stock Faust commits what an agent was handed, and with ``noack()`` runs past records in
   flight (its bug 606). Here exactly those offsets are committed that the agent declared safe.
3. **Ticks.** A partition that has been read to its end gets an empty batch each second: so what time
   alone brings about reaches the agent in turn, and only when it is known that nothing is left to read.
4. **Idempotent producing, by the batch.** A retry that overtakes another would break the order of the events;
   and a future for each record costs as much as its event.
5. **One event loop.** Stock Faust runs aiokafka's consumer in a thread of its own. One thread at a time can
   run Python, so all it does is hand each fetch from one core to the other: a seventh of what ``measure``
   costs. It also answers Kafka for an agent that is stuck, which so keeps its partitions.
6. **Fetches** are checked and unpacked at less cost, by ``fetching``.
"""

from faust.transport.drivers import aiokafka as stock

from processors.driver.consumer import Consumer
from processors.driver.producer import Producer


class Transport(stock.Transport):
    """``tapeline://host:port``."""

    Consumer = Consumer
    Producer = Producer
