#!/usr/bin/env bash
# A current AWS CLI v2, beside the old one of this Debian: the package of the next Debian release, unpacked into the cache
# (nothing of the system changes), with the Python packages that it names. Prints the path of its program.
#
#   aws-cli.sh install
set -Eeuo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
TB_NAME=aws-cli
release=forky
home=${TB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/testbed}/aws-cli-$release

[ "${1:-}" = install ] || tb_die "usage: aws-cli.sh install"
mkdir -p "$home"
exec 9>"$home/.lock"; flock -w 900 9
if [ ! -e "$home/.ok" ]; then
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  # From wherever this machine has its Debian; signed by Debian's keys.
  archive() { apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | sed -n 1p; }
  archive=$(archive)
  # A machine that never asked knows no labels.
  [ -n "$archive" ] || { timeout 300 apt-get -q update >&2; archive=$(archive); }
  [ -n "$archive" ] || tb_die "no Debian archive among the sources of apt"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$archive" "$release" >"$work/sources.list"
  options=(-q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists"
    -o Dir::Cache="$work/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root -o Acquire::Retries=3
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  tb_log "the AWS CLI of Debian $release"
  (cd "$work" && timeout 300 apt-get "${options[@]}" update && timeout 300 apt-get "${options[@]}" download awscli) >&2
  rm -rf "$home/package" "$home/venv"
  dpkg-deb -x "$work"/awscli_*.deb "$home/package"
  packages=$home/package/usr/lib/python3/dist-packages
  sed -n 's/^Requires-Dist: //p' "$packages"/awscli-*.dist-info/METADATA >"$home/requirements.txt"
  python3 -m venv "$home/venv" >&2
  timeout 600 "$home/venv/bin/pip" install -q --no-input -r "$home/requirements.txt" >&2
  printf '#!/bin/sh\nPYTHONPATH=%q exec %q %q "$@"\n' "$packages" "$home/venv/bin/python" "$home/package/usr/bin/aws" >"$home/aws"
  chmod 755 "$home/aws"
  "$home/aws" --version >&2
  touch "$home/.ok"
fi
# Its data, where the CLI of AWS's own installer has it: beside the program.
ln -sfn package/usr/lib/python3/dist-packages/awscli "$home/awscli"
printf '%s\n' "$home/aws"
