"""The simulated wires of tests/edgebox/gpio.sh: drives them, watches them, asks the daemon.

What is seen comes from the kernel, not from the daemon: its tracepoints gpio:gpio_value (every level
an output is set to), irq:irq_handler_entry (every edge of an input) and signal:signal_deliver, all
stamped on CLOCK_MONOTONIC, and the simulated chip's own view of its pads in sysfs.
"""

import os
import re
import socket
import struct
import subprocess
import sys
import time

CHIP = "line"
LINES = [
    "part-present", "encoder-a", "encoder-b", "reset-button", "chute", "belt-runs", "air-ok",
    "ready", "reject-valve", "pass-lamp", "fault-lamp", "busy-lamp", "alive", "flash", "spare",
]
ACTIVE_LOW = {"fault-lamp", "air-ok"}
OUTPUTS = ["ready", "reject-valve", "pass-lamp", "fault-lamp", "busy-lamp", "alive", "flash"]
TRACING = "/sys/kernel/tracing"
# What the same program said on the computer that taught it, by picture.
VERDICTS = "/root/verdicts.txt"
# As in onenipd.toml.
DELAY_MS, ACTUATION_MS, JITTER_MS, PULSE_MS = 8000, 15, 250, 100
STROBE_OFFSET_MS, STROBE_WIDTH_MS = 50, 20
FOLDER = "/etc/onenipd/conf.d"
MORE = f"{FOLDER}/stage.toml"
WORDS = {1: "pass", 2: "fail", 3: "no-decision"}
failures = 0


def shell(command, check=False):
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode:
        sys.exit(f"{command}: {done.stdout.decode()}")
    return done.stdout.decode().strip()


def expect(fact, words):
    global failures
    failures += not fact
    print(("ok    " if fact else "FAIL  ") + words, flush=True)


def title(words):
    print(f"\n== {words}", flush=True)


def now():
    return time.monotonic()


class Chip:
    """The outside world's end of the wires."""

    def __init__(self):
        shell(f"/root/gpio-sim.sh up {CHIP} {' '.join(LINES)}", check=True)
        shell("udevadm settle")
        first = shell(f"/root/gpio-sim.sh path {CHIP} {LINES[0]}", check=True)
        self.folder = os.path.dirname(first)
        label = os.path.basename(shell(f"/root/gpio-sim.sh dev {CHIP}"))
        # A chip that comes back while its old number is still held open gets another.
        os.makedirs(FOLDER, exist_ok=True)
        with open(f"{FOLDER}/chip.toml", "w") as file:
            file.write(f'[gpio]\nchip = "/dev/{label}"\n')
        listing = open("/sys/kernel/debug/gpio").read()
        self.base = int(re.search(rf"{label}: GPIOs (\d+)-", listing).group(1))

    def pull(self, name, level):
        """Drives an input to a logical level."""
        raw = level != (name in ACTIVE_LOW)
        with open(f"{self.folder}/sim_gpio{LINES.index(name)}/pull", "w") as pull:
            pull.write("pull-up" if raw else "pull-down")

    def pad(self, name):
        """An output's logical level as the pad shows it; None when nothing can be read."""
        with open(f"{self.folder}/sim_gpio{LINES.index(name)}/value") as value:
            return (value.read().strip() == "1") != (name in ACTIVE_LOW)

    def name(self, number):
        index = number - self.base
        return LINES[index] if 0 <= index < len(LINES) else None


class Trace:
    """The kernel's own record of wires and signals."""

    def __init__(self):
        shell(f"mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}")
        self.write("tracing_on", "0")
        self.write("trace_clock", "mono")
        self.write("buffer_size_kb", "8192")
        self.write("events/gpio/gpio_value/enable", "1")
        self.write("events/irq/irq_handler_entry/filter", 'name == "onenipd"')
        self.write("events/irq/irq_handler_entry/enable", "1")
        self.write("events/signal/signal_deliver/filter", "sig == 9 || sig == 15 || sig == 6")
        self.write("events/signal/signal_deliver/enable", "1")
        self.write("events/sched/sched_process_exec/filter", 'filename ~ "*onenipd"')
        self.write("events/sched/sched_process_exec/enable", "1")
        self.begin()

    @staticmethod
    def write(name, value):
        with open(f"{TRACING}/{name}", "w") as file:
            file.write(value)

    def begin(self):
        self.write("trace", "")
        self.write("tracing_on", "1")

    def read(self, chip):
        """(seconds, process, what, line or detail, logical level) in the order of time."""
        found = []
        line_form = re.compile(r"^\s*(.{16})\s*-?(\d+)?.*?\s(\d+\.\d+): (\w+): (.*)$")
        for line in open(f"{TRACING}/trace"):
            match = line_form.match(line)
            if not match:
                continue
            process, stamp, event, rest = (match.group(i) for i in (1, 3, 4, 5))
            process = re.sub(r"-\d+(\s.*)?$", "", process.strip())
            stamp = float(stamp)
            if event == "gpio_value":
                number, action, level = rest.split()
                name = chip.name(int(number))
                if name in OUTPUTS and action == "set":
                    found.append((stamp, process, "set", name, (level == "1") != (name in ACTIVE_LOW)))
            elif event == "irq_handler_entry":
                found.append((stamp, process, "irq", rest, None))
            else:
                found.append((stamp, process, event, rest, None))
        return sorted(found, key=lambda entry: entry[0])

    def changes(self, chip, line):
        """(seconds, level, process) of each change of an output."""
        changes, last = [], None
        for stamp, process, what, name, level in self.read(chip):
            if what == "set" and name == line and level != last:
                changes.append((stamp, level, process))
                last = level
        return changes


