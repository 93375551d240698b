"""Comparing a recording with what was played, byte for byte."""

import hashlib
import json
from pathlib import Path
from typing import Any

from processors.core.audio.formats import ULAW
from processors.core.audio.wav import wav_header, wav_padding
from tapeline.emulator.voxology import RATE_HZ, Call


def differences(call: Call, folder: Path) -> list[str]:
    """Return what differs between a call and its recording; nothing when they are the same."""
    manifest: dict[str, Any] = json.loads((folder / "recording.json").read_text())
    found = []
    if manifest["state"] != "complete":
        found.append(f"state {manifest['state']}: {', '.join(manifest['reasons'])}")
    recorded = {track["track"]: track for track in manifest["tracks"] if track["take"] == 1}
    found += [f"{t['track']}: take {t['take']} was never played" for t in manifest["tracks"] if t["take"] > 1]
    for track in call.tracks:
        if track.name not in recorded:
            found.append(f"{track.name}: not recorded")
            continue
        size = len(track.audio)
        played = wav_header(ULAW, RATE_HZ, 1, size) + track.audio + wav_padding(size)
        stored = (folder / recorded[track.name]["file"]).read_bytes()
        if stored != played:
            same = next((i for i, (a, b) in enumerate(zip(stored, played, strict=False)) if a != b), None)
            at = min(len(stored), len(played)) if same is None else same
            found.append(
                f"{track.name}: differs from byte {at} on ({len(stored)} bytes, {len(played)} played)"
            )
        if hashlib.sha256(stored).hexdigest() != recorded[track.name]["sha256"]:
            found.append(f"{track.name}: not what its manifest says")
        if not recorded[track.name]["declared_duration_agrees"]:
            found.append(f"{track.name}: not as long as declared")
    found += [f"{name}: recorded but not played" for name in recorded.keys() - {t.name for t in call.tracks}]
    return found + _mix_differences(call, folder, manifest)


def _mix_differences(call: Call, folder: Path, manifest: dict[str, Any]) -> list[str]:
    mix = manifest["mix"]
    if "file" not in mix:
        return [f"mix: {mix['skipped']}"]
    stored = (folder / mix["file"]).read_bytes()
    count, frames = len(call.tracks), mix["samples"]
    header = wav_header(ULAW, RATE_HZ, count, frames)
    body = stored[len(header) :]
    first_ms = min(track.start_ms for track in call.tracks)
    found = [] if stored.startswith(header) else ["mix: not the header it should have"]
    for channel, track in enumerate(call.tracks):
        before = (track.start_ms - first_ms) * RATE_HZ // 1000
        played = (b"\xff" * before + track.audio).ljust(frames, b"\xff")
        if body[: frames * count][channel::count] != played:
            found.append(f"mix: channel {channel + 1} is not {track.name}")
    return found
