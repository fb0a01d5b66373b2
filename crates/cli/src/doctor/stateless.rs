//! The questions that are put to a server of 2026-07-28, which has no sessions: each stands by itself.
//!
//! A server that does not know `server/discover` is of the other era, which is no fault.

use compere::serde_json::{self, Value, json};

use crate::doctor::report::Level;
use crate::doctor::talk::{Answer, Talk};

pub(super) const VERSION: &str = "2026-07-28";
const INVALID_PARAMS: i64 = -32602;
const METHOD_NOT_FOUND: i64 = -32601;
const UNSUPPORTED_VERSION: i64 = -32022;
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const INFO_KEY: &str = "io.modelcontextprotocol/clientInfo";
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// Params with their envelope.
fn enveloped(mut params: Value) -> Value {
    params["_meta"] = json!({
        VERSION_KEY: VERSION,
        CAPABILITIES_KEY: {},
        INFO_KEY: {"name": "compere-doctor", "version": env!("CARGO_PKG_VERSION")},
    });
    params
}

/// Puts all questions. The name and version of the server, if it is of this era.
pub(super) async fn examine(talk: &mut Talk<'_>) -> Option<String> {
    // A server of the other era may say anything to this, fall silent, or go.
    let found = talk.try_ask("server/discover", enveloped(json!({}))).await;
    let result = found.result()?.clone();
    // Nothing of a handshake is expected here.
    talk.initialized = true;
    let versions = result["supportedVersions"].as_array().cloned();
    let speaks = versions.is_some_and(|all| all.contains(&json!(VERSION)));
    let what = "answers a request of 2026-07-28 and does not list that among its versions";
    let report = &mut *talk.report;
    report.check(speaks, Level::Must, "E-083", what, found.line());
    let info = &result["_meta"][SERVER_KEY];
    let (name, number) = (info["name"].as_str(), info["version"].as_str());
    let server = format!("{} {}", name.unwrap_or("?"), number.unwrap_or("?"));
    result_is_whole(talk, "server/discover", &found, true);
    let capabilities = &result["capabilities"];
    for (feature, method, member, requirement) in [
        ("tools", "tools/list", "tools", "E-327"),
        ("prompts", "prompts/list", "prompts", "E-284"),
        ("resources", "resources/list", "resources", "E-301"),
        (
            "resources",
            "resources/templates/list",
            "resourceTemplates",
            "E-301",
        ),
    ] {
        let answer = talk.ask(method, enveloped(json!({}))).await;
        let declared = capabilities[feature].is_object();
        let Some(page) = answer.result() else {
            let what = format!("declares {feature} and does not answer {method}");
            let report = &mut *talk.report;
            report.check(!declared, Level::Must, requirement, what, answer.line());
            continue;
        };
        let what = format!("answers {method} and does not declare {feature}");
        let first = page[member].clone();
        let report = &mut *talk.report;
        report.check(declared, Level::Must, requirement, what, answer.line());
        result_is_whole(talk, method, &answer, true);
        let again = talk.ask(method, enveloped(json!({}))).await;
        let second = again.result().map(|page| page[member].clone());
        if method == "tools/list" {
            let what = "lists its tools in another order when it is asked again";
            let same = second == Some(first);
            talk.report
                .check(same, Level::Should, "E-333", what, again.line());
        }
        let odd = enveloped(json!({"cursor": "no cursor of yours"}));
        let odd = talk.ask(method, odd).await;
        let what = format!("answers an invalid cursor of {method} with something else than -32602");
        let right = odd.code() == Some(INVALID_PARAMS);
        talk.report
            .check(right, Level::Should, "E-437", what, odd.line());
    }
    if capabilities["resources"].is_object() {
        let made_up = enveloped(json!({"uri": "compere-doctor://made/this/up"}));
        let answer = talk.ask("resources/read", made_up).await;
        let what = "does not refuse an unknown resource with -32602";
        let right = answer.code() == Some(INVALID_PARAMS);
        (talk.report).check(right, Level::Must, "E-314", what, answer.line());
    }
    envelopes(talk).await;
    gone(talk).await;
    Some(server)
}

/// What every result has, and what those have that may be kept.
fn result_is_whole(talk: &mut Talk<'_>, method: &str, answer: &Answer, is_cacheable: bool) {
    let result = answer.result().cloned().unwrap_or_default();
    let report = &mut *talk.report;
    let what = format!("leaves resultType out of the result of {method}");
    let has_kind = result["resultType"].is_string();
    report.check(has_kind, Level::Must, "E-015", what, answer.line());
    let what = format!("does not say who it is in the result of {method}");
    let says = result["_meta"][SERVER_KEY]["name"].is_string();
    report.check(says, Level::Should, "E-070", what, answer.line());
    if is_cacheable {
        let what = format!("does not say how long the result of {method} may be kept, and by whom");
        let scope = result["cacheScope"].as_str();
        let hints = result["ttlMs"].is_u64() && matches!(scope, Some("public" | "private"));
        report.check(hints, Level::Must, "E-371", what, answer.line());
    }
}

/// Requests whose context is not whole, or not one that is served.
async fn envelopes(talk: &mut Talk<'_>) {
    for missing in [VERSION_KEY, CAPABILITIES_KEY] {
        let mut params = enveloped(json!({}));
        if let Some(meta) = params["_meta"].as_object_mut() {
            meta.remove(missing);
        }
        let answer = talk.ask("server/discover", params).await;
        let what = format!("answers a request without {missing} with something else than -32602");
        let right = answer.code() == Some(INVALID_PARAMS);
        talk.report
            .check(right, Level::Must, "E-064", what, answer.line());
    }
    let mut params = enveloped(json!({}));
    params["_meta"][VERSION_KEY] = json!("2999-01-01");
    let answer = talk.ask("server/discover", params).await;
    let message = serde_json::from_slice::<Value>(answer.line()).unwrap_or_default();
    let lists = message["error"]["data"]["supported"].is_array();
    let right = answer.code() == Some(UNSUPPORTED_VERSION) && lists;
    let what =
        "answers a version that nobody knows with something else than -32022 and its versions";
    talk.report
        .check(right, Level::Must, "E-081", what, answer.line());
}

/// What this revision has no more.
async fn gone(talk: &mut Talk<'_>) {
    for method in ["ping", "logging/setLevel", "no/such/method"] {
        let answer = talk.ask(method, enveloped(json!({}))).await;
        let what = format!("answers {method} with something else than -32601");
        let right = answer.code() == Some(METHOD_NOT_FOUND);
        talk.report
            .check(right, Level::Must, "E-149", what, answer.line());
    }
}
