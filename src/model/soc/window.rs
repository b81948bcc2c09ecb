//! What a client has asked for and the server has not acted on: two requests at most, one for each message buffer.
//!
//! One thread reads, with the buffers that follow a message; another one acts, one request after the other. Each
//! request holds its message buffer until it was acted on, and the next message is read only with a free one. A client that
//! waits too long for that is given up.
//!
//! Source: vendor hailort v5.2.0, `rpc_connection.cpp`, `server.cpp`.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Instant;

use super::connection::{Connection, Outcome, Request, Step};
use super::lock;
use crate::spec::rpc::{BUFFER_TIMEOUT, Method, SERVER_WINDOW};

/// Requests between the thread that reads and the one that acts.
#[derive(Default)]
pub(super) struct Window {
    queued: VecDeque<(Method, Request)>,
    /// Message buffers in use: by the read that is posted, by requests that wait, by the one that is acted on.
    held: u32,
    /// A request is acted on.
    acting: bool,
    /// No more requests come.
    over: bool,
}

/// Why the reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client went, or sent what makes no sense: what it asked for before is still done.
    Client,
    /// The server gave it up.
    Server,
}

impl Connection {
    /// Reads requests until there are no more.
    pub(super) fn read_requests(&self) -> Ended {
        loop {
            if !self.take_buffer() {
                return Ended::Server;
            }
            let Ok(Some(mut request)) = self.read_request() else {
                return Ended::Client;
            };
            match self.complete(&mut request) {
                Ok(method) => self.pass_on(method, request),
                Err(outcome) => {
                    // At once: it overtakes the replies of those that wait.
                    if !self.conclude(None, &request, outcome) {
                        return Ended::Server;
                    }
                    self.free_buffer();
                }
            }
        }
    }

    /// Reads what follows a message.
    fn complete(&self, request: &mut Request) -> Step<Method> {
        let method = Method::from_number(self.server.settings.dialect, request.action);
        let Some(method) = method else {
            self.complain(format!("unknown method {}", request.action));
            return Err(self.unknown_method());
        };
        self.read_inputs(method, request)?;
        Ok(method)
    }

    fn pass_on(&self, method: Method, request: Request) {
        let mut window = lock(&self.window);
        if method == Method::RunAsync && !window.acting && window.queued.is_empty() {
            // Only started, which needs no other thread.
            drop(window);
            if !self.answer(method, request) {
                self.stream.close();
            }
            self.free_buffer();
        } else {
            window.queued.push_back((method, request));
            drop(window);
            self.turn.notify_all();
        }
    }

    /// Takes a message buffer for the next read; false where none was free for too long, or the client is given up.
    fn take_buffer(&self) -> bool {
        let deadline = Instant::now() + BUFFER_TIMEOUT;
        let mut window = lock(&self.window);
        loop {
            if window.over {
                return false;
            }
            if window.held < SERVER_WINDOW {
                window.held += 1;
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(window);
                let limit = BUFFER_TIMEOUT.as_secs();
                self.complain(format!("a request waited {limit} s behind another one"));
                return false;
            }
            let woken = self.turn.wait_timeout(window, left);
            window = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn free_buffer(&self) {
        lock(&self.window).held -= 1;
        self.turn.notify_all();
    }

    /// No more requests come.
    pub(super) fn end_window(&self) {
        lock(&self.window).over = true;
        self.turn.notify_all();
    }

    /// Acts on requests until no more come, or one of them ends the connection.
    pub(super) fn act_on_requests(&self) {
        while let Some((method, request)) = self.next_action() {
            let goes_on = self.answer(method, request);
            lock(&self.window).acting = false;
            self.free_buffer();
            if !goes_on {
                self.stream.close();
                self.end_window();
                return;
            }
        }
    }

    fn next_action(&self) -> Option<(Method, Request)> {
        let mut window = lock(&self.window);
        loop {
            if let Some(next) = window.queued.pop_front() {
                window.acting = true;
                return Some(next);
            }
            if window.over {
                return None;
            }
            let woken = self.turn.wait(window);
            window = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Forgets what was asked for: the client was given up.
    pub(super) fn drop_requests(&self) {
        let dropped = std::mem::take(&mut lock(&self.window).queued);
        drop(dropped);
    }

    fn unknown_method(&self) -> Outcome {
        if self.server.settings.quirks {
            Outcome::Close
        } else {
            Outcome::FailedForGood(crate::spec::rpc::Status::NOT_IMPLEMENTED)
        }
    }
}
