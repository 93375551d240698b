"""Faust's application, which keeps nothing on disk."""

import faust


class Application(faust.App):
    """An application without a data directory: its state is in memory and in Kafka."""

    def _create_directories(self) -> None:
        """Create none. Upstream makes ``<id>-data`` in the working directory, for stores such as RocksDB."""
