//! What is approved of the servers: how they are started, and what they offer. Asks a person where it is
//! new or another one, keeps what they agree to, and has servers looked at.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use compere::gateway::ServerListener;

use crate::audit::{Kind as RecordKind, Record};
use crate::consent::{Now, Rejected, Topic};
use crate::host::{Host, PINS, VERSION, short};
use crate::pins::{Item, Kind, Standing, changes};
use crate::servers::definitions::Definitions;
use crate::servers::{Approvals, NotRunning, Server};
use crate::session::{Heard, Survey};

/// How long an app that comes waits for servers that are being looked at.
const SETTLING: Duration = Duration::from_secs(3);

impl Host {
    /// Finds out how a server stands, and asks a person if its launch is not approved.
    pub(super) fn look_at(self: &Arc<Self>, server: &Arc<Server>) {
        if !server.entry.enabled {
            return;
        }
        let launching = self.launching(server);
        server.set_launching(launching.clone());
        let same = same_launch(&server.name);
        let Ok(launching) = launching else {
            self.consent.inbox().withdraw(&same);
            return;
        };
        let approvals = server.approvals();
        let item = launching.item();
        let fetches = item.kind == Kind::Fetch;
        let changes = match approvals.pins.standing(&item, &launching.pinned) {
            Standing::Approved => {
                self.consent.inbox().withdraw(&same);
                // Nothing it offers is known: it did not start when it was approved, or the host was
                // stopped before a person saw what it offers.
                let is_seen = approvals
                    .pins
                    .iter()
                    .any(|(item, _)| !matches!(item.kind, Kind::Launch | Kind::Fetch));
                if fetches || !is_seen {
                    self.look_inside(server);
                }
                return;
            }
            Standing::New => Vec::new(),
            Standing::Changed(before) => changes(before, &launching.pinned),
        };
        let offered = self
            .options
            .offered
            .iter()
            .any(|entry| *entry == server.entry);
        if offered {
            // Whoever started the host said so, just now, in these words.
            let digest = launching.digest.to_string();
            let who = "the command that started the host";
            if let Err(error) = self.approve_launch(server, &digest, who) {
                tracing::warn!(server = server.name, %error, "it cannot be approved");
            }
            return;
        }
        let topic = Topic::Launch {
            server: server.name.clone(),
            facts: launching.facts.clone(),
            warnings: launching.warnings.clone(),
            changes,
            fetches,
            digest: launching.digest.to_string(),
        };
        let now = Now::read().seconds;
        self.consent.inbox().post(&same, now, topic);
    }

    pub(super) fn approve_launch(
        self: &Arc<Self>,
        server: &Arc<Server>,
        digest: &str,
        who: &str,
    ) -> Result<(), Rejected> {
        let launching = server.launching().map_err(Rejected::NotKept)?;
        let item = launching.item();
        let what = match item.kind {
            Kind::Fetch => "fetching",
            _ => "launch",
        };
        if launching.digest.to_string() != digest {
            return Err(Rejected::Gone);
        }
        self.change_approvals(server, |approvals| {
            approvals.pins.approve(item, launching.pinned.clone());
            Ok(true)
        })?;
        server.forget_failure();
        let mut record = Record::new(RecordKind::Decision);
        record.server = server.name.clone();
        record.name = what.to_owned();
        record.digest = digest.to_owned();
        // What cannot be promised was said, and agreed to.
        record.view = short(&launching.warnings.join("; "));
        record.approver = who.to_owned();
        record.outcome = "approved".to_owned();
        self.write(record);
        self.look_inside(server);
        Ok(())
    }

    /// Finds out what a server offers, meanwhile.
    pub(super) fn look_inside(self: &Arc<Self>, server: &Arc<Server>) {
        let (host, server) = (self.clone(), server.clone());
        self.looking.send_modify(|looking| *looking += 1);
        tokio::spawn(async move {
            let surveyed = host.survey(&server).await;
            // Where it waits for a person, they have been asked.
            if let Err(error) = surveyed
                && error != NotRunning::NotApproved
            {
                tracing::warn!(server = server.name, %error, "it is approved, but");
                host.note(format!("{} is approved, but {error}", server.name));
            }
            host.looking.send_modify(|looking| *looking -= 1);
            host.changed();
        });
    }

    /// Waits a little for servers that were approved just now and are being looked at.
    pub(crate) async fn settled(&self) {
        let mut looking = self.looking.subscribe();
        let _ = tokio::time::timeout(SETTLING, looking.wait_for(|looking| *looking == 0)).await;
    }

