"""The work of ``enrich --now`` and ``retry --now``: done in this process, and what of it could not be done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from django.db.models import Count, Max, Q
from django.utils import timezone
from psycopg.rows import scalar_row, tuple_row

from venue_images import alerts, circuits, orchestrator
from venue_images.cli import output
from venue_images.errors import ErrorClass, ErrorType
from venue_images.models import ProviderCheck, VenueImage
from venue_images.monitor import title_of
from venue_images.operation_log import OperationResult
from venue_images.runtime import Runtime, open_runtime

#: Seconds that a person at a terminal waits for a provider's limit, on top of what every request waits for it.
PATIENCE = 15


def perform(venues: Sequence[int], *, named: Collection[str] = (), comes_back: bool = False, **options: Any) -> int:
    """Do the work here; exit status 1 when the storage, every provider, or one that matters could not be used.

    Those matter that were ``named``, and those that a person has to mend. ``comes_back``: to the venues whose
    provider may be asked again soon.
    """
    started, answers = timezone.now(), Answers()
    circuits.let_try()
    with output.progress("Venues") as tell:

        def done(result: OperationResult) -> None:
            answers.note(result)
            tell(min(answers.venues, len(venues)), len(venues))

        total = asyncio.run(_perform(venues, done, options, comes_back=comes_back))
    output.finish(total.to_json(), lambda: output.figures(total.to_json()))
    if total.images_failed:
        output.remark(f"{total.images_failed:,} photos failed: “venue-images failures --by error” shows why.")
    waiting = []
    if comes_back:
        answers.forget_passed(_unanswered(venues, started))
        waiting = _waiting(venues)
    for remark in [*answers.remarks(named), *waiting]:
        output.remark(remark)
    return report_problems([*total.problems(), *answers.problems(named), *storage_problems(started)])


def report_problems(problems: Sequence[str]) -> int:
    for problem in problems:
        output.remark(problem)
    return 1 if problems else 0


def storage_problems(since: datetime) -> list[str]:
    """What a person has to mend about the storage, from the uploads that failed for it."""
    failed = VenueImage.objects.filter(error_type=ErrorType.STORAGE_CONFIG, failed_at__gte=since)
    count = failed.count()
    newest = failed.order_by("-failed_at").first()
    remedy = "Then run venue-images cleanup --now --include-ambiguous."
    return [f"{count:,} photos could not be stored: {newest.error_message} {remedy}"] if newest else []


@dataclass
class Answers:
    """How the providers answered, over all venues."""

    venues: int = 0
    answered: set[str] = field(default_factory=set)
    #: The last error of each provider, or the one that a person has to mend.
    errors: dict[str, tuple[ErrorType, str]] = field(default_factory=dict)
    #: Why a provider is not asked before a person has done something, and for how many venues.
    stopped: Counter[str] = field(default_factory=Counter)

    def note(self, result: OperationResult) -> None:
        self.venues += 1
        for name, answer in result.provider_results.items():
            if answer.get("stopped"):
                self.stopped[answer["note"]] += 1
            if "error_type" in answer:
                self._note_error(name, ErrorType(answer["error_type"]), answer["error"])
            elif answer["calls"] or answer["photos"]:
                self.answered.add(name)

    def _note_error(self, name: str, error_type: ErrorType, message: str) -> None:
        known = self.errors.get(name)
        if known is None or known[0].error_class is not ErrorClass.BLOCKED:
            self.errors[name] = (error_type, message)

    def forget_passed(self, unanswered: Collection[str]) -> None:
        """Drop the failures that were made up for when the command came back."""
        self.errors = {
            name: error
            for name, error in self.errors.items()
            if name in unanswered or error[0].error_class is not ErrorClass.TRANSIENT
        }

    def problems(self, named: Collection[str]) -> list[str]:
        """What makes the command fail."""
        return [self._said(name) for name in self.errors if self._matters(name, named)]

    def remarks(self, named: Collection[str]) -> list[str]:
        """What passes, or what the others made up for."""
        stopped = [f"{note} That concerns {_venues(count)}." for note, count in self.stopped.items()]
        return [*stopped, *(self._said(name) for name in self.errors if not self._matters(name, named))]

    def _matters(self, name: str, named: Collection[str]) -> bool:
        return name in named or not self.answered or self.errors[name][0].error_class is ErrorClass.BLOCKED

    def _said(self, name: str) -> str:
        error_type, message = self.errors[name]
        where = "for some venues" if name in self.answered else "for any venue"
        return f"{title_of(name)} could not be used {where}: {message} {alerts.remedy(name, error_type)}".rstrip()


def _venues(count: int) -> str:
    return "1 venue" if count == 1 else f"{count:,} venues"


def _unanswered(venues: Sequence[int], started: datetime) -> set[str]:
    """The providers that have failed for some of the venues and not answered since."""
    failing = ProviderCheck.objects.filter(venue_id__in=venues, failures__gt=0)
    since = failing.filter(Q(checked_at__isnull=True) | Q(checked_at__lt=started))
    return set(since.values_list("provider", flat=True).distinct())


def _waiting(venues: Sequence[int]) -> list[str]:
    """Which of the venues wait for a limit or a circuit, and that nothing is lost."""
    rows = (
        ProviderCheck.objects.filter(venue_id__in=venues, due_at__gt=timezone.now(), failures=0)
        .order_by("provider")
        .values("provider")
        .annotate(venues=Count("id"), note=Max("note"))
    )
    return [_waits(title_of(row["provider"]), row["venues"], row["note"]) for row in rows]


def _waits(title: str, venues: int, note: str) -> str:
    waiting = "1 venue waits" if venues == 1 else f"{venues:,} venues wait"
    reason = note.removeprefix(f"{title}: ").removesuffix(".")
    if reason.startswith("the limit of ") and reason.endswith(" is used up"):
        reason = f"{title}'s {reason.removeprefix('the ').removesuffix(' is used up')}"
    else:
        reason = f"{title} ({reason})" if reason else title
    return f"{waiting} for {reason}; the same command later goes on, or a worker when --now is left out."


async def _perform(
    venues: Sequence[int], done: Callable[[OperationResult], None], options: dict[str, Any], *, comes_back: bool
) -> OperationResult:
    """All venues once, and then those again whose provider may be asked again soon."""
    async with open_runtime("command") as runtime:
        asked_at = round_began = await _now(runtime)
        options = {"asked_at": asked_at, **options}
        total = await orchestrator.enrich_venues(runtime, venues, done=done, **options)
        while comes_back and (soon := await _due_soon(runtime, venues, round_began)):
            await asyncio.sleep(max(soon.values()))
            round_began = await _now(runtime)
            again = await orchestrator.enrich_venues(runtime, list(soon), done=done, **options)
            again.venues = 0
            total.add(again)
    return total


async def _now(runtime: Runtime) -> datetime:
    async with runtime.pool.connection() as connection, connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute("SELECT clock_timestamp()")
        now: datetime | None = await cursor.fetchone()
    assert now is not None  # noqa: S101 - a SELECT without FROM has a row
    return now


async def _due_soon(runtime: Runtime, venues: Sequence[int], round_began: datetime) -> dict[int, float]:
    """The venues whose provider was put off in this round, but not for long, and the seconds that are left."""
    async with (
        runtime.pool.connection() as connection,
        psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor,
    ):
        await cursor.execute(
            """
            SELECT venue_id, greatest(extract(epoch FROM max(due_at) - now()), 0)::float8
            FROM venue_images_providercheck
            WHERE venue_id = ANY(%s) AND due_at > %s AND due_at <= now() + make_interval(secs => %s)
            GROUP BY venue_id
            """,
            [list(venues), round_began, PATIENCE],
        )
        return dict(await cursor.fetchall())
