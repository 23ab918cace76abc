#!/bin/sh
# Starts everything: makes the settings and passwords at the first start, then calls Docker Compose.
# Arguments go to `docker compose up`. Later starts use the same settings, from docker/.env.
set -eu
cd "$(dirname "$0")"

# Adds a setting to docker/.env, unless that names it already.
setting() {
    if ! grep -q "^$1=" .env 2>/dev/null; then
        echo "$1=$2" >>.env
    fi
}

# The containers run as whoever starts them first, so that the files in `studies` belong to them.
# They never run as root.
uid=$(id -u)
gid=$(id -g)
if [ "$uid" -eq 0 ]; then
    uid=1000
    gid=1000
fi
setting INDIAN_TUNE_UID "$uid"
setting INDIAN_TUNE_GID "$gid"
# A number that is given now replaces the former one.
if [ -n "${RAY_WORKERS:-}" ]; then
    sed -i '/^RAY_WORKERS=/d' .env
fi
setting RAY_WORKERS "${RAY_WORKERS:-1}"

# Study files and the modules that they name. Docker would make the folder as root.
if [ ! -d studies ]; then
    mkdir studies
    if [ "$(id -u)" -eq 0 ]; then
        chown "$uid:$gid" studies
    fi
fi

# Nobody else enters the folder. The files themselves are open to the users in the containers.
mkdir -p -m 700 secrets
for name in database_password dashboard_password ray_token; do
    if [ ! -e "secrets/$name" ]; then
        od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name"
        chmod 444 "secrets/$name"
    fi
done
exec docker compose up --build --detach "$@"
