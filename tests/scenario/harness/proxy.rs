//! A proxy between one operator and the real API server, which applies the faults of its rules to requests. IO.
//!
//! The operator speaks plain HTTP to the proxy, and the proxy TLS to the API server with the operator's own token, so
//! the roles are real. As in a real network, the death of the sender does not cancel a request that has arrived.

use std::{
    convert::Into,
    io,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{Client, Config, client::Body, config::AuthInfo};
use modelsync::{clock::Clock, core::time::MonotonicTime};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{
    cluster::Cluster,
    fault::{Call, Fault, Request, Rule, Rules},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Reply = Response<UnsyncBoxBody<Bytes, Failure>>;

/// A request that the proxy has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub request: Request,
    /// Path and query.
    pub uri: String,
    /// The time of its arrival on the proxy's clock.
    pub at: MonotonicTime,
    /// The status from the API server; `None` if the request did not reach it, or it has not responded yet.
    pub code: Option<u16>,
}

/// The proxy. Cheap to clone; all clones are one proxy.
#[derive(Clone)]
pub struct Proxy {
    url: http::Uri,
    upstream: Client,
    rules: Rules,
    clock: Arc<Clock>,
    /// `None`: it does not remember requests, because those of a long test would fill the memory.
    seen: Option<Arc<Mutex<Vec<Seen>>>>,
}

/// How an exchange ends.
enum End {
    Reply(Reply),
    Closed,
    Reset,
}

impl Proxy {
    /// Starts it on a free port, in front of this cluster's API server.
    pub async fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, Some(Arc::default())).await
    }

    /// Starts one that does not remember requests.
    pub async fn start_forgetful(cluster: &Cluster) -> Self {
        Self::start_with(cluster, None).await
    }

    async fn start_with(cluster: &Cluster, seen: Option<Arc<Mutex<Vec<Seen>>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut config = cluster.admin.clone();
        config.auth_info = AuthInfo::default();
        config.default_retry = false;
        config.disable_compression = true;
        let upstream = Client::try_from(config).unwrap();
        let proxy = Self { url, upstream, rules: Rules::default(), clock: Clock::system(), seen };
        tokio::spawn({
            let proxy = proxy.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(proxy.clone().serve(stream));
                }
            }
        });
        proxy
    }

    /// The same configuration, but through this proxy.
    pub fn before(&self, mut config: Config) -> Config {
        (config.cluster_url, config.root_cert) = (self.url.clone(), None);
        config
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Applies the fault to each of these requests from now on, until the rule is released.
    pub fn always(&self, call: Call, fault: Fault) -> Rule {
        self.rules.add(usize::MAX, call, fault)
    }

    /// Applies the fault to the next of these requests.
    pub fn once(&self, call: Call, fault: Fault) -> Rule {
        self.rules.add(1, call, fault)
    }

    /// Applies the fault to this many of these requests.
    pub fn times(&self, times: usize, call: Call, fault: Fault) -> Rule {
        self.rules.add(times, call, fault)
    }

    /// Releases every rule.
    pub fn release(&self) {
        self.rules.release();
    }

    /// All requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.seen.as_ref().map_or_else(Vec::new, |seen| seen.lock().unwrap().clone())
    }

    /// These requests so far.
    pub fn seen(&self, call: &Call) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| call.is(&seen.request)).collect()
    }

    /// Those of these requests that succeeded at the API server.
    pub fn done(&self, call: &Call) -> Vec<Seen> {
        let done = |seen: &Seen| seen.code.is_some_and(|code| (200..300).contains(&code));
        self.seen(call).into_iter().filter(done).collect()
    }

    async fn serve(self, stream: TcpStream) {
        let reset = Arc::new(Mutex::new(false));
        let service = service_fn(|request| {
            let (exchange, reset) = (tokio::spawn(self.clone().exchange(request)), reset.clone());
            async move {
                match exchange.await? {
                    End::Reply(reply) => Ok::<_, io::Error>(reply),
                    End::Closed => Err(io::Error::other("closed")),
                    End::Reset => {
                        *reset.lock().unwrap() = true;
                        Err(io::Error::other("reset"))
                    }
                }
            }
        });
        let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let ended = (&mut connection).await;
        if ended.is_err() && *reset.lock().unwrap() {
            // A socket with zero linger closes with a reset.
            let _ = connection.into_parts().io.into_inner().set_zero_linger();
        }
    }

    async fn exchange(self, request: http::Request<Incoming>) -> End {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else { return End::Closed };
        let parsed = Request::parse(&parts.method, &parts.uri, &body);
        let index = self.seen.as_ref().map(|seen| {
            let mut seen = seen.lock().unwrap();
            let uri = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            seen.push(Seen { request: parsed.clone(), uri, at: self.clock.mono(), code: None });
            seen.len() - 1
        });
        let rule = self.rules.for_request(&parsed);
        match rule.as_ref().map(|rule| (rule, &rule.fault)) {
            Some((_, Fault::Status(code))) => return End::Reply(status(*code)),
            Some((_, Fault::Reset)) => return End::Reset,
            Some((rule, Fault::Hang)) => {
                rule.released().await;
                return End::Closed;
            }
            Some((rule, Fault::Hold)) => rule.released().await,
            _ => {}
        }
        let mut request = http::Request::from_parts(parts, Body::from(body));
        for name in [header::HOST, header::CONNECTION, header::ACCEPT_ENCODING, header::CONTENT_LENGTH] {
            request.headers_mut().remove(name);
        }
        let Ok(response) = self.upstream.send(request).await else { return End::Closed };
        if let Some((seen, index)) = self.seen.as_ref().zip(index) {
            seen.lock().unwrap()[index].code = Some(response.status().as_u16());
        }
        if parsed.verb == "watch" && response.status().is_success() {
            let (mut head, body) = response.into_parts();
            without_length(&mut head.headers);
            let stream = self.watch(parsed, rule, body);
            return End::Reply(Response::from_parts(head, stream));
        }
        relay(response, rule).await
    }

    /// Forwards the events of a watch one by one.
    fn watch(self, request: Request, rule: Option<Rule>, mut upstream: Body) -> UnsyncBoxBody<Bytes, Failure> {
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Failure>>(1);
        let mut news = self.rules.changes();
        tokio::spawn(async move {
            let mut rest = Vec::new();
            loop {
                let (mut bookmarks, mut copies) = (true, 1);
                let now = self.rules.for_stream(&request);
                match now.as_ref().map(|rule| (rule, &rule.fault)) {
                    Some((rule, Fault::Silence)) => tokio::select! {
                        () = sender.closed() => return,
                        () = rule.released() => {}
                    },
                    Some((_, Fault::Cut)) => {
                        let _ = sender.send(Err("cut".into())).await;
                        return;
                    }
                    Some((_, Fault::End)) => return,
                    Some((_, Fault::Gone)) => {
                        let gone = json!({ "type": "ERROR", "object": failure(410) });
                        let _ = sender.send(Ok(Frame::data(format!("{gone}\n").into()))).await;
                        return;
                    }
                    Some((_, Fault::NoBookmarks)) => bookmarks = false,
                    Some((_, Fault::Doubled)) => copies = 2,
                    _ => {}
                }
                let frame = tokio::select! {
                    // A rule that is added before an event applies to the event.
                    biased;
                    () = sender.closed() => return,
                    changed = news.changed() => if changed.is_ok() { continue } else { return },
                    frame = upstream.frame() => frame,
                };
                let Some(Ok(frame)) = frame else { return };
                rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    if !bookmarks && line.starts_with(br#"{"type":"BOOKMARK""#) {
                        continue;
                    }
                    let line = Bytes::from(rewritten(line, rule.as_ref()));
                    for _ in 0..copies {
                        if sender.send(Ok(Frame::data(line.clone()))).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        let frames = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        StreamBody::new(frames).boxed_unsync()
    }
}

/// Forwards the response, changed by the rule.
async fn relay(response: Response<Body>, rule: Option<Rule>) -> End {
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect_bytes().await else { return End::Closed };
    without_length(&mut head.headers);
    let mut body = rewritten(body.to_vec(), rule.as_ref());
    match rule.as_ref().map(|rule| (rule, &rule.fault)) {
        Some((_, Fault::DropReply)) => return End::Closed,
        Some((_, Fault::StatusAfter(code))) => return End::Reply(status(*code)),
        Some((rule, Fault::HoldReply)) => rule.released().await,
        Some((rule, Fault::Remember)) => body = rule.remember(body),
        Some((_, Fault::Truncate)) => {
            head.headers.insert(header::CONTENT_LENGTH, body.len().into());
            body.truncate(body.len() / 2);
            let frames = [Ok(Frame::data(body.into())), Err::<_, Failure>("truncated".into())];
            let half = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
            return End::Reply(Response::from_parts(head, half));
        }
        _ => {}
    }
    End::Reply(Response::from_parts(head, whole(body)))
}

fn rewritten(text: Vec<u8>, rule: Option<&Rule>) -> Vec<u8> {
    match rule.map(|rule| &rule.fault) {
        Some(Fault::Rewrite(from, to)) => String::from_utf8(text).unwrap().replace(from, to).into_bytes(),
        _ => text,
    }
}

/// An error response in the form of the API server's.
fn status(code: u16) -> Reply {
    let mut reply = Response::new(whole(failure(code).to_string().into_bytes()));
    *reply.status_mut() = code.try_into().unwrap();
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if code == 429 {
        reply.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("86400"));
    }
    reply
}

fn failure(code: u16) -> serde_json::Value {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": format!("injected {code}"),
        "reason": reason, "code": code })
}

fn whole(body: Vec<u8>) -> UnsyncBoxBody<Bytes, Failure> {
    Full::new(Bytes::from(body)).map_err(Into::into).boxed_unsync()
}

fn without_length(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
}
