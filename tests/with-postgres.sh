#!/usr/bin/env bash
# Runs a command with a PostgreSQL server beside it, which its tests share: DAYPASS_TEST_POSTGRES.
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
chmod 711 "$folder"
trap 'bash "$here/testbed/pg.sh" stop --dir "$folder"; rm -rf "$folder"' EXIT
DAYPASS_TEST_POSTGRES=$(bash "$here/testbed/pg.sh" start --dir "$folder" | sed -n 's/^PG_URL=//p')
export DAYPASS_TEST_POSTGRES
"$@"
