"""What can be typed: every command with its options. What it does is loaded when it runs."""
# ruff: noqa: PLC0415 - Django and the rest are loaded by the command that needs them, so that --help is quick

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

JSON_HELP = "With --json, stdout is exactly one JSON object; logs and progress go to stderr."
HELP = f"""Photos for every venue of a catalogue, and the recovery of the ones that failed.

{JSON_HELP} Exit status: 0 done · 1 could not be done, or in part (the message says which) · 2 wrong usage."""

app = typer.Typer(help=HELP, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Grouping(StrEnum):
    VENUE = "venue"
    ERROR = "error"
    PROVIDER = "provider"
    HOST = "host"


class ProviderAction(StrEnum):
    LIST = "list"
    ENABLE = "enable"
    DISABLE = "disable"
    SET = "set"
    TRY = "try"


Port = Annotated[int, typer.Option(min=1, max=65535, help="Where the site is served.")]
Now = Annotated[bool, typer.Option("--now", help="Do it in this process, once, instead of queueing it.")]


@app.callback()
def options(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout; before or after the command.")
    ] = False,
) -> None:
    """Declared for the help: ``main`` takes it out before."""


@app.command(epilog=JSON_HELP)
def demo(
    venues: Annotated[int, typer.Option(min=12, max=76, help="How many of the sample venues.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same photos and faults.")] = 1,
    port: Port = 8000,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="End after the report instead of serving the admin.")
    ] = False,
) -> int:
    """Show it all: import, enrich, fail, recover.

    Everything happens on this machine, with pretended providers. Keeps to a home folder of its own. Exit status 1 when the recovery did not do what it says.
    """
    from venue_images import demo as show

    return show.run(venues=venues, seed=seed, port=port, serve=not no_serve)


@app.command(epilog=JSON_HELP)
def up(port: Port = 8000) -> int:
    """Run it all: database, web server, one worker."""
    from venue_images.cli import database, ports

    ports.listen(ports.LOCAL, port).close()
    database.load(log_level="INFO")
    database.migrate()
    from venue_images.cli import serving

    return serving.up(port)


@app.command(epilog=JSON_HELP)
def serve(
    host: Annotated[str, typer.Option(help="0.0.0.0 answers all networks.")] = "127.0.0.1", port: Port = 8000
) -> int:
    """Run the web server alone."""
    from venue_images.cli import database, ports

    bound = ports.listen(host, port)
    database.load_and_prepare(log_level="INFO")
    from venue_images.cli import serving

    return serving.serve(bound, host)


@app.command(epilog=JSON_HELP)
def worker(
    drain: Annotated[bool, typer.Option("--drain", help="End when no job is due.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Downloads at once.")] = 32,
) -> int:
    """Run a worker; there may be many, anywhere."""
    from venue_images.cli import database

    database.load_and_prepare(log_level="INFO")
    from venue_images.cli import serving

    return serving.worker(drain=drain, concurrency=concurrency)


@app.command(epilog=JSON_HELP)
def migrate() -> int:
    """Create or upgrade the tables, the job engine's included."""
    from venue_images.cli import database, output

    database.load()
    applied = database.migrate()
    text = f"{len(applied)} migrations applied." if applied else "The database is up to date."
    output.finish({"applied": applied}, lambda: output.say(text))
    return 0


@app.command(epilog=JSON_HELP)
def doctor() -> int:
    """Check settings, database, storage, providers.

    Also the clock and the workers. Exit status 1 when something is wrong.
    """
    from venue_images.cli import doctor as surgery

    return surgery.doctor()


@app.command("import", epilog=JSON_HELP)
def import_(
    file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file, one venue a line.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report the same and write nothing.")] = False,
) -> int:
    """Import a catalogue; repeating it changes nothing.

    Good lines are kept, bad ones are reported with their number; exit status 1 when there are any.
    """
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import catalogue

    return catalogue.import_(file, dry_run=dry_run)


