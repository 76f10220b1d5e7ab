"""``cascade-mqtt resume``: the tasks of a scope start again."""

from __future__ import annotations

from typing import Annotated

import typer

from .login import Backend, BackendOption, BrokerOption, PasswordFileOption, UsernameOption, login
from .steering import JsonOption, ScopeArgument, SignKeyFileOption, TimeoutOption, WaitOption, give
from .wording import meaning

__all__ = ["resume"]


def resume(
    scope: ScopeArgument = "global",
    everything: Annotated[bool, typer.Option("--all", help="Lift the limits of the scope as well.")] = False,
    wait: WaitOption = 0,
    timeout: TimeoutOption = "10s",
    sign_key_file: SignKeyFileOption = None,
    as_json: JsonOption = False,
    broker: BrokerOption = "127.0.0.1:1883",
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    backend: BackendOption = Backend.AUTO,
) -> None:
    """Lift the pause of a scope; limits of the scope stay, and so do constraints of other scopes.

    Examples:

        cascade-mqtt resume

        cascade-mqtt resume 'task:load_*' --wait 4

        cascade-mqtt resume project:nightly --all
    """
    lifted = "all constraints" if everything else "the pause"
    give(
        login(broker, backend, username, password_file),
        lambda controller: controller.resume(scope, types=None if everything else ("pause",)),
        said=f"lifted {lifted} of {scope}: {meaning(scope)}",
        sign_key_file=sign_key_file,
        wait=wait,
        timeout=timeout,
        as_json=as_json,
    )
