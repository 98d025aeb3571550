//! Products: prompt, region of interest, tensors, thresholds, revision; their store and teaching.
