//! Rules of a proxy: the requests that they match, the fault, and how often it happens. No IO.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::watch;

use super::{cluster::eventually, world::DEADLINE};

/// A request in the form that the rules match.
#[derive(Clone, Debug)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// Plural with the subresource, as in `modelsyncs/status`.
    pub resource: String,
    /// Name of the object; for an event, the name of the object that it regards. Empty for collections.
    pub name: String,
    /// Its body; null if it has none.
    pub body: Value,
}

impl Request {
    /// Parses method, path, query and body.
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

    /// Whether it concerns the object of this name, one of its runs or one of its events.
    pub fn is_about(&self, object: &str) -> bool {
        self.name.strip_prefix(object).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    }
}

/// A pattern of requests.
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
    /// Restricts it to the object of this name, its runs and its events.
    pub fn of(self, name: &str) -> Self {
        Self { of: Some(name.to_owned()), ..self }
    }

    /// Restricts it to bodies that fulfil this predicate.
    pub fn saying(self, saying: fn(&Value) -> bool) -> Self {
        Self { saying, ..self }
    }

    /// Whether it matches this request.
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
    /// The proxy responds with this status; the API server never sees the request. 429 has `Retry-After: 86400`.
    Status(u16),
    /// No response; the API server never sees the request. Ends when the rule is released.
    Hang,
    /// The connection breaks, and the API server never sees the request.
    Reset,
    /// The request reaches the API server only when the rule is released, even if its sender is dead by then.
    Hold,
    /// The API server executes the request; its response is lost with the connection.
    DropReply,
    /// The API server executes the request; the proxy responds with this status instead.
    StatusAfter(u16),
    /// The API server executes the request; half of its response arrives.
    Truncate,
    /// The API server executes the request; its response arrives when the rule is released.
    HoldReply,
    /// Every request gets the first response.
    Remember,
    /// The second text replaces the first in responses and in events of watches.
    Rewrite(&'static str, &'static str),
    /// Open watches send nothing until the rule is released, and then the events that they held back.
    Silence,
    /// An open watch breaks.
    Cut,
    /// An open watch ends cleanly.
    End,
    /// An open watch sends the error 410 and ends: its version is gone.
    Gone,
    /// Watches send no bookmarks.
    NoBookmarks,
    /// Watches send every event twice.
    Doubled,
}

impl Fault {
    /// Whether it affects open watches instead of requests.
    fn on_stream(&self) -> bool {
        matches!(self, Self::Silence | Self::Cut | Self::End | Self::Gone | Self::NoBookmarks | Self::Doubled)
    }
}

/// One rule. Cheap to clone; all clones are one rule.
#[derive(Clone)]
pub struct Rule {
    call: Call,
    /// Its fault.
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
    /// The number of its applications so far.
    pub fn hits(&self) -> usize {
        self.state.borrow().hits
    }

    /// Waits until it has been applied this often.
    pub async fn hit(&self, times: usize) {
        eventually("a request meets the fault", DEADLINE, async || (self.hits() >= times).then_some(()))
            .await
            .unwrap_or_else(|late| panic!("{late}: {} {} {:?}", self.call.verb, self.call.resource, self.fault));
    }

    /// Ends it: the requests that it holds continue, and it matches no more.
    pub fn release(&self) {
        self.state.send_modify(|state| (state.released, state.left) = (true, 0));
    }

    /// Waits until it is released.
    pub async fn released(&self) {
        // This rule holds the sender, so the wait cannot fail.
        let _ = self.state.subscribe().wait_for(|state| state.released).await;
    }

    /// Stores the body of the first response and returns it every time.
    pub fn remember(&self, body: Vec<u8>) -> Vec<u8> {
        self.remembered.lock().unwrap().get_or_insert(body).clone()
    }

    /// Whether it neither holds a request nor can match one.
    fn is_over(&self) -> bool {
        let state = self.state.borrow();
        state.released && state.left == 0
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
    /// Adds a rule that applies this often from now on.
    pub fn add(&self, times: usize, call: Call, fault: Fault) -> Rule {
        let state = watch::Sender::new(State { hits: 0, left: times, released: false });
        let rule = Rule { call, fault, state, remembered: Arc::default() };
        let mut rules = self.rules.lock().unwrap();
        rules.retain(|rule| !rule.is_over());
        rules.push(rule.clone());
        drop(rules);
        self.changed.send_replace(());
        rule
    }

    /// A receiver that is notified of every new rule.
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
