//! Random histories of consent: people grant, take back and change their minds, rules and definitions
//! change, time passes, hosts are stopped and started. Whatever happens, nothing is let through without
//! a rule or a live grant that fits, as a plain model of the same says.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use compere_host::consent::{
    Answer, Asking, Consent, Covers, Grant, Judged, Lasts, Now, Outgoing, Ticket, Topic, Wanted,
};
use compere_host::policy::{Claims, Effect, Pattern, Reads, Rule, Subject};
use compere_tests::count;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// What can be asked for: small, so that histories meet themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct What {
    app: u8,
    session: u8,
    server: u8,
    tool: u8,
    argument: u8,
}

#[derive(Debug, Clone)]
enum Step {
    /// An app asks; what is not decided stays open.
    Call(What),
    /// It asks for the same again.
    Again,
    /// A person answers one of the open questions.
    Answer(usize, Said),
    /// Whoever waits for a question gives up.
    Leave(usize),
    /// A grant is taken back.
    Revoke(usize),
    /// The definition of a tool changes, and is approved again.
    Change(u8, u8),
    /// Time passes.
    Wait(u16),
    /// A session ends.
    End(u8),
    /// The host is stopped and started.
    Restart,
    /// The rules are others.
    Rules(Option<(Effect, u8)>),
    /// The disk takes nothing, or takes things again.
    Disk(bool),
}

#[derive(Debug, Clone, Copy)]
enum Said {
    Once,
    Session,
    Exactly(Option<u16>),
    Shape,
    Edit(u8),
    Deny,
}

