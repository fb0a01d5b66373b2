//! How `npm` and `uv` are had fetch something: confined to one folder and the network, without running
//! anything of what comes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::hex;
use crate::sandbox;
use crate::servers::fetch::asked::{npm_name, python_name};
use crate::servers::fetch::{Fetched, Plan, Runner};
use crate::servers::launch::Machine;

/// How long fetching may take.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// So much of what a step said at last is kept for its error.
const WORDS: usize = 2_000;
/// Variables of the person that fetching needs to reach the network as they do.
const VARIABLES: [&str; 10] = [
    "PATH",
    "LANG",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

impl Plan {
    pub(super) async fn by_npm(&self, folder: &Path, machine: &Machine) -> Result<Fetched, String> {
        std::fs::write(folder.join("package.json"), r#"{"private":true}"#)
            .map_err(|error| error.to_string())?;
        let settings = match &self.settings {
            Some(settings) => settings.display().to_string(),
            None => "/dev/null".to_owned(),
        };
        let mut arguments: Vec<String> = [
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--no-progress",
            "--logs-max=0",
            "--loglevel=error",
            "--omit=dev",
            "--prefix",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(folder.display().to_string());
        arguments.push("--cache".to_owned());
        arguments.push(folder.join(".cache").display().to_string());
        arguments.push("--userconfig".to_owned());
        arguments.push(settings);
        arguments.push("--".to_owned());
        arguments.extend(self.packages.iter().cloned());
        self.step(&self.program, &arguments, true, folder, machine)
            .await?;
        let lock = read(&folder.join("package-lock.json"))?;
        let all = lock.get("packages").and_then(Value::as_object);
        let all = all.ok_or("npm has written no lock file that can be read")?;
        let package = self.packages.first().map_or("", |spec| npm_name(spec));
        let place = format!("node_modules/{package}");
        let said = |name: &str| all.get(&place)?.get(name)?.as_str().map(str::to_owned);
        let (Some(version), Some(integrity)) = (said("version"), said("integrity")) else {
            return Err(format!("the registry gives no checksum of {package}"));
        };
        let own = read(&folder.join(&place).join("package.json"))?;
        let entry = npm_entry(&own, package, self.command.as_deref())?;
        let entry = Path::new(&place).join(entry);
        let head = std::fs::read(folder.join(&entry))
            .map_err(|error| format!("its program {} cannot be read: {error}", entry.display()))?;
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line.get(..line.len().min(200)).unwrap_or_default());
        let by = (line.starts_with("#!") && line.contains("node")).then_some(Runner::Node);
        Ok(Fetched {
            plan: self.digest(),
            folder: String::new(),
            package: package.to_owned(),
            version,
            integrity,
            packages: all.len().saturating_sub(1),
            entry,
            by,
        })
    }

    pub(super) async fn by_uv(&self, folder: &Path, machine: &Machine) -> Result<Fetched, String> {
        let place = |name: &str| folder.join(name).display().to_string();
        let asked = place("requirements.in");
        let lock = place("requirements.lock");
        std::fs::write(&asked, self.packages.join("\n")).map_err(|error| error.to_string())?;
        let python = place("venv/bin/python");
        let mut common = vec![
            "--quiet".to_owned(),
            "--cache-dir".to_owned(),
            place(".cache"),
        ];
        match &self.settings {
            Some(settings) => {
                common.push("--config-file".to_owned());
                common.push(settings.display().to_string());
            }
            None => common.push("--no-config".to_owned()),
        }
        let mut venv = vec!["venv".to_owned()];
        if let Some(version) = &self.python {
            venv.extend(["--python".to_owned(), version.clone()]);
        }
        venv.push(place("venv"));
        let compile = [
            "pip",
            "compile",
            "--generate-hashes",
            "--only-binary",
            ":all:",
            "--python",
            &python,
            "--output-file",
            &lock,
            &asked,
        ];
        let install = [
            "pip",
            "install",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--link-mode",
            "copy",
            "--python",
            &python,
            "--requirements",
            &lock,
        ];
        let compile = compile.map(str::to_owned).to_vec();
        let install = install.map(str::to_owned).to_vec();
        for mut arguments in [venv, compile, install] {
            arguments.extend(common.iter().cloned());
            self.step(&self.program, &arguments, true, folder, machine)
                .await?;
        }
        // It cannot keep what it compiles when it runs. Compiling runs nothing: neither packages nor what
        // they want to be run whenever Python starts are looked at. What does not compile need not.
        let compile = ["-I", "-S", "-m", "compileall", "-q", &place("venv/lib")];
        let compile = compile.map(str::to_owned);
        let _ = self
            .step(Path::new(&python), &compile, false, folder, machine)
            .await;
        let locked = std::fs::read_to_string(&lock).map_err(|error| error.to_string())?;
        let pinned = || locked.lines().filter_map(|line| line.split_once("=="));
        let package = self.packages.first().map_or("", |spec| python_name(spec));
        let version = pinned()
            .find(|(name, _)| same_python_name(python_name(name), package))
            .and_then(|(_, version)| version.split([' ', ';', '\\']).next());
        let version = version.ok_or("uv has locked no version of it")?;
        let command = self.command.as_deref().unwrap_or(package);
        let entry = Path::new("venv/bin").join(command);
        if !folder.join(&entry).is_file() {
            return Err(format!("{package} {version} has no program {command}"));
        }
        Ok(Fetched {
            plan: self.digest(),
            folder: String::new(),
            package: package.to_owned(),
            version: version.to_owned(),
            // All checksums of all packages: those of one are many.
            integrity: format!(
                "sha256-{} of the lock",
                hex::text(&Sha256::digest(hashes(&locked)))
            ),
            packages: pinned().count(),
            entry,
            by: Some(Runner::Python),
        })
    }

    async fn step(
        &self,
        program: &Path,
        arguments: &[String],
        network: bool,
        folder: &Path,
        machine: &Machine,
    ) -> Result<(), String> {
        let read: Vec<PathBuf> = self.settings.iter().filter(|_| network).cloned().collect();
        let mut profile = sandbox::profile(program, &[], &read, &[], network);
        profile.own.push(folder.to_owned());
        profile.namespaces = sandbox::namespaces_are_there(&machine.own);
        let mut command = tokio::process::Command::new(&machine.own);
        command
            .args(sandbox::order(Some(&profile)))
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("HOME", folder.join("home"))
            .env("UV_PYTHON_INSTALL_DIR", folder.join("python"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in VARIABLES {
            if let Some(value) = machine.environment.get(std::ffi::OsStr::new(name)) {
                command.env(name, value);
            }
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut said = Vec::new();
        let mut stderr = child.stderr.take();
        let run = async {
            let mut piece = [0; 4_096];
            while let Some(stderr) = &mut stderr {
                let count = stderr.read(&mut piece).await?;
                if count == 0 {
                    break;
                }
                said.extend_from_slice(piece.get(..count).unwrap_or_default());
                let over = said.len().saturating_sub(WORDS);
                said.drain(..over);
            }
            child.wait().await
        };
        let status = match tokio::time::timeout(PATIENCE, run).await {
            Ok(status) => status.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("it took longer than {} s", PATIENCE.as_secs())),
        };
        match status.success() {
            true => Ok(()),
            false => Err(match String::from_utf8_lossy(&said).trim() {
                "" => format!("{} failed ({status})", program.display()),
                said => said.to_owned(),
            }),
        }
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The index holds these for the same.
fn same_python_name(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    plain(one) == plain(other)
}

/// Which program of a package is the server, as npm finds it.
fn npm_entry(own: &Value, package: &str, command: Option<&str>) -> Result<PathBuf, String> {
    let short = package.rsplit('/').next().unwrap_or(package);
    let found = match own.get("bin") {
        Some(Value::String(path)) if command.is_none_or(|command| command == short) => Some(path),
        Some(Value::Object(programs)) => {
            let only = programs.values().next().filter(|_| programs.len() == 1);
            let named = match command {
                Some(command) => programs.get(command),
                None => only.or_else(|| programs.get(short)),
            };
            match named {
                Some(Value::String(path)) => Some(path),
                _ => None,
            }
        }
        _ => None,
    };
    let Some(found) = found else {
        let command = command.unwrap_or(short);
        return Err(format!("the package {package} has no program {command}"));
    };
    let path = Path::new(found);
    let stays = path.components().all(|part| {
        use std::path::Component::{CurDir, Normal};
        matches!(part, CurDir | Normal(_))
    });
    match stays {
        true => Ok(path.to_owned()),
        false => Err(format!("the program of {package} lies outside of it")),
    }
}

/// What a lock file locks, without its comments.
fn hashes(locked: &str) -> String {
    let lines = locked.lines().map(str::trim);
    let lines: Vec<&str> = lines
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    lines.join("\n")
}
