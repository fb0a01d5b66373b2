//! Trace context: carried to the handler in every revision, in the forms of W3C and in no others.

use std::sync::{Arc, Mutex};

use compere::Revision;
use compere::client::Tapped;
use compere::model::TraceContext;
use compere::prelude::*;
use compere::transport::tap::Direction;
use compere_tests::doors::{doors, request};
use serde_json::{Value, json};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn traced(context: Context) -> String {
    match context.trace() {
        Some(trace) => format!(
            "{} {} {:?} {:?}",
            trace.trace_id(),
            trace.parent_id(),
            trace.state(),
            trace.carried()
        ),
        None => "no trace".to_owned(),
    }
}

fn server() -> Server {
    Server::new("traced", "1").tool(tool_fn("traced", traced))
}

// E-074
#[tokio::test]
async fn a_call_says_which_trace_it_belongs_to() {
    for revision in Revision::ALL {
        let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
        let sees = sent.clone();
        let target = Tapped::new(server(), move |direction, line: &[u8]| {
            let message: Value = serde_json::from_slice(line).unwrap();
            if direction == Direction::Sent && message["method"] == "tools/call" {
                sees.lock()
                    .unwrap()
                    .push(message["params"]["_meta"].clone());
            }
        });
        let client = Client::builder("test", "1")
            .revisions(&[revision])
            .connect(target)
            .await
            .unwrap();
        let trace = TraceContext::new(PARENT).unwrap();
        let trace = trace
            .tracestate("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
            .unwrap();
        let trace = trace.baggage("userId=alice;hidden,region=eu").unwrap();
        for hears in [false, true] {
            let call = client.call("traced", ()).trace(trace.clone());
            let call = match hears {
                true => call.on_progress(|_| {}),
                false => call,
            };
            let said = call.await.unwrap().joined_text();
            assert_eq!(
                said,
                "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 \
                 Some(\"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE\") Some(\"userId=alice;hidden,region=eu\")"
            );
            let meta = sent.lock().unwrap().pop().unwrap();
            assert_eq!(meta["traceparent"], PARENT, "{revision:?}");
            assert_eq!(meta.get("progressToken").is_some(), hears, "{meta}");
        }
        let said = client.call("traced", ()).await.unwrap().joined_text();
        assert_eq!(said, "no trace");
    }
}

// E-074
#[tokio::test]
async fn what_has_not_its_form_is_no_trace() {
    let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
    let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
    for parent in [
        "",
        "00",
        &PARENT.to_uppercase(),
        &PARENT.replacen("00", "ff", 1),
        &format!("{PARENT}-more"),
        &PARENT.replace("-01", "-1"),
        &zero_trace,
        &zero_span,
    ] {
        assert!(TraceContext::new(parent).is_err(), "{parent}");
    }
    // A version that is not known yet may say more.
    assert!(TraceContext::new(format!("{}-more", PARENT.replacen("00", "01", 1))).is_ok());
    let trace = || TraceContext::new(PARENT).unwrap();
    let many = vec!["a=1"; 33].join(",");
    for state in [
        "A=1",
        "a",
        "a=",
        "a=b=c",
        "a=ü",
        &many,
        &format!("a={}", "b".repeat(600)),
    ] {
        assert!(trace().tracestate(state).is_err(), "{state}");
    }
    for baggage in [
        "",
        "a",
        "=b",
        "a=1,",
        "a=\u{7f}",
        &format!("a={}", "b".repeat(9_000)),
    ] {
        assert!(trace().baggage(baggage).is_err(), "{baggage}");
    }
    // What others send so is left out, and is no reason to refuse the call.
    let server = server().start().unwrap();
    for mut door in doors(&server) {
        for (meta, expected) in [
            (json!({"traceparent": "00-1-2-3"}), "no trace"),
            (json!({"traceparent": 7}), "no trace"),
            (json!({"tracestate": "a=1"}), "no trace"),
            (
                json!({"traceparent": PARENT, "tracestate": "A=1", "baggage": "none"}),
                "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 None None",
            ),
        ] {
            let params = json!({"name": "traced", "arguments": {}, "_meta": meta});
            let said = door.say(&request(1, "tools/call", params, json!({}))).await;
            assert_eq!(said.text(), expected);
        }
    }
}
