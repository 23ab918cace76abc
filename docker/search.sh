#!/bin/sh
# Searches a study on the Ray cluster whose head is at RAY_HEAD (HOST:PORT).
#
# Ray wants who drives to stand on a node of the cluster. This container becomes one without
# processors, so that trials run on the others; it leaves when the search has ended.
set -eu

ray-node.sh --address="$RAY_HEAD" --num-cpus=0 --num-gpus=0 >&2
exec indian-tune search --engine ray --ray-address "$RAY_HEAD" "$@"
