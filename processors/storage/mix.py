"""``mix.wav``: all tracks of a recording as the channels of one file, aligned by one clock."""

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.core.audio.formats import AudioFormat
from processors.core.audio.wav import too_long_for_wav, wav_header, wav_padding
from processors.core.record.manifest import MIX, Outline
from processors.core.record.timeline import Placed
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
    timeline = outline.timeline()
    if timeline.is_mostly_silence:
        return {"skipped": "it would be mostly silence: the tracks are many, or lie far apart"}, []
    if (why := too_long_for_wav(timeline.samples * len(timeline.channels))) is not None:
        return {"skipped": why}, []
    channels = [
        Channel(_sounding(takes, parts), takes[0].track.format.silence)
        for takes in timeline.channels.values()
    ]
    said = {
        "file": MIX,
        "sha256": "",
        "channels": [*timeline.channels],
        "first_sample": [placed.first_sample for placed in timeline.placed],
        "samples": timeline.samples,
        "aligned_by": timeline.aligned_by,
        "end_to_end": timeline.moved,
        "pauses_in": [placed.track.file for placed in timeline.placed if placed.pauses],
    }
    return said, channels


async def _sounding(takes: Sequence[Placed], parts: Parts) -> AsyncIterator[Sequence[Audio | int]]:
    """Yield a channel's audio in order, and, as numbers, the samples of silence before it."""
    at = 0
    for take in takes:
        yield [take.first_sample - at]
        pauses, position = deque(take.pauses), 0
        async for segments in parts.audio(take.track.index):
            if not pauses:
                yield segments  # mostly
                continue
            sounding: list[Audio | int] = []
            for audio in segments:
                start = position
                while pauses and pauses[0][0] < position + len(audio):
                    sample, silence = pauses.popleft()
                    sounding += [audio[start - position : sample - position], silence]
                    start = sample
                sounding.append(audio[start - position :])
                position += len(audio)
            yield sounding
        at = take.end


class Channel:
    """The takes of a track on the mix's timeline: silence around them, and behind the last."""

    def __init__(self, audio: AsyncIterator[Sequence[Audio | int]], silence: bytes) -> None:
        self._audio = audio
        self._sounding: Iterator[Audio | int] = iter(())
        self._silence = silence[0]
        self._silent = 0
        self._rest = np.empty(0, np.uint8)

    async def fill(self, out: npt.NDArray[Any]) -> None:
        """Fill ``out`` with the samples that come next."""
        at = 0
        while at < len(out):
            if self._silent:
                taken = min(len(out) - at, self._silent)
                out[at : at + taken] = self._silence
                self._silent -= taken
            elif len(self._rest):
                taken = min(len(out) - at, len(self._rest))
                out[at : at + taken] = self._rest[:taken]
                self._rest = self._rest[taken:]
            elif (sound := next(self._sounding, None)) is None:
                more = await anext(self._audio, None)
                if more is None:
                    out[at:] = self._silence
                    return
                self._sounding = iter(more)
                continue
            elif isinstance(sound, int):
                self._silent = sound
                continue
            else:
                self._rest = np.frombuffer(sound, np.uint8)
                continue
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
