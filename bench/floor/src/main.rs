//! The floor: answers each line with canned bytes around its id. No JSON, no checks, no errors: a
//! bound, not an implementation.

mod http;

use std::io::{Read, Write};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("http") {
        return http::serve();
    }
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut buffer = vec![0; 1 << 20];
    let (mut end, mut out) = (0, Vec::new());
    loop {
        match input.read(&mut buffer[end..]) {
            Ok(0) | Err(_) => return,
            Ok(count) => end += count,
        }
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..end]) {
            let line = &buffer[start..start + length];
            start += length + 1;
            let Some(at) = memchr::memmem::find(line, b"\"id\":") else {
                continue;
            };
            let id = &line[at + 5..];
            let id = &id[..id
                .iter()
                .position(|b| matches!(b, b',' | b'}'))
                .unwrap_or(id.len())];
            out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
            out.extend_from_slice(id);
            out.extend_from_slice(
                b",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}}\n",
            );
        }
        buffer.copy_within(start..end, 0);
        end -= start;
        if output
            .write_all(&out)
            .and_then(|()| output.flush())
            .is_err()
        {
            return;
        }
        out.clear();
    }
}
