"""Scraping a process's metrics, as Prometheus does."""

import aiohttp
from prometheus_client.parser import text_string_to_metric_families


async def scraped(url: str) -> dict[str, float]:
    """Return the samples of an admin endpoint, summed over their labels."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        text = await answer.text()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
