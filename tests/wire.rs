//! The words: scanning, framing, the model, projection, templates. By example and by property.

use std::collections::BTreeMap;

use compere_proto::content::Content;
use compere_proto::object::RawJson;
use compere_proto::resources::Resource;
use compere_proto::roots::Root;
use compere_proto::tools::{CallToolParams, CallToolResult, Tool};
use compere_proto::uri_template::{UriTemplate, Value as TemplateValue};
use compere_proto::wire::decode::decode;
use compere_proto::wire::line::{Frame, Lines};
use compere_proto::wire::project::Project;
use compere_proto::wire::scan::{Fault, Message, Scanner};
use compere_proto::{Limits, Method, Revision};
use proptest::prelude::*;
use serde_json::{Value, json};

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15..1e15_f64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..12)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_scanned_and_decodes_to_the_same(value in json_value()) {
        let text = value.to_string();
        let mut scanner = Scanner::new();
        let tape = scanner.check(&text, &Limits::default()).unwrap();
        let node = tape.root().unwrap();
        prop_assert_eq!(node.as_json(), &text);
        prop_assert_eq!(decode::<Value>(node).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
        let raw: RawJson = decode(node).unwrap();
        prop_assert_eq!(raw.get(), &text);
    }

    #[test]
    fn the_scanner_refuses_what_serde_json_refuses(text in "[\\[\\]{}:,\"0-9a-z\\\\ .eE+-]{0,24}") {
        let strict = Scanner::new().check(&text, &Limits::default());
        let lenient = serde_json::from_str::<Value>(&text);
        // We refuse more: duplicate keys, and numbers beyond every range are left to the decoder.
        if strict.is_ok() && !text.contains(['e', 'E']) {
            prop_assert!(lenient.is_ok(), "{text}");
        }
        if lenient.is_ok() && !matches!(strict, Err(Fault::DuplicateKey(_))) {
            prop_assert!(strict.is_ok(), "{text}: {strict:?}");
        }
    }

    #[test]
    fn bytes_never_panic_the_scanner(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Scanner::new().scan(&bytes, &Limits::default());
    }

    #[test]
    fn lines_come_out_as_they_went_in(
        lines in prop::collection::vec("[a-z]{1,40}", 0..20),
        cut in 1_usize..50,
    ) {
        let mut stream = lines.join("\n").into_bytes();
        stream.push(b'\n');
        let mut framer = Lines::new(&Limits::default());
        let mut found = Vec::new();
        for part in stream.chunks(cut) {
            framer.space()[..part.len()].copy_from_slice(part);
            framer.filled(part.len());
            while let Some(frame) = framer.next() {
                match frame {
                    Frame::Message(line) => found.push(String::from_utf8(line.to_vec()).unwrap()),
                    Frame::Oversize(_) => prop_assert!(false),
                }
            }
        }
        prop_assert_eq!(found, lines);
    }

    #[test]
    fn an_expanded_template_matches_and_gives_the_values_back(
        id in "[^\\x00]{1,20}",
        query in "[^\\x00]{0,20}",
    ) {
        let template = UriTemplate::parse("test://item/{id}/data{?q}").unwrap();
        let values = BTreeMap::from([
            ("id".to_owned(), TemplateValue::from(id.as_str())),
            ("q".to_owned(), TemplateValue::from(query.as_str())),
        ]);
        let uri = template.expand(&values);
        let found = template.matches(&uri).unwrap();
        prop_assert_eq!(&found["id"], &id);
        prop_assert_eq!(&found["q"], &query);
    }

    #[test]
    fn a_tool_survives_the_round_trip_with_members_that_nobody_knows(
        name in "[a-z]{1,10}",
        description in proptest::option::of(".{0,30}"),
        extra in json_value(),
    ) {
        let mut value = json!({"name": name, "inputSchema": {"type": "object"}, "x-own": extra});
        if let Some(description) = &description {
            value["description"] = json!(description);
        }
        let tool: Tool = serde_json::from_value(value.clone()).unwrap();
        prop_assert_eq!(serde_json::to_value(&tool).unwrap(), value);
    }
}

fn fault(bytes: &[u8], limits: &Limits) -> (Fault, Option<String>) {
    let malformed = Scanner::new().scan(bytes, limits).unwrap_err();
    (malformed.fault, malformed.id.map(|id| id.to_string()))
}

