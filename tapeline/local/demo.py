"""``tapeline demo``: the whole pipeline on this machine, and eight calls through it, compared."""

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from schemas.codec import Reader
from schemas.topics import RECORDINGS
from tapeline.checks.compare import differences
from tapeline.emulator.player import Progress, play
from tapeline.emulator.voxology import Call
from tapeline.interrupts import STOP_S
from tapeline.local.demo_calls import demo_calls
from tapeline.local.kafka import free_port_near, is_running
from tapeline.local.stack import PARTS, Stack, StackError
from tapeline.settings import Settings, usual_port
from tapeline.topics.reader import records

#: How long after the last call its recording may take.
_SAVED_TIMEOUT_S = 60
_BAR = 16


@dataclass(slots=True)
class Shown:
    """What is known of a call by now."""

    call: Call
    progress: Progress = field(default_factory=Progress)
    event: dict[str, Any] | None = None
    differences: list[str] | None = None


def _empty(folder: Path) -> None:
    """Remove what an earlier demo has left. Raise StackError if one runs there, or other files lie there."""
    if is_running(folder / "kafka"):
        raise StackError(f"a demo runs in {folder} already: stop it, or give another folder (--data)")
    others = sorted(path.name for path in folder.glob("*") if path.name not in PARTS)
    if others:
        raise StackError(
            f"{folder} would be emptied, and holds what is no demo's ({', '.join(others[:3])}): "
            "give a folder of its own (--data)"
        )
    shutil.rmtree(folder, ignore_errors=True)


async def run_demo(folder: Path, console: Console, *, keep: bool) -> int:
    """Run the demo; return 0 when every byte came back. Raise StackError, SpeechError, PlayError."""
    began = time.monotonic()
    _empty(folder)
    stack = Stack(
        folder,
        # A broker of its own in any case: another that answers there is somebody's.
        kafka_port=free_port_near(usual_port("kafka")) if keep else None,
        listen_port=free_port_near(usual_port("listen")) if keep else None,
        settings=defaults(),
    )

    def say(text: str, style: str = "") -> None:
        console.print(Text(f"{time.monotonic() - began:5.1f} s", "dim"), "", Text(text, style))

    try:
        say("starting Kafka")
        await stack.start_broker()
        say(f"Kafka answers at {stack.kafka}; starting the gateway and three agents")
        await stack.start_agents()
        await stack.start_gateway()
        say(f"the gateway listens at {stack.url}; making eight calls out of synthetic speech")
        calls = await asyncio.to_thread(demo_calls, int(time.time()), datetime.now(UTC))
        shown = {call.stream_id: Shown(call) for call in calls}
        say("playing them, in real time")
        await _play(stack, shown, console)
        for state in shown.values():
            _judge(state, stack.store)
        console.print(_results(shown, stack.store))
        console.print(_look(shown, stack.store), soft_wrap=True)
        failed = sum(state.differences != [] for state in shown.values())
        if failed:
            for state in shown.values():
                for difference in state.differences or []:
                    console.print(f"stream {state.call.stream_id}: {difference}", style="red")
        else:
            tracks = sum(len(call.tracks) for call in calls)
            say(f"{len(calls)} calls, {tracks} tracks: every byte is what was played", "green")
        if keep:
            await _keep(stack, console)
        await stack.stop_all()
        say("everything is stopped")
        return 1 if failed else 0
    except asyncio.CancelledError:
        # What was accepted is in Kafka, or in the spool: who is killed loses nothing.
        await stack.stop_all(STOP_S - 1)
        say("everything is stopped")
        raise
    except BaseException:
        await stack.stop_all()
        raise


def defaults() -> dict[str, str]:
    """Return what keeps the parts from anybody's settings: each as it is by default.

    In the environment or in a `.env` there may be another cluster, its security, a registry, tokens.
    """
    own = ("kafka", "listen", "store", "log_level", "log_format")
    declared = {name: field.default for name, field in Settings.model_fields.items() if name not in own}
    return {f"TAPELINE_{n.upper()}": "" if value is None else str(value) for n, value in declared.items()}


async def _play(stack: Stack, shown: dict[int, Shown], console: Console) -> None:
    """Play the calls and wait for their recordings, showing how far they are."""
    following = asyncio.create_task(_follow(stack, shown))
    playing = asyncio.gather(*(play(s.call, stack.url, progress=s.progress) for s in shown.values()))
    work = asyncio.create_task(_finish(playing, following))
    reported: set[int] = set()
    try:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            while not work.done():
                stack.check()
                if console.is_terminal:
                    live.update(_progress(shown))
                else:
                    _report(shown, reported, console)
                await asyncio.wait({work}, timeout=0.25)
        await work
        if not console.is_terminal:
            _report(shown, reported, console)
    finally:
        following.cancel()
        work.cancel()


