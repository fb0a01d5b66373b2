//! The audit log: what was appended is there in its order, every change of it is found and the first
//! bad record named, and a host that was stopped in the middle goes on.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compere_host::audit::format::{HASH_BYTES, HEAD, LENGTH_BYTES, segment_name};
use compere_host::audit::log::Opened;
use compere_host::audit::{Broken, Durability, Index, Kind, Log, Reader, Record, Search, verify};
use compere_tests::count;
use serde_json::Value;

fn record(number: usize) -> Record {
    let mut record = Record::new(Kind::Intent);
    record.app = "editor".to_owned();
    record.server = "files".to_owned();
    record.name = format!("tool-{number}");
    record
}

async fn append(log: &Log, count: usize) {
    for number in 0..count {
        log.append(record(number), Durability::Synced)
            .await
            .unwrap();
    }
}

/// A log with this many records, and one that says that it begins.
async fn written(folder: &Path, count: usize) {
    let (log, opened) = Log::open(folder).unwrap();
    assert_eq!(opened, Opened::New);
    append(&log, count).await;
    close(log, folder).await;
}

/// The writer is done once the log can be read to its end and its thread is gone.
async fn close(log: Log, folder: &Path) {
    let last = log.append(record(0), Durability::Synced).await.unwrap();
    drop(log);
    assert_eq!(verify(folder, &[]).unwrap().records, last);
    // How far it goes is noted beside it at the end.
    compere_tests::until("the note", || {
        let head = std::fs::read_to_string(folder.join(HEAD)).unwrap();
        head.starts_with(&format!("{last:020} "))
    })
    .await;
}

fn segment(folder: &Path) -> PathBuf {
    folder.join(segment_name(1))
}

/// Where each frame of a segment begins, and where the last one ends.
fn borders(bytes: &[u8]) -> Vec<usize> {
    let mut borders = vec![0];
    while let Some(length) = bytes[*borders.last().unwrap()..].first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        borders.push(borders.last().unwrap() + LENGTH_BYTES + length + HASH_BYTES);
    }
    borders
}

fn broken(folder: &Path) -> Broken {
    match verify(folder, &[]) {
        Err(broken) => broken,
        Ok(summary) => panic!("nothing was found: {summary:?}"),
    }
}

#[tokio::test]
async fn records_stand_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("audit");
    let (log, _) = Log::open(&folder).unwrap();
    let log = Arc::new(log);
    let appending: Vec<_> = (0..200)
        .map(|number| {
            let log = log.clone();
            let durability = match number % 3 {
                0 => Durability::Written,
                _ => Durability::Synced,
            };
            tokio::spawn(async move { log.append(record(number), durability).await.unwrap() })
        })
        .collect();
    let mut numbers = Vec::new();
    for appending in appending {
        numbers.push(appending.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (2..202).collect::<Vec<u64>>());
    log.append(record(0), Durability::Synced).await.unwrap();
    let summary = verify(&folder, &[]).unwrap();
    assert_eq!(
        (summary.records, summary.segments, summary.unfinished),
        (202, 1, 0)
    );
    // It is for its owner alone.
    for path in [&folder, &segment(&folder), &folder.join(HEAD)] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    let bytes = std::fs::read(segment(&folder)).unwrap();
    let borders = borders(&bytes);
    let payload = &bytes[borders[2] + LENGTH_BYTES..borders[3] - HASH_BYTES];
    let said: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(
        (&said["number"], &said["kind"]),
        (&2.into(), &"intent".into())
    );
    assert!(said["at"].as_u64().unwrap() > 1_700_000_000_000_000);
}

#[tokio::test]
async fn every_bit_counts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("audit");
    written(&folder, 18).await;
    assert_eq!(verify(&folder, &[]).unwrap().records, 20);
    for path in [segment(&folder), folder.join(HEAD)] {
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            let found = broken(&folder);
            if !path.ends_with(HEAD) {
                let frame = borders(&good)
                    .iter()
                    .filter(|border| **border <= bit / 8)
                    .count()
                    - 1;
                // The first frame is no record; what is wrong in it is before the first one.
                let expected = frame.max(1) as u64;
                assert_eq!(found.record, expected, "bit {bit}: {found}");
            }
        }
        std::fs::write(&path, &good).unwrap();
    }
    verify(&folder, &[]).unwrap();
}

