//! Any bytes as a message: no panic, and what is taken is JSON that others read the same way.
#![no_main]

use compere_proto::Limits;
use compere_proto::wire::scan::Scanner;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if Scanner::new().scan(bytes, &Limits::default()).is_ok() {
        let text = std::str::from_utf8(bytes).expect("a message is UTF-8");
        assert!(text.contains(['e', 'E']) || serde_json::from_str::<serde_json::Value>(text).is_ok());
    }
});
