//! Any bytes in any pieces through the framer: no panic, bounded memory, the same lines as a plain
//! split gives.
#![no_main]

use compere_proto::Limits;
use compere_proto::wire::line::{Frame, Lines};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, cuts) = input;
    let mut framer = Lines::new(&Limits::default());
    let mut found = Vec::new();
    let mut rest = bytes.as_slice();
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = usize::from(*cuts.next().unwrap_or(&255)).max(1).min(rest.len());
        let space = framer.space();
        let count = cut.min(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        framer.filled(count);
        rest = &rest[count..];
        while let Some(Frame::Message(line)) = framer.next() {
            found.push(line.to_vec());
        }
    }
    if let Some(Frame::Message(line)) = framer.finish() {
        found.push(line.to_vec());
    }
    let expected: Vec<Vec<u8>> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(found, expected);
});