#[tokio::test]
async fn every_deletion_insertion_and_swap_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("audit");
    written(&folder, 18).await;
    let path = segment(&folder);
    let good = std::fs::read(&path).unwrap();
    let borders = borders(&good);
    let frames: Vec<&[u8]> = borders
        .windows(2)
        .map(|pair| &good[pair[0]..pair[1]])
        .collect();
    assert_eq!(frames.len(), 21);
    let check = |frames: Vec<&[u8]>, first: usize, what: &str| {
        std::fs::write(&path, frames.concat()).unwrap();
        let found = broken(&folder);
        assert_eq!(found.record, first.max(1) as u64, "{what}: {found}");
    };
    for place in 0..frames.len() {
        let mut less = frames.clone();
        less.remove(place);
        check(less, place, &format!("without {place}"));
        for other in 0..frames.len() {
            let mut more = frames.clone();
            more.insert(place, frames[other]);
            // A frame before itself is the one that belongs there; the second of them is wrong.
            let first = if place == other { place + 1 } else { place };
            check(more, first, &format!("{other} before {place}"));
            if other > place {
                let mut swapped = frames.clone();
                swapped.swap(place, other);
                check(swapped, place, &format!("{place} and {other} swapped"));
            }
        }
    }
    // What was cut off at the end is found by what is kept beside it or elsewhere.
    std::fs::write(&path, &good).unwrap();
    let checkpoint = verify(&folder, &[]).unwrap().checkpoint();
    let (number, hash) = checkpoint.split_once(' ').unwrap();
    let kept = [(number.parse().unwrap(), hash.to_owned())];
    verify(&folder, &kept).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    written(&folder, 18).await;
    let other = verify(&folder, &kept).unwrap_err();
    assert_eq!(
        (other.record, other.why.contains("noted elsewhere")),
        (20, true),
        "{other}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
    written(&folder, 3).await;
    let shorter = verify(&folder, &kept).unwrap_err();
    assert!(shorter.why.contains("had 20 records"), "{shorter}");
}

/// One record of many is changed in one bit; at each of many places, in some of its bits or in all.
#[tokio::test]
async fn a_bit_of_one_record_of_many() {
    let places = count("COMPERE_AUDIT_PLACES", 100);
    let bits = count("COMPERE_AUDIT_BITS", 3);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("audit");
    written(&folder, places).await;
    let path = segment(&folder);
    let good = std::fs::read(&path).unwrap();
    let borders = borders(&good);
    for record in 1..=places {
        let (from, to) = (borders[record], borders[record + 1]);
        let all = (to - from) * 8;
        for bit in (0..all).step_by((all / bits).max(1)) {
            let bit = (bit + record) % all;
            let mut bad = good.clone();
            bad[from + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(broken(&folder).record, record as u64, "bit {bit}");
        }
    }
}

// Wherever the end of the file is, what was there before is there still, and the log goes on.
#[tokio::test]
async fn a_log_that_was_cut_off_anywhere_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("audit");
    let (log, _) = Log::open(&folder).unwrap();
    append(&log, 3).await;
    // As it is when the host is killed: the last record is written, and the head does not know of it.
    let head = std::fs::read(folder.join(HEAD)).unwrap();
    close(log, &folder).await;
    let good = std::fs::read(segment(&folder)).unwrap();
    let borders = borders(&good);
    for end in borders[borders.len() - 2]..=good.len() {
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(HEAD), &head).unwrap();
        std::fs::write(segment(&folder), &good[..end]).unwrap();
        let before = verify(&folder, &[]).unwrap();
        let whole = if end == good.len() { 5 } else { 4 };
        assert_eq!(before.records, whole, "cut at {end}");
        let (log, opened) = Log::open(&folder).unwrap();
        let cut = (end - borders[borders.len() - 2]) as u64;
        let (expected, said) = match before.unfinished {
            0 => (Opened::InOrder, 0),
            _ => (Opened::Mended(cut), 1),
        };
        assert_eq!(opened, expected, "cut at {end}");
        let number = log.append(record(9), Durability::Synced).await.unwrap();
        assert_eq!(number, whole + said + 1, "cut at {end}");
        assert_eq!(
            verify(&folder, &[]).unwrap().records,
            number,
            "cut at {end}"
        );
    }
}

