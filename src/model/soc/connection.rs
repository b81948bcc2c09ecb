//! One client: messages in, replies out, and what goes wrong with them on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use zerocopy::{FromBytes, IntoBytes};

use super::infer::Jobs;
use super::notify::Registration;
use super::window::{Ended, Window};
use super::{Server, lock};
use crate::model::rpc_fault::RpcWrong;
use crate::model::service::{self, Stream};
use crate::spec::rpc::{
    BUFFER_TIMEOUT, Framing, HEADER, Header, MAGIC, MAX_BODY, MESSAGE, Method, Status,
};
use crate::spec::session::PAGE;

/// Longest buffer that follows a message: what the smaller boards have room for. Source: inferred; unconfirmed.
const LARGEST_BUFFER: usize = 2 << 30;

/// How long a client may take to make room for a reply before it is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// A request.
pub(super) struct Request {
    pub(super) message_id: u32,
    /// The method's number, as it came.
    pub(super) action: u32,
    pub(super) body: Vec<u8>,
    /// The buffers that followed.
    pub(super) inputs: Vec<Vec<u8>>,
    /// Of an inference: whether there was a record for it.
    pub(super) record: Option<Result<(), Status>>,
}

/// About half of a buffer, cut where both ends may cut.
fn first_half(buffer: &[u8]) -> Vec<u8> {
    let page = usize::try_from(PAGE).unwrap_or(1);
    buffer[..buffer.len() / 2 / page * page].to_vec()
}

/// What answers a request.
pub(super) struct Reply {
    pub(super) body: Vec<u8>,
    pub(super) buffers: Vec<Vec<u8>>,
}

impl Reply {
    pub(super) fn empty() -> Self {
        Self::of(&crate::spec::rpc::types::Empty {})
    }

    pub(super) fn of(body: &impl prost::Message) -> Self {
        Self {
            body: body.encode_to_vec(),
            buffers: Vec::new(),
        }
    }
}