class Modbus:
    """Registers of the daemon."""

    def __init__(self):
        self.number = 0

    def registers(self, first, count):
        self.number += 1
        with socket.create_connection(("127.0.0.1", 1502), timeout=10) as link:
            link.sendall(struct.pack(">HHHBBHH", self.number, 0, 6, 255, 4, first, count))
            answer = b""
            while len(answer) < 9 + 2 * count:
                more = link.recv(1024)
                if not more:
                    raise OSError("closed")
                answer += more
        return struct.unpack(f">{count}H", answer[9:])

    def write_coil(self, coil, level):
        self.number += 1
        with socket.create_connection(("127.0.0.1", 1502), timeout=10) as link:
            value = 0xFF00 if level else 0
            link.sendall(struct.pack(">HHHBBHH", self.number, 0, 6, 255, 5, coil, value))
            link.recv(64)

    def state(self):
        words = self.registers(0, 30)
        signed = struct.unpack(">i", struct.pack(">HH", words[24], words[25]))[0]
        return {
            "state": words[5], "boot_id": words[8], "alarms": words[10] << 16 | words[11],
            "trig_seq": words[20] << 16 | words[21], "armed": words[22], "enc_pos": signed,
        }

    def result(self, seq):
        """(decision, reason, 1000 x score / threshold) of a part; pending while there is none."""
        words = self.registers(256 + 8 * (seq % 64), 8)
        return words[2:5] if words[0] << 16 | words[1] == seq else (0, 0, 0)


def wait(words, ask, seconds=90):
    until = now() + seconds
    while now() < until:
        try:
            if ask():
                return True
        except (OSError, struct.error):
            pass
        time.sleep(0.1)
    expect(False, f"{words} within {seconds} s")
    return False


class Line:
    def __init__(self):
        self.chip, self.trace, self.modbus = Chip(), Trace(), Modbus()
        self.configured = None

    def state(self):
        return self.modbus.state()

    def up(self, seconds=240):
        """The request biased every input towards inactive: so air and belt come only now."""
        wait("the daemon answers", lambda: self.state()["state"] != 0, seconds)
        self.chip.pull("air-ok", True)
        self.chip.pull("belt-runs", True)
        time.sleep(2)
        self.clear()
        return wait("the daemon is Ready", lambda: self.state()["state"] in (1, 2, 3), 300)

    def configure(self, text=None):
        """Restarts with more keys than onenipd.toml has, or without them, unless it runs so."""
        if self.configured == text and self.pid():
            return True
        self.configured = text
        if text:
            with open(MORE, "w") as file:
                file.write(text)
        elif os.path.exists(MORE):
            os.remove(MORE)
        shell("systemctl stop onenipd onenipd-hold")
        return self.start()

    def start(self):
        shell("systemctl reset-failed onenipd onenipd-hold; systemctl start --no-block onenipd")
        return self.up()

    def press(self, coil):
        """One edge of a command."""
        for level in (False, True, False):
            self.modbus.write_coil(coil, level)
            time.sleep(0.4)

    def clear(self):
        self.press(5)

    def trigger(self):
        self.chip.pull("part-present", True)
        time.sleep(0.01)
        self.chip.pull("part-present", False)

    def pid(self, unit="onenipd"):
        return int(shell(f"systemctl show -p MainPID --value {unit}") or 0)

    def show(self, since, names, limit=40):
        """What wires and signals did, in milliseconds since a moment."""
        last, shown = {}, 0
        for stamp, process, what, name, level in self.trace.read(self.chip):
            if stamp < since - 0.5:
                if what == "set":
                    last[name] = level
                continue
            if what == "set":
                if name not in names or last.get(name) == level:
                    continue
                last[name] = level
                words = f"{name} -> {int(level)}"
            elif what == "irq":
                continue
            else:
                words = f"{what} {name}"
            shown += 1
            if shown <= limit:
                print(f"      {1000 * (stamp - since):10.3f} ms  {process:16} {words}", flush=True)


class Spread:
    """How far edges lie from where they should."""

    def __init__(self, words):
        self.words, self.ms = words, []

    def __str__(self):
        if not self.ms:
            return f"{self.words}: none"
        ms = sorted(self.ms)
        at = lambda share: ms[min(len(ms) - 1, int(share * len(ms)))]
        return (f"{self.words}: n {len(ms)}, p50 {at(0.5):+.3f}, p90 {at(0.9):+.3f}, "
                f"max {ms[-1]:+.3f}, min {ms[0]:+.3f} ms")