#[tokio::test]
async fn a_damaged_log_is_set_aside_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("audit");
    written(&folder, 5).await;
    let good = std::fs::read(segment(&folder)).unwrap();
    let middle = good.len() / 2;
    for number in 1..=2 {
        let mut bad = std::fs::read(segment(&folder)).unwrap();
        let place = middle.min(bad.len() / 2);
        bad[place] ^= 1;
        std::fs::write(segment(&folder), &bad).unwrap();
        let (log, opened) = Log::open(&folder).unwrap();
        let aside = PathBuf::from(format!("{}.damaged-{number}", folder.display()));
        assert_eq!(opened, Opened::SetAside(aside.clone()));
        assert_eq!(std::fs::read(segment(&aside)).unwrap(), bad);
        append(&log, 5).await;
        close(log, &folder).await;
        let bytes = std::fs::read(segment(&folder)).unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains("was damaged and lies at"));
    }
    // Records that are gone are damage too.
    let bytes = std::fs::read(segment(&folder)).unwrap();
    let borders = borders(&bytes);
    std::fs::write(segment(&folder), &bytes[..borders[borders.len() - 2]]).unwrap();
    let (_, opened) = Log::open(&folder).unwrap();
    assert!(matches!(opened, Opened::SetAside(_)), "{opened:?}");
}

#[tokio::test]
async fn a_log_has_several_segments() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("audit");
    let (log, _) = Log::open(&folder).unwrap();
    let mut long = record(0);
    long.view = "x".repeat(900_000);
    for _ in 0..20 {
        log.append(long.clone(), Durability::Written).await.unwrap();
    }
    close(log, &folder).await;
    let summary = verify(&folder, &[]).unwrap();
    assert_eq!((summary.segments, summary.records), (3, 22));
    let (log, opened) = Log::open(&folder).unwrap();
    assert_eq!(opened, Opened::InOrder);
    assert_eq!(log.append(record(1), Durability::Synced).await, Ok(23));
    long.view = "x".repeat(1024 * 1024);
    assert!(log.append(long, Durability::Synced).await.is_err());
    assert_eq!(log.append(record(1), Durability::Synced).await, Ok(24));
    drop(log);
    // One that is taken away is missed.
    let second = std::fs::read(folder.join(segment_name(2))).unwrap();
    std::fs::remove_file(folder.join(segment_name(2))).unwrap();
    let found = broken(&folder);
    assert_eq!(
        (found.segment, found.why.contains("missing")),
        (2, true),
        "{found}"
    );
    std::fs::write(folder.join(segment_name(2)), &second).unwrap();
    std::fs::rename(folder.join(segment_name(3)), folder.join("3")).unwrap();
    assert!(broken(&folder).why.contains("had 24 records"));
}

#[tokio::test]
async fn the_command_line_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("audit");
    written(&folder, 3).await;
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(compere_tests::compere())
            .args(["audit", "verify"])
            .arg(&folder)
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = run(&[]);
    assert_eq!(code, Some(0), "{said}");
    let checkpoint = said.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(checkpoint.starts_with("5:"), "{said}");
    assert_eq!(run(&["--checkpoint", &checkpoint]).0, Some(0));
    assert_eq!(run(&["--checkpoint", "5"]).0, Some(2));
    let (code, said) = run(&["--checkpoint", &checkpoint.replace("5:", "9:")]);
    assert!(code == Some(1) && said.contains("had 9 records"), "{said}");
    let mut bytes = std::fs::read(segment(&folder)).unwrap();
    let third = borders(&bytes)[3];
    bytes[third + 9] ^= 4;
    std::fs::write(segment(&folder), &bytes).unwrap();
    let (code, said) = run(&[]);
    assert!(
        code == Some(1) && said.contains("segment 1, record 3"),
        "{said}"
    );
    let found: Value = serde_json::from_str(&run(&["--json"]).1).unwrap();
    assert_eq!(
        (&found["inOrder"], &found["record"]),
        (&false.into(), &3.into())
    );
}

#[tokio::test]
async fn a_disk_that_takes_nothing_promises_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Log::open(&file.join("audit")).is_err());
    assert!(verify(&file.join("audit"), &[]).is_err());
}

