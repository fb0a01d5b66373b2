//! Resources, a family of them, a prompt, and completion.

use compere::prelude::*;
use compere::rank;

const NOTES: [(&str, &str); 2] = [
    ("ada", "wrote the first program"),
    ("alan", "broke a cipher"),
];

/// A note about someone.
#[resource("notes://people/{name}", mime_type = "text/plain")]
async fn note(uri: Uri, name: String) -> Result<String, ToolError> {
    NOTES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, note)| (*note).to_owned())
        .ok_or_else(|| ToolError::resource_not_found(&uri.0))
}

/// Asks for a short biography.
#[prompt]
async fn biography(name: String) -> String {
    format!("Write three sentences about {name}.")
}

#[tokio::main]
async fn main() -> compere::Result<()> {
    let server = Server::new("notes", "1.0.0")
        .resource(note)
        .prompt(biography)
        .complete_template("notes://people/{name}", "name", |query| async move {
            Ok(rank(NOTES.map(|(name, _)| name), &query.value))
        });
    let client = Client::connect(server).await?;
    let read = client.read("notes://people/ada").await?;
    println!("{:?}", read.contents[0].as_text());
    let name = [("name".to_owned(), "Ada".to_owned())].into();
    let prompt = client.prompt("biography", name).await?;
    println!("{:?}", prompt.messages[0].content.as_text());
    client.close().await
}
