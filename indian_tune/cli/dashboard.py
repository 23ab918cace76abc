"""`indian-tune dashboard`: a study in Optuna Dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from indian_tune.cli.options import Storage, StudyName


def dashboard(
    study: StudyName = None,
    storage: Storage = None,
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 for any that is free.", min=0, max=65535)
    ] = 8080,
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Answer only requests meant for this name; may be given again.",
            show_default="this machine's, if bound to it; else any",
        ),
    ] = None,
    allow_writes: Annotated[
        bool,
        typer.Option("--allow-writes", help="Let the browser edit notes and delete studies."),
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Show a study in Optuna Dashboard, while it runs or afterwards.

    Bound to this machine and read-only unless told otherwise; test results are never shown.
    Ctrl-C ends it.
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
                f"Warning: the dashboard has no login: whoever reaches {host} can read "
                f"{'and delete ' if allow_writes else ''}every study in it.",
                soft_wrap=True,
            )
        results().print(server.address, soft_wrap=True)
        remarks.print(
            f"{study or 'Every study'} of {ledger.address}, "
            f"{'writes allowed' if allow_writes else 'read-only'}; Ctrl-C ends it.",
            soft_wrap=True,
        )
        if open_browser and not webbrowser.open(server.address):
            remarks.print("No browser can be opened here: open the address yourself.")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve()
