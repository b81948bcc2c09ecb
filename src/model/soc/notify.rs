//! Notifications: who asked for which, and when they are sent.

use std::time::Instant;

use prost::Message;

use super::connection::{Connection, Reply, Request, Step};
use super::dispatch::id;
use super::lock;
use crate::model::fault::Fault;
use crate::model::service::Ended;
use crate::spec::rpc::types::{
    Callback, CallbackHandle, Notification, OvercurrentAlert, RemoveNotificationRequest,
    SetNotificationRequest, TemperatureAlarm, ThrottlingChange, callback, notification::Body,
};
use crate::spec::rpc::value::notification as kind;
use crate::spec::rpc::{Dialect, Header, Status};

/// Power in watts from which the over-current alarm speaks. Source: any number will do.
const OVERCURRENT: f32 = 5.0;

/// Who is told of what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registration {
    message_id: u32,
    callback: CallbackHandle,
    /// The state that was last told.
    told: u32,
}

impl Connection {
    /// Checks a registration. It holds once its reply is out: nothing may overtake that.
    pub(super) fn set_notification(&self, request: &Request) -> Step<Reply> {
        let body: SetNotificationRequest = request.body()?;
        self.device(id(body.handle))?;
        if body.notification_id > kind::MAX {
            return Err(Status::INVALID_ARGUMENT.into());
        }
        Ok(Reply::empty())
    }

    /// Arms a registration whose reply is out.
    pub(super) fn arm(&self, request: &Request) {
        let Ok(body) = request.body::<SetNotificationRequest>() else {
            return;
        };
        if self.device(id(body.handle)).is_err() || body.notification_id > kind::MAX {
            return;
        }
        let registration = Registration {
            message_id: request.message_id,
            callback: body.callback.unwrap_or_default(),
            told: 0,
        };
        let key = (id(body.handle), body.notification_id);
        lock(&self.registrations).insert(key, registration);
        // Who found none is asleep by the time that this lock is free.
        drop(lock(&self.jobs));
        self.news.notify_all();
    }

    pub(super) fn remove_notification(&self, request: &Request) -> Step<Reply> {
        let body: RemoveNotificationRequest = request.body()?;
        self.device(id(body.handle))?;
        lock(&self.registrations).remove(&(id(body.handle), body.notification_id));
        Ok(Reply::empty())
    }

    /// Tells what has changed since it was last told, and what the fault plan wants told.
    pub(super) fn look_after_notifications(&self) -> Result<(), Ended> {
        let now = Instant::now();
        let (throttling, zone) = {
            let mut sensors = lock(&self.server.sensors);
            (sensors.throttling(now), sensors.zone(now))
        };
        // Held until the message is queued: a removal that was answered is not followed by one.
        let mut registrations = lock(&self.registrations);
        for (&(_, number), registration) in registrations.iter_mut() {
            let state = match number {
                kind::TEMPERATURE_ALARM => zone,
                kind::THROTTLING_CHANGE => throttling,
                _ => registration.told,
            };
            let changed = std::mem::replace(&mut registration.told, state) != state;
            let wanted = lock(&self.server.faults).fires(Fault::Notify(number));
            if changed || wanted {
                self.notify(number, registration)?;
            }
        }
        Ok(())
    }

    /// Sends `count` notifications (a fault), where there is a registration for any: of the one that the request with
    /// this id made, if it made one.
    pub(super) fn storm(&self, count: u32, message_id: u32) -> Result<(), Ended> {
        let registrations = lock(&self.registrations);
        let all = registrations.iter();
        let mut travelling = all.filter(|(key, _)| kind::TRAVELLING.contains(&key.1));
        let own = |(_, registration): &(_, &Registration)| registration.message_id == message_id;
        let found = travelling.clone().find(own).or_else(|| travelling.next());
        if let Some((&(_, number), registration)) = found {
            for _ in 0..count {
                self.notify(number, registration)?;
            }
        }
        Ok(())
    }

    fn notify(&self, number: u32, registration: &Registration) -> Result<(), Ended> {
        let now = Instant::now();
        let mut sensors = lock(&self.server.sensors);
        let body = match number {
            kind::TEMPERATURE_ALARM => {
                let [ts0, ts1] = sensors.temperatures(now);
                Some(Body::TemperatureAlarm(TemperatureAlarm {
                    zone: sensors.zone(now),
                    sensor: 0,
                    ts0,
                    ts1,
                }))
            }
            kind::OVERCURRENT_ALARM => Some(Body::OvercurrentAlert(OvercurrentAlert {
                zone: 1,
                threshold: OVERCURRENT,
                last_violation: false,
            })),
            // Older firmware has no form for it.
            kind::THROTTLING_CHANGE if self.server.settings.dialect != Dialect::D => return Ok(()),
            kind::THROTTLING_CHANGE => Some(Body::ThrottlingChange(ThrottlingChange {
                state: sensors.throttling(now),
            })),
            kind::NN_CORE_CRC_ERROR => None,
            _ => return Ok(()), // The server has no form for any other.
        };
        drop(sensors);
        let sequence = &self.server.notifications;
        let content = callback::Content::Notification(Notification {
            notification_id: number,
            sequence: sequence.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            body,
        });
        let message = Callback {
            callback: Some(registration.callback),
            content: Some(content),
        };
        let body = message.encode_to_vec();
        let header = Header::new(
            u32::try_from(body.len()).unwrap_or(0),
            registration.message_id,
            self.server.settings.dialect.notification_action(),
            Status::SUCCESS.0,
        );
        self.send_message(&header, body)
    }
}
