//! Rounds of input: what a handler asks a stateless client is the answer to its request, and the handler
//! runs again with what the client brings. The same body runs live on a session.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::model::{
    CreateMessageParams, CreateMessageResult, ElicitAction, ElicitParams, ElicitResult, RawJson,
    Role, Root, SamplingMessage,
};
use compere::prelude::*;
use compere::server::http::HttpOptions;
use compere::server::http::bearer::Principal;
use compere::server::seal::StateKey;
use compere::{Limits, RawArgs, Revision, ServerHandle};
use compere_tests::doors::{self, Door, Said, doors, request};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Counts effects by name.
#[derive(Clone, Default)]
struct Effects(Arc<Mutex<std::collections::BTreeMap<String, usize>>>);

impl Effects {
    fn happen(&self, name: &str) {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += 1;
    }

    fn of(&self, name: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .get(name)
            .copied()
            .unwrap_or_default()
    }
}

fn name_form() -> ElicitParams {
    let form =
        json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    ElicitParams::new("Who are you?").requested_schema(form)
}

fn name_in(answer: &ElicitResult) -> String {
    let content = answer.content.as_ref();
    let name = content.and_then(|content| content.get("name"));
    name.and_then(|name| name.decode().ok())
        .unwrap_or_else(|| "nobody".to_owned())
}

async fn hello(context: Context) -> Result<String, ToolError> {
    let answer = context.elicit("who", name_form()).await?;
    Ok(match answer.action {
        ElicitAction::Accept => format!("Hello, {}!", name_in(&answer)),
        _ => "Hello anyway".to_owned(),
    })
}

async fn transfer(context: Context, State(effects): State<Effects>) -> Result<String, ToolError> {
    effects.happen("run");
    let number: u32 = context
        .once("reserve", async {
            effects.happen("reserve");
            7
        })
        .await?;
    context.elicit("first", name_form()).await?;
    context
        .once("second", async { effects.happen("second") })
        .await?;
    context.elicit("last", name_form()).await?;
    effects.happen("after");
    Ok(format!("transfer {number}"))
}

async fn all_at_once(context: Context) -> Result<String, ToolError> {
    let question = CreateMessageParams::new(vec![SamplingMessage::user("Greet.")], 10_u64);
    let (who, greeting, roots) = tokio::try_join!(
        context.elicit("who", name_form()),
        context.sample("greeting", question),
        context.roots("roots"),
    )?;
    let (greeting, who) = (greeting.content.text(), name_in(&who));
    Ok(format!("{greeting}, {who} of {}", roots[0].uri))
}

async fn fickle(context: Context, State(effects): State<Effects>) -> Result<String, ToolError> {
    effects.happen("fickle");
    let mut other = name_form();
    other.message = format!("Question {}", effects.of("fickle"));
    match context.elicit("it", other).await {
        Ok(_) => Ok("answered".to_owned()),
        Err(error) => Err(ToolError::new(error.to_string())),
    }
}

async fn endless(context: Context) -> Result<String, ToolError> {
    for round in 0.. {
        context
            .elicit(&format!("round {round}"), name_form())
            .await?;
    }
    Ok(String::new())
}

/// An effect goes on while a question waits: it is not cut off for it.
async fn busy(context: Context, State(effects): State<Effects>) -> Result<String, ToolError> {
    let working = context.once("work", async {
        effects.happen("begun");
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        effects.happen("done");
    });
    let (_, answer) = tokio::try_join!(working, context.elicit("who", name_form()))?;
    Ok(name_in(&answer))
}

fn server(effects: &Effects, limits: Limits) -> Server {
    Server::new("rounds", "1.0.0")
        .limits(limits)
        .state(effects.clone())
        .tool(tool_fn("hello", |context: Context, _: RawArgs| {
            hello(context)
        }))
        .tool(tool_fn("other", |context: Context, _: RawArgs| {
            hello(context)
        }))
        .tool(tool_fn("once_only", transfer).single_use())
        .tool(tool_fn("transfer", transfer))
        .tool(tool_fn("all_at_once", all_at_once))
        .tool(tool_fn("fickle", fickle))
        .tool(tool_fn("endless", endless))
        .tool(tool_fn("busy", busy))
        .prompt(prompt_fn("greeting", |context: Context| async move {
            hello(context).await
        }))
        .resource(resource_fn(
            "hello://you",
            "you",
            |context: Context| async move { hello(context).await },
        ))
}

fn started(effects: &Effects) -> ServerHandle {
    server(effects, Limits::default()).start().unwrap()
}

fn can_all() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}