/// What an index finds is what reading all of the log finds, whatever came since it was made.
#[tokio::test]
async fn an_index_finds_what_reading_all_of_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, kept) = (
        folder.path().join("audit"),
        folder.path().join("audit.index"),
    );
    let (log, _) = Log::open(&folder).unwrap();
    let words = [
        "/home/ada/notes.txt",
        "Zoë's \"plan\"",
        "done",
        "it's-done",
        "DONE 100%",
        "",
    ];
    let mut state = 7_usize;
    let mut any = |count: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % count
    };
    let searches: Vec<Search> = [
        Search::default(),
        Search {
            app: Some("editor".to_owned()),
            ..Search::default()
        },
        Search {
            server: Some("git".to_owned()),
            name: Some("log".to_owned()),
            ..Search::default()
        },
        Search {
            kinds: vec![Kind::Intent, Kind::Outcome],
            ..Search::default()
        },
        Search {
            app: Some("chat".to_owned()),
            words: Some("done".to_owned()),
            ..Search::default()
        },
    ]
    .into_iter()
    .chain(
        [
            "do",
            "DONE",
            "it's-do",
            "zoë",
            "notes.txt ada",
            "\"plan",
            "--",
            "100%",
            "nothing",
            "s don",
        ]
        .map(|words| Search {
            words: Some(words.to_owned()),
            ..Search::default()
        }),
    )
    .collect();
    let mut found_some = 0;
    for round in 0..4 {
        for _ in 0..150 {
            let mut record = Record::new(Kind::ALL[any(6)]);
            record.app = ["editor", "chat"][any(2)].to_owned();
            record.server = ["git", "files"][any(2)].to_owned();
            record.name = ["log", "read"][any(2)].to_owned();
            record.view = words[any(words.len())].to_owned();
            record.outcome = words[any(words.len())].to_owned();
            // Some are long, so that there are several segments.
            record.digest = "x".repeat(any(40) * 1_000);
            log.write(record).unwrap();
        }
        let mut all = Vec::new();
        let mut reader = Reader::new(&folder);
        while let Some(record) = reader.next_record().unwrap() {
            all.push(record);
        }
        assert!(all.len() >= 150 * (round + 1));
        for index in [
            Index::open(&kept, &folder, |_| {}).unwrap(),
            Index::in_memory(&folder, |_| {}).unwrap(),
        ] {
            assert_eq!(index.up_to(), reader.position());
            for search in &searches {
                let mut found = Vec::new();
                index
                    .search(search, |record| {
                        found.push(record);
                        Ok(true)
                    })
                    .unwrap();
                let expected: Vec<_> = all
                    .iter()
                    .filter(|record| search.fits(record))
                    .cloned()
                    .collect();
                assert_eq!(found, expected, "{search:?}");
                found_some += usize::from(!found.is_empty() && found.len() < all.len());
            }
        }
    }
    assert!(found_some > 50, "{found_some}");
    let segments = std::fs::read_dir(&folder).unwrap().count();
    assert!(segments > 2, "the log is too short for this: {segments}");
}

/// An index that is damaged, or that of another log, is made anew; what is found is right.
#[tokio::test]
async fn an_index_that_is_none_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, kept) = (
        folder.path().join("audit"),
        folder.path().join("audit.index"),
    );
    written(&folder, 30).await;
    let count = || {
        let index = Index::open(&kept, &folder, |_| {}).unwrap();
        let mut count = 0;
        index
            .search(
                &Search {
                    since: 1,
                    ..Search::default()
                },
                |_| {
                    count += 1;
                    Ok(true)
                },
            )
            .unwrap();
        count
    };
    let all = count();
    assert!(all >= 30);
    let good = std::fs::read(&kept).unwrap();
    assert_eq!(
        std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for bad in [
        Vec::new(),
        b"no index at all".to_vec(),
        good[..good.len() / 2].to_vec(),
        vec![0xff; 8_192],
    ] {
        std::fs::write(&kept, bad).unwrap();
        assert_eq!(count(), all);
    }
    // Another log in the same place.
    std::fs::remove_dir_all(&folder).unwrap();
    written(&folder, 45).await;
    assert!(count() >= 45);
    // A file that somebody put there is not followed, and not written.
    let elsewhere = folder.with_file_name("elsewhere");
    std::fs::write(&elsewhere, "mine").unwrap();
    std::fs::remove_file(&kept).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &kept).unwrap();
    assert!(Index::open(&kept, &folder, |_| {}).is_err());
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"mine");
}
