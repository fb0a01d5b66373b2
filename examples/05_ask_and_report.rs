//! A tool that reports progress, asks the client's model, and notices cancellation.

use compere::client::answer::Refusal;
use compere::model::{CreateMessageParams, CreateMessageResult, Role, SamplingMessage};
use compere::prelude::*;

/// Summarises a text, paragraph by paragraph.
#[tool]
async fn summarise(context: Context, text: String) -> Result<String, ToolError> {
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let mut summary = Vec::new();
    for (index, paragraph) in paragraphs.iter().enumerate() {
        if context.is_cancelled() {
            break;
        }
        let question = SamplingMessage::user(format!("In five words: {paragraph}"));
        let question = CreateMessageParams::new(vec![question], 50_u64);
        let answer = context
            .sample(&format!("paragraph-{index}"), question)
            .await
            .map_err(|error| ToolError::new(error.to_string()))?;
        summary.push(answer.content.text());
        context.progress_of((index + 1) as f64, paragraphs.len() as f64);
    }
    Ok(summary.join("\n"))
}

#[tokio::main]
async fn main() -> compere::Result<()> {
    // A real client shows the request to a person, who may change or refuse it.
    let client = Client::builder("example", "1.0.0")
        .on_sample(|params| async move {
            if params.max_tokens > 100 {
                return Err(Refusal::by_user("that is too long"));
            }
            Ok(CreateMessageResult::new(
                Role::Assistant,
                "a short summary",
                "no model",
            ))
        })
        .connect(Server::new("summaries", "1.0.0").tool(summarise))
        .await?;
    let output = client
        .call("summarise", json!({"text": "One.\n\nTwo."}))
        .on_progress(|progress| println!("{} of {:?}", progress.progress, progress.total))
        .await?;
    println!("{}", output.joined_text());
    client.close().await
}
