//! The server on bytes in memory: one side of a conversation in, the other out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Server, Settings, System, lock};
use crate::model::fault::FaultPlan;
use crate::model::profile::Profile;
use crate::model::service::{Ended, Stream};
use crate::spec::firmware::Version;

/// What a client says, and what it has been told.
#[derive(Default)]
struct Conversation {
    said: Vec<u8>,
    at: usize,
    told: Vec<u8>,
}

struct Recorded(Mutex<Conversation>);

impl Stream for Recorded {
    fn receive(&self, mut buffer: Vec<u8>, _limit: Option<Duration>) -> Result<Vec<u8>, Ended> {
        let mut conversation = lock(&self.0);
        let end = conversation.at.checked_add(buffer.len());
        let end = end.filter(|&end| end <= conversation.said.len());
        let end = end.ok_or(Ended::Closed)?;
        buffer.copy_from_slice(&conversation.said[conversation.at..end]);
        conversation.at = end;
        Ok(buffer)
    }

    fn send(&self, parts: Vec<Vec<u8>>, _limit: Duration) -> Result<(), Ended> {
        let mut conversation = lock(&self.0);
        parts.iter().for_each(|part| conversation.told.extend(part));
        Ok(())
    }

    fn flush(&self, _limit: Duration) -> Result<(), Ended> {
        Ok(())
    }

    fn close(&self) {
        let mut conversation = lock(&self.0);
        conversation.at = conversation.said.len();
    }
}

/// Nothing around the server; what would be said to it is dropped.
struct Nothing;

impl System for Nothing {
    fn complain(&self, text: String) {
        log::debug!("sim: the client erred: {text}");
    }

    fn reboot(&self) {}

    fn die(&self, _pause: Duration) {}

    fn control_log(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// What a server of the profile's release answers to a client that says `said` and closes. What is still at work when
/// the client is through is dropped, so that inferences at the end may go unanswered.
///
/// Nothing where the release is older than 5.0, whose protocol is unknown.
#[must_use]
pub fn answers(profile: &Profile, said: Vec<u8>) -> Vec<u8> {
    let version = profile.version.or(profile.loaded);
    let Some(settings) = Settings::new(profile, version.unwrap_or(Version::new(5, 2, 0))) else {
        return Vec::new();
    };
    let faults = Arc::new(Mutex::new(FaultPlan::default()));
    let stream = Arc::new(Recorded(Mutex::new(Conversation {
        said,
        ..Conversation::default()
    })));
    Server::new(settings, Box::new(Nothing), faults).serve(stream.clone());
    std::mem::take(&mut lock(&stream.0).told)
}