async def _finish(playing: "asyncio.Future[Any]", following: "asyncio.Task[None]") -> None:
    await playing
    try:
        await asyncio.wait_for(asyncio.shield(following), _SAVED_TIMEOUT_S)
    except TimeoutError:
        raise StackError(f"recordings were not saved within {_SAVED_TIMEOUT_S} s") from None


async def _follow(stack: Stack, shown: dict[int, Shown]) -> None:
    """Note what becomes of each recording, until all are known."""
    reader = Reader()
    missing = set(shown)
    async for record in records(stack.cluster, RECORDINGS.name, from_beginning=True, exit_at_end=False):
        event = reader.decode(record.value)
        if event["stream_id"] in missing:
            shown[event["stream_id"]].event = event
            missing.discard(event["stream_id"])
        if not missing:
            return


def _judge(state: Shown, store: Path) -> None:
    event = state.event
    if event is None:
        state.differences = ["no recording"]
    elif event["type"] != "RecordingSaved":
        state.differences = [f"{event['type']}: {event['payload']['reason']}"]
    else:
        state.differences = differences(state.call, store / event["payload"]["path"])


def _progress(shown: dict[int, Shown]) -> Table:
    # Fits a terminal of 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0))
    for title in ("stream", "tracks", "", "audio", "sent", "recording"):
        table.add_column(title, justify="right" if title in ("audio", "sent") else "left", no_wrap=True)
    for state in shown.values():
        call, progress = state.call, state.progress
        done = progress.at_ms / call.duration_ms if call.duration_ms else 1.0
        filled = round(done * _BAR)
        table.add_row(
            str(call.stream_id),
            ", ".join(track.name for track in call.tracks),
            Text("━" * filled, "green") + Text("─" * (_BAR - filled), "dim"),
            f"{progress.at_ms / 1000:.1f}/{call.duration_ms / 1000:.1f} s",
            str(progress.sent),
            _verdict(state),
        )
    return table


def _verdict(state: Shown) -> str:
    if state.event is not None:
        return "saved" if state.event["type"] == "RecordingSaved" else "failed"
    return "being written" if state.progress.done else ""


def _report(shown: dict[int, Shown], reported: set[int], console: Console) -> None:
    """Print a line for each recording, on an output that is no terminal."""
    for stream_id, state in shown.items():
        if state.event is not None and stream_id not in reported:
            reported.add(stream_id)
            console.print(f"         stream {stream_id}: recording {_verdict(state)}")


def _results(shown: dict[int, Shown], store: Path) -> Group:
    table = Table(title="Recordings", title_justify="left")
    for title in ("stream", "file", "length", "chunks", "state", "bytes"):
        table.add_column(title, justify="right" if title in ("length", "chunks") else "left", no_wrap=True)
    for state in shown.values():
        payload = (state.event or {}).get("payload", {})
        same = state.differences == []
        for number, track in enumerate(payload.get("tracks", [])):
            first = number == 0
            table.add_row(
                str(state.call.stream_id) if first else "",
                track["file"],
                f"{track['duration_ms'] / 1000:.2f} s",
                f"{track['chunks_received']}" + (f" -{track['chunks_lost']}" * bool(track["chunks_lost"])),
                ("complete" if payload["complete"] else "partial") if first else "",
                (Text("identical", "green") if same else Text("different", "red")) if first else "",
            )
    where = (
        f"They lie in {_from_here(store)}/recordings/date=…/stream=…/, each with mix.wav and recording.json"
    )
    return Group(table, Text(where))


def _look(shown: dict[int, Shown], store: Path) -> str:
    """Return how to look at the longest call."""
    longest = max(shown.values(), key=lambda state: state.call.duration_ms).call.stream_id
    # What the demo needs to run has no charts.
    first = "" if find_spec("matplotlib") else "make setup && "
    show = f"{_command()} show {longest} --no-arrivals --store {store.absolute().as_uri()}"
    return f"To look at one: {first}{show}"


def _command() -> str:
    """Return how the command line was called here."""
    called = Path(sys.argv[0])
    return "python -m tapeline" if called.name == "__main__.py" else str(_from_here(called))


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


async def _keep(stack: Stack, console: Console) -> None:
    named = ("TAPELINE_KAFKA", "TAPELINE_LISTEN", "TAPELINE_STORE")
    settings = " ".join(f"{name}={stack.environment[name]}" for name in named)
    console.print(
        f"\nThe stack stays up. Send it a call of yours from another terminal:\n"
        f"  {_command()} play YOUR.wav --url {stack.url}\n"
        f"and look at what comes of it:\n"
        f"  {_command()} tap voxology.recordings --from-beginning --kafka {stack.kafka}\n"
        f"Its settings: {settings}\nLogs: {_from_here(stack.folder / 'logs')}. Ctrl-C stops it.",
        soft_wrap=True,
    )
    while True:
        stack.check()
        await asyncio.sleep(1)
