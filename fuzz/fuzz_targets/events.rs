//! Any bytes through the reader of event streams: no panic, bounded memory, and the same events
//! whatever the pieces are that they come in.
#![no_main]

use compere::transport::http::events::EventReader;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 64;

/// The events, the last id, the time to come back, and whether it was too much.
fn read(bytes: &[u8], cuts: &[u8]) -> (Vec<(String, Vec<u8>)>, Option<String>, bool) {
    let mut reader = EventReader::new(LIMIT);
    let mut events = Vec::new();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = usize::from(*cuts.next().unwrap_or(&255)).max(1).min(rest.len());
        let (piece, after) = rest.split_at(cut);
        rest = after;
        let read = reader.read(piece, |event| {
            assert!(event.data.len() <= LIMIT && event.name.len() <= 3 * LIMIT);
            events.push((event.name, event.data));
        });
        if read.is_err() {
            return (events, None, true);
        }
    }
    (events, reader.last_id().map(str::to_owned), false)
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, cuts) = input;
    let whole = read(&bytes, &[]);
    let pieces = read(&bytes, &cuts);
    assert_eq!(whole, pieces);
});
