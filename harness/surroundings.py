"""Where the runtimes of a rule live: a namespace, a server, a folder; and what they leave there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from am2z import Capability
from harness.leaks import ProcessSnapshot
from harness.redis import leftover_keys, remove_namespace
from harness.settings import Settings
from harness.subject import Environment, Role, RuntimeUnderTest

__all__ = ["Surroundings"]


class Surroundings:
    """Made for each rule. A server and a folder are looked for when they are first asked for."""

    def __init__(
        self, subject: RuntimeUnderTest, namespace: str, find_redis: Callable[[], str]
    ) -> None:
        self.namespace = namespace
        self.snapshot: ProcessSnapshot | None = None
        """What the process was before the rule; a server that starts since is no leak of it."""
        self.work_stays = False
        """Whether the rule leaves accepted work behind on purpose."""
        self._subject = subject
        self._find_any_redis = find_redis
        self._redis_url = ""
        self._folders: list[TemporaryDirectory[str]] = []

    def apart(self, namespace: str) -> Surroundings:
        """The same server and folder, and another namespace in them."""
        part = Surroundings(self._subject, namespace, self._find_any_redis)
        part.snapshot, part.work_stays = self.snapshot, self.work_stays
        part._redis_url, part._folders = self._redis_url, self._folders
        return part

    def environment(self, settings: Settings, role: Role) -> Environment:
        """What a factory of runtimes is told."""
        return Environment(
            namespace=self.namespace,
            role=role,
            find_config=settings.take_config,
            find_limits=settings.take_limits,
            find_redis=self._find_redis,
            find_folder=self._find_folder,
        )

    def keys_left(self) -> list[str]:
        """Redis keys that nothing will ever remove; then the namespace is emptied."""
        if not self._redis_url or self._redis_url.startswith("fake:"):
            return []
        if self.work_stays and Capability.DURABLE in self._subject.abilities:
            remove_namespace(self._redis_url, self.namespace)
            return []
        left = leftover_keys(self._redis_url, self.namespace, self._subject.permanent_keys)
        remove_namespace(self._redis_url, self.namespace)
        return [f"Redis key {key!r} has no TTL" for key in left]

    def close(self) -> None:
        """Remove what was made here."""
        while self._folders:
            self._folders.pop().cleanup()

    def _find_folder(self) -> Path:
        if not self._folders:
            self._folders.append(TemporaryDirectory(prefix="am2z-"))
        folder = Path(self._folders[0].name) / self.namespace  # each part has one of its own
        folder.mkdir(exist_ok=True)
        return folder

    def _find_redis(self) -> str:
        if not self._redis_url:
            if self._subject.redis == "fake":
                self._redis_url = "fake://"
            elif self.snapshot is None:
                self._redis_url = self._find_any_redis()
            else:
                with self.snapshot.allowing():
                    self._redis_url = self._find_any_redis()
        return self._redis_url
