//! What a proxy does to requests: which ones, how often, and what. No IO.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::watch;

use super::{cluster::eventually, world::DEADLINE};

/// A request as the rules see it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// Plural with the subresource, as in `modelsyncs/status`.
    pub resource: String,
    /// Name of the object; of an event, the object that it is about. Empty for collections.
    pub name: String,
    /// Its body; null where there is none.
    pub body: Value,
}

impl Request {
    /// Takes method, path, query and body apart.
    pub fn parse(method: &http::Method, uri: &http::Uri, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        // /api/VERSION or /apis/GROUP/VERSION
        let skipped = if parts.next() == Some("api") { 1 } else { 2 };
        let mut parts: Vec<&str> = parts.skip(skipped).collect();
        if parts.len() > 2 && parts[0] == "namespaces" {
            parts.drain(..2);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = match parts.get(1) {
            Some(name) => (*name).to_owned(),
            None if body["regarding"].is_object() => text(&body["regarding"]["name"]),
            None => text(&body["metadata"]["name"]),
        };
        let watching = uri.query().is_some_and(|query| query.contains("watch=true"));
        let verb = match (method.as_str(), parts.len() > 1) {
            ("GET", true) => "get",
            ("GET", false) if watching => "watch",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", _) => "delete",
            (other, _) => panic!("{other} {uri}"),
        };
        let resource = [parts.first(), parts.get(2)].into_iter().flatten().copied().collect::<Vec<_>>().join("/");
        Self { verb, resource, name, body }
    }

    /// Whether it is about the object of this name, one of its runs or one of its events.
    pub fn is_about(&self, object: &str) -> bool {
        self.name.strip_prefix(object).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    }
}

/// Which requests a rule is for.
#[derive(Clone, Debug)]
pub struct Call {
    verb: &'static str,
    resource: &'static str,
    of: Option<String>,
    saying: fn(&Value) -> bool,
}

/// Every request with this verb for this resource.
pub fn call(verb: &'static str, resource: &'static str) -> Call {
    Call { verb, resource, of: None, saying: |_| true }
}

impl Call {
    /// Only about the object of this name, its runs and its events.
    pub fn of(self, name: &str) -> Self {
        Self { of: Some(name.to_owned()), ..self }
    }

    /// Only with such a body.
    pub fn saying(self, saying: fn(&Value) -> bool) -> Self {
        Self { saying, ..self }
    }

    /// Whether it is for this request.
    pub fn is(&self, request: &Request) -> bool {
        self.verb == request.verb
            && self.resource == request.resource
            && self.of.as_ref().is_none_or(|of| request.is_about(of))
            && (self.saying)(&request.body)
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status instead of the API server's answer, which never sees the request. 429 says `Retry-After: 86400`.
    PollResponse(u16),
    /// No answer; the API server never sees the request. Ends when the rule is released.
    Hang,
    /// The connection breaks, and the API server never sees the request.
    Reset,
    /// The request arrives at the API server only when the rule is released, even if its sender is dead by then.
    Hold,
    /// The API server carries it out; the answer is lost with the connection.
    DropReply,
    /// The API server carries it out; this status is told instead.
    AnswerLate(u16),
    /// The API server carries it out; half of the answer arrives.
    Truncate,
    /// The API server carries it out; the answer arrives when the rule is released.
    HoldReply,
    /// The first answer is given again each time.
    Remember,
    /// In answers and in events of watches, one text stands for another.
    Rewrite(&'static str, &'static str),
    /// Open watches say nothing until the rule is released, and then what they held back.
    Silence,
    /// An open watch breaks.
    Cut,
    /// An open watch ends in order.
    End,
    /// An open watch says that its version is gone.
    Gone,
    /// Watches bring no bookmarks.
    NoBookmarks,
}

impl Fault {
    /// Whether it befalls watches that are open, rather than requests.
    fn on_stream(&self) -> bool {
        matches!(self, Self::Silence | Self::Cut | Self::End | Self::Gone | Self::NoBookmarks)
    }
}

/// One rule. Cheap to clone; all clones are one rule.
#[derive(Clone)]
pub struct Rule {
    call: Call,
    /// What it does.
    pub fault: Fault,
    state: watch::Sender<State>,
    remembered: Arc<Mutex<Option<Vec<u8>>>>,
}

#[derive(Clone, Copy)]
struct State {
    hits: usize,
    left: usize,
    released: bool,
}

impl Rule {
    /// How often it was applied.
    pub fn hits(&self) -> usize {
        self.state.borrow().hits
    }

    /// Waits until it was applied this often.
    pub async fn hit(&self, times: usize) {
        eventually("a request meets the fault", DEADLINE, async || (self.hits() >= times).then_some(()))
            .await
            .unwrap_or_else(|late| panic!("{late}: {} {} {:?}", self.call.verb, self.call.resource, self.fault));
    }

    /// Ends it: what it holds goes on, and it is applied no more.
    pub fn release(&self) {
        self.state.send_modify(|state| (state.released, state.left) = (true, 0));
    }

    /// Waits until it is released.
    pub async fn released(&self) {
        // The sender is ours, so the wait cannot fail.
        let _ = self.state.subscribe().wait_for(|state| state.released).await;
    }

    /// The answer to give: what was answered first.
    pub fn remember(&self, body: Vec<u8>) -> Vec<u8> {
        self.remembered.lock().unwrap().get_or_insert(body).clone()
    }

    fn apply(&self) -> bool {
        self.state.send_if_modified(|state| {
            let applies = state.left > 0;
            if applies {
                (state.hits, state.left) = (state.hits + 1, state.left - 1);
            }
            applies
        })
    }
}

/// The rules of one proxy.
#[derive(Clone)]
pub struct Rules {
    rules: Arc<Mutex<Vec<Rule>>>,
    changed: watch::Sender<()>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { rules: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl Rules {
    /// From now on, so many times.
    pub fn add(&self, times: usize, call: Call, fault: Fault) -> Rule {
        let state = watch::Sender::new(State { hits: 0, left: times, released: false });
        let rule = Rule { call, fault, state, remembered: Arc::default() };
        self.rules.lock().unwrap().push(rule.clone());
        self.changed.send_replace(());
        rule
    }

    /// Told of every new rule.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The rule to apply to this request, if there is one.
    pub fn for_request(&self, request: &Request) -> Option<Rule> {
        self.first(|rule| !rule.fault.on_stream() && rule.call.is(request))
    }

    /// The rule to apply now to the open watch that this request began, if there is one.
    pub fn for_stream(&self, request: &Request) -> Option<Rule> {
        self.first(|rule| rule.fault.on_stream() && rule.call.is(request))
    }

    /// Releases every rule.
    pub fn release(&self) {
        self.rules.lock().unwrap().iter().for_each(Rule::release);
    }

    /// The newest rule that applies.
    fn first(&self, wanted: impl Fn(&Rule) -> bool) -> Option<Rule> {
        let rules = self.rules.lock().unwrap();
        rules.iter().rev().find(|rule| wanted(rule) && rule.apply()).cloned()
    }
}
