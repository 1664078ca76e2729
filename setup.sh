#!/usr/bin/env bash
# Installs what is missing, starting no service: `./setup.sh run` for a laboratory, `./setup.sh test` for tests too, `./setup.sh bench`
# for those and for measuring against others.
set -euo pipefail
cd "$(dirname "$0")"
packages=(runc nftables iproute2 conntrack nginx-light iputils-ping curl ca-certificates gcc libc6-dev make procps e2fsprogs xfsprogs)
case "${1:-run}" in test | bench) packages+=(wrk iperf3 tcpdump etcd-server libnbd-bin nbd-client qemu-utils fio postgresql docker-registry busybox-static jq python3 python3-venv) ;; esac
[ "${1:-run}" != bench ] || packages+=(haproxy keepalived pacemaker pacemaker-cli-utils corosync resource-agents ganeti-htools stress-ng nbdkit)
missing=()
for package in "${packages[@]}"; do
  [ "$package" != nginx-light ] || ! command -v nginx >/dev/null || continue # any nginx will do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || { echo "setup: as root, run: apt-get install ${missing[*]}" >&2; exit 1; }
  echo "setup: installing ${missing[*]}"
  policy=/usr/sbin/policy-rc.d
  ours='# while Panloom installs packages'
  # The machine's own is kept, and put back below whatever happens; one of ours is left by a setup that was killed.
  [ ! -e $policy ] || grep -qF "$ours" $policy || mv $policy $policy.panloom
  trap 'rm -f $policy; [ ! -e $policy.panloom ] || mv $policy.panloom $policy' EXIT
  printf '#!/bin/sh\n%s\nexit 101\n' "$ours" >$policy && chmod 755 $policy
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  for package in "${missing[@]}"; do # nor at the next boot
    case $package in
      docker-registry | nbd-client) update-rc.d "$package" disable >/dev/null 2>&1 || true ;;
      nginx-light | etcd-server | postgresql | haproxy | keepalived | pacemaker | corosync) update-rc.d "${package%%-*}" disable >/dev/null 2>&1 || true ;;
    esac
  done
fi
wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
found=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
if [ "$(printf '%s\n' "$wanted" "${found:-0}" | sort -V | head -n1)" != "$wanted" ]; then
  command -v rustup >/dev/null || { printf 'setup: Rust %s is needed, found %s. Run this, then again:\n  %s\n' "$wanted" "${found:-none}" \
    "curl --proto =https -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain $wanted" >&2; exit 1; }
  rustup toolchain install "$wanted" --profile minimal --component clippy --component rustfmt
fi
# What makes requests out of the interface's description: no package of the distribution has it.
case "${1:-run}" in test | bench)
  wanted=$(cat crates/pan/tests/schemathesis.txt)
  home=${XDG_CACHE_HOME:-$HOME/.cache}/panloom/${wanted/==/-}
  if [ ! -e "$home/whole" ]; then
    echo "setup: installing $wanted"
    mkdir -p "${home%/*}"
    ( flock 9
      [ ! -e "$home/whole" ] || exit 0
      rm -rf "$home"
      python3 -m venv "$home" && "$home/bin/pip" install --quiet --disable-pip-version-check "$wanted" && touch "$home/whole"
    ) 9>"$home.lock" || { rm -rf "$home"; echo "setup: $wanted cannot be had from PyPI: its test will be skipped" >&2; }
  fi ;;
esac
