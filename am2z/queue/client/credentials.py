"""User and password from a credential provider, asked anew for each connection."""

from __future__ import annotations

from typing import Any, Protocol

import trio
from redis.credentials import CredentialProvider as RedisCredentialProvider

from .faults import CredentialsError

__all__ = ["CredentialProvider", "Guarded", "credentials_from"]


class CredentialProvider(Protocol):
    """What gives a user and a password: redis-py's ``CredentialProvider``, or anything like it."""

    def get_credentials(self) -> Any:
        """``(user, password)`` or ``(password,)``. It may block.

        It is called in a thread, and by two threads at once: the connection's and the heartbeat's.
        """


class Guarded(RedisCredentialProvider):
    """A provider that raises ``CredentialsError`` and nothing else, and shows nothing secret."""

    def __init__(self, provider: CredentialProvider) -> None:
        self._provider = provider

    def get_credentials(self) -> tuple[str, ...]:  # type: ignore[override]  # theirs is no tuple of any length
        """``(user, password)`` or ``(password,)``."""
        try:
            given = self._provider.get_credentials()
        except Exception as error:
            raise CredentialsError(
                f"the credential provider raised {type(error).__name__}"
            ) from error
        if isinstance(given, tuple | list) and len(given) in (1, 2):
            texts = [part.decode() if isinstance(part, bytes) else part for part in given]
            if all(isinstance(text, str) for text in texts):
                return tuple(texts) if texts[0] else tuple(texts[1:])
        raise CredentialsError(
            "the credential provider has to give (user, password) or (password,), "
            f"and gave a {type(given).__name__}"
        )


async def credentials_from(provider: CredentialProvider) -> tuple[str, ...]:
    """Ask ``provider``: the arguments of ``AUTH``. The caller bounds the time.

    Raises ``CredentialsError``.
    """
    # A limiter of its own: processors that use up all other threads must not keep the connection
    # away. A provider that hangs is left behind when the time is over.
    return await trio.to_thread.run_sync(
        Guarded(provider).get_credentials,
        limiter=trio.CapacityLimiter(1),
        abandon_on_cancel=True,
    )
