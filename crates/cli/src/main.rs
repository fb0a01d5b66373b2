//! The command `compere`: what was typed, the command that does it, and the exit code.
//!
//! Standard output is data, standard error is words. Everything that a server says is escaped
//! before it reaches a terminal.

mod args;
mod arguments;
mod candidates;
mod commands;
mod connected;
mod desk;
mod doctor;
mod elicitation;
mod failure;
mod hosted;
mod listening;
mod output;
mod person;
mod progress;
mod record;
mod remembered;
mod sampling;
mod save;
mod target;

use std::process::ExitCode;

use crate::args::{Arguments, Bridge, Command, Serve};
use crate::failure::Failure;

fn main() -> ExitCode {
    // Before there is a second thread: what the launcher takes away is taken from this one.
    let mut words = std::env::args_os().skip(1);
    if words
        .next()
        .is_some_and(|word| word == compere_host::sandbox::COMMAND)
    {
        return compere_host::sandbox::launch(words);
    }
    let arguments = Arguments::read();
    let level = match arguments.verbose {
        // What happens between two others is nowhere else to be seen.
        0 if matches!(arguments.command, Command::Bridge(_) | Command::Up(_)) => {
            tracing_subscriber::filter::LevelFilter::WARN
        }
        0 => tracing_subscriber::filter::LevelFilter::ERROR,
        1 => tracing_subscriber::filter::LevelFilter::INFO,
        _ => tracing_subscriber::filter::LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .without_time()
        .init();
    let runtime = match &arguments.command {
        Command::Serve(Serve { listening, .. }) | Command::Bridge(Bridge { listening, .. })
            if listening.http.is_some() =>
        {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
        }
        // One connection needs one thread, and so do the apps of one person; what blocks has a pool of
        // its own.
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // A handful of descriptors is watched; the default has room for a thousand events.
            .max_io_events_per_tick(16)
            .build(),
    };
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(arguments));
            // A thread may be stuck in a read of the terminal: nothing to wait for.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::from(error)),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Serve(serve) => commands::serve::run(serve).await,
        Command::Bridge(bridge) => commands::bridge::run(bridge).await,
        Command::Up(up) => commands::up::run(up).await,
        Command::Connect(connect) => commands::connect::run(&connect).await,
        Command::Approve(approve) => commands::approve::run(&approve),
        Command::Status(status) => commands::status::run(&status),
        Command::Grants(grants) => commands::status::grants(&grants),
        Command::Token(token) => commands::up::token(&token.keeps, &token.app),
        Command::Retry(of) => commands::status::retry(&of),
        Command::Install(install) => commands::install::run(install).await,
        Command::Roots(roots) => commands::roots::run(&roots),
        Command::Secret(secret) => commands::secret::run(&secret.command),
        Command::Update(of) => commands::status::update(&of),
        Command::Console(console) => commands::console::run(&console),
        Command::Stop(stop) => commands::status::stop(&stop),
        Command::Sandbox(sandbox) => commands::sandbox::run(&sandbox),
        Command::Import(import) => commands::import::run(import).await,
        Command::Audit(audit) => commands::audit::run(audit).await,
        Command::Policy(policy) => commands::policy::run(policy),
        Command::Replay(replay) => commands::replay::run(&replay),
        Command::Info(info) => commands::info::run(info).await,
        Command::Tools(tools) => commands::tools::run(tools).await,
        Command::Call(call) => commands::call::run(call).await,
        Command::Prompts(prompts) => commands::prompts::list(prompts).await,
        Command::Prompt(prompt) => commands::prompts::get(prompt).await,
        Command::Resources(resources) => commands::resources::list(resources).await,
        Command::Templates(templates) => commands::resources::templates(templates).await,
        Command::Read(read) => commands::read::run(read).await,
        Command::Complete(complete) => commands::complete::run(complete).await,
        Command::Subscribe(subscribe) => commands::subscribe::run(subscribe).await,
        Command::Ping(ping) => commands::ping::run(ping).await,
        Command::Doctor(doctor) => commands::doctor::run(doctor).await,
        Command::Completions(completions) => commands::completions::script(&completions),
        Command::Candidates(asked) => commands::completions::answer(asked).await,
    }
}
