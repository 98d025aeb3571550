//! From a frame to the engine's input slot.
