//! The network between a job and its broker: connections that a test can cut, refuse, or let hang.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Bytes pass.
    Works,
    /// Connections are closed, and new ones as soon as they are made.
    IsDown,
    /// Connections stay, and nothing passes.
    Hangs,
}

/// Listens on a port of its own and passes connections on to a broker.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    network: Mutex<Network>,
    upstream: Mutex<Option<String>>,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens, and refuses until it knows the broker.
    pub(crate) fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, upstream, connections) = (Mutex::new(Network::Works), Mutex::new(None), Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { network, upstream, connections });
        let own = Arc::clone(&shared);
        // Lives as long as the process: a listener cannot be woken.
        thread::spawn(move || listener.incoming().flatten().for_each(|client| own.connect(client)));
        Proxy { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Says where the broker listens.
    pub(crate) fn lead_to(&self, address: String) {
        *lock(&self.shared.upstream) = Some(address);
    }

    pub(crate) fn set(&self, network: Network) {
        *lock(&self.shared.network) = network;
        if network == Network::IsDown {
            for connection in lock(&self.shared.connections).drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let upstream = lock(&self.upstream).clone();
        let server = upstream.filter(|_| *lock(&self.network) != Network::IsDown).map(TcpStream::connect);
        let Some(Ok(server)) = server else { return };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to, shared) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(self));
            lock(&self.connections).push(from.try_clone().unwrap());
            thread::spawn(move || shared.pass(from, to));
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        let copied: io::Result<()> = (|| {
            loop {
                let read = from.read(&mut buffer)?;
                while *lock(&self.network) == Network::Hangs {
                    thread::sleep(Duration::from_millis(10));
                }
                if read == 0 {
                    return Ok(());
                }
                to.write_all(&buffer[..read])?;
            }
        })();
        // Whatever ended it, the other side is to see it.
        drop(copied);
        let _ = to.shutdown(Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
