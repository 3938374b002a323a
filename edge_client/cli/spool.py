"""`edge_client spool`: questions that wait for their server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_client.cli import options
from edge_client.cli.console.output import Output, error_record
from edge_client.spool.store import Entry, JobUnreadable, Spool
from shared.errors import CotamError, exit_code

if TYPE_CHECKING:
    from edge_client.spool.flush import Sent

app = typer.Typer(help="Questions that wait for their server.")


@app.command("list")
def list_(
    poison: Annotated[bool, typer.Option("--poison", help="What was given up, instead.")] = False,
    json: options.Json = False,
) -> None:
    """List what waits, in the order in which it will be sent."""
    talk = Output(json)
    spool = options.open_spool()
    shown = Spool(spool.root / "poison") if poison else spool
    entries = shown.entries()
    for entry in entries:
        record = _describe(shown, entry)
        if poison:
            reason = shown.root / f"{entry.name}.txt"
            record["reason"] = reason.read_text().strip() if reason.exists() else "unknown"
        if json:
            talk.record(record)
        else:
            asked = f"{record['picture']}  {record['prompt']!r}"
            if "provisional" in record:
                asked += f"  provisional: {record['provisional']}"
            tail = record.get("reason", f"{entry.tries} failed tries" if entry.tries else "")
            talk.data(f"{record['created']}  {entry.size:>6} B  {asked}  {tail}".rstrip())
    given_up = len(spool.poisoned())
    if not poison:
        size = sum(entry.size for entry in entries)
        talk.say(f"{len(entries)} waiting in {size} bytes, {given_up} given up; {spool.root}")


@app.command()
def flush(
    server: options.Server = None,
    api_key: options.ApiKey = None,
    retries: options.RetryCount = 3,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Send what waits, in order, and print the answers.

    Ends with 0 when nothing waits any more. Run it from cron or a systemd timer: a second one that
    starts while the first is at work steps back.
    """
    settings = options.resolve_options(server, api_key).settings
    spool = options.open_spool()
    talk = Output(json, quiet)
    waiting = len(spool.entries())
    if not waiting:
        talk.say("nothing waits")
        return
    from edge_client.server.client import EdgeClient, Retries
    from edge_client.spool.flush import send_waiting

    last: CotamError | None = None
    with (
        EdgeClient(settings.server, api_key=settings.api_key, retries=Retries(retries)) as client,
        talk.progress(waiting),
    ):
        for result in send_waiting(spool, client.submit):
            talk.advance()
            report(talk, result)
            last = result.error or last
    if last is not None:
        talk.say(f"{len(spool.entries())} still waiting in {spool.root}")
        raise typer.Exit(exit_code(last) if spool.entries() else 1)


def report(talk: Output, result: Sent) -> None:
    """Say what became of a job."""
    name = result.job.picture if result.job else result.entry.name
    if result.answer is not None:
        if talk.json:
            asked = result.job.query.prompt if result.job else ""
            talk.record({"picture": name, "prompt": asked, **result.answer.model_dump()})
        else:
            talk.data(f"{name}\t{' '.join(result.answer.answer.split())}")
    elif result.error is not None:
        talk.complain(result.error, name)
        if talk.json:
            error = error_record(result.error)
            talk.record({"picture": name, "error": error, "given_up": result.given_up})


@app.command()
def drop(
    poison: Annotated[bool, typer.Option("--poison", help="What was given up, instead.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Throw away all that waits."""
    spool = options.open_spool()
    count = len(spool.poisoned() if poison else spool.entries())
    if count and not yes:
        typer.confirm(f"Throw away {count} questions?", abort=True, err=True)
    with spool.lock():
        Output().say(f"{spool.drop(poison)} thrown away")


def _describe(spool: Spool, entry: Entry) -> dict[str, Any]:
    record: dict[str, Any] = {"key": entry.key, "bytes": entry.size, "tries": entry.tries}
    try:
        job = spool.read(entry)
    except JobUnreadable as error:
        return {**record, "picture": "?", "prompt": "", "created": "?", "error": error.message}
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created))
    return {
        **record,
        "picture": job.picture,
        "prompt": job.query.prompt,
        "created": created,
        **({"provisional": job.provisional} if job.provisional else {}),
    }