/// What a method comes to.
pub(super) enum Outcome {
    Reply(Reply),
    /// The reply comes later, or never.
    Nothing,
    /// An error.
    Failed(Status),
    /// An error after which nobody knows where the next message starts.
    FailedForGood(Status),
    /// The connection is of no more use.
    Close,
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

/// The result of a step of a method.
pub(super) type Step<T> = Result<T, Outcome>;

/// One client.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) stream: Arc<dyn Stream>,
    pub(super) id: u32,
    /// Requests to act on, and a sign that something changed there.
    pub(super) window: Mutex<Window>,
    pub(super) turn: Condvar,
    /// Inferences to run, and a sign for who runs them.
    pub(super) jobs: Mutex<Jobs>,
    pub(super) news: Condvar,
    /// By device object and notification.
    pub(super) registrations: Mutex<BTreeMap<(u32, u32), Registration>>,
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, stream: Arc<dyn Stream>, id: u32) -> Self {
        Self {
            server,
            stream,
            id,
            window: Mutex::default(),
            turn: Condvar::new(),
            jobs: Mutex::default(),
            news: Condvar::new(),
            registrations: Mutex::default(),
        }
    }

    /// Serves until the client goes, or has to.
    pub(super) fn serve(&self) {
        std::thread::scope(|scope| {
            let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
            let runner = thread("sim-runner").spawn_scoped(scope, || self.run_jobs());
            let actor = thread("sim-actor").spawn_scoped(scope, || self.act_on_requests());
            let ended = match (&runner, &actor) {
                (Ok(_), Ok(_)) => self.read_requests(),
                (Err(error), _) | (_, Err(error)) => {
                    log::error!("sim: no thread for a client: {error}");
                    Ended::Server
                }
            };
            if ended == Ended::Server {
                self.drop_requests();
                self.stream.close();
            }
            self.end_window();
            if let Ok(actor) = actor
                && actor.join().is_err()
            {
                log::error!("sim: a client's requests ended in a panic");
            }
            self.stream.close();
            lock(&self.jobs).stop = true;
            self.news.notify_all();
        });
    }

    fn framing(&self) -> Framing {
        self.server.settings.dialect.framing()
    }

    /// The next message; none where it makes no sense.
    pub(super) fn read_request(&self) -> Result<Option<Request>, service::Ended> {
        let len = match self.framing() {
            Framing::Whole => MESSAGE,
            Framing::HeaderThenBody => HEADER,
        };
        let mut message = self.stream.receive(vec![0; len], None)?;
        let Ok((header, _)) = Header::read_from_prefix(&message) else {
            return Ok(None);
        };
        let size = usize::try_from(header.size.get()).unwrap_or(usize::MAX);
        if header.magic.get() != MAGIC || size > MAX_BODY {
            self.complain(format!(
                "message out of step: magic {:#010x}, size {size}",
                header.magic.get()
            ));
            return Ok(None);
        }
        let body = match self.framing() {
            Framing::Whole => {
                message.drain(..HEADER);
                message.truncate(size);
                message
            }
            Framing::HeaderThenBody if size == 0 => Vec::new(),
            Framing::HeaderThenBody => self.stream.receive(vec![0; size], Some(BUFFER_TIMEOUT))?,
        };
        Ok(Some(Request {
            message_id: header.message_id.get(),
            action: header.action_id.get(),
            body,
            inputs: Vec::new(),
            record: None,
        }))
    }

    /// Acts on a request and replies; whether the connection goes on.
    pub(super) fn answer(&self, method: Method, mut request: Request) -> bool {
        let outcome = self.act(method, &mut request);
        self.conclude(Some(method), &request, outcome)
    }

    /// Replies as a request has come out; whether the connection goes on.
    pub(super) fn conclude(
        &self,
        method: Option<Method>,
        request: &Request,
        outcome: Outcome,
    ) -> bool {
        if let Outcome::Failed(Status::RPC_FAILED) | Outcome::FailedForGood(Status::RPC_FAILED) =
            outcome
        {
            self.complain(format!(
                "the body of a request for method {} makes no sense",
                request.action
            ));
        }
        let (reply, goes_on) = match outcome {
            Outcome::Reply(reply) => (Ok(reply), true),
            Outcome::Failed(status) => (Err(status), true),
            Outcome::FailedForGood(status) => (Err(status), false),
            Outcome::Nothing => return true,
            Outcome::Close => return false,
        };
        if !self.server.settings.reply_delay.is_zero() {
            self.stream.rest(self.server.settings.reply_delay);
        }
        let registers = method == Some(Method::SetNotification) && reply.is_ok();
        let storm = |what| matches!(what, RpcWrong::Storm(_));
        let early = registers && lock(&self.server.faults).plans_rpc(request.action, storm);
        if early {
            self.arm(request);
        }
        let sent = self
            .reply(request.message_id, request.action, reply)
            .is_ok();
        if sent && registers && !early {
            self.arm(request);
        }
        if sent && !goes_on && self.stream.flush(WRITE_LIMIT).is_err() {
            // Closing would have taken it away; the client does that now.
            log::debug!("sim: client {} left before its last reply", self.id);
        }
        sent && goes_on
    }

    /// Receives a buffer that follows a request.
    pub(super) fn read_buffer(&self, request: &Request, len: usize) -> Step<Vec<u8>> {
        if len > LARGEST_BUFFER {
            self.complain(format!("a buffer of {len} bytes"));
            return Err(Outcome::FailedForGood(Status::OUT_OF_HOST_MEMORY));
        }
        if len == 0 {
            return Ok(Vec::new());
        }
        let buffer = self.stream.buffer(len);
        let wrong = |what| what == RpcWrong::CloseInInput;
        let broken = lock(&self.server.faults).fire_rpc(request.action, wrong);
        if broken.is_some() {
            // Whether a part of it came or nothing yet: the rest never will.
            return match self.stream.receive(buffer, Some(Duration::from_millis(2))) {
                Ok(_) | Err(_) => Err(Outcome::Close),
            };
        }
        match self.stream.receive(buffer, Some(BUFFER_TIMEOUT)) {
            Ok(buffer) => Ok(buffer),
            Err(service::Ended::TimedOut) => Err(Outcome::FailedForGood(Status::TIMEOUT)),
            Err(service::Ended::Closed) => Err(Outcome::Close),
        }
    }

    /// Sends a reply, as the fault plan wants it.
    pub(super) fn reply(
        &self,
        message_id: u32,
        action: u32,
        reply: Result<Reply, Status>,
    ) -> Result<(), service::Ended> {
        let (mut status, reply) = match reply {
            Ok(reply) if reply.body.len() > MAX_BODY => (Status::INTERNAL_FAILURE, Reply::empty()),
            Ok(reply) => (Status::SUCCESS, reply),
            Err(status) => (status, Reply::empty()),
        };
        let Reply {
            mut body,
            mut buffers,
        } = reply;
        let mut header = Header::new(0, message_id, action, 0);
        let mut twice = false;
        let wrong = |what| what != RpcWrong::CloseInInput;
        let wrong = lock(&self.server.faults).fire_rpc(action, wrong);
        match wrong {
            None
            | Some(
                RpcWrong::BadSize
                | RpcWrong::CloseEarly
                | RpcWrong::CloseInOutput
                | RpcWrong::CloseInInput,
            ) => {}
            Some(RpcWrong::Slow(time)) => self.stream.rest(time),
            Some(RpcWrong::Drop) => return Ok(()),
            Some(RpcWrong::Twice) => twice = true,
            Some(RpcWrong::WrongId) => header.message_id = (!message_id).into(),
            Some(RpcWrong::WrongAction) => header.action_id = (action ^ 1).into(),
            Some(RpcWrong::BadBody) => body = vec![0xff; 9],
            Some(RpcWrong::Status(forced)) => {
                status = Status(forced);
                (body, buffers) = (Vec::new(), Vec::new());
            }
            Some(RpcWrong::BadMagic) => header.magic = (!MAGIC).into(),
            Some(RpcWrong::ShortOutput) => {
                if let Some(last) = buffers.last_mut() {
                    last.pop();
                }
            }
            Some(RpcWrong::Close) => return Err(service::Ended::Closed),
            Some(RpcWrong::Storm(count)) => self.storm(count, message_id)?,
            Some(RpcWrong::Die(pause)) => {
                self.server.system.die(pause);
                return Err(service::Ended::Closed);
            }
        }
        header.status = status.0.into();
        header.size = u32::try_from(body.len()).unwrap_or(0).into();
        if wrong == Some(RpcWrong::BadSize) {
            header.size = u32::try_from(MAX_BODY + 1).unwrap_or(0).into();
        }
        let mut parts = self.message(&header, body);
        if let Some(RpcWrong::CloseEarly | RpcWrong::CloseInOutput) = wrong {
            if wrong == Some(RpcWrong::CloseInOutput) {
                parts.extend(buffers.first().map(|first| first_half(first)));
            }
            self.stream.send(parts, WRITE_LIMIT)?;
            // What is queued goes out before the end.
            self.stream.flush(WRITE_LIMIT)?;
            return Err(service::Ended::Closed);
        }
        parts.append(&mut buffers);
        if twice {
            self.stream.send(parts.clone(), WRITE_LIMIT)?;
        }
        self.stream.send(parts, WRITE_LIMIT)
    }

    /// The transfers of a message.
    pub(super) fn message(&self, header: &Header, body: Vec<u8>) -> Vec<Vec<u8>> {
        match self.framing() {
            Framing::Whole => {
                let mut message = Vec::with_capacity(MESSAGE);
                message.extend_from_slice(header.as_bytes());
                message.extend_from_slice(&body);
                message.resize(MESSAGE, 0);
                vec![message]
            }
            Framing::HeaderThenBody => vec![header.as_bytes().to_vec(), body],
        }
    }

    /// Sends a message that no request waits for.
    pub(super) fn send_message(
        &self,
        header: &Header,
        body: Vec<u8>,
    ) -> Result<(), service::Ended> {
        self.stream.send(self.message(header, body), WRITE_LIMIT)
    }

    pub(super) fn complain(&self, text: String) {
        let text = format!("RPC client {}: {text}", self.id);
        self.server.system.complain(text);
    }
}
