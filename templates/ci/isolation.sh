#!/bin/sh
# What the isolation layers need on Debian and Ubuntu: bubblewrap, libseccomp, and, where AppArmor forbids ordinary users
# to make namespaces (Ubuntu 24.04 and later, hosted runners too), a profile that allows it to bubblewrap alone.
# Containers mostly forbid namespaces in other ways: there Landlock and seccomp hold what they can; `grade doctor` says it.
set -eu

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if ! command -v bwrap >/dev/null || ! ldconfig -p | grep -q libseccomp.so.2; then
  as_root apt-get update -qq
  as_root apt-get install -y -qq bubblewrap libseccomp2 >/dev/null
fi

restricted=/proc/sys/kernel/apparmor_restrict_unprivileged_userns
if [ -e "$restricted" ] && [ "$(cat "$restricted")" = 1 ] && ! bwrap --unshare-user --ro-bind / / true 2>/dev/null; then
  printf '%s\n' 'abi <abi/4.0>,' 'include <tunables/global>' \
    'profile alphabar-bwrap /usr/bin/bwrap flags=(unconfined) {' '  userns,' '}' |
    as_root tee /etc/apparmor.d/alphabar-bwrap >/dev/null
  as_root apparmor_parser --replace /etc/apparmor.d/alphabar-bwrap
fi
