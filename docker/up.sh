#!/bin/sh
# Starts everything: makes the passwords at the first start, then what compose.yaml says.
# What is given goes to `docker compose up`, such as --scale ray-worker=8.
set -eu
cd "$(dirname "$0")"

# Nobody else enters the folder. The files themselves are open to the users in the containers.
mkdir -p -m 700 secrets
for name in database_password dashboard_password ray_token; do
    if [ ! -e "secrets/$name" ]; then
        od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name"
        chmod 444 "secrets/$name"
    fi
done
exec docker compose up --build --detach "$@"
