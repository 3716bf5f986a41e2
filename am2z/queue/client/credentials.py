"""User and password from a credential provider, asked anew for each connection."""

from __future__ import annotations

from typing import Any, Protocol

import trio

from .faults import CredentialsError

__all__ = ["CredentialProvider", "credentials_from"]


class CredentialProvider(Protocol):
    """What gives a user and a password: redis-py's ``CredentialProvider``, or anything like it."""

    def get_credentials(self) -> Any:
        """``(user, password)`` or ``(password,)``. It may block: it is called in a thread."""


async def credentials_from(provider: CredentialProvider) -> tuple[str, ...]:
    """Ask ``provider``: the arguments of ``AUTH``. The caller bounds the time.

    Raises ``CredentialsError``, which shows nothing of what the provider gave.
    """
    try:
        # A limiter of its own: processors that use up all other threads must not keep the
        # connection away. A provider that hangs is left behind when the time is over.
        given = await trio.to_thread.run_sync(
            provider.get_credentials, limiter=trio.CapacityLimiter(1), abandon_on_cancel=True
        )
    except Exception as error:
        raise CredentialsError(f"the credential provider raised {type(error).__name__}") from error
    if isinstance(given, tuple | list) and len(given) in (1, 2):
        texts = [part.decode() if isinstance(part, bytes) else part for part in given]
        if all(isinstance(text, str) for text in texts):
            return tuple(texts) if texts[0] else tuple(texts[1:])
    raise CredentialsError(
        "the credential provider has to give (user, password) or (password,), "
        f"and gave a {type(given).__name__}"
    )
