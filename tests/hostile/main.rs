//! `compere-hostile`: the worst that can be on the other end of a connection, on demand.
//!
//!     compere-hostile list
//!     compere-hostile serve CASE                    a server that misbehaves, on stdin and stdout
//!     compere-hostile attack CASE -- COMMAND ARG…   a client that misbehaves, against a server
//!
//! An attack prints what came back. Point it at your own server; nothing here is aimed at ours.

use std::io::Write;
use std::process::{ExitCode, Stdio};

use compere_tests::attacks::{self, ATTACKS};
use compere_tests::impostors::IMPOSTORS;
use compere_tests::moderns::MODERNS;
use compere_tests::patients::PATIENTS;
use compere_tests::stage;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => list(),
        ["serve", case] => serve(case),
        ["attack", case, "--", command @ ..] if !command.is_empty() => attack(case, command),
        _ => {
            complain("usage: compere-hostile list | serve CASE | attack CASE -- COMMAND ARG…");
            ExitCode::from(2)
        }
    }
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn list() -> ExitCode {
    let mut out = std::io::stdout().lock();
    for impostor in IMPOSTORS {
        let _ = writeln!(out, "serve {}", impostor.name);
    }
    for (name, requirement, _) in PATIENTS.iter().chain(MODERNS) {
        let _ = writeln!(out, "serve patient:{name} (breaks {requirement})");
    }
    for attack in ATTACKS {
        let _ = writeln!(out, "attack {}", attack.name);
    }
    ExitCode::SUCCESS
}

fn serve(case: &str) -> ExitCode {
    let named = case.strip_prefix("patient:");
    let part = match named {
        Some(case) => PATIENTS
            .iter()
            .chain(MODERNS)
            .find(|(name, ..)| *name == case)
            .map(|(_, _, part)| *part),
        None => IMPOSTORS
            .iter()
            .find(|impostor| impostor.name == case)
            .map(|impostor| impostor.play),
    };
    let Some(part) = part else {
        complain("there is no such case; see: compere-hostile list");
        return ExitCode::from(2);
    };
    stage::play(part);
    if case == "patient:lives-without-input" {
        loop {
            std::thread::park();
        }
    }
    ExitCode::SUCCESS
}

fn attack(case: &str, command: &[&str]) -> ExitCode {
    let Some(attack) = ATTACKS.iter().find(|attack| attack.name == case) else {
        complain("there is no such case; see: compere-hostile list");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let child = tokio::process::Command::new(command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                complain(&format!("{}: {error}", command[0]));
                return ExitCode::from(3);
            }
        };
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return ExitCode::FAILURE;
        };
        let outcome = attacks::play(attack, tokio::io::join(stdout, stdin)).await;
        let _ = writeln!(std::io::stdout().lock(), "{outcome}");
        ExitCode::SUCCESS
    })
}
