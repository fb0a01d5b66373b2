//! Policy: which rule decides, what cannot be judged, and that no order of rules ever lets pass what
//! one of them denies.

use compere_host::policy::{
    Because, Claims, Condition, Effect, Origin, Pattern, Question, Reads, Rule, Subject, decide,
    rules,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn question(arguments: &Value) -> Question<'_> {
    Question {
        app: "editor",
        server: "files",
        subject: Subject::Tool,
        name: "write_file",
        arguments,
        claims: Claims::default(),
        reads: Reads::Unknown,
        now: 1_000,
    }
}

fn read(policy: Value) -> Vec<Rule> {
    rules(&policy).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn effect(policy: Value, question: &Question<'_>) -> Effect {
    decide(&read(policy), question).effect
}

#[test]
fn without_rules_what_is_known_to_read_is_allowed() {
    let none = Value::Null;
    let mut asked = question(&none);
    assert_eq!(decide(&[], &asked).effect, Effect::Ask);
    assert_eq!(decide(&[], &asked).because, Because::Unknown);
    // The word of the server is none.
    asked.claims.read_only = Some(true);
    assert_eq!(decide(&[], &asked).effect, Effect::Ask);
    for reads in [Reads::OwnServer, Reads::Confined, Reads::Marked] {
        asked.reads = reads;
        let verdict = decide(&[], &asked);
        assert_eq!(
            (verdict.effect, verdict.because),
            (Effect::Allow, Because::OnlyReads(reads))
        );
    }
}

#[test]
fn deny_wins_and_then_the_first() {
    let none = Value::Null;
    let asked = question(&none);
    let (allow, ask, deny) = (
        json!({"allow": "tool"}),
        json!({"ask": "*"}),
        json!({"deny": "tool"}),
    );
    assert_eq!(effect(json!([allow, ask]), &asked), Effect::Allow);
    assert_eq!(effect(json!([ask, allow]), &asked), Effect::Ask);
    for place in 0..3 {
        let mut policy = vec![allow.clone(), ask.clone()];
        policy.insert(place, deny.clone());
        let policy = read(json!(policy));
        let verdict = decide(&policy, &asked);
        assert_eq!(verdict.effect, Effect::Deny);
        assert!(matches!(verdict.because, Because::Rule(at, _) if at == place));
        assert_eq!(
            verdict.because.to_string(),
            format!("rule {}: deny tool", place + 1)
        );
    }
}

#[test]
fn rules_are_about_what_they_name() {
    let none = Value::Null;
    for (rule, fits) in [
        (json!({"deny": "*"}), true),
        (json!({"deny": "tool"}), true),
        (json!({"deny": ["prompt", "tool"]}), true),
        (json!({"deny": "resource"}), false),
        (json!({"deny": "*", "app": "editor"}), true),
        (json!({"deny": "*", "app": "Editor"}), false),
        (json!({"deny": "*", "app": "edit"}), false),
        (json!({"deny": "*", "app": "edit*"}), true),
        (
            json!({"deny": "*", "server": "files", "name": "write_*"}),
            true,
        ),
        (json!({"deny": "*", "name": "*_file"}), true),
        (json!({"deny": "*", "name": "w*t*_*e"}), true),
        (json!({"deny": "*", "name": "w*x*"}), false),
        (json!({"deny": "*", "expires": 1_001}), true),
        (json!({"deny": "*", "expires": 1_000}), false),
    ] {
        let expected = if fits { Effect::Deny } else { Effect::Ask };
        assert_eq!(
            effect(json!([rule.clone()]), &question(&none)),
            expected,
            "{rule}"
        );
    }
}

#[test]
fn conditions_see_the_arguments_and_nothing_opens_that_cannot_be_judged() {
    let arguments =
        json!({"path": "/tmp/a", "bytes": 12, "tags": ["x", "y"], "deep": {"er": null}});
    for (condition, holds) in [
        ("arguments.path.startsWith('/tmp/')", Some(true)),
        ("arguments.path.startsWith('/etc/')", Some(false)),
        ("arguments.bytes > 10 && arguments.bytes < 100", Some(true)),
        ("arguments.bytes == 12", Some(true)),
        ("'x' in arguments.tags", Some(true)),
        ("arguments.tags.all(tag, tag != 'z')", Some(true)),
        ("size(arguments.tags) == 2", Some(true)),
        ("arguments.deep.er == null", Some(true)),
        ("has(arguments.gone)", Some(false)),
        ("arguments.path.matches('^/tmp/[a-z]+$')", Some(true)),
        (
            "app == 'editor' && server == 'files' && name == 'write_file'",
            Some(true),
        ),
        ("arguments.gone == 1", None),
        ("arguments.path", None),
        ("arguments.bytes / 0 == 1", None),
        ("claims.readOnly", None),
    ] {
        for said in [Effect::Allow, Effect::Ask, Effect::Deny] {
            let policy = json!([{(said.as_str()): "tool", "when": condition}]);
            let verdict = effect(policy, &question(&arguments));
            let fits = holds.unwrap_or(said != Effect::Allow);
            let expected = if fits { said } else { Effect::Ask };
            assert_eq!(verdict, expected, "{said:?} when {condition}");
        }
    }
    // More arguments than are judged: an allowance does not fit, a refusal does.
    let many = json!({"list": vec![1; 20_000]});
    let policy = |said: &str| json!([{said: "tool", "when": "true"}]);
    assert_eq!(effect(policy("allow"), &question(&many)), Effect::Ask);
    assert_eq!(effect(policy("deny"), &question(&many)), Effect::Deny);
}

#[test]
fn what_a_server_says_counts_only_where_a_rule_takes_its_word() {
    let none = Value::Null;
    let policy = json!([{"allow": "tool", "when": "claims.readOnly"}]);
    let mut asked = question(&none);
    assert_eq!(effect(policy.clone(), &asked), Effect::Ask);
    asked.claims.read_only = Some(true);
    assert_eq!(effect(policy.clone(), &asked), Effect::Allow);
    asked.claims.read_only = Some(false);
    assert_eq!(effect(policy, &asked), Effect::Ask);
}

#[test]
fn conditions_that_cannot_be_read_are_said_at_once() {
    let deep = "(".repeat(1_000);
    let long = "a".repeat(5_000);
    for (text, why) in [
        ("", ""),
        ("arguments.", ""),
        ("1 +", ""),
        ("environment.HOME == 'x'", "speaks of environment"),
        (&deep, "brackets"),
        (&long, "characters"),
    ] {
        let error = Condition::new(text).unwrap_err();
        assert!(error.contains(why), "{text:.20}: {error}");
    }
    for (depth, is_read) in [(31, true), (32, true), (33, false)] {
        let brackets = format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(Condition::new(&brackets).is_ok(), is_read, "{depth}");
        let not = "!(".repeat(depth) + "true" + &")".repeat(depth);
        assert_eq!(Condition::new(&not).is_ok(), is_read, "{depth}");
    }
    for (length, is_read) in [(1_023, true), (1_024, true), (1_025, false)] {
        let text = format!("'{}' == ''", "x".repeat(length - 8));
        assert_eq!(Condition::new(&text).is_ok(), is_read, "{length}");
    }
}

/// Whatever is nested in whatever: it is refused or judged, and needs no more stack than there is.
#[test]
fn deep_conditions_take_no_stack() {
    let arguments = json!({"n": 1});
    for depth in [10, 30, 100, 250, 500, 1_000] {
        for text in [
            "!".repeat(depth) + "true",
            "-".repeat(depth) + "1 == 1",
            "1+".repeat(depth) + "1 > 0",
            "true&&".repeat(depth) + "true",
            "true?".repeat(depth) + "true" + &":true".repeat(depth),
            "true?true:".repeat(depth) + "true",
            "arguments".to_owned() + &".n".repeat(depth) + " == 1",
            "arguments".to_owned() + &"[0]".repeat(depth) + " == 1",
            "[".repeat(depth) + &"]".repeat(depth) + " == []",
            "size(".repeat(depth) + "''" + &")".repeat(depth) + " == 0",
        ] {
            if let Ok(condition) = Condition::new(&text) {
                let mut rule = Rule::new(Effect::Deny);
                rule.when = Some(condition);
                decide(&[rule], &question(&arguments));
            }
        }
    }
}

#[test]
fn one_wrong_rule_is_said_and_none_is_taken() {
    for (rule, why) in [
        (json!([]), "no object"),
        (json!({}), "one of `allow`, `ask` and `deny`"),
        (json!({"allow": "tool", "deny": "tool"}), "one of"),
        (json!({"allow": "tols"}), "it is about"),
        (json!({"allow": []}), "it is about"),
        (
            json!({"allow": "tool", "sever": "x"}),
            "`sever` is not known",
        ),
        (json!({"allow": "tool", "server": ""}), "`server` is a name"),
        (json!({"allow": "tool", "server": 1}), "`server` is a name"),
        (json!({"allow": "tool", "when": "1 +"}), "`when`"),
        (
            json!({"allow": "tool", "expires": "soon"}),
            "`expires` is a time",
        ),
        (
            json!({"allow": "tool", "learned": {"who": "ada"}}),
            "`learned.at`",
        ),
        (
            json!({"allow": "tool", "learned": {"at": 1}}),
            "`learned.who`",
        ),
    ] {
        let faults = rules(&json!([{"deny": "*"}, rule.clone()])).unwrap_err();
        assert_eq!(faults.len(), 1, "{rule}");
        assert_eq!(faults[0].place, 1);
        assert!(faults[0].to_string().contains(why), "{rule}: {}", faults[0]);
    }
    assert!(rules(&json!({})).is_err());
}

#[test]
fn a_learned_rule_says_so() {
    let policy = json!([{
        "allow": ["tool", "resource"], "app": "editor", "server": "docs", "name": "read_*",
        "when": "arguments.n < 3", "learned": {"who": "ada", "at": 5}, "expires": 9,
    }]);
    let rule = &read(policy)[0];
    let origin = Origin::Learned {
        who: "ada".to_owned(),
        at: 5,
    };
    assert_eq!(rule.origin, origin);
    assert_eq!(
        rule.to_string(),
        "allow tool, resource named read_* of docs for editor when arguments.n < 3 (as ada answered)"
    );
}

/// The rule of a pattern, said the slow way.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((first, rest)) => name.first() == Some(first) && matches(rest, &name[1..]),
    }
}

fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![Just(Effect::Allow), Just(Effect::Ask), Just(Effect::Deny)]
}

prop_compose! {
    fn any_rule()(
        effect in effects(),
        subjects in proptest::sample::subsequence(Subject::ALL.to_vec(), 0..3),
        app in "[ab*]{1,2}",
        server in "[ab*]{1,2}",
        name in "[ab*]{1,3}",
        when in proptest::option::of(prop_oneof![
            Just("arguments.n > 1"), Just("arguments.gone"), Just("claims.readOnly"),
        ]),
        expires in proptest::option::of(0_u64..4),
    ) -> Rule {
        let mut rule = Rule::new(effect);
        rule.subjects = subjects;
        rule.app = Pattern::new(app);
        rule.server = Pattern::new(server);
        rule.name = Pattern::new(name);
        rule.when = when.map(|when| Condition::new(when).unwrap());
        rule.expires = expires;
        rule
    }
}

proptest! {
    #[test]
    fn patterns_are_what_they_say(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
        let fits = Pattern::new(pattern.clone()).fits(&name);
        prop_assert_eq!(fits, matches(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn no_order_of_rules_lets_pass_what_one_denies(
        policy in proptest::collection::vec(any_rule(), 0..8),
        app in "[ab]{1,2}", server in "[ab]{1,2}", name in "[ab]{1,3}",
        subject in proptest::sample::select(Subject::ALL.to_vec()),
        n in 0..4, read_only in proptest::option::of(any::<bool>()),
        reads in proptest::sample::select(vec![Reads::Unknown, Reads::Confined]),
        now in 0_u64..4,
    ) {
        let arguments = json!({"n": n});
        let claims = Claims { read_only, ..Claims::default() };
        let asked = Question {
            app: &app, server: &server, subject, name: &name, arguments: &arguments, claims, reads, now,
        };
        let verdict = decide(&policy, &asked);
        let fitting: Vec<&Rule> = policy.iter().filter(|rule| rule.fits(&asked)).collect();
        let expected = if fitting.iter().any(|rule| rule.effect == Effect::Deny) {
            Effect::Deny
        } else if let Some(first) = fitting.first() {
            first.effect
        } else if reads == Reads::Unknown {
            Effect::Ask
        } else {
            Effect::Allow
        };
        prop_assert_eq!(verdict.effect, expected);
        // Whatever is allowed has a rule that says so and lives, or is known to read.
        if verdict.effect == Effect::Allow {
            let lives = match verdict.because {
                Because::Rule(_, rule) => rule.expires.is_none_or(|expires| now < expires),
                Because::OnlyReads(_) => reads != Reads::Unknown,
                Because::Unknown => false,
            };
            prop_assert!(lives);
        }
    }
}
