"""Synthetic speech, by eSpeak NG as the wheel ``espeakng-loader`` ships it."""

import ctypes

import numpy as np

from schemas.errors import TapelineError
from tapeline.emulator.audio_files import Samples

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns when all is spoken
_UTF8 = 1  # espeakCHARS_UTF8
_NO_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class SpeechError(TapelineError):
    """eSpeak NG is not there, or refuses."""


class Voices:
    """Speaks in several voices. One at a time a process: eSpeak NG keeps its state to itself."""

    def __init__(self) -> None:
        """Load the library and its data. Raise SpeechError, or ImportError without the extra."""
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self.rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _NO_EXIT)
        if self.rate_hz <= 0:
            raise SpeechError(f"eSpeak NG could not start with the data in {data.decode()}")

    def say(self, text: str, voice: str = "en") -> Samples:
        """Return a text as 16-bit samples at ``rate_hz``, one channel. Raise SpeechError."""
        spoken: list[Samples] = []

        @_Callback
        def take(samples: object, count: int, events: object) -> int:
            if samples and count > 0:
                spoken.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        self._library.espeak_SetSynthCallback(take)
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise SpeechError(f"eSpeak NG has no voice {voice!r}")
        said = text.encode()
        if self._library.espeak_Synth(said, len(said) + 1, 0, 0, 0, _UTF8, None, None):
            raise SpeechError(f"eSpeak NG could not say {text!r}")
        self._library.espeak_Synchronize()
        return np.concatenate(spoken) if spoken else np.zeros(0, np.int16)