    /// Changes what is approved of a server; it is kept before it counts. `change` says whether there is
    /// anything to keep.
    pub(super) fn change_approvals(
        &self,
        server: &Server,
        change: impl FnOnce(&mut Approvals) -> Result<bool, Rejected>,
    ) -> Result<(), Rejected> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut approvals = server.approvals().as_ref().clone();
        if !change(&mut approvals)? {
            return Ok(());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.insert(server.name.clone(), approvals.kept());
        if let Err(error) = self.state.write(PINS, VERSION, &*kept) {
            match before {
                Some(before) => kept.insert(server.name.clone(), before),
                None => kept.remove(&server.name),
            };
            return Err(Rejected::NotKept(error.to_string()));
        }
        server.set_approvals(approvals);
        Ok(())
    }

    /// Starts a server for nobody, to see what it offers.
    pub(super) async fn survey(self: &Arc<Self>, server: &Arc<Server>) -> Result<(), NotRunning> {
        let stale = Arc::new(AtomicBool::new(false));
        // One that all share goes on when it was looked at.
        let listener: Arc<dyn ServerListener> = match server.entry.settings.shared {
            true => Arc::new(Heard::of_all(self, server, stale.clone())),
            false => Arc::new(Survey),
        };
        let launching = self.clone().launching_now(server).await;
        let machine = &self.options.machine;
        let started = server.start(0, launching, machine, listener, stale).await;
        let running = match started {
            Ok(running) => running,
            Err(error) => {
                self.epoch.send_modify(|epoch| *epoch += 1);
                return Err(error);
            }
        };
        self.seen(server, &running.offers());
        if let Some(running) = server.take_running(0) {
            running.close().await;
        }
        Ok(())
    }

    /// A server was asked what it offers: what nobody approved waits for a person. What our own servers
    /// say needs no approval beyond that of their launch.
    pub(crate) fn seen(self: &Arc<Self>, server: &Arc<Server>, offers: &Definitions) {
        for words in &offers.left_out {
            tracing::warn!(server = server.name, "{words}");
        }
        let same = same_definitions(&server.name);
        let is_own = server
            .launching()
            .is_ok_and(|launching| launching.own.is_some());
        let kept = self.change_approvals(server, |approvals| {
            let mut is_new = approvals.abilities != offers.abilities;
            approvals.abilities = offers.abilities;
            if is_own {
                is_new |= approvals.take_all_of(offers);
            }
            Ok(is_new)
        });
        if let Err(error) = kept {
            tracing::warn!(server = server.name, %error, "what it offers cannot be kept");
        }
        let approvals = server.approvals();
        let waiting = offers.waiting(&approvals.pins);
        let digest = offers.digest_of_waiting(&approvals.pins);
        match waiting.is_empty() {
            true => self.consent.inbox().withdraw(&same),
            false => {
                let topic = Topic::Definitions {
                    server: server.name.clone(),
                    items: waiting,
                    digest,
                };
                let now = Now::read().seconds;
                server.set_seen(offers.clone());
                self.consent.inbox().post(&same, now, topic);
            }
        }
    }

    pub(super) fn approve_definitions(
        self: &Arc<Self>,
        server: &Arc<Server>,
        digest: &str,
        except: &[String],
        reads: &[String],
        who: &str,
    ) -> Result<(), Rejected> {
        let offers = server.seen().ok_or(Rejected::Gone)?;
        let except: BTreeSet<&str> = except.iter().map(String::as_str).collect();
        let mut names = Vec::new();
        self.change_approvals(server, |approvals| {
            if offers.digest_of_waiting(&approvals.pins) != digest {
                return Err(Rejected::Gone);
            }
            for (item, (definition, _)) in &offers.items {
                let known = approvals.pins.standing(item, definition) == Standing::Approved;
                if known || except.contains(item.name.as_str()) {
                    continue;
                }
                names.push(item.name.clone());
                approvals.reads.remove(&item.name);
                approvals.pins.approve(item.clone(), definition.clone());
            }
            for name in reads {
                let item = Item::new(Kind::Tool, name.clone());
                let pin = approvals.pins.get(&item).ok_or(Rejected::Misfit)?;
                approvals.reads.insert(name.clone(), pin.digest.clone());
            }
            Ok(true)
        })?;
        let mut record = Record::new(RecordKind::Decision);
        record.server = server.name.clone();
        record.name = "definitions".to_owned();
        record.digest = digest.to_owned();
        record.view = short(&names.join(", "));
        record.approver = who.to_owned();
        record.outcome = "approved".to_owned();
        self.write(record);
        Ok(())
    }
}

/// What makes two questions about the launch of a server one.
pub(super) fn same_launch(server: &str) -> String {
    format!("launch {server}")
}

/// What makes two questions about what a server offers one.
pub(super) fn same_definitions(server: &str) -> String {
    format!("definitions {server}")
}
