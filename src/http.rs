//! The HTTP server: `/metrics`, `/healthz` and `/readyz`.
//!
//! It runs on a thread of its own and reads nothing but [`Metrics`]: a slow or hostile client cannot hold up the dataflow.

use std::future::IntoFuture;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::metrics::{Metrics, Phase};

/// How long a stopping server waits for the responses under way.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// A running server. It stops when it is dropped, in bounded time.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    // Both are taken when it stops.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Another program listens there.
    #[error(
        "cannot listen on {0}: the address is in use. Is another job running? Give this one its own with `--metrics ADDR` (port 0 takes any free one)"
    )]
    InUse(SocketAddr),
    /// The address is not one of this machine, or the port is reserved.
    #[error("cannot listen on {address} for metrics (`--metrics` or `listen` in `[metrics]`)")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No thread or no runtime.
    #[error("cannot start the server for metrics")]
    Start(#[source] io::Error),
}

impl Server {
    /// Listens on `address` and serves what `metrics` says.
    ///
    /// # Errors
    ///
    /// Fails where the address is taken or not of this machine; after that nothing can fail.
    pub fn start(address: SocketAddr, metrics: Metrics) -> Result<Server, HttpError> {
        let listener = TcpListener::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => HttpError::InUse(address),
            _ => HttpError::Listen { address, source },
        })?;
        listener.set_nonblocking(true).map_err(HttpError::Start)?;
        let address = listener.local_addr().map_err(HttpError::Start)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(HttpError::Start)?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || serve(runtime, listener, routes(metrics), stopped))
            .map_err(HttpError::Start)?;
        Ok(Server { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens: with the port that was found, where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the server for metrics ended in a panic");
        }
    }
}

fn serve(runtime: Runtime, listener: TcpListener, routes: Router, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the server for metrics cannot run"),
        };
        let (closing, closed) = oneshot::channel::<()>();
        let server = axum::serve(listener, routes).with_graceful_shutdown(async move {
            // The sender is dropped rather than used: either way it is time to stop.
            let _ = stopped.await;
            drop(closing);
        });
        let overdue = async move {
            let _ = closed.await;
            tokio::time::sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            ended = server.into_future() => if let Err(error) = ended {
                tracing::error!(%error, "the server for metrics ended");
            },
            () = overdue => {}
        }
    });
}

fn routes(metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(metrics)
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.gather())
}

/// 200 as long as nothing has failed, so that whoever restarts jobs lets a slow start be.
async fn alive(State(metrics): State<Metrics>) -> (StatusCode, String) {
    match metrics.health().phase() {
        Phase::Failed(error) => unavailable(&error),
        Phase::NotReady(_) | Phase::Ready => (StatusCode::OK, "ok\n".to_owned()),
    }
}

/// 200 once the job has caught up with what there was when it started.
async fn ready(State(metrics): State<Metrics>) -> (StatusCode, String) {
    match metrics.health().phase() {
        Phase::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Phase::NotReady(reason) => unavailable(&reason),
        Phase::Failed(error) => unavailable(&error),
    }
}

fn unavailable(why: &str) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn start(metrics: &Metrics) -> Server {
        Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), metrics.clone()).unwrap()
    }

    /// The status line's code and the body.
    fn fetch(server: &Server, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[test]
    fn each_phase_has_its_answers() {
        let metrics = Metrics::new("social");
        let server = start(&metrics);
        let check = |readiness: (u16, &str), health: (u16, &str)| {
            assert_eq!(fetch(&server, "/readyz"), (readiness.0, format!("{}\n", readiness.1)));
            assert_eq!(fetch(&server, "/healthz"), (health.0, format!("{}\n", health.1)));
        };
        check((503, "starting"), (200, "ok"));
        metrics.health().not_ready("replaying");
        check((503, "replaying"), (200, "ok"));
        metrics.health().ready();
        check((200, "ready"), (200, "ok"));
        metrics.health().failed("disk full");
        check((503, "disk full"), (503, "disk full"));
    }

    #[test]
    fn metrics_are_served_and_nothing_else() {
        let metrics = Metrics::new("social");
        let server = start(&metrics);
        metrics.records_read(3);
        let (code, body) = fetch(&server, "/metrics");
        assert_eq!(code, 200);
        assert!(body.contains("resolvent_records_read_total{job=\"social\"} 3\n"), "{body}");
        assert_eq!(fetch(&server, "/").0, 404);
        assert_eq!(fetch(&server, "/metrics/").0, 404);
    }

    #[test]
    fn a_taken_port_is_refused_with_its_address() {
        let metrics = Metrics::new("social");
        let server = start(&metrics);
        let error = Server::start(server.address(), metrics).unwrap_err();
        assert!(matches!(error, HttpError::InUse(address) if address == server.address()));
        assert!(error.to_string().contains("--metrics"));
    }

    #[test]
    fn it_stops_with_a_silent_client_connected_and_frees_the_port() {
        let metrics = Metrics::new("social");
        let server = start(&metrics);
        let mut silent = TcpStream::connect(server.address()).unwrap();
        silent.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
        assert_eq!(fetch(&server, "/healthz").0, 200, "the silent client was accepted before");
        let address = server.address();
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }
}
