//! Drawn products with defects and masks, a belt with trigger and encoder; truth by trigger time.
