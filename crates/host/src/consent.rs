//! Consent: what may go to a server, because a rule says so or because a person did.
//!
//! A [`Wanted`] is judged by the rules ([`crate::policy`]) and by what people granted before
//! ([`Grants`]); where neither decides, a person is asked through the [`Inbox`]. What comes out is a
//! [`Leave`], good for one thing, and from that and a running server an [`Approved`], the only thing
//! that a server can be sent. Nothing here knows by which door a person answers.

mod approved;
mod grants;
mod inbox;
mod judge;
mod shape;
mod wanted;

pub use approved::{Approved, Outgoing, Stale};
pub use grants::{Covers, Grant, Grants, Lasts, NotGranted};
pub use inbox::{
    Answer, Asking, Ended, Inbox, NotAsked, Offered, Question, Rejected, Resolution, Reviewed,
    Reviewing, Ticket, Topic,
};
pub use judge::{Consent, Judged, Keep, Now, Refused};
pub use shape::shape_of;
pub use wanted::{Leave, Wanted};

use std::time::Duration;

/// An app gets an answer after so long at the latest, be it that a person has not decided yet.
pub const HOLD: Duration = Duration::from_secs(45);
/// A question is open for so long, and a yes that nobody waited for is good for so long.
pub const OPEN_FOR: Duration = Duration::from_secs(10 * 60);
/// What was approved is sent within this time or not at all.
pub const SENT_WITHIN: Duration = Duration::from_secs(60);
/// The same question refused so often is not asked again in that session.
pub const REFUSALS: usize = 3;
