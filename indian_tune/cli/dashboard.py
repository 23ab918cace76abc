"""`indian-tune dashboard`: a study in Optuna Dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from indian_tune.cli.options import Storage, StudyName


def dashboard(
    study: StudyName = None,
    storage: Storage = None,
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 for any free one.", min=0, max=65535)
    ] = 8080,
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Host name that browsers may use for this dashboard; repeatable.",
            show_default="localhost if --host is local, otherwise any",
        ),
    ] = None,
    allow_writes: Annotated[
        bool,
        typer.Option("--allow-writes", help="Let the browser edit notes and delete studies."),
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Also open a browser.")] = False,
) -> None:
    """Show a study in Optuna Dashboard, while it runs or afterwards.

    By default it is read-only and listens on this machine only (see --allow-writes and --host).
    Test results are never shown. Press Ctrl-C to stop it.
    """
    import contextlib
    import webbrowser

    from indian_tune.dashboard import DashboardServer
    from indian_tune.dashboard.server import is_local
    from indian_tune.ledger import LedgerReader
    from indian_tune.service.output import notices, results

    with (
        LedgerReader.open(storage) as ledger,
        DashboardServer(
            ledger,
            study,
            host=host,
            port=port,
            allowed_hosts=allowed_host or (),
            allow_writes=allow_writes,
        ) as server,
    ):
        remarks = notices()
        if not is_local(host):
            remarks.print(
                f"Warning: the dashboard has no login: everyone who can reach {host} can read "
                f"{'and delete ' if allow_writes else ''}every study in it.",
                soft_wrap=True,
            )
        results().print(server.address, soft_wrap=True)
        remarks.print(
            f"{study or 'Every study'} of {ledger.address}, "
            f"{'writes allowed' if allow_writes else 'read-only'}; press Ctrl-C to stop.",
            soft_wrap=True,
        )
        if open_browser and not webbrowser.open(server.address):
            remarks.print("No browser can be opened here: open the address in a browser.")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve()
