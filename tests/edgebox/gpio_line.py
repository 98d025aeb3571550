"""Inside the machine of tests/edgebox/gpio.sh, as root: one stage after the other.

What is seen comes from the kernel, not from the daemon: its tracepoints gpio:gpio_value (every level
an output is set to), irq:irq_handler_entry (every edge of an input) and signal:signal_deliver, all
stamped on CLOCK_MONOTONIC, and the simulated chip's own view of its pads in sysfs.
"""

import os
import re
import subprocess
import sys
import time

import wires
from wires import (
    CHIP, JITTER_MS, LINES, OUTPUTS, Line, Spread, edges, expect, now, pulse, shell, title, wait,
)


def judged(line):
    title("edges in, edges out: judged parts, energise to reject")
    # The start's purge ends one transit after the first trigger; the PLC may say that the belt is empty.
    line.press(8)
    seen = edges(line, 24, 1.1)
    expect(seen.get("pass", 0) > 0, "good parts pass")
    expect(seen.get("fail", 0) > 0, "bad parts fail")
    expect(set(seen) <= {"pass", "fail"}, "every part is judged")


def rejects(line):
    title("edges in, edges out: no product taught, every part is rejected")
    line.press(8)
    seen = edges(line, 12, 1.1)
    expect(set(seen) == {"no-decision"}, "every part is undecided, and rejected")


TO_PASS = """
[line]
wiring = "energise_to_pass"
pulse = "1 s"
[gpio]
ready_mode = "toggle"
"""


def to_pass(line):
    title("energise to pass, `ready` as a 5 Hz wave")
    # The trace began before this daemon did.
    expect(not any(level for _, level, _ in line.trace.changes(line.chip, "pass-lamp")),
           "from the first request until Ready, and after it, the gate is at 0 = reject")
    line.press(8)
    seen = edges(line, 9, 2.5, pulse_ms=1000, to_pass=True)
    expect(seen.get("pass", 0) > 0 and seen.get("fail", 0) > 0, "good parts pass, bad ones fail")
    toggling(line)
    in_the_window(line, "systemctl stop", lambda: shell("systemctl stop --no-block onenipd"))
    wait("the daemon has ended", lambda: line.pid() == 0, 20)
    held = shell("gpioinfo | grep -c onenipd")
    expect(not line.chip.pad("pass-lamp") and not line.chip.pad("ready") and held == str(len(OUTPUTS)),
           f"stopped: gate 0, ready 0, {held} lines held")
    line.start()
    line.press(8)
    in_the_window(line, "kill -9", lambda: os.kill(line.pid(), 9))
    line.up()
    expect(not line.chip.pad("pass-lamp"), "the next daemon has the gate at 0 = reject")


def toggling(line):
    line.trace.begin()
    time.sleep(3)
    stamps = [stamp for stamp, _, _ in line.trace.changes(line.chip, "ready")]
    spread = Spread("`ready` between edges, minus 100 ms")
    spread.ms = [1000 * (b - a) - 100 for a, b in zip(stamps, stamps[1:])]
    print(f"      {spread}")
    expect(24 <= len(stamps) <= 36, f"Ready: `ready` has {len(stamps)} edges in 3 s")
    line.chip.pull("air-ok", False)
    wait("AIR_LOST", lambda: line.state()["alarms"] >> 8 & 1, 10)
    time.sleep(0.5)
    line.trace.begin()
    time.sleep(1.5)
    alive = line.trace.changes(line.chip, "alive")
    expect(not line.trace.changes(line.chip, "ready")[1:] and not line.chip.pad("ready"),
           f"Fault: `ready` stands at 0, `alive` has {len(alive)} edges in 1.5 s")
    line.chip.pull("air-ok", True)
    time.sleep(1)
    line.clear()
    wait("Ready again", lambda: line.state()["state"] in (1, 2, 3), 10)
    line.press(8)


def in_the_window(line, words, end):
    """Ends the daemon while the gate is energised for a part that passed."""
    line.trace.begin()
    for _ in range(6):
        line.trigger()
        until = now() + wires.DELAY_MS / 1000 + 1.5
        while now() < until and not line.chip.pad("pass-lamp"):
            time.sleep(0.002)
        if line.chip.pad("pass-lamp"):
            break
    else:
        return expect(False, "no part passes")
    at = now()
    end()
    wait("the gate falls to reject", lambda: not line.chip.pad("pass-lamp"), 15)
    time.sleep(1)
    down = next((c for c in line.trace.changes(line.chip, "pass-lamp") if c[0] > at and not c[1]), None)
    expect(down is not None and not line.chip.pad("pass-lamp"),
           f"{words} while the gate lets a part pass: gate 0 = reject "
           f"{1000 * ((down or (at,))[0] - at):.1f} ms later, set by {down[2] if down else '?'}")


DISTANCE = """
[gpio]
encoder_a = "encoder-a"
encoder_b = "encoder-b"
[line]
distance = "400 counts"
length = "40 counts"
speed_max = "200 counts/s"
encoder_stall = "60 s"
"""


