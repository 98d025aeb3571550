#!/bin/bash
# tests/edgebox/gpio.sh [STAGE...]: onenipd on simulated GPIO hardware under systemd, in a virtual
# machine: edges in and out with their times, both wirings, encoder, refusals, kill -9.
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

# An engine that an emulated processor runs in a fifth of a second, small and without a network of
# its own: it sees few defects, so the pictures are those it does see, and good ones it passes.
if [ ! -s "$put/verdicts.txt" ]; then
  rm -rf "$put" "$EDGEBOX_WORK/parts"; mkdir -p "$put/pictures"
  "$program" simulate --output "$EDGEBOX_WORK/parts" --products 2 --good 24 --defects 12 --seed 7
  "$program" train "$EDGEBOX_WORK/parts" --output "$put/engine" --steps 0 --size 64 --half \
    --library "${library[0]}"
  parts=$EDGEBOX_WORK/parts/flange; : > "$put/nothing.toml"
  options=(--config "$put/nothing.toml" --set "engine.bundle=\"$put/engine\""
    --set "engine.library=\"$PWD/${library[0]}\"" --set "state.directory=\"$put/state\"")
  "$program" product add flange --prompt "$parts/train/good/0000.png" "${options[@]}"
  "$program" product calibrate flange "$parts/train/good" --false-reject 5% "${options[@]}"
  "$program" replay "$parts/test" --product flange --json "${options[@]}" > "$EDGEBOX_WORK/replay.json"
  python3 tests/edgebox/choose.py "$EDGEBOX_WORK/replay.json" "$put" \
    "$("$program" product show flange "${options[@]}" | sed -n 's/^ *image threshold *//p')"
fi

"$EDGEBOX/make-image.sh" "$image" --include libgstreamer1.0-0,libgstreamer-plugins-base1.0-0
"$EDGEBOX/boot.sh" stop "$run" >/dev/null 2>&1 || true
trap '"$EDGEBOX/boot.sh" stop "$run" >/dev/null 2>&1 || true' EXIT
"$EDGEBOX/boot.sh" start "$run" --image "$image" --fresh --mem 1536 --smp 2
# Installed by the guide's own commands, from a folder as it is after building and teaching.
desk=$EDGEBOX_WORK/desk; rm -rf "$desk"
mkdir -p "$desk"/{target/release,runtime,engines,config/examples,demo-data}
cp "$program" "$desk/target/release/onenipd"; strip "$desk/target/release/onenipd"
cp -r systemd "$desk/"; cp "${library[0]}" "$desk/runtime/"; cp -r "$put/engine" "$desk/engines/demo"
cp -r "$put/state/products" "$desk/demo-data/"; cp tests/edgebox/onenipd.toml "$desk/config/examples/gpio.toml"
{ echo 'set -e; sudo() { "$@"; }; cd /root/desk'; sed -n '/^sudo install/,/^```/p' docs/guide/wiring.md | grep -v '^```'; } \
  > "$desk/install.sh"
in_vm 'mkdir -p /root/desk /usr/share/onenipd'
in_vm --timeout 180 --put "$desk/." /root/desk/
in_vm --timeout 120 --put "$put/pictures" /usr/share/onenipd/
in_vm 'bash /root/desk/install.sh'
in_vm --put "$EDGEBOX/gpio-sim.sh" tests/edgebox/gpio_line.py tests/edgebox/wires.py \
  docs/guide/wiring.md "$put/verdicts.txt" /root/
in_vm 'mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug'
in_vm --timeout 1500 "python3 -u /root/gpio_line.py $*"
