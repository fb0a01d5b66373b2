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

#[derive(compere::serde::Deserialize, compere::schemars::JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Turn {
    degrees: f64,
}

#[derive(Clone)]
struct Ship(std::sync::Arc<std::sync::Mutex<f64>>);

async fn turn(
    Args(Turn { degrees }): Args<Turn>,
    State(ship): State<Ship>,
    context: Context,
) -> Result<Value, ToolError> {
    if degrees > 360.0 {
        return Err(ToolError::new("that is more than all the way round"));
    }
    let mut heading = ship.0.lock().unwrap();
    *heading += degrees;
    Ok(json!({"heading": *heading, "by": context.client_info().map(|info| info.name.clone())}))
}

fn ship() -> Server {
    Server::new("ship", "1")
        .extension(OURS, json!({}))
        .state(Ship(std::sync::Arc::default()))
        .method("com.example/turn", turn)
        .method("com.example/number", || async { Ok(7) })
}

#[tokio::test]
async fn a_method_of_ones_own_is_answered_in_every_revision() {
    let server = ship().start().unwrap();
    let mut heading = 0.0;
    for revision in Revision::ALL {
        let client = Client::builder("helm", "1").revisions(&[revision]);
        let client = client.connect(server.clone()).await.unwrap();
        let turned: Value = client
            .request_method("com.example/turn", json!({"degrees": 30}))
            .await
            .unwrap();
        heading += 30.0;
        assert_eq!(turned["heading"], heading, "{revision:?}");
        assert_eq!(turned["by"], "helm");
        // What is wrong is said as of any request.
        for (method, params, code) in [
            ("com.example/turn", json!({"degrees": "north"}), -32602),
            ("com.example/turn", json!({"degrees": 400}), -32603),
            ("com.example/number", json!({}), -32603),
            ("com.example/dive", json!({}), -32601),
        ] {
            let failed = client.request_method::<Value>(method, params).await;
            let failed = failed.unwrap_err();
            assert_eq!(failed.refusal().unwrap().code, code, "{method} {failed}");
        }
        for (method, params) in [
            ("tools/list", json!({})),
            ("", json!({})),
            ("com.example/\"", json!({})),
            ("com.example/turn", json!([30])),
        ] {
            let failed = client.request_method::<Value>(method, params).await;
            assert!(failed.unwrap_err().refusal().is_none(), "{method}");
        }
    }
}

#[tokio::test]
async fn a_method_of_ones_own_comes_through_every_door() {
    let server = ship().start().unwrap();
    for mut door in doors(&server) {
        let said = door
            .say_anything(&request(
                1,
                "com.example/turn",
                json!({"degrees": 1}),
                json!({}),
            ))
            .await;
        assert_eq!(said.answer["result"]["resultType"], "complete", "{said:?}");
        let said = door
            .say_anything(&request(2, "com.example/dive", json!({}), json!({})))
            .await;
        assert_eq!((said.code(), said.status % 404), (-32601, 0), "{said:?}");
    }
    // Over HTTP by our own client, with its headers, and behind a handshake.
    let listener = server
        .listen_http("127.0.0.1:0", compere::server::http::HttpOptions::new())
        .await
        .unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(listener.serve_until(std::future::pending()));
    for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
        let client = Client::builder("helm", "1").revisions(&[revision]);
        let client = client.connect(url.as_str()).await.unwrap();
        let turned: Value = client
            .request_method("com.example/turn", json!({"degrees": 1}))
            .await
            .unwrap();
        assert!(turned["heading"].is_number());
    }
}

#[tokio::test]
async fn the_protocols_own_names_are_taken() {
    let method = |name: &'static str| {
        let server = Server::new("odd", "1").method(name, || async { Ok(json!({})) });
        server.start().unwrap_err().to_string()
    };
    for name in [
        "tools/list",
        "notifications/mine",
        "rpc.mine",
        "",
        "a b",
        "a\"b",
    ] {
        assert!(method(name).contains(&format!("{name:?}")), "{name}");
    }
    let twice = Server::new("odd", "1")
        .method("com.example/a", || async { Ok(json!({})) })
        .method("com.example/a", || async { Ok(json!({})) });
    assert!(twice.start().unwrap_err().to_string().contains("twice"));
    let stateless = Server::new("odd", "1").method("com.example/turn", turn);
    assert!(
        stateless
            .start()
            .unwrap_err()
            .to_string()
            .contains("State<")
    );
}
