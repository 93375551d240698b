"""``mix.wav``: all tracks of a recording as the channels of one file, aligned by one clock."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.core.audio.formats import AudioFormat
from processors.core.audio.wav import wav_header, wav_padding
from processors.core.record.manifest import MIX, Outline
from processors.storage.parts import Audio, Parts


def mixed(outline: Outline, parts: Parts) -> tuple[dict[str, Any], "list[Channel]"]:
    """Align all tracks as the channels of one file; no channels, no file.

    Return what the manifest says of the file, and the channels.
    """
    tracks = outline.tracks
    formats = {(t.format.encoding, t.format.rate_hz) for t in tracks}
    if not tracks:
        return {"skipped": "the stream has no track"}, []
    if len(formats) > 1 or not tracks[0].format.is_g711:
        return {"skipped": "the tracks are coded differently, or in no law of G.711"}, []
    aligned = outline.alignment()
    offsets = aligned.first_sample
    longest = max(o + t.closed.samples for o, t in zip(offsets, tracks, strict=True))
    channels = [
        Channel(parts.audio(track.index), offset, track.format.silence)
        for offset, track in zip(offsets, tracks, strict=True)
    ]
    said = {
        "file": MIX,
        "sha256": "",
        "channels": [t.name for t in tracks],
        "first_sample": offsets,
        "samples": longest,
        "aligned_by": aligned.aligned_by,
    }
    return said, channels


class Channel:
    """A track on the mix's timeline: silence before it, its audio, silence behind it."""

    def __init__(self, audio: AsyncIterator[list[Audio]], before: int, silence: bytes) -> None:
        self._audio = audio
        self._segments: Iterator[Audio] = iter(())
        self._before = before
        self._silence = silence[0]
        self._rest = np.empty(0, np.uint8)

    async def fill(self, out: npt.NDArray[Any]) -> None:
        """Fill ``out`` with the samples that come next."""
        at = min(self._before, len(out))
        out[:at] = self._silence
        self._before -= at
        while at < len(out):
            if not len(self._rest):
                if (segment := next(self._segments, None)) is None:
                    more = await anext(self._audio, None)
                    if more is None:
                        out[at:] = self._silence
                        return
                    self._segments = iter(more)
                    continue
                self._rest = np.frombuffer(segment, np.uint8)
            taken = min(len(out) - at, len(self._rest))
            out[at : at + taken] = self._rest[:taken]
            self._rest = self._rest[taken:]
            at += taken


async def interleaved(
    audio: AudioFormat, channels: Sequence[Channel], samples: int, size: int
) -> AsyncIterator[list[Audio]]:
    """Yield a WAV of channels, sample by sample, in blocks of ``size`` samples; the first has the header."""
    header = wav_header(audio.encoding, audio.rate_hz, len(channels), samples)
    size = max(1, size)
    for first in range(0, max(1, samples), size):
        block = np.empty(len(header) + min(size, samples - first) * len(channels), np.uint8)
        block[: len(header)] = np.frombuffer(header, np.uint8)
        frames = block[len(header) :].reshape(-1, len(channels))
        if len(channels) == 2:
            # By words of two bytes: a third of what every second byte, twice, would cost.
            words, first_channel = frames.view("<u2")[:, 0], np.empty(len(frames), np.uint8)
            await channels[1].fill(words)
            words <<= 8
            await channels[0].fill(first_channel)
            words |= first_channel
        else:
            for number, channel in enumerate(channels):
                await channel.fill(frames[:, number])
        yield [block.data]
        header = b""
    if padding := wav_padding(samples * len(channels)):
        yield [padding]