fn what() -> impl Strategy<Value = What> {
    (0..2_u8, 1..4_u8, 0..2_u8, 0..2_u8, 0..3_u8).prop_map(
        |(app, session, server, tool, argument)| What {
            app,
            session,
            server,
            tool,
            argument,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let said = prop_oneof![
        Just(Said::Once),
        Just(Said::Session),
        proptest::option::of(1..2_000_u16).prop_map(Said::Exactly),
        Just(Said::Shape),
        (0..3_u8).prop_map(Said::Edit),
        Just(Said::Deny),
    ];
    let effect = prop_oneof![Just(Effect::Allow), Just(Effect::Ask), Just(Effect::Deny)];
    prop_oneof![
        8 => what().prop_map(Step::Call),
        8 => Just(Step::Again),
        6 => (0..4_usize, said).prop_map(|(which, said)| Step::Answer(which, said)),
        2 => (0..4_usize).prop_map(Step::Leave),
        1 => (0..4_usize).prop_map(Step::Revoke),
        1 => (0..2_u8, 0..2_u8).prop_map(|(server, tool)| Step::Change(server, tool)),
        2 => (1..1_500_u16).prop_map(Step::Wait),
        1 => (1..4_u8).prop_map(Step::End),
        1 => Just(Step::Restart),
        1 => proptest::option::of((effect, 0..2_u8)).prop_map(Step::Rules),
        1 => any::<bool>().prop_map(Step::Disk),
    ]
}

/// What somebody agreed to, as a model without any cleverness has it.
#[derive(Debug, Clone)]
struct Agreed {
    id: Option<String>,
    app: u8,
    session: Option<u8>,
    server: u8,
    tool: u8,
    version: u32,
    argument: u8,
    uses: Option<u32>,
    until: Option<u64>,
}

struct Model {
    versions: [[u32; 2]; 2],
    agreed: Vec<Agreed>,
    rule: Option<(Effect, u8)>,
}

impl Model {
    fn rule_for(&self, what: What) -> Option<Effect> {
        self.rule
            .filter(|(_, tool)| *tool == what.tool)
            .map(|(effect, _)| effect)
    }

    fn find(&self, what: What, now: u64) -> Option<usize> {
        self.agreed.iter().position(|agreed| {
            agreed.app == what.app
                && agreed.session.is_none_or(|session| session == what.session)
                && agreed.server == what.server
                && agreed.tool == what.tool
                && agreed.argument == what.argument
                && agreed.version == self.versions[usize::from(what.server)][usize::from(what.tool)]
                && agreed.uses != Some(0)
                && agreed.until.is_none_or(|until| now < until)
        })
    }
}

struct World {
    consent: Consent,
    disk: Arc<Mutex<(Vec<Grant>, bool)>>,
    model: Model,
    open: Vec<(Ticket, What, Wanted)>,
    seconds: u64,
    last: Option<What>,
    /// Leaves that a closed history must not exceed.
    effects: usize,
}

fn consent(disk: &Arc<Mutex<(Vec<Grant>, bool)>>) -> Consent {
    let kept = disk.lock().unwrap().0.clone();
    let disk = disk.clone();
    let keep = move |grants: &[Grant]| {
        let mut disk = disk.lock().unwrap();
        if !disk.1 {
            return Err(std::io::Error::other("the disk is full"));
        }
        disk.0 = grants.to_vec();
        Ok(())
    };
    Consent::new(Vec::new(), kept, Box::new(keep))
}

fn rules(rule: Option<(Effect, u8)>) -> Vec<Rule> {
    let rule = rule.map(|(effect, tool)| Rule {
        name: Pattern::new(format!("tool-{tool}")),
        ..Rule::new(effect)
    });
    rule.into_iter().collect()
}

fn arguments(argument: u8) -> Value {
    json!({"n": format!("value {argument}")})
}

impl World {
    fn new() -> Self {
        let disk = Arc::new(Mutex::new((Vec::new(), true)));
        Self {
            consent: consent(&disk),
            disk,
            model: Model {
                versions: [[0; 2]; 2],
                agreed: Vec::new(),
                rule: None,
            },
            open: Vec::new(),
            seconds: 1_000,
            last: None,
            effects: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            seconds: self.seconds,
            instant: Instant::now(),
        }
    }

    fn wanted(&self, what: What) -> Wanted {
        let version = self.model.versions[usize::from(what.server)][usize::from(what.tool)];
        Wanted {
            principal: "local".to_owned(),
            app: format!("app-{}", what.app),
            session: u64::from(what.session),
            server: format!("server-{}", what.server),
            subject: Subject::Tool,
            name: format!("tool-{}", what.tool),
            definition: format!("launch {version}"),
            arguments: arguments(what.argument),
            claims: Claims {
                read_only: Some(true),
                ..Claims::default()
            },
            reads: Reads::Unknown,
        }
    }

    /// Something was let through for these arguments: it goes to the server that was meant, as it was
    /// approved, and to no other.
    fn let_through(&mut self, leave: compere_host::consent::Leave, wanted: &Wanted, argument: u8) {
        self.effects += 1;
        assert_eq!(leave.arguments, arguments(argument));
        let outgoing = Outgoing {
            method: compere::proto::Method::ToolsCall,
            params: leave.arguments.to_string().into(),
        };
        let approved = leave.approve(outgoing, &wanted.server, 1, Some(&wanted.definition));
        assert!(approved.is_some());
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Call(what) => self.call(*what),
            Step::Again => {
                if let Some(what) = self.last {
                    self.call(what);
                }
            }
            Step::Answer(which, said) => self.answer(*which, *said),
            Step::Leave(which) => {
                if *which < self.open.len() {
                    let (ticket, ..) = self.open.remove(*which);
                    assert_eq!(ticket.leave(), None);
                }
            }
            Step::Revoke(which) => {
                let grants = self.consent.grants();
                if let Some(grant) = grants.get(*which) {
                    let id = grant.id.clone();
                    // It holds no more, whether or not that could be kept.
                    let kept = self.consent.revoke(&id).is_ok();
                    self.model
                        .agreed
                        .retain(|agreed| agreed.id.as_ref() != Some(&id));
                    if !kept {
                        // What the disk still has would come back with the next start: the person was
                        // told. The history goes on with a disk that works.
                        self.disk.lock().unwrap().1 = true;
                        self.disk.lock().unwrap().0.retain(|kept| kept.id != id);
                    }
                }
            }
            Step::Change(server, tool) => {
                self.model.versions[usize::from(*server)][usize::from(*tool)] += 1;
            }
            Step::Wait(seconds) => {
                self.seconds += u64::from(*seconds);
                self.consent.sweep(self.now());
                let seconds = self.seconds;
                self.open.retain_mut(|(ticket, ..)| {
                    let open = self.consent.inbox().questions(seconds);
                    open.iter().any(|question| question.id == ticket.id)
                });
            }
            Step::End(session) => {
                self.open.retain(|(_, what, _)| what.session != *session);
                self.consent.session_ended(u64::from(*session));
                self.model
                    .agreed
                    .retain(|agreed| agreed.session != Some(*session));
            }
            Step::Restart => {
                self.open.clear();
                self.consent = consent(&self.disk);
                self.consent.set_rules(rules(self.model.rule));
                self.model.agreed.retain(|agreed| agreed.session.is_none());
            }
            Step::Rules(rule) => {
                self.model.rule = *rule;
                self.consent.set_rules(rules(*rule));
            }
            Step::Disk(works) => self.disk.lock().unwrap().1 = *works,
        }
    }

    fn call(&mut self, what: What) {
        self.last = Some(what);
        let wanted = self.wanted(what);
        let agreed = self.model.find(what, self.seconds);
        let works = self.disk.lock().unwrap().1;
        let judged = self.consent.judge(&wanted, self.now());
        match (self.model.rule_for(what), judged) {
            (Some(Effect::Allow), Judged::Leave(leave)) => {
                self.let_through(leave, &wanted, what.argument);
            }
            (Some(Effect::Deny), Judged::Refused(_)) => {}
            (Some(Effect::Ask) | None, Judged::Leave(leave)) => {
                let place = agreed.expect("something is let through that nobody agreed to");
                if let Some(uses) = &mut self.model.agreed[place].uses {
                    *uses -= 1;
                    assert!(works, "a use that could not be kept");
                }
                self.let_through(leave, &wanted, what.argument);
            }
            (Some(Effect::Ask) | None, Judged::Refused(refused)) => {
                // Only where the use of a grant for one time could not be kept. It is not used then, and
                // not there any more.
                let place = agreed.expect("refused without a reason");
                assert!(
                    !works && refused.rule.contains("cannot be written"),
                    "{refused:?}"
                );
                assert!(self.model.agreed[place].uses.is_some());
                let gone = self.model.agreed.remove(place);
                self.disk
                    .lock()
                    .unwrap()
                    .0
                    .retain(|kept| Some(&kept.id) != gone.id.as_ref());
            }
            (Some(Effect::Ask) | None, Judged::Ask(_)) => {
                assert_eq!(agreed, None, "somebody agreed to this");
                let asking = || Asking {
                    app: wanted.app.clone(),
                    server: wanted.server.clone(),
                    method: "tools/call".to_owned(),
                    name: wanted.name.clone(),
                    description: String::new(),
                    arguments: wanted.arguments.clone(),
                    facts: Vec::new(),
                    changes: Vec::new(),
                    rule: String::new(),
                    shape: String::new(),
                };
                if let Ok(ticket) = self.consent.ask(&wanted, self.now(), asking) {
                    self.open.push((ticket, what, wanted));
                }
            }
            (rule, judged) => panic!("{rule:?}, and {judged:?}"),
        }
    }

    fn answer(&mut self, which: usize, said: Said) {
        let questions = self.consent.inbox().questions(self.seconds);
        let Some(question) = questions.get(which).cloned() else {
            return;
        };
        let Topic::Call(asking) = &question.topic else {
            panic!("there are calls alone");
        };
        let number = |text: &str| {
            text.rsplit(['-', ' '])
                .next()
                .unwrap()
                .parse::<u8>()
                .unwrap()
        };
        let argument = number(asking.arguments["n"].as_str().unwrap());
        let shape = format!("arguments.n == 'value {argument}'");
        let answer = match said {
            Said::Once => Answer::Once,
            Said::Session => Answer::Session { shape },
            Said::Exactly(lasts) => Answer::Exactly {
                lasts: lasts.map(u64::from),
            },
            Said::Shape => Answer::Shape { shape, lasts: None },
            Said::Edit(argument) => Answer::Edit {
                arguments: arguments(argument),
            },
            Said::Deny => Answer::Deny {
                reason: String::new(),
            },
        };
        let known: Vec<String> = self.consent.grants().into_iter().map(|of| of.id).collect();
        let answered = self
            .consent
            .answer(question.id, &answer, "a person", self.now());
        let new = self
            .consent
            .grants()
            .into_iter()
            .find(|grant| !known.contains(&grant.id));
        let mut waited = Vec::new();
        let mut place = 0;
        while place < self.open.len() {
            match self.open[place].0.id == question.id {
                true => waited.push(self.open.remove(place)),
                false => place += 1,
            }
        }
        if answered.is_err() {
            assert!(new.is_none(), "a grant without an answer");
            self.open.extend(waited);
            return;
        }
        if let Some(grant) = new {
            // The model learns what was granted from what was said, not from the grant.
            assert!(!matches!(said, Said::Deny | Said::Edit(_)));
            assert_eq!(
                matches!(said, Said::Once),
                question.waiting == 0 && grant.lasts == Lasts::Once
            );
            let version: u32 = grant
                .definition
                .rsplit(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            let session = match grant.lasts {
                Lasts::Session(session) => Some(u8::try_from(session).unwrap()),
                _ => None,
            };
            assert_eq!(matches!(said, Said::Session), session.is_some());
            assert!(!matches!(
                (said, &grant.covers),
                (Said::Exactly(_), Covers::Shape(_))
            ));
            self.model.agreed.push(Agreed {
                id: Some(grant.id.clone()),
                app: number(&asking.app),
                session,
                server: number(&asking.server),
                tool: number(&asking.name),
                version,
                argument,
                uses: matches!(said, Said::Once).then_some(1),
                until: match said {
                    Said::Once => Some(self.seconds + 600),
                    Said::Exactly(Some(lasts)) => Some(self.seconds + u64::from(lasts)),
                    _ => None,
                },
            });
        }
        for (ticket, what, wanted) in waited {
            let resolution = ticket.leave().expect("who waits is told");
            let judged = self.consent.resolved(&wanted, resolution, self.now());
            let denies = self.model.rule_for(what) == Some(Effect::Deny);
            match (said, judged) {
                (Said::Deny, Judged::Refused(_)) => {}
                (_, Judged::Refused(_)) => assert!(denies),
                (Said::Deny, judged) => panic!("a no is no leave: {judged:?}"),
                (Said::Edit(argument), Judged::Leave(leave)) => {
                    assert!(!denies && leave.edited == (argument != what.argument));
                    self.let_through(leave, &wanted, argument);
                }
                (_, Judged::Leave(leave)) => {
                    assert!(!denies);
                    self.let_through(leave, &wanted, what.argument);
                }
                (_, Judged::Ask(why)) => panic!("an answer is no question: {why}"),
            }
        }
    }
}

// A-TS-06
#[test]
fn nothing_happens_that_nobody_agreed_to() {
    let histories = count("COMPERE_HISTORIES", 10_000);
    let cases = u32::try_from(histories).unwrap();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let effects = std::cell::Cell::new(0);
    let steps = proptest::collection::vec(step(), 1..40);
    let ran = TestRunner::new(config).run(&steps, |steps| {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        effects.set(effects.get() + world.effects);
        Ok(())
    });
    ran.unwrap();
    // Histories in which nothing is ever let through would prove nothing.
    assert!(effects.get() > histories, "{} effects", effects.get());
}

/// What was approved goes nowhere else, and not later.
#[test]
fn leave_is_for_one_start_of_one_server_and_its_definition() {
    let world = World::new();
    let what = What {
        app: 0,
        session: 1,
        server: 0,
        tool: 0,
        argument: 0,
    };
    world.consent.set_rules(vec![Rule::new(Effect::Allow)]);
    let leave = || match world.consent.judge(&world.wanted(what), world.now()) {
        Judged::Leave(leave) => leave,
        other => panic!("{other:?}"),
    };
    let outgoing = || Outgoing {
        method: compere::proto::Method::ToolsCall,
        params: "{}".into(),
    };
    assert!(
        leave()
            .approve(outgoing(), "server-0", 1, Some("launch 0"))
            .is_some()
    );
    assert!(
        leave()
            .approve(outgoing(), "server-1", 1, Some("launch 0"))
            .is_none()
    );
    assert!(
        leave()
            .approve(outgoing(), "server-0", 1, Some("launch 1"))
            .is_none()
    );
    assert!(leave().approve(outgoing(), "server-0", 1, None).is_none());
    assert!(leave().rest(Instant::now()) <= Duration::from_secs(60));
}