def pulse(changes, begin, end):
    """The first edge up between two moments, and the last one down."""
    near = [change for change in changes if begin < change[0] < end]
    up = [stamp for stamp, level, _ in near if level]
    down = [stamp for stamp, level, _ in near if not level]
    return (up[0] if up else None), (down[-1] if down else None)


def edges(line, parts, apart, pulse_ms=PULSE_MS, to_pass=False):
    """Triggers, and what every wire does with each part against the plan of line-io 1.3, 1.6.

    Energise to reject moves the gate for every part that did not pass, energise to pass for every
    part that did, in the same window.
    """
    first = line.state()["trig_seq"] + 1
    line.trace.begin()
    for _ in range(parts):
        line.trigger()
        time.sleep(apart)
    last = first + parts - 1
    wait("every trigger is a part", lambda: line.state()["trig_seq"] == last, 20)
    wait("every part has gone by", lambda: line.state()["armed"] == 0, DELAY_MS / 1000 + 20)
    # A part that passed is not armed, and may be on its way to its window still.
    time.sleep((DELAY_MS + pulse_ms) / 1000 + 1 if to_pass else 1)
    # Rising edges only: the request asks for no others of this line.
    triggers = [entry[0] for entry in line.trace.read(line.chip) if entry[2] == "irq"]
    expect(len(triggers) == parts, f"{len(triggers)} trigger edges seen by the kernel")
    gate, other = ("pass-lamp", "reject-valve") if to_pass else ("reject-valve", "pass-lamp")
    wires = {name: line.trace.changes(line.chip, name) for name in (gate, other, "flash")}
    spreads = {
        "opens": Spread("gate opens, minus plan"), "closes": Spread("gate closes, minus plan"),
        "flash": Spread(f"flash begins, minus {STROBE_OFFSET_MS} ms after t0"),
        "decided": Spread(f"{other} pulse at the verdict, after t0"),
        "pulse": Spread("its length"),
    }
    told = wires[other]
    told_of = ((a[0], b[0]) for a, b in zip(told, told[1:]) if a[1])
    seen = {}
    print(f"      seq decision (reason)  score      gate `{gate}`: plan and error [ms after t0]")
    for index, t0 in enumerate(triggers[:parts]):
        decision, reason, score = line.modbus.result(first + index)
        seen[WORDS.get(decision, decision)] = seen.get(WORDS.get(decision, decision), 0) + 1
        name = f"{first + index:4} {WORDS.get(decision, decision)} ({reason})"
        name += f" {score / 1000:.3f}" if decision in (1, 2) else ""
        as_on_host(decision, score, name)
        # What cannot be inspected is not lit.
        flash, _ = pulse(wires["flash"], t0, t0 + 0.5)
        if flash is not None:
            spreads["flash"].ms.append(1000 * (flash - t0) - STROBE_OFFSET_MS)
        elif decision in (1, 2):
            expect(False, f"{name}: the strobe does not flash")
        opens = t0 + (DELAY_MS - ACTUATION_MS - JITTER_MS) / 1000
        closes = t0 + (DELAY_MS + pulse_ms + JITTER_MS) / 1000
        up, down = pulse(wires[gate], opens - 0.3, closes + 0.3)
        if (decision == 1) == to_pass:
            if up is None or down is None:
                expect(False, f"{name}: the gate does not move")
                continue
            late = (1000 * (up - opens), 1000 * (down - closes))
            spreads["opens"].ms.append(late[0])
            spreads["closes"].ms.append(late[1])
            plan = (1000 * (opens - t0), 1000 * (closes - t0))
            expect(abs(late[0]) < JITTER_MS and abs(late[1]) < JITTER_MS,
                   f"{name:28} opens {plan[0]:7.1f} {late[0]:+8.3f}  closes {plan[1]:7.1f} {late[1]:+8.3f}")
            continue
        # Verdicts come in the order of the parts.
        told, untold = next(told_of, (0, 0))
        spreads["decided"].ms.append(1000 * (told - t0))
        spreads["pulse"].ms.append(1000 * (untold - told))
        expect(up is None and t0 < told < opens, f"{name:28} the gate stays where it is; `{other}` "
               f"pulses at {1000 * (told - t0):.1f}")
    for spread in spreads.values():
        print(f"      {spread}")
    print(f"      decisions: {seen}")
    return seen


def as_on_host(decision, score, name):
    """A judged part must be one of the folder's pictures, judged as on the host."""
    if decision not in (1, 2) or not os.path.exists(VERDICTS):
        return
    for verdict in open(VERDICTS):
        word, relative, _ = verdict.split()
        if abs(1000 * float(relative) - score) <= 2 and word == WORDS[decision]:
            return
    expect(False, f"{name}: no picture has this verdict on the host")
