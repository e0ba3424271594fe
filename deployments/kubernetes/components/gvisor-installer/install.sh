#!/bin/sh
# Puts gVisor of RELEASE (a date, or `latest`) on the node and tells containerd of it. Repeating it changes nothing.
set -eu

programs=${PROGRAMS:-/host/usr/local/bin}
config=${CONTAINERD_CONFIG:-/host/etc/containerd/config.toml}
source=${SOURCE:-https://storage.googleapis.com/gvisor/releases/release/$RELEASE/$(uname -m)}
restart=${RESTART:-nsenter -t 1 -m -- systemctl restart containerd}

# Whichever the image has.
fetch() {
  if command -v curl >/dev/null; then curl --fail --silent --show-error --location "$1"; else wget -q -O - "$1"; fi
}

for program in runsc containerd-shim-runsc-v1; do
  sum=$(fetch "$source/$program.sha512" | cut -d ' ' -f 1)
  [ -n "$sum" ] || { echo "$source/$program.sha512 is empty" >&2; exit 1; }
  if [ -f "$programs/$program" ] && [ "$(sha512sum "$programs/$program" | cut -d ' ' -f 1)" = "$sum" ]; then
    echo "$program is there"
    continue
  fi
  fetch "$source/$program" >"$programs/.$program.new"
  if [ "$(sha512sum "$programs/.$program.new" | cut -d ' ' -f 1)" != "$sum" ]; then
    rm -f "$programs/.$program.new"
    echo "$source/$program is not what its sum says" >&2
    exit 1
  fi
  chmod 755 "$programs/.$program.new"
  mv "$programs/.$program.new" "$programs/$program"
  echo "installed $program"
done

if grep -q 'runtimes\.runsc\]' "$config"; then
  echo 'containerd knows it'
  exit 0
fi
# Version 3 of the file is containerd 2's; version 2 is containerd 1's.
case $(sed -n 's/^version *= *\([0-9]*\).*/\1/p' "$config" | head -n 1) in
3) plugin="'io.containerd.cri.v1.runtime'" ;;
2) plugin='"io.containerd.grpc.v1.cri"' ;;
*)
  echo "$config says no version that this understands (2 or 3)" >&2
  exit 1
  ;;
esac
cp "$config" "$config.before-gvisor"
printf '\n[plugins.%s.containerd.runtimes.runsc]\n  runtime_type = "io.containerd.runsc.v1"\n' "$plugin" >>"$config"
$restart
echo 'told containerd'
