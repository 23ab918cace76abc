#!/bin/sh
# Runs a command that finds its database's password in the file PGPASSWORD_FILE.
#
# libpq takes passwords from ~/.pgpass, if nobody else can read that. A secret of Docker is a file
# with the owner and the mode that it has on the host, so libpq gets a copy, in its own format.
set -eu

# Another user than the image's has no home in it.
if [ ! -w "${HOME:-/}" ]; then
    HOME=$(mktemp -d)
    export HOME
fi
if [ -n "${PGPASSWORD_FILE:-}" ]; then
    umask_before=$(umask)
    umask 077
    rm -f "$HOME/.pgpass"
    # A colon would end the field, and a backslash quotes what follows it.
    sed -e 's/[\\:]/\\&/g' -e 's/^/*:*:*:*:/' -e 1q "$PGPASSWORD_FILE" >"$HOME/.pgpass"
    umask "$umask_before"
fi
exec "$@"
