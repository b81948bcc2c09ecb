//! Notifications: what the device says by itself.

use prost::Message;

use crate::spec::rpc::types::{Callback, Notification, callback, notification};
use crate::spec::rpc::value::notification as id;

/// Something that the device said by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// It is too warm, or no longer.
    Temperature {
        /// Counts.
        sequence: u32,
        /// 0 green, 1 orange, 2 red.
        zone: u32,
        /// Which sensor.
        sensor: u32,
        /// Degrees Celsius of both sensors.
        degrees: (f32, f32),
    },
    /// It draws too much, or no longer.
    Overcurrent {
        /// Counts.
        sequence: u32,
        /// 0 green, 1 red.
        zone: u32,
        /// The limit.
        threshold: f32,
        /// Whether this is the last warning.
        last: bool,
    },
    /// A CRC error in the neural core.
    CoreCrc {
        /// Counts.
        sequence: u32,
    },
    /// It runs slower, or faster again.
    Throttling {
        /// Counts.
        sequence: u32,
        /// 0 none, 1 light, 2 medium, 3 heavy, 4 severe, 5 streams off, 6 overheat.
        state: u32,
    },
    /// Something else.
    Other {
        /// Counts.
        sequence: u32,
        /// Which.
        id: u32,
    },
}

impl Notice {
    /// Reads the body of a notification; `None` where it is none.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let callback = Callback::decode(body).ok()?;
        match callback.content? {
            callback::Content::Notification(notification) => Some(Self::of(&notification)),
            callback::Content::RunAsync(_) => None,
        }
    }

    fn of(notification: &Notification) -> Self {
        let (sequence, id) = (notification.sequence, notification.notification_id);
        match (&notification.body, id) {
            (Some(notification::Body::TemperatureAlarm(alarm)), _) => Self::Temperature {
                sequence,
                zone: alarm.zone,
                sensor: alarm.sensor,
                degrees: (alarm.ts0, alarm.ts1),
            },
            (Some(notification::Body::OvercurrentAlert(alert)), _) => Self::Overcurrent {
                sequence,
                zone: alert.zone,
                threshold: alert.threshold,
                last: alert.last_violation,
            },
            (Some(notification::Body::ThrottlingChange(change)), _) => Self::Throttling {
                sequence,
                state: change.state,
            },
            (None, id::NN_CORE_CRC_ERROR) => Self::CoreCrc { sequence },
            (None, id) => Self::Other { sequence, id },
        }
    }
}
