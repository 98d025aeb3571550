//! Data sets in MVTec layout: list, decode, masks, write.
