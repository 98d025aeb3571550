//! The way of a part at run time: assembly, threads, supervision, service.
