//! Just enough HTTP to ask a job how it is.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// Status and body of a GET; `None` where nobody answers.
pub(crate) fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The metrics of a job at one moment.
pub(crate) struct Scrape(pub(crate) String);

impl Scrape {
    /// Reads `/metrics`; `None` where nobody answers.
    pub(crate) fn of(address: &str) -> Option<Scrape> {
        get(address, "/metrics").filter(|(status, _)| *status == 200).map(|(_, body)| Scrape(body))
    }

    /// The sum of the series of a metric whose labels contain `label`.
    pub(crate) fn value(&self, metric: &str, label: &str) -> Option<f64> {
        let samples = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(metric)?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            (is_it && labels.contains(label)).then(|| value.parse::<f64>().ok())?
        });
        samples.reduce(|sum, value| sum + value)
    }
}
