//! Forms for a person: what is asked, what comes back, what is refused before anyone is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use compere::client::answer::Refusal;
use compere::model::{ElicitAction, ElicitResult, RawJson};
use compere::prelude::*;
use compere::{Elicited, Revision};
use serde_json::Value;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Order {
    /// What is wanted.
    #[schemars(length(min = 2, max = 20))]
    what: String,
    /// How many.
    #[schemars(range(min = 1, max = 9))]
    count: u8,
    size: Option<Size>,
    #[serde(default)]
    gift: bool,
    /// Where to write.
    #[schemars(email)]
    mail: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
enum Size {
    /// Not much.
    Small,
    /// Much.
    Large,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Nested {
    #[expect(dead_code, reason = "it is never filled in")]
    inside: Vec<Order>,
}

/// Orders something.
#[tool]
async fn order(context: Context) -> Result<String, ToolError> {
    let answer = context
        .elicit_form::<Order>("order", "What would you like?")
        .await;
    Ok(match answer {
        Ok(Elicited::Accepted(order)) => format!("{order:?}"),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("error: {error}"),
    })
}

/// Asks for what no form can hold.
#[tool]
async fn nested(context: Context) -> Result<String, ToolError> {
    let answer = context.elicit_form::<Nested>("nested", "?").await;
    Ok(match answer {
        Ok(_) => "somebody was asked".to_owned(),
        Err(error) => error.to_string(),
    })
}

/// Calls a tool of a client that answers so; what the tool says, and what the client was asked. It is the
/// same in both eras, but for a refusal: without a session no error can be brought back.
async fn asked(
    tool: &str,
    answer: impl Fn() -> Result<ElicitResult, Refusal> + Clone + Send + Sync + 'static,
) -> (String, Option<Value>) {
    let live = asked_by(Revision::NEGOTIABLE, tool, answer.clone()).await;
    if answer().is_ok() {
        let in_rounds = asked_by(&[Revision::V2026_07_28], tool, answer).await;
        assert_eq!(in_rounds, live);
    }
    live
}

async fn asked_by(
    revisions: &[Revision],
    tool: &str,
    answer: impl Fn() -> Result<ElicitResult, Refusal> + Send + Sync + 'static,
) -> (String, Option<Value>) {
    let seen = Arc::new(Mutex::new(None));
    let sees = seen.clone();
    let client = Client::builder("person", "1")
        .revisions(revisions)
        .on_elicit(move |params| {
            let schema = params.requested_schema.as_ref();
            *sees.lock().unwrap() = schema.map(|schema| schema.decode::<Value>().unwrap());
            let answer = answer();
            async move { answer }
        })
        .connect(Server::new("shop", "1").tool(order).tool(nested))
        .await
        .unwrap();
    let said = client.call(tool, ()).await.unwrap().joined_text();
    let seen = seen.lock().unwrap().take();
    (said, seen)
}

fn accept(answers: Value) -> Result<ElicitResult, Refusal> {
    let mut result = ElicitResult::new(ElicitAction::Accept);
    let answers = answers.as_object().unwrap().clone();
    let answers: BTreeMap<String, RawJson> = answers
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    result.content = Some(answers);
    Ok(result)
}

// C-ELIC-06 D-125 D-128
#[tokio::test]
async fn a_struct_is_a_flat_form() {
    let (said, schema) = asked("order", || {
        accept(json!({"what": "tea", "count": 2, "size": "large"}))
    })
    .await;
    assert_eq!(
        said,
        "Order { what: \"tea\", count: 2, size: Some(Large), gift: false, mail: None }"
    );
    let expected = json!({
        "type": "object",
        "properties": {
            "what": {
                "type": "string", "description": "What is wanted.", "minLength": 2, "maxLength": 20,
            },
            "count": {"type": "integer", "description": "How many.", "minimum": 1, "maximum": 9},
            "size": {"type": "string", "enum": ["small", "large"]},
            "gift": {"type": "boolean", "default": false},
            "mail": {"type": "string", "format": "email", "description": "Where to write."},
        },
        "required": ["what", "count"],
    });
    assert_eq!(schema.unwrap(), expected);
}

// C-ELIC-08 C-ELIC-09 E-465
#[tokio::test]
async fn a_person_may_say_no_or_nothing() {
    let (said, _) = asked("order", || Ok(ElicitResult::new(ElicitAction::Decline))).await;
    assert_eq!(said, "Declined");
    let (said, _) = asked("order", || Ok(ElicitResult::new(ElicitAction::Cancel))).await;
    assert_eq!(said, "Cancelled");
    let (said, _) = asked("order", || Err(Refusal::by_user("busy"))).await;
    assert!(said.contains("busy"), "{said}");
}

// C-ELIC-11 D-170 E-484
#[tokio::test]
async fn answers_that_do_not_fit_are_an_error() {
    for answers in [
        json!({"what": "tea"}),
        json!({"what": "tea", "count": "two"}),
        json!({"what": "tea", "count": 2, "size": "huge"}),
    ] {
        let (said, _) = asked_by(Revision::NEGOTIABLE, "order", move || {
            accept(answers.clone())
        })
        .await;
        assert!(said.contains("does not fit"), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_flat_form_is_refused_before_anyone_is_asked() {
    let (said, schema) = asked("nested", || accept(json!({}))).await;
    assert!(said.contains("the field \"inside\""), "{said}");
    assert!(schema.is_none());
}

// C-ELIC-05 D-123 E-445
#[tokio::test]
async fn a_client_that_cannot_be_asked_is_not() {
    let server = || Server::new("shop", "1").tool(order);
    let client = Client::connect(server()).await.unwrap();
    let said = client.call("order", ()).await.unwrap().joined_text();
    assert!(said.starts_with("error"), "{said}");
    // The method does not exist in the first revisions, whatever the client can do.
    let client = Client::builder("old", "1")
        .revisions(&[Revision::V2025_03_26])
        .on_elicit(|_| async { accept(json!({})) })
        .connect(server())
        .await
        .unwrap();
    let said = client.call("order", ()).await.unwrap().joined_text();
    assert!(said.starts_with("error"), "{said}");
}