fn call(id: u32, name: &str, more: &Value) -> Value {
    let mut params = json!({"name": name});
    for (key, value) in more.as_object().into_iter().flatten() {
        params[key] = value.clone();
    }
    request(id, "tools/call", params, can_all())
}

fn asks(said: &Said) -> Vec<String> {
    assert_eq!(
        said.answer["result"]["resultType"], "input_required",
        "{said:?}"
    );
    let questions = said.answer["result"]["inputRequests"].as_object().unwrap();
    questions.keys().cloned().collect()
}

fn state(said: &Said) -> &Value {
    let state = &said.answer["result"]["requestState"];
    assert!(state.is_string(), "{said:?}");
    state
}

fn named(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

// E-447
// E-203 E-206 E-209 E-210 E-220 E-223 E-230 E-232 E-233 E-485
#[tokio::test(start_paused = true)]
async fn a_question_is_the_answer_and_the_answer_comes_with_the_retry() {
    for mut door in doors(&started(&Effects::default())) {
        let first = door.say(&call(1, "hello", &json!({}))).await;
        assert_eq!(asks(&first), ["who"]);
        let state = state(&first);
        let question = &first.answer["result"]["inputRequests"]["who"];
        assert_eq!(question["method"], "elicitation/create");
        assert_eq!(question["params"]["message"], "Who are you?");
        // What is no answer to what was asked is asked for again.
        for (id, wrong) in (2..).zip([
            json!({}),
            json!({"somebody": named("Ada")}),
            json!({"who": 12_345}),
            json!({"who": {"action": "accept", "content": {"name": 5}}}),
            json!({"who": {"action": "accept"}}),
            json!({"who": {"action": "shrug"}}),
            Value::Null,
        ]) {
            let again = json!({"inputResponses": wrong, "requestState": state});
            let said = door.say(&call(id, "hello", &again)).await;
            assert_eq!(asks(&said), ["who"], "{wrong}");
        }
        let more = json!({"who": named("Ada"), "unasked": {"action": "decline"}});
        let right = json!({"inputResponses": more, "requestState": state});
        let said = door.say(&call(20, "hello", &right)).await;
        assert_eq!(said.answer["result"]["resultType"], "complete");
        assert_eq!(said.text(), "Hello, Ada!");
        let declined =
            json!({"inputResponses": {"who": {"action": "decline"}}, "requestState": state});
        let said = door.say(&call(21, "hello", &declined)).await;
        assert_eq!(said.text(), "Hello anyway");
    }
}

// E-208 E-211 E-290 E-308
#[tokio::test(start_paused = true)]
async fn prompts_and_resources_ask_too() {
    for mut door in doors(&started(&Effects::default())) {
        for (method, params) in [
            ("prompts/get", json!({"name": "greeting"})),
            ("resources/read", json!({"uri": "hello://you"})),
        ] {
            let first = door
                .say(&request(1, method, params.clone(), can_all()))
                .await;
            assert_eq!(asks(&first), ["who"]);
            let mut again = params;
            again["requestState"] = state(&first).clone();
            again["inputResponses"] = json!({"who": named("Ada")});
            let said = door.say(&request(2, method, again, can_all())).await;
            let text = said.answer["result"].to_string();
            assert!(text.contains("Hello, Ada!"), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_are_asked_at_once() {
    for mut door in doors(&started(&Effects::default())) {
        let first = door.say(&call(1, "all_at_once", &json!({}))).await;
        assert_eq!(asks(&first), ["greeting", "roots", "who"]);
        // What was answered is remembered, and only the rest is asked again.
        let some = json!({"who": named("Ada")});
        let second = json!({"inputResponses": some, "requestState": state(&first)});
        let second = door.say(&call(2, "all_at_once", &second)).await;
        assert_eq!(asks(&second), ["greeting", "roots"]);
        let rest = json!({
            "greeting": {"role": "assistant", "content": {"type": "text", "text": "Good day"}, "model": "m"},
            "roots": {"roots": [{"uri": "file:///home/ada"}]},
        });
        let third = json!({"inputResponses": rest, "requestState": state(&second)});
        let third = door.say(&call(3, "all_at_once", &third)).await;
        assert_eq!(third.text(), "Good day, Ada of file:///home/ada");
    }
}

#[tokio::test(start_paused = true)]
async fn effects_before_a_question_happen_once() {
    let effects = Effects::default();
    let handle = started(&effects);
    for (round, mut door) in (1..).zip(doors(&handle)) {
        let mut brought = json!({});
        let mut texts = Vec::new();
        for (id, key) in (1..).zip(["first", "last", ""]) {
            let said = door.say(&call(id, "transfer", &brought)).await;
            if key.is_empty() {
                texts.push(said.text().to_owned());
                break;
            }
            assert_eq!(asks(&said), [key]);
            brought = json!({"inputResponses": {key: named("Ada")}, "requestState": state(&said)});
        }
        assert_eq!(texts, ["transfer 7"]);
        for once in ["reserve", "second", "after"] {
            assert_eq!(effects.of(once), round, "{once}");
        }
        assert_eq!(effects.of("run"), round * 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_is_not_cut_off_by_a_question() {
    let effects = Effects::default();
    let handle = started(&effects);
    for (round, mut door) in (1..).zip(doors(&handle)) {
        let first = door.say(&call(1, "busy", &json!({}))).await;
        assert_eq!(asks(&first), ["who"]);
        let again = json!({"inputResponses": {"who": named("Ada")}, "requestState": state(&first)});
        assert_eq!(door.say(&call(2, "busy", &again)).await.text(), "Ada");
        assert_eq!((effects.of("begun"), effects.of("done")), (round, round));
    }
}

// E-213
// E-212 E-214 E-217 E-218 E-219 E-234
#[tokio::test(start_paused = true)]
async fn a_state_is_good_for_nothing_else() {
    let effects = Effects::default();
    for mut door in doors(&started(&effects)) {
        let arguments = json!({"arguments": {"b": [1, "x"], "a": {"d": 1, "c": null}}});
        let first = door.say(&call(1, "hello", &arguments)).await;
        let state = state(&first).as_str().unwrap().to_owned();
        let answers = json!({"who": named("Ada")});
        let with = |name: &str, arguments: &Value, state: Value| {
            let more = json!({"arguments": arguments["arguments"], "inputResponses": answers, "requestState": state});
            call(2, name, &more)
        };
        // Another order of members is the same request.
        let reordered: Value = serde_json::from_str(
            r#"{"arguments": {"a": {"c": null, "d": 1}, "b": [1, "\u0078"]}}"#,
        )
        .unwrap();
        let said = door.say(&with("hello", &reordered, json!(state))).await;
        assert_eq!(said.text(), "Hello, Ada!");
        let changed = json!({"arguments": {"b": [1, "y"], "a": {"d": 1, "c": null}}});
        let mut flipped = state.clone().into_bytes();
        let last = flipped.len() - 3;
        flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
        for wrong in [
            with("hello", &arguments, json!(format!("{state}-TAMPERED"))),
            with(
                "hello",
                &arguments,
                json!(String::from_utf8(flipped).unwrap()),
            ),
            with("hello", &arguments, json!("")),
            with("hello", &arguments, json!("not base64 at all")),
            with("hello", &arguments, json!(state[..20])),
            with("hello", &arguments, json!(7)),
            with("hello", &changed, json!(state)),
            with("other", &arguments, json!(state)),
        ] {
            let said = door.say(&wrong).await;
            assert_eq!(said.code(), -32602, "{wrong} got {said:?}");
        }
        let huge = door
            .say(&with("hello", &arguments, json!("A".repeat(70_000))))
            .await;
        assert_eq!(huge.code(), -31000);
    }
    let mut limits = Limits::default();
    limits.request_state_lifetime = Duration::ZERO;
    for mut door in doors(&server(&effects, limits).start().unwrap()) {
        let first = door.say(&call(1, "hello", &json!({}))).await;
        let late = json!({"requestState": state(&first), "inputResponses": {"who": named("Ada")}});
        let said = door.say(&call(2, "hello", &late)).await;
        assert_eq!(said.code(), -32602);
    }
}

// E-216 E-466
#[tokio::test(start_paused = true)]
async fn a_state_belongs_to_who_got_it() {
    let handle = started(&Effects::default());
    let options = HttpOptions::new().bearer(|token| Some(Principal::new(token.to_owned())));
    let mut service = handle.http(options).unwrap();
    let first = call(1, "hello", &json!({}));
    let ada = [("authorization", "Bearer ada")];
    let first = doors::posted(&mut service, &first, &ada).await;
    let again = json!({"requestState": state(&first), "inputResponses": {"who": named("Ada")}});
    let again = call(2, "hello", &again);
    let other = doors::posted(&mut service, &again, &[("authorization", "Bearer bob")]).await;
    assert_eq!(other.code(), -32602);
    let own = doors::posted(&mut service, &again, &ada).await;
    assert_eq!(own.text(), "Hello, Ada!");
}

// E-219
#[tokio::test(start_paused = true)]
async fn what_runs_once_only_takes_a_state_once() {
    let effects = Effects::default();
    for mut door in doors(&started(&effects)) {
        let first = door.say(&call(1, "once_only", &json!({}))).await;
        let second =
            json!({"requestState": state(&first), "inputResponses": {"first": named("Ada")}});
        let second = door.say(&call(2, "once_only", &second)).await;
        let third =
            json!({"requestState": state(&second), "inputResponses": {"last": named("Ada")}});
        assert_eq!(
            door.say(&call(3, "once_only", &third)).await.text(),
            "transfer 7"
        );
        let before = effects.of("after");
        let again = door.say(&call(4, "once_only", &third)).await;
        assert_eq!(again.code(), -32602, "{again:?}");
        assert_eq!(effects.of("after"), before);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_shared_and_replaced() {
    let with = |keys: &[u8]| {
        let keys = keys.iter().map(|key| StateKey::new([*key; 32]));
        let server = server(&Effects::default(), Limits::default()).state_keys(keys);
        Door::pipe(&server.start().unwrap())
    };
    let (mut old, mut both, mut new) = (with(&[1]), with(&[2, 1]), with(&[2]));
    let first = old.say(&call(1, "hello", &json!({}))).await;
    let again = json!({"requestState": state(&first), "inputResponses": {"who": named("Ada")}});
    let again = call(2, "hello", &again);
    assert_eq!(both.say(&again).await.text(), "Hello, Ada!");
    assert_eq!(new.say(&again).await.code(), -32602);
    // Without a key, each process has its own.
    let mut own = Door::pipe(&started(&Effects::default()));
    assert_eq!(own.say(&again).await.code(), -32602);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_asks_the_same() {
    let effects = Effects::default();
    for mut door in doors(&started(&effects)) {
        let first = door.say(&call(1, "fickle", &json!({}))).await;
        let again =
            json!({"requestState": state(&first), "inputResponses": {"it": {"action": "decline"}}});
        let said = door.say(&call(2, "fickle", &again)).await;
        assert_eq!(said.answer["result"]["isError"], true);
        assert!(said.text().contains("\"it\""), "{}", said.text());
    }
}

#[tokio::test(start_paused = true)]
async fn rounds_are_bounded() {
    for mut door in doors(&started(&Effects::default())) {
        let mut brought = json!({});
        let mut rounds = 0;
        let last = loop {
            let said = door.say(&call(rounds, "endless", &brought)).await;
            if said.answer.get("error").is_some() {
                break said;
            }
            let key = asks(&said).remove(0);
            brought = json!({"requestState": state(&said), "inputResponses": {key: named("Ada")}});
            rounds += 1;
        };
        assert_eq!((rounds, last.code()), (8, -31000), "{last:?}");
    }
}

// E-067 E-068 E-069 E-221 E-446
#[tokio::test(start_paused = true)]
async fn what_a_client_cannot_do_is_not_asked() {
    for mut door in doors(&started(&Effects::default())) {
        for (name, capabilities, missing) in [
            ("hello", json!({}), json!({"elicitation": {}})),
            ("hello", json!({"sampling": {}}), json!({"elicitation": {}})),
            (
                "hello",
                json!({"elicitation": {"url": {}}}),
                json!({"elicitation": {}}),
            ),
        ] {
            let asked = request(1, "tools/call", json!({"name": name}), capabilities);
            let said = door.say(&asked).await;
            assert_eq!(said.code(), -32021, "{said:?}");
            let data = &said.answer["error"]["data"];
            assert_eq!(data["requiredCapabilities"], missing);
            assert!(matches!(said.status, 0 | 400), "{said:?}");
        }
        // The next request stands by itself again.
        let said = door.say(&call(2, "hello", &json!({}))).await;
        assert_eq!(asks(&said), ["who"]);
    }
}

/// One step of a tool that the property test makes up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(crate = "compere::serde", rename_all = "snake_case")]
#[schemars(crate = "compere::schemars")]
enum Step {
    Effect,
    Once,
    Elicit,
    Sample,
    Roots,
    Both,
}

impl Step {
    fn asks(self) -> bool {
        !matches!(self, Self::Effect | Self::Once)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Script {
    steps: Vec<Step>,
}

async fn play(
    context: Context,
    State(effects): State<Effects>,
    Args(script): Args<Script>,
) -> Result<String, ToolError> {
    let mut heard = Vec::new();
    for (number, step) in script.steps.iter().enumerate() {
        let key = number.to_string();
        let sampled =
            || CreateMessageParams::new(vec![SamplingMessage::user(key.as_str())], 10_u64);
        match step {
            Step::Effect => effects.happen(&key),
            Step::Once => {
                let effect = async { effects.happen(&key) };
                context.once(&key, effect).await?;
            }
            Step::Elicit => heard.push(name_in(&context.elicit(&key, name_form()).await?)),
            Step::Sample => heard.push(context.sample(&key, sampled()).await?.content.text()),
            Step::Roots => heard.push(context.roots(&key).await?[0].uri.clone()),
            Step::Both => {
                let other = format!("{key} too");
                let (one, two) = tokio::try_join!(
                    context.elicit(&key, name_form()),
                    context.sample(&other, sampled())
                )?;
                heard.push(format!("{}+{}", name_in(&one), two.content.text()));
            }
        }
    }
    Ok(heard.join(" "))
}

/// How the person of the property test answers: some say yes, some no.
fn answer_to(number: usize) -> ElicitResult {
    if number.is_multiple_of(3) {
        return ElicitResult::new(ElicitAction::Decline);
    }
    let content = [("name".to_owned(), RawJson::from(json!("Ada")))];
    ElicitResult::new(ElicitAction::Accept).content(content)
}

fn played(effects: &Effects) -> Server {
    let mut limits = Limits::default();
    limits.input_rounds = 100;
    server(effects, limits).tool(tool_fn("play", play))
}

async fn live(steps: &[Step]) -> (String, Effects) {
    let effects = Effects::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let client = Client::builder("live", "1.0.0")
        .revisions(&[Revision::V2025_11_25])
        .roots(vec![Root::new("file:///home/ada")])
        .on_sample(|_| async { Ok(CreateMessageResult::new(Role::Assistant, "sampled", "m")) })
        .on_elicit(move |_| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            async move { Ok(answer_to(number)) }
        })
        .connect(played(&effects))
        .await
        .unwrap();
    let result = client.call("play", json!({"steps": steps})).await.unwrap();
    (result.joined_text(), effects)
}

async fn in_rounds(steps: &[Step]) -> (String, Effects, usize) {
    let effects = Effects::default();
    let mut door = Door::pipe(&played(&effects).start().unwrap());
    let mut brought = json!({});
    let (mut rounds, mut elicited) = (0_u32, 0);
    loop {
        brought["arguments"] = json!({"steps": steps});
        let said = door.say(&call(rounds, "play", &brought)).await;
        rounds += 1;
        if said.answer["result"]["resultType"] == "complete" {
            return (said.text().to_owned(), effects, rounds as usize);
        }
        let mut answers = json!({});
        let questions = said.answer["result"]["inputRequests"].as_object().unwrap();
        for (key, question) in questions {
            answers[key] = match question["method"].as_str() {
                Some("elicitation/create") => {
                    elicited += 1;
                    serde_json::to_value(answer_to(elicited - 1)).unwrap()
                }
                Some("sampling/createMessage") => {
                    json!({"role": "assistant", "content": {"type": "text", "text": "sampled"}, "model": "m"})
                }
                _ => json!({"roots": [{"uri": "file:///home/ada"}]}),
            };
        }
        brought = json!({"inputResponses": answers, "requestState": state(&said)});
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Effect),
        Just(Step::Once),
        Just(Step::Elicit),
        Just(Step::Sample),
        Just(Step::Roots),
        Just(Step::Both),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(compere_tests::count("COMPERE_DIALOGUES", 64)).unwrap_or(64),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The same tool comes to the same in both eras; what it does after its last question, or once,
    /// happens as often, and what it does before a question happens in each round.
    #[test]
    fn both_eras_come_to_the_same(steps in proptest::collection::vec(step(), 0..10)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (text, effects) = live(&steps).await;
            let (in_rounds_text, in_rounds_effects, rounds) = in_rounds(&steps).await;
            assert_eq!(text, in_rounds_text);
            let questions = steps.iter().filter(|step| step.asks()).count();
            assert_eq!(rounds, questions + 1);
            for (number, step) in steps.iter().enumerate() {
                let key = number.to_string();
                let asked_before = steps[..number].iter().filter(|step| step.asks()).count();
                let expected = match step {
                    // It runs in each round that gets so far.
                    Step::Effect => rounds - asked_before,
                    Step::Once => 1,
                    _ => 0,
                };
                assert_eq!(effects.of(&key), usize::from(!step.asks()), "{steps:?} {key}");
                assert_eq!(in_rounds_effects.of(&key), expected, "{steps:?} {key}");
            }
        });
    }
}
