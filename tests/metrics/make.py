"""Makes expected.json: what scikit-learn says of random data that the test makes again.

Needs numpy, scipy and scikit-learn (1.9.1 was used). Run in this folder. AUPRO, which scikit-learn
lacks, is taken from its definition: one threshold after the other, regions by scipy (8-connected).
"""

import json

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

LIMIT = 0.3


def numbers(count, seed):
    """Knuth's linear congruential generator, upper 31 bits: easy to repeat elsewhere."""
    state, out = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 33)
    return np.array(out, dtype=np.uint64)


def image_case(count, levels, seed):
    random = numbers(2 * count, seed)
    level = random[:count] % levels
    scores = (level.astype(np.float32) / np.float32(8) - np.float32(2)).astype(np.float32)
    labels = (random[count:] % 7 + level * 4 // levels) >= 6
    case = {
        "count": count,
        "levels": levels,
        "seed": seed,
        "defective": int(labels.sum()),
        "auroc": roc_auc_score(labels, scores),
        "average_precision": average_precision_score(labels, scores),
    }
    if count <= 500:
        false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=False)
        precision, recall, _ = precision_recall_curve(labels, scores)
        case["roc"] = [[x, y] for x, y in zip(false_rate, true_rate)]
        # From few recalled to all; scikit-learn's last point (no recall, precision 1) left out.
        case["precision_recall"] = [[x, y] for x, y in zip(recall[-2::-1], precision[-2::-1])]
    return case


def aupro(maps, masks):
    regions = []
    for picture, mask in enumerate(masks):
        found, count = label(mask, structure=np.ones((3, 3)))
        regions += [(picture, found == number) for number in range(1, count + 1)]
    good = maps[masks == 0]
    area, last_rate, last_overlap = 0.0, 0.0, 0.0
    for threshold in np.unique(maps)[::-1]:
        rate = float((good >= threshold).mean())
        overlap = float(np.mean([(maps[p][where] >= threshold).mean() for p, where in regions]))
        if rate >= LIMIT:
            part = (LIMIT - last_rate) / (rate - last_rate)
            at_limit = last_overlap + (overlap - last_overlap) * part
            area += (LIMIT - last_rate) * (last_overlap + at_limit) / 2
            break
        area += (rate - last_rate) * (last_overlap + overlap) / 2
        last_rate, last_overlap = rate, overlap
    return len(regions), area / LIMIT


# [picture, first row, row after, first column, column after]: good pictures, regions that touch by
# a corner only, regions at the border.
SIDE, PICTURES = 24, 6
RECTANGLES = [
    [1, 2, 6, 3, 9],
    [1, 6, 7, 9, 10],
    [1, 15, 18, 15, 20],
    [2, 0, 3, 0, 2],
    [2, 3, 4, 2, 3],
    [2, 20, 24, 22, 24],
    [4, 10, 11, 0, 24],
    [4, 12, 13, 5, 6],
]


def pixel_case(levels, seed):
    masks = np.zeros((PICTURES, SIDE, SIDE), dtype=int)
    for picture, top, bottom, left, right in RECTANGLES:
        masks[picture, top:bottom, left:right] = 1
    random = numbers(masks.size, seed).reshape(masks.shape) % levels
    maps = random.astype(np.float32) / np.float32(levels) + np.float32(0.25) * masks
    maps = maps.astype(np.float32)
    regions, per_region_overlap = aupro(maps, masks)
    return {
        "levels": levels,
        "seed": seed,
        "side": SIDE,
        "pictures": PICTURES,
        "rectangles": RECTANGLES,
        "regions": regions,
        "auroc": roc_auc_score(masks.ravel(), maps.ravel()),
        "average_precision": average_precision_score(masks.ravel(), maps.ravel()),
        "aupro": per_region_overlap,
    }


cases = {
    # Ties everywhere, few ties, three levels, and one level: all scores the same.
    "images": [
        image_case(500, 40, 1),
        image_case(20000, 1000, 2),
        image_case(20000, 1000000, 4),
        image_case(300, 3, 3),
        image_case(60, 1, 5),
    ],
    # Levels: ties, hardly any, many.
    "pixels": [pixel_case(64, 7), pixel_case(1000000, 7), pixel_case(5, 7), pixel_case(1, 8)],
}
with open("expected.json", "w") as file:
    json.dump(cases, file, indent=1)
    file.write("\n")
