//! Metrics, and a bundle against a data set.