def encoder(line):
    title("encoder: quadrature by the kernel's edges, a part followed by distance")
    begin = line.state()["enc_pos"]
    # The kernel reads an edge's level in a thread. On the emulated processor that drives the wire it
    # runs before the next edge; another may be put to sleep by the host for tens of milliseconds.
    os.sched_setaffinity(0, {1})
    for process in filter(str.isdigit, os.listdir("/proc")):
        name = open(f"/proc/{process}/comm").read()
        if name.startswith("irq/") and "onenipd" in name:
            os.sched_setaffinity(int(process), {1})
    steps = [("encoder-a", True), ("encoder-b", True), ("encoder-a", False), ("encoder-b", False)]

    stamps = []

    def turn(turns, forward):
        for _ in range(turns):
            for name, level in steps if forward else reversed([(n, not l) for n, l in steps]):
                stamps.append(now())
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
    line.press(8)
    line.press(7)
    line.trace.begin()
    line.trigger()
    stamps.clear()
    turn(120, True)
    up, down = pulse(line.trace.changes(line.chip, "reject-valve"), stamps[0], now())
    opened, closed = (sum(stamp < (edge or 0) for stamp in stamps) for edge in (up, down))
    speed = (len(stamps) - 1) / (stamps[-1] - stamps[0])
    early = speed * (wires.ACTUATION_MS + JITTER_MS) / 1000
    expect(400 - 200 * (wires.ACTUATION_MS + JITTER_MS) / 1000 <= opened <= 400,
           f"the gate opens {opened} counts after the trigger: 400, less {early:.1f} counts of "
           f"{wires.ACTUATION_MS + JITTER_MS} ms at {speed:.1f} counts/s")
    expect(440 <= closed <= 450, f"the gate closes {closed} counts after the trigger, at 440")
    os.sched_setaffinity(0, {0, 1})


def guide(line):
    title("the command of docs/guide/wiring.md that checks as the service will run")
    shell("systemctl stop onenipd onenipd-hold")
    with open(wires.MORE, "w") as file:
        file.write('[modbus]\nlisten = "127.0.0.1:502"\n')
    text = open("/root/wiring.md").read()
    command = re.search(r"sudo (systemd-run (?:.*\\\n)*.*)", text).group(1)
    print("      " + re.sub(r"\s*\\\n\s*", " ", command))
    said = shell(command + "; echo exit code $?")
    print("      " + said.replace("\n", "\n      "))
    expect(said.endswith("exit code 0"), "it finds nothing that is wrong")
    for want in re.findall(r"^ +ok +(\w+: every .*)$", text, re.M) + ["127.0.0.1:502 can be served"]:
        expect(want in said, f"it says: {want}")
    os.remove(wires.MORE)


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


def chute(line):
    title("barrier in the reject chute: a reject that is seen, one that is not")
    line.press(8)

    def reject():
        line.trigger()
        wait("the gate opens", lambda: line.chip.pad("reject-valve"), 20)
        return now()

    reject()
    line.chip.pull("chute", True)
    time.sleep(0.1)
    line.chip.pull("chute", False)
    time.sleep(2)
    expect(not line.state()["alarms"] >> 5 & 1, "seen in the chute: no alarm")
    at = reject()
    missing = wait("CONFIRM_MISSING", lambda: line.state()["alarms"] >> 5 & 1, 10)
    expect(missing and line.chip.pad("reject-valve") and not line.chip.pad("ready"),
           f"not seen: CONFIRM_MISSING {now() - at:.1f} s after the gate's edge, ready 0, gate at reject")


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
        # Without an engine there is no rehearsal to wait for.
        said = shell(f"onenipd check --set '{setting}' --set 'engine.bundle=\"none\"'")
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
    wait("the part is known", lambda: line.state()["trig_seq"] > before["trig_seq"], 5)
    expect(line.modbus.result(before["trig_seq"] + 1)[0] == 0, "its verdict is pending")
    held = line.pid("onenipd-hold")
    pid = line.pid()
    at = now()
    os.kill(pid, signal)
    # The pads from outside, meanwhile.
    seen = []
    last = None
    while now() < at + 8:
        # Stamped before it is read: a starved reader must not date an old level late.
        stamp, pad = now(), line.chip.pad("reject-valve")
        if pad != last:
            seen.append((stamp, pad))
            last = pad
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
    dips = [stamp for stamp, pad in seen if safe and stamp > safe and not pad]
    dips += [stamp for stamp, level, _ in gate if safe and safe < stamp < at + 8 and not level]
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


NO_PRODUCT = '[products]\nactive = ""\n'
# In this order few restarts are needed: each takes a rehearsal.
STAGES = {
    "judged": judged, "filters": filters, "busy": busy,
    "kill": lambda line: killed(line, 9, "kill -9 between trigger and verdict"),
    "freeze": lambda line: killed(line, 19, "kill -STOP: frozen; the watchdog ends it"),
    "holder": holder_killed, "without": without_holder, "stopped": stopped, "guide": guide,
    "rejects": rejects, "chute": chute, "to-pass": to_pass, "encoder": encoder,
    "unplugged": unplugged,
}
CONFIGURATIONS = {
    "rejects": NO_PRODUCT, "chute": '[gpio]\nconfirm = "chute"\n' + NO_PRODUCT,
    "to-pass": TO_PASS, "encoder": DISTANCE,
}
AS_BEFORE = ["filters", "busy", "guide", "unplugged"]


def main():
    line = Line()
    wanted = sys.argv[1:] or list(STAGES)
    begin = now()
    if not line.start():
        print(shell("journalctl -b -u onenipd -u onenipd-hold --no-pager -o cat | tail -30"))
        sys.exit(1)
    print(f"daemon up after {now() - begin:.1f} s; state {line.state()}")
    for stage in wanted:
        since = now()
        if stage not in AS_BEFORE:
            line.trace.begin()
            line.configure(CONFIGURATIONS.get(stage))
            if line.state()["state"] == 5:
                line.start()
        STAGES[stage](line)
        print(f"      ({stage}: {now() - since:.0f} s)", flush=True)
    print(f"\n{wires.failures} failures, {now() - begin:.0f} s")
    sys.exit(wires.failures != 0)


if __name__ == "__main__":
    main()
