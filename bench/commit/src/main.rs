//! How long a record takes until the disk has it, in microseconds: appended to a file and waited for, and
//! appended to the audit log and waited for, one after the other in the same rounds.
//!
//! bench-commit FOLDER

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use compere_host::audit::{Durability, Kind, Log, Record};

const ROUNDS: usize = 300;

fn main() {
    let folder = std::env::args().nth(1).expect("a folder");
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).unwrap();
    let mut file = File::create(folder.join("plain")).unwrap();
    let (log, _) = Log::open(&folder.join("log")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut plain = Vec::new();
    let mut logged = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        file.write_all(&[b'x'; 340]).unwrap();
        file.sync_data().unwrap();
        plain.push(began.elapsed());
        let mut record = Record::new(Kind::Intent);
        record.view = "x".repeat(200);
        let began = Instant::now();
        runtime.block_on(log.append(record, Durability::Synced)).unwrap();
        logged.push(began.elapsed());
    }
    for mut times in [plain, logged] {
        times.sort();
        println!("{:.1}", times[ROUNDS / 2].as_secs_f64() * 1e6);
    }
}
