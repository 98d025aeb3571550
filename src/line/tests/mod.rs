//! The line under a virtual clock: stories, and properties held by a checker of its own.

mod checks;
mod long_run;
mod properties;
mod stories;
mod support;
