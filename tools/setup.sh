#!/usr/bin/env bash
# Install what is missing: `tools/setup.sh run` for `make run`, `tools/setup.sh test` for the
# tests, the linters and the docs. Says what it does on standard error; quick when nothing is.
#
# Packages come through apt on Debian and Ubuntu, as root or by a sudo that asks nothing. No broker
# and no database of the machine is started: the programs start private ones of their own.
# Exit code 3 where something is missing and may not be installed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV=.venv
RABBITMQ=/usr/lib/rabbitmq/bin/rabbitmq-server
POLICY=/usr/sbin/policy-rc.d
NO_CLUSTER=/etc/postgresql-common/createcluster.d/ladle-setup.conf

say() { printf 'setup: %s\n' "$*" >&2; }

give_up() {
  printf 'setup: %s\n' "$@" >&2
  exit 3
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" -eq 0 ] && return 0
  # -n: without a password that is still valid this fails instead of asking and hanging.
  command -v sudo >/dev/null && sudo -n true 2>/dev/null
}

# -- what is missing ----------------------------------------------------------------------------

python_is_new_enough() {
  command -v python3 >/dev/null && python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

docker_works() {
  command -v docker >/dev/null || return 1
  timeout 20 docker info >/dev/null 2>&1 && timeout 20 docker compose version >/dev/null 2>&1
}

broker_is_there() {
  [ -n "${LADLE_AMQP_URL:-}" ] || [ -x "$RABBITMQ" ] || docker_works
}

postgres_is_there() {
  [ -n "${LADLE_TEST_DATABASE_URL:-}" ] || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null \
    || command -v initdb >/dev/null
}

missing_packages() { # $1 = run | test; prints package names
  python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  broker_is_there || echo rabbitmq-server
  [ "$1" = test ] || return 0
  postgres_is_there || echo postgresql
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
}

# -- apt, with nothing started ------------------------------------------------------------------

SCRATCH=
forbid_services() {
  SCRATCH=$(mktemp -d)
  trap allow_services EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  # invoke-rc.d asks this script before it starts anything; 101 means no.
  printf '#!/bin/sh\n# put here by tools/setup.sh of Ladle, for the time of an installation\nexit 101\n' \
    >"$SCRATCH/policy"
  if [ -e "$POLICY" ]; then as_root cp -p "$POLICY" "$SCRATCH/policy.before"; fi
  as_root install -m 0755 "$SCRATCH/policy" "$POLICY"
  # Without it the PostgreSQL package makes a cluster, to be started at every boot.
  printf 'create_main_cluster = false\n' >"$SCRATCH/cluster"
  as_root install -D -m 0644 "$SCRATCH/cluster" "$NO_CLUSTER"
}

allow_services() {
  if [ -e "$SCRATCH/policy.before" ]; then
    as_root cp -p "$SCRATCH/policy.before" "$POLICY"
  else
    as_root rm -f "$POLICY"
  fi
  as_root rm -f "$NO_CLUSTER"
  # policy.before may be root's.
  as_root rm -rf "$SCRATCH"
}

apt_get() {
  # Its pages of output are of use only where it fails.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null >"$SCRATCH/apt.log" 2>&1 \
    || {
      tail -n 40 "$SCRATCH/apt.log" >&2
      give_up "apt-get $1 failed; the end of its output stands above"
    }
}

keep_off_at_boot() { # only for a package that this script has just installed
  as_root update-rc.d rabbitmq-server disable >/dev/null 2>&1 || true
  if command -v systemctl >/dev/null; then
    as_root systemctl disable rabbitmq-server.service epmd.service epmd.socket >/dev/null 2>&1 || true
  fi
}

install_packages() {
  local packages=("$@")
  say "missing: ${packages[*]}"
  may_install || give_up \
    "they cannot be installed from here (that takes apt, and root or a sudo without a password)." \
    "Install them and try again:" \
    "    sudo apt-get install --no-install-recommends ${packages[*]}" \
    "A broker that already runs somewhere can be named instead: LADLE_AMQP_URL=amqp://..."
  say "installing them through apt (a minute or two); no service of the machine is started"
  forbid_services
  apt_get update
  apt_get install --no-install-recommends "${packages[@]}"
  case " ${packages[*]} " in *" rabbitmq-server "*) keep_off_at_boot ;; esac
  allow_services
  trap - EXIT INT TERM HUP
}

# -- the virtual environment --------------------------------------------------------------------

fingerprint() { # of what the environment is made from
  {
    python3 -c 'import sys; print(sys.version, sys.prefix)'
    pwd
    cat pyproject.toml "$@"
  } | sha256sum | cut -d' ' -f1
}

make_environment() {
  # A venv whose interpreter went away (an upgraded Python, a moved checkout) is made anew.
  if [ -e "$VENV" ] && "$VENV/bin/python" -c 'import pip' 2>/dev/null; then return; fi
  say "making the virtual environment $VENV"
  rm -rf "$VENV"
  python3 -m venv "$VENV"
}

pip_install() {
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@" </dev/null >&2
}

install_requirements() { # $1 = run | test
  local locks=(requirements/build.txt requirements/run.txt) wanted stamp lock arguments=()
  if [ "$1" = test ]; then locks+=(requirements/dev.txt); fi
  stamp="$VENV/ladle-$1.stamp"
  wanted=$(fingerprint "${locks[@]}")
  if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
  say "installing the locked libraries (requirements/*.txt)"
  # The locked pip first: Debian's misreads a lock as soon as a library with an extra is released anew.
  pip_install --require-hashes --requirement requirements/build.txt
  # dev.txt holds the two others, at the same versions: one file is enough.
  if [ "$1" = test ]; then locks=(requirements/dev.txt); fi
  for lock in "${locks[@]}"; do arguments+=(--requirement "$lock"); done
  pip_install --require-hashes "${arguments[@]}"
  pip_install --no-deps --no-build-isolation --editable .
  printf '%s\n' "$wanted" >"$stamp"
}

main() {
  local purpose=${1:-}
  case "$purpose" in
    run | test) ;;
    *)
      echo "usage: tools/setup.sh run|test" >&2
      exit 2
      ;;
  esac
  python_is_new_enough || give_up "Python 3.11 or newer is needed as python3 (Debian 12 has it)"
  local missing
  mapfile -t missing < <(missing_packages "$purpose")
  if [ "${#missing[@]}" -gt 0 ]; then install_packages "${missing[@]}"; fi
  make_environment
  install_requirements "$purpose"
}

main "$@"
