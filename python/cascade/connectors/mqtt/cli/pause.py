"""``cascade-mqtt pause``: no task of a scope starts."""

from __future__ import annotations

from .login import Backend, BackendOption, BrokerOption, PasswordFileOption, UsernameOption, login
from .steering import (
    JsonOption,
    ScopeArgument,
    SignKeyFileOption,
    TimeoutOption,
    TtlOption,
    WaitOption,
    give,
    seconds_to_live,
)
from .wording import meaning

__all__ = ["pause"]


def pause(
    scope: ScopeArgument = "global",
    ttl: TtlOption = None,
    wait: WaitOption = 0,
    timeout: TimeoutOption = "10s",
    sign_key_file: SignKeyFileOption = None,
    as_json: JsonOption = False,
    broker: BrokerOption = "127.0.0.1:1883",
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    backend: BackendOption = Backend.AUTO,
) -> None:
    """Let no task of a scope start until it is resumed; what runs goes on.

    The broker keeps it, so workers that come later obey it too.

    Examples:

        cascade-mqtt pause

        cascade-mqtt pause 'task:load_*' --ttl 15m

        cascade-mqtt pause project:nightly --wait 4 --sign-key-file ~/.cascade-keys
    """
    who, ttl_s = login(broker, backend, username, password_file), seconds_to_live(ttl)
    give(
        who,
        lambda controller: controller.pause(scope, ttl=ttl_s),
        said=f"paused: {meaning(scope)}" + (f", for {ttl}" if ttl else ""),
        sign_key_file=sign_key_file,
        wait=wait,
        timeout=timeout,
        as_json=as_json,
    )
