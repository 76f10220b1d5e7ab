"""``cascade-mqtt resume``: the tasks of a scope start again."""

from __future__ import annotations

from typing import Annotated

import typer

from .login import LOGGED_IN, Login
from .steering import STEERING, ScopeArgument, Steering
from .wording import meaning

__all__ = ["resume"]


@LOGGED_IN
@STEERING
def resume(
    who: Login,
    steering: Steering,
    scope: ScopeArgument = "global",
    everything: Annotated[bool, typer.Option("--all", help="Lift the limits of the scope as well.")] = False,
) -> None:
    """Lift the pause of a scope; limits of the scope stay, and so do constraints of other scopes.

    Examples:

        cascade-mqtt resume

        cascade-mqtt resume 'task:load_*' --wait 4

        cascade-mqtt resume project:nightly --all
    """
    steering.give(
        who,
        lambda controller: controller.resume(scope, types=None if everything else ("pause",)),
        said=f"lifted {'all constraints' if everything else 'the pause'} of {scope}: {meaning(scope)}",
    )
