//! What the command lines of `npx` and `uvx` ask for, as far as that is a package of a registry and can be
//! told without running them.

use crate::servers::fetch::Source;

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) source: Source,
    pub(super) packages: Vec<String>,
    pub(super) command: Option<String>,
    pub(super) python: Option<String>,
    /// The arguments of the server itself.
    pub(super) rest: Vec<String>,
}

/// `npx [-y] [-p PACKAGE] PACKAGE-OR-PROGRAM ARG…`
pub(super) fn npx(arguments: &[String]) -> Option<Asked> {
    let mut arguments = arguments.iter();
    let mut packages = Vec::new();
    let first = loop {
        match arguments.next()?.as_str() {
            "-y" | "--yes" | "-q" | "--quiet" => {}
            "-p" | "--package" => packages.push(arguments.next()?.clone()),
            "--" => break arguments.next()?.as_str(),
            first => match first.strip_prefix("--package=") {
                Some(package) => packages.push(package.to_owned()),
                None if first.starts_with('-') => return None,
                None => break first,
            },
        }
    };
    let command = match packages.is_empty() {
        true => {
            packages.push(first.to_owned());
            None
        }
        false => Some(first.to_owned()),
    };
    let known = packages.iter().all(|spec| is_npm_spec(spec));
    (known && command.as_deref().is_none_or(is_name)).then(|| Asked {
        source: Source::Npm,
        packages,
        command,
        python: None,
        rest: arguments.cloned().collect(),
    })
}

/// `uvx [--from PACKAGE] [--with PACKAGE] [--python VERSION] PACKAGE-OR-PROGRAM ARG…`
pub(super) fn uvx(arguments: &[String]) -> Option<Asked> {
    let mut arguments = arguments.iter();
    let (mut from, mut with, mut python) = (None, Vec::new(), None);
    let first = loop {
        let argument = arguments.next()?.as_str();
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value)),
            _ => (argument, None),
        };
        let mut value = || match value {
            Some(value) => Some(value.to_owned()),
            None => arguments.next().cloned(),
        };
        match flag {
            "-q" | "--quiet" => {}
            "--from" => from = Some(value()?),
            "--with" | "-w" => with.push(value()?),
            "--python" | "-p" => python = Some(value()?),
            flag if flag.starts_with('-') => return None,
            _ => break argument,
        }
    };
    // `NAME@VERSION` is what `NAME==VERSION` is elsewhere.
    let requirement = |text: &str| match text.split_once('@') {
        Some((name, "latest")) => name.to_owned(),
        Some((name, version)) => format!("{name}=={version}"),
        None => text.to_owned(),
    };
    let (package, command) = match from {
        Some(from) => (requirement(&from), first.to_owned()),
        None => (requirement(first), python_name(first).to_owned()),
    };
    let mut packages = vec![package];
    packages.extend(with);
    let known = packages.iter().all(|spec| is_python_spec(spec));
    let plain = python.as_deref().is_none_or(is_name) && is_name(&command);
    (known && plain).then(|| Asked {
        source: Source::Python,
        packages,
        command: Some(command),
        python,
        rest: arguments.cloned().collect(),
    })
}

/// A name that is one of a file, and no flag.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins = text.bytes().next();
    begins.is_some_and(|first| first.is_ascii_alphanumeric()) && text.bytes().all(plain)
}

/// A package of the registry with a range of versions or a tag; no address, no folder, no alias.
fn is_npm_spec(spec: &str) -> bool {
    let name = npm_name(spec);
    let range = spec.get(name.len()..).unwrap_or_default();
    let name = match name.strip_prefix('@') {
        None => is_name(name),
        Some(scoped) => {
            let parts = scoped.split_once('/');
            parts.is_some_and(|(scope, name)| is_name(scope) && is_name(name))
        }
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".^~<>=*| +_-@".contains(&byte);
    name && range != "@" && range.bytes().all(plain)
}

/// `@scope/name@1.2` without its version.
pub(super) fn npm_name(spec: &str) -> &str {
    match spec.char_indices().skip(1).find(|(_, sign)| *sign == '@') {
        Some((end, _)) => spec.get(..end).unwrap_or_default(),
        None => spec,
    }
}

/// A package of the index with extras and versions; no address, no folder.
fn is_python_spec(spec: &str) -> bool {
    let name = python_name(spec);
    let rest = spec.get(name.len()..).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"[],.<>=!~*+_ -".contains(&byte);
    is_name(name) && rest.bytes().all(plain)
}

/// `name[extra]==1.2` without what follows the name.
pub(super) fn python_name(spec: &str) -> &str {
    let ends = |sign: char| !(sign.is_ascii_alphanumeric() || "._-".contains(sign));
    spec.split(ends).next().unwrap_or_default()
}
