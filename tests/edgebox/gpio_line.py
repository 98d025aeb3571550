"""Inside the machine of tests/edgebox/gpio.sh, as root: drives the simulated wires and watches them.

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
DELAY_MS, ACTUATION_MS, JITTER_MS, PULSE_MS = 40000, 15, 100, 100
SHORT_DELAY_MS = 3000
MORE = "/etc/onenipd/conf.d/short.toml"
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
        os.makedirs(os.path.dirname(MORE), exist_ok=True)
        with open(os.path.dirname(MORE) + "/chip.toml", "w") as file:
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
            process = re.sub(r"-\d*$", "", process.strip())
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
        words = self.registers(256 + 8 * (seq % 64), 8)
        return words[2], words[3]


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

    def state(self):
        return self.modbus.state()

    def up(self, seconds=240):
        """The request biased every input towards inactive: so air and belt come only now."""
        wait("the daemon answers", lambda: self.state()["state"] != 0, seconds)
        self.chip.pull("air-ok", True)
        self.chip.pull("belt-runs", True)
        time.sleep(2)
        self.clear()
        return wait("the daemon is Ready", lambda: self.state()["state"] in (1, 2, 3), 60)

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


def edges(line, parts, apart, delay_ms):
    """Triggers, and what the gate does with each part against the plan of line-io 1.3."""
    first = line.state()["trig_seq"] + 1
    line.trace.begin()
    for _ in range(parts):
        line.trigger()
        time.sleep(apart)
    last = first + parts - 1
    wait("every trigger is a part", lambda: line.state()["trig_seq"] == last, 20)
    wait("every part has gone by", lambda: line.state()["armed"] == 0, delay_ms / 1000 + 20)
    time.sleep(1)
    # Rising edges only: the request asks for no others of this line.
    triggers = [entry[0] for entry in line.trace.read(line.chip) if entry[2] == "irq"]
    gate = line.trace.changes(line.chip, "reject-valve")
    expect(len(triggers) == parts, f"{len(triggers)} trigger edges seen by the kernel")
    seen, errors = {}, []
    print("      seq decision (reason)     opens: plan, error   closes: plan, error [ms after t0]")
    for index, t0 in enumerate(triggers[:parts]):
        decision, reason = line.modbus.result(first + index)
        seen[decision] = seen.get(decision, 0) + 1
        opens = t0 + (delay_ms - ACTUATION_MS - JITTER_MS) / 1000
        closes = t0 + (delay_ms + PULSE_MS + JITTER_MS) / 1000
        near = [change for change in gate if opens - 0.3 < change[0] < closes + 0.3]
        name = f"{first + index:4} {WORDS.get(decision, decision)} ({reason})"
        up = [stamp for stamp, level, _ in near if level]
        down = [stamp for stamp, level, _ in near if not level]
        if decision == 1:
            expect(not up, f"{name}: the gate does not move")
            continue
        if not up or not down:
            expect(False, f"{name}: no reject")
            continue
        late = (1000 * (up[0] - opens), 1000 * (down[-1] - closes))
        errors += late
        plan = (1000 * (opens - t0), 1000 * (closes - t0))
        expect(abs(late[0]) < JITTER_MS and abs(late[1]) < JITTER_MS,
               f"{name:24} {plan[0]:10.1f} {late[0]:+8.3f} {plan[1]:10.1f} {late[1]:+8.3f}")
    if errors:
        mean = sum(errors) / len(errors)
        print(f"      gate edge minus plan: n {len(errors)}, mean {mean:+.3f} ms, "
              f"max {max(errors):+.3f} ms, min {min(errors):+.3f} ms")
    print(f"      decisions: { {WORDS.get(key, key): count for key, count in seen.items()} }")
    return seen


def judged(line):
    title("edges in, edges out: judged parts, 40 s from camera to ejector")
    # The start's purge ends one transit after the first trigger; the PLC may say that the belt is empty.
    line.press(8)
    seen = edges(line, 6, 14, DELAY_MS)
    expect(seen.get(1, 0) > 0, "good parts pass")
    expect(seen.get(2, 0) > 0, "bad parts fail")


def rejects(line):
    title("edges in, edges out: no product taught, every part is rejected after 3 s")
    with open(MORE, "w") as file:
        file.write('[products]\nactive = ""\n[line]\ndelay = "3 s"\n')
    shell("systemctl restart --no-block onenipd; sleep 3")
    line.up()
    line.press(8)
    edges(line, 25, 1.1, SHORT_DELAY_MS)
    # From the next start on the product is back.
    os.remove(MORE)


def encoder(line):
    title("encoder: quadrature by the kernel's edges")
    begin = line.state()["enc_pos"]
    # The kernel reads an edge's level in a thread. On the emulated processor that drives the wire it
    # runs before the next edge; another may be put to sleep by the host for tens of milliseconds.
    os.sched_setaffinity(0, {1})
    for process in filter(str.isdigit, os.listdir("/proc")):
        name = open(f"/proc/{process}/comm").read()
        if name.startswith("irq/") and "onenipd" in name:
            os.sched_setaffinity(int(process), {1})
    steps = [("encoder-a", True), ("encoder-b", True), ("encoder-a", False), ("encoder-b", False)]

    def turn(turns, forward):
        for _ in range(turns):
            for name, level in steps if forward else reversed([(n, not l) for n, l in steps]):
                line.chip.pull(name, level)
                time.sleep(0.025)

    for turns, forward, want in [(40, True, 160), (15, False, 100), (30, True, 220)]:
        turn(turns, forward)
        count = last = None
        while count is None or count != last:
            last, count = count, line.state()["enc_pos"] - begin
            time.sleep(1)
        words = "forward" if forward else "back"
        expect(count == want, f"{turns} periods {words}: enc_pos {count}, expected {want}")
    expect(line.state()["state"] != 5, "no fault by counting")
    os.sched_setaffinity(0, {0, 1})


def filters(line):
    title("inputs: lockout, debounce, polarity, levels")
    line.chip.pull("air-ok", False)
    ok = wait("air lost stops the line", lambda: line.state()["alarms"] >> 8 & 1, 10)
    expect(ok and line.chip.pad("fault-lamp") and line.chip.pad("reject-valve"),
           "air_ok (active low) gone: AIR_LOST, fault 1, gate rejects")
    line.chip.pull("air-ok", True)
    time.sleep(1.5)
    line.chip.pull("reset-button", True)
    time.sleep(0.05)
    line.chip.pull("reset-button", False)
    time.sleep(1)
    expect(line.state()["state"] == 5, "the button held for 50 ms clears nothing")
    line.chip.pull("reset-button", True)
    time.sleep(0.5)
    line.chip.pull("reset-button", False)
    wait("the button held for 500 ms clears the fault", lambda: line.state()["state"] != 5, 10)


def busy(line):
    title("a line that another program holds, a line that is missing, a line with two meanings")
    for setting, want in [
        ('gpio.fault="spare"', 'held by "gpioset"'),
        ('gpio.fault="no-such-line"', "no such name on this chip"),
        (f'gpio.fault="{LINES.index("part-present")}"', "an output is configured on it too"),
        (f'gpio.fault="{LINES.index("alive")}"', "configured twice"),
        ('gpio.chip="/dev/gpiochip9"', "no such chip"),
    ]:
        keep = subprocess.Popen(["bash", "-c", "exec gpioset --mode=signal $(gpiofind spare)=1"])
        time.sleep(1.5)
        said = shell(f"onenipd check --set '{setting}'")
        keep.terminate()
        keep.wait()
        found = [text for text in said.splitlines() if "gpio" in text and "ERROR" in text]
        expect(any(want in text for text in found), f"{setting}: {' | '.join(found) or said[-300:]}")


def killed(line, signal, words):
    title(words)
    line.press(8)
    before = line.state()
    line.trace.begin()
    line.trigger()
    time.sleep(0.3)
    held = line.pid("onenipd-hold")
    pid = line.pid()
    at = now()
    os.kill(pid, signal)
    # The pads from outside, meanwhile.
    seen = []
    last = None
    while now() < at + 8:
        pads = {name: line.chip.pad(name) for name in ("reject-valve", "ready", "alive")}
        if pads != last:
            seen.append((now(), pads))
            last = pads
        time.sleep(0.002)
    line.up()
    after = line.state()
    irqs = [e[0] for e in line.trace.read(line.chip) if e[2] == "irq" and e[0] < at]
    if irqs:
        print(f"      {1000 * (irqs[0] - at):10.3f} ms  trigger of the part that gets no verdict")
    line.show(at, ("reject-valve", "ready", "alive"), 30)
    for unit in ("onenipd", "onenipd-hold"):
        print("      journal:", shell(f"journalctl -b -u {unit} -o short-monotonic --no-pager | awk -v a={at:.3f} "
              "'{t=substr($0,2,13)+0; if (t>=a-0.05) print}' | cut -c1-150 | head -14 | sed '2,$s/^/               /'"))
    gate = [c for c in line.trace.changes(line.chip, "reject-valve") if c[0] >= at - 0.001]
    alive = [c for c in line.trace.changes(line.chip, "alive") if c[0] >= at and c[1]]
    safe = next((stamp for stamp, level, process in gate if level), None)
    expect(safe is not None, f"gate at reject {1000 * ((safe or at) - at):.3f} ms after the signal, set by "
           f"{next((p for s, l, p in gate if l), '?')}")
    dips = [pads for stamp, pads in seen if safe and stamp > safe + 0.01 and not pads["reject-valve"]]
    expect(not dips, "the gate's pad stays at reject until the new daemon lets it go")
    if alive:
        print(f"      alive moves again {1000 * (alive[0][0] - at):.0f} ms after the signal")
    expect(before["boot_id"] != after["boot_id"], f"boot_id {before['boot_id']} -> {after['boot_id']}")
    expect(after["trig_seq"] == 0, f"trig_seq {before['trig_seq'] + 1} -> {after['trig_seq']}")
    expect(line.pid("onenipd-hold") == held, "the holder is the same process as before")


def holder_killed(line):
    title("the holder itself is killed with -9 while the daemon inspects")
    line.trace.begin()
    old = line.pid("onenipd-hold")
    state, at = line.state(), now()
    os.kill(old, 9)
    wait("the holder is back", lambda: line.pid("onenipd-hold") not in (0, old), 30)
    time.sleep(4)
    gate = [c for c in line.trace.changes(line.chip, "reject-valve") if c[0] >= at]
    expect(not gate[1:], "the gate does not move")
    expect(line.state()["boot_id"] == state["boot_id"], "the daemon is the same")
    print("      journal:", shell(f"journalctl -b -u onenipd -u onenipd-hold -o short-monotonic --no-pager | awk -v a={at:.3f} "
          "'{t=substr($0,2,13)+0; if (t>=a-0.05) print}' | cut -c1-150 | head -12 | sed '2,$s/^/               /'"))


def stopped(line):
    title("systemctl stop: the lines stay held at reject; start takes them over without a gap")
    shell("systemctl stop onenipd")
    info = shell("gpioinfo gpiochip0 | grep -c onenipd")
    expect(line.chip.pad("reject-valve") and not line.chip.pad("ready"), "gate at reject, ready 0")
    expect(int(info) == len(OUTPUTS), f"{info} lines held while the daemon is stopped")


def without_holder(line):
    title("for comparison: no holder, kill -9, Restart alone")
    shell("systemctl stop onenipd onenipd-hold; mv /etc/systemd/system/onenipd-hold.service /root/")
    folder = "/run/systemd/system/onenipd.service.d"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/post.conf", "w") as file:
        file.write("[Service]\nExecStopPost=/bin/sh -c 'echo stop-post: $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS'\n")
    shell("systemctl daemon-reload")
    line.start()
    line.press(8)
    wait("the gate lets parts pass", lambda: not line.chip.pad("reject-valve"), 10)
    line.trace.begin()
    pid = line.pid()
    at = now()
    os.kill(pid, 9)
    last, seen = None, []
    while now() < at + 8:
        used = "onenipd" in shell("gpioinfo gpiochip0 | grep reject-valve")
        pad = line.chip.pad("reject-valve")
        if (used, pad) != last:
            seen.append((1000 * (now() - at), used, pad))
            last = (used, pad)
    for stamp, used, pad in seen:
        print(f"      {stamp:10.0f} ms  line held: {used}, gate {int(pad)}")
    line.show(at, ("reject-valve", "ready", "alive"), 12)
    print("      journal:", shell(f"journalctl -b -u onenipd -o short-monotonic --no-pager | awk -v a={at:.3f} "
          "'{t=substr($0,2,13)+0; if (t>=a-0.05) print}' | cut -c1-150 | head -8 | sed '2,$s/^/               /'"))
    line.up()
    shell(f"rm -r {folder}; mv /root/onenipd-hold.service /etc/systemd/system/; systemctl daemon-reload; systemctl start onenipd-hold")


def unplugged(line):
    title("the chip is unplugged while the daemon runs")
    line.trace.begin()
    shell(f"/root/gpio-sim.sh down {CHIP}")
    wait("ACTUATOR", lambda: line.state()["alarms"] >> 13 & 1, 15)
    state = line.state()
    expect(state["state"] == 5, f"state {state['state']} (Fault), alarms {state['alarms']:#x}")
    line.clear()
    time.sleep(1)
    expect(line.state()["state"] == 5, "CLEAR_FAULT does not bring it back")
    print("      journal:", shell("journalctl -b -u onenipd -o cat --no-pager | grep -i gpio | tail -3 | cut -c1-200"))


STAGES = {
    "judged": judged, "rejects": rejects, "encoder": encoder, "filters": filters, "busy": busy,
    "kill": lambda line: killed(line, 9, "kill -9 between trigger and verdict"),
    "freeze": lambda line: killed(line, 19, "kill -STOP: frozen; the watchdog ends it"),
    "holder": holder_killed, "stopped": stopped, "without": without_holder, "unplugged": unplugged,
}


def main():
    line = Line()
    wanted = sys.argv[1:] or list(STAGES)
    begin = now()
    if not line.start():
        print(shell("journalctl -b -u onenipd -u onenipd-hold --no-pager -o cat | tail -30"))
        sys.exit(1)
    print(f"daemon up after {now() - begin:.1f} s; state {line.state()}")
    for stage in wanted:
        STAGES[stage](line)
        if not line.chip.folder or stage == "unplugged":
            continue
        if line.pid() == 0 or line.state()["state"] == 5:
            line.start()
    print(f"\n{failures} failures")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
