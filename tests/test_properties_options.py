"""Options from the environment: a variable does what the constructor does, or is named."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from cascade.connectors.mqtt import BatchOptions, options
from cascade.connectors.mqtt.options import Options

# Python values, and how an operator writes them.
DELAYS = st.floats(0.1, 30)
COUNTS = st.integers(1, 1 << 40)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(["timeout", "connect_timeout", "retained_timeout", "heartbeat", "hang_timeout"], DELAYS),
    "reconnect_min_delay": st.floats(0.01, 0.1),
    "reconnect_max_delay": DELAYS,
    **dict.fromkeys(["max_queued_bytes", "max_queued_events", "max_inbox_bytes", "max_inbox_messages"], COUNTS),
    **dict.fromkeys(["max_inflight_messages", "max_inflight_qos2", "max_concurrent_outgoing_calls"], COUNTS),
    **dict.fromkeys(["max_message_bytes", "max_inbound_bytes"], st.integers(1, 268_435_455)),
    **dict.fromkeys(["keepalive", "bind_port"], st.integers(0, 65_535)),
    **dict.fromkeys(["username", "identifier", "source_id"], WORDS),
    **dict.fromkeys(["strict", "presence", "gap_events", "clean_session"], st.booleans()),
    "bind_address": st.ip_addresses().map(str),
    "protocol": st.sampled_from(["3", "4", "5", "3.1.1", "auto"]),
    "backend": st.sampled_from(get_args(options.BackendName)),
    "first_connect": st.sampled_from(get_args(options.FirstConnect)),
    "on_full": st.sampled_from(get_args(options.OnFull)),
    "after_fork": st.sampled_from(get_args(options.AfterFork)),
    "batch": st.builds(
        BatchOptions,
        max_events=st.integers(1, 65_535),
        max_bytes=st.integers(2, 1 << 24),
        linger=st.floats(0, 60),
        compression=st.just("zstd"),
    ),
}


def written(value: Any) -> str:
    if isinstance(value, BatchOptions):
        return ", ".join(f"{name}={setting}" for name, setting in dataclasses.asdict(value).items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def build(environ: dict[str, Any], **given: Any) -> Options | str:
    """What a connector would be told, or why it would not be made."""
    try:
        return Options.build(
            "h", environ={f"CASCADE_MQTT_{name.upper()}": text for name, text in environ.items()}, **given
        )
    except ValueError as error:
        return str(error)


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_the_environment_does_what_the_constructor_does(values: dict[str, Any]) -> None:
    environ = {name: written(value) for name, value in values.items()}
    assert build(environ) == build({}, **values)


@given(st.fixed_dictionaries({}, optional=VALUES), st.fixed_dictionaries({}, optional=VALUES))
def test_the_program_wins_but_for_what_operators_must_decide(said: dict[str, Any], found: dict[str, Any]) -> None:
    decided = {name: found[name] for name in ("backend", "first_connect") if name in found}
    environ = {name: written(value) for name, value in found.items()}
    assert build(environ, **said) == build({}, **{**found, **said, **decided})


@given(st.sampled_from(sorted(VALUES)), st.text())
def test_any_text_is_taken_or_its_option_is_named(name: str, text: str) -> None:
    built = build({name: text})
    if isinstance(built, str):
        assert name in built.lower()


def test_every_option_that_a_text_can_say_is_drawn() -> None:
    renamed = {inside: name for name, inside in options._RENAMED.items()}
    kinds = ("str", "int", "float", "bool", "BackendName", "FirstConnect", "OnFull", "AfterFork", "Protocol")
    names = {
        renamed.get(option.name, option.name)
        for option in dataclasses.fields(Options)
        if str(option.type).split("|")[0].strip() in kinds
    }
    # A password needs a name; the others are arguments.
    assert names - VALUES.keys() <= {"hostname", "port", "password", "tls_insecure", "websocket_path"}
