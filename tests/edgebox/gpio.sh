#!/bin/bash
# tests/edgebox/gpio.sh [STAGE...]: onenipd on simulated GPIO hardware under systemd, in a virtual
# machine: edges in and out with their times, encoder, refusals, kill -9. About ten minutes.
#
#   EDGEBOX=DIR  folder of the machine's scripts: make-image.sh, boot.sh, run-in-vm, gpio-sim.sh
#   EDGEBOX_WORK=DIR  where image, disk and state of the machine may lie (2 GB); kept between runs
#   ONENIPD=FILE  the program (default target/release/onenipd)
#
# Needs root, qemu-system-x86 and qemu-utils for the first image; see the scripts' own README.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
: "${EDGEBOX:?set it to the folder of the machine scripts (see the head of this file)}"
: "${EDGEBOX_WORK:?set it to a folder for image and disk, outside the repository}"
program=${ONENIPD:-target/release/onenipd}
[ -x "$program" ] || { echo "no program at $program: cargo build --release" >&2; exit 1; }
library=(runtime/libonnxruntime.so.*)
[ -s "${library[0]}" ] || { echo "no ONNX Runtime in runtime/: make setup" >&2; exit 1; }
image=$EDGEBOX_WORK/img run=$EDGEBOX_WORK/run put=$EDGEBOX_WORK/put
in_vm() { "$EDGEBOX/run-in-vm" "$run" "$@"; }

# Pictures and a taught product, made here: teaching in an emulated processor takes minutes.
if [ ! -d "$put/pictures" ]; then
  rm -rf "$put"; mkdir -p "$put/pictures" "$EDGEBOX_WORK/parts"
  "$program" simulate --output "$EDGEBOX_WORK/parts" --products 1 --good 12 --defects 6 --seed 7
  product=$(ls -d "$EDGEBOX_WORK"/parts/*/ | head -1)
  # Good, good, bad, in turn.
  n=0; for bad in $(ls "$product"test/*/*.png | grep -v /good/ | head -3); do
    for good in $(ls "$product"train/good/*.png | sed -n "$((2 * n + 1)),$((2 * n + 2))p"); do
      cp "$good" "$put/pictures/$n-$(basename "$good")"; done
    cp "$bad" "$put/pictures/$n-bad.png"; n=$((n + 1)); done
  options=(--config tests/edgebox/onenipd.toml --set "engine.bundle=\"$PWD/engines/demo\""
    --set "engine.library=\"$PWD/${library[0]}\"" --set "state.directory=\"$put/state\"")
  "$program" product add flange --prompt "$(ls "$product"train/good/*.png | head -1)" "${options[@]}"
  "$program" product calibrate flange "$product"train/good --false-reject 5% "${options[@]}"
fi

"$EDGEBOX/make-image.sh" "$image" --include libgstreamer1.0-0,libgstreamer-plugins-base1.0-0
"$EDGEBOX/boot.sh" stop "$run" >/dev/null 2>&1 || true
trap '"$EDGEBOX/boot.sh" stop "$run" >/dev/null 2>&1 || true' EXIT
"$EDGEBOX/boot.sh" start "$run" --image "$image" --fresh --mem 1536 --smp 2
in_vm 'mkdir -p /usr/share/onenipd/demo /usr/lib/onenipd /etc/onenipd /var/lib/onenipd'
stripped=$EDGEBOX_WORK/onenipd; cp "$program" "$stripped"; strip "$stripped"
in_vm --timeout 120 --put "$stripped" /usr/bin/onenipd
in_vm --timeout 120 --put "${library[0]}" /usr/lib/onenipd/libonnxruntime.so
in_vm --timeout 120 --put engines/demo/. /usr/share/onenipd/demo/
in_vm --timeout 120 --put "$put/pictures" /usr/share/onenipd/
in_vm --timeout 120 --put "$put/state/." /var/lib/onenipd/
in_vm --put tests/edgebox/onenipd.toml /etc/onenipd/
in_vm --put systemd/onenipd.service systemd/onenipd-hold.service /etc/systemd/system/
in_vm --put systemd/70-onenipd.rules /usr/lib/udev/rules.d/
in_vm --put systemd/onenipd.sysusers /usr/lib/sysusers.d/onenipd.conf
in_vm --put "$EDGEBOX/gpio-sim.sh" tests/edgebox/gpio_line.py /root/
in_vm 'systemd-sysusers; chown -R onenipd:onenipd /var/lib/onenipd; udevadm control --reload; systemctl daemon-reload
       mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug'
in_vm --timeout 1500 "python3 /root/gpio_line.py $*"
