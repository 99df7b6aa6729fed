"""Limits that the pretended outside world insists on: one request too many, and the client is banned."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field


@dataclass
class Rule:
    """At most ``requests`` in any ``seconds``, counted when they arrive."""

    requests: int
    seconds: float
    ban: bool
    arrived: deque[float] = field(default_factory=deque)
    banned: bool = False

    def take(self, now: float) -> bool:
        """Whether this request is allowed; counted in any case."""
        while self.arrived and self.arrived[0] <= now - self.seconds:
            self.arrived.popleft()
        self.arrived.append(now)
        if len(self.arrived) > self.requests:
            self.banned = self.ban
            return False
        return not self.banned


class Rules:
    """The rules by provider or photo host; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: defaultdict[str, list[Rule]] = defaultdict(list)
        self._violations: Counter[str] = Counter()

    def add(self, target: str, requests: int, seconds: float, *, ban: bool) -> None:
        with self._lock:
            self._rules[target].append(Rule(requests, seconds, ban))

    def allow(self, target: str) -> bool:
        """Whether a request that arrives now keeps every rule of its target."""
        with self._lock:
            now = time.monotonic()
            kept = [rule.take(now) for rule in self._rules.get(target, ())]
            self._violations[target] += not all(kept)
            return all(kept)

    def violations(self) -> dict[str, int]:
        with self._lock:
            return {target: count for target, count in self._violations.items() if count}
