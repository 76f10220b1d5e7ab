"""``cascade-mqtt pause``: no task of a scope starts."""

from __future__ import annotations

from .login import LOGGED_IN, Login
from .steering import STEERING, ScopeArgument, Steering, TtlOption, seconds_to_live
from .wording import meaning

__all__ = ["pause"]


@LOGGED_IN
@STEERING
def pause(who: Login, steering: Steering, scope: ScopeArgument = "global", ttl: TtlOption = None) -> None:
    """Let no task of a scope start until it is resumed; what runs goes on.

    The broker keeps it, so workers that come later obey it too.

    Examples:

        cascade-mqtt pause

        cascade-mqtt pause 'task:load_*' --ttl 15m

        cascade-mqtt pause project:nightly --wait 4 --sign-key-file ~/.cascade-keys
    """
    ttl_s = seconds_to_live(ttl)
    steering.give(
        who,
        lambda controller: controller.pause(scope, ttl=ttl_s),
        said=f"paused: {meaning(scope)}" + (f", for {ttl}" if ttl else ""),
    )
