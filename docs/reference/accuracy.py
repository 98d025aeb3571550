"""The experiments of accuracy.md: runs `onenipd evaluate ... --json` and prints tables.

    python3 docs/reference/accuracy.py pictures BUNDLE DATA          # 1, 2, 4, 8 good pictures
    python3 docs/reference/accuracy.py prompts  BUNDLE DATA [COUNT]  # spread over prompts (20)
    python3 docs/reference/accuracy.py wrong    BUNDLE DATA          # another product's prompt, seen
    python3 docs/reference/accuracy.py cost     BUNDLE DATA          # ... and unseen, one picture

DATA is a data set in MVTec layout. `ONENIPD` names the program (target/release/onenipd). Only the
standard library is needed. Nothing is chosen here; everything is taken on `test`, to be reported.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = os.environ.get("ONENIPD", "target/release/onenipd")
METRICS = ["image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro"]
HEADER = ["I-AUROC", "I-AP", "P-AUROC", "P-AP", "AUPRO"]


def evaluate(bundle, data, *options):
    command = [PROGRAM, "evaluate", str(bundle), str(data), "--json", *map(str, options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def good_pictures(product):
    return sorted(p for p in (product / "train" / "good").iterdir() if not p.name.startswith("."))


def one_product(product, work):
    """A data set of this product alone."""
    root = Path(work) / product.name
    root.mkdir()
    (root / product.name).symlink_to(product.resolve())
    return root


def row(name, cells):
    print("| " + " | ".join([name, *cells]) + " |", flush=True)


def table(first, columns):
    row(first, columns)
    print("|---" * (len(columns) + 1) + "|")


def percent(metrics):
    return ["–" if metrics[m] is None else f"{100 * metrics[m]:.1f}" for m in METRICS]


def rates(metrics, name):
    return " / ".join(f"{100 * rate:.0f}" for rate in metrics.get(name, {}).values())


def pictures(bundle, data):
    at = "at 0.1 / 0.5 / 1 %"
    table("taught by", ["product", *HEADER, f"escapes {at}", "good rejected", "seconds"])
    runs = [("1, the first", 1, "first"), ("1, the most typical", 1, "auto")]
    runs += [(f"{count}, the first", count, "first") for count in (2, 4, 8)]
    for name, count, prompt in runs:
        report = evaluate(bundle, data, "--pictures", count, "--prompt", prompt)
        for product in [*report["products"], {"product": "**mean**", **report["mean"]}]:
            decided = [rates(product, "escape_rate"), rates(product, "false_reject_rate")]
            took = f"{report['seconds']:.0f}" if product["product"] == "**mean**" else ""
            row(name, [product["product"], *percent(product), *decided, took])


def prompts(bundle, data, count):
    table(f"{count} prompts", [f"{name}: least, median, most" for name in HEADER])
    with tempfile.TemporaryDirectory() as work:
        for product in sorted(p for p in data.iterdir() if p.is_dir()):
            good = good_pictures(product)
            chosen = [good[index * len(good) // count] for index in range(count)]
            alone = one_product(product, work)
            found = [
                evaluate(bundle, alone, "--pictures", 1, "--prompt", prompt)["mean"]
                for prompt in chosen
            ]
            cells = []
            for metric in METRICS:
                values = [100 * metrics[metric] for metrics in found]
                spread = (min(values), statistics.median(values), max(values))
                cells.append(" ".join(f"{value:.1f}" for value in spread))
            row(product.name, cells)


def pairs(data):
    """Every product as a data set of its own, with the first good picture of every product."""
    products = sorted(p for p in data.iterdir() if p.is_dir())
    with tempfile.TemporaryDirectory() as work:
        alone = {product: one_product(product, work) for product in products}
        for product in products:
            for other in products:
                yield product, other, alone[product], good_pictures(other)[0]


def wrong(bundle, data):
    table("product", ["prompt of", "distance", "good parts: largest", "warned", *HEADER])
    for product, other, alone, prompt in pairs(data):
        report = evaluate(bundle, alone, "--prompt", prompt)
        place = report["products"][0]["prompt"]
        cells = [other.name, f"{place['distance']:.2f}", f"{place['largest']:.2f}"]
        cells += ["yes" if place["outside"] else "no", *percent(report["mean"])]
        row(product.name, cells)


def cost(bundle, data):
    at = "at 0.1 / 0.5 / 1 %"
    table("product", ["taught by one picture of", *HEADER, f"escapes {at}", "good rejected"])
    for product, other, alone, prompt in pairs(data):
        figures = evaluate(bundle, alone, "--pictures", 1, "--prompt", prompt)["mean"]
        decided = [rates(figures, "escape_rate"), rates(figures, "false_reject_rate")]
        row(product.name, [other.name, *percent(figures), *decided])


if __name__ == "__main__":
    experiments = {"pictures": pictures, "prompts": prompts, "wrong": wrong, "cost": cost}
    if len(sys.argv) < 4 or sys.argv[1] not in experiments:
        sys.exit(__doc__)
    bundle, data = Path(sys.argv[2]), Path(sys.argv[3])
    if sys.argv[1] == "prompts":
        prompts(bundle, data, int(sys.argv[4]) if len(sys.argv) > 4 else 20)
    else:
        experiments[sys.argv[1]](bundle, data)
