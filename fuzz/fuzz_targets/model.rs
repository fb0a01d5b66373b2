//! Any JSON as params and results: the decoder over the tape takes and gives what `serde_json`
//! does, what is taken can be written in every revision, and nothing panics.
#![no_main]

use compere_proto::wire::decode::decode;
use compere_proto::wire::project::Project;
use compere_proto::wire::scan::Scanner;
use compere_proto::{Limits, Revision};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn try_as<T: DeserializeOwned + Serialize + Project + Clone>(text: &str) {
    let mut scanner = Scanner::new();
    let Ok(tape) = scanner.check(text, &Limits::default()) else { return };
    let Some(root) = tape.root() else { return };
    let ours: Result<T, _> = decode(root);
    let theirs: Result<T, _> = serde_json::from_str(text);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours.err(), theirs.err());
    let Ok(value) = ours else { return };
    for revision in Revision::ALL {
        let mut value = value.clone();
        value.project(revision);
        let written = serde_json::to_string(&value).expect("what was read can be written");
        assert!(scanner.check(&written, &Limits::default()).is_ok() || written.len() > text.len());
    }
}

fuzz_target!(|input: (u8, &str)| {
    let (kind, text) = input;
    match kind % 8 {
        0 => try_as::<compere_proto::tools::CallToolResult>(text),
        1 => try_as::<compere_proto::tools::ListToolsResult>(text),
        2 => try_as::<compere_proto::resources::ReadResourceResult>(text),
        3 => try_as::<compere_proto::prompts::GetPromptResult>(text),
        4 => try_as::<compere_proto::sampling::CreateMessageParams>(text),
        5 => try_as::<compere_proto::lifecycle::InitializeResult>(text),
        6 => try_as::<compere_proto::resources::ListResourceTemplatesResult>(text),
        _ => try_as::<compere_proto::completion::CompleteParams>(text),
    }
});
