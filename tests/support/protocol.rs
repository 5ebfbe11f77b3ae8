//! Two requests of Kafka's protocol that the client has no function for: who may do what, and how much of it. In versions that write everything at full length.

use std::io::{Read, Write};
use std::net::TcpStream;

/// What a right is on, by its number in the protocol.
#[derive(Clone, Copy)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
    /// All that begin so.
    TransactionalIds(&'a str),
}

/// An operation, by its number in the protocol.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Read = 3,
    Write = 4,
    DescribeConfigs = 10,
}

/// Allows a user operations on resources, each with its own right.
pub(crate) fn allow(address: &str, user: &str, rights: &[(Resource<'_>, Operation)]) {
    const CREATE_ACLS: i16 = 30;
    const LITERAL: u8 = 3;
    const PREFIXED: u8 = 4;
    const ALLOW: u8 = 3;
    let mut body = Body::default();
    body.array(rights.len());
    for (resource, operation) in rights {
        let (kind, name, pattern) = match resource {
            Resource::Topic(name) => (2, name, LITERAL),
            Resource::Group(name) => (3, name, LITERAL),
            Resource::TransactionalId(name) => (5, name, LITERAL),
            Resource::TransactionalIds(name) => (5, name, PREFIXED),
        };
        body.0.push(kind);
        body.string(name);
        body.0.push(pattern);
        body.string(&format!("User:{user}"));
        body.string("*");
        body.0.extend([*operation as u8, ALLOW]);
    }
    check(&ask(address, CREATE_ACLS, 1, &body), rights.len());
}

/// Sets a quota of clients with this id, such as `producer_byte_rate`.
pub(crate) fn limit(address: &str, client_id: &str, quota: &str, value: f64) {
    const ALTER_CLIENT_QUOTAS: i16 = 49;
    let mut body = Body::default();
    body.array(1);
    body.array(1);
    body.string("client-id");
    body.string(client_id);
    body.array(1);
    body.string(quota);
    body.0.extend(value.to_be_bytes());
    // Neither to be removed, nor only to be tried.
    body.0.extend([0, 0]);
    check(&ask(address, ALTER_CLIENT_QUOTAS, 0, &body), 1);
}

#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn array(&mut self, length: usize) {
        self.0.extend((length as i32).to_be_bytes());
    }

    fn string(&mut self, text: &str) {
        self.0.extend((text.len() as i16).to_be_bytes());
        self.0.extend(text.as_bytes());
    }
}

/// Sends a request, and returns what follows the head of the answer.
fn ask(address: &str, key: i16, version: i16, body: &Body) -> Vec<u8> {
    let mut request = Body::default();
    request.0.extend(key.to_be_bytes());
    request.0.extend(version.to_be_bytes());
    // The number of the request.
    request.array(1);
    request.string("test");
    request.0.extend(&body.0);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&(request.0.len() as i32).to_be_bytes()).unwrap();
    stream.write_all(&request.0).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer.split_off(4)
}

/// Checks that the first result of an answer is no error: it follows the throttling time and the number of results.
fn check(answer: &[u8], results: usize) {
    let count = i32::from_be_bytes(answer[4..8].try_into().unwrap());
    let error = i16::from_be_bytes(answer[8..10].try_into().unwrap());
    assert_eq!((count, error), (results as i32, 0), "{}", String::from_utf8_lossy(answer));
}
