"""Settings: their defaults, what a wrong one is told, and how they reach the parts."""

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError

import tapeline.settings
from ingest.config import Buffers, GatewayConfig
from processors.config import WorkerConfig
from runtime.cluster import Cluster
from tapeline.cli import app
from tapeline.settings import Settings, host_port, usual_port


def test_every_setting_is_explained() -> None:
    assert [n for n, f in Settings.model_fields.items() if not f.description] == []


def test_every_setting_is_an_option_of_some_command_but_the_passwords() -> None:
    def options(command: Any) -> set[str]:
        below = (options(one) for one in getattr(command, "commands", {}).values())
        return {option.name for option in command.params}.union(*below)

    assert Settings.model_fields.keys() - options(typer.main.get_command(app)) == {
        "kafka_password",
        "registry_password",
    }


def test_the_defaults_are_those_of_the_parts() -> None:
    cluster = Cluster("127.0.0.1:9092")
    buffers = Buffers(spool=Path(".tapeline/spool/gateway-0.sqlite"))
    assert Settings().cluster() == cluster
    assert Settings().gateway() == GatewayConfig(cluster, "127.0.0.1", 8765, buffers=buffers)
    assert Settings().worker() == WorkerConfig(cluster, Path(".tapeline/store").absolute().as_uri())


def test_a_default_stands_in_one_place() -> None:
    """No number is written here that a part's own configuration has: it is taken from there."""
    tree = ast.parse(inspect.getsource(tapeline.settings))
    (declared,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    written = set()
    for node in declared.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
            numbers = [n.value for n in ast.walk(node.value.args[0]) if isinstance(n, ast.Constant)]
            # 1000 makes milliseconds of a part's into seconds.
            if any(isinstance(n, int | float) and n != 1000 for n in numbers):
                assert isinstance(node.target, ast.Name)
                written.add(node.target.id)
    # Nothing but a command knows these.
    assert written == {"processes", "partitions", "replication"}


def test_every_number_of_the_parts_that_can_be_set_reaches_them() -> None:
    """Each setting, changed, changes what a part is configured with."""
    apart = {"operations", "partitions", "replication", "log_level", "log_format"}
    # With SASL and TLS alone these mean something.
    apart |= {name for name in Settings.model_fields if name.startswith("kafka_")}
    apart |= {name for name in Settings.model_fields if name.startswith("registry_")}
    other: dict[type, Any] = {bool: True, str: "x", int: 7, float: 7.5}
    special = {
        "listen": "h:1",
        "registry": "http://r",
        "trusted_proxies": "10.0.0.0/8",
        "processes": 2,
        "max_rate_hz": 9000,
    }
    usual = (Settings().gateway(), Settings().worker())
    for name, declared in Settings.model_fields.items():
        if name not in apart:
            value = special.get(name, other.get(type(declared.default), "x"))
            changed = Settings.model_validate({name: value})
            assert (changed.gateway(), changed.worker()) != usual, name


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("host:0", ("host", 0))],
)
def test_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    assert host_port(listen) == expected


@pytest.mark.parametrize("listen", ["127.0.0.1", ":80", "host:port", "host:99999", ""])
def test_a_wrong_listen_address_is_refused(listen: str) -> None:
    with pytest.raises(ValidationError, match="is not host:port"):
        Settings(listen=listen)


def test_the_units_of_settings_reach_the_agents() -> None:
    worker = Settings(idle_timeout_s=7, max_gap_s=3, store_give_up_s=9, checkpoint_s=4).worker()
    assert worker.checkpoints.every_ms == 4000
    assert worker.assembly.idle_ms == 7000
    assert worker.assembly.max_gap_ms == 3000
    assert worker.storage.give_up_s == 9


def test_the_usual_ports() -> None:
    assert (usual_port("kafka"), usual_port("listen")) == (9092, 8765)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("segment_ms", 10_000),
        ("window_chunks", 1024),
        ("window_ms", 60_000),
        ("max_gap_s", 14_400),
        ("idle_timeout_s", 86_400),
        ("checkpoint_s", 60),
        ("metrics_window_ms", 600_000),
        ("part_ms", 3_600_000),
    ],
)
def test_what_a_checkpoint_must_hold_is_bounded(name: str, most: int) -> None:
    assert getattr(Settings(**{name: most}), name) == most
    for wrong, says in ((most + 1, f"less than or equal to {most}"), (0, "greater than 0")):
        with pytest.raises(ValidationError, match=f"{name}\n.*{says}"):
            Settings(**{name: wrong})


def test_how_the_registry_is_asked_reaches_the_parts() -> None:
    """Each setting of it, changed, changes what the gateway and the agents are configured with."""
    whole = {
        "registry": "https://r",
        "registry_username": "us",
        "registry_password": "secret",
        "registry_certificate": Path("c.pem"),
    }
    other: dict[str, Any] = {
        "registry": "https://other",
        "registry_username": "another",
        "registry_password": "another",
        "registry_ca": Path("ca.pem"),
        "registry_certificate": Path("other.pem"),
        "registry_key": Path("k.pem"),
        "registry_lookup_only": True,
        "registry_timeout_s": 3.0,
    }
    assert other.keys() == {name for name in Settings.model_fields if name.startswith("registry")}
    usual = Settings.model_validate(whole)
    assert usual.gateway().registry == usual.worker().registry == usual.schema_registry() is not None
    for name, value in other.items():
        changed = Settings.model_validate(whole | {name: value})
        assert changed.gateway().registry != usual.gateway().registry, name
        assert changed.worker().registry == changed.gateway().registry
