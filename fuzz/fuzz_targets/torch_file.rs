//! Any bytes are weights or an error; never a panic, never more memory than the file is long.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = onenipd::model::torch_file::parse(bytes);
});