@app.command(epilog=JSON_HELP)
def export(file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file; it is replaced.")]) -> int:
    """Write every venue with its images."""
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import catalogue

    return catalogue.export(file)


@app.command(epilog=JSON_HELP)
def enrich(  # noqa: PLR0917 - typer names them all
    venue: Annotated[list[str] | None, typer.Argument(help="Ids or slugs; none: the stale ones.")] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Only stale venues (the default without VENUE).")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every venue.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Ask the providers although the venue is not stale.")] = False,
    providers: Annotated[str | None, typer.Option(help="Ask these alone: a,b.")] = None,
    retry_failed_only: Annotated[
        bool, typer.Option("--retry-failed-only", help="Ask no provider; upload again what failed.")
    ] = False,
    geocode: Annotated[
        bool, typer.Option("--geocode", help="Look for a missing id by name and place at every provider; may cost.")
    ] = False,
    refresh_urls: Annotated[
        bool, typer.Option("--refresh-urls", help="Only get new addresses for expired ones; says the price first.")
    ] = False,
    up_to: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="With --refresh-urls: do nothing if it costs more.")
    ] = None,
    now: Now = False,
) -> int:
    """Ask the providers for photos and upload them.

    A venue is stale when it was never checked, 90 days after, or 7 days after when nothing was found. With --now, what
    fails for a while is told in the report. Exit status 1 means that the storage or every provider failed, or one that was
    named, or that a provider refuses its key or has no credit.
    """
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import enriching

    names = None if providers is None else [name.strip() for name in providers.split(",") if name.strip()]
    wish = enriching.Wish(venue or (), stale, everything, force, names, retry_failed_only, geocode, refresh_urls, up_to)
    return enriching.enrich(wish, now=now)


@app.command(epilog=JSON_HELP)
def cleanup(
    now: Now = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    include_ambiguous: Annotated[
        bool, typer.Option("--include-ambiguous", help="Also what failed unclearly, such as status 500.")
    ] = False,
) -> int:
    """Retry what failed, as the button does.

    Only what may come back, from the addresses that are known: no metered call is made.

    With --now, photos that still fail are figures of the report; exit status 1 means that the storage can't be used.
    """
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import cleaning

    return cleaning.cleanup(now=now, dry_run=dry_run, include_ambiguous=include_ambiguous)


@app.command(epilog=JSON_HELP)
def retry(
    venue: Annotated[str, typer.Argument(help="Id or slug.")],
    image: Annotated[
        list[int] | None, typer.Option(help="Only these images, ambiguous failures too; repeatable.")
    ] = None,
    now: Now = False,
) -> int:
    """Retry the failed uploads of one venue."""
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import enriching

    return enriching.retry(venue, image or (), now=now)


@app.command(epilog=JSON_HELP)
def stats() -> int:
    """How much is stored, what failed, and why."""
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import reports

    return reports.stats()


@app.command(epilog=JSON_HELP)
def failures(by: Annotated[Grouping, typer.Option(help="What to group by.")] = Grouping.VENUE) -> int:
    """What failed, by venue, error, provider or host."""
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import reports

    return reports.failures(by)


@app.command(epilog=JSON_HELP)
def monitor() -> int:
    """Usage of the providers, and what needs a person."""
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import reports

    return reports.monitor()


@app.command(epilog=JSON_HELP)
def providers(
    action: Annotated[ProviderAction, typer.Argument(help="What to do.")] = ProviderAction.LIST,
    name: Annotated[str | None, typer.Argument(help="The provider; for try also host:HOST or storage.")] = None,
    values: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="For set.")] = None,
) -> int:
    """List the providers, or change one.

    set takes active, priority, geocode, cost_per_search, _call, _image, monthly_budget_usd and limit_per_second,
    _minute, _hour, _day; none takes a limit or the budget away. try lets a service that is stopped be tried at once.
    """
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import providers as choosing

    return choosing.perform(str(action), name, values or ())


@app.command("login-link", epilog=JSON_HELP)
def login_link(
    user: Annotated[
        str | None, typer.Option(help="Who signs in; without it the first superuser, made if missing.")
    ] = None,
    base_url: Annotated[str, typer.Option(help="Where the site is served.")] = "http://127.0.0.1:8000",
) -> int:
    """Print a one-time sign-in link for the admin."""
    from venue_images.cli import database

    database.load_and_prepare()
    from venue_images.cli import sign_in

    return sign_in.login_link(user, base_url)
