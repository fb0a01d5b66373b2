//! `compere read`: one resource, by its URI or by a template and its variables.

use std::process::ExitCode;

use compere::model::{TemplateValue, UriTemplate};

use crate::args::Read;
use crate::connected::with_client;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::{arguments, output};

pub(crate) async fn run(read: Read) -> Result<ExitCode, Failure> {
    let uri = match read.variables.is_empty() {
        true => read.uri.clone(),
        false => expand(&read.uri, &read.variables)?,
    };
    let line = ProgressLine::on_stderr();
    let result = with_client(&read.connection, &line, async |client| {
        client.read(&uri).await.map_err(|error| {
            let failure = Failure::from(error);
            match read.uri.contains('{') && read.variables.is_empty() {
                true => failure.hint("This is a template: give its variables as key=value."),
                false => failure,
            }
        })
    })
    .await?;
    if read.connection.json {
        output::json(&result)?;
        return Ok(ExitCode::SUCCESS);
    }
    for contents in &result.contents {
        output::contents(contents, read.save.as_deref())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn expand(template: &str, variables: &[String]) -> Result<String, Failure> {
    let parsed = UriTemplate::parse(template)
        .map_err(|error| Failure::usage(format!("{template:?} is no template: {error}")))?;
    let given = arguments::texts(variables)?;
    let known: Vec<&str> = parsed.variables().collect();
    if let Some(unknown) = given.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(arguments::unknown(
            &format!("the template has no variable {unknown:?}"),
            unknown,
            known.iter().copied(),
        ));
    }
    let values = given
        .into_iter()
        .map(|(name, value)| (name, TemplateValue::from(value)))
        .collect();
    Ok(parsed.expand(&values))
}
