//! Typed configuration: layers, defaults, every error at once with file, line and nearest key.