// A-BASE-14 A-BASE-04: codes are integers, each fault has its own.
#[test]
fn every_bound_of_the_scanner_bites_and_the_id_is_still_read() {
    let mut limits = Limits::default();
    limits.json_depth = 3;
    limits.json_nodes = 8;
    limits.json_keys = 4;
    limits.token_bytes = 4;
    limits.message_bytes = 100;
    let scan = |text: &str| Scanner::new().scan(text.as_bytes(), &limits).map(|_| ());
    // The envelope and the params are two levels.
    assert!(scan(r#"{"jsonrpc":"2.0","method":"m","params":{"a":[]}}"#).is_ok());
    let deep = br#"{"params":{"a":[[]]},"method":"m","id":5}"#;
    assert_eq!(
        fault(deep, &limits),
        (Fault::TooDeep(3), Some("5".to_owned()))
    );
    assert!(scan(r#"{"jsonrpc":"2.0","method":"m","params":{"a":[1,2,3]}}"#).is_ok());
    let nodes = br#"{"id":5,"jsonrpc":"2.0","method":"m","params":{"a":[1,2,3]}}"#;
    assert_eq!(fault(nodes, &limits).0, Fault::TooManyNodes(8));
    let keys = br#"{"jsonrpc":"2.0","id":1,"method":"m","x":1,"y":1}"#;
    assert_eq!(
        fault(keys, &limits),
        (Fault::TooManyKeys(4), Some("1".to_owned()))
    );
    assert!(scan(r#"{"jsonrpc":"2.0","id":"ab","method":"m"}"#).is_ok());
    let token = br#"{"jsonrpc":"2.0","id":"abc","method":"m"}"#;
    assert_eq!(fault(token, &limits).0, Fault::InvalidId);
    let large = format!(r#"{{"method":"m","x":"{}","id":7}}"#, "y".repeat(100));
    assert_eq!(
        fault(large.as_bytes(), &limits),
        (Fault::TooLarge(100), Some("7".to_owned()))
    );
    // Strings cannot fool the search for the id.
    let fooled = br#"{"a":"\"id\":9","b":{"id":8},"id":1,"c":[[[]]]}"#;
    assert_eq!(fault(fooled, &limits).1, Some("1".to_owned()));
}

#[test]
fn a_line_beyond_the_bound_is_skipped_and_the_next_one_is_read() {
    let mut limits = Limits::default();
    limits.message_bytes = 32 * 1024;
    let mut framer = Lines::new(&limits);
    let mut stream = Vec::new();
    let large = |bytes: usize| {
        format!(
            "{{\"method\":\"m\",\"id\":3,\"x\":\"{}\"}}\n",
            "y".repeat(bytes)
        )
    };
    stream.extend_from_slice(large(32 * 1024 - 30).as_bytes());
    stream.extend_from_slice(large(500_000).as_bytes());
    stream.extend_from_slice(b"{\"small\":1}\n");
    let mut frames = Vec::new();
    for part in stream.chunks(7000) {
        let mut rest = part;
        while !rest.is_empty() {
            let space = framer.space();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            framer.filled(count);
            rest = &rest[count..];
            while let Some(frame) = framer.next() {
                frames.push(match frame {
                    Frame::Message(line) => format!("line of {}", line.len()),
                    Frame::Oversize(malformed) => {
                        format!("too large, id {}", malformed.id.unwrap())
                    }
                });
            }
            assert!(framer.pending_bytes() <= limits.message_bytes + 256 * 1024);
        }
    }
    assert_eq!(frames, ["line of 32766", "too large, id 3", "line of 11"]);
}

#[test]
fn a_request_is_taken_apart_without_copies() {
    let text = r#" {"id" : 7 , "method":"tools/call","params":{"name":"e\u0063ho","arguments":{"message":"hi"}},"jsonrpc":"2.0"} "#;
    let mut scanner = Scanner::new();
    let message = scanner.scan(text.as_bytes(), &Limits::default()).unwrap();
    let Message::Request { id, method, params } = message else {
        panic!("{message:?}");
    };
    assert_eq!(id.as_json(), "7");
    assert_eq!(Method::from_name(&method.text()), Some(Method::ToolsCall));
    assert_eq!(params.get_str("name").unwrap(), "echo");
    assert_eq!(params.get("arguments"), Some(r#"{"message":"hi"}"#));
    let params: CallToolParams = params.decode().unwrap();
    assert_eq!(params.name, "echo");
}

#[test]
fn content_is_read_whatever_the_order_of_its_members() {
    let late = r#"{"text":"hi","x":1,"type":"text","annotations":{"priority":0.5}}"#;
    let content: Content = serde_json::from_str(late).unwrap();
    assert_eq!(content.as_text(), Some("hi"));
    let written = serde_json::to_value(&content).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(late).unwrap());
    let unknown = r#"{"a":[1,2],"type":"hologram","data":"x"}"#;
    let content: Content = serde_json::from_str(unknown).unwrap();
    let written = serde_json::to_value(&content).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(unknown).unwrap());
    assert!(serde_json::from_str::<Content>(r#"{"text":"no type"}"#).is_err());
}

#[test]
fn a_result_loses_shape_and_no_data_on_its_way_down() {
    let link = Resource::new("file:///a.txt", "a.txt").title("A");
    let result = CallToolResult::new()
        .content(vec![
            Content::audio("AAAA", "audio/wav"),
            Content::resource_link(link),
        ])
        .structured_content(json!(3));
    let shape = |revision| {
        let mut result = result.clone();
        result.project(revision);
        serde_json::to_value(&result).unwrap()
    };
    assert_eq!(shape(Revision::V2026_07_28)["structuredContent"], json!(3));
    assert_eq!(
        shape(Revision::V2025_11_25)["structuredContent"],
        json!({"result": 3})
    );
    assert_eq!(
        shape(Revision::V2025_06_18)["content"][1]["type"],
        "resource_link"
    );
    let march = shape(Revision::V2025_03_26);
    assert!(march.get("structuredContent").is_none());
    assert_eq!(march["content"][0]["type"], "audio");
    assert_eq!(march["content"][1]["text"], "Resource a.txt: file:///a.txt");
    let oldest = shape(Revision::V2024_11_05);
    assert_eq!(oldest["content"][0]["resource"]["blob"], "AAAA");
    assert_eq!(oldest["content"][0]["resource"]["mimeType"], "audio/wav");
}

#[test]
fn an_output_schema_of_a_plain_value_is_wrapped_for_older_revisions() {
    let mut tool = Tool::new("add", json!({"type": "object"}))
        .output_schema(json!({"type": "number", "$defs": {"x": {}}}))
        .title("Add");
    tool.project(Revision::V2025_06_18);
    let schema: Value = tool.output_schema.as_ref().unwrap().decode().unwrap();
    assert_eq!(
        schema,
        json!({"type": "object", "properties": {"result": {"type": "number"}}, "required": ["result"], "$defs": {"x": {}}})
    );
    tool.project(Revision::V2024_11_05);
    assert!(tool.output_schema.is_none() && tool.title.is_none());
}

// E-523 E-525
// A-ROOT-04 A-ROOT-08
#[test]
fn a_root_is_an_absolute_file_uri_that_does_not_climb() {
    for good in [
        "file:///",
        "file:///home/ada",
        "file://localhost/a",
        "file:///a/b..c",
    ] {
        assert!(Root::new(good).validate().is_ok(), "{good}");
    }
    for bad in [
        "https://example.com",
        "file:relative",
        "file://host/x",
        "/home",
        "file:///a/../b",
        "file:///a/%2e%2E/b",
        "file:///a%2f..%2fb",
        "file:///a/..",
        "file:///a%00b",
        "",
    ] {
        assert!(Root::new(bad).validate().is_err(), "{bad}");
    }
}

/// The examples of RFC 6570, section 3.2, by operator.
#[test]
fn templates_expand_as_the_standard_says() {
    let list =
        |items: &[&str]| TemplateValue::List(items.iter().map(|i| (*i).to_owned()).collect());
    let pairs = [("semi", ";"), ("dot", "."), ("comma", ",")];
    let values = BTreeMap::from([
        ("count".to_owned(), list(&["one", "two", "three"])),
        ("dom".to_owned(), list(&["example", "com"])),
        ("dub".to_owned(), "me/too".into()),
        ("hello".to_owned(), "Hello World!".into()),
        ("half".to_owned(), "50%".into()),
        ("var".to_owned(), "value".into()),
        ("who".to_owned(), "fred".into()),
        ("base".to_owned(), "http://example.com/home/".into()),
        ("path".to_owned(), "/foo/bar".into()),
        ("list".to_owned(), list(&["red", "green", "blue"])),
        (
            "keys".to_owned(),
            TemplateValue::Pairs(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()),
        ),
        ("v".to_owned(), "6".into()),
        ("x".to_owned(), "1024".into()),
        ("y".to_owned(), "768".into()),
        ("empty".to_owned(), "".into()),
        ("empty_keys".to_owned(), TemplateValue::Pairs(Vec::new())),
    ]);
    for (template, expected) in [
        ("{count}", "one,two,three"),
        ("{count*}", "one,two,three"),
        ("{/count}", "/one,two,three"),
        ("{/count*}", "/one/two/three"),
        ("{;count}", ";count=one,two,three"),
        ("{;count*}", ";count=one;count=two;count=three"),
        ("{?count}", "?count=one,two,three"),
        ("{?count*}", "?count=one&count=two&count=three"),
        ("{&count*}", "&count=one&count=two&count=three"),
        ("{var}", "value"),
        ("{hello}", "Hello%20World%21"),
        ("{half}", "50%25"),
        ("O{empty}X", "OX"),
        ("O{undef}X", "OX"),
        ("{x,y}", "1024,768"),
        ("{x,hello,y}", "1024,Hello%20World%21,768"),
        ("?{x,empty}", "?1024,"),
        ("?{x,undef}", "?1024"),
        ("{var:3}", "val"),
        ("{var:30}", "value"),
        ("{list}", "red,green,blue"),
        ("{keys}", "semi,%3B,dot,.,comma,%2C"),
        ("{keys*}", "semi=%3B,dot=.,comma=%2C"),
        ("{+var}", "value"),
        ("{+hello}", "Hello%20World!"),
        ("{+half}", "50%25"),
        ("{base}index", "http%3A%2F%2Fexample.com%2Fhome%2Findex"),
        ("{+base}index", "http://example.com/home/index"),
        ("{+path}/here", "/foo/bar/here"),
        ("{+path:6}/here", "/foo/b/here"),
        ("{+keys*}", "semi=;,dot=.,comma=,"),
        ("{#var}", "#value"),
        ("{#path,x}/here", "#/foo/bar,1024/here"),
        ("X{.var}", "X.value"),
        ("www{.dom*}", "www.example.com"),
        ("X{.keys*}", "X.semi=%3B.dot=..comma=%2C"),
        ("X{.empty_keys}", "X"),
        ("{/who}", "/fred"),
        ("{/var,empty}", "/value/"),
        ("{/var:1,var}", "/v/value"),
        ("{/list*}", "/red/green/blue"),
        ("{;who}", ";who=fred"),
        ("{;empty}", ";empty"),
        ("{;v,empty,who}", ";v=6;empty;who=fred"),
        ("{;keys*}", ";semi=%3B;dot=.;comma=%2C"),
        ("{?x,y,empty}", "?x=1024&y=768&empty="),
        ("{?keys*}", "?semi=%3B&dot=.&comma=%2C"),
        ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
    ] {
        let found = UriTemplate::parse(template).unwrap().expand(&values);
        assert_eq!(found, expected, "{template}");
    }
    for bad in [
        "{",
        "}",
        "{}",
        "{a b}",
        "{=x}",
        "{x:0}",
        "{x:99999}",
        "{x:+1}",
        "a{b",
    ] {
        assert!(UriTemplate::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn templates_match_without_going_back() {
    let matches = |template: &str, uri: &str| {
        let template = UriTemplate::parse(template).unwrap();
        template.check_matchable().unwrap();
        template.matches(uri).map(|values| {
            values
                .into_iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join("&")
        })
    };
    for (template, uri, expected) in [
        ("t://{id}", "t://a", Some("id=a")),
        ("t://{id}", "t://a/b", None),
        ("t://{id}", "u://a", None),
        ("t://{id}", "t://", Some("id=")),
        ("file://{+path}", "file:///a/b?c", Some("path=/a/b?c")),
        ("t://{+path}.md", "t://a.md/b.md", Some("path=a.md/b")),
        ("t://{a}-{b}", "t://x-y-z", Some("a=x&b=y-z")),
        ("t://x{/a,b}", "t://x/1/2", Some("a=1&b=2")),
        ("t://x{/a,b}", "t://x/1", Some("a=1")),
        ("t://x{/a,b}", "t://x", Some("")),
        ("t://x{/a}", "t://x/1/2", None),
        ("t://x{?q,r}", "t://x?r=1&q=%20", Some("q= &r=1")),
        ("t://x{?q}", "t://x?z=1", None),
        ("t://x{?q}", "t://x", Some("")),
        ("t://{id}{?q}", "t://a?q=1", Some("id=a&q=1")),
        ("t://{id}", "t://%ff", None),
    ] {
        assert_eq!(
            matches(template, uri).as_deref(),
            expected,
            "{template} {uri}"
        );
    }
    for cannot in ["{#x}", "{x,y}", "{x:3}", "{/x*}", "{?q}/x", "{x}{y}"] {
        assert!(
            UriTemplate::parse(cannot)
                .unwrap()
                .check_matchable()
                .is_err(),
            "{cannot}"
        );
    }
}
