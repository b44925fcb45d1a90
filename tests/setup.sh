#!/usr/bin/env bash
# Installs what the tests use and is missing: Debian packages, npm modules, a Python environment, cargo tools.
# Prints KEY=VALUE lines for the test runner. Needs root only when a Debian package is missing.
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/testbed/lib/common.sh"
TB_NAME=setup

tb_apt pkg-config gcc g++ make clang libclang-dev libxmlsec1-dev libssl-dev \
  chromium fonts-dejavu-core python3 python3-venv awscli libfaketime curl jq openssl procps perl tmux zsh fish prometheus haproxy >&2
tb_have npm || tb_apt nodejs npm >&2
bash "$here/testbed/idp-simplesamlphp.sh" install >&2
bash "$here/testbed/op-panva.sh" install >&2
bash "$here/testbed/idp-samlp.sh" install >&2
bash "$here/testbed/idp-pysaml2.sh" install >&2
bash "$here/testbed/oauth2-social.sh" install >&2
bash "$here/testbed/pg.sh" install >&2
bash "$here/testbed/redis.sh" install >&2

# Missing cargo tools are built once. Debian's machine has only Rust.
tools=${TB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/testbed}/cargo
export PATH="$tools/bin:$PATH"
for tool in cargo-nextest cargo-deny; do
  tb_have "$tool" || { tb_log "cargo install $tool"; cargo install --quiet --locked --root "$tools" "$tool" >&2; }
done

current=$(bash "$here/testbed/aws-cli.sh" install)
modules=$(tb_npm "$here/testbed/browser")/node_modules
sdk=$(tb_npm "$here/e2e/sdk")/node_modules
venv=$(tb_venv "$here/e2e/requirements.txt")
faketime=$(dpkg -L libfaketime | grep '/libfaketime.so.1$')
printf 'export TESTBED_NODE_MODULES=%q\nexport E2E_SDK_MODULES=%q\nexport E2E_PYTHON=%q\nexport E2E_AWS_V1=%q\nexport E2E_AWS_CURRENT=%q\nexport E2E_NODE=%q\nexport E2E_FAKETIME=%q\nexport PATH=%q\n' \
  "$modules" "$sdk" "$venv/bin/python" "$venv/bin/aws" "$current" "$(tb_node 22)" "$faketime" "$PATH"
