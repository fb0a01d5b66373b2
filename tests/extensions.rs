//! Extensions as values: what each side declares reaches the other, and what MCP Apps adds to tools and
//! resources.

use compere::Revision;
use compere::model::{UiCsp, UiResource, UiTool, UiVisibility};
use compere::prelude::*;
use compere::proto::ui;
use compere_tests::doors::{doors, request};
use serde_json::{Value, json};

const OURS: &str = "com.example/compass";

async fn settings(context: Context) -> String {
    match context.client_extension(OURS) {
        Some(settings) => settings.get().to_owned(),
        None => "nothing".to_owned(),
    }
}

async fn needs(context: Context) -> Result<&'static str, ToolError> {
    match context.client_extension(OURS) {
        Some(_) => Ok("here"),
        None => Err(ToolError::missing_extension(OURS)),
    }
}

#[tokio::test]
async fn what_each_side_declares_reaches_the_other() {
    let server = Server::new("extended", "1")
        .extension(OURS, json!({"north": "up"}))
        .tool(tool_fn("settings", settings))
        .tool(tool_fn("needs", needs))
        .start()
        .unwrap();
    for revision in Revision::ALL {
        let client = Client::builder("test", "1")
            .revisions(&[revision])
            .extension(OURS, json!({"needle": true}))
            .extension("com.example/broken", "no object")
            .connect(server.clone())
            .await
            .unwrap();
        let newest = revision == Revision::V2026_07_28;
        let declared = client.server_capabilities().unwrap().extension(OURS);
        assert_eq!(
            declared,
            newest.then_some("{\"north\":\"up\"}"),
            "{revision:?}"
        );
        let said = client.call("settings", ()).await.unwrap().joined_text();
        let expected = match newest {
            true => "{\"needle\":true}",
            false => "nothing",
        };
        assert_eq!(said, expected, "{revision:?}");
    }
    // Who has not got it is told what is missing, in a way that a program understands.
    for mut door in doors(&server) {
        let params = json!({"name": "needs", "arguments": {}});
        let said = door.say(&request(1, "tools/call", params, json!({}))).await;
        assert_eq!(said.code(), -32021, "{said:?}");
        let required = &said.answer["error"]["data"]["requiredCapabilities"];
        assert_eq!(*required, json!({"extensions": {OURS: {}}}));
    }
}

#[tokio::test]
async fn what_is_said_of_an_extension_is_an_object() {
    let error = Server::new("broken", "1")
        .extension(OURS, 7)
        .start()
        .unwrap_err();
    assert!(error.to_string().contains(OURS), "{error}");
}

fn clock() -> compere::server::tools::ServerTool {
    let ui = UiTool::new()
        .resource_uri("ui://clock/face")
        .visibility(vec![UiVisibility::Model, UiVisibility::App]);
    tool_fn("time", || async { "noon" }).ui(&ui)
}

// X-053 X-054 X-055
#[tokio::test]
async fn a_tool_and_its_interface() {
    let wind = UiTool::new().visibility(vec![UiVisibility::App]);
    let csp = UiCsp::new().connect_domains(vec!["https://time.example.com".to_owned()]);
    let face = resource_fn("ui://clock/face", "face", || async {
        "<!doctype html><p>12"
    })
    .ui(&UiResource::new().csp(Box::new(csp)).prefers_border(true));
    let server = Server::new("clock", "1")
        .tool(clock())
        .tool(tool_fn("wind", || async { "wound" }).ui(&wind))
        .tool(tool_fn("plain", || async { "plain" }))
        .resource(face);
    let client = Client::connect(server).await.unwrap();
    let capabilities = client.server_capabilities().unwrap();
    assert_eq!(capabilities.extension(ui::EXTENSION), Some("{}"));
    let tools = client.tools().collect().await.unwrap();
    let time = tools[0].ui().unwrap();
    assert_eq!(time.resource_uri.as_deref(), Some("ui://clock/face"));
    assert!(time.is_for_model() && time.is_for_app());
    let wind = tools[1].ui().unwrap();
    assert!(!wind.is_for_model() && wind.is_for_app());
    assert_eq!(tools[2].ui(), None);
    let listed = client.resources().collect().await.unwrap();
    assert_eq!(listed[0].mime_type.as_deref(), Some(ui::MIME_TYPE));
    let face = listed[0].ui().unwrap();
    assert_eq!(face.prefers_border, Some(true));
    let domains = face.csp.unwrap().connect_domains.unwrap();
    assert_eq!(domains, ["https://time.example.com"]);
    let read = client.read("ui://clock/face").await.unwrap();
    let written = serde_json::to_value(&read.contents[0]).unwrap();
    assert_eq!(written["mimeType"], ui::MIME_TYPE);
    // A model reads what the tool says without any of that.
    assert_eq!(client.call("time", ()).await.unwrap().joined_text(), "noon");
    // Where it stood before.
    let old: Value = json!({
        "name": "old", "inputSchema": {"type": "object"}, "_meta": {"ui/resourceUri": "ui://old"},
    });
    let old: compere::model::Tool = serde_json::from_value(old).unwrap();
    assert_eq!(old.ui().unwrap().resource_uri.as_deref(), Some("ui://old"));
}

// X-054 X-055
#[tokio::test]
async fn an_interface_is_there_or_the_server_is_not() {
    let error = Server::new("clock", "1").tool(clock()).start().unwrap_err();
    assert!(error.to_string().contains("ui://clock/face"), "{error}");
    let elsewhere = UiTool::new().resource_uri("https://example.com/");
    let tool = tool_fn("time", || async { "noon" }).ui(&elsewhere);
    let error = Server::new("clock", "1").tool(tool).start().unwrap_err();
    assert!(error.to_string().contains("ui://"), "{error}");
    let any = template_fn("ui://clock/{face}", "faces", || async {
        "<!doctype html><p>12"
    });
    assert!(
        Server::new("clock", "1")
            .tool(clock())
            .resource(any)
            .start()
            .is_ok()
    );
}
