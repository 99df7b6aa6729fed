"""The steps of the demo, each told on the screen as it happens."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from django.db import connection

from venue_images import catalog, cleanup_now, cleanup_scheduler, enrichment_job, job_queue, stats
from venue_images.cli import output, ports
from venue_images.cli.children import Children
from venue_images.cli.serving import LOOK_EVERY
from venue_images.cli.sign_in import link_for, operator
from venue_images.demo import catalogue, proof
from venue_images.demo.catalogue import DemoVenue
from venue_images.demo.stage import Stage
from venue_images.errors import UserError
from venue_images.models import CleanupRun, Trigger, UploadStatus, VenueImage
from venue_images.sandbox import Sandbox

#: Downloads at once: the sandbox has only this machine.
CONCURRENCY = "16"
#: The longest wait, in seconds, for something that the worker does.
PATIENCE = 90
ASK_EVERY = 0.1
#: Differences that are told.
SHOWN = 10


class Story:
    """The demo from its first step to its last; what it has to say in figures is in ``facts``."""

    def __init__(self, stage: Stage, venues: Sequence[DemoVenue], latecomers: Sequence[DemoVenue]) -> None:
        self.stage = stage
        self.venues = venues
        self.latecomers = latecomers
        self.facts: dict[str, Any] = {}
        self.problems: list[str] = []
        self._children = Children(stage.log)
        self._steps = 0
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._children.stop()

    def tell(self, port: int | None) -> int:
        """All steps; with a ``port``, the last one is to serve the admin there until a signal comes."""
        self.set_up()
        self.bring_in()
        self.enrich()
        self.look()
        run_id, metered_before = self.click()
        self.prove(run_id, metered_before)
        if port is not None:
            return self.serve(port)
        self._finish()
        return 1 if self.problems else 0

    def set_up(self) -> None:
        self._step("A sandbox that pretends to be the providers and the photo hosts")
        output.say(
            f"   photo hosts {', '.join(self.sandbox.hosts)}; Google Places at {self.sandbox.api_url('google_places')}"
        )
        with output.progress("   Drawing photos") as tell:
            self.stage.photos.wait(tell)

    def bring_in(self) -> None:
        self._step("Import a catalogue of real venues")
        imported = self._import(self.venues)
        photos = sum(len(venue.line["photos"]) for venue in self.venues)
        known = sum("google_places" in venue.line["provider_ids"] for venue in self.venues)
        found = len(self.venues[:: catalogue.KNOWN_TO_OPENVERSE])
        self.facts |= {"venues": imported, "photos_listed": photos}
        output.say(
            f"   {imported} venues with {photos} photos of their own; Google Places knows {known} of them, "
            f"Openverse finds {found} by their names"
        )

    def enrich(self) -> None:
        self._step("Enrich: ask the providers, upload the photos; some hosts misbehave")
        self._children.start("worker", "--concurrency", CONCURRENCY)
        self._enrich()
        images = VenueImage.objects.all()
        calls = proof.metered_calls(self.sandbox)
        self.facts |= {
            "images": images.count(),
            "uploaded_at_first": images.filter(upload_status=UploadStatus.UPLOADED).count(),
            "metered_calls_enrichment": calls,
        }
        output.say(
            f"   {self.facts['uploaded_at_first']} of {self.facts['images']} photos stored, {calls} metered calls"
        )
        self.problems += proof.first_failures(self.venues)

    def look(self) -> None:
        self._step("What failed, and why")
        rows = stats.failure_breakdown()
        names = ("provider", "error_type", "error_class", "count", "venues")
        output.table(
            ["   provider", "error", "class", "photos", "venues"],
            [[f"   {row[names[0]]}", *(row[name] for name in names[1:])] for row in rows],
        )
        counts = stats.failure_counts()
        preview = cleanup_now.preview()
        self.facts |= {
            "failed": counts["total_failed_images"],
            "venues_with_failures": counts["total_venues_with_failures"],
            "recoverable": preview["images"],
            "reenrichment_cost_usd": preview["reenrichment_cost_usd"],
        }
        output.say(
            f"   {counts['total_failed_images']} photos of {counts['total_venues_with_failures']} venues; {preview['images']} of them can be recovered"
        )

    def click(self) -> tuple[int, int]:
        """The id of the run, and the metered calls before it."""
        self._step("Click “Retry Failed Uploads”")
        before, started = proof.metered_calls(self.sandbox), time.monotonic()
        queued = cleanup_scheduler.enqueue(trigger=Trigger.BUTTON)
        with output.progress("   Recovering") as tell:
            self._wait(lambda: self._is_recovered(queued.run_id, tell), "recover the photos")
        run = CleanupRun.objects.get(pk=queued.run_id)
        seconds = round(time.monotonic() - started, 1)
        self.facts |= {"venues_queued": run.venues_queued, "recovery_seconds": seconds}
        output.say(f"   run {run.pk}: {run.venues_queued} venues queued and done within {seconds} s, Retry-After kept")
        return run.pk, before

    def prove(self, run_id: int, metered_before: int) -> None:
        self._step("What came back")
        self.problems += proof.recovery(self.sandbox, self.venues, run_id, metered_before)
        uploaded = VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED).count()
        self.facts |= {
            "recovered": uploaded - self.facts["uploaded_at_first"],
            "left_for_review": VenueImage.objects.for_review().count(),
            "left_ambiguous": VenueImage.objects.ambiguous().count(),
            "metered_calls_recovery": proof.metered_calls(self.sandbox) - metered_before,
        }
        self._tell_figures()
        for problem in self.problems[:SHOWN]:
            output.remark(f"   ✗ {problem}")

    def serve(self, port: int) -> int:
        """Latecomers with fresh failures, then the admin, until a signal comes."""
        self._step("Now you: new venues, new failures, and the button is yours")
        self._import(self.latecomers)
        self._children.start("serve", "--port", str(port))
        self._enrich()
        self._wait(lambda: ports.answers(port), "start the web server")
        address = f"http://{ports.LOCAL}:{port}"
        self.facts |= {"url": f"{address}/admin/venue-images/stats", "sign_in": link_for(operator(), address)}
        output.say(f"   {self.facts['url']}")
        output.say(f"   sign in, once, within 10 minutes: {self.facts['sign_in']}")
        output.say("   Ctrl-C ends the demo.")
        self._finish()
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: stopping.set())
        while not stopping.wait(LOOK_EVERY):
            self._children.restart_dead()
        return 1 if self.problems else 0

    @property
    def sandbox(self) -> Sandbox:
        return self.stage.sandbox

    def _import(self, venues: Sequence[DemoVenue]) -> int:
        file = self.stage.home / "catalogue.jsonl"
        catalogue.write(venues, file)
        imported = catalog.import_file(file)
        self.problems += [f"line {rejected.line}: {rejected.error}" for rejected in imported.rejected]
        return imported.venues_created

    def _enrich(self) -> None:
        venues = enrichment_job.enqueue()
        with output.progress("   Venues") as tell:
            self._wait(lambda: self._is_enriched(venues, tell), "enrich the venues")

    def _is_enriched(self, venues: int, tell: Callable[[int, int], None]) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pgqueuer WHERE entrypoint = %s", [job_queue.ENRICH])
            [waiting] = cursor.fetchone() or [0]
        tell(venues - waiting, venues)
        return not waiting

    def _is_recovered(self, run_id: int, tell: Callable[[int, int], None]) -> bool:
        images = VenueImage.objects
        left = images.retryable().count() + images.filter(upload_status=UploadStatus.UPLOADING).count()
        tell(self.facts["recoverable"] - left, self.facts["recoverable"])
        return not left and CleanupRun.objects.filter(pk=run_id, state=CleanupRun.State.FINISHED).exists()

    def _wait(self, is_done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_done():
            if time.monotonic() > deadline:
                raise UserError(
                    f"It took too long to {what}, more than {PATIENCE} seconds: {self.stage.log} may tell why."
                )
            self._children.restart_dead()
            time.sleep(ASK_EVERY)

    def _step(self, title: str) -> None:
        self._steps += 1
        output.say(f"\n{self._steps}  {title}")

    def _tell_figures(self) -> None:
        facts, mark = self.facts, "·" if self.problems else "✓"
        output.say(
            f"   {mark} {facts['recovered']} of {facts['recoverable']} recoverable photos recovered, byte for byte"
        )
        output.say(
            f"   {mark} {facts['metered_calls_recovery']} metered calls; asking again would have cost ${facts['reenrichment_cost_usd']:.2f}"
        )
        output.say(
            f"   · {facts['left_for_review']} stay for a person: deleted, corrupt or no photo; they were not requested again"
        )
        output.say(f"   · {facts['left_ambiguous']} stay as unclear (status 500): retried when somebody asks for it")

    def _finish(self) -> None:
        self.facts |= {"seconds": round(time.monotonic() - self._started, 1), "problems": self.problems}
        ending = "Not all of this is true: see above." if self.problems else "All of this was checked."
        output.finish(self.facts, lambda: output.say(f"\n{ending} {self.facts['seconds']} s"))
