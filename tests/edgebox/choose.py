"""choose.py REPLAY.json FOLDER THRESHOLD: pictures for the line of gpio.sh, good, good, bad, in turn.

Taken are good parts that passed and bad ones that failed; what was said of each goes to
FOLDER/verdicts.txt, so that the machine's verdicts can be held against it.
"""

import json
import shutil
import sys

replay, folder, threshold = sys.argv[1], sys.argv[2], float(sys.argv[3])
parts = json.load(open(replay))["parts_list"]
good = [part for part in parts if (part["truth"], part["decision"]) == ("good", "pass")]
bad = [part for part in parts if (part["truth"], part["decision"]) == ("defective", "fail")]
count = min(len(good) // 2, len(bad), 4)
if count < 2:
    sys.exit(f"{len(good)} good parts passed and {len(bad)} bad ones failed: too few")
verdicts = []
for turn in range(count):
    for place, part in enumerate([good[2 * turn], good[2 * turn + 1], bad[turn]]):
        name = f"{3 * turn + place:02}-{part['truth']}.png"
        shutil.copy(part["file"], f"{folder}/pictures/{name}")
        relative = part["score"] / threshold
        verdicts.append(f"{part['decision']} {relative:.6f} {name}")
with open(f"{folder}/verdicts.txt", "w") as file:
    file.write("\n".join(verdicts) + "\n")
