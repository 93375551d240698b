"""Settings: their defaults, what a wrong one is told, and how they reach the parts."""

import ast
import inspect
import re
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
from tapeline.setting_values import host_port
from tapeline.settings import Settings, usual_port


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
    special: dict[str, Any] = {"listen": "h:1", "trusted_proxies": "10.0.0.0/8", "processes": 2}
    special |= {"max_rate_hz": 9000, "path": "/x", "kafka": "k:1", "store": "memory://"}
    special |= {"registry": "http://r", "tls_key": "x", "origins": "https://x"}
    for name, declared in Settings.model_fields.items():
        if name not in apart:
            value = special.get(name, other.get(type(declared.default), "x"))
            needed = {"tls_certificate": "y"} if name == "tls_key" else {}
            usual = (Settings(**needed).gateway(), Settings().worker())
            changed = Settings.model_validate({name: value} | needed)
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


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", ()),
        ("*", ("*",)),
        ("null", ("null",)),
        ("https://calls.example.com", ("https://calls.example.com",)),
        ("HTTPS://Calls.example.COM:443, http://b:80,", ("https://calls.example.com", "http://b")),
        ("https://a:8443,http://a:443,app://x", ("https://a:8443", "http://a:443", "app://x")),
        ("http://[::1]:8080", ("http://[::1]:8080",)),
    ],
)
def test_origins_are_as_browsers_write_them(given: str, taken: tuple[str, ...]) -> None:
    assert Settings(origins=given).gateway().origins == taken


@pytest.mark.parametrize(
    "given",
    ["calls.example.com", "https://calls.example.com/", "https://", "https://a b", "https://a:x", "**"],
)
def test_what_no_browser_says_is_no_origin(given: str) -> None:
    with pytest.raises(ValidationError, match="is no origin, such as https"):
        Settings(origins=f"https://good.example,{given}")


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


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kafka": "nonsense"}, "is not host:port"),
        ({"kafka": "127.0.0.1:99999"}, "a port is a number up to 65535"),
        ({"kafka": "k:0"}, "a number from 1 to 65535"),
        ({"kafka": "k:1,k"}, "'k' is not host:port"),
        ({"kafka": "SSL://k:1"}, "is not host:port"),
        ({"kafka": " , "}, "no server is named"),
        ({"operations": "1234"}, "is not host:port"),
        ({"path": "calls"}, "'/calls' would be one"),
        ({"path": "/a b"}, "no path"),
        ({"path": "/?token=1"}, "no path"),
        ({"registry": "registry:8081"}, "no URL of a registry"),
        ({"store": "recordings"}, "give ./recordings, for a bucket s3://recordings"),
        ({"store": "ftp://host"}, "no store"),
        ({"log_format": "xml"}, "'json', 'console' or 'auto'"),
        ({"log_level": "loud"}, "'debug', 'info', 'warning' or 'error'"),
        ({"tls_key": "k.pem"}, "TAPELINE_TLS_KEY=k.pem without TAPELINE_TLS_CERTIFICATE"),
        ({"kafka_key": "k.pem"}, "with TAPELINE_KAFKA_CERTIFICATE only"),
        ({"insecure": True, "tokens": "t.toml"}, "give one"),
        ({"processes": 2, "listen": "127.0.0.1:0"}, "give a port above 0"),
    ],
)
def test_what_is_no_setting_or_does_not_go_together_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        Settings(**given)


@pytest.mark.parametrize(
    ("store", "url"),
    [
        ("/srv/my calls", "file:///srv/my%20calls"),
        ("/srv/../x", "file:///x"),
        ("./calls", Path("calls").absolute().as_uri()),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("memory://", "memory://"),
    ],
)
def test_a_folder_is_a_store(store: str, url: str) -> None:
    assert Settings(store=store).store == url


def test_words_of_settings_come_in_any_case() -> None:
    assert Settings(log_level="ERROR", log_format="Json").model_dump().items() >= {
        ("log_level", "error"),
        ("log_format", "json"),
    }  # type: ignore[arg-type]
