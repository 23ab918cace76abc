#!/bin/sh
# Starts a node of the Ray cluster whose head is at RAY_HEAD (HOST:PORT), or that head; the options
# are those of `ray start`.
set -eu

# A container may stand in several networks, and Ray would use its address in the one that leads
# outside. Its address in the head's network is the one that it would speak to the head from.
address=$(python -c '
import socket, sys
host, _, port = sys.argv[1].rpartition(":")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((host, int(port)))
    print(probe.getsockname()[0])
' "$RAY_HEAD")
# What passes between trials and search is small; data and checkpoints do not go through Ray.
exec ray start --node-ip-address="$address" --object-store-memory=100000000 --disable-usage-stats \
    "$@"
