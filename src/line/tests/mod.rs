//! The line under a virtual clock: stories, and properties held by a checker of its own.

mod checks;
mod chute;
mod distance_checks;
mod distance_properties;
mod distance_stories;
mod long_run;
mod properties;
mod stories;
mod support;
